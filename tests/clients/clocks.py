"""Bars under the live clock: they close on time without a further tick, and a late tick revises them."""

import socket
import time

from engine import Engine, require
from raw import Raw
from ticks import HEADER

GRACE_MS = 250
# How much later than end + grace the close may be written here, where tests share two processors.
LATENESS_MS = 400


def now_us():
    return time.time_ns() // 1_000


def feed(engine):
    source = socket.create_connection(("127.0.0.1", engine.feed_port))
    source.sendall(HEADER)
    return source


def send(source, symbol, at_us, price, size):
    source.sendall(f"{symbol},{at_us},{price},{size}\n".encode())


def subscribed(engine, symbols, timeframes):
    raw = Raw.open(engine.port)
    raw.ask(action="subscribe", channel="bars", symbols=symbols, timeframes=timeframes)
    raw.answer("subscribed")
    return raw


def fact(raw):
    while True:
        message = raw.answer("bar")
        if message["data"]["state"] != "forming":
            return message


def a_quiet_symbols_bar_closes_at_its_end_and_grace(binary):
    worst = 0
    with Engine(binary, bars=f'timeframes = ["1s", "2s"]\ngrace_ms = {GRACE_MS}') as engine:
        raw = subscribed(engine, ["QUIET"], ["1s", "2s"])
        source = feed(engine)
        for _ in range(3):
            # One tick, and then silence.
            at = now_us()
            send(source, "QUIET", at, "10.5", "2")
            for timeframe, span in (("1s", 1_000_000), ("2s", 2_000_000)):
                closed = fact(raw)
                came = now_us()
                data = closed["data"]
                end = (at // span + 1) * span
                require((data["timeframe"], data["end"]) == (timeframe, end), f"a bar ending at {end} expected: {closed}")
                require((data["state"], data["trades"], data["close"]) == ("closed", 1, 10.5), f"{closed}")
                late_ms = (came - end) / 1_000 - GRACE_MS
                # The feed's clock is measured; ours is the same one, give or take the way here.
                require(-50 < late_ms < LATENESS_MS, f"{timeframe} closed {late_ms:.1f} ms after its end and grace")
                worst = max(worst, late_ms)
        engine.stop()
    return f"at most {worst:.1f} ms later"


def a_tick_3_s_late_revises_its_bar_and_one_past_the_tolerance_does_not(binary):
    with Engine(binary, bars='timeframes = ["1s", "1m"]\nlate_tolerance_ms = 5000') as engine:
        raw = subscribed(engine, ["L"], ["1s"])
        source = feed(engine)
        at = now_us()
        start = at // 1_000_000 * 1_000_000
        send(source, "L", at, "100", "1")
        first = fact(raw)
        require((first["data"]["start"], first["data"]["state"]) == (start, "closed"), f"{first}")
        # Wait for the clock itself: that the tick is 3 s late is the point.
        while now_us() < at + 3_000_000:
            time.sleep(0.01)
        send(source, "L", at - 1, "90", "2")
        revised = fact(raw)
        data = revised["data"]
        require(revised["sequence"] == first["sequence"] + 1, f"{revised}")
        got = (data["start"], data["state"], data["rev"], data["reason"], data["trades"])
        require(got == (start, "revised", 1, "late", 2), f"{revised}")
        values = tuple(data[name] for name in ("open", "high", "low", "close", "volume"))
        require(values == (90, 100, 90, 100, 3), f"{revised}")
        while now_us() < at + 6_500_000:
            time.sleep(0.01)
        send(source, "L", at - 2, "80", "4")
        # What comes next is the close of a fresh bar, not a second revision.
        send(source, "L", now_us(), "101", "1")
        after = fact(raw)
        require(after["data"]["state"] == "closed" and after["data"]["open"] == 101, f"{after}")
        counters = engine.stop()
        require(counters.get("too_late") == 1, f"not counted: {counters}")


PROMISES = [
    a_quiet_symbols_bar_closes_at_its_end_and_grace,
    a_tick_3_s_late_revises_its_bar_and_one_past_the_tolerance_does_not,
]
