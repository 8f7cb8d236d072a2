#!/usr/bin/env python3
"""Checks that `tickwire bars` gives the oracle's bytes, however the engine is laid out and in whatever order the ticks come.

    tests/exact.py BINARY [CAPTURES]

Every file of real data beside this script is read with each number of shards, ring depth and placement. CAPTURES is a directory of
the full captures those files were cut from; without it only the cuts are read. Exit 0 when all agree, 1 when not.
"""

import csv
import gzip
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"

# (file, format, prices)
CUTS = [
    ("demo-crypto.csv.gz", "csv", "trades"),
    ("demo-equities.csv.gz", "csv", "trades"),
    ("equities-trades.csv.gz", "csv", "trades"),
    ("fx-quotes.csv.gz", "csv", "bid"),
    ("fx-quotes.csv.gz", "csv", "ask"),
    ("fx-quotes.csv.gz", "csv", "mid"),
    ("binance-spot-raw.txt.gz", "binance", "trades"),
    ("binance-usdm-raw.txt.gz", "binance", "trades"),
    ("massive.jsonl.gz", "massive", "trades"),
    ("massive.jsonl.gz", "massive", "bid"),
    ("massive.jsonl.gz", "massive", "ask"),
    ("massive.jsonl.gz", "massive", "mid"),
    ("feed/binance-trades.csv", "csv", "trades"),
    ("feed/fx-quotes.csv", "csv", "bid"),
    ("feed/fx-quotes.csv", "csv", "ask"),
    ("feed/fx-quotes.csv", "csv", "mid"),
    ("feed/us-equities-trades.csv", "csv", "trades"),
    ("feed/binance-spot.txt", "binance", "trades"),
    ("feed/binance-usdm.txt", "binance", "trades"),
]
CAPTURES = [
    ("us-equities-trades-201310.csv.gz", "csv", "trades"),
    ("fx-quotes-201405.csv.gz", "csv", "bid"),
    ("fx-quotes-201405.csv.gz", "csv", "ask"),
    ("fx-quotes-201405.csv.gz", "csv", "mid"),
    ("binance-trades-20240808.csv.gz", "csv", "trades"),
    ("binance-spot-btcusdt-raw-ws-20240808.txt.gz", "binance", "trades"),
    ("binance-usdm-btcusdt-raw-ws-20240808.txt.gz", "binance", "trades"),
]
LAYOUTS = list(itertools.product((1, 2, 4), (128, 65_536), ("single", "shared", "dedicated")))

# How far the shuffled ticks are from their place in time, and the seed that puts them there.
SPREAD_MS = 2_000
SEED = 20_240_808
WORKERS = os.cpu_count() or 1

passed = failed = 0


def check(promise, trouble, began):
    """Counts and prints one promise; `trouble` is None where it is kept."""
    global passed, failed
    if trouble is None:
        passed += 1
        print(f"pass  {time.monotonic() - began:6.1f} s  {promise}", flush=True)
    else:
        failed += 1
        print(f"FAIL  {time.monotonic() - began:6.1f} s  {promise}\n      {trouble}", flush=True)


def run(*command):
    """Runs a program to its end; what it says is only shown where it fails."""
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return None if done.returncode == 0 else f"{command[0]} ended with {done.returncode}: {done.stdout.strip()[-500:]}"


def bars(binary, files, form, prices, out, *flags):
    files = files if isinstance(files, list) else [files]
    return run(binary, "bars", *files, "--format", form, "--bars-from", prices, "--out", out, "--quiet", *flags)


def difference(a, b, *flags):
    """What the comparing script says, or None where all bars agree."""
    return run(sys.executable, HERE / "compare_bars.py", a, b, *flags)


def same_bytes(wanted, got):
    if wanted.read_bytes() == got.read_bytes():
        return None
    return difference(wanted, got, "--with-rev") or "the bars agree but not their bytes"


# --- every layout gives the oracle's bytes ------------------------------------------------------------------------------


