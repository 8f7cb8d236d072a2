"""Connections that never become WebSockets, or end without a word: each is answered or cut, and nobody else notices."""

import select
import time

from bystanders import Bystanders
from engine import Engine, require, wait_for
from raw import CLOSE, TEXT, Raw, frame, request

RESETS = 300
SLOW_CLIENTS = 100
HANDSHAKE_S = 2
CONNECT_MS = 100
SUBSCRIBE = b'{"action":"subscribe","channel":"bars","symbols":["*"],"timeframes":["1s"],"id":1}'


def reset_in(port, moment):
    """Ends with a reset at some moment of a connection's life."""
    if moment == "handshake":
        raw = Raw(port)
        raw.send(request()[:60])
        return raw.reset()
    raw = Raw.open(port)
    if moment == "frame":
        raw.send(frame(TEXT, SUBSCRIBE)[:25])
    elif moment == "stream":
        raw.send(frame(TEXT, SUBSCRIBE))
        raw.answer("bar")
    elif moment == "close":
        raw.send(frame(CLOSE, b"\x03\xe8"))
    return raw.reset()


def resets_at_any_moment_leave_nothing_behind(binary):
    moments = ("handshake", "frame", "stream", "close")
    with Bystanders(binary) as world:
        for moment in moments * 10:
            reset_in(world.engine.port, moment)
        wait_for(lambda: world.engine.descriptors() <= world.descriptors, "the first resets to be noticed")
        world.measure()
        for count in range(RESETS):
            for moment in moments:
                reset_in(world.engine.port, moment)
            world.well()
        more = world.settled()
        slowest = world.slowest_ms
    return f"{RESETS * len(moments)} resets, {more:+.1f} MiB, bystanders silent at most {slowest:.0f} ms"


