"""One run: a server on one processor, its load on another, what the load client found. Nothing outlives it."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PERF = HERE.parent
SYMBOL = "LOAD"
SUBSCRIBE = json.dumps({"action": "subscribe", "channel": "trades", "symbols": [SYMBOL]})
# Connections begun a second: the slowest of the servers shakes hands faster.
CONNECT_RATE = 3000
# A source address has some 28,000 ports.
SOURCES = "127.0.0.2-9"
# Beyond what was asked for: starting, connecting, ending.
PATIENCE_S = 40


class Trouble(Exception):
    """A run that gave no figures; the text says why."""


class Child:
    """A program whose outputs are read as they come, and which is ended with the block that began it."""

    def __init__(self, command, processor=None, nice=0):
        def prepare():
            if processor is not None:
                os.sched_setaffinity(0, {processor})
            if nice:
                try:
                    os.nice(nice)
                except PermissionError:
                    # Then it competes as everyone does, and its lateness is told with the result.
                    pass

        self.name = Path(str(command[0])).name
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=prepare,
        )
        self.pid = self.process.pid
        self.text = ""
        self.out = ""
        self.news = threading.Condition()
        self.readers = [
            threading.Thread(target=self._read, args=(pipe, pipe is self.process.stdout), daemon=True)
            for pipe in (self.process.stdout, self.process.stderr)
        ]
        for reader in self.readers:
            reader.start()

    def _read(self, pipe, is_out):
        for line in pipe:
            with self.news:
                self.text += line
                if is_out:
                    self.out += line
                self.news.notify_all()
        with self.news:
            self.news.notify_all()

    def await_text(self, pattern, patience=PATIENCE_S):
        end = time.monotonic() + patience
        with self.news:
            while not (found := re.search(pattern, self.text)):
                if self.process.poll() is not None or time.monotonic() > end:
                    raise Trouble(f"{self.name} never said {pattern!r}: {self.text[-2000:]}")
                self.news.wait(0.1)
        return found

    def finish(self, patience):
        """Its standard output, once it has ended well."""
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise Trouble(f"{self.name} did not end within {patience:.0f} s") from None
        for reader in self.readers:
            reader.join(PATIENCE_S)
        if code != 0:
            raise Trouble(f"{self.name} ended with {code}: {self.text[-2000:]}")
        return self.out

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def raise_descriptors():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Programs:
    """Where the programs are, and on which processors they run."""

    def __init__(self, tickwire, wsload, peers, server_processor, load_processor):
        self.tickwire, self.wsload, self.peers = Path(tickwire), Path(wsload), Path(peers)
        self.server_processor, self.load_processor = server_processor, load_processor
        for path in (self.tickwire, self.wsload, self.peers / "floor", self.peers / "broadcast"):
            if not os.access(path, os.X_OK):
                raise Trouble(f"there is no program {path}: run.sh builds it")

    def peer(self, name, port, rate, connections, life_s):
        numbers = [port, rate, connections, int(life_s)]
        return {
            "uws-relay": [sys.executable, PERF / "peers/uws.py", *numbers, "relay"],
            "uws-publish": [sys.executable, PERF / "peers/uws.py", *numbers, "publish"],
            "uws-send": [sys.executable, PERF / "peers/uws.py", *numbers, "send"],
            "tokio-tungstenite": [self.peers / "broadcast", *numbers],
            "floor": [self.peers / "floor", *numbers],
            "floor-gather": [self.peers / "floor", *numbers, "gather"],
        }[name]


SERVERS = ("tickwire", "uws-relay", "uws-publish", "uws-send", "tokio-tungstenite", "floor", "floor-gather")


def tickwire_config(port, feed_port, connections, cores=""):
    # Spinning before sleep would be counted as work.
    return (
        f'[gateway]\nlisten = "127.0.0.1:{port}"\nconnections_max = {max(connections, 1000)}\n[cores]\nspin_us = 0\n{cores}\n'
        f'[[feed]]\nname = "load"\nsource = "tcp"\nformat = "csv"\nlisten = "127.0.0.1:{feed_port}"\n'
    )


def load_command(programs, port, connections, duration_s, warmup_s, pid):
    return [
        programs.wsload, f"ws://127.0.0.1:{port}/v1/stream", "--connections", connections, "--subscribe", SUBSCRIBE,
        "--duration", f"{duration_s}s", "--warmup", f"{warmup_s}s", "--connect-rate", CONNECT_RATE,
        "--source-ips", SOURCES, "--pin", programs.load_processor, "--server-pid", pid, "--json",
    ]  # fmt: skip


def feed_command(programs, url, rate, duration_s, symbols=(SYMBOL,)):
    names = [part for symbol in symbols for part in ("--symbol", symbol)]
    # At most some 5,000 writes a second: the load client shares the feed's processor and needs it.
    burst = max(1, int(rate // 2500))
    return [programs.wsload, "feed", url, "--rate", rate, "--burst", burst, *names, "--duration", f"{duration_s}s", "--json"]


def run_once(programs, server, connections, rate, duration_s, warmup_s):
    """What the load client found, with the share of the due frames that came."""
    port = free_port()
    life_s = duration_s + warmup_s + PATIENCE_S
    if server == "tickwire":
        found = run_tickwire(programs, port, connections, rate, duration_s, warmup_s)
    else:
        command = programs.peer(server, port, rate, connections, life_s)
        with Child(command, programs.server_processor) as child:
            child.await_text("listening")
            load = load_command(programs, port, connections, duration_s, warmup_s, child.pid)
            with Child(load, programs.load_processor) as client:
                if server == "uws-relay":
                    client.await_text("ready:")
                    url = f"ws://127.0.0.1:{port}/feed"
                    found = finish_fed(programs, client, url, rate, duration_s, warmup_s)
                else:
                    found = json.loads(client.finish(life_s))
    found["rate"] = rate
    found["delivered"] = found["frames"] / (connections * rate * duration_s)
    return found


def run_tickwire(programs, port, connections, rate, duration_s, warmup_s):
    """The whole engine: the ticks come in over TCP from another process, so it does more than the peers, whose publisher is within."""
    feed_port = free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(tickwire_config(port, feed_port, connections))
        config.flush()
        with Child([programs.tickwire, "serve", "--config", config.name], programs.server_processor) as child:
            child.await_text("takes lines at")
            load = load_command(programs, port, connections, duration_s, warmup_s, child.pid)
            with Child(load, programs.load_processor) as client:
                client.await_text("ready:")
                return finish_fed(programs, client, f"tcp://127.0.0.1:{feed_port}", rate, duration_s, warmup_s)


def finish_fed(programs, client, url, rate, duration_s, warmup_s):
    """Feeds a server from another process until the load client has found what it found."""
    feed = feed_command(programs, url, rate, duration_s + warmup_s + 0.5)
    # It shares the load client's processor and must not wait for it: a late tick would be held against the server.
    with Child(feed, programs.load_processor, nice=-10) as feeder:
        found = json.loads(client.finish(duration_s + warmup_s + PATIENCE_S))
        found["feed"] = json.loads(feeder.finish(PATIENCE_S))
        return found
