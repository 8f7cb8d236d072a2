"""Ten thousand clients join, leave and come back at random moments of one stream, and none has a gap or a repeat."""

import asyncio
import random

from engine import Engine, PATIENCE_S, require
from native import Native
from ticks import BEGIN_US, Bars, Feed

SYMBOLS = [f"S{n:02}" for n in range(16)]
TIMEFRAMES = ["1s", "5s"]
# Two shards, so that one request waits for several; rings small enough to fill.
ENGINE = {
    "bars": 'timeframes = ["1s", "5s", "1m"]\nclock = "event"',
    "cores": "shards = 2",
}
TICKS_PER_S = 40
FACTS_AFTER_CUT = 2


async def witness(client, facts, stop):
    """Follows everything from the first tick on."""
    while not stop.is_set():
        message = await client.follow()
        if message["type"] == "bar":
            facts.append(message["data"])


class Load:
    """An engine, its feed, a witness and what all clients were told."""

    def __init__(self, binary, timeframes=TIMEFRAMES):
        self.engine = Engine(binary, **ENGINE)
        self.bars = Bars(timeframes)
        self.timeframes = timeframes
        self.ledger = {}
        self.facts = []
        self.stop = asyncio.Event()

    async def __aenter__(self):
        self.client = await self.connect()
        reply = await self.client.subscribe(SYMBOLS, self.timeframes, forming=False)
        require(len(reply["sequences"]) == len(SYMBOLS) * len(self.timeframes), f"positions missing: {reply}")
        self.witness = asyncio.create_task(witness(self.client, self.facts, self.stop))
        self.feed = Feed(self.engine.feed_port, SYMBOLS, self.bars, TICKS_PER_S).start()
        return self

    async def __aexit__(self, kind, *_):
        try:
            if kind is None:
                await self.settle()
        finally:
            self.feed.end()
            self.witness.cancel()
            self.engine.kill()
            self.engine.folder.cleanup()

    async def connect(self):
        return await Native.connect(self.engine.url, self.bars, self.ledger)

    async def settle(self):
        """The feed ends; the witness has every fact that anyone has, and each bar's last word is its final value."""
        self.feed.end()
        # All but the newest bars of each topic close: their end has passed in the symbol's own time.
        last = self.feed.sent * self.feed.step_us
        due = {key for key in self.bars.values if key[2] + 10_000_000 < last + BEGIN_US}

        def missing():
            """What the witness was not yet told."""
            topics = self.client.topics
            for name, sequence in self.ledger:
                if sequence > topics[name].sequence:
                    return f"fact {sequence} of {name}, which others saw"
            words = {(d["symbol"], d["timeframe"], d["start"]): d for d in self.facts}
            for key in due:
                if key not in words or not self.bars.final(words[key]):
                    return f"the last word on {key}; there is {words.get(key)}"
            return None

        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while missing() and asyncio.get_running_loop().time() < deadline:
            if self.witness.done():
                self.witness.result()
            await asyncio.sleep(0.1)
        require(missing() is None, f"the witness misses {missing()}")
        require(sum(t.facts for t in self.client.topics.values()) == len(self.facts), "the witness lost count")
        self.stop.set()
        counters = self.engine_counters()
        require(counters.get("gaps", 0) == 0, f"the gateway noticed gaps: {counters}")

    def engine_counters(self):
        self.witness.cancel()
        return self.engine.stop()


async def visit(client, dice):
    """One join: subscribe, read past the cut, and perhaps subscribe over it once more."""
    forming = dice.random() < 0.7
    wild = dice.random() < 0.02
    symbols = ["*"] if wild else dice.sample(SYMBOLS, dice.choice((1, 1, 2, 3)))
    timeframes = ["1s"] if wild else dice.choice((["1s"], ["1s", "5s"]))
    reply = await client.subscribe(symbols, timeframes, forming=forming)
    if not wild:
        wanted = {f"{symbol}/{timeframe}" for symbol in symbols for timeframe in timeframes}
        require(set(reply["sequences"]) == wanted, f"asked for {wanted}: {reply}")
    facts = 0
    while facts < FACTS_AFTER_CUT:
        message = await client.follow()
        facts += message["type"] == "bar" and message["data"]["state"] != "forming"
    return symbols, timeframes


