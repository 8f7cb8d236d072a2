"""Massive's own clients, with nothing changed but the address, see what was sent in, and live through a restart."""

import asyncio
import json
import subprocess
from pathlib import Path

from massive import WebSocketClient

from engine import PATIENCE_S, Engine, Failed, require, wait_for
from market import BEGIN_MS, MINUTE_MS, Market, the_same

ENGINE = {"form": "massive", "bars": 'timeframes = ["1s", "1m", "1h"]\nclock = "event"'}
SYMBOLS = ["AAPL", "MSFT", "BRK.B"]
SUBSCRIPTIONS = ["T.*", "AM.*", "Q.*", "A.*"]
MINUTES = 5
SCRIPT = Path(__file__).with_name("massive.mjs")

# The fields of the Python client's models, by their names on the wire.
AGGREGATE = {
    "symbol": "sym", "volume": "v", "accumulated_volume": "av", "official_open_price": "op", "vwap": "vw", "open": "o",
    "close": "c", "high": "h", "low": "l", "aggregate_vwap": "a", "average_size": "z", "start_timestamp": "s",
    "end_timestamp": "e", "fractional_volume": "dv", "fractional_accumulated_volume": "dav",
}  # fmt: skip
TRADE = {
    "symbol": "sym", "exchange": "x", "id": "i", "tape": "z", "price": "p", "size": "s", "fractional_shares": "ds",
    "conditions": "c", "timestamp": "t", "sequence_number": "q",
}  # fmt: skip
QUOTE = {
    "symbol": "sym", "bid_exchange_id": "bx", "bid_price": "bp", "bid_size": "bs", "ask_exchange_id": "ax", "ask_price": "ap",
    "ask_size": "as", "condition": "c", "timestamp": "t", "tape": "z",
}  # fmt: skip


class Seen:
    """Events as a client was shown them, by kind and symbol, in the fields of the wire."""

    def __init__(self):
        self.events = {}

    def add(self, event):
        kind, symbol = event.pop("ev"), event["sym"]
        self.events.setdefault((kind, symbol), []).append(event)

    def of(self, kind, symbol):
        return self.events.get((kind, symbol), [])

    def check(self, market, symbols):
        """Every trade in order, every closed bar once and whole, and of the quotes the newest."""
        for symbol in symbols:
            trades = self.of("T", symbol)
            require(len(trades) == len(market.trades[symbol]), f"{symbol}: {len(trades)} trades")
            for got, sent in zip(trades, market.trades[symbol]):
                wanted = {"sym": symbol, "p": sent["price"], "s": int(sent["size"]), "ds": str(sent["size"])}
                the_same(got, wanted | {name: sent[name] for name in "tqixzc"}, "a trade")
            for kind, length_ms in (("AM", MINUTE_MS), ("A", 1_000)):
                wanted = market.bars(symbol, length_ms)
                got = {bar["s"]: bar for bar in self.of(kind, symbol)}
                require(len(got) == len(self.of(kind, symbol)), f"{symbol}: a bar of {kind} came twice")
                require(set(got) == set(wanted), f"{symbol} {kind}: {sorted(got)} should be {sorted(wanted)}")
                for start, bar in got.items():
                    the_same(bar, wanted[start], f"{kind} of {start}")
            sent = [{"sym": symbol, **quote} for quote in market.quotes[symbol]]
            sent = [{k: float(v) if k in ("bp", "ap") else v for k, v in quote.items()} for quote in sent]
            quotes = self.of("Q", symbol)
            require(quotes and quotes[-1] == sent[-1], f"{symbol}: the newest quote is {quotes[-1:]}, not {sent[-1]}")
            require(all(quote in sent for quote in quotes), f"{symbol}: a quote that was never sent")

    def is_complete(self, market, symbols):
        def minutes(symbol):
            return len(self.of("AM", symbol)) >= len(market.bars(symbol, MINUTE_MS))

        def quoted(symbol):
            newest = self.of("Q", symbol)[-1:]
            return newest and newest[0]["t"] == market.quotes[symbol][-1]["t"]

        return all(
            len(self.of("T", s)) >= len(market.trades[s]) and minutes(s) and quoted(s) for s in symbols
        )


def warm_up(market, seen, name):
    """Sends until something of every subscription has come: from then on nothing is missed."""
    rounds = iter(range(1_000))

    def look():
        at_ms = BEGIN_MS + next(rounds) * 61_000
        market.trade(name, at_ms)
        market.quote(name, at_ms)
        return all(seen.of(kind, name) for kind in ("T", "Q", "A", "AM"))

    wait_for(look, f"something of each of {SUBSCRIPTIONS}: {list(seen.events)}")


