#!/usr/bin/env python3
"""How many trades a second one core takes in without loss, by tickwire and by a plain reader; `run.sh` prepares what this needs.

Trades of Massive, alone in a frame or fifty together, over TCP as lines, as a publisher's WebSocket messages, and from a venue that
is connected to. Server and load have a processor each. The load writes as fast as it is read, and its time ends when the reader
answered the close, having read all; a run in which the reader counts other than what was sent is a failure. The peer
(tokio-tungstenite or tokio's lines, serde_json into a struct) keeps a last price and a volume for each symbol. Rounds go A B C, C B A;
figures are medians, a ratio is the median of the ratios of each round. There are two figures, of two layouts of the engine:

whole engine    (`tickwire`, ticks a second) tickwire does on its one processor all that it does: reading and parsing, bars of six
                timeframes, duplicates looked for, trades kept, clients served. So it does much more than the peer beside it.
ingest core     (`ingest-core`, CPU time a tick) the ingest thread has the reader's processor for itself; the shard's and the
                gateway's share that of the load. What is compared is the CPU time of that one thread, system calls included, with that
                of the peer's one thread: here both read, parse and hand on, and no more. How fast such a run goes says nothing, as the
                shard and the load get in each other's way.

CPU time is as the kernel's scheduler counts it (/proc/PID/task/TID/schedstat), so other programs on the machine lengthen it far
less than they do a run.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent))

from machine import machine  # noqa: E402: found only now

PATHS = ("tcp", "websocket", "connect")
PER_FRAME = (1, 50)
SERVERS = ("tickwire", "ingest-core", "tungstenite")
# Those of the load.
SYMBOLS = json.dumps([f"LD{n:03}" for n in range(500)])
# A run that takes longer has failed.
PATIENCE_S = 120
CONFIG = """
[bars]
timeframes = ["1s", "1m", "5m", "15m", "1h", "1d"]
{bars}
[gateway]
listen = "127.0.0.1:0"
drain_s = 0
[cores]
{cores}
[[feed]]
name = "load"
format = "massive"
{feed}
"""


# How the engine's threads lie on the processors of the server and of the load. A core that waits for another must not spin, or that
# would count as its work.
LAYOUTS = {
    "tickwire": 'placement = "single"\nprocessors = [{server}]',
    "ingest-core": 'placement = "dedicated"\nprocessors = [{server}, {load}, {load}]\nspin_us = 0',
}


class Trouble(Exception):
    """A run that gave no figures; the text says why."""


class Child:
    """A program on a processor of its own, ended with the block that began it."""

    def __init__(self, command, *processors):
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, processors),
        )
        self.text, self.news = "", threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.news:
                self.text += line
                self.news.notify_all()
        with self.news:
            self.news.notify_all()

    def await_text(self, pattern):
        end = time.monotonic() + PATIENCE_S
        with self.news:
            while not (found := re.search(pattern, self.text)):
                if not self.reader.is_alive() or time.monotonic() > end:
                    raise Trouble(f"{pattern!r} did not come: {self.text}")
                self.news.wait(0.5)
            return found[1]

    def finish(self):
        """Waits for its end and returns the last line, read as JSON."""
        # It closes its output as it ends; what it used is known until it is waited for.
        self.reader.join(PATIENCE_S)
        if self.reader.is_alive():
            raise Trouble(f"it does not end: {self.text}")
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        self.used_s = self.cpu_s()
        code = self.process.wait(PATIENCE_S)
        if code:
            raise Trouble(f"it ended with {code}: {self.text}")
        return json.loads(self.text.splitlines()[-1])

    def cpu_s(self, thread=None):
        """The CPU time of the thread of this name, or of all that there are."""
        tasks = [task for task in Path(f"/proc/{self.process.pid}/task").iterdir()]
        if thread is not None:
            tasks = [task for task in tasks if (task / "comm").read_text().strip() == thread]
            if len(tasks) != 1:
                raise Trouble(f"{len(tasks)} threads are named {thread}")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def engine(args, layout, way, port, folder):
    """tickwire in this layout with a source of this kind; `port` is the venue's, where it connects to one."""
    feed = {
        "tcp": 'source = "tcp"\nlisten = "127.0.0.1:0"',
        "websocket": 'source = "websocket"\nlisten = "127.0.0.1:0"',
        "connect": f'source = "connect"\nurl = "ws://127.0.0.1:{port}/stocks"\nkey = "k"\nchannels = ["T"]\nsymbols = {SYMBOLS}',
    }[way]
    path = Path(folder) / "ingest.toml"
    server, load = args.processors
    cores = LAYOUTS[layout].format(server=server, load=load)
    path.write_text(CONFIG.format(bars=args.bars, cores=cores, feed=feed))
    return Child([args.tickwire, "serve", "--config", path], *([server] if layout == "tickwire" else [server, load]))