async def worker(load, dice, visits):
    """Comes and goes until all visits are made."""
    while visits:
        await asyncio.sleep(dice.random() / 50)
        client = await load.connect()
        for _ in range(dice.randrange(1, 4)):
            if not visits:
                break
            visits.pop()
            symbols, timeframes = await visit(client, dice)
            if symbols != ["*"] and dice.random() < 0.2:
                # Over the old subscription: the cut is where the stream stands.
                await client.subscribe(symbols, timeframes, forming=dice.random() < 0.5)
            if dice.random() < 0.5:
                await client.send(action="unsubscribe_all")
            else:
                await client.send(action="unsubscribe", channel="bars", symbols=symbols, timeframes=timeframes)
            await client.reply("unsubscribed")
            require(not client.topics, f"still subscribed: {list(client.topics)}")
        # Some leave in mid-stream, some in good order, some without a word.
        way = dice.random()
        if way < 0.3:
            await client.send(action="subscribe", channel="bars", symbols=["*"], timeframes=["1s"])
            client.drop()
        elif way < 0.5:
            client.drop()
        else:
            await client.close()


async def ten_thousand_joins_at_random_moments_see_no_gap_and_no_repeat(binary, joins=10_000, workers=50):
    async with Load(binary) as load:
        visits = list(range(joins))
        await asyncio.gather(*(worker(load, random.Random(seed), visits) for seed in range(workers)))
    return f"{joins} joins by {workers} clients, {len(load.facts)} facts"


async def traveller(load, dice, comings):
    """A client that loses its connection again and again and each time says how far it had come."""
    symbols = dice.sample(SYMBOLS, 2)
    names = [f"{symbol}/{timeframe}" for symbol in symbols for timeframe in load.timeframes]
    client = await load.connect()
    await client.subscribe(symbols, load.timeframes)
    recovered = lost = 0
    while comings:
        comings.pop()
        for _ in range(dice.randrange(40)):
            await client.follow()
        client.drop()
        # Away for a moment, or for long enough that some facts are missed.
        await asyncio.sleep(dice.random() * dice.choice((0.02, 0.3)))
        topics, epoch = client.topics, client.welcome["epoch"]
        client = await load.connect()
        stranger = dice.random() < 0.05
        client.topics = topics
        since = {
            "epoch": "of another run" if stranger else epoch,
            "sequences": {name: topics[name].sequence for name in names},
        }
        reply = await client.subscribe(symbols, load.timeframes, since=since)
        require("recovered" in reply, f"since was not answered: {reply}")
        require(not (stranger and reply["recovered"]), f"recovered from another epoch: {reply}")
        if reply["recovered"]:
            recovered += 1
            goal = reply["sequences"]
            while any(topics[name].sequence < goal[name] for name in names):
                await client.follow()
        else:
            lost += not stranger
    await client.close()
    return recovered, lost


async def two_thousand_returns_with_own_positions_get_each_fact_once_or_are_told(binary, returns=2_000, clients=40):
    async with Load(binary) as load:
        comings = list(range(returns))
        outcomes = await asyncio.gather(*(traveller(load, random.Random(seed), comings) for seed in range(clients)))
    recovered = sum(good for good, _ in outcomes)
    lost = sum(bad for _, bad in outcomes)
    require(recovered > returns * 0.9, f"only {recovered} of {returns} were recovered, {lost} not")
    return f"{recovered} recovered, {lost} told that they were not"


PROMISES = [
    ten_thousand_joins_at_random_moments_see_no_gap_and_no_repeat,
    two_thousand_returns_with_own_positions_get_each_fact_once_or_are_told,
]
