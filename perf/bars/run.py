#!/usr/bin/env python3
"""Times `tickwire bars` against polars and DuckDB on one file of trades; `run.sh` prepares what this needs and calls it.

Each round runs every program once, in turn, so that a machine that slows down slows all of them. The round before the first
is not counted: it fills the page cache and is where the outputs are checked against each other. Taken of each run: wall time
from fork to exit, CPU time (user + system) and the largest resident size (never less than this script's own some 15 MiB, out of which
every child is forked), all from wait4; and of the Python peers also their
own time from after their imports to the last byte written.

The ratio to quote divides the peers' own time by the *whole* process time of tickwire: starting Python and importing are held
against nobody, starting and ending tickwire is held against tickwire.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent))

from machine import machine  # noqa: E402: it is found only now

TIMEFRAMES = "1s,1m,5m,15m,1h,1d"
EXACT = ("symbol", "timeframe", "start", "end", "trades")
# Doubles for the peers: sums of a day's volume and notional keep far more digits than this.
NUMBERS = ("open", "high", "low", "close", "volume", "vwap")
TOLERANCE = 1e-6


def fail(message):
    sys.exit(f"run.py: {message}")


# --- running ------------------------------------------------------------------------------------------------------------


def run_once(name, command, out):
    """One run of a program that writes `out`."""
    # A fresh file each time, so that nobody pays for truncating the pages of the one before.
    out.unlink(missing_ok=True)
    with tempfile.TemporaryFile() as stderr:
        began = time.perf_counter()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
        # wait4 reaped it, so Popen must not wait again.
        child.returncode = os.waitstatus_to_exitcode(status)
        stderr.seek(0)
        said = stderr.read().decode(errors="replace")
    if child.returncode != 0:
        fail(f"{name} ended with {child.returncode}:\n{said}")
    if not out.is_file() or out.stat().st_size == 0:
        fail(f"{name} wrote no bars:\n{said}")
    result = {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "rss_max_bytes": usage.ru_maxrss * 1024}
    last = said.strip().splitlines()[-1:]
    if name != "tickwire" and last:
        result["own"] = json.loads(last[0])
    return result


def programs(args, scratch):
    """Name, command and output of each, in the order of a round."""
    found = []
    out = {name: scratch / f"{name}.ndjson" for name in ("tickwire", "polars", "duckdb")}
    if not args.peers_only:
        if not os.access(args.tickwire, os.X_OK) or not args.tickwire.is_file():
            fail(
                f"there is no tickwire program at {args.tickwire}: build it with `cargo build --release`, "
                "say where it is with --tickwire, or time the peers alone with --peers-only"
            )
        command = [args.tickwire, "bars", "--format", "csv", "--timeframes", TIMEFRAMES, args.file, "--out", out["tickwire"]]
        found.append(("tickwire", command, out["tickwire"]))
    for name in ("polars", "duckdb"):
        script = HERE / f"{name}_bars.py"
        found.append((name, [sys.executable, script, args.file, out[name], "--times"], out[name]))
    return found


# --- checking -----------------------------------------------------------------------------------------------------------


def close(a, b):
    if a is None or b is None:
        return a is b
    return abs(a - b) <= TOLERANCE * max(abs(a), abs(b))


def check_agree(first, second):
    """Every bar the same, in the same order: a fast wrong answer is no answer."""
    (name_a, _, path_a), (name_b, _, path_b) = first, second
    count = 0
    with open(path_a) as a, open(path_b) as b:
        for number, (line_a, line_b) in enumerate(itertools.zip_longest(a, b), start=1):
            if line_a is None or line_b is None:
                fail(f"{name_a if line_a is None else name_b} has only {number - 1} bars, the other more")
            x, y = json.loads(line_a), json.loads(line_b)
            wrong = [key for key in EXACT if x[key] != y[key]] + [key for key in NUMBERS if not close(x[key], y[key])]
            if wrong:
                fail(f"{name_a} and {name_b} differ in {', '.join(wrong)} at line {number}:\n  {line_a}  {line_b}")
            count = number
    return count


# --- reporting ----------------------------------------------------------------------------------------------------------


def summary(runs):
    """Medians over the rounds; a peer's own time where it told it, else the whole process."""
    medians = {key: median(run[key] for run in runs) for key in ("wall_s", "cpu_s", "rss_max_bytes")}
    medians["wall_min_s"] = min(run["wall_s"] for run in runs)
    if "own" in runs[0]:
        medians["version"] = runs[0]["own"]["version"]
        medians["own_s"] = {
            key: median(run["own"][key] for run in runs) for key in ("import", "read", "compute", "write", "in_process")
        }
    return medians


