#!/usr/bin/env python3
"""Fan-out: one message to every connection at a fixed rate, by tickwire and by its peers; `run.sh` prepares what this needs.

The server has one processor, the load client another. Each round runs every server once, in turn, so that a machine that slows
down slows all of them; figures are medians over the rounds, and a ratio is the median of the ratios of each round. Latency
counts from when a message was due. Of tickwire a message enters as a trade over TCP from another process, and passes ingest,
shard and gateway; `uws-relay` is fed in the same way, message by message. The publisher of every other peer is a timer within it,
which is less work, and at a thousand messages a second gathers some of them.

`floor` is no server but a loop of writes: what one frame a write costs at the least. `floor-gather` writes all that is due at
once: what a server that is behind may do.
"""

import argparse
import json
import os
import sys
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent))

from callgrind import instructions_per_frame  # noqa: E402: found only now
from machine import machine  # noqa: E402
from most import find_most  # noqa: E402
from servers import SERVERS, Programs, Trouble, raise_descriptors, run_once  # noqa: E402
from strain import strain  # noqa: E402

SCENARIOS = ("100x1000", "1000x100", "1000x1000", "1000x2000", "9000x100")
# A load client or a machine that was short of processors makes a run doubtful; it is counted, and shown.
DOUBTS = ("was_the_wall", "was_starved")


def scenario(text):
    try:
        connections, rate = text.split("x")
        return text, int(connections), float(rate)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: it looks like 1000x100, connections by messages a second") from None


def figures(run):
    """What is compared, of one run."""
    server = run["server"] or {}
    return {
        "delivered": run["delivered"],
        "cpu_us_per_frame": server.get("us_per_frame"),
        "busy": server.get("busy"),
        "waited": server.get("waited"),
        "user_share": server.get("user_share"),
        "rss_mib": server.get("rss_bytes", 0) / 2**20,
        "p50_us": run["latency"]["p50_us"],
        "p99_us": run["latency"]["p99_us"],
        "max_us": run["latency"]["max_us"],
        "frames_per_read": run["frames_per_read"],
        "missing": run["sequences"]["missing"],
    }


def middle(values):
    known = [value for value in values if value is not None]
    return median(known) if known else None


def summary(runs):
    rows = [figures(run) for run in runs]
    result = {key: middle(row[key] for row in rows) for key in rows[0]}
    result["doubtful"] = sum(any(run[doubt] for doubt in DOUBTS) for run in runs)
    return result


def ratios(runs, name):
    """How many times as much as tickwire, round by round, for what costs."""
    result = {}
    for key in ("cpu_us_per_frame", "p50_us", "p99_us"):
        pairs = [(figures(peer)[key], figures(own)[key]) for peer, own in zip(runs[name], runs["tickwire"])]
        found = sorted(peer / own for peer, own in pairs if peer and own)
        result[key] = {"median": median(found), "min": found[0], "max": found[-1]} if found else None
    return result


def number(value, digits=0):
    return "-" if value is None else f"{value:,.{digits}f}"


def print_scenario(name, result):
    print(f"\n{name:20}{'delivered':>10}{'µs/frame':>10}{'busy':>7}{'own code':>9}{'p50 µs':>11}{'p99 µs':>12}{'RSS MiB':>9}{'missing':>9}{'doubt':>6}{'  ÷ tickwire: CPU':>18}{'p50':>8}{'p99':>8}")
    for server, row in result["servers"].items():
        ratio = result["ratios"].get(server, {})
        shown = [number((ratio.get(key) or {}).get("median"), 2) for key in ("cpu_us_per_frame", "p50_us", "p99_us")]
        print(
            f"  {server:18}{row['delivered']:>9.1%} {number(row['cpu_us_per_frame'], 2):>9}{number((row['busy'] or 0) * 100):>6}%"
            f"{number((row['user_share'] or 0) * 100):>8}%{number(row['p50_us']):>11}{number(row['p99_us']):>12}{number(row['rss_mib'], 1):>9}"
            f"{number(row['missing']):>9}{row['doubtful']:>6}{shown[0]:>18}{shown[1]:>8}{shown[2]:>8}"
        )


