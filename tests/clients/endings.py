"""A signal ends the engine in good order: clients get their close code, the latencies are printed, the exit code is 0."""

import signal
import socket
import time

from engine import Engine, Process, require
from raw import Raw, request
from ticks import HEADER

END_S = 2
SYMBOLS = ["A", "B"]


def end(process, number, clients):
    """Sends the signal and checks what everyone gets for it."""
    began = time.monotonic()
    process.signal(number)
    for client in clients:
        code = client.close_code()
        require(code == 1001, f"close code {code}, not 1001")
    code = process.wait()
    took = time.monotonic() - began
    require(code == 0, f"exit code {code}: {process.err}")
    require(took < END_S, f"it took {took:.2f} s to end")
    for row in ("recv_to_encoded", "encoded_to_written", "p99"):
        require(row in process.out, f"no {row} in what it printed: {process.out}")
    require("panicked" not in process.err, process.err)
    return took


def serving(binary, number):
    with Engine(binary, bars='timeframes = ["1s"]') as engine:
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


def sigint_and_sigterm_end_serve_within_2_s_with_1001_and_the_latencies(binary):
    times = [serving(binary, number) for number in (signal.SIGINT, signal.SIGTERM)]
    return f"{max(times):.2f} s"


def sigint_and_sigterm_end_demo_within_2_s_with_1001_and_the_latencies(binary):
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
    with Engine(binary) as engine:
        deaf = [Raw.open(engine.port) for _ in range(5)]
        began = time.monotonic()
        engine.signal(signal.SIGTERM)
        code = engine.wait()
        took = time.monotonic() - began
        require(code == 0 and took < END_S, f"exit code {code} after {took:.2f} s")
        for client in deaf:
            client.close()
    return f"{took:.2f} s"


PROMISES = [
    sigint_and_sigterm_end_serve_within_2_s_with_1001_and_the_latencies,
    sigint_and_sigterm_end_demo_within_2_s_with_1001_and_the_latencies,
    a_client_that_never_answers_does_not_hold_up_the_end,
]
