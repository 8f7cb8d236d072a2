"""What the venue itself promises: read by clients that others wrote, against the file of its truth."""

import asyncio
import json
import ssl
import time
from decimal import Decimal

from massive import RESTClient, WebSocketClient
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from venue import PATIENCE_S, Venue, port_of, require, wait_for

PLAIN = {"compression": None, "ping_interval": None, "proxy": None, "max_queue": None, "max_size": None}
SYMBOLS = 40
FLAGS = ("--symbols", SYMBOLS, "--rate", 800, "--for", "4s", "--linger", "1s", "--key", "k")


async def massive(venue, *params, secure=False):
    """A client of Massive that is let in and listens."""
    context = ssl.create_default_context(cafile=venue.ca) if secure else None
    socket = await connect(f"{venue.wss if secure else venue.ws}/stocks", ssl=context, **PLAIN)
    require(json.loads(await socket.recv())[0]["status"] == "connected", "it does not greet")
    await socket.send(json.dumps({"action": "auth", "params": "k"}))
    require(json.loads(await socket.recv())[0]["status"] == "auth_success", "it lets nobody in")
    await socket.send(json.dumps({"action": "subscribe", "params": ",".join(params)}))
    answers = json.loads(await socket.recv())
    require([a["message"] for a in answers] == [f"subscribed to: {p}" for p in params], f"{answers}")
    return socket


def is_event(event):
    return isinstance(event, dict) and (event.get("ev") in ("status", "Q", "A", "AM") or "i" in event)


async def read_all(socket):
    """Every event until its end, and how it ended; what is no event is counted."""
    events, frames, odd = [], [], 0
    try:
        while True:
            text = await asyncio.wait_for(socket.recv(), PATIENCE_S)
            try:
                message = json.loads(text, parse_float=Decimal)
            except json.JSONDecodeError:
                odd += 1
                continue
            if isinstance(message, list) and message and all(is_event(event) for event in message):
                frames.append(len(message))
                events += message
            else:
                odd += 1
    except ConnectionClosed as end:
        return events, frames, odd, end


def size_of(event):
    return Decimal(event["ds"]) if "ds" in event else Decimal(event["s"])


def told(event):
    """A trade as a row of the truth."""
    return event["sym"], event["t"], Decimal(str(event["p"])), size_of(event), event["i"]


def due(row):
    return row["symbol"], row["timestamp_ms"], Decimal(row["price"]), Decimal(row["size"]), row["trade_id"]


async def a_client_over_tls_is_sent_every_sale_in_order(options):
    with Venue(options.feedsim, *FLAGS, "--per-frame", 7, "--seed", options.seed, tls=True) as venue:
        socket = await massive(venue, "T.*", "Q.*", "A.*", secure=True)
        events, frames, odd, end = await read_all(socket)
        truth = venue.truth()
        got = [told(event) for event in events if event["ev"] == "T"]
        require(got == [due(row) for row in truth], f"{len(got)} trades, {len(truth)} were due")
        require(len(got) > 2_000 and max(frames) == 7 and not odd, f"{len(got)} trades, {max(frames)} a frame, {odd} odd")
        require(end.rcvd and end.rcvd.code == 1001, f"it ended with {end}")
        require(any(event["ev"] == "Q" for event in events), "no quotes")
        report = venue.report()
        require(report["sales"] == len(got), f"{report}")
        return f"{len(got)} trades, late p99 {report['late_ms']['p99']} ms"


