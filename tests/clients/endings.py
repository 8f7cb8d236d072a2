"""A signal ends the engine in good order: clients get their close code, the latencies are printed, the exit code is 0."""

import signal
import socket
import threading
import time

from bystanders import Bystanders
from engine import Engine, Process, require
from raw import Raw, request
from ticks import HEADER

END_S = 2
CODES = {signal.SIGINT: 1001, signal.SIGTERM: 1012}
DRAIN_S = 4
STANDSTILL_S = 5
SYMBOLS = ["A", "B"]


def end(process, number, clients):
    """Sends the signal and checks what everyone gets for it."""
    began = time.monotonic()
    process.signal(number)
    for client in clients:
        code = client.close_code()
        require(code == CODES[number], f"close code {code}, not {CODES[number]}")
    code = process.wait()
    took = time.monotonic() - began
    require(code == 0, f"exit code {code}: {process.err}")
    require(took < END_S, f"it took {took:.2f} s to end")
    for row in ("recv_to_encoded", "encoded_to_written", "p99"):
        require(row in process.out, f"no {row} in what it printed: {process.out}")
    require("panicked" not in process.err, process.err)
    return took


def serving(binary, number):
    with Engine(binary, bars='timeframes = ["1s"]', gateway="drain_s = 1") as engine:
        clients = [Raw.open(engine.port) for _ in range(20)]
        source = socket.create_connection(("127.0.0.1", engine.feed_port))
        source.sendall(HEADER)
        for client in clients:
            client.ask(action="subscribe", channel="bars", symbols=SYMBOLS, timeframes=["1s"])
            client.answer("subscribed")
        for _ in range(50):
            at = time.time_ns() // 1_000
            source.sendall("".join(f"{symbol},{at},100,1\n" for symbol in SYMBOLS).encode())
        for client in clients:
            client.answer("bar")
        # One is in the middle of its handshake, one of a message: neither may hold up the end.
        half = Raw(engine.port)
        half.send(request()[:40])
        middle = Raw.open(engine.port)
        middle.send(b"\x81\xfe\x00\xff")
        return end(engine, number, clients)


def sigint_and_sigterm_end_serve_within_2_s_with_their_code_and_the_latencies(binary):
    times = [serving(binary, number) for number in (signal.SIGINT, signal.SIGTERM)]
    return f"{max(times):.2f} s"


def sigint_and_sigterm_end_demo_within_2_s_with_their_code_and_the_latencies(binary):
    times = []
    for number in (signal.SIGINT, signal.SIGTERM):
        demo = Process(binary, "demo", "--listen", "127.0.0.1:0")
        try:
            port = int(demo.await_text(r"at ws://127\.0\.0\.1:(\d+)/", "out")[1])
            clients = [Raw.open(port) for _ in range(5)]
            for client in clients:
                client.ask(action="subscribe", channel="bars", symbols=["BTCUSDT"], timeframes=["1s"])
                client.answer("bar")
            times.append(end(demo, number, clients))
        finally:
            demo.kill()
    return f"{max(times):.2f} s"


def a_client_that_never_answers_does_not_hold_up_the_end(binary):
    with Engine(binary, gateway="drain_s = 1") as engine:
        deaf = [Raw.open(engine.port) for _ in range(5)]
        began = time.monotonic()
        engine.signal(signal.SIGTERM)
        code = engine.wait()
        took = time.monotonic() - began
        require(code == 0 and took < END_S, f"exit code {code} after {took:.2f} s")
        for client in deaf:
            client.close()
    return f"{took:.2f} s"