def run_once(args, server, way, per_frame, ticks):
    load = [args.peers / "ingest_load"]
    cpu = {}
    with tempfile.TemporaryDirectory(prefix="tickwire-ingest-") as folder:
        if way == "connect":
            with Child([*load, "serve", per_frame, ticks], args.processors[1]) as venue:
                port = venue.await_text(r"port (\d+)")
                url = f"ws://127.0.0.1:{port}/stocks"
                peer = [args.peers / "ingest_reader", url]
                with (engine(args, server, way, port, folder) if server in LAYOUTS else Child(peer, args.processors[0])) as reader:
                    sent = venue.finish()
                    accepted = stop(server, reader, cpu)
        else:
            peer = [args.peers / "ingest_reader", "ws-listen" if way == "websocket" else "tcp-listen"]
            with (engine(args, server, way, 0, folder) if server in LAYOUTS else Child(peer, args.processors[0])) as reader:
                if server in LAYOUTS:
                    reader.await_text(r"clients at ws://127\.0\.0\.1:(\d+)/")
                    port = reader.await_text(r"load takes \w+ at \w+://127\.0\.0\.1:(\d+)")
                else:
                    port = reader.await_text(r"port (\d+)")
                url = f"tcp://127.0.0.1:{port}" if way == "tcp" else f"ws://127.0.0.1:{port}/ingest"
                with Child([*load, url, per_frame, ticks], args.processors[1]) as writer:
                    sent = writer.finish()
                    accepted = stop(server, reader, cpu)
    if accepted != ticks:
        raise Trouble(f"{server} over {way}: {accepted} of {ticks} trades were taken")
    return sent | {"server_cpu_s": cpu["s"], "cpu_ns_per_tick": cpu["s"] * 1e9 / ticks}


def stop(server, reader, cpu):
    """Ends the reader well, and returns how many trades it took."""
    if server not in LAYOUTS:
        accepted = reader.finish()["accepted"]
        cpu["s"] = reader.used_s
        return accepted
    cpu["s"] = reader.cpu_s("ingest-0" if server == "ingest-core" else None)
    reader.process.send_signal(signal.SIGTERM)
    if reader.process.wait(PATIENCE_S):
        raise Trouble(f"tickwire ended with {reader.process.returncode}: {reader.text}")
    reader.reader.join(PATIENCE_S)
    counters = {name: int(value) for name, value in re.findall(r"(\S+)=(\d+)", reader.text)}
    odd = {name: value for name, value in counters.items() if value and ("reject" in name or "refused" in name or "overflow" in name)}
    if odd:
        raise Trouble(f"not all of it was well: {odd}")
    # The shard also takes what is no trade, such as the gap that begins when a venue is gone.
    taken = counters.get("feed.load.accepted.trades")
    if taken is None or counters.get("accepted", 0) < taken:
        raise Trouble(f"the shard took fewer than the feed, or nothing was counted: {counters}")
    return taken


