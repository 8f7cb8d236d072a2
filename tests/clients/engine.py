"""A real engine in a process of its own: started on free ports, measured from outside, ended by a signal."""

import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

# How long anything may take that should take no time; a test that waits so long has failed.
PATIENCE_S = 20


class Failed(AssertionError):
    """A promise was not kept; the text says how."""


def require(condition, trouble):
    if not condition:
        raise Failed(trouble)


def wait_for(condition, trouble, patience=PATIENCE_S):
    """Looks again and again until `condition()` is true, and returns what it gave."""
    deadline = time.monotonic() + patience
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Failed(f"not within {patience} s: {trouble}")
        time.sleep(0.005)


class Process:
    """A running program whose two outputs are read as they come."""

    def __init__(self, *command):
        # Settings of whoever runs the tests are none of the tests'.
        quiet = {k: v for k, v in os.environ.items() if not k.startswith(("TICKWIRE_", "DEFAULT_", "MAX_WEBSOCKET", "TICK_BUFFER"))}
        self.child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=quiet,
        )
        self.pid = self.child.pid
        self.texts = {"out": [], "err": []}
        self.readers = [
            threading.Thread(target=self._read, args=(pipe, name), daemon=True)
            for pipe, name in ((self.child.stdout, "out"), (self.child.stderr, "err"))
        ]
        for reader in self.readers:
            reader.start()

    def _read(self, pipe, name):
        for line in pipe:
            self.texts[name].append(line.decode(errors="replace"))

    @property
    def out(self):
        return "".join(self.texts["out"])

    @property
    def err(self):
        return "".join(self.texts["err"])

    def await_text(self, pattern, name="err"):
        """The match of a regular expression in an output, once it is there."""

        def look():
            found = re.search(pattern, "".join(self.texts[name]), re.S)
            require(found or self.child.poll() is None, f"it ended with {self.child.poll()}: {self.err}{self.out}")
            return found

        return wait_for(look, f"{pattern!r} in std{name}")

    def signal(self, number):
        self.child.send_signal(number)

    def wait(self, patience=PATIENCE_S):
        """The exit code."""
        try:
            code = self.child.wait(patience)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise Failed(f"process {self.pid} did not end within {patience} s") from None
        for reader in self.readers:
            reader.join(PATIENCE_S)
        return code

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()

    # --- measured from outside ---

    def rss_mib(self):
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) / 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_s(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Served(Process):
    """A running engine, with a folder of its own in `folder` that goes when it ends."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.folder.cleanup()

    def stop(self):
        """Ends it well and returns its counters: what it printed as `name=value`."""
        self.signal(signal.SIGTERM)
        code = self.wait()
        require(code == 0, f"exit code {code}: {self.err}")
        require("panicked" not in self.err, f"a panic: {self.err}")
        return {name: int(value) for name, value in re.findall(r"(\S+)=(\d+)", self.out)}


class Engine(Served):
    """`tickwire serve`, with one TCP or WebSocket source that the test feeds.

    `settings` is further TOML: lines before any table, then tables. `feed` and `bars` are `key = value` lines of theirs.
    Clients connect to `port`, or to a free one.
    """

    def __init__(self, binary, source="tcp", form="csv", bars="", gateway="", feed="", cores="", top="", port=0):
        self.folder = tempfile.TemporaryDirectory(prefix="tickwire-clients-")
        path = Path(self.folder.name) / "engine.toml"
        # Clients that are still there at the end of a test need not be seen off.
        gateway += "" if "drain_s" in gateway else "\ndrain_s = 0"
        path.write_text(
            f"{top}\n[bars]\n{bars}\n[gateway]\nlisten = \"127.0.0.1:{port}\"\n{gateway}\n[cores]\n{cores}\n"
            f"[[feed]]\nname = \"test\"\nsource = \"{source}\"\nformat = \"{form}\"\nlisten = \"127.0.0.1:0\"\n{feed}\n"
        )
        super().__init__(binary, "serve", "--config", path)
        self.port = int(self.await_text(r"clients at ws://127\.0\.0\.1:(\d+)/")[1])
        self.feed_port = int(self.await_text(r"test takes \w+ at \w+://127\.0\.0\.1:(\d+)")[1])
        self.url = f"ws://127.0.0.1:{self.port}/v1/stream"
        self.feed_url = f"ws://127.0.0.1:{self.feed_port}/ingest"
