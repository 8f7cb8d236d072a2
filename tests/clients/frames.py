"""Frames in every piece and every wrong form: the right close code for each, and nobody else notices."""

import struct
import time

from bystanders import Bystanders
from engine import require, wait_for
from raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Raw, frame

REPEATS = 50
PING_FLOOD = 1_000_000


def ping_text(number, size=200):
    text = f'{{"action":"ping","id":{number},"pad":"'
    return (text + "x" * (size - len(text) - 2) + '"}').encode()


def pong(raw, number):
    answer = raw.answer("pong")
    require(answer["id"] == number, f"the answer to {number} expected: {answer}")


def every_split_of_a_200_byte_text_is_one_message(binary):
    gateway = "requests_per_s_max = 100000\ncontrol_frames_per_s_max = 100000"
    with Bystanders(binary, gateway=gateway) as world:
        raw = Raw.open(world.engine.port)
        for at in range(201):
            text = ping_text(at)
            raw.send(frame(TEXT, text[:at], fin=False) + frame(CONTINUATION, text[at:]))
            pong(raw, at)
            # A control frame may stand between the fragments and is answered at once.
            raw.send(frame(TEXT, text[:at], fin=False) + frame(PING, b"between"))
            require(raw.frame() == (PONG, b"between"), f"split {at}: no pong between the fragments")
            raw.send(frame(CONTINUATION, text[at:]))
            pong(raw, at)
        # The same in pieces of TCP: every split of the whole frame, then byte by byte.
        whole = frame(TEXT, ping_text(7))
        for at in range(1, len(whole)):
            raw.send(whole[:at])
            raw.send(whole[at:])
            pong(raw, 7)
        for byte in whole:
            raw.send(bytes([byte]))
        pong(raw, 7)
        # Every byte a fragment of its own.
        text = ping_text(8)
        raw.send(frame(TEXT, b"", fin=False))
        raw.send(b"".join(frame(CONTINUATION, bytes([byte]), fin=False) for byte in text) + frame(CONTINUATION))
        pong(raw, 8)
        raw.close()
    return f"{201 * 2 + len(whole)} splits"


def ten_thousand_empty_continuations_cost_little(binary):
    with Bystanders(binary, gateway="requests_per_s_max = 100000") as world:
        raw = Raw.open(world.engine.port)
        before = world.engine.cpu_s()
        for round in range(5):
            text = ping_text(round)
            raw.send(frame(TEXT, text, fin=False) + frame(CONTINUATION, fin=False) * 10_000 + frame(CONTINUATION))
            pong(raw, round)
        used = world.engine.cpu_s() - before
        require(used < 2, f"{used:.2f} s of processor time")
        raw.close()
    return f"{used:.2f} s of processor time for 50,000"


def close_payload(code, reason=b""):
    return struct.pack(">H", code) + reason


# (what is sent, the close codes that are right)
WRONG = {
    "an unmasked text": (frame(TEXT, b"{}", masked=False), {1002}),
    "an unmasked ping": (frame(PING, masked=False), {1002}),
    "RSV1": (frame(TEXT, b"{}", reserved=4), {1002}),
    "RSV2": (frame(TEXT, b"{}", reserved=2), {1002}),
    "RSV3": (frame(TEXT, b"{}", reserved=1), {1002}),
    "RSV1 on a ping": (frame(PING, reserved=4), {1002}),
    **{f"opcode {code}": (frame(code, b"x"), {1002}) for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "a ping of 126 bytes": (frame(PING, b"x" * 126), {1002}),
    "a close of 126 bytes": (frame(CLOSE, close_payload(1000, b"x" * 124)), {1002}),
    "a ping in fragments": (frame(PING, b"x", fin=False), {1002}),
    "a continuation of nothing": (frame(CONTINUATION, b"x"), {1002}),
    "a text within a fragmented text": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), {1002}),
    "a binary within a fragmented text": (frame(TEXT, b"x", fin=False) + frame(BINARY, b"y"), {1002}),
    "a close of one byte": (frame(CLOSE, b"\x03"), {1002}),
    "a close with code 999": (frame(CLOSE, close_payload(999)), {1002}),
    "a close with code 1005": (frame(CLOSE, close_payload(1005)), {1002}),
    "a close with code 1006": (frame(CLOSE, close_payload(1006)), {1002}),
    "a close with code 1100": (frame(CLOSE, close_payload(1100)), {1002}),
    "a close whose reason is not UTF-8": (frame(CLOSE, close_payload(1000, b"\xff")), {1002, 1007}),
    "a text that is not UTF-8": (frame(TEXT, b"\xff"), {1007}),
    "a length of 2^63": (b"\x81\xff" + struct.pack(">Q", 1 << 63) + b"mask", {1002, 1009}),
    "a length of 2^62": (b"\x81\xff" + struct.pack(">Q", 1 << 62) + b"mask", {1009}),
    "a length above the limit": (b"\x81\xff" + struct.pack(">Q", 524_289) + b"mask", {1009}),
    "a binary above the limit": (frame(BINARY, b"x" * 600_000), {1009}),
    "a close with code 1000": (frame(CLOSE, close_payload(1000)), {1000}),
    "a close with code 4999": (frame(CLOSE, close_payload(4999, b"my own")), {4999}),
    "a close without a code": (frame(CLOSE), {None, 1000}),
}