def in_process(value):
    """Of one run or of a summary."""
    if "own_s" in value:
        return value["own_s"]["in_process"]
    return value["own"]["in_process"] if "own" in value else value["wall_s"]


def ratios(runs, name):
    """How many times as long as tickwire, round by round, so that both sides of each quotient saw the same machine."""
    own = sorted(in_process(peer) / ours["wall_s"] for peer, ours in zip(runs[name], runs["tickwire"]))
    return {
        "to_quote": median(own),
        "to_quote_min": own[0],
        "to_quote_max": own[-1],
        "whole_process": median(peer["wall_s"] / ours["wall_s"] for peer, ours in zip(runs[name], runs["tickwire"])),
        "cpu": median(peer["cpu_s"] / ours["cpu_s"] for peer, ours in zip(runs[name], runs["tickwire"])),
    }


def print_table(results):
    print(f"\n{'':10}{'process':>10}{'in process':>12}{'CPU':>9}{'memory':>10}{'ratio to quote (min-max)':>28}{'process':>9}{'CPU':>7}")
    for name, value in results["programs"].items():
        ratio = results["ratios"].get(name)
        line = f"{name:10}{value['wall_s']:>8.3f} s{in_process(value):>10.3f} s{value['cpu_s']:>7.3f} s"
        line += f"{value['rss_max_bytes'] / 2**20:>6.0f} MiB"
        if ratio:
            spread = f"({ratio['to_quote_min']:.2f}-{ratio['to_quote_max']:.2f})"
            line += f"{ratio['to_quote']:>15.2f} {spread:>12}{ratio['whole_process']:>9.2f}{ratio['cpu']:>7.2f}"
        print(line)
    for name, value in results["programs"].items():
        if "own_s" in value:
            own = value["own_s"]
            phases = ", ".join(f"{key} {own[key]:.3f}" for key in ("import", "read", "compute", "write"))
            print(f"{name} {value['version']}, seconds: {phases}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="the trades as plain CSV, with the columns of us-equities-trades-201310")
    parser.add_argument("--tickwire", type=Path, default=ROOT / "target/release/tickwire", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--results", type=Path, default=HERE.parent / "results/bars.json", help="default: %(default)s")
    parser.add_argument("--inflate-seconds", type=float, help="what unpacking the file took, to be noted in the results")
    parser.add_argument("--peers-only", action="store_true", help="leave tickwire out, and write no results file")
    args = parser.parse_args()
    if not args.file.is_file():
        fail(f"there is no file {args.file}")
    if args.file.suffix == ".gz":
        fail("the file must be plain CSV; run.sh unpacks a .gz first")
    if args.rounds < 1:
        fail("--rounds must be at least 1")

    about = machine()
    if about["load_1m_at_start"] > 0.5:
        print(f"warning: load is {about['load_1m_at_start']:.2f}; other work on this machine will show in the times", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="tickwire-bars-") as scratch:
        entries = programs(args, Path(scratch))
        for entry in entries:
            run_once(*entry)
        for other in entries[1:]:
            bars = check_agree(entries[0], other)
        print(f"{bars} bars, all programs agree", file=sys.stderr)
        runs = {name: [] for name, _, _ in entries}
        for number in range(1, args.rounds + 1):
            for entry in entries:
                runs[entry[0]].append(run_once(*entry))
            print(f"round {number}: " + ", ".join(f"{n} {r[-1]['wall_s']:.3f} s" for n, r in runs.items()), file=sys.stderr)

    with open(args.file, "rb") as file:
        rows = sum(1 for _ in file) - 1
    results = {
        "what": f"tickwire bars --format csv --timeframes {TIMEFRAMES}, and the same bars by polars and DuckDB",
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": about,
        "input": {
            "name": args.file.name, "rows": rows, "bytes": args.file.stat().st_size, "bars": bars,
            "inflate_s": args.inflate_seconds,
        },
        "rounds": args.rounds,
        "programs": {name: summary(of) for name, of in runs.items()},
        "ratios": {} if args.peers_only else {name: ratios(runs, name) for name in runs if name != "tickwire"},
        "runs": runs,
    }
    print_table(results)
    if not args.peers_only:
        args.results.parent.mkdir(parents=True, exist_ok=True)
        args.results.write_text(json.dumps(results, indent=1) + "\n")
        print(f"\nwritten to {args.results}")


if __name__ == "__main__":
    main()