def oracle(path, form, prices, work):
    out = work / f"oracle-{path.name}-{prices}.ndjson"
    if not out.exists():
        trouble = run(
            sys.executable, HERE / "oracle.py", path, "--format", form, "--bars-from", prices, "--out", out
        )
        if trouble:
            sys.exit(f"the oracle failed on {path}: {trouble}")
    return out


def one_layout(binary, path, form, prices, layout, wanted, work):
    shards, depth, placement = layout
    out = work / f"{path.name}-{prices}-{shards}-{depth}-{placement}.ndjson"
    flags = ("--shards", shards, "--ring-depth", depth, "--placement", placement)
    trouble = bars(binary, path, form, prices, out, *flags) or same_bytes(wanted, out)
    out.unlink(missing_ok=True)
    return trouble and f"{shards} shards, rings of {depth}, {placement}: {trouble}"


def layouts(binary, path, form, prices, work, pool):
    began = time.monotonic()
    wanted = oracle(path, form, prices, work)
    jobs = [pool.submit(one_layout, binary, path, form, prices, layout, wanted, work) for layout in LAYOUTS]
    troubles = [trouble for trouble in (job.result() for job in jobs) if trouble]
    count = sum(1 for _ in open(wanted, "rb"))
    if not count:
        troubles.append("the oracle found no bars: this checks nothing")
    promise = f"{path.name} {prices}: {count} bars are the oracle's bytes in {len(LAYOUTS)} layouts"
    check(promise, troubles[0] if troubles else None, began)


# --- a raw capture and the csv made from it -----------------------------------------------------------------------------


def raw_trade_ids(path):
    """Ids of the trades in a raw Binance capture."""
    with gzip.open(path, "rt") as file:
        for line in file:
            message = json.loads(line[line.find("{") :])
            message = message.get("data", message)
            if message.get("e") == "trade":
                yield str(message["t"])


