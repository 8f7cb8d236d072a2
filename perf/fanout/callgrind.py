"""Instructions of tickwire's own code a delivered frame: a count that other work on the machine hardly changes.

Under callgrind the engine is some fifty times slower, so the rate is low, and counting begins when all have subscribed. What does
not depend on the number of connections, such as parsing, the candles and what is reported each second, is taken out: it is
counted with few connections and with more, and the difference is divided by the difference in frames. `frames_per_read` tells
whether each frame went out by itself: on a machine so busy that some waited for each other it is above 1, and the count too low.
"""

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from servers import Child, Trouble, feed_command, free_port, load_command, tickwire_config

CONNECTIONS = (100, 500)
RATE = 5
SECONDS = 10
PATIENCE_S = 120
TOP = 25


def control(state, pid):
    subprocess.run(["callgrind_control", f"--instr={state}", str(pid)], check=True, capture_output=True, timeout=PATIENCE_S)


def count(programs, connections):
    """Frames sent, how many came at a time, and instructions in all and by function, with the file they are from."""
    port, feed_port = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="tickwire-callgrind-") as folder:
        config, out = Path(folder) / "engine.toml", Path(folder) / "callgrind.out"
        # No spinning: it would be counted too.
        config.write_text(tickwire_config(port, feed_port, connections, 'placement = "single"\n'))
        command = [
            "valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", programs.tickwire, "serve",
            "--config", config,
        ]  # fmt: skip
        with Child(command, programs.server_processor) as child:
            child.await_text("takes lines at", PATIENCE_S)
            load = load_command(programs, port, connections, SECONDS, 2, child.pid)
            with Child(load, programs.load_processor) as client:
                client.await_text("ready:", PATIENCE_S)
                control("on", child.pid)
                with Child(feed_command(programs, f"tcp://127.0.0.1:{feed_port}", RATE, SECONDS), programs.load_processor) as feeder:
                    feeder.finish(PATIENCE_S)
                    frames_per_read = json.loads(client.finish(PATIENCE_S))["frames_per_read"]
                control("off", child.pid)
            child.process.terminate()
            said = child.finish(PATIENCE_S)
        annotated = subprocess.run(
            ["callgrind_annotate", "--auto=no", "--threshold=100", str(out)], check=True, capture_output=True, text=True, timeout=PATIENCE_S
        ).stdout
    frames = int(re.search(r"gateway-0:.*?facts_out=(\d+)", said)[1])
    total, functions = 0, {}
    for number, name in re.findall(r"^\s*([\d,]+)\s+\([^)]*\)\s+(.*?)(?:\s+\[.*)?$", annotated, re.M):
        instructions = int(number.replace(",", ""))
        if "TOTALS" in name:
            total = instructions
        else:
            functions[name] = functions.get(name, 0) + instructions
    return frames, frames_per_read, total, functions


def instructions_per_frame(programs):
    if not shutil.which("valgrind"):
        raise Trouble("--callgrind needs valgrind: apt-get install valgrind")
    (frames_few, _, total_few, few), (frames_many, at_a_time, total_many, many) = (count(programs, number) for number in CONNECTIONS)
    frames = frames_many - frames_few
    shares = {name: (instructions - few.get(name, 0)) / frames for name, instructions in many.items()}
    top = sorted(shares.items(), key=lambda pair: -pair[1])[:TOP]
    return {
        "connections": CONNECTIONS,
        "rate": RATE,
        "frames": frames,
        "frames_per_read": at_a_time,
        "instructions_per_frame": (total_many - total_few) / frames,
        "top": [{"function": name, "per_frame": share} for name, share in top],
    }
