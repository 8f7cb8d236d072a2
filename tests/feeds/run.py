#!/usr/bin/env python3
"""Runs the promises of feeds end to end: a venue that misbehaves on request, on real sockets, against a real engine.

    tests/feeds/run.py FEEDSIM [--engine BINARY] [--seconds N] [--speed N] [--seed N] [--at-once N] [WORD...]

Without an engine only what the venue itself promises, with the packages `websockets` and `massive` as its clients. `--seconds`
is how long the storm of faults lasts (12; by hand 300), and `--speed` how many times as fast as they were recorded captures are
served (20). With words, only the promises whose name contains one of them. TICKWIRE_CAPTURES names a directory with the full
captures that tests/data was cut from, which take six minutes each at speed 1. Exit 0 when all promises are kept.

Each promise has a process, a venue and an engine of its own. They mostly wait, so `--at-once` of them run side by side (3): but one
after the other (1) where the storm lasts so long, 60 s, that latencies are compared, for then none may take another's processor.
"""

import argparse
import asyncio
import inspect
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import alone
import live

AT_ONCE = 3


def the_promises(options):
    """Those that were asked for, by full name."""
    promises = [("live", promise) for promise in live.PROMISES] if options.engine else []
    promises += [("alone", promise) for promise in alone.PROMISES]
    named = {f"{file}: {promise.__name__.replace('_', ' ')}": promise for file, promise in promises}
    if options.only:
        return {options.only: named[options.only]}
    return {name: promise for name, promise in named.items() if not options.words or any(word in name for word in options.words)}


def keep(name, promise, options):
    """Whether it is kept; what there is to say of it is printed."""
    began = time.monotonic()
    try:
        note = promise(options)
        if inspect.iscoroutine(note):
            note = asyncio.run(note)
    except Exception as trouble:
        print(f"FAIL  {time.monotonic() - began:6.1f} s  {name}")
        print("".join(traceback.format_exception(type(trouble), trouble, trouble.__traceback__)))
        return False
    print(f"pass  {time.monotonic() - began:6.1f} s  {name}{f' ({note})' if note else ''}")
    return True


def in_its_own_process(name):
    """Whether it is kept, and all that was said meanwhile."""
    run = subprocess.run([sys.executable, *sys.argv, "--only", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    # Who is ended by a signal says nothing of it.
    fate = f"FAIL  {name}: it ended with {run.returncode}\n" if run.returncode not in (0, 1) else ""
    return run.returncode == 0, run.stdout.decode(errors="replace") + fate


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("feedsim", type=lambda path: Path(path).resolve())
    parser.add_argument("--engine", type=lambda path: Path(path).resolve())
    parser.add_argument("--seconds", type=int, default=12)
    parser.add_argument("--speed", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int)
    # One promise by its full name: what the process of its own is told.
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*")
    options = parser.parse_intermixed_args()
    promises = the_promises(options)
    if options.only:
        return 0 if keep(options.only, promises[options.only], options) else 1
    at_once = options.at_once or (1 if options.seconds >= live.LONG_S else AT_ONCE)
    passed = 0
    with ThreadPoolExecutor(at_once) as pool:
        for run in as_completed([pool.submit(in_its_own_process, name) for name in promises]):
            kept, said = run.result()
            passed += kept
            print(said, end="", flush=True)
    print(f"{passed} passed, {len(promises) - passed} failed")
    return 0 if passed and passed == len(promises) else 1


if __name__ == "__main__":
    sys.exit(main())
