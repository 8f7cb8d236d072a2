#!/usr/bin/env python3
"""Checks bars made under sale conditions: against the oracle's bytes, and against the bars that a vendor made of the same trades.

    tests/conditions.py BINARY [CAPTURES]

The cuts beside this script are always read; CAPTURES is a directory of the full captures. Each bar that differs from the vendor's is
printed with what is known of it. Exit 0 when all promises are kept, 1 when not.
"""

import csv
import gzip
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import exact
from exact import DATA, HERE, bars, check, difference, run, same_bytes

# (file, format, table)
JUDGED = [
    ("equities-trades.csv.gz", "csv", "quantconnect"),
    ("equities-trades.csv.gz", "csv", "us-equities:lean"),
    ("demo-equities.csv.gz", "csv", "us-equities:lean"),
    ("massive.jsonl.gz", "massive", "us-equities"),
    ("binance-usdm-raw.txt.gz", "binance", "binance"),
]
LAYOUTS = [(1, 65_536, "single"), (4, 128, "shared"), (2, 128, "dedicated")]

PRICES = ("open", "high", "low", "close")
# Lean's flags of opening and closing prints.
AUCTIONS = 1 << 6 | 1 << 7
# The market that lists each symbol: it alone sets the vendor's open and close of the day.
LISTED = {"SPY": "P", "AIG": "N", "BAC": "N", "IBM": "N"}
# Of the full capture: bars of a minute, how many must agree in prices, and how many in volume. Without a table 5,097 and 6,728 do.
FULL = {"1m": (6_767, 6_749, 6_728), "1s": (133_857, 133_840, 0)}


def judged(binary, path, form, table, work):
    """The engine's bytes are the oracle's, in several layouts, and its bars the same with the ticks out of order."""
    began = time.monotonic()
    wanted, got = work / "oracle.ndjson", work / "bars.ndjson"
    flags = ("--conditions", table)
    trouble = run(sys.executable, HERE / "oracle.py", path, "--format", form, "--out", wanted, *flags)
    for shards, depth, placement in LAYOUTS:
        layout = ("--shards", shards, "--ring-depth", depth, "--placement", placement)
        trouble = trouble or bars(binary, path, form, "trades", got, *flags, *layout) or same_bytes(wanted, got)
    if trouble is None and form == "csv" and path.suffix == ".gz":
        mixed = work / "shuffled.csv"
        exact.shuffled(path, mixed)
        trouble = bars(binary, mixed, form, "trades", got, *flags) or difference(wanted, got)
    plain = work / "plain.ndjson"
    if trouble is None and "binance" not in table:
        trouble = bars(binary, path, form, "trades", plain)
        trouble = trouble or (None if difference(plain, got) else "the table changed nothing")
    check(f"{path.name} under {table}: {sum(1 for _ in open(wanted))} bars are the oracle's", trouble, began)


