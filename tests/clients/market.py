"""Trades and quotes as Massive sends them, and what each of its clients must be shown for them, to the last digit."""

import json
import random
import socket
from decimal import ROUND_HALF_EVEN, Decimal

from engine import require

# 2024-01-02 14:30 UTC: within a day, at the beginning of a minute.
BEGIN_MS = 1_704_205_800_000
DAY_MS = 86_400_000
MINUTE_MS = 60_000


def vwap(trades):
    size = sum(trade["size"] for trade in trades)
    if not size:
        return None
    sum_of = sum(trade["price"] * trade["size"] for trade in trades)
    return (sum_of / size).quantize(Decimal("1e-9"), ROUND_HALF_EVEN)


class Market:
    """A feed over TCP in Massive's own messages, and all that it has sent."""

    def __init__(self, port, seed=1):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.dice = random.Random(seed)
        self.trades = {}
        self.quotes = {}
        self.sequence = 0

    def send(self, *events):
        text = json.dumps(events, default=float)
        self.socket.sendall(text.encode() + b"\n")

    def trade(self, symbol, at_ms, sale=None):
        """Sends one trade of a random price and size."""
        price = Decimal(self.dice.randrange(9_000, 11_000)) / 100
        size = Decimal(self.dice.randrange(1, 500))
        self.sequence += 1
        trade = {"price": price, "size": size, "t": at_ms, "q": self.sequence, "i": str(self.sequence)}
        trade["x"], trade["z"], trade["c"] = self.dice.randrange(1, 20), self.dice.randrange(1, 4), [12, 37][: self.dice.randrange(3)]
        self.trades.setdefault(symbol, []).append(trade)
        self.send({"ev": "T", "sym": symbol, "p": price, "s": int(size), **{k: trade[k] for k in "tqixzc"}})

    def quote(self, symbol, at_ms):
        bid = Decimal(self.dice.randrange(9_000, 11_000)) / 100
        quote = {"bx": 11, "bp": bid, "bs": 3, "ax": 12, "ap": bid + Decimal("0.01"), "as": 4, "c": 1, "t": at_ms, "z": 3}
        self.quotes.setdefault(symbol, []).append(quote)
        self.send({"ev": "Q", "sym": symbol, **quote})

    def run(self, symbols, minutes, begin_ms=BEGIN_MS):
        """Trades and quotes of some minutes, in order of time; the last closes with the first trade after it."""
        for at_ms in range(begin_ms, begin_ms + minutes * MINUTE_MS, 7_000):
            for symbol in symbols:
                self.trade(symbol, at_ms + self.dice.randrange(1_000))
                self.quote(symbol, at_ms + 1_000)
        for symbol in symbols:
            self.trade(symbol, begin_ms + minutes * MINUTE_MS + 30_000)

    def bars(self, symbol, length_ms):
        """What each closed bar must be, by its start, in the fields of Massive."""
        bars, whole = {}, []
        day = None
        for trade in self.trades[symbol]:
            start = trade["t"] // length_ms * length_ms
            bars.setdefault(start, []).append(trade)
        for start, trades in sorted(bars.items()):
            if day != start // DAY_MS:
                day, whole = start // DAY_MS, []
            whole += trades
            prices = [trade["price"] for trade in trades]
            volume = sum(trade["size"] for trade in trades)
            total = sum(trade["size"] for trade in whole)
            bars[start] = {
                "sym": symbol,
                "v": volume, "dv": str(volume), "av": total, "dav": str(total),
                "op": whole[0]["price"], "vw": vwap(trades), "o": prices[0], "c": prices[-1],
                "h": max(prices), "l": min(prices), "a": vwap(whole), "z": volume // len(trades),
                "s": start, "e": start + length_ms,
            }  # fmt: skip
        # The last is still open.
        bars.pop(max(bars))
        return bars

    def close(self):
        self.socket.close()


def the_same(got, wanted, what):
    """Numbers as the client holds them, which is as floats."""
    plain = {name: float(value) if isinstance(value, Decimal) else value for name, value in wanted.items()}
    require(got == plain, f"{what}: {got} should be {plain}")
