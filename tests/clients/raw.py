"""WebSocket bytes by hand: what a well-behaved library would never send, and what came back."""

import json
import select
import socket
import struct
import time

from engine import PATIENCE_S, Failed, require

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


def request(path="/v1/stream", version="1.1", upgrade=True, more=""):
    """A handshake request."""
    lines = [f"GET {path} HTTP/{version}", "Host: 127.0.0.1"]
    if upgrade:
        lines += ["Upgrade: websocket", "Connection: Upgrade"]
        lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    return ("\r\n".join(lines) + "\r\n" + more + "\r\n").encode()


def frame(opcode, payload=b"", fin=True, masked=True, reserved=0):
    """A client's frame, right unless asked to be wrong."""
    payload = payload.encode() if isinstance(payload, str) else payload
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    mask_bit = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([mask_bit | len(payload)])
    elif len(payload) < 65_536:
        head += bytes([mask_bit | 126]) + struct.pack(">H", len(payload))
    else:
        head += bytes([mask_bit | 127]) + struct.pack(">Q", len(payload))
    if not masked:
        return head + payload
    mask = b"\x5a\xa5\x0f\xf0"
    pattern = mask * (len(payload) // 4 + 1)
    plain = int.from_bytes(payload, "big") ^ int.from_bytes(pattern[: len(payload)], "big")
    return head + mask + plain.to_bytes(len(payload), "big")


class Raw:
    """A blocking socket with a deadline on everything."""

    def __init__(self, port, patience=PATIENCE_S, source="127.0.0.1"):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=patience, source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    @classmethod
    def open(cls, port, path="/v1/stream"):
        """Through the handshake and the welcome."""
        raw = cls(port)
        raw.send(request(path))
        head = raw.head()
        require(head.startswith(b"HTTP/1.1 101 "), f"no upgrade: {head}")
        welcome = raw.message()
        require(welcome["type"] == "welcome", f"no welcome: {welcome}")
        return raw

    def send(self, data):
        self.socket.sendall(data)

    def send_while_open(self, data):
        """As much as the peer takes; `False` where it was gone before the end."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def ask(self, **fields):
        self.send(frame(TEXT, json.dumps(fields)))

    def _more(self):
        try:
            data = self.socket.recv(65_536)
        except socket.timeout:
            raise Failed(f"nothing came; so far {self.buffer[:200]!r}") from None
        self.buffer += data
        return data

    def _take(self, count):
        while len(self.buffer) < count:
            if not self._more():
                return None
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def head(self):
        """The head of an HTTP answer."""
        while b"\r\n\r\n" not in self.buffer:
            if not self._more():
                break
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return head

    def frame(self):
        """(opcode, payload), or `None` at the end of the stream."""
        head = self._take(2)
        if head is None:
            return None
        require(head[0] & 0x70 == 0 and head[1] & 0x80 == 0, f"a server frame begins with {head!r}")
        size = head[1] & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", self._take(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", self._take(8))
        return head[0] & 0x0F, self._take(size) if size else b""

    def message(self):
        """The next text message."""
        while True:
            got = self.frame()
            require(got is not None, "the stream ended before a message")
            opcode, payload = got
            if opcode == TEXT:
                return json.loads(payload)
            require(opcode in (PING, PONG), f"a frame of opcode {opcode}: {payload!r}")

    def answer(self, kind):
        """The next message of a type; others are passed over."""
        while True:
            message = self.message()
            if message["type"] == kind:
                return message

    def close_code(self):
        """The code of the server's close frame. Messages before it are passed over; the stream must end after it."""
        while True:
            try:
                got = self.frame()
            except ConnectionResetError:
                raise Failed("reset without a close frame") from None
            require(got is not None, "the stream ended without a close frame")
            if got[0] == CLOSE:
                break
        code = struct.unpack(">H", got[1][:2])[0]
        # A well-behaved client answers, and then the server ends the stream.
        self.send_while_open(frame(CLOSE, got[1][:2]))
        try:
            require(self.frame() is None, "more came after the close")
        except ConnectionResetError:
            pass
        return code

    def ended(self, patience=PATIENCE_S):
        """Whether the stream ends within the time; what comes before is thrown away."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if select.select([self.socket], [], [], max(0, deadline - time.monotonic()))[0]:
                try:
                    if not self.socket.recv(65_536):
                        return True
                except OSError:
                    return True
        return False

    def reset(self):
        """Ends with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()

