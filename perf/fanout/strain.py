"""The engine under strain: idle and many connections, readers that stopped, more than it can send, clients that come and go.

Each part says what it did and found; none of them compares with a peer. Everything ends with the part that began it.
"""

import json
import os
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from servers import CONNECT_RATE, PATIENCE_S, SOURCES, SUBSCRIBE, SYMBOL, Child, feed_command, free_port, tickwire_config

BARS = json.dumps({"action": "subscribe", "channel": "bars", "symbols": [SYMBOL], "timeframes": ["1s"]})
# All that ticks fill in time is filled at start, so that what grows is the clients'.
FILLED = "preallocate = true\nhistory_mib_max = 4\ntrades_mib_max = 4"
# Takes about half of the server's processor away.
HOG = [sys.executable, "-c", "while True: pass"]


@contextmanager
def engine(programs, connections, bars=""):
    """(process, port, port of the feed)"""
    port, feed_port = free_port(), free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(f"[bars]\n{bars}\n" + tickwire_config(port, feed_port, connections))
        config.flush()
        with Child([programs.tickwire, "serve", "--config", config.name], programs.server_processor) as child:
            child.await_text("takes lines at")
            yield child, port, feed_port


@contextmanager
def load(programs, port, pid, connections, duration_s, warmup_s, *more, subscribe=SUBSCRIBE):
    command = [
        programs.wsload, f"ws://127.0.0.1:{port}/v1/stream", "--connections", connections, "--duration", f"{duration_s}s",
        "--warmup", f"{warmup_s}s", "--connect-rate", CONNECT_RATE, "--source-ips", SOURCES, "--pin", programs.load_processor,
        "--server-pid", pid, "--json", *(["--subscribe", subscribe] if subscribe else []), *more,
    ]  # fmt: skip
    with Child(command, programs.load_processor) as client:
        client.await_text("ready:")
        yield client


@contextmanager
def feed(programs, feed_port, rate, seconds, symbols=(SYMBOL,)):
    command = feed_command(programs, f"tcp://127.0.0.1:{feed_port}", rate, seconds, symbols)
    with Child(command, programs.load_processor, nice=-10) as feeder:
        yield feeder


