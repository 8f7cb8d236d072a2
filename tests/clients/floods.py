"""Feeds that flood: new symbols without end, one symbol with nearly all ticks, a line without end, nesting without end."""

import json
import socket
import time
from decimal import Decimal

from engine import Engine, require, wait_for
from raw import BINARY, TEXT, Raw, frame, request
from ticks import BEGIN_US, HEADER, Bars

NEW_SYMBOLS = 1_000_000
SYMBOLS_MAX = 65_536
# What the configuration promises: about 2 KiB for each symbol and timeframe; with six of them, and room for the rest.
SYMBOL_KIB_PER_TIMEFRAME = 2
TIMEFRAMES = 6
REST_MIB = 128

HOT_TICKS = 5_000_000
HOT_BLOCK = 50_000

ENDLESS_LINE_MIB = 1_024
LINE_MIB_MORE = 16


def source_of(engine):
    source = socket.create_connection(("127.0.0.1", engine.feed_port))
    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return source


def stats(raw):
    raw.ask(action="stats")
    return raw.answer("stats")["data"]


def follow(raw, bars, positions, facts):
    """Takes one message; a fact must be the next of its topic, and every bar what its ticks make."""
    opcode, payload = raw.frame()
    require(opcode == TEXT, f"a frame of opcode {opcode}: {payload!r}")
    message = json.loads(payload, parse_float=Decimal)
    if message["type"] in ("bar", "snapshot"):
        data = message["data"]
        bars.check(data)
        if message["type"] == "bar" and data["state"] != "forming":
            name = f"{data['symbol']}/{data['timeframe']}"
            require(message["sequence"] == positions.get(name, 0) + 1, f"after {positions.get(name)}: {message}")
            positions[name] = message["sequence"]
            facts[data["symbol"], data["timeframe"], data["start"]] = data
    return message


