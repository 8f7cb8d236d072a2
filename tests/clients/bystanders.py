"""Healthy clients beside a fault: they check every message, and what the engine holds is measured before and after."""

import asyncio
import threading

from engine import PATIENCE_S, Engine, require, wait_for
from native import Native, together
from ticks import Bars, Feed

SYMBOLS = ["H0", "H1", "H2", "H3"]
TIMEFRAMES = ["1s", "5s"]
CLIENTS = 3
TICKS_PER_S = 50
# What an engine may hold more after a fault than before: freed memory that the allocator keeps, and the bars of the meantime.
RSS_MORE_MIB = 8


class Bystanders:
    """An engine with a feed and healthy clients in the background. `with` it, do harm, and leave: then all must be well."""

    def __init__(self, binary, gateway="", **options):
        bars = 'timeframes = ["1s", "5s"]\nclock = "event"'
        self.engine = Engine(binary, bars=bars, gateway=gateway, **options)
        self.bars = Bars(TIMEFRAMES)
        self.ledger = {}
        self.clients = []
        self.trouble = None
        self.ready = threading.Event()
        self.goal = None
        self.slowest_ms = 0
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            asyncio.run(self._serve())
        except BaseException as trouble:
            self.trouble = trouble
        finally:
            self.ready.set()

    async def _serve(self):
        for _ in range(CLIENTS):
            client = await Native.connect(self.engine.url, self.bars, self.ledger)
            await client.subscribe(SYMBOLS, TIMEFRAMES)
            self.clients.append(client)
        self.ready.set()
        await together(*(self._follow(client) for client in self.clients))

    async def _follow(self, client):
        loop = asyncio.get_running_loop()
        last = loop.time()
        while self.goal is None or any(client.topics[name].sequence < at for name, at in self.goal.items()):
            await client.follow()
            now = loop.time()
            self.slowest_ms, last = max(self.slowest_ms, (now - last) * 1_000), now

    def __enter__(self):
        self.thread.start()
        self.ready.wait(PATIENCE_S)
        if self.trouble:
            raise self.trouble
        self.feed = Feed(self.engine.feed_port, SYMBOLS, self.bars, TICKS_PER_S).start()
        wait_for(lambda: len(self.ledger) > 20 or self.trouble, "the first bars")
        self.measure()
        return self

    def measure(self):
        """What is held now is what may be held at the end."""
        self.descriptors = self.engine.descriptors()
        self.rss = self.engine.rss_mib()
        self.slowest_ms = 0

    def well(self):
        """Nothing is lost so far."""
        if self.trouble:
            raise self.trouble

    def settled(self):
        """The fault has left nothing behind."""
        self.well()
        wait_for(
            lambda: self.engine.descriptors() <= self.descriptors,
            f"{self.engine.descriptors()} descriptors, {self.descriptors} before",
        )
        more = self.engine.rss_mib() - self.rss
        require(more < RSS_MORE_MIB, f"{more:.1f} MiB more than the {self.rss:.1f} before")
        return more

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.finish()
        finally:
            self.feed.end()
            self.engine.kill()
            self.engine.folder.cleanup()

    def finish(self):
        """The feed ends, and every bystander is where a newcomer would be."""
        self.settled()
        self.feed.end()
        self.goal = wait_for(self._drained, "the engine to take all ticks")
        # A follower looks at its goal when it hears something, so there is one more tick to hear of.
        self.thread.join(0.2)
        if self.thread.is_alive():
            tail = Feed(self.engine.feed_port, SYMBOLS, self.bars, 0, late_us=0)
            tail.sent = self.feed.sent
            tail.socket.sendall(tail.round())
            self.thread.join(PATIENCE_S)
            tail.socket.close()
        require(not self.thread.is_alive(), "a bystander misses facts at the end")
        self.well()
        require(all(self.goal.values()), f"topics without facts: {self.goal}")
        counters = self.engine.stop()
        require(counters.get("gaps", 0) == 0, f"gaps: {counters}")

    def _drained(self):
        """Where all topics stand, once two looks agree."""
        first, second = (asyncio.run(self._positions()) for _ in range(2))
        return first if first == second else None

    async def _positions(self):
        client = await Native.connect(self.engine.url, self.bars, self.ledger)
        reply = await client.subscribe(SYMBOLS, TIMEFRAMES, forming=False)
        await client.close()
        return reply["sequences"]
