"""The demo as a newcomer meets it: a candle at once, and the client it prints works as it is pasted."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from engine import Process, require
from raw import Raw

FIRST_CANDLE_S = 2
FIELDS = "symbol timeframe start end open high low close volume vwap trades state rev flags".split()


class Demo(Process):
    def __init__(self, binary):
        super().__init__(binary, "demo", "--listen", "127.0.0.1:0")
        self.port = int(self.await_text(r"at ws://127\.0\.0\.1:(\d+)/", "out")[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # By signal, so that it clears away its temporary files.
        self.child.terminate()
        self.wait()


def the_first_candle_comes_within_2_s_of_connecting(binary):
    with Demo(binary) as demo:
        worst = 0
        for symbols in (["BTCUSDT"], ["SPY"], ["*"]):
            began = time.monotonic()
            raw = Raw.open(demo.port)
            raw.ask(action="subscribe", channel="bars", symbols=symbols, timeframes=["1s"])
            bar = raw.answer("bar")
            took = time.monotonic() - began
            worst = max(worst, took)
            require(took < FIRST_CANDLE_S, f"{symbols}: the first candle came after {took:.2f} s")
            missing = [field for field in FIELDS if field not in bar["data"]]
            require(not missing, f"no {missing}: {bar}")
            age_s = abs(time.time() - bar["data"]["start"] / 1e6)
            require(age_s < 10, f"a candle of {age_s:.0f} s ago: {bar}")
    return f"{worst:.2f} s"


def the_client_it_prints_works_as_pasted(binary):
    with Demo(binary) as demo:
        pasted = demo.await_text(r"\n(python3 -c '.*?')\n", "out")[1]
        require(str(demo.port) in pasted, f"another address: {pasted}")
        # `python3` is then the interpreter of this test, which has the package the demo asks for.
        folder = str(Path(sys.executable).parent)
        path = os.pathsep.join([folder, os.environ.get("PATH", "")])
        client = subprocess.Popen(
            ["bash", "-c", pasted + "\n"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"},
            text=True,
        )
        kinds, symbols = set(), set()
        deadline = time.monotonic() + 10
        try:
            for line in client.stdout:
                message = json.loads(line)
                kinds.add(message["type"])
                symbols.add(message.get("data", {}).get("symbol"))
                if {"welcome", "subscribed", "bar"} <= kinds and {"SPY", "BTCUSDT"} <= symbols:
                    break
                require(time.monotonic() < deadline, f"only {kinds} of {symbols} within 10 s")
        finally:
            client.terminate()
            _, trouble = client.communicate()
        require("bar" in kinds, f"it printed {kinds}: {trouble}")


def every_symbol_it_names_is_there(binary):
    with Demo(binary) as demo:
        named = demo.await_text(r"real trades of (.*?)\n", "out")[1]
        require(set(re.findall(r"\b(?:SPY|BAC|AIG|IBM|BTCUSDT|ETHUSDT)\b", named)) == {"SPY", "BAC", "AIG", "IBM", "BTCUSDT", "ETHUSDT"}, named)
        wanted = {"SPY", "BAC", "AIG", "IBM", "BTCUSDT", "ETHUSDT", "BTCUSDT-PERP", "ETHUSDT-PERP"}
        raw = Raw.open(demo.port)
        raw.ask(action="subscribe", channel="bars", symbols=["*"], timeframes=["1s"])
        deadline = time.monotonic() + 30
        while wanted:
            wanted.discard(raw.answer("bar")["data"]["symbol"])
            require(time.monotonic() < deadline, f"no bar of {wanted} within 30 s")


PROMISES = [
    the_first_candle_comes_within_2_s_of_connecting,
    the_client_it_prints_works_as_pasted,
    every_symbol_it_names_is_there,
]