def a_million_new_symbols_cost_no_more_than_the_bound_and_known_ones_lose_nothing(binary):
    bound = SYMBOLS_MAX * TIMEFRAMES * SYMBOL_KIB_PER_TIMEFRAME / 1024 + REST_MIB
    known = ["K0", "K1", "K2"]
    bars = Bars(["1s"])
    with Engine(binary, bars='clock = "event"\ngrace_ms = 0') as engine:
        raw = Raw.open(engine.port)
        raw.ask(action="subscribe", channel="bars", symbols=known, timeframes=["1s"], forming=False)
        raw.answer("subscribed")
        source = source_of(engine)
        source.sendall(HEADER)
        positions, facts = {}, {}
        rounds = 200
        for round in range(rounds):
            at = BEGIN_US + round * 1_000_000
            rows = []
            for number in range(NEW_SYMBOLS // rounds):
                rows.append(f"NEW{round * (NEW_SYMBOLS // rounds) + number},{at},1,1\n")
            for symbol in known:
                price = Decimal(100 + round)
                bars.add(symbol, at, price, Decimal(3))
                rows.insert(len(rows) // 2, f"{symbol},{at},{price},3\n")
            source.sendall("".join(rows).encode())
            # The second before is closed now.
            while round and any(positions.get(f"{symbol}/1s", 0) < round for symbol in known):
                follow(raw, bars, positions, facts)
        require(len(facts) == len(known) * (rounds - 1), f"{len(facts)} bars of the known symbols")
        require(all(bars.final(data) for data in facts.values()), "a known symbol's bar lacks ticks")
        rss = engine.rss_mib()
        require(rss < bound, f"{rss:.0f} MiB, more than the bound of {bound:.0f}")
        # A symbol beyond the bound is refused to a client as well, and told so; known ones go on.
        raw.ask(action="subscribe", channel="bars", symbols=["ONEMORE"], timeframes=["1s"], id="full")
        error = raw.answer("error")
        require((error["code"], error["id"]) == ("symbols_max", "full"), f"{error}")
        source.close()
        counters = engine.stop()
        refused = NEW_SYMBOLS + len(known) - SYMBOLS_MAX
        require(counters["feed.test.rejected.symbols_max"] == refused, f"not {refused}: {counters}")
        require(counters["feed.test.records"] == NEW_SYMBOLS + rounds * len(known), f"{counters}")
    return f"{rss:.0f} MiB of {bound:.0f}"


def one_symbol_with_90_percent_of_all_ticks_loses_none(binary):
    """The same block again and again, a second later each time: its bars are known from the first."""
    cold = [f"C{n}" for n in range(20)]
    sums = {}
    rows = []
    for number in range(HOT_BLOCK):
        symbol = "HOT" if number % 10 else cold[number // 10 % len(cold)]
        price, size = 100 + number % 97, 1 + number % 7
        rows.append(f"{symbol},{'@' * 16},{price},{size}\n")
        count, volume = sums.get(symbol, (0, 0))
        sums[symbol] = (count + 1, volume + size)
    template = "".join(rows).encode()
    blocks = HOT_TICKS // HOT_BLOCK
    with Engine(binary, bars='timeframes = ["1s"]\nclock = "event"\ngrace_ms = 0', cores="shards = 2") as engine:
        raw = Raw.open(engine.port)
        raw.ask(action="subscribe", channel="bars", symbols=["HOT", *cold], timeframes=["1s"], forming=False)
        raw.answer("subscribed")
        source = source_of(engine)
        source.sendall(HEADER)
        began = time.monotonic()
        for block in range(blocks):
            source.sendall(template.replace(b"@" * 16, b"%d" % (BEGIN_US + block * 1_000_000)))
        # The last bars close when their symbols' time goes on.
        last = BEGIN_US + (blocks + 1) * 1_000_000
        source.sendall("".join(f"{symbol},{last},1,1\n" for symbol in sums).encode())
        closed = dict.fromkeys(sums, 0)
        while any(count < blocks for count in closed.values()):
            message = raw.answer("bar")
            data = message["data"]
            symbol = data["symbol"]
            closed[symbol] += 1
            require(message["sequence"] == closed[symbol], f"fact {closed[symbol]} expected: {message}")
            require((data["trades"], data["volume"]) == sums[symbol], f"{sums[symbol]} expected: {message}")
        took = time.monotonic() - began
        counters = engine.stop()
        require(counters["feed.test.accepted"] == HOT_TICKS + len(sums), f"{counters}")
    return f"{HOT_TICKS} ticks, {HOT_TICKS / took / 1e6:.1f} million a second"


def a_line_without_end_costs_no_memory_and_only_itself(binary):
    bars = Bars(["1s"])
    with Engine(binary, bars='timeframes = ["1s"]\nclock = "event"\ngrace_ms = 0') as engine:
        raw = Raw.open(engine.port)
        raw.ask(action="subscribe", channel="bars", symbols=["L"], timeframes=["1s"])
        raw.answer("subscribed")
        source = source_of(engine)
        source.sendall(HEADER)
        positions, facts = {}, {}

        def tick(second):
            at = BEGIN_US + second * 1_000_000
            bars.add("L", at, Decimal("1.5"), Decimal(second + 1))
            return f"L,{at},1.5,{second + 1}\n".encode()

        source.sendall(tick(0))
        follow(raw, bars, positions, facts)
        before = engine.rss_mib()
        most = 0
        block = b"x" * (1 << 20)
        # The other sources of the same engine are served all the while.
        other = source_of(engine)
        other.sendall(HEADER)
        for number in range(ENDLESS_LINE_MIB):
            source.sendall(block)
            if number % 64 == 0:
                other.sendall(tick(1 + number // 64))
                most = max(most, engine.rss_mib() - before)
        source.sendall(b"\n" + tick(40))
        while positions.get("L/1s", 0) < 17:
            follow(raw, bars, positions, facts)
        most = max(most, engine.rss_mib() - before)
        require(most < LINE_MIB_MORE, f"{most:.1f} MiB more")
        counters = engine.stop()
        require(counters["feed.test.rejected.line_too_long"] == 1, f"{counters}")
        require(counters["feed.test.accepted"] == 18, f"{counters}")
    return f"{ENDLESS_LINE_MIB} MiB in one line, {most:+.1f} MiB of memory"


NESTED = [
    b"[" * 10_000,
    b"[" * 10_000 + b"]" * 10_000,
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    b'[{"ev":"T","sym":"N","p":1,"s":1,"t":1704153600000,"c":' + b"[" * 10_000 + b"]" * 10_000 + b"}]",
    b"[" * 1_000_000,
    b'"' + b"\\" * 100_001,
    b'{"ev":"T",' * 5_000,
]


def nesting_10_000_deep_is_rejected_alone(binary):
    for form, good in (
        ("massive", '[{"ev":"T","sym":"N","p":1.25,"s":2,"t":%d}]'),
        ("binance", '{"e":"trade","s":"N","p":"1.25","q":"2","T":%d,"t":%d}'),
    ):
        for kind in ("tcp", "websocket"):
            with Engine(binary, form=form, source=kind, bars='timeframes = ["1s"]\nclock = "event"\ngrace_ms = 0') as engine:
                raw = Raw.open(engine.port)
                raw.ask(action="subscribe", channel="bars", symbols=["N"], timeframes=["1s"], forming=False)
                raw.answer("subscribed")
                before = engine.rss_mib()
                if kind == "tcp":
                    source = source_of(engine)
                    send = lambda line: source.sendall(line + b"\n")
                else:
                    publisher = Raw(engine.feed_port)
                    publisher.send(request("/ingest"))
                    require(publisher.head().startswith(b"HTTP/1.1 101 "), "no upgrade of the publisher")
                    send = lambda line: publisher.send(frame(BINARY, line))
                for second in range(20):
                    for line in NESTED:
                        send(line)
                    ms = BEGIN_US // 1_000 + second * 1_000
                    send((good % ((ms,) if form == "massive" else (ms, second))).encode())
                for second in range(19):
                    bar = raw.answer("bar")
                    require(bar["data"]["start"] == BEGIN_US + second * 1_000_000, f"{form} {kind}: {bar}")
                    require((bar["data"]["trades"], bar["data"]["close"]) == (1, 1.25), f"{form} {kind}: {bar}")
                more = engine.rss_mib() - before
                require(more < 32, f"{form} {kind}: {more:.1f} MiB more")
                counters = engine.stop()
                accepted = counters["feed.test.accepted"]
                # The trade with a nested condition may be read or rejected; nothing else in the list is a trade.
                require(accepted in (20, 40) if form == "massive" else accepted == 20, f"{form} {kind}: {counters}")
                total = accepted + counters["feed.test.rejected"] + counters.get("feed.test.skipped", 0)
                require(total == counters["feed.test.records"], f"{form} {kind}: the ledger: {counters}")
    return f"{len(NESTED)} forms 20 times, in two formats over TCP and WebSocket"


def good_ticks_beside_bad_ones_all_count(binary):
    """Each bad row is rejected alone and counted by its reason."""
    bad = [
        ("X,{t},nan,1", "bad_number"), ("X,{t},inf,1", "bad_number"), ("X,{t},-1,1", "price_negative"),
        ("X,{t},0,1", "price_zero"), ("X,{t},1,-1", "size_negative"), ("X,{t},1e30,1", "price_range"),
        ("X,{t},1,1e30", "size_range"), ("X,,1,1", "time_missing"), ("X,yesterday,1,1", "time_bad"),
        ("X,17,1,1", "time_range"), (",{t},1,1", "symbol_empty"), ("a b,{t},1,1", "symbol_unprintable"),
        ("x" * 33 + ",{t},1,1", "symbol_too_long"), ("X,{t},1", "malformed_row"), ("X,{t},1,1,1", "malformed_row"),
        ("X,{t},0x10,1", "bad_number"), ("X,{t},+1,1", "bad_number"), ("X,{t},1.,1", "bad_number"),
    ]  # fmt: skip
    wanted = {}
    for _, reason in bad:
        wanted[reason] = wanted.get(reason, 0) + 100
    with Engine(binary, bars='timeframes = ["1s"]\nclock = "event"\ngrace_ms = 0') as engine:
        raw = Raw.open(engine.port)
        raw.ask(action="subscribe", channel="bars", symbols=["X"], timeframes=["1s"], forming=False)
        raw.answer("subscribed")
        source = source_of(engine)
        source.sendall(HEADER)
        for second in range(100):
            at = BEGIN_US + second * 1_000_000
            rows = []
            for row, _ in bad:
                rows += [row.format(t=at), f"X,{at},2,3"]
            source.sendall(("\n".join(rows) + "\n").encode())
        for _ in range(99):
            data = raw.answer("bar")["data"]
            require((data["trades"], data["volume"]) == (len(bad), 3 * len(bad)), f"{data}")
        counters = engine.stop()
        prefix = "feed.test.rejected."
        got = {name[len(prefix) :]: n for name, n in counters.items() if name.startswith(prefix)}
        require(got == wanted, f"counted {got}, not {wanted}")
        require(counters["feed.test.accepted"] == 100 * len(bad), f"{counters}")
        noted = engine.err.count("test: line ")
        require(0 < noted < 50, f"{noted} notes in the log of {100 * len(bad)} rejections")
    return f"{len(bad)} kinds of bad rows, {noted} of them noted"


PROMISES = [
    a_million_new_symbols_cost_no_more_than_the_bound_and_known_ones_lose_nothing,
    one_symbol_with_90_percent_of_all_ticks_loses_none,
    a_line_without_end_costs_no_memory_and_only_itself,
    nesting_10_000_deep_is_rejected_alone,
    good_ticks_beside_bad_ones_all_count,
]