def measure(args, way, per_frame):
    ticks = args.ticks if per_frame > 1 else args.ticks // 2
    runs = {server: [] for server in args.servers}
    for number in range(args.rounds):
        order = args.servers if number % 2 == 0 else args.servers[::-1]
        for server in order:
            run = run_once(args, server, way, per_frame, ticks)
            runs[server].append(run)
            shown = f"{run['ticks_per_s']:,.0f} ticks/s, {run['cpu_ns_per_tick']:.0f} ns of CPU a tick"
            print(f"{way} x{per_frame} round {number + 1} {server}: {shown}", file=sys.stderr, flush=True)
    result = {"ticks": ticks, "runs": runs}
    for figure in ("ticks_per_s", "cpu_ns_per_tick"):
        result[figure] = {server: median(run[figure] for run in found) for server, found in runs.items()}
    if {"tickwire", "tungstenite"} <= set(args.servers):
        result["times_as_fast"] = spread(
            own["ticks_per_s"] / peer["ticks_per_s"] for own, peer in zip(runs["tickwire"], runs["tungstenite"])
        )
    if {"ingest-core", "tungstenite"} <= set(args.servers):
        result["ingest_core_times_less_cpu"] = spread(
            peer["cpu_ns_per_tick"] / own["cpu_ns_per_tick"] for own, peer in zip(runs["ingest-core"], runs["tungstenite"])
        )
    return result


def spread(ratios):
    ratios = sorted(ratios)
    return {"median": median(ratios), "min": ratios[0], "max": ratios[-1]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tickwire", type=Path, required=True)
    parser.add_argument("--peers", type=Path, required=True, help="the folder with ingest_load and ingest_reader")
    parser.add_argument("--rounds", type=int, default=3, help="figures to quote come from 9 (default: %(default)s)")
    parser.add_argument("--ticks", type=int, default=6_000_000, help="at 50 a frame, and half as many alone (default: %(default)s)")
    parser.add_argument("--paths", nargs="+", choices=PATHS, default=list(PATHS))
    parser.add_argument("--per-frame", type=int, nargs="+", default=list(PER_FRAME))
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS))
    parser.add_argument("--processors", type=int, nargs=2, default=[0, 1], metavar=("SERVER", "LOAD"))
    parser.add_argument("--bars", default="", help="further lines of the engine's bars table")
    parser.add_argument("--out", type=Path, default=ROOT / "perf" / "results" / "ingest.json")
    args = parser.parse_args()
    result = {
        "what": "trades of Massive into one core over loopback; reader and load on a processor each; what the figures mean: run.py",
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "rounds": args.rounds,
        "scenarios": {},
    }
    try:
        for way in args.paths:
            for per_frame in args.per_frame:
                result["scenarios"][f"{way} x{per_frame}"] = measure(args, way, per_frame)
    except Trouble as trouble:
        sys.exit(f"run.py: {trouble}")
    result["machine"]["load_1m_at_end"] = os.getloadavg()[0]
    print(f"\n{'':16}{'whole engine, ticks/s':^42}{'ingest core, ns of CPU a tick':^42}")
    print(f"{'':16}{'tickwire':>14}{'tungstenite':>14}{'times':>10}    {'ingest core':>14}{'tungstenite':>14}{'times':>10}")
    for name, row in result["scenarios"].items():
        speeds = "".join(f"{row['ticks_per_s'].get(server, 0):>14,.0f}" for server in ("tickwire", "tungstenite"))
        costs = "".join(f"{row['cpu_ns_per_tick'].get(server, 0):>14.0f}" for server in ("ingest-core", "tungstenite"))
        times = [row.get(ratio, {}).get("median", 0) for ratio in ("times_as_fast", "ingest_core_times_less_cpu")]
        print(f"{name:16}{speeds}{times[0]:>10.2f}    {costs}{times[1]:>10.2f}")
    args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
