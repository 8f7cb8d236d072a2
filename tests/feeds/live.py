"""What the engine promises of its feeds, against a venue that misbehaves: storms, two lines, captures, and nobody there at all."""

import asyncio
import os
import random
import time
from pathlib import Path

from engine_live import Client, Listener, Live, differences, feed, model
from venue import PATIENCE_S, Failed, Venue, require

US = 1_000_000
DATA = Path(__file__).resolve().parent.parent / "data"
CAPTURES = ("binance-spot-btcusdt-raw-ws-20240808.txt.gz", "binance-usdm-btcusdt-raw-ws-20240808.txt.gz")
CUTS = ("binance-spot-raw.txt.gz", "binance-usdm-raw.txt.gz")
# Faults that the feed's own rules let an engine see; ticks dropped without a word are not among them.
STORM = "stall,duplicate,disorder,garbage,half,reset,close,loris"
# These end a connection, so that its symbols need another.
ENDS = ("half", "reset", "close")
RECONNECT_S, TAKEOVER_S = 1.0, 2.0
# The default of `gap_margin_ms`: a gap begins so long before the last sign of life.
GAP_MARGIN_MS = 250
# How much later than usual sales may come: a feed knows the venue's clock no better.
LATENESS_MS = 50
# A venue that was itself so late proves nothing about whom it serves.
VENUE_LATE_MS = 500
HEALTHY_P99_FACTOR = 1.2
# Below so long a storm its latencies are too few to compare.
LONG_S = 60
# After the last tick: the settling of REST, retries, and the close of the last bars.
FILL_S = 60
# Differences that are what they must be, and stay the same for so long, will not go: a REST request is made a second after its bar.
STEADY_S = 15
KILLS, KILLS_SHORT, STALL_S = 100, 10, 1
# No capture is longer.
CAPTURE_S = 400
# No venue gets there by itself: it waits for the order.
BY_ORDER = ("--wait-topics", 1_000_000)


async def until(condition, patience=PATIENCE_S, every_s=0.05):
    """Looks until it is true or the time is over; what it saw last."""
    deadline = time.monotonic() + patience
    while not (seen := condition()) and time.monotonic() < deadline:
        await asyncio.sleep(every_s)
    return seen


async def begin(venue, topics):
    """Starts the venue once so much is listened to: by then the test's own client is there as well."""
    listened = await until(lambda: sum(c["topics"] for c in venue.counts()["connections"]) >= topics)
    require(listened, f"not all is subscribed to: {venue.counts()}")
    return venue.order(do="start")["start_ms"] * 1_000


def names(count, suffix=""):
    return [f"SIM{n:03}{suffix}" for n in range(count)]


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def bars_of(sale, wanted):
    """Of the model's bars those that a sale of the truth is in, by key."""
    at = sale["timestamp_ms"] * 1_000
    return {key: row for key, row in wanted.items() if key[0] == sale["symbol"] and row["start"] <= at < row["end"]}


async def same_bars(client, wanted, leave_out, patience=FILL_S, never=None):
    """Soon no bar differs. Where those of `never` all differ and nothing else does, what is left of the patience is not waited for."""
    steady = [], 0.0

    def settled():
        nonlocal steady
        found = differences(wanted, client.bars, leave_out)
        if found != steady[0]:
            steady = found, time.monotonic()
        known = never and {key for key, _ in found} == never.keys()
        return not found or known and time.monotonic() - steady[1] >= STEADY_S

    await until(settled, patience, every_s=0.5)
    found = differences(wanted, client.bars, leave_out)
    if found:
        failure = Failed(f"{len(found)} differences in {len(wanted)} bars, such as {found[:5]}")
        failure.found, failure.never = found, never
        raise failure


