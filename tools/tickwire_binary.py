"""Reads the binary records of tickwire's native protocol ("format":"binary"). Python 3.9, standard library only.

    for message in records(binary_message):
        print(message["data"]["symbol"], message["data"].get("close"))

Each record becomes what the JSON message of the same event is, with two differences: all times are whole nanoseconds, and numbers
with a point are `decimal.Decimal`. Records of schemas that are not known here are passed over.

    tickwire_binary.py FILE...    prints the records of files, one JSON object a line
"""

import json
import struct
import sys
from decimal import Context, Decimal

VERSION = 1
HEADER = struct.Struct("<HHIQqqqBBBBI32s")
BAR = struct.Struct("<qqqqqqQQqQIBBxx")
TRADE = struct.Struct("<qqQBBBx4s32s")
QUOTE = struct.Struct("<qqQQqB7xQQ")
assert (HEADER.size, BAR.size, TRADE.size, QUOTE.size) == (80, 88, 64, 64)

STATUS = struct.Struct("<4q")
CHANNELS = ["bars", "trades", "quotes", "status"]
STANDINGS = ["closed", "pre", "regular", "post", "holiday", "halted", "unknown"]
NO_TIME = 2**63 - 1
BAR_STATES = ["forming", "closed", "revised"]
TRADE_KINDS = ["trade", "cancel", "correction"]
REASONS = [None, "late", "cancel", "correct", "backfill", "gap"]
FLAGS = ["incomplete", "synthetic", "halted", "refused", "polled"]
NO_VWAP = -(1 << 63)
UNITS = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")]
# Wide enough for any volume: 2^128 has 39 digits.
EXACT = Context(prec=60)


class BadRecord(ValueError):
    """Bytes that are not a whole and sound record; the text says where and why."""


def price(units):
    return EXACT.scaleb(Decimal(units), -9)


def size(units):
    return EXACT.scaleb(Decimal(units), -8)


def timeframe(seconds):
    for unit, letter in UNITS:
        if seconds % unit == 0:
            return f"{seconds // unit}{letter}"
    raise AssertionError("one second divides everything")


def name_of(names, number, what, at):
    if number >= len(names):
        raise BadRecord(f"byte {at}: {what} {number} is not known")
    return names[number]


def text(padded, length, what, at):
    if length > len(padded):
        raise BadRecord(f"byte {at}: a {what} of {length} bytes; there is room for {len(padded)}")
    try:
        return padded[:length].decode("ascii")
    except UnicodeDecodeError:
        raise BadRecord(f"byte {at}: a {what} that is not ASCII") from None


def records(message):
    """The messages of one binary WebSocket message, in order. Raises `BadRecord` at the first that is not sound."""
    view = memoryview(message)
    at = 0
    while at < len(view):
        if len(view) - at < HEADER.size:
            raise BadRecord(f"byte {at}: {len(view) - at} bytes are no header of {HEADER.size}")
        head = HEADER.unpack_from(view, at)
        version, length = head[1], head[2]
        if version != VERSION:
            raise BadRecord(f"byte {at}: version {version}; this reads {VERSION}")
        if length < HEADER.size or length % 8 or length > len(view) - at:
            raise BadRecord(f"byte {at}: a record of {length} bytes in a rest of {len(view) - at}")
        body = BODIES.get(head[0])
        if body is not None:
            layout, read = body
            if length < HEADER.size + layout.size:
                raise BadRecord(f"byte {at}: {length} bytes are too few for schema {head[0]}")
            yield event(head, read, layout.unpack_from(view, at + HEADER.size), at)
        at += length


def event(head, read, fields, at):
    _, _, _, sequence, ts_event, ts_recv, ts_sent, channel, state, flags, symbol_length, seconds, symbol = head
    if symbol_length < 1:
        raise BadRecord(f"byte {at}: no symbol")
    data = {"symbol": text(symbol, symbol_length, "symbol", at)}
    kind = read(data, fields, state, seconds, at)
    return {
        "type": "snapshot" if flags & 1 else kind,
        "channel": name_of(CHANNELS, channel, "channel", at),
        "sequence": sequence,
        "ts_event": ts_event,
        "ts_recv": ts_recv,
        "ts_sent": ts_sent,
        "data": data,
    }


def bar(data, fields, state, seconds, at):
    start, end, o, h, l, c, low, high, vwap, trades, rev, reason, flags = fields
    data.update(timeframe=timeframe(seconds), start=start, end=end)
    data.update(open=price(o), high=price(h), low=price(l), close=price(c))
    data.update(volume=size(high << 64 | low), vwap=None if vwap == NO_VWAP else price(vwap), trades=trades)
    data.update(state=name_of(BAR_STATES, state, "state", at), rev=rev)
    # What a later server adds is no error: a reason without a name is none here.
    if 0 < reason < len(REASONS):
        data["reason"] = REASONS[reason]
    data["flags"] = [name for bit, name in enumerate(FLAGS) if flags >> bit & 1]
    return "bar"


def trade(data, fields, state, _seconds, at):
    timestamp, price_units, size_units, exchange, form, id_length, conditions, trade_id = fields
    data.update(price=price(price_units), size=size(size_units), timestamp=timestamp)
    data["exchange"] = [None, str(exchange), chr(exchange)][form] if form < 3 else None
    data["trade_id"] = text(trade_id, id_length, "trade id", at) or None
    data["conditions"] = [code for code in conditions if code]
    return name_of(TRADE_KINDS, state, "state", at)


def quote(data, fields, _state, _seconds, _at):
    bid, ask, bid_size, ask_size, last, present, low, high = fields
    data["bid"], data["bid_size"] = (price(bid), size(bid_size)) if present & 1 else (None, None)
    data["ask"], data["ask_size"] = (price(ask), size(ask_size)) if present & 2 else (None, None)
    data["last"] = price(last) if present & 4 else None
    data["volume"] = size(high << 64 | low)
    return "quote"


def status(data, fields, state, _seconds, at):
    data["status"] = name_of(STANDINGS, state, "state", at)
    for name, time in zip(("since", "next_change", "next_open", "next_close"), fields):
        data[name] = None if time == NO_TIME else time
    return "status"


BODIES = {1: (BAR, bar), 2: (TRADE, trade), 3: (QUOTE, quote), 4: (STATUS, status)}


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for path in sys.argv[1:]:
        with open(path, "rb") as file:
            for message in records(file.read()):
                print(json.dumps(message, default=str))


if __name__ == "__main__":
    main()
