"""What the load client `tools/wsload` tells of an engine is so. Run where TICKWIRE_WSLOAD names its binary."""

import json
import os
import subprocess

from engine import PATIENCE_S, Engine, Process, require

WSLOAD = os.environ.get("TICKWIRE_WSLOAD", "")
CONNECTIONS, RATE, SYMBOL = 50, 200, "LOAD"
ASK = json.dumps({"action": "subscribe", "channel": "trades", "symbols": [SYMBOL]})


def wsload(*arguments):
    return subprocess.run([WSLOAD, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE_S)


def a_load_is_counted_from_when_each_message_was_due(binary):
    with Engine(binary) as engine:
        feed = Process(WSLOAD, "feed", f"tcp://127.0.0.1:{engine.feed_port}", "--rate", RATE, "--symbol", SYMBOL, "--duration", "5s", "--json")
        try:
            run = wsload(
                engine.url, "--connections", CONNECTIONS, "--slow", 1, "--stopped", 1, "--subscribe", ASK, "--warmup", "200ms",
                "--duration", "1s", "--source-ips", "127.0.0.2-3", "--server-pid", engine.pid, "--json",
            )  # fmt: skip
        finally:
            feed.kill()
        require(run.returncode == 0, f"exit code {run.returncode}: {run.stderr}")
        found = json.loads(run.stdout)
        # A busy machine may hold back a part of the second, never add more than what had waited.
        due = CONNECTIONS * RATE
        require(due / 2 < found["frames"] < due * 2, f"{found['frames']} frames, {due} were due")
        require(found["latency"]["count"] == found["frames"], f"each frame has a due time: {found}")
        require(found["latency"]["early"] == 0, f"messages before they were due: {found}")
        require(found["sequences"]["checked"] >= found["frames"], f"not all sequences were checked: {found}")
        require(found["sequences"]["missing"] == found["sequences"]["repeats"] == 0, f"facts missing or repeated: {found}")
        require(found["errors"] == 0 and found["ends"]["closes"] == {}, f"errors or closes: {found}")
        require(found["server"]["rss_bytes"] > 1 << 20, f"no figures of the server: {found}")
        said = engine.stop()
        require(said["accepted"] >= CONNECTIONS + 2, f"the engine counted {said}")
        return f"p50 {found['latency']['p50_us']} µs"


def a_load_that_cannot_be_is_told_at_once(binary):
    with Engine(binary) as engine:
        wrong = json.dumps({"action": "subscribe", "channel": "bras", "symbols": ["A"]})
        run = wsload(engine.url, "--connections", 3, "--subscribe", wrong)
        require(run.returncode == 1 and "did you mean" in run.stderr, f"a refused request: {run.returncode} {run.stderr}")
        run = wsload(engine.url.replace("stream", "nowhere"), "--connections", 3, "--subscribe", ASK)
        require(run.returncode == 1 and "404" in run.stderr, f"a wrong path: {run.returncode} {run.stderr}")
        port = engine.port
    run = wsload(f"ws://127.0.0.1:{port}/", "--connections", 3)
    require(run.returncode == 1 and "lost" not in run.stderr and run.stdout == "", f"no server: {run.returncode} {run.stderr}")
    run = wsload("http://127.0.0.1/")
    require(run.returncode == 2 and "ws://" in run.stderr, f"a wrong address: {run.returncode} {run.stderr}")


PROMISES = [a_load_is_counted_from_when_each_message_was_due, a_load_that_cannot_be_is_told_at_once]
