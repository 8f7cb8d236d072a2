"""The most a server holds: the highest rate at 1,000 connections with p99 under 100 ms and all frames delivered."""

import sys

from servers import run_once

CONNECTIONS = 1000
P99_US_MAX = 100_000
# Of the frames due in the window; what is due at its end comes after it.
DELIVERED_MIN = 0.95
FIRST_RATE = 100
# No server here gets so far; it ends the search all the same.
RATE_MAX = 20_000
STEP = 1.5
# The answer is known to 1.5 ^ (1/8): some 5 %.
HALVINGS = 3


def holds(programs, server, rate, duration_s, warmup_s):
    """One bad run may be the machine's; a second one is the server's."""
    for _ in range(2):
        run = run_once(programs, server, CONNECTIONS, rate, duration_s, warmup_s)
        p99, delivered = run["latency"]["p99_us"], run["delivered"]
        good = p99 <= P99_US_MAX and delivered >= DELIVERED_MIN and run["sequences"]["missing"] == 0
        note = ", the load client at its limit" if run["was_the_wall"] else ""
        print(f"{server} at {rate:.0f}/s: p99 {p99} µs, {delivered:.1%}{'' if good else ': too much'}{note}", file=sys.stderr, flush=True)
        if good:
            return True
    return False


def find_most(programs, servers, duration_s, warmup_s):
    """Messages a second by server."""
    found = {}
    for server in servers:
        low, high = 0, FIRST_RATE
        while high <= RATE_MAX and holds(programs, server, high, duration_s, warmup_s):
            low, high = high, high * STEP
        for _ in range(HALVINGS if low else 0):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if holds(programs, server, middle, duration_s, warmup_s) else (low, middle)
        found[server] = {"rate": low, "frames_per_s": low * CONNECTIONS, "too_much": high}
        print(f"{server:18} holds {low:7.0f} messages/s to {CONNECTIONS} connections, {low * CONNECTIONS / 1e3:,.0f} k frames/s", flush=True)
    return {"connections": CONNECTIONS, "p99_us_max": P99_US_MAX, "servers": found}