def closing(port, name, data):
    raw = Raw.open(port)
    raw.send_while_open(data)
    try:
        return raw.close_code()
    except struct.error:
        # A close frame without a code answers one without a code.
        return None
    except AssertionError as trouble:
        raise AssertionError(f"{name}: {trouble}") from None
    finally:
        raw.close()


def each_wrong_frame_closes_with_its_code_and_disturbs_nobody(binary):
    with Bystanders(binary) as world:
        for name, (data, codes) in WRONG.items():
            code = closing(world.engine.port, name, data)
            require(code in codes, f"{name}: close code {code}, not {codes}")
        # Once warm, again and again: nothing may stay behind.
        world.measure()
        for _ in range(REPEATS - 1):
            for name, (data, codes) in WRONG.items():
                code = closing(world.engine.port, name, data)
                require(code in codes, f"{name}: close code {code}, not {codes}")
            world.well()
        more = world.settled()
        slowest = world.slowest_ms
    return f"{len(WRONG)} kinds {REPEATS} times, {more:+.1f} MiB, bystanders silent at most {slowest:.0f} ms"


def a_ping_flood_that_is_allowed_costs_no_memory_and_disturbs_nobody(binary):
    gateway = "control_frames_per_s_max = 100000000\nrequest_bytes_per_s_max = 1000000000"
    with Bystanders(binary, gateway=gateway) as world:
        deaf, polite = Raw.open(world.engine.port), Raw.open(world.engine.port)
        world.measure()
        block = b"".join(frame(PING, f"{n:04}".encode()) for n in range(1_000))
        # One never reads its pongs: past a few of them a newer pong replaces one that was not sent.
        deaf.socket.settimeout(1)
        for _ in range(PING_FLOOD // 1_000):
            if not deaf.send_while_open(block):
                break
        world.settled()
        # One does, and gets the last.
        began = time.monotonic()
        for _ in range(100):
            polite.send(block)
            while polite.frame() != (PONG, b"0999"):
                pass
        took = time.monotonic() - began
        deaf.close()
        polite.close()
        slowest = world.slowest_ms
    return f"100,000 answered in {took:.2f} s, bystanders silent at most {slowest:.0f} ms"


def a_flood_of_messages_that_is_never_read_is_cut_off(binary):
    """Bounded memory for a client that asks and asks and reads nothing."""
    with Bystanders(binary, gateway="requests_per_s_max = 1000000\nrequest_bytes_per_s_max = 1000000000") as world:
        raw = Raw.open(world.engine.port)
        world.measure()
        raw.socket.settimeout(1)
        data = frame(TEXT, b'{"action":"bogus"}') * 1_000
        sent = 0
        while sent < 2_000 and raw.send_while_open(data):
            sent += 1
        more = world.engine.rss_mib() - world.rss
        require(more < 40, f"{more:.1f} MiB more while it does not read")
        raw.close()
        wait_for(lambda: world.engine.descriptors() <= world.descriptors, "its descriptor to be free")
        world.rss += 40
    return f"{more:+.1f} MiB after {sent * 1_000} requests"


PROMISES = [
    every_split_of_a_200_byte_text_is_one_message,
    ten_thousand_empty_continuations_cost_little,
    each_wrong_frame_closes_with_its_code_and_disturbs_nobody,
    a_ping_flood_that_is_allowed_costs_no_memory_and_disturbs_nobody,
    a_flood_of_messages_that_is_never_read_is_cut_off,
]
