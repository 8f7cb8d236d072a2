#!/usr/bin/env python3
"""Runs the promises of feeds end to end: a venue that misbehaves on request, on real sockets, against a real engine.

    tests/feeds/run.py FEEDSIM [--engine BINARY] [--seconds N] [--speed N] [--seed N] [WORD...]

Without an engine only what the venue itself promises, with the packages `websockets` and `massive` as its clients. `--seconds`
is how long the storm of faults lasts (12; by hand 300), and `--speed` how many times as fast as they were recorded captures are
served (20). With words, only the promises whose name contains one of them. TICKWIRE_CAPTURES names a directory with the full
captures that tests/data was cut from, which take six minutes each at speed 1. Exit 0 when all promises are kept.
"""

import argparse
import asyncio
import inspect
import sys
import time
import traceback
from pathlib import Path

import alone
import live


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("feedsim", type=lambda path: Path(path).resolve())
    parser.add_argument("--engine", type=lambda path: Path(path).resolve())
    parser.add_argument("--seconds", type=int, default=12)
    parser.add_argument("--speed", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("words", nargs="*")
    options = parser.parse_intermixed_args()
    promises = [("alone", promise) for promise in alone.PROMISES]
    if options.engine:
        promises += [("live", promise) for promise in live.PROMISES]
    passed = failed = 0
    for file, promise in promises:
        name = promise.__name__.replace("_", " ")
        if options.words and not any(word in f"{file}: {name}" for word in options.words):
            continue
        began = time.monotonic()
        try:
            note = promise(options)
            if inspect.iscoroutine(note):
                note = asyncio.run(note)
        except Exception as trouble:
            failed += 1
            print(f"FAIL  {time.monotonic() - began:6.1f} s  {file}: {name}", flush=True)
            print("".join(traceback.format_exception(type(trouble), trouble, trouble.__traceback__)), flush=True)
            continue
        passed += 1
        print(f"pass  {time.monotonic() - began:6.1f} s  {file}: {name}{f' ({note})' if note else ''}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
