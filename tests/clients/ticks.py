"""Generated ticks and what must become of them: for each bar, the exact values after each of its ticks."""

import random
import socket
import threading
import time
from decimal import Decimal

from engine import require

HEADER = b"symbol,timestamp_us,price,size\n"
# Event times need not be ours where bars close by event time: 2024-01-02 00:00 UTC, which all timeframes divide.
BEGIN_US = 1_704_153_600_000_000
SPANS_US = {"1s": 1_000_000, "5s": 5_000_000, "1m": 60_000_000}


class Bars:
    """All values that each bar ever had.

    A bar may be told while it forms, when it closes and after it was revised. Whichever it is, and however the engine
    works inside, with `n` trades it must be what the first `n` of its trades in the order of the feed make.
    """

    def __init__(self, timeframes):
        self.timeframes = timeframes
        self.values = {}
        self.ends = {}

    def add(self, symbol, at_us, price, size):
        for timeframe in self.timeframes:
            start = at_us // SPANS_US[timeframe] * SPANS_US[timeframe]
            history = self.values.setdefault((symbol, timeframe, start), [])
            if not history:
                history.append((price, price, price, price, size, price * size))
                self.ends[symbol, timeframe, start] = (at_us, at_us)
                continue
            o, h, l, c, v, n = history[-1]
            first, last = self.ends[symbol, timeframe, start]
            # The least time opens, the greatest closes; of equal times the first opens and the last closes.
            if at_us < first:
                o, first = price, at_us
            if at_us >= last:
                c, last = price, at_us
            history.append((o, max(h, price), min(l, price), c, v + size, n + price * size))
            self.ends[symbol, timeframe, start] = (first, last)

    def check(self, data):
        """`data` of a bar message, whose numbers are decimals."""
        key = data["symbol"], data["timeframe"], data["start"]
        history = self.values.get(key)
        require(history is not None, f"a bar that no tick made: {data}")
        require(data["end"] == data["start"] + SPANS_US[data["timeframe"]], f"a wrong end: {data}")
        require(0 < data["trades"] <= len(history), f"{data['trades']} of {len(history)} trades: {data}")
        o, h, l, c, v, n = history[data["trades"] - 1]
        got = tuple(data[name] for name in ("open", "high", "low", "close", "volume"))
        require(got == (o, h, l, c, v), f"{data} should have {(o, h, l, c, v)}")
        vwap = (n / v).quantize(Decimal("1e-9")) if v else None
        require(data["vwap"] == vwap, f"{data} should have vwap {vwap}")

    def final(self, data):
        return data["trades"] == len(self.values[data["symbol"], data["timeframe"], data["start"]])


class Feed:
    """A feed of generated trades over TCP from a thread of its own, at a steady pace, until it is told to end.

    Each symbol's event time goes `step_us` on with each of its ticks. About one tick in fifty is late by up to
    `late_us`, so that bars are revised as well.
    """

    def __init__(self, port, symbols, bars, per_s, step_us=500_000, late_us=4_000_000, seed=1):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(HEADER)
        self.symbols, self.bars, self.per_s = symbols, bars, per_s
        self.step_us, self.late_us = step_us, late_us
        self.dice = random.Random(seed)
        self.sent = 0
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self.thread.start()
        return self

    def round(self):
        """One tick of each symbol, as text; the bars know of them before they are sent."""
        at = BEGIN_US + self.sent * self.step_us
        self.sent += 1
        rows = []
        for symbol in self.symbols:
            late = self.late_us and self.sent > 100 and self.dice.random() < 0.02
            at_us = at - (self.dice.randrange(self.late_us) if late else 0)
            price = Decimal(self.dice.randrange(9_000, 11_000)) / 100
            size = Decimal(self.dice.randrange(1, 100_000)) / 1_000
            self.bars.add(symbol, at_us, price, size)
            rows.append(f"{symbol},{at_us},{price},{size}\n")
        return "".join(rows).encode()

    def _run(self):
        due = time.monotonic()
        try:
            while not self.ending.is_set():
                self.socket.sendall(self.round())
                due += 1 / self.per_s
                # The pace is the load itself. A feed that was held up makes up for it.
                time.sleep(max(0, due - time.monotonic()))
        except OSError:
            # The engine is gone; whoever needed the ticks will say so.
            pass

    def end(self):
        """The last tick is sent."""
        self.ending.set()
        self.thread.join()
        self.socket.close()