async def a_storm_on_one_connection_at_a_time(options, plant=0):
    """A pool of three over TLS, 300 symbols; after backfill no bar differs, and the healthy two notice nothing."""
    seconds, symbols = options.seconds, names(300)
    timeframes = ["1s", "5s", "1m"] if seconds >= LONG_S else ["1s", "5s"]
    flags = [
        "--symbols", len(symbols), "--rate", 1_000, "--quotes", 0, "--for", f"{seconds}s", "--linger", f"{FILL_S * 2}s", "--seed", options.seed,
        "--key", "k", "--connections-max", 3, *BY_ORDER, "--fault", f"{STORM}:every=5s:after=3s:for=1500ms:on=turn",
        "--plant", plant,
    ]  # fmt: skip
    parts = [symbols[n::3] for n in range(3)]
    with Venue(options.feedsim, *flags, tls=True) as venue:
        bars = f"timeframes = {timeframes}".replace("'", '"')
        with (
            Live(options.engine, [feed("desk", venue, symbols, parts, secure=True)], bars) as engine,
            Listener(engine.url, venue.work / "trades") as listener,
        ):
            client = Client()
            await client.follow(engine.url, timeframes, trades=False)
            began = await begin(venue, len(symbols))
            state = await until(lambda: venue.counts()["state"] == "over", seconds + PATIENCE_S * 2)
            require(state, f"it never began or ended: {venue.counts()} {engine.err}")
            truth, log, late_ms = venue.truth(), venue.log(), venue.counts()["late_ms"]["max"]
            require(late_ms < VENUE_LATE_MS, f"the venue was late by {late_ms} ms: the machine is too busy to tell anything")
            wanted = model(options.engine, venue.truth_path, "csv", timeframes, venue.work / "model.ndjson")

            def joined_midway(key):
                return key[2] < began

            lacking = bars_of(truth[plant - 1], wanted) if plant else {}
            await same_bars(client, wanted, joined_midway, never={key: row for key, row in lacking.items() if not joined_midway(key)})
            await client.leave()
            engine.stop()
            trades = listener.trades()
        faults = [line for line in log if line.get("fault")]
        require(len(faults) >= (seconds - 3) // 7, f"only {len(faults)} faults struck")
        note_last_signs(truth, faults)
        hurt = only_the_struck_are_hurt(client, faults, began)
        back = reconnects(log, faults)
        served = taken_over(truth, faults)
        ratio = healthy_latency(trades, faults)
        require(seconds < LONG_S or ratio <= HEALTHY_P99_FACTOR, f"healthy symbols: p99 {ratio:.2f} times that of quiet times")
        return (
            f"{len(wanted)} bars, {len(faults)} faults, {hurt} bars were incomplete for a while, back within {back:.2f} s, "
            f"taken over within {served:.2f} s, healthy p99 {ratio:.2f} times"
        )


def note_last_signs(truth, faults):
    """Notes with each fault when the last sale before it was sent to a connection that it struck."""
    at = 0
    newest = {}
    for fault in faults:
        while at < len(truth) and truth[at]["timestamp_ms"] < fault["at_ms"]:
            newest.update(dict.fromkeys(truth[at]["sent"], truth[at]["timestamp_ms"]))
            at += 1
        fault["last_sign_ms"] = min((newest.get(str(c), fault["at_ms"]) for c in fault["connections"]), default=fault["at_ms"])


def window(fault):
    """From when to when a fault may be felt, µs: it lasts, is noticed, and another connection has to subscribe; a gap is told wider."""
    first = fault["last_sign_ms"] - GAP_MARGIN_MS - LATENESS_MS
    return first * 1_000, (fault["at_ms"] + fault["for_ms"]) * 1_000 + int(TAKEOVER_S * 2 * US)


def struck_symbols(fault):
    return {topic.partition(".")[2] for topic in fault["topics"]}


def only_the_struck_are_hurt(client, faults, began):
    """A bar that ever was incomplete belongs to a symbol of a struck connection, at that time."""
    hurt, firsts = 0, {}
    for symbol, timeframe, start in client.bars:
        firsts[symbol, timeframe] = min(start, firsts.get((symbol, timeframe), start))
    for (symbol, timeframe, start), revisions in client.bars.items():
        # In the bar of a symbol's very first trade nobody knows what was before.
        if start < began or start == firsts[symbol, timeframe] or not any("incomplete" in data["flags"] for _, data in revisions):
            continue
        end = revisions[-1][1]["end"]
        hurt += 1
        felt = any(symbol in struck_symbols(f) and window(f)[0] < end and start < window(f)[1] for f in faults)
        require(felt, f"{symbol}/{timeframe} at {start} was incomplete, and its connection was not struck")
    return hurt


def reconnects(log, faults):
    """The longest from the end of a struck connection to the next that came, seconds."""
    longest = 0.0
    for fault in faults:
        if fault["fault"] not in ENDS:
            continue
        later = [line for line in log if line["at_ms"] >= fault["at_ms"]]
        ended = next((l["at_ms"] for l in later if l.get("event") == "closed" and set(l["connections"]) & set(fault["connections"])), None)
        if ended is None:
            continue
        came = next((l["at_ms"] for l in later if l.get("event") == "opened" and l["at_ms"] >= ended), None)
        require(came is not None, f"nobody came back after {fault}")
        longest = max(longest, (came - ended) / 1_000)
    require(longest < RECONNECT_S, f"it took {longest:.2f} s to come back")
    return longest


def taken_over(truth, faults):
    """The longest from the end of a connection to the last sale of its symbols that was sent to nobody, seconds."""
    longest = 0.0
    for fault in (f for f in faults if f["fault"] in ENDS):
        symbols, at = struck_symbols(fault), fault["at_ms"]
        following = [f["at_ms"] for f in faults if f["at_ms"] > at]
        end = min(following, default=float("inf"))
        lost = [row["timestamp_ms"] - at for row in truth if row["symbol"] in symbols and at <= row["timestamp_ms"] < end and not row["sent"]]
        longest = max(longest, max(lost, default=0) / 1_000)
    require(longest < TAKEOVER_S, f"sales were sent to nobody for {longest:.2f} s")
    return longest


def healthy_latency(trades, faults):
    """p99 of trades of healthy symbols while a fault lasts, over that of quiet times."""
    during, quiet = [], []
    for symbol, at, came in trades:
        felt = [f for f in faults if window(f)[0] <= at < window(f)[1]]
        if not felt:
            quiet.append(came - at / US)
        elif not any(symbol in struck_symbols(f) for f in felt):
            during.append(came - at / US)
    require(during, "no trade of a healthy symbol came during a fault")
    return percentile(during, 0.99) / max(percentile(quiet, 0.99), 1e-9)


async def a_planted_sale_is_found(options):
    """The comparison of the storm can fail: a sale that only the model knows is missed."""
    quick = type(options)(**{**vars(options), "seconds": 4})
    try:
        await a_storm_on_one_connection_at_a_time(quick, plant=1_000)
    except Failed as failure:
        found, never = getattr(failure, "found", []), getattr(failure, "never", {})
        # Its bar of each of the two timeframes, but where the coarse one began before the venue, and nothing else.
        require(1 <= len(never) <= 2 and {key for key, _ in found} == never.keys(), f"it failed for another reason: {failure}")
        for key, row in never.items():
            trades = row["trades"]
            lacks_it = "is missing" if trades == 1 else f"trades is {trades - 1}, not {trades}"
            require((key, lacks_it) in found, f"it is not one trade that {key} lacks: {found}")
        return
    require(False, "nothing was found")


async def of_two_lines_either_may_die(options):
    """Two feeds of the same sales, one of them killed at a time: a client sees every trade once."""
    kills = KILLS if options.seconds >= LONG_S else KILLS_SHORT
    symbols, dice = names(20), random.Random(options.seed)
    flags = [
        "--symbols", len(symbols), "--rate", 300, "--quotes", 0, "--for", "3600s", "--key", "A", "--key", "B", "--seed", options.seed,
        *BY_ORDER,
    ]  # fmt: skip
    with Venue(options.feedsim, *flags) as venue:
        feeds = [feed(f"line-{key}", venue, symbols, key=key, rest=False) for key in ("A", "B")]
        with Live(options.engine, feeds, 'timeframes = ["1s"]') as engine:
            client = Client()
            await client.follow(engine.url, ["1s"])
            await begin(venue, 2 * len(symbols))

            def both():
                whole = [c["key"] for c in venue.counts()["connections"] if c["topics"] == len(symbols) and not c["leaving"]]
                return sorted(whole) == ["A", "B"]

            for _ in range(kills):
                require(await until(both, PATIENCE_S * 3), f"a line did not come back: {venue.counts()}")
                await asyncio.sleep(dice.uniform(0.2, 0.5))
                plan = dice.choice(("reset", "half", "close", f"stall:for={STALL_S}s"))
                struck = venue.fault(f"{plan}:on=key={dice.choice('AB')}")
                if "stall" in plan:
                    # A line that is killed while it stalls takes with it what it held back: both would have lost the same.
                    await asyncio.sleep(STALL_S + 0.3)
                    continue
                gone = await until(lambda: not {c["connection"] for c in venue.counts()["connections"]} & set(struck))
                require(gone, f"{plan}: {struck} is still there")
            require(await until(both, PATIENCE_S * 3), "a line did not come back")
            # So much that is held back by a stall comes before the end.
            await asyncio.sleep(3)
            truth = venue.truth()
            cut = truth[-1]["timestamp_ms"] - 1_000
            due = [(row["symbol"], row["trade_id"]) for row in truth if row["timestamp_ms"] < cut]
            await until(lambda: len(client.trades) >= len(due))
            await client.leave()
            engine.stop()
            seen = [trade[:2] for trade in client.trades]
            require(len(set(seen)) == len(seen), f"{len(seen) - len(set(seen))} trades came twice")
            missed = set(due) - set(seen)
            nobody = [row for row in truth if not row["sent"]]
            require(not missed, f"{len(missed)} of {len(due)} trades were missed; {len(nobody)} were sent to nobody")
            return f"{len(due)} trades, {kills} kills"


async def captures_served_live_make_the_bars_of_the_file(options):
    folder = os.environ.get("TICKWIRE_CAPTURES")
    paths = [Path(folder) / name for name in CAPTURES] if folder else [DATA / name for name in CUTS]
    timeframes, notes = ["1s", "1m"], []
    for path, kindred in zip(paths, ("binance", "binance-futures")):
        flags = ["--venue", kindred, "--recording", path, "--format", "binance", "--speed", options.speed, "--linger", "60s", *BY_ORDER]
        with Venue(options.feedsim, *flags) as venue:
            lines = feed("capture", venue, ["BTCUSDT"], form="binance", rest=False)
            bars = 'timeframes = ["1s", "1m"]\nclock = "event"'
            with Live(options.engine, [lines], bars) as engine:
                client = Client()
                await client.follow(engine.url, timeframes, trades=False)
                await begin(venue, 1)
                over = await until(lambda: venue.counts()["state"] == "over", CAPTURE_S / options.speed + PATIENCE_S * 3)
                require(over, f"it never began or ended: {venue.counts()} {engine.err}")
                wanted = model(options.engine, path, "binance", timeframes, venue.work / "model.ndjson")
                # The newest bar of each length is still open: no later trade has closed it.
                newest = {t: max(start for _, of, start in wanted if of == t) for t in timeframes}
                await same_bars(client, wanted, lambda key: key[2] >= newest[key[1]], PATIENCE_S)
                require(len(client.bars) >= 10, f"{len(client.bars)} bars are too few to tell")
                await client.leave()
                engine.stop()
                notes.append(f"{len(wanted)} bars")
    return ", ".join(notes)


async def while_all_connections_are_down_polled_bars_keep_coming(options):
    symbols = names(5)
    flags = ["--symbols", 5, "--rate", 200, "--quotes", 0, "--for", "40s", "--linger", f"{FILL_S * 2}s", "--key", "k", *BY_ORDER, "--seed", options.seed]
    with Venue(options.feedsim, *flags) as venue:
        bars = 'timeframes = ["1s", "5s"]'
        with Live(options.engine, [feed("desk", venue, symbols)], bars) as engine:
            client = Client()
            await client.follow(engine.url, ["1s", "5s"])
            began = await begin(venue, len(symbols))
            require(await until(lambda: len(client.trades) > 200), f"nothing comes: {engine.err}")
            down = time.time() * US
            venue.fault("refuse:on=all:for=20s")

            def polled():
                all_of = [data for revisions in client.bars.values() for _, data in revisions]
                return {data["symbol"] for data in all_of if "polled" in data["flags"] and data["start"] > down}

            await until(lambda: len(polled()) == len(symbols), 20)
            require(polled() == set(symbols), f"polled bars of {sorted(polled())} only: {engine.err}")
            require(await until(lambda: venue.counts()["state"] == "over", 60), "it does not end")
            wanted = model(options.engine, venue.truth_path, "csv", ["1s", "5s"], venue.work / "model.ndjson")
            await same_bars(client, wanted, lambda key: key[2] < began)
            await client.leave()
            engine.stop()


# The longest first.
PROMISES = [
    while_all_connections_are_down_polled_bars_keep_coming,
    a_planted_sale_is_found,
    a_storm_on_one_connection_at_a_time,
    of_two_lines_either_may_die,
    captures_served_live_make_the_bars_of_the_file,
]