def rss(pid):
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def kernel_bytes():
    """Of all TCP sockets of the machine."""
    words = next(line for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:")).split()
    return int(words[words.index("mem") + 1]) * os.sysconf("SC_PAGE_SIZE")


def ended(client, patience):
    return json.loads(client.finish(patience))


def idle(programs, connections=10_000):
    with engine(programs, connections) as (child, port, _):
        before = rss(child.pid)
        with load(programs, port, child.pid, connections, 1, 1, "--ready", "upgraded", subscribe=None) as client:
            time.sleep(1)
            after = rss(child.pid)
            ended(client, PATIENCE_S)
    return {"connections": connections, "bytes_each": (after - before) / connections}


def many(programs, rate, connections=10_000):
    with engine(programs, connections) as (child, port, feed_port):
        with load(programs, port, child.pid, connections, 5, 2) as client, feed(programs, feed_port, rate, 7.5):
            found = ended(client, PATIENCE_S)
    return brief(found) | {"connections": connections, "rate": rate, "delivered": found["frames"] / (connections * rate * 5)}


def spread(programs, rate=10, connections=10_000, count=10):
    """As many messages to each, but of ten symbols, each for a tenth of the connections."""
    symbols = [f"{SYMBOL}{number}" for number in range(count)]
    requests = [json.dumps({"action": "subscribe", "channel": "trades", "symbols": [symbol]}) for symbol in symbols]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as mix, engine(programs, connections) as (child, port, feed_port):
        mix.write("\n".join(requests) + "\n")
        mix.flush()
        with (
            load(programs, port, child.pid, connections, 5, 2, "--mix", mix.name, subscribe=None) as client,
            feed(programs, feed_port, rate * count, 7.5, symbols),
        ):
            found = ended(client, PATIENCE_S)
    return brief(found) | {"connections": connections, "symbols": count, "rate": rate, "delivered": found["frames"] / (connections * rate * 5)}


def brief(found):
    server = found["server"] or {}
    return {
        "p50_us": found["latency"]["p50_us"],
        "p99_us": found["latency"]["p99_us"],
        "missing": found["sequences"]["missing"],
        "repeats": found["sequences"]["repeats"],
        "closes": found["ends"]["closes"],
        "without_close": found["ends"]["without_close"],
        "server_busy": server.get("busy"),
        "client_busy": [thread["busy"] for thread in found["threads"]],
        "client_was_the_wall": found["was_the_wall"],
    }


def stopped(programs, rounds=5, connections=1000, count=200, rate=200):
    """Fast readers without and with others that never read."""
    runs = {0: [], count: []}
    for number in range(rounds):
        for others in [0, count] if number % 2 == 0 else [count, 0]:
            with engine(programs, connections + count) as (child, port, feed_port):
                with load(programs, port, child.pid, connections, 4, 1, "--stopped", others) as client:
                    before, kernel = rss(child.pid), kernel_bytes()
                    with feed(programs, feed_port, rate, 5.5):
                        time.sleep(4)
                        held, in_kernel = rss(child.pid) - before, kernel_bytes() - kernel
                        found = ended(client, PATIENCE_S)
            runs[others].append(brief(found) | {"held_bytes": held, "kernel_bytes": in_kernel})
    ratio = [with_them["p99_us"] / without["p99_us"] for without, with_them in zip(runs[0], runs[count])]
    more = median(run["kernel_bytes"] for run in runs[count]) - median(run["kernel_bytes"] for run in runs[0])
    return {"readers": connections, "stopped": count, "rate": rate, "p99_ratio": median(ratio), "kernel_bytes_each": more / count, "runs": runs}


def overload(programs, rate=8000, connections=1000, watchers=100):
    """Facts past what can be sent, with half of the processor taken away; forming bars beside them; then quiet."""
    over_s, quiet_s = 6, 5
    with engine(programs, connections + 2 * watchers) as (child, port, feed_port):
        with (
            load(programs, port, child.pid, connections, over_s - 1, 1) as facts,
            load(programs, port, child.pid, watchers, over_s - 1, 1, subscribe=BARS) as bars,
            # Its window opens a second after the overload has ended.
            load(programs, port, child.pid, watchers, quiet_s - 3, over_s + 1, subscribe=BARS) as later,
        ):
            peak = before = rss(child.pid)
            with Child(HOG, programs.server_processor), feed(programs, feed_port, rate, over_s):
                until = time.monotonic() + over_s
                while time.monotonic() < until:
                    peak = max(peak, rss(child.pid))
                    time.sleep(0.05)
            with feed(programs, feed_port, 100, quiet_s):
                found = {name: brief(ended(client, PATIENCE_S)) for name, client in [("facts", facts), ("bars", bars), ("bars_after", later)]}
    return found | {"rate": rate, "connections": connections, "rss_before": before, "rss_peak": peak}


def churn(programs, seconds=600, connections=1000):
    """Clients that come, read for a moment and go, under load: memory and descriptors, at the start, and at the end."""
    samples, rounds = [], 0
    with engine(programs, 2 * connections, FILLED) as (child, port, feed_port), feed(programs, feed_port, 200, seconds + PATIENCE_S):
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            with load(programs, port, child.pid, connections, 1, 1) as client:
                ended(client, PATIENCE_S)
            rounds += 1
            # By then the last sockets have had their close.
            time.sleep(0.2)
            samples.append((round(time.monotonic() - began), rss(child.pid), descriptors(child.pid)))
    # The first rounds warm the pools.
    first, last = samples[min(3, len(samples) - 1)], samples[-1]
    return {
        "seconds": seconds, "connects": rounds * connections, "rss_early": first[1], "rss_late": last[1],
        "descriptors_early": first[2], "descriptors_late": last[2],
    }  # fmt: skip


def strain(programs, churn_s):
    parts = {
        "idle": lambda: idle(programs),
        "many_10": lambda: many(programs, 10),
        "many_10_of_ten_symbols": lambda: spread(programs),
        "many_50": lambda: many(programs, 50),
        "many_100": lambda: many(programs, 100),
        "many_200": lambda: many(programs, 200),
        "stopped": lambda: stopped(programs),
        "overload": lambda: overload(programs),
        "churn": lambda: churn(programs, churn_s),
    }
    found = {}
    for name, part in parts.items():
        found[name] = part()
        print(f"{name}: {json.dumps({key: value for key, value in found[name].items() if key != 'runs'})}", flush=True)
    return found