def the_official_client_is_served(options):
    """PyPI's `massive`, over WebSocket and over REST with its paging: bars equal sums over the truth in exact decimals."""
    with Venue(options.feedsim, *FLAGS, "--linger", "30s", "--page-max", 2, "--seed", options.seed) as venue:
        seen = []
        client = WebSocketClient(api_key="k", feed=f"127.0.0.1:{port_of(venue.ws)}", secure=False, subscriptions=["T.*", "A.SIM000"])

        async def take(messages):
            seen.extend(messages)

        async def until_over():
            task = asyncio.create_task(client.connect(take))
            while venue.counts()["state"] != "over":
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.3)
            await client.close()
            task.cancel()

        asyncio.run(until_over())
        truth = venue.truth()
        trades = [event for event in seen if event.event_type == "T"]
        got = [(event.symbol, event.timestamp, event.id) for event in trades]
        require(got == [due(row)[:2] + due(row)[4:] for row in truth], f"{len(got)} trades, {len(truth)} were due")
        rows = [due(row) for row in truth if row["symbol"] == "SIM000"]
        first = min(at for _, at, *_ in rows)
        rest = RESTClient(api_key="k", base=venue.http)
        bars = list(rest.list_aggs("SIM000", 1, "second", first, first + 60_000, limit=2))
        require(len(bars) >= 4, f"{len(bars)} bars")
        for bar in bars:
            within = [row for row in rows if bar.timestamp <= row[1] < bar.timestamp + 1_000]
            volume = sum(row[3] for row in within)
            mean = sum(row[2] * row[3] for row in within) / volume
            require(bar.transactions == len(within), f"{bar}")
            exact = [bar.open, bar.high, bar.low, bar.close, bar.volume]
            prices = [row[2] for row in within]
            wanted = [prices[0], max(prices), min(prices), prices[-1], volume]
            require([Decimal(str(n)) for n in exact] == wanted, f"{bar} should be {wanted}")
            require(abs(Decimal(str(bar.vwap)) - mean) < Decimal("1e-11"), f"{bar.vwap} should be {mean}")
        require(sum(bar.transactions for bar in bars) == len(rows), "bars are missing")
        live = [event for event in seen if event.event_type == "A"]
        require([event.start_timestamp for event in live] == [bar.timestamp for bar in bars], "bars over the stream differ")
        try:
            list(RESTClient(api_key="other", base=venue.http).list_aggs("SIM000", 1, "second", first, first + 1))
            require(False, "a wrong key is served")
        except Exception as refused:
            require("Unknown API Key" in str(refused), f"{refused}")
        return f"{len(bars)} bars in pages of 2"


async def binance_streams_count_without_a_gap(options):
    with Venue(options.feedsim, "--venue", "binance", "--symbols", 5, "--rate", 500, "--for", "3s", "--ping", "300ms", "--wait-topics", 4) as venue:
        raw = await connect(f"{venue.ws}/ws/sim001usdt@trade", **PLAIN)
        combined = await connect(f"{venue.ws}/stream", **PLAIN)
        params = ["sim000usdt@trade", "sim000usdt@bookTicker", "sim000usdt@kline_1s"]
        await combined.send(json.dumps({"method": "SUBSCRIBE", "params": params, "id": "x"}))
        require(json.loads(await combined.recv()) == {"result": None, "id": "x"}, "no answer to a subscription")

        async def all_of(socket):
            messages = []
            try:
                while True:
                    messages.append(json.loads(await asyncio.wait_for(socket.recv(), PATIENCE_S)))
            except ConnectionClosed:
                return messages

        plain, wrapped = await asyncio.gather(all_of(raw), all_of(combined))
        truth = venue.truth()
        for symbol, messages in (("SIM001USDT", plain), ("SIM000USDT", [m["data"] for m in wrapped])):
            trades = [(m["t"], m["T"], Decimal(m["p"]), Decimal(m["q"])) for m in messages if m.get("e") == "trade"]
            wanted = [(int(r["trade_id"]), r["timestamp_ms"], Decimal(r["price"]), Decimal(r["size"])) for r in truth if r["symbol"] == symbol]
            require(trades == wanted and [trade[0] for trade in trades] == list(range(1, len(trades) + 1)), f"{symbol}: not all its trades")
        kinds = {m["stream"] for m in wrapped}
        require(kinds == set(params), f"{kinds}")
        klines = [m["data"]["k"] for m in wrapped if m["stream"].endswith("kline_1s")]
        require(klines and all(k["x"] for k in klines), f"{klines}")


def sold_to_nobody(venue):
    """The truth, once its last sale was sent to nobody."""
    rows = venue.truth()
    return rows if rows and not rows[-1]["sent"] else None