class Python:
    """The client of PyPI `massive`."""

    def __init__(self, port):
        self.seen = Seen()
        self.client = WebSocketClient(
            api_key="any",
            feed=f"127.0.0.1:{port}",
            market="stocks",
            secure=False,
            subscriptions=SUBSCRIPTIONS,
        )

    async def __aenter__(self):
        self.running = asyncio.create_task(self.client.connect(self.take))
        return self

    async def take(self, events):
        for event in events:
            names = {"EquityAgg": AGGREGATE, "EquityTrade": TRADE, "EquityQuote": QUOTE}[type(event).__name__]
            values = {wire: getattr(event, name) for name, wire in names.items()}
            given = {wire: value for wire, value in values.items() if value is not None}
            self.seen.add({"ev": event.event_type, **given})

    async def work(self, function, *arguments):
        """Runs something that waits beside the client, which must not have ended."""
        done = await asyncio.to_thread(function, *arguments)
        require(not self.running.done(), f"the client has ended: {self.running}")
        return done

    async def __aexit__(self, *_):
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


class JavaScript:
    """The client of npm `@massive.com/client-js`, in a Node of its own that connects again when it is closed."""

    def __init__(self, port):
        self.seen = Seen()
        self.closes = []
        command = ["node", str(SCRIPT), f"ws://127.0.0.1:{port}", ",".join(SUBSCRIPTIONS)]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    async def __aenter__(self):
        self.reading = asyncio.create_task(asyncio.to_thread(self.read))
        return self

    def read(self):
        for line in self.child.stdout:
            said = json.loads(line)
            if "close" in said:
                self.closes.append(said["close"])
            else:
                self.seen.add(said)

    async def work(self, function, *arguments):
        done = await asyncio.to_thread(function, *arguments)
        require(self.child.poll() is None, f"node ended with {self.child.poll()}")
        return done

    async def __aexit__(self, *_):
        self.child.kill()
        await self.reading
        self.child.wait()


async def follow(binary, make):
    with Engine(binary, **ENGINE) as engine:
        market = Market(engine.feed_port)
        async with make(engine.port) as client:
            await client.work(warm_up, market, client.seen, "WARM")
            await client.work(market.run, SYMBOLS, MINUTES)
            complete = lambda: client.seen.is_complete(market, SYMBOLS)
            try:
                await client.work(wait_for, complete, "all that was sent")
            except Failed:
                # Says what is missing.
                client.seen.check(market, SYMBOLS)
                raise
            client.seen.check(market, SYMBOLS)
            trades = sum(len(client.seen.of("T", symbol)) for symbol in SYMBOLS)
            bars = sum(len(client.seen.of(kind, symbol)) for kind in ("A", "AM") for symbol in SYMBOLS)
        market.close()
        counts = engine.stop()
    require(counts["gateway-0.errors"] == 0 if "gateway-0.errors" in counts else True, f"requests were refused: {counts}")
    return f"{trades} trades, {bars} bars"


async def survive(binary, make):
    first = Engine(binary, **ENGINE)
    port = first.port
    with first:
        async with make(port) as client:
            market = Market(first.feed_port)
            await client.work(warm_up, market, client.seen, "BEFORE")
            market.close()
            await asyncio.to_thread(first.stop)
            with Engine(binary, port=port, **ENGINE) as second:
                market = Market(second.feed_port, seed=2)
                await client.work(warm_up, market, client.seen, "AFTER")
                await client.work(market.run, SYMBOLS, 1, BEGIN_MS + 10 * 61_000)
                complete = lambda: client.seen.is_complete(market, SYMBOLS)
                await client.work(wait_for, complete, "all that was sent after the restart")
                client.seen.check(market, SYMBOLS)
                market.close()
            closes = getattr(client, "closes", [1012])
            require(closes[:1] == [1012], f"closed with {closes}, not 1012")


async def the_python_client_sees_every_trade_and_bar_that_was_sent(binary):
    return await follow(binary, Python)


async def the_javascript_client_sees_every_trade_and_bar_that_was_sent(binary):
    return await follow(binary, JavaScript)


async def the_python_client_lives_through_a_restart(binary):
    await survive(binary, Python)


async def the_javascript_client_lives_through_a_restart(binary):
    await survive(binary, JavaScript)


PROMISES = [
    the_python_client_sees_every_trade_and_bar_that_was_sent,
    the_javascript_client_sees_every_trade_and_bar_that_was_sent,
    the_python_client_lives_through_a_restart,
    the_javascript_client_lives_through_a_restart,
]
