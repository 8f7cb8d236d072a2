"""A real engine that connects to a venue, and a client of it that keeps every fact it is told."""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

from websockets.asyncio.client import connect

from venue import PATIENCE_S, Process, Served, require

# A bar's fields that say what happened in it, as exact decimals.
FIELDS = ("open", "high", "low", "close", "volume", "trades")
# The vendor rounds its mean prices, so a bar filled from them may differ in the last of our nine places.
VWAP_TOLERANCE = Decimal("2e-9")


class Live(Served):
    """`tickwire serve` with feeds that connect. `feeds` are lists of TOML lines; `bars` are lines of the bars table."""

    def __init__(self, binary, feeds, bars):
        self.folder = tempfile.TemporaryDirectory(prefix="tickwire-live-")
        path = Path(self.folder.name) / "engine.toml"
        tables = "\n".join("[[feed]]\n" + "\n".join(feed) for feed in feeds)
        path.write_text(
            f'[bars]\n{bars}\n[gateway]\nlisten = "127.0.0.1:0"\ndrain_s = 0\noutbox_facts_bytes_max = 67108864\n'
            f"outbox_facts_age_ms_max = 60000\n{tables}\n"
        )
        super().__init__(binary, "serve", "--config", path)
        port = self.await_text(r"clients at ws://127\.0\.0\.1:(\d+)/")[1]
        self.url = f"ws://127.0.0.1:{port}/v1/stream"


def feed(name, venue, symbols, members=None, key="k", secure=False, form="massive", rest=True):
    """The lines of a feed that connects to a venue."""
    path, channel = ("/stocks", "T") if form == "massive" else ("/stream", "trade")
    lines = [
        f'name = "{name}"',
        'source = "connect"',
        f'format = "{form}"',
        f'url = "{venue.wss if secure else venue.ws}{path}"',
        f'channels = ["{channel}"]',
    ]
    if form == "massive":
        lines.append(f'key = "{key}"')
    if secure:
        lines.append(f'ca_file = "{venue.ca}"')
    if members:
        named = [
            f'{{ name = "{name}-{n}", symbols = {json.dumps(part)}, priority = {n} }}'
            for n, part in enumerate(members, 1)
        ]
        lines += [f"members = [{', '.join(named)}]", f"connections_max = {len(members)}"]
    else:
        lines.append(f"symbols = {json.dumps(symbols)}")
    # Who is killed over and over comes back no later than after this.
    lines += ["[feed.limits]", "backoff_ms_max = 1000"]
    if rest:
        url = venue.https if secure else venue.http
        lines += ["[feed.rest]", f'url = "{url}"', "weight_per_minute_max = 100000", "settle_ms = 1000", "poll_every_ms = 1000"]
    return lines


class Client:
    """Every fact of bars and trades, in order, each with when it came; sequences must have no gap."""

    def __init__(self):
        self.bars = {}
        self.trades = []
        self.sequences = {}
        self.errors = []

    async def follow(self, url, timeframes, trades=True):
        plain = {"compression": None, "ping_interval": None, "proxy": None, "max_queue": None, "max_size": None}
        self.socket = await connect(url, open_timeout=PATIENCE_S, **plain)
        ask = {"action": "subscribe", "channel": "bars", "symbols": ["*"], "timeframes": timeframes, "forming": False}
        await self.socket.send(json.dumps(ask))
        if trades:
            await self.socket.send(json.dumps({"action": "subscribe", "channel": "trades", "symbols": ["*"]}))
        self.task = asyncio.create_task(self._read())

    async def _read(self):
        async for text in self.socket:
            now = time.time()
            message = json.loads(text, parse_float=Decimal)
            for one in message if isinstance(message, list) else [message]:
                self._take(one, now)

    def _take(self, message, now):
        kind = message["type"]
        if kind == "error":
            self.errors.append(message)
        if kind not in ("bar", "trade"):
            return
        data = message["data"]
        topic = (message["channel"], data["symbol"], data.get("timeframe"))
        last = self.sequences.get(topic)
        if last is not None and message["sequence"] != last + 1:
            self.errors.append(f"{topic}: {message['sequence']} follows {last}")
        self.sequences[topic] = message["sequence"]
        if kind == "trade":
            self.trades.append((data["symbol"], data["trade_id"], data["timestamp"], now))
        else:
            self.bars.setdefault((data["symbol"], data["timeframe"], data["start"]), []).append((now, data))

    async def leave(self):
        self.task.cancel()
        await self.socket.close()
        require(not self.errors, f"{len(self.errors)} errors, the first: {self.errors[:3]}")

    def final(self):
        """The last revision of every bar."""
        return {key: revisions[-1][1] for key, revisions in self.bars.items()}


class Listener(Process):
    """When each trade came, by a process that does nothing else."""

    def __init__(self, url, path):
        self.path = path
        super().__init__(sys.executable, Path(__file__).resolve().parent / "listener.py", url, path)

    def trades(self):
        """Symbol, when it was due, µs, and when it came, s; the engine has ended."""
        require(self.wait() == 0, f"the listener failed: {self.err}")
        found = []
        with open(self.path) as file:
            for line in file:
                came, _, text = line.partition(" ")
                message = json.loads(text)
                if message["type"] == "trade":
                    found.append((message["data"]["symbol"], message["data"]["timestamp"], float(came)))
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def model(binary, truth, form, timeframes, out):
    """`tickwire bars` over a file: by (symbol, timeframe, start), start in µs."""
    run = [binary, "bars", truth, "--format", form, "--timeframes", ",".join(timeframes), "--out", out, "--quiet"]
    done = subprocess.run([str(part) for part in run], capture_output=True, text=True)
    require(done.returncode == 0, f"{run}: {done.stderr}")
    with open(out) as file:
        rows = [json.loads(line, parse_float=Decimal) for line in file]
    require(rows, f"{truth}: no bars, which checks nothing")
    return {(row["symbol"], row["timeframe"], row["start"]): row for row in rows}


def differences(wanted, bars, leave_out=lambda key: False):
    """Every bar that differs from the model's, flags and `rev` aside: (key, what is wrong)."""
    found = []
    final = {key: revisions[-1][1] for key, revisions in bars.items()}
    # By symbol, where bars begin that a vendor filled: their own revision says so. What is made of one may close after that.
    filled = {}
    for (symbol, _, start), revisions in bars.items():
        if any(data.get("reason") == "backfill" or "polled" in data["flags"] for _, data in revisions):
            filled.setdefault(symbol, set()).add(start)
    for key, row in wanted.items():
        if leave_out(key):
            continue
        got = final.get(key)
        if got is None:
            found.append((key, "is missing"))
            continue
        for field in FIELDS:
            if got[field] != row[field]:
                found.append((key, f"{field} is {got[field]}, not {row[field]}"))
        vwaps = got["vwap"], row["vwap"]
        if vwaps[0] != vwaps[1]:
            near = None not in vwaps and abs(Decimal(vwaps[0]) - Decimal(vwaps[1])) <= VWAP_TOLERANCE
            if not (near and any(start in range(row["start"], row["end"]) for start in filled.get(key[0], ()))):
                found.append((key, f"vwap is {vwaps[0]}, not {vwaps[1]}"))
    found += [(key, "should not be") for key in final if key not in wanted and not leave_out(key)]
    return found
