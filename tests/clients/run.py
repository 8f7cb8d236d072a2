#!/usr/bin/env python3
"""Runs every promise that only a real client on a real socket can check, against a real binary.

    tests/clients/run.py BINARY [WORD...]

With words, only the promises whose name contains one of them. With TICKWIRE_WSLOAD=PATH also those of the load client. Needs
Python 3.10, the PyPI packages `websockets`, `websocket-client` and `massive`, Node with `ws` and `@massive.com/client-js` in
tools/node_modules, and a Chromium; `tools/test` installs them. Exit 0 when all promises are kept.
"""

import asyncio
import importlib
import inspect
import os
import sys
import time
import traceback
from pathlib import Path

if sys.version_info < (3, 10):
    sys.exit(f"Python 3.10 or later is needed; this is {sys.version.split()[0]}")

# In the order in which they are run: quick ones first.
FILES = ["usage", "messages", "binary", "clocks", "endings", "demo", "frames", "handshakes", "limits", "floods", "joins", "dialects", "official", "browser"]
# The load client is a package of its own that takes longer to build than to try.
if os.environ.get("TICKWIRE_WSLOAD"):
    FILES.insert(1, "load")


def keep(promise, binary):
    """What the promise has to say of its run."""
    if inspect.iscoroutinefunction(promise):
        return asyncio.run(promise(binary))
    return promise(binary)


def main():
    if len(sys.argv) < 2 or not os.access(sys.argv[1], os.X_OK):
        sys.exit(__doc__.split("\n\n")[1].strip())
    binary, words = Path(sys.argv[1]).resolve(), sys.argv[2:]
    passed = failed = 0
    for file in FILES:
        for promise in importlib.import_module(file).PROMISES:
            name = promise.__name__.replace("_", " ")
            if words and not any(word in f"{file}: {name}" for word in words):
                continue
            began = time.monotonic()
            try:
                note = keep(promise, binary)
            except Exception as trouble:
                failed += 1
                print(f"FAIL  {time.monotonic() - began:6.1f} s  {file}: {name}", flush=True)
                print("".join(traceback.format_exception(type(trouble), trouble, trouble.__traceback__)), flush=True)
                continue
            passed += 1
            note = f" ({note})" if note else ""
            print(f"pass  {time.monotonic() - began:6.1f} s  {file}: {name}{note}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