def measure(programs, args, name, connections, rate):
    runs = {server: [] for server in args.servers}
    for number_of_round in range(args.pairs):
        # Each time another one goes first.
        turn = number_of_round % len(args.servers)
        for server in args.servers[turn:] + args.servers[:turn]:
            run = run_once(programs, server, connections, rate, args.duration, args.warmup)
            runs[server].append(run)
            latency, cpu = run["latency"], (run["server"] or {}).get("us_per_frame")
            print(
                f"{name} round {number_of_round + 1} {server}: {run['delivered']:.1%} delivered, {number(cpu, 2)} µs a frame, "
                f"p50 {latency['p50_us']} p99 {latency['p99_us']} µs",
                file=sys.stderr,
                flush=True,
            )
    peers = [server for server in args.servers if server != "tickwire"] if "tickwire" in args.servers else []
    return {
        "connections": connections,
        "rate": rate,
        "servers": {server: summary(found) for server, found in runs.items()},
        "ratios": {peer: ratios(runs, peer) for peer in peers},
        "runs": runs,
    }


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tickwire", type=Path, required=True)
    parser.add_argument("--wsload", type=Path, required=True)
    parser.add_argument("--peers", type=Path, required=True, help="the folder with floor and broadcast")
    parser.add_argument("--pairs", type=int, default=3, help="rounds; figures to quote come from 9 (default: %(default)s)")
    parser.add_argument("--scenarios", type=scenario, nargs="+", default=[scenario(text) for text in SCENARIOS], metavar="CxR")
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS))
    parser.add_argument("--duration", type=float, default=3, help="seconds measured in each run (default: %(default)s)")
    parser.add_argument("--warmup", type=float, default=1, help="seconds before (default: %(default)s)")
    parser.add_argument("--processors", type=int, nargs=2, default=[0, 1], metavar=("SERVER", "LOAD"))
    parser.add_argument("--most", action="store_true", help="also find the highest rate each server holds at 1,000 connections")
    parser.add_argument("--callgrind", action="store_true", help="also count tickwire's instructions a frame; needs valgrind")
    parser.add_argument("--strain", type=int, metavar="CHURN_S", help="also idle, many, stopped and overloaded clients, and so many seconds of churn")
    parser.add_argument("--only-extra", action="store_true", help="leave the scenarios out, and those of the results file as they are")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results/fanout.json", help="default: %(default)s")
    args = parser.parse_args()
    if args.pairs < 1 or args.duration < 1:
        parser.error("--pairs and --duration must be at least 1")
    return args


def main():
    args = arguments()
    raise_descriptors()
    about = machine()
    if about["load_1m_at_start"] > 0.5:
        print(f"warning: load is {about['load_1m_at_start']:.2f}; other work on this machine will show in the figures", file=sys.stderr)
    if not {*args.processors} <= os.sched_getaffinity(0):
        sys.exit(f"run.py: processors {args.processors} are not all among {sorted(os.sched_getaffinity(0))}; choose with --processors")
    results = {
        "what": "one message of about 300 bytes to every connection at a fixed rate; server and load client on a processor each",
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": about,
        # With other work on the machine only the ratios mean something, and those not much.
        "preliminary": about["load_1m_at_start"] > 0.5,
        "rounds": args.pairs,
        "seconds": args.duration,
        "scenarios": {},
    }
    if args.only_extra and args.results.is_file():
        # What is not measured anew stays, with what it was taken on.
        results = json.loads(args.results.read_text())
    trouble = None
    try:
        programs = Programs(args.tickwire, args.wsload, args.peers, *args.processors)
        for name, connections, rate in [] if args.only_extra else args.scenarios:
            results["scenarios"][name] = measure(programs, args, name, connections, rate)
            print_scenario(name, results["scenarios"][name])
        if args.most:
            results["most"] = find_most(programs, args.servers, args.duration, args.warmup)
        if args.strain:
            results["strain"] = strain(programs, args.strain)
        if args.callgrind:
            results["callgrind"] = instructions_per_frame(programs)
            counted = results["callgrind"]
            print(f"\ntickwire: {counted['instructions_per_frame']:.0f} instructions of its own a frame, {counted['frames_per_read']:.2f} frames at a time")
    except Trouble as found:
        # What was measured before is not lost.
        trouble = results["trouble"] = str(found)
    about["load_1m_at_end"] = os.getloadavg()[0]
    if args.only_extra:
        results["extra_taken"] = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "machine": about}
    args.results.parent.mkdir(parents=True, exist_ok=True)
    args.results.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\nwritten to {args.results}")
    if trouble:
        sys.exit(f"run.py: {trouble}")


if __name__ == "__main__":
    main()
