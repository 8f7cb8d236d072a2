#!/usr/bin/env python3
"""A client of trades in a process of its own, which does nothing but note when each message came: URL, FILE.

A client that checks every bar is busy for some milliseconds at each second, and trades wait for it meanwhile.
"""

import json
import sys
import time

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


def main():
    url, path = sys.argv[1:]
    with connect(url, compression=None, ping_interval=None, proxy=None, max_size=None) as socket, open(path, "w") as file:
        socket.send(json.dumps({"action": "subscribe", "channel": "trades", "symbols": ["*"]}))
        try:
            for text in socket:
                file.write(f"{time.time()} {text}\n")
        except ConnectionClosed:
            pass


if __name__ == "__main__":
    main()
