#!/usr/bin/env python3
"""Checks that `tickwire bars` gives the oracle's bytes under calendars: civil days of 23 and 25 hours, half days, holidays, weekends.

    tests/calendar.py BINARY

Ticks are made here, thin enough to leave intervals empty and dense around the times that matter. Exit 0 when all agree, 1 when not.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

HERE = Path(__file__).resolve().parent
NEW_YORK = ZoneInfo("America/New_York")
SEED = 20_261_127

# (from, to) in New York, all of it past, for a tick from the future is refused: both changes of clocks, a half day after a holiday, the turn of the year.
SPANS = [
    ("2026-03-05 12:00", "2026-03-10 12:00"),
    ("2026-10-30 12:00", "2026-11-03 12:00"),
    ("2025-11-26 12:00", "2025-12-02 12:00"),
    ("2025-12-24 00:00", "2026-01-02 23:00"),
]
FILL = ("--fill", "regular")
EXTENDED = ("--fill", "extended", "--fill-bars-max", "40")
SESSION = ("--anchor", "session")
# (calendar, timeframes, flags)
RULES = [
    ("us-equities", "1s,1m,5m,15m,1h,1d", ()),
    ("us-equities", "1m,30m,1h,4h,1d", SESSION),
    ("us-equities", "1m,15m,1h,2h,1d", (*SESSION, *FILL)),
    ("us-equities", "1m,5m,1h,1d", EXTENDED),
    ("us-equities", "1d", FILL),
    ("us-equities", "1h,1d", (*SESSION, *EXTENDED)),
    ("fx-week", "1m,1h,1d", ()),
    ("fx-week", "1m,15m,4h,1d", (*SESSION, *FILL)),
    ("crypto-24x7", "1m,1h,4h,1d", (*SESSION, *FILL)),
    (None, "1m,1h,1d", FILL),
]

passed = failed = 0


def check(promise, trouble, began):
    global passed, failed
    passed, failed = passed + (trouble is None), failed + (trouble is not None)
    word = "pass" if trouble is None else "FAIL"
    print(f"{word}  {time.monotonic() - began:6.1f} s  {promise}" + (f"\n      {trouble}" if trouble else ""), flush=True)


def run(*command):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return None if done.returncode == 0 else f"{command[0]} ended with {done.returncode}: {done.stdout.strip()[-500:]}"


def ms(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp() * 1_000)


def made(out, dice):
    """Random ticks of two symbols: alone, in bursts, and right at full half hours and beside them."""
    rows = []
    for symbol, ticks in (("THIN", 150), ("BUSY", 900)):
        for start, end in SPANS:
            a, b = ms(start), ms(end)
            for _ in range(ticks):
                at = dice.randrange(a, b)
                if dice.random() < 0.3:
                    at = at // 1_800_000 * 1_800_000 + dice.choice((-1, 0, 1))
                for _ in range(dice.choice((1, 1, 1, 4))):
                    rows.append((at, symbol, dice.randrange(900, 1_100) / 100, dice.randrange(500)))
                    at += dice.randrange(90_000)
    rows.sort(key=lambda row: row[0])
    write(out, rows)
    return rows


def write(out, rows):
    with open(out, "w") as file:
        file.write("symbol,timestamp_ms,price,size\n")
        file.writelines(f"{symbol},{at},{price},{size}\n" for at, symbol, price, size in rows)


def lines(path, without_rev):
    with open(path) as file:
        bars = [json.loads(line) for line in file]
    for bar in bars if without_rev else []:
        bar["rev"] = 0
    return bars


def difference(wanted, got, without_rev=False):
    if not without_rev and wanted.read_bytes() == got.read_bytes():
        return None
    a, b = lines(wanted, without_rev), lines(got, without_rev)
    for one, other in zip(a, b):
        if one != other:
            return f"wanted {one}\n      got    {other}"
    return None if len(a) == len(b) else f"{len(a)} bars wanted, {len(b)} made"


def check_rules(binary, work, ticks, mixed):
    for number, (calendar, timeframes, flags) in enumerate(RULES):
        began = time.monotonic()
        rule = (("--calendar", calendar) if calendar else ()) + ("--timeframes", timeframes, *flags)
        wanted, got = work / f"oracle-{number}.ndjson", work / "got.ndjson"
        trouble = run(sys.executable, HERE / "oracle.py", ticks, *rule, "--out", wanted)
        count = 0 if trouble else sum(1 for _ in open(wanted))
        for shards in (1, 2):
            command = (binary, "bars", ticks, "--format", "csv", *rule, "--out", got, "--quiet", "--shards", shards)
            trouble = trouble or run(*command) or difference(wanted, got)
        check(f"{' '.join(rule)}: {count} bars are the oracle's bytes", trouble, began)
        began = time.monotonic()
        command = (binary, "bars", mixed, "--format", "csv", *rule, "--out", got, "--quiet")
        trouble = run(*command) or difference(wanted, got, without_rev=True)
        check(f"{' '.join(rule)}: the same bars when the ticks are shuffled", trouble, began)


def named_days(binary, work, ticks):
    """The days that are easy to get wrong, by their hours."""
    began = time.monotonic()
    got = work / "days.ndjson"
    trouble = run(binary, "bars", ticks, "--format", "csv", "--calendar", "us-equities", "--timeframes", "1m,1h,1d", "--anchor", "session", "--out", got, "--quiet")
    bars = [] if trouble else lines(got, False)
    hours = {}
    sessions = {}
    for bar in bars:
        start = datetime.fromtimestamp(bar["start"] / 1e6, NEW_YORK)
        if bar["timeframe"] == "1d":
            hours[str(start.date())] = (bar["end"] - bar["start"]) // 3_600_000_000
            trouble = trouble or (f"a day begins at {start}" if start.hour or start.minute else None)
        if bar["timeframe"] == "1h":
            sessions.setdefault(str(start.date()), []).append((f"{start:%H:%M}", (bar["end"] - bar["start"]) // 60_000_000))
    for day, wanted in (("2026-03-08", 23), ("2026-11-01", 25), ("2025-11-27", 24), ("2025-11-28", 24)):
        trouble = trouble or (None if hours.get(day) == wanted else f"{day} has {hours.get(day)} hours, not {wanted}")
    for day, wanted in (
        ("2026-03-06", ("15:30", 30)),
        ("2026-03-09", ("15:30", 30)),
        ("2026-11-02", ("15:30", 30)),
        ("2025-11-28", ("12:30", 30)),
    ):
        trouble = trouble or (None if wanted in sessions.get(day, []) else f"{day}: no bar {wanted}: {sessions.get(day)}")
    check("1d has 23 and 25 hours where clocks change, and a session's last hour ends with it", trouble, began)


def usage(binary, work, ticks):
    began = time.monotonic()
    trouble = None
    for flags, code, words in (
        (("--calendar", "us-equity"), 2, "us-equities"),
        (("--anchor", "session"), 2, "--calendar"),
        (("--calendar", "us-equities", "--timeframes", "4h,1d"), 2, "add a timeframe"),
        (("--calendar", "us-equities", "--fill", "all"), 2, "extended"),
    ):
        command = [str(part) for part in (binary, "bars", ticks, "--format", "csv", *flags)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != code or words not in done.stderr:
            trouble = trouble or f"{flags}: ended with {done.returncode}: {done.stderr.strip()[-300:]}"
    check("a wrong calendar, anchor, fill or set of timeframes is refused with what would be right", trouble, began)


def planted(work, ticks):
    """An oracle that forgets the holidays must not agree."""
    began = time.monotonic()
    a, b = work / "with.ndjson", work / "without.ndjson"
    rule = ("--timeframes", "1h,1d", *SESSION, "--fill", "regular")
    trouble = run(sys.executable, HERE / "oracle.py", ticks, "--calendar", "us-equities", *rule, "--out", a)
    trouble = trouble or run(sys.executable, HERE / "oracle.py", ticks, "--calendar", "fx-week", *rule, "--out", b)
    trouble = trouble or (None if difference(a, b) else "the comparison found nothing")
    check("another calendar's bars are found to differ", trouble, began)


def main():
    if len(sys.argv) != 2 or not os.access(sys.argv[1], os.X_OK):
        sys.exit(__doc__.split("\n\n")[1].strip())
    binary = Path(sys.argv[1]).resolve()
    dice = random.Random(SEED)
    with tempfile.TemporaryDirectory(prefix="tickwire-calendar-") as folder:
        work = Path(folder)
        ticks, mixed = work / "ticks.csv", work / "mixed.csv"
        rows = made(ticks, dice)
        # Rows of one time stay in order, for their order is part of them.
        place = {at: at + dice.randrange(400_000) for at in {row[0] for row in rows}}
        write(mixed, sorted(rows, key=lambda row: (place[row[0]], row[0])))
        check_rules(binary, work, ticks, mixed)
        named_days(binary, work, ticks)
        usage(binary, work, ticks)
        planted(work, ticks)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