def raw_is_csv(binary, raw, table, symbol, work):
    """The raw capture calls its symbol BTCUSDT, the csv of the perpetual BTCUSDT-PERP."""
    began = time.monotonic()
    ids = set(raw_trade_ids(raw))
    extracted = work / f"extracted-{raw.name}.csv"
    with gzip.open(table, "rt", newline="") as source, open(extracted, "w", newline="") as out:
        rows = csv.DictReader(source)
        writer = csv.DictWriter(out, rows.fieldnames, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            if row["symbol"] == symbol and row["trade_id"] in ids:
                writer.writerow(row | {"symbol": "BTCUSDT"})
    a, b = work / "raw.ndjson", work / "csv.ndjson"
    trouble = bars(binary, raw, "binance", "trades", a) or bars(binary, extracted, "csv", "trades", b)
    trouble = trouble or same_bytes(a, b) or (None if ids else "no trades in the capture")
    check(f"{raw.name}: its {len(ids)} trades make the same bars raw and as csv", trouble, began)


# --- order --------------------------------------------------------------------------------------------------------------


def shuffled(path, out):
    """The rows with each moved by less than the spread. Rows of one time stay in order, for their order is part of them."""
    dice = random.Random(SEED)
    moved = {}

    def place(row):
        at = int(row[1])
        if at not in moved:
            moved[at] = at + dice.randrange(SPREAD_MS)
        return moved[at], at

    with gzip.open(path, "rt", newline="") as file:
        header, *rows = csv.reader(file)
    if header[1] != "timestamp_ms":
        sys.exit(f"{path}: the second column is {header[1]}, not timestamp_ms")
    before = [row[1] for row in rows]
    # A stable sort: equal keys are equal times.
    rows.sort(key=place)
    if [row[1] for row in rows] == before:
        sys.exit(f"{path}: the shuffle moved nothing")
    with open(out, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def order(binary, path, prices, work):
    began = time.monotonic()
    mixed = work / f"shuffled-{path.name}.csv"
    if not mixed.exists():
        shuffled(path, mixed)
    wanted, got = oracle(path, "csv", prices, work), work / "shuffled.ndjson"
    for name, flags in (("", ()), (f" and no more than {SPREAD_MS} ms late", ("--late-tolerance", SPREAD_MS))):
        trouble = bars(binary, mixed, "csv", prices, got, "--shards", 2, *flags) or difference(wanted, got)
        check(f"{path.name} {prices}: the same bars when shuffled{name}", trouble, began)
        began = time.monotonic()
    trouble = bars(binary, mixed, "csv", prices, got, "--late-tolerance", 0)
    if trouble is None and difference(wanted, got) is None:
        trouble = "nothing was refused"
    check(f"{path.name} {prices}: a tolerance of 0 refuses what the shuffle made late", trouble, began)


# --- the checks can fail ------------------------------------------------------------------------------------------------


def planted(binary, work):
    """One digit of one tick is changed, and one of one bar: both must be found."""
    began = time.monotonic()
    path = DATA / "feed" / "us-equities-trades.csv"
    wanted, got, bad = oracle(path, "csv", "trades", work), work / "planted.ndjson", work / "planted.csv"
    lines = path.read_text().splitlines(keepends=True)
    middle = len(lines) // 2
    # The last digit of the size, which every bar's volume shows.
    fields = lines[middle].split(",")
    fields[3] = fields[3][:-1] + str((int(fields[3][-1]) + 1) % 10)
    lines[middle] = ",".join(fields)
    bad.write_text("".join(lines))
    trouble = bars(binary, bad, "csv", "trades", got)
    if trouble is None and (difference(wanted, got) is None or same_bytes(wanted, got) is None):
        trouble = "the comparison found nothing"
    check("a digit changed in one tick is found", trouble, began)
    began = time.monotonic()
    text = bytearray(wanted.read_bytes())
    place = text.index(b'"close":', len(text) // 2) + len(b'"close":')
    text[place] = ord("1") + (text[place] - ord("0")) % 9
    got.write_bytes(text)
    found = difference(wanted, got) and same_bytes(wanted, got)
    check("a digit changed in one bar is found", None if found else "the comparison found nothing", began)


def main():
    if len(sys.argv) not in (2, 3) or not os.access(sys.argv[1], os.X_OK):
        sys.exit(__doc__.split("\n\n")[1].strip())
    binary = Path(sys.argv[1]).resolve()
    captures = Path(sys.argv[2]).resolve() if len(sys.argv) == 3 else None
    inputs = [(DATA / name, form, prices) for name, form, prices in CUTS]
    if captures:
        inputs += [(captures / name, form, prices) for name, form, prices in CAPTURES]
    missing = [path.name for path, _, _ in inputs if not path.exists()]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="tickwire-exact-") as folder, ThreadPoolExecutor(WORKERS) as pool:
        work = Path(folder)
        # The oracle is most of the time; the slow ones go first, beside each other.
        for job in [pool.submit(oracle, *entry, work) for entry in reversed(inputs)]:
            job.result()
        for path, form, prices in inputs:
            layouts(binary, path, form, prices, work, pool)
        raw_is_csv(binary, DATA / "binance-spot-raw.txt.gz", DATA / "demo-crypto.csv.gz", "BTCUSDT", work)
        raw_is_csv(binary, DATA / "binance-usdm-raw.txt.gz", DATA / "demo-crypto.csv.gz", "BTCUSDT-PERP", work)
        order(binary, DATA / "demo-crypto.csv.gz", "trades", work)
        order(binary, DATA / "equities-trades.csv.gz", "trades", work)
        order(binary, DATA / "fx-quotes.csv.gz", "mid", work)
        if captures:
            table = captures / "binance-trades-20240808.csv.gz"
            raw_is_csv(binary, captures / CAPTURES[-2][0], table, "BTCUSDT", work)
            raw_is_csv(binary, captures / CAPTURES[-1][0], table, "BTCUSDT-PERP", work)
            order(binary, captures / CAPTURES[0][0], "trades", work)
            order(binary, captures / CAPTURES[1][0], "mid", work)
        planted(binary, work)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
