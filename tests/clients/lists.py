"""Ten thousand symbols in one request: answered in full, and no other client waits for it."""

import asyncio
import json
import time

from engine import PATIENCE_S, Engine, require
from native import open_socket, read, together
from ticks import Bars, Feed

COUNT = 10_000
# Generous: the machine is shared, and a whole request took a fraction of it when it was measured.
DELAY_S_MAX = 2.0
ENGINE = {"bars": 'timeframes = ["1s", "5s"]\nclock = "event"', "cores": "shards = 2"}


async def answered(socket, request):
    """The answer of a request and how long it took, s; what comes before it is passed over."""
    began = time.monotonic()
    await socket.send(json.dumps({**request, "id": 1}))
    while True:
        message = read(await asyncio.wait_for(socket.recv(), PATIENCE_S))
        if isinstance(message, dict) and message.get("id") == 1:
            return message, time.monotonic() - began


async def gaps(socket, ending, seen):
    """The longest time between two messages of a steady stream, s."""
    longest, last = 0, time.monotonic()
    while not ending.is_set():
        await asyncio.wait_for(socket.recv(), PATIENCE_S)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        seen.append(now)
    return longest


async def ten_thousand_symbols_are_subscribed_at_once_and_delay_nobody(binary):
    names = [f"SYMBOL-{n:05}" for n in range(COUNT)]
    about = {"channel": "bars", "symbols": names, "timeframes": ["1s", "5s"]}
    with Engine(binary, **ENGINE) as engine:
        feed = Feed(engine.feed_port, ["AAA"], Bars(["1s", "5s"]), 200).start()
        other, client = await open_socket(engine.url), await open_socket(engine.url)
        await other.recv()
        welcome = read(await client.recv())
        require(welcome["limits"]["subscriptions_max"] >= 2 * COUNT, f"{welcome}")
        await other.send(json.dumps({"action": "subscribe", "channel": "trades", "symbols": ["AAA"]}))
        ending, seen = asyncio.Event(), []

        async def requests():
            took = {}
            while not seen:
                await asyncio.sleep(0.01)
            for terms in ({}, {"batch_ms": 100, "format": "binary"}):
                reply, took["subscribe"] = await answered(client, {"action": "subscribe", **about, **terms})
                require(reply["type"] == "subscribed" and len(reply["sequences"]) == 2 * COUNT, f"{reply}"[:200])
            reply, took["list"] = await answered(client, {"action": "list"})
            require(len(reply["subscriptions"]) == 2 * COUNT, "the list is not whole")
            reply, took["unsubscribe"] = await answered(client, {"action": "unsubscribe", **about})
            require(reply["type"] == "unsubscribed", f"{reply}"[:200])
            ending.set()
            return took

        longest, took = await together(gaps(other, ending, seen), requests())
        feed.end()
        require(longest < DELAY_S_MAX, f"another client heard nothing for {longest:.3f} s")
        for socket in (other, client):
            socket.transport.abort()
        times = ", ".join(f"{name} {1_000 * s:.0f} ms" for name, s in took.items())
        return f"{2 * COUNT} topics: {times}; longest gap elsewhere {1_000 * longest:.0f} ms of 5"


PROMISES = [ten_thousand_symbols_are_subscribed_at_once_and_delay_nobody]
