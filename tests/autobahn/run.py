#!/usr/bin/env python3
"""Runs the Autobahn|Testsuite against a real engine's echo path, and fails on any case that fails or is missing.

    tests/autobahn/run.py BINARY [FOLDER]

FOLDER is where tests/autobahn/setup.sh has installed the suite, tools/.autobahn by default; the reports go to its folder
`reports`. As root it runs in a network namespace of its own, so that neither the suite nor the engine can be seen from outside.
Compression (sets 12 and 13) is not offered and not run.
"""

import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))
from engine import Process, require  # noqa: E402

# The suite itself fails a case that hangs; this is for the suite.
SUITE_TIME_S = 300
GOOD = {"OK", "INFORMATIONAL"}
# Text that is not UTF-8, in fragments: refused at the end of the message, where the suite would like it to be at once.
NON_STRICT = {"6.4.3", "6.4.4"}
# The longest message of set 9 has 16 MiB.
LARGE, PRODUCTION = 16 << 20, 64 << 10


def run_suite(folder, binary, name, cases, message_bytes_max):
    """The verdicts of the suite, by case, on an engine whose echo path takes messages of so many bytes."""
    reports = folder / "reports" / name
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="tickwire-autobahn-") as place:
        config = Path(place) / "engine.toml"
        config.write_text('[gateway]\nlisten = "127.0.0.1:0"\n')
        engine = Process(binary, "serve", "--config", config, "--test-echo", message_bytes_max)
        try:
            port = engine.await_text(r"clients at ws://127\.0\.0\.1:(\d+)/")[1]
            spec = {
                "outdir": str(reports),
                "servers": [{"agent": "tickwire", "url": f"ws://127.0.0.1:{port}/echo", "options": {"version": 18}}],
                "cases": cases,
                "exclude-cases": [],
                "exclude-agent-cases": {},
            }
            (Path(place) / "spec.json").write_text(json.dumps(spec))
            wstest = [folder / "py27/bin/wstest", "-m", "fuzzingclient", "-s", Path(place) / "spec.json"]
            with open(reports / "suite.log", "w", encoding="utf-8") as log:
                subprocess.run(wstest, check=True, stdout=log, stderr=log, timeout=SUITE_TIME_S, cwd=place)
            require(engine.child.poll() is None, f"the engine ended: {engine.err}")
        finally:
            engine.kill()
    require("panicked" not in engine.err, f"a panic: {engine.err}")
    # Its own exit code is always 0, so only the report counts.
    (verdicts,) = json.loads((reports / "index.json").read_text()).values()
    return verdicts


def show(name, verdicts):
    counts = collections.Counter(verdict["behavior"] for verdict in verdicts.values())
    print(f"{name}: {len(verdicts)} cases:", ", ".join(f"{n} {what}" for what, n in sorted(counts.items())), flush=True)


def conforms(name, verdicts, count):
    """Each case is as the protocol wants it."""
    show(name, verdicts)
    bad = []
    for case, verdict in verdicts.items():
        good = GOOD | {"NON-STRICT"} if case in NON_STRICT else GOOD
        if verdict["behavior"] not in good or verdict["behaviorClose"] not in GOOD:
            bad.append(f"{case}: {verdict['behavior']}, its close {verdict['behaviorClose']}: see {verdict['reportfile']}")
    require(not bad, f"{name}:\n" + "\n".join(bad))
    require(len(verdicts) == count, f"{name}: {len(verdicts)} cases were run, not {count}")


def refuses(name, verdicts, count, refused):
    """Cases with a message past the limit are closed with 1009, all others are as the protocol wants them."""
    show(name, verdicts)
    too_big = {case for case, verdict in verdicts.items() if verdict["remoteCloseCode"] == 1009}
    others = {case: verdict for case, verdict in verdicts.items() if case not in too_big}
    bad = [f"{case}: {v['behavior']}, closed with {v['remoteCloseCode']}" for case, v in others.items() if v["behavior"] not in GOOD]
    require(not bad, f"{name}:\n" + "\n".join(bad))
    require(len(verdicts) == count, f"{name}: {len(verdicts)} cases were run, not {count}")
    require(len(too_big) == refused, f"{name}: {len(too_big)} cases were closed with 1009, not {refused}")


def main():
    if len(sys.argv) not in (2, 3) or not os.access(sys.argv[1], os.X_OK):
        sys.exit(__doc__.split("\n\n")[1].strip())
    binary = Path(sys.argv[1]).resolve()
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else HERE.parent.parent / "tools/.autobahn").resolve()
    if os.geteuid() == 0 and "TICKWIRE_NAMESPACE" not in os.environ:
        alone = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        if subprocess.run([*alone, "true"], check=False, stderr=subprocess.DEVNULL).returncode == 0:
            os.environ["TICKWIRE_NAMESPACE"] = "1"
            os.execvp(alone[0], [*alone, sys.executable, __file__, str(binary), str(folder)])
        print("no network namespace is to be had here: on the loopback of this machine")
    core = [f"{n}.*" for n in (1, 2, 3, 4, 5, 6, 7, 10)]
    conforms("protocol", run_suite(folder, binary, "protocol", core, LARGE), 247)
    conforms("large messages", run_suite(folder, binary, "large", ["9.*"], LARGE), 54)
    refuses("large messages with the limit of production", run_suite(folder, binary, "limited", ["9.*"], PRODUCTION), 54, 40)


if __name__ == "__main__":
    main()
