#!/usr/bin/env python3
"""uWebSockets, in C++, under socketify: one message at a fixed rate to every connection.

    uws.py PORT RATE CONNECTIONS SECONDS relay|publish|send

`relay` publishes what comes in at `/feed`, a CSV line of symbol, due time in µs, price and size a message, as it comes: uWebSockets' own
`publish`, one call a message, and its topic tree sends. `publish` does so by a timer of its own, at RATE; `send` is a loop over the
connections, as one writes it who keeps a list. Publishing by the timer begins when so many connections have subscribed. socketify's own loop never sleeps
while anything happens; here libuv's runs as it does under uWebSockets itself, and only the timer calls Python, once
a millisecond (libuv's finest). Needs Debian's libuv1.
"""

import sys
import time

from socketify import App, AppListenOptions, OpCode

SUBSCRIBED = '{"type":"subscribed","channel":"trades","symbols":["LOAD"]}'
# The text of tickwire's trade, byte for byte as long.
MESSAGE = (
    '{"type":"trade","channel":"trades","sequence":%d,"timestamp":"2026-02-07T14:30:00.123Z","ts_event":%d,"ts_recv":%d,"ts_sent":%d,'
    '"data":{"symbol":"LOAD","price":100.%02d,"size":%d,"timestamp":%d,"exchange":null,"trade_id":null,"conditions":[]}}'
)
RELAYED = MESSAGE.replace("100.%02d", "%s").replace('"size":%d', '"size":%s')
# What a slow connection may leave unread before it misses messages: tickwire's bound.
BEHIND_BYTES_MAX = 1 << 20
# Messages published at one go where many are due.
GO_MAX = 256


def main():
    if len(sys.argv) != 6 or sys.argv[5] not in ("relay", "publish", "send"):
        sys.exit(__doc__.split("\n\n")[1].strip())
    port, rate, connections, seconds = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    sends, relays = sys.argv[5] == "send", sys.argv[5] == "relay"
    app = App()
    joined = set()
    state = {"began_us": 0, "next": 0}
    end = time.monotonic() + seconds

    def on_message(ws, message, opcode):
        ws.subscribe("trades")
        ws.send(SUBSCRIBED, OpCode.TEXT)
        joined.add(ws)

    def on_close(ws, code, message):
        joined.discard(ws)

    def on_timer(_):
        if time.monotonic() > end:
            sys.stdout.flush()
            # Nothing here is worth an orderly end.
            import os

            os._exit(0)
        if relays:
            return
        if state["began_us"] == 0:
            if len(joined) < connections:
                return
            state["began_us"] = time.time_ns() // 1000
        for _ in range(GO_MAX):
            number = state["next"]
            due, now = state["began_us"] + int(number / rate * 1e6), time.time_ns() // 1000
            if now < due:
                return
            number += 1
            state["next"] = number
            text = (MESSAGE % (number, due, now, now, number * 7 % 100, number % 99 + 1, due)).encode()
            if sends:
                for ws in joined:
                    ws.send(text, OpCode.TEXT)
            else:
                app.publish("trades", text, OpCode.TEXT)

    def on_feed(ws, message, opcode):
        for line in message.splitlines():
            symbol, due, price, size = line.split(",")
            if due.isdigit():
                state["next"] += 1
                now = time.time_ns() // 1000
                text = RELAYED % (state["next"], int(due), now, now, price, size, int(due))
                app.publish("trades", text.encode(), OpCode.TEXT)

    app.ws("/feed", {"compression": 0, "max_payload_length": 1 << 20, "idle_timeout": 0, "message": on_feed})
    app.ws(
        "/*",
        {
            "compression": 0,
            "max_backpressure": BEHIND_BYTES_MAX,
            "idle_timeout": 0,
            "message": on_message,
            "close": on_close,
        },
    )
    app.listen(AppListenOptions(port=port, host="127.0.0.1"), lambda _: print("listening", flush=True))
    timer = app.loop.uv_loop.create_timer(1, 1, on_timer, None)
    app.loop.uv_loop.run()
    del timer


if __name__ == "__main__":
    main()
