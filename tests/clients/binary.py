"""The same stream as JSON and as binary records, read with the shipped decoder: message for message the same."""

import json
import socket
import sys
from decimal import Decimal
from pathlib import Path

from engine import Engine, require
from native import open_socket, read, together
from ticks import Bars, Feed

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import tickwire_binary  # noqa: E402

SYMBOLS = ["AAA", "BBB", "CCC"]
ENGINE = {"bars": 'timeframes = ["1s", "5s"]\nclock = "event"', "cores": "shards = 2"}
FACTS = 300


def messages(payload):
    """The JSON objects of a message, or its records."""
    if isinstance(payload, bytes):
        return list(tickwire_binary.records(payload))
    message = read(payload)
    return message if isinstance(message, list) else [message]


def comparable(message, binary):
    """A message without what depends on when it was encoded; times as JSON has them, numbers as exact decimals."""
    def micros(at):
        return at // 1_000 if binary else at

    data = dict(message["data"])
    for name in ("start", "end", "timestamp"):
        if name in data:
            data[name] = micros(data[name])
    numbers = {name: Decimal(value) for name, value in data.items() if isinstance(value, (int, Decimal))}
    data.update(numbers)
    kept = {name: message[name] for name in ("type", "channel", "sequence")}
    return {**kept, "ts_event": micros(message["ts_event"]), "ts_recv": micros(message["ts_recv"]), "data": data}


async def facts(url, channel, terms):
    """Follows all facts of a channel by name until there are enough; snapshots are not counted."""
    client = await open_socket(url)
    seen, types = [], set()
    try:
        await client.recv()
        request = {"action": "subscribe", "channel": channel, "symbols": SYMBOLS, **terms}
        if channel == "bars":
            request.update(timeframes=["1s", "5s"])
        await client.send(json.dumps(request))
        require(read(await client.recv())["type"] == "subscribed", "subscribed comes first, as text")
        while len(seen) < FACTS:
            payload = await client.recv()
            types.add(type(payload))
            binary = isinstance(payload, bytes)
            for message in messages(payload):
                if message["data"].get("state") != "forming":
                    seen.append(comparable(message, binary))
    finally:
        client.transport.abort()
    require(types == {bytes if terms.get("format") == "binary" else str}, f"messages of {types}")
    return seen[:FACTS]


def by_topic(seen):
    topics = {}
    for message in seen:
        key = (message["data"]["symbol"], message["data"].get("timeframe"))
        topics.setdefault(key, {})[message["sequence"]] = message
    return topics


async def binary_records_say_what_json_says(binary):
    compared = 0
    ways = [{}, {"format": "binary"}, {"format": "binary", "batch_ms": 50}, {"batch_ms": 50}]
    ways.append({"format": "binary", "throttle_ms": 50})
    for channel in ("bars", "trades"):
        with Engine(binary, **ENGINE) as engine:
            feed = Feed(engine.feed_port, SYMBOLS, Bars(["1s", "5s"]), 100).start()
            seen = await together(*(facts(engine.url, channel, way) for way in ways))
            feed.end()
            plain, *others = [by_topic(one) for one in seen]
            for way, other in zip(ways[1:], others):
                for topic, said in other.items():
                    sequences = sorted(said)
                    require(
                        sequences == list(range(sequences[0], sequences[0] + len(sequences))),
                        f"{way}: a gap in {topic}: {sequences}",
                    )
                    for sequence, message in said.items():
                        twin = plain.get(topic, {}).get(sequence)
                        if twin is None:
                            continue
                        message, twin = dict(message), dict(twin)
                        if "snapshot" in (message.pop("type"), twin.pop("type")):
                            # A revision since may have changed what a snapshot shows.
                            continue
                        require(message == twin, f"{way}: {message} is not {twin}")
                        compared += 1
    require(compared > 4 * FACTS, f"only {compared} messages were compared")
    return f"{compared} messages compared"


async def quotes_are_the_same_as_records(binary):
    with Engine(binary, **ENGINE) as engine:
        followers = [await open_socket(engine.url) for _ in range(2)]
        for follower, form in zip(followers, ("json", "binary")):
            await follower.recv()
            request = {"action": "subscribe", "channel": "quotes", "symbols": ["EUR/USD"], "format": form}
            await follower.send(json.dumps(request))
            require(read(await follower.recv())["type"] == "subscribed", "subscribed comes first")
        with socket.create_connection(("127.0.0.1", engine.feed_port)) as feed:
            feed.sendall(b"symbol,timestamp_us,bid,ask,bid_size,ask_size\nEUR/USD,1704153600000000,1.0841,1.08425,1000000,0.5\n")
            said = []
            for follower in followers:
                payload = await follower.recv()
                said.append(comparable(messages(payload)[0], isinstance(payload, bytes)))
        require(said[0] == said[1] and said[0]["data"]["ask"] == Decimal("1.08425"), f"{said}")
        for follower in followers:
            follower.transport.abort()


def the_decoder_names_what_is_wrong(_binary):
    header = tickwire_binary.HEADER.pack(3, 1, 144, 7, 1, 2, 3, 2, 0, 0, 4, 0, b"ABCD")
    whole = header + tickwire_binary.QUOTE.pack(5, 0, 6, 0, 0, 1, 0, 1)
    (message,) = tickwire_binary.records(whole)
    require(message["data"]["bid"] == Decimal("5e-9") and message["data"]["ask"] is None, f"{message}")
    require(message["data"]["volume"] == Decimal(1 << 64).scaleb(-8), f"{message}")
    unknown = bytes([77]) + whole[1:]
    require(len(list(tickwire_binary.records(unknown + whole))) == 1, "a schema that is not known is passed over")
    for damage, word in (
        (whole[:-1], "144"),
        (whole + b"\0", "header"),
        (whole[:2] + b"\2" + whole[3:], "version"),
        (whole[:4] + b"\x50" + whole[5:], "too few"),
        (whole[:4] + b"\x00" + whole[5:], "0 bytes"),
        (whole[:43] + b"\x21" + whole[44:], "symbol"),
        (whole[:40] + b"\x07" + whole[41:], "channel"),
    ):
        try:
            list(tickwire_binary.records(damage))
        except tickwire_binary.BadRecord as trouble:
            require(word in str(trouble), f"{trouble}")
        else:
            require(False, f"taken as sound: {damage!r}")


PROMISES = [the_decoder_names_what_is_wrong, quotes_are_the_same_as_records, binary_records_say_what_json_says]