def read_ours(path):
    with open(path) as file:
        rows = (json.loads(line, parse_float=Decimal, parse_int=Decimal) for line in file)
        return {(r["symbol"], r["timeframe"], int(r["start"]) // 1000): r for r in rows}


def read_vendor(path):
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = (*PRICES, "volume")
    return {(r["symbol"], r["tf"], int(r["open_time_ms"])): {n: Decimal(r[n]) for n in numbers} for r in rows}


def auction_prints(path):
    """Opening and closing prints by symbol: (time, price, whether it is the listing market's)."""
    prints = defaultdict(list)
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            if int(row["conditions_hex"], 16) & AUCTIONS:
                listed = row["exchange"] == LISTED[row["symbol"]]
                prints[row["symbol"]].append((int(row["timestamp_ms"]), Decimal(row["price"]), listed))
    return prints


def reason(key, ours, vendor, prints):
    """Why the vendor's prices are others, as far as its documents tell: it sets the first bar's open and the last one's close of a
    day to the listing market's auction price, and takes the auctions' prints out of where they stand."""
    symbol, timeframe, start = key
    end = start + {"1s": 1_000, "1m": 60_000}[timeframe]
    wrong = [name for name in PRICES if ours[name] != vendor[name]]
    near = {price for at, price, listed in prints[symbol] if listed and start <= at < start + 180_000}
    inside = {price for at, price, _ in prints[symbol] if start <= at < end}
    if set(wrong) <= {"open", "close"} and all(vendor[name] in near for name in wrong):
        return wrong, "set to the listing market's auction price"
    if all(ours[name] in inside or vendor[name] in near for name in wrong):
        return wrong, "an auction's print taken out"
    return wrong, "not explained"


def vendor(binary, trades, made, work, least):
    """Our bars under the vendor's rule beside the vendor's own."""
    began = time.monotonic()
    out = work / "vendor.ndjson"
    flags = ("--conditions", "quantconnect", "--timeframes", "1s,1m")
    trouble = bars(binary, trades, "csv", "trades", out, *flags)
    if trouble:
        return check(f"{trades.name}: bars as the vendor makes them", trouble, began)
    ours, theirs, auctions = read_ours(out), read_vendor(made), auction_prints(trades)
    for timeframe in ("1m", "1s"):
        want = {key: bar for key, bar in theirs.items() if key[1] == timeframe}
        got = {key: bar for key, bar in ours.items() if key[1] == timeframe}
        if not least:
            # Only the cut's own minutes: the last of its trades may be missing.
            got = {key: bar for key, bar in got.items() if key in want}
        both = want.keys() & got.keys()
        other = [key for key in sorted(both) if any(got[key][name] != want[key][name] for name in PRICES)]
        reasons = {key: reason(key, got[key], want[key], auctions) for key in other}
        unexplained = [key for key in other if reasons[key][1] == "not explained"]
        volumes = sum(got[key]["volume"] == want[key]["volume"] for key in both)
        for key in other:
            symbol, _, start = key
            fields, why = reasons[key]
            numbers = ", ".join(f"{name} {got[key][name]} for {want[key][name]}" for name in fields)
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(start / 1000))
            print(f"      {symbol} {timeframe} {at}: {numbers}: {why}")
        extra, missing = len(got.keys() - want.keys()), len(want.keys() - got.keys())
        same = len(both) - len(other)
        bounds = least.get(timeframe) if least else (len(want), len(want) - 8, 0)
        total, prices_min, volumes_min = bounds
        wrong = []
        if len(want) != total or missing or (timeframe == "1m" and extra):
            wrong.append(f"{len(want)} bars of {total}, {missing} missing here, {extra} only here")
        if same < prices_min or volumes < volumes_min:
            wrong.append(f"at least {prices_min} and {volumes_min} must agree")
        if unexplained:
            wrong.append(f"{len(unexplained)} bars differ for no known reason")
        promise = f"{trades.name} {timeframe}: of {len(want)} bars of the vendor's {same} have our prices, {volumes} our volume"
        check(promise, "; ".join(wrong) or None, began)


def main():
    if len(sys.argv) not in (2, 3) or not os.access(sys.argv[1], os.X_OK):
        sys.exit(__doc__.split("\n\n")[1].strip())
    binary = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="tickwire-conditions-") as folder:
        work = Path(folder)
        for name, form, table in JUDGED:
            judged(binary, DATA / name, form, table, work)
        vendor(binary, DATA / "equities-trades.csv.gz", DATA / "equities-bars.csv.gz", work, None)
        if len(sys.argv) == 3:
            captures = Path(sys.argv[2]).resolve()
            trades = captures / "us-equities-trades-201310.csv.gz"
            judged(binary, trades, "csv", "us-equities:lean", work)
            vendor(binary, trades, captures / "us-equities-bars-201310.csv.gz", work, FULL)
    print(f"{exact.passed} passed, {exact.failed} failed")
    return 1 if exact.failed else 0


if __name__ == "__main__":
    sys.exit(main())
