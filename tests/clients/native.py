"""A client of the native protocol that believes nothing: it checks each message against the one before."""

import asyncio
import json
from decimal import Decimal

from websockets.asyncio.client import connect

from engine import PATIENCE_S, Failed, require


def read(text):
    """JSON with exact decimals."""
    return json.loads(text, parse_float=Decimal)


async def open_socket(url, **options):
    """A WebSocket without compression, pings or proxies of its own.

    Its queue has no bound: with one, a client that closes while messages wait in it never reads the answer to its close.
    """
    plain = {"compression": None, "ping_interval": None, "proxy": None, "max_queue": None, "max_size": None}
    return await connect(url, open_timeout=PATIENCE_S, **plain, **options)


async def together(*work):
    """All at once; the first failure ends the others, and is the one that is told."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Topic:
    """One stream as a client sees it."""

    def __init__(self, sequence):
        self.sequence = sequence
        # Everything before is closed; a forming bar may not go back behind it.
        self.closed_to = 0
        # Trades of each forming bar: during the grace of one the next forms already.
        self.forming = {}
        self.facts = 0


class Native:
    """A connection, the topics it follows, and what it has seen."""

    def __init__(self, socket, bars, ledger):
        self.socket = socket
        self.bars = bars
        # (topic, sequence) -> what that fact said; shared by all clients, who must all be told the same.
        self.ledger = ledger
        self.topics = {}
        self.wild = None
        self.welcome = None
        self.requests = 0

    @classmethod
    async def connect(cls, url, bars, ledger):
        client = cls(await open_socket(url), bars, ledger)
        client.welcome = await client.receive()
        require(client.welcome["type"] == "welcome", f"the first message is {client.welcome}")
        return client

    async def send(self, **fields):
        self.requests += 1
        fields["id"] = self.requests
        await self.socket.send(json.dumps(fields))

    async def receive(self):
        try:
            return read(await asyncio.wait_for(self.socket.recv(), PATIENCE_S))
        except asyncio.TimeoutError:
            raise Failed(f"nothing came for {PATIENCE_S} s") from None

    async def subscribe(self, symbols, timeframes, **more):
        await self.send(action="subscribe", channel="bars", symbols=symbols, timeframes=timeframes, **more)
        return await self.reply("subscribed")

    async def reply(self, kind):
        """Follows the stream up to the answer of the last request."""
        while True:
            message = await self.follow()
            if message.get("id") == self.requests:
                require(message["type"] == kind, f"{kind} expected: {message}")
                return message

    async def follow(self):
        """Takes one message and checks it."""
        message = await self.receive()
        kind = message["type"]
        if kind in ("bar", "snapshot"):
            self.on_bar(message)
        elif kind == "subscribed":
            self.on_subscribed(message)
        elif kind == "unsubscribed":
            self.on_unsubscribed(message)
        elif kind == "slow":
            # A client that the machine holds up is told so: it lost forming bars, and still no fact.
            require(message["conflated"] > 0 and message["topic"].startswith("bars/"), f"unexpected: {message}")
        else:
            require(kind == "pong", f"unexpected: {message}")
        return message

    def on_subscribed(self, message):
        if message["symbols"] == ["*"]:
            require("sequences" not in message, f"a wildcard has no positions: {message}")
            self.wild = True
            return
        for name, sequence in message["sequences"].items():
            topic = self.topics.get(name)
            if topic is None:
                self.topics[name] = Topic(sequence)
            elif message.get("recovered") is not False:
                # Subscribed already: the new cut is just where the old stream stands. Or the facts since the
                # client's own position are to follow, up to the new one.
                told = "recovered" in message
                require(
                    sequence >= topic.sequence if told else sequence == topic.sequence,
                    f"{name}: the cut is at {sequence}, the stream at {topic.sequence}",
                )
            else:
                self.topics[name] = Topic(sequence)

    def on_unsubscribed(self, message):
        if "symbols" not in message or message["symbols"] == ["*"]:
            self.topics.clear()
            self.wild = None
            return
        for symbol in message["symbols"]:
            for name in [name for name in self.topics if name.rpartition("/")[0] == symbol]:
                del self.topics[name]

    def on_bar(self, message):
        data, sequence = message["data"], message["sequence"]
        name = f"{data['symbol']}/{data['timeframe']}"
        topic = self.topics.get(name)
        if topic is None:
            require(self.wild, f"{name} was not asked for: {message}")
            # A wildcard's topic begins with its snapshot, or with its first fact.
            begins = sequence if message["type"] == "snapshot" or data["state"] == "forming" else 0
            topic = self.topics[name] = Topic(begins)
        self.bars.check(data)
        state = data["state"]
        if message["type"] == "snapshot" or state == "forming":
            require(
                sequence == topic.sequence, f"{name}: {state} at {sequence}, the stream is at {topic.sequence}: {message}"
            )
        else:
            require(
                sequence == topic.sequence + 1, f"{name}: fact {sequence} after {topic.sequence}: {message}"
            )
            topic.sequence = sequence
            topic.facts += 1
        if state == "forming":
            require(data["start"] >= topic.closed_to, f"{name}: forming again after it closed: {message}")
            before = topic.forming.get(data["start"], 0)
            require(data["trades"] >= before, f"{name}: {data['trades']} trades after {before}: {message}")
            topic.forming[data["start"]] = data["trades"]
        else:
            topic.closed_to = max(topic.closed_to, data["end"])
            topic.forming.pop(data["start"], None)
            said = (data["start"], state, data["rev"], data["trades"])
            # A snapshot shows the last fact, which may have been revised since it was first told.
            if message["type"] != "snapshot":
                others = self.ledger.setdefault((name, sequence), said)
                require(others == said, f"{name}: fact {sequence} is {said} here and {others} elsewhere")

    async def close(self):
        await self.socket.close()

    def drop(self):
        """Gone without a word."""
        self.socket.transport.abort()
