"""Ten thousand clients join, leave and come back at random moments of one stream, and none has a gap or a repeat."""

import asyncio
import random
from decimal import Decimal

from engine import PATIENCE_S, Engine, Failed, require
from native import Native, Topic, together
from ticks import BEGIN_US, Bars, Feed

SYMBOLS = [f"S{n:02}" for n in range(16)]
TIMEFRAMES = ["1s", "5s"]
# Two shards, so that one request waits for several.
ENGINE = {
    "bars": 'timeframes = ["1s", "5s", "1m"]\nclock = "event"',
    "cores": "shards = 2",
}
TICKS_PER_S = 40
FACTS_AFTER_CUT = 2


async def witness(client, facts):
    """Follows everything from the first tick on."""
    while True:
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

    async def __aenter__(self):
        self.client = await self.connect()
        reply = await self.client.subscribe(SYMBOLS, self.timeframes, forming=False)
        require(len(reply["sequences"]) == len(SYMBOLS) * len(self.timeframes), f"positions missing: {reply}")
        self.witness = asyncio.create_task(witness(self.client, self.facts))
        self.feed = Feed(self.engine.feed_port, SYMBOLS, self.bars, TICKS_PER_S).start()
        while not self.facts:
            await self.client_turn()
        self.descriptors = self.engine.descriptors()
        return self

    async def client_turn(self):
        """Lets the witness go on, and hears of its trouble."""
        if self.witness.done():
            self.witness.result()
        await asyncio.sleep(0.01)

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
            await self.client_turn()
        while self.engine.descriptors() >= self.descriptors and asyncio.get_running_loop().time() < deadline:
            await self.client_turn()
        # The feed's own is gone as well.
        left = self.engine.descriptors() - self.descriptors + 1
        require(left == 0, f"{left} descriptors are left of those who went")
        require(missing() is None, f"the witness misses {missing()}")
        require(sum(t.facts for t in self.client.topics.values()) == len(self.facts), "the witness lost count")
        self.witness.cancel()
        counters = self.engine.stop()
        require(counters.get("gaps", 0) == 0, f"the gateway noticed gaps: {counters}")
        sent = self.feed.sent * len(SYMBOLS)
        require(counters["feed.test.accepted"] == sent, f"{sent} ticks were sent: {counters}")


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
        await together(*(worker(load, random.Random(seed), visits) for seed in range(workers)))
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


async def ten_thousand_returns_with_own_positions_get_each_fact_once_or_are_told(binary, returns=10_000, clients=80):
    async with Load(binary) as load:
        comings = list(range(returns))
        outcomes = await together(*(traveller(load, random.Random(seed), comings) for seed in range(clients)))
    recovered = sum(good for good, _ in outcomes)
    lost = sum(bad for _, bad in outcomes)
    require(recovered > returns * 0.9, f"only {recovered} of {returns} were recovered, {lost} not")
    return f"{recovered} recovered, {lost} told that they were not"


async def a_position_that_history_no_longer_holds_is_answered_with_recovered_false(binary):
    """A history of 1 MiB holds some thousand bars; far more are made before the client comes back."""
    seconds = 3_000
    bars = Bars(["1s"])
    settings = {"bars": 'timeframes = ["1s"]\nclock = "event"\ngrace_ms = 0\nhistory_mib_max = 1'}
    with Engine(binary, **settings) as engine:
        feed = Feed(engine.feed_port, SYMBOLS, bars, 0, step_us=1_000_000, late_us=0)
        for _ in range(seconds):
            feed.socket.sendall(feed.round())
        ledger = {}
        client = await Native.connect(engine.url, bars, ledger)
        while True:
            now = (await client.subscribe(["S00"], ["1s"]))["sequences"]["S00/1s"]
            if now == seconds - 1:
                break
        await client.close()
        for since, recovered in ((1, False), (now - 3, True), (now, True), (now + 5, False)):
            client = await Native.connect(engine.url, bars, ledger)
            client.topics["S00/1s"] = Topic(since)
            position = {"epoch": client.welcome["epoch"], "sequences": {"S00/1s": since}}
            reply = await client.subscribe(["S00"], ["1s"], since=position)
            require(reply["recovered"] is recovered, f"since {since} of {now}: {reply}")
            require(reply["sequences"]["S00/1s"] == now, f"since {since} of {now}: {reply}")
            # All that is to come has come once a later request is answered.
            await client.send(action="ping")
            await client.reply("pong")
            topic = client.topics["S00/1s"]
            require((topic.sequence, topic.facts) == (now, now - since if recovered else 0), f"{topic.__dict__}")
            await client.close()
        engine.stop()


async def a_planted_gap_repeat_or_wrong_digit_is_found(_binary):
    """The check itself, on a stream made up here."""
    bars = Bars(["1s"])
    for second in range(5):
        for price in (10, 12):
            bars.add("P", BEGIN_US + second * 1_000_000, Decimal(price), Decimal(1))

    def bar(sequence, second, state="closed", trades=2, **wrong):
        start = BEGIN_US + second * 1_000_000
        close = 12 if trades == 2 else 10
        data = {"symbol": "P", "timeframe": "1s", "start": start, "end": start + 1_000_000, "open": 10, "high": close}
        data |= {"low": 10, "close": close, "volume": trades, "vwap": (10 + close) // 2 if trades == 2 else 10}
        data |= {"trades": trades, "state": state, "rev": 0} | wrong
        return {"type": "bar", "sequence": sequence, "data": data}

    good = [bar(8, 0), bar(8, 1, "forming", 1), bar(8, 1, "forming"), bar(9, 1), bar(9, 2, "forming", 1)]
    planted = {
        "a gap": good + [bar(11, 2)],
        "a repeat": good + [bar(9, 1)],
        "a forming bar after its close": good + [bar(9, 1, "forming")],
        "a forming bar that lost a trade": good[:3] + [bar(8, 1, "forming", 1)],
        "a forming bar of an older fact": good + [bar(8, 2, "forming")],
        "a wrong digit": good + [bar(10, 2, close=11)],
        "a wrong volume": good + [bar(10, 2, volume=3)],
        "a bar of no tick": good + [bar(10, 7)],
        "too many trades": good + [bar(10, 2, trades=3)],
        "another story than others were told": good + [bar(10, 2, rev=1)],
        "a topic nobody asked for": good + [bar(10, 2, symbol="Q")],
    }

    def play(messages):
        client = Native(None, bars, {("P/1s", 10): (BEGIN_US + 2_000_000, "closed", 0, 2)})
        client.topics["P/1s"] = Topic(7)
        for message in messages:
            client.on_bar(message)

    play(good + [bar(10, 2)])
    for name, messages in planted.items():
        try:
            play(messages)
        except Failed:
            continue
        raise Failed(f"{name} was not found")
    return f"{len(planted)} kinds"


PROMISES = [
    a_planted_gap_repeat_or_wrong_digit_is_found,
    a_position_that_history_no_longer_holds_is_answered_with_recovered_false,
    ten_thousand_joins_at_random_moments_see_no_gap_and_no_repeat,
    ten_thousand_returns_with_own_positions_get_each_fact_once_or_are_told,
]