def a_slow_handshake_is_cut_at_its_deadline_and_delays_nobody(binary):
    with Bystanders(binary, gateway=f"handshake_ms_max = {HANDSHAKE_S * 1_000}") as world:
        text = request(more="X-Slow: " + "x" * 200 + "\r\n")
        slow = [(Raw(world.engine.port), time.monotonic()) for _ in range(SLOW_CLIENTS)]
        open_ = dict(enumerate(slow))
        lives, worst_ms, place, due = [], 0, 0, time.monotonic()
        while open_:
            if time.monotonic() >= due:
                # A byte a second each, and every fifth of a second a newcomer in a hurry.
                if place % 5 == 0:
                    for raw, _ in open_.values():
                        raw.send_while_open(text[place // 5 : place // 5 + 1])
                began = time.monotonic()
                Raw.open(world.engine.port).close()
                worst_ms = max(worst_ms, (time.monotonic() - began) * 1_000)
                place, due = place + 1, due + 0.2
            readable, _, _ = select.select([raw.socket for raw, _ in open_.values()], [], [], 0.02)
            for key, (raw, since) in list(open_.items()):
                if raw.socket in readable:
                    head = raw.head()
                    require(head.startswith(b"HTTP/1.1 408 "), f"a slow client got {head}")
                    lives.append(time.monotonic() - since)
                    raw.close()
                    del open_[key]
            require(place < 5 * HANDSHAKE_S * 5, f"{len(open_)} slow clients are still there")
        late = max(lives) - HANDSHAKE_S
        require(min(lives) > HANDSHAKE_S - 0.05, f"one was cut after {min(lives):.2f} s")
        require(late < 0.5, f"one was cut {late:.2f} s after the deadline")
        require(worst_ms < CONNECT_MS, f"a newcomer waited {worst_ms:.0f} ms")
    return f"{SLOW_CLIENTS} cut at most {late * 1_000:.0f} ms late, newcomers within {worst_ms:.0f} ms"


def without(name):
    return b"\r\n".join(line for line in request().split(b"\r\n") if not line.lower().startswith(name))


# (what is sent, the status that answers it)
WRONG = {
    "1 MB of headers": (request(more="X-Long: " + "x" * 1_000_000 + "\r\n"), 431),
    "1 MB in 10,000 headers": (request(more="".join(f"X-{n}: {'x' * 88}\r\n" for n in range(10_000))), 431),
    "200 headers": (request(more="".join(f"X-{n}: x\r\n" for n in range(200))), 431),
    "a path of 1 MB": (b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\n\r\n", 431),
    "HTTP/1.0": (request(version="1.0"), 505),
    "no upgrade": (request(upgrade=False), 426),
    "no Upgrade header": (without(b"upgrade:"), 426),
    "no Connection header": (without(b"connection:"), 426),
    "no key": (without(b"sec-websocket-key:"), 400),
    "no version": (without(b"sec-websocket-version:"), 426),
    "version 12": (request().replace(b"Version: 13", b"Version: 12"), 426),
    "a short key": (request().replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ="), 400),
    "POST": (request().replace(b"GET ", b"POST "), 405),
    "no HTTP": (b"hello\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), 400),
    "a NUL in a header": (request(more="X: \0\r\n"), 400),
}


def each_wrong_request_is_answered_with_its_status(binary):
    with Bystanders(binary) as world:
        for name, (data, status) in WRONG.items():
            raw = Raw(world.engine.port)
            raw.send_while_open(data)
            try:
                head = raw.head()
            except ConnectionResetError:
                head = b"a reset"
            require(head.startswith(b"HTTP/1.1 %d " % status), f"{name}: {head[:100]}, not {status}")
            raw.close()
        more = world.settled()
    return f"{len(WRONG)} kinds, {more:+.1f} MiB"


def bytes_after_the_handshake_are_not_lost(binary):
    with Engine(binary) as engine:
        frames = frame(TEXT, SUBSCRIBE) + b"".join(frame(TEXT, b'{"action":"ping","id":%d}' % n) for n in range(100))
        together = request() + frames
        # In one piece, and cut anywhere around the end of the request.
        for at in [len(together), *range(len(request()) - 6, len(request()) + 20)]:
            raw = Raw(engine.port)
            raw.send(together[:at])
            raw.send(together[at:])
            require(raw.head().startswith(b"HTTP/1.1 101 "), f"no upgrade when cut at {at}")
            require(raw.message()["type"] == "welcome", "no welcome")
            require(raw.message()["type"] == "subscribed", f"no subscription when cut at {at}")
            got = [raw.answer("pong")["id"] for _ in range(100)]
            require(got == list(range(100)), f"cut at {at}: {got}")
            raw.close()
        # The request itself byte by byte.
        raw = Raw(engine.port)
        for byte in together:
            raw.send(bytes([byte]))
        require(raw.head().startswith(b"HTTP/1.1 101 "), "no upgrade byte by byte")
        require([raw.answer("pong")["id"] for _ in range(100)] == list(range(100)), "byte by byte")
        raw.close()
        engine.stop()


def one_connection_too_many_is_answered_503_and_the_place_is_free_again(binary):
    with Engine(binary, gateway="connections_max = 5") as engine:
        there = [Raw.open(engine.port) for _ in range(5)]
        for _ in range(20):
            raw = Raw(engine.port)
            raw.send(request())
            head = raw.head()
            require(head.startswith(b"HTTP/1.1 503 "), f"one too many got {head}")
            raw.close()
        there.pop().reset()

        def free():
            raw = Raw(engine.port)
            raw.send(request())
            good = raw.head().startswith(b"HTTP/1.1 101 ")
            raw.close()
            return good

        wait_for(free, "the place of one who left")
        for raw in there:
            raw.ask(action="ping", id=1)
            raw.answer("pong")
            raw.close()
        engine.stop()


PROMISES = [
    resets_at_any_moment_leave_nothing_behind,
    a_slow_handshake_is_cut_at_its_deadline_and_delays_nobody,
    each_wrong_request_is_answered_with_its_status,
    bytes_after_the_handshake_are_not_lost,
    one_connection_too_many_is_answered_503_and_the_place_is_free_again,
]