async def each_fault_strikes_as_it_says(options):
    """One fault after another on one connection, and what it was sent is what the truth says of it."""
    notes = []
    for plan, code in (
        ("drop:share=0.3", 1001),
        ("duplicate:share=0.3", 1001),
        ("disorder:share=0.3:by=300ms", 1001),
        ("garbage:share=0.3", 1001),
        ("stall:for=1s", 1001),
        ("loris:for=500ms", 1001),
        ("reset", None),
        ("half", None),
        ("close:code=1012", 1012),
        ("evict", 1008),
    ):
        kind = plan.split(":")[0]
        with Venue(options.feedsim, "--symbols", 10, "--rate", 400, "--for", "2s", "--linger", "500ms", "--seed", options.seed, "--fault", f"{plan}:after=500ms") as venue:
            socket = await massive(venue, "T.*")
            events, _, odd, end = await read_all(socket)
            ended_early = kind in ("reset", "half", "close", "evict")
            # Of an early end a client may know before the next sale is due.
            truth = wait_for(lambda: sold_to_nobody(venue), f"{kind}: sent until its end") if ended_early else venue.truth()
            got = end.rcvd.code if end.rcvd else None
            require(got == code, f"{kind}: it ended with {end}, not {code}")
            times = {}
            for event in events:
                if event["ev"] == "T":
                    times[event["sym"], event["i"]] = times.get((event["sym"], event["i"]), 0) + 1
            wanted = {"sent": 1, "twice": 2, "late": 1, "dropped": 0, "cut": 0}
            said = [row["sent"].get("1") for row in truth]
            for row, what in zip(truth, said):
                count = times.get((row["symbol"], row["trade_id"]), 0)
                # What lay in a queue when its connection was reset is lost with it.
                lost = kind == "reset" and count == 0
                require(count == wanted.get(what, 0) or lost, f"{kind}: {row} came {count} times")
            faults = [line for line in venue.log() if line.get("fault")]
            require([(f["fault"], f["connections"]) for f in faults] == [(kind, [1])], f"{kind}: the log says {faults}")
            marks = {"drop": "dropped", "duplicate": "twice", "disorder": "late", "half": "cut"}
            require(kind not in marks or marks[kind] in said, f"{kind}: nothing was struck")
            require((odd > 0) == (kind == "garbage"), f"{kind}: {odd} odd messages")
            require((None in said) == ended_early, f"{kind}: sent until its end: {None not in said}")
            if kind == "evict":
                require(events[-1].get("status") == "max_connections", f"{events[-1]}")
            notes.append(kind)
    return ", ".join(notes)


async def a_stall_holds_everything_back_and_then_all_follows(options):
    with Venue(options.feedsim, "--symbols", 5, "--rate", 400, "--for", "3s", "--seed", options.seed) as venue:
        socket = await massive(venue, "T.*")
        # The first events, so that time counts from when it runs.
        await asyncio.wait_for(socket.recv(), PATIENCE_S)
        venue.fault("stall:for=1s")
        arrived, last, widest = 0, time.monotonic(), 0.0
        try:
            while True:
                events = json.loads(await asyncio.wait_for(socket.recv(), PATIENCE_S))
                widest, last = max(widest, time.monotonic() - last), time.monotonic()
                arrived += len(events)
        except ConnectionClosed:
            pass
        require(0.8 < widest, f"the widest silence was {widest:.2f} s")
        due_now = len(venue.truth())
        require(arrived > due_now * 0.9, f"{arrived} of {due_now}")


async def newcomers_are_refused_for_a_while_and_rest_is_not(options):
    with Venue(options.feedsim, *FLAGS, "--for", "20s") as venue:
        socket = await massive(venue, "T.SIM000")
        require(venue.fault("refuse:on=all:for=1s") == [1], "nobody was struck")
        _, _, _, end = await read_all(socket)
        require(end.rcvd is None, f"{end}")
        try:
            await massive(venue, "T.SIM000")
            require(False, "a newcomer was let in")
        except (OSError, EOFError, ConnectionClosed, Exception) as refused:
            require("let in" not in str(refused), f"{refused}")
        list(RESTClient(api_key="k", base=venue.http).list_aggs("SIM000", 1, "second", 0, 1))

        async def again():
            while True:
                try:
                    return await massive(venue, "T.SIM000")
                except Exception:
                    await asyncio.sleep(0.05)

        back = await asyncio.wait_for(again(), PATIENCE_S)
        await back.recv()
        await back.close()
        require(wait_for(lambda: not venue.counts()["connections"], "a connection that left is forgotten"), "")


async def a_planted_sale_is_in_the_file_alone(options):
    with Venue(options.feedsim, *FLAGS, "--plant", 500) as venue:
        socket = await massive(venue, "T.*")
        events, *_ = await read_all(socket)
        truth = [due(row) for row in venue.truth()]
        got = [told(event) for event in events if event["ev"] == "T"]
        require(len(truth) == len(got) + 1 and set(truth) - set(got) == {truth[499]}, f"{len(truth)} and {len(got)}")


# The longest first.
PROMISES = [
    each_fault_strikes_as_it_says,
    a_client_over_tls_is_sent_every_sale_in_order,
    a_planted_sale_is_in_the_file_alone,
    the_official_client_is_served,
    a_stall_holds_everything_back_and_then_all_follows,
    binance_streams_count_without_a_gap,
    newcomers_are_refused_for_a_while_and_rest_is_not,
]
