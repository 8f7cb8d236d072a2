"""Instructions of tickwire's own code a delivered frame: a count that no other work on the machine can change.

Under callgrind the engine is some fifty times slower, so the rate is low, and counting begins when all have subscribed. It
includes what the idle loop spends between messages.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from servers import Child, Trouble, feed_command, free_port, load_command, tickwire_config

CONNECTIONS = 200
RATE = 20
SECONDS = 8
PATIENCE_S = 120
TOP = 25


def control(state, pid):
    subprocess.run(["callgrind_control", f"--instr={state}", str(pid)], check=True, capture_output=True, timeout=PATIENCE_S)


def instructions_per_frame(programs):
    if not shutil.which("valgrind"):
        raise Trouble("--callgrind needs valgrind: apt-get install valgrind")
    port, feed_port = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="tickwire-callgrind-") as folder:
        config, out = Path(folder) / "engine.toml", Path(folder) / "callgrind.out"
        # No spinning: it would be counted too.
        config.write_text(tickwire_config(port, feed_port, CONNECTIONS, 'spin_us = 0\nplacement = "single"\n'))
        command = [
            "valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", programs.tickwire, "serve",
            "--config", config,
        ]  # fmt: skip
        with Child(command, programs.server_processor) as child:
            child.await_text("takes lines at", PATIENCE_S)
            load = load_command(programs, port, CONNECTIONS, SECONDS, 2, child.pid)
            with Child(load, programs.load_processor) as client:
                client.await_text("ready:", PATIENCE_S)
                control("on", child.pid)
                feed = feed_command(programs, feed_port, RATE, SECONDS)
                with Child(feed, programs.load_processor) as feeder:
                    feeder.finish(PATIENCE_S)
                    client.finish(PATIENCE_S)
                control("off", child.pid)
            child.process.terminate()
            text = child.finish(PATIENCE_S)
        frames = int(re.search(r"gateway-0:.*?facts_out=(\d+)", text)[1])
        annotated = subprocess.run(
            ["callgrind_annotate", "--threshold=97", str(out)], check=True, capture_output=True, text=True, timeout=PATIENCE_S
        ).stdout
    total = int(re.search(r"([\d,]+)[^\n]*PROGRAM TOTALS", annotated)[1].replace(",", ""))
    rows = re.findall(r"^\s*([\d,]+)\s+\([^)]*\)\s+(.*?)(?:\s+\[.*)?$", annotated, re.M)
    top = [{"function": name, "per_frame": int(count.replace(",", "")) / frames} for count, name in rows if "TOTALS" not in name]
    return {
        "connections": CONNECTIONS, "rate": RATE, "frames": frames, "instructions_per_frame": total / frames, "top": top[:TOP],
    }  # fmt: skip