def a_restart_under_load_sees_every_client_off_in_its_time(binary):
    """Told at once, served on, closed one after the other with no frame cut, newcomers refused; all before the deadline."""
    bars = 'timeframes = ["1s"]\nclock = "event"\ngrace_ms = 0'
    with Engine(binary, bars=bars, gateway=f"drain_s = {DRAIN_S}", cores="gateways = 2") as engine:
        clients = [Raw.open(engine.port) for _ in range(50)]
        source = socket.create_connection(("127.0.0.1", engine.feed_port))
        source.sendall(HEADER)
        for client in clients:
            client.ask(action="subscribe", channel="bars", symbols=SYMBOLS, timeframes=["1s"])
            client.answer("subscribed")

        def load():
            at = 1_700_000_000_000_000
            try:
                while True:
                    at += 500_000
                    source.sendall("".join(f"{symbol},{at},100,1\n" for symbol in SYMBOLS * 20).encode())
                    # The pace of the load.
                    time.sleep(0.005)
            except OSError:
                pass

        loading = threading.Thread(target=load, daemon=True)
        loading.start()
        for client in clients:
            client.answer("bar")
        engine.signal(signal.SIGTERM)
        began = time.monotonic()
        ends = {}

        def follow(place, client):
            told = client.answer("draining")
            told_s = time.monotonic() - began
            facts = [client.answer("bar")["sequence"] for _ in range(20)]
            code = client.close_code()
            ends[place] = (told["deadline_s"], told_s, len(facts), code, time.monotonic() - began)

        followers = [threading.Thread(target=follow, args=pair, daemon=True) for pair in enumerate(clients)]
        for follower in followers:
            follower.start()
        late = Raw(engine.port)
        while True:
            # A newcomer of the first moments may still come before the word of the end.
            late.send(request())
            head = late.head()
            late.close()
            if not head.startswith(b"HTTP/1.1 101 ") or time.monotonic() > began + 1:
                break
            late = Raw(engine.port)
        require(head.startswith(b"HTTP/1.1 503 "), f"a newcomer got {head}")
        code = engine.wait()
        took = time.monotonic() - began
        for follower in followers:
            follower.join(5)
        require(len(ends) == len(clients), f"only {len(ends)} clients saw the end through")
        require(all(end[0] == DRAIN_S and end[1] < 1 and end[3] == 1012 for end in ends.values()), f"{ends}")
        closed = sorted(end[4] for end in ends.values())
        require(closed[0] > DRAIN_S / 2 - 0.2, f"one had to go after {closed[0]:.2f} s")
        spread = closed[-1] - closed[0]
        require(spread > DRAIN_S / 8, f"all were closed within {spread:.2f} s")
        require(code == 0 and took < DRAIN_S + 0.5, f"exit code {code} after {took:.2f} s: {engine.err}")
        source.close()
        loading.join()
    return f"{len(clients)} closed between {closed[0]:.2f} and {closed[-1]:.2f} s of {DRAIN_S}, ended after {took:.2f} s"


def a_second_signal_ends_at_once(binary):
    with Engine(binary, gateway="drain_s = 60") as engine:
        client = Raw.open(engine.port)
        engine.signal(signal.SIGTERM)
        client.answer("draining")
        began = time.monotonic()
        engine.signal(signal.SIGTERM)
        code = engine.wait()
        took = time.monotonic() - began
        require(code == 1 and took < 1, f"exit code {code} after {took:.2f} s")
        require("second signal" in engine.err, engine.err)
        client.close()
    return f"{took:.2f} s"


def after_a_standstill_nobody_is_taken_for_gone(binary):
    """Stopped for longer than two heartbeats and than a fact may wait, and then going on."""
    with Bystanders(binary, gateway="heartbeat_s = 1\noutbox_facts_age_ms_max = 1000") as world:
        engine = world.engine
        quiet = [Raw.open(engine.port) for _ in range(20)]
        engine.signal(signal.SIGSTOP)
        time.sleep(STANDSTILL_S)
        engine.signal(signal.SIGCONT)
        for raw in quiet:
            raw.ask(action="ping", id=1)
            raw.answer("pong")
            raw.close()
        world.well()
        probe = Raw.open(engine.port)
        probe.ask(action="stats")
        figures = probe.answer("stats")["data"]
        probe.close()
        closed = {name: figures[name] for name in ("idle_closed", "slow_closed")}
        require(not any(closed.values()), f"{closed}")
    return f"{STANDSTILL_S} s"


PROMISES = [
    sigint_and_sigterm_end_serve_within_2_s_with_their_code_and_the_latencies,
    sigint_and_sigterm_end_demo_within_2_s_with_their_code_and_the_latencies,
    a_client_that_never_answers_does_not_hold_up_the_end,
    a_restart_under_load_sees_every_client_off_in_its_time,
    a_second_signal_ends_at_once,
    after_a_standstill_nobody_is_taken_for_gone,
]
