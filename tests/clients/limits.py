"""Limits where the kernel matters: peers that vanish, that flood, that do not read, that come in storms, and no descriptors left."""

import ctypes
import resource
import select
import socket
import struct
import threading
import time

from bystanders import Bystanders
from engine import PATIENCE_S, Engine, require, wait_for
from raw import PING, TEXT, Raw, frame, request

VANISHED = 50
FLOOD_S = 2
FLOOD_PER_S = 100_000
CHURN = 10_000
WARM = 2_000
AT_ONCE = 1_000
ADDRESSES = [f"127.0.0.{n}" for n in range(2, 10)]
SLOW = 100
DESCRIPTORS = 64
SUBSCRIBE = frame(TEXT, b'{"action":"subscribe","channel":"bars","symbols":["*"],"timeframes":["1s"]}')


def more_descriptors(count):
    """Room for the test's own sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


def vanish(raw):
    """From now on this end neither hears nor says anything: the kernel drops whatever comes for it, unacknowledged.

    A filter on the socket takes no packet at all, so that the peer sees what it would see of a cut cable.
    """

    class Instruction(ctypes.Structure):
        _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)]

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_uint16), ("filter", ctypes.POINTER(Instruction))]

    attach, ret_constant = 26, 0x06
    nothing = Instruction(ret_constant, 0, 0, 0)
    program = Program(1, ctypes.pointer(nothing))
    raw.socket.setsockopt(socket.SOL_SOCKET, attach, bytes(program))


def peers_that_vanish_are_gone_after_two_heartbeats(binary):
    heartbeat_s = 2
    with Bystanders(binary, gateway=f"heartbeat_s = {heartbeat_s}") as world:
        peers = [Raw.open(world.engine.port) for _ in range(VANISHED)]
        # Half of them are owed data, half only a ping.
        for raw in peers[::2]:
            raw.send(SUBSCRIBE)
            raw.answer("subscribed")
        for raw in peers:
            vanish(raw)
        began = time.monotonic()
        wait_for(
            lambda: world.engine.descriptors() <= world.descriptors, "vanished peers still hold descriptors", 2 * heartbeat_s + 2
        )
        took = time.monotonic() - began
        require(took > heartbeat_s, f"gone after {took:.2f} s: they were not asked")
        more = world.settled()
        for raw in peers:
            raw.close()
    return f"{VANISHED} gone within {took:.2f} s of the last word, two heartbeats being {2 * heartbeat_s} s, {more:+.1f} MiB"


def a_ping_flood_costs_little_and_is_closed_1008(binary):
    block = frame(PING, b"flood") * (FLOOD_PER_S // 100)
    with Bystanders(binary) as world:
        raw = Raw.open(world.engine.port)
        raw.send_while_open(block)
        code = raw.close_code()
        require(code == 1008, f"close code {code}, not 1008")
        raw.close()
        # At 100,000 a second, whoever is closed coming back at once.
        raw, floods, sent = Raw.open(world.engine.port), 1, 0
        before, began = world.engine.cpu_s(), time.monotonic()
        while time.monotonic() < began + FLOOD_S:
            if not raw.send_while_open(block) or raw.ended(0.001):
                raw.close()
                raw, floods = Raw.open(world.engine.port), floods + 1
            sent += 1
            time.sleep(max(0, began + sent / 100 - time.monotonic()))
        took = time.monotonic() - began
        used = world.engine.cpu_s() - before
        raw.close()
        require(used < took / 2, f"{used:.2f} s of processor time in {took:.2f} s")
        require(floods > 3, f"only {floods} were closed")
        more = world.settled()
        slowest = world.slowest_ms
    per_s = sent * FLOOD_PER_S // 100 / took
    return (
        f"{per_s:,.0f} pings a second by {floods} clients: {used / took:.0%} of a processor with the bystanders' share, "
        f"{more:+.1f} MiB, bystanders silent at most {slowest:.0f} ms"
    )


def an_address_gets_no_more_than_its_share_of_connections(binary):
    with Engine(binary, gateway="connections_per_ip_max = 3") as engine:

        def knock(source):
            raw = Raw(engine.port, source=source)
            raw.send(request())
            return raw, raw.head()

        there = [knock("127.0.0.2") for _ in range(3)]
        require(all(head.startswith(b"HTTP/1.1 101 ") for _, head in there), f"{there}")
        _, head = knock("127.0.0.2")
        require(head.startswith(b"HTTP/1.1 429 "), f"one too many got {head}")
        _, head = knock("127.0.0.3")
        require(head.startswith(b"HTTP/1.1 101 "), f"another address got {head}")
        there.pop()[0].reset()
        wait_for(lambda: knock("127.0.0.2")[1].startswith(b"HTTP/1.1 101 "), "the place of one who left")
        counters = engine.stop()
        require(counters["refused_per_ip"] > 0, f"{counters}")


class Churn:
    """Clients that come, subscribe and go, a thousand at a time, each from the next of eight addresses."""

    def __init__(self, world):
        self.world = world
        self.number = 0

    def batch(self, count):
        port = self.world.engine.port
        hello = request() + SUBSCRIBE
        sockets = []
        for _ in range(count):
            self.number += 1
            client = socket.socket()
            client.setblocking(False)
            client.bind((ADDRESSES[self.number % len(ADDRESSES)], 0))
            client.connect_ex(("127.0.0.1", port))
            sockets.append(client)
        poll = select.poll()
        by_descriptor = {client.fileno(): [client, b""] for client in sockets}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLOUT)
        waiting = set(by_descriptor)
        deadline = time.monotonic() + PATIENCE_S
        while waiting:
            require(time.monotonic() < deadline, f"{len(waiting)} of {count} clients wait for their answer")
            for descriptor, event in poll.poll(1_000):
                entry = by_descriptor[descriptor]
                if event & select.POLLOUT:
                    entry[0].send(hello)
                    poll.modify(descriptor, select.POLLIN)
                    continue
                data = entry[0].recv(65_536)
                entry[1] += data
                require(data, f"the end instead of an answer: {entry[1][:100]}")
                if b'"subscribed"' in entry[1]:
                    require(entry[1].startswith(b"HTTP/1.1 101 "), f"{entry[1][:100]}")
                    waiting.discard(descriptor)
                    poll.unregister(descriptor)
        for place, client in enumerate(sockets):
            if place % 2:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()


def ten_thousand_clients_that_come_and_go_leave_nothing_behind(binary):
    more_descriptors(AT_ONCE * 2)
    with Bystanders(binary, cores="gateways = 2") as world:
        churn = Churn(world)
        for _ in range(WARM // AT_ONCE):
            churn.batch(AT_ONCE)
        wait_for(lambda: world.engine.descriptors() <= world.descriptors, "the first to be let go")
        world.measure()
        began = time.monotonic()
        for _ in range(CHURN // AT_ONCE):
            churn.batch(AT_ONCE)
            world.well()
        took = time.monotonic() - began
        more = world.settled()
        slowest = world.slowest_ms
    return f"{CHURN} in {took:.1f} s, {AT_ONCE} at once, two gateways, {more:+.1f} MiB, bystanders silent at most {slowest:.0f} ms"


def without_descriptors_those_who_are_there_go_on_and_the_others_come_in_later(binary):
    more_descriptors(1_000)
    with Engine(binary) as engine:
        resource.prlimit(engine.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        there = Raw.open(engine.port)
        crowd = [Raw(engine.port) for _ in range(DESCRIPTORS * 2)]
        for raw in crowd:
            raw.send(request())
        wait_for(lambda: engine.descriptors() >= DESCRIPTORS - 1, "the last descriptor to be taken")
        before, began = engine.cpu_s(), time.monotonic()
        while time.monotonic() < began + 1:
            there.ask(action="ping", id=1)
            there.answer("pong")
            time.sleep(0.01)
        used = engine.cpu_s() - before
        require(used < 0.4, f"{used:.2f} s of processor time in a second without descriptors")
        let_in = sum(bool(select.select([raw.socket], [], [], 0)[0]) for raw in crowd)
        require(0 < let_in < DESCRIPTORS, f"{let_in} were let in with {DESCRIPTORS} descriptors")
        # Whoever goes makes room for one who waits: in the end all have been served.
        for raw in crowd:
            require(raw.head().startswith(b"HTTP/1.1 101 "), "no upgrade")
            raw.close()
        there.ask(action="ping", id=2)
        there.answer("pong")
        counters = engine.stop()
        require(counters["accept_failures"] > 0, f"{counters}")
    return f"{let_in} of {len(crowd)} at first, {used:.2f} s of processor time in a second, {counters['accept_failures']} failures"


class Slow:
    """A client with a small receive buffer that subscribes to everything and reads a byte a second, or none."""

    def __init__(self, port):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(request() + SUBSCRIBE)


def slow_readers_are_cut_and_nobody_else_notices(binary):
    gateway = "outbox_facts_age_ms_max = 2000\nsend_buffer_bytes = 8192"
    with Bystanders(binary, gateway=gateway) as world:
        began = time.monotonic()
        slow = [Slow(world.engine.port) for _ in range(SLOW)]
        wait_for(lambda: world.engine.descriptors() >= world.descriptors + SLOW, "the slow ones to be there")
        cut = threading.Event()

        def sip():
            while not cut.wait(1):
                for client in slow[::2]:
                    try:
                        client.socket.recv(1)
                    except OSError:
                        pass

        sipping = threading.Thread(target=sip, daemon=True)
        sipping.start()
        most = 0

        def gone():
            nonlocal most
            most = max(most, world.engine.rss_mib() - world.rss)
            return world.engine.descriptors() <= world.descriptors

        wait_for(gone, "the slow ones to be cut")
        took = time.monotonic() - began
        cut.set()
        sipping.join()
        probe = Raw.open(world.engine.port)
        probe.ask(action="stats")
        closed = probe.answer("stats")["data"]["slow_closed"]
        probe.close()
        require(closed == SLOW, f"{closed} of {SLOW} were closed for being slow")
        require(most < 64, f"{most:.1f} MiB more for {SLOW} slow clients")
        for client in slow:
            client.socket.close()
        world.settled()
        slowest = world.slowest_ms
    return f"{SLOW} cut within {took:.1f} s, at most {most:+.1f} MiB, bystanders silent at most {slowest:.0f} ms"


PROMISES = [
    an_address_gets_no_more_than_its_share_of_connections,
    peers_that_vanish_are_gone_after_two_heartbeats,
    a_ping_flood_costs_little_and_is_closed_1008,
    without_descriptors_those_who_are_there_go_on_and_the_others_come_in_later,
    slow_readers_are_cut_and_nobody_else_notices,
    ten_thousand_clients_that_come_and_go_leave_nothing_behind,
]
