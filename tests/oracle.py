#!/usr/bin/env python3
"""What `tickwire bars` must print, computed in the slowest and most obvious way.

Naive on purpose: no incremental state, no rolling up of one timeframe from another, no cleverness that could be wrong in
the same way as the engine. Every tick is put into a list for each bar it belongs to; each list is sorted; each field is read
off the sorted list with exact decimals. It shares no code with the engine, so where the two agree byte for byte, both are right
or both are wrong for different reasons.

    tests/oracle.py FILE... [--format csv|binance|massive] [--bars-from trades|bid|ask|mid]
                            [--timeframes 1s,1m,5m,15m,1h,1d] [--conditions NAME|FILE[:CODING]] [--out bars.ndjson]
                            [--calendar us-equities|fx-week|crypto-24x7] [--anchor session] [--fill regular|extended]
                            [--fill-bars-max 1000]

With --conditions the tables of sale conditions are read that the engine reads: the tables are data, what is made of them is not shared.

Several files are read as one, in the order given. `.gz` is read as it is. Rows that cannot be a tick are skipped and counted
by reason on stderr. No float is ever made: JSON numbers are read as their text.

Calendars are here once more, from the dates in the data files and Python's own time zones: what a minute is, is found by
asking what New York's clocks show in it.
"""

import argparse
import ast
import csv
import gzip
import json
import re
import sys
import tomllib
from collections import Counter
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
from decimal import ROUND_HALF_EVEN, Decimal, getcontext
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

# 100 digits: a day's notional needs at most 39, and the quotient of two such numbers cannot lie so close to a half unit
# that rounding first at 100 digits and then at 9 places would go another way than rounding once.
getcontext().prec = 100
getcontext().rounding = ROUND_HALF_EVEN

PRICE_UNIT = Decimal("1e-9")
SIZE_UNIT = Decimal("1e-8")
# What fits the engine's words: i64 units of price, u64 units of size.
PRICE_MAX = PRICE_UNIT * (2**63 - 1)
SIZE_MAX = SIZE_UNIT * (2**64 - 1)

NS_PER_S = 1_000_000_000
YEAR_2000_NS = int(datetime(2000, 1, 1, tzinfo=timezone.utc).timestamp()) * NS_PER_S

# JSON's own grammar for a number; Decimal() alone would also take "NaN", "1_000", " 5" and "+1".
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
INTEGER = re.compile(r"-?[0-9]+")
ISO_8601 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|z|[+-]\d\d:\d\d)")
# Printable ASCII without space, quote, comma, asterisk and backslash.
SYMBOL = re.compile(r"""[!#-)+\-./0-9:-@A-\[\]-~]{1,32}""")


class Rejected(Exception):
    """One row cannot be a tick; the text says why."""


# --- reading numbers, times and symbols -------------------------------------------------------------------------------


def decimal(text, unit, what):
    """The number a text means, rounded half to even to a whole number of units."""
    if text is None or not NUMBER.fullmatch(text):
        raise Rejected(f"{what} is not a number")
    value = Decimal(text)
    # Far from any price or size, and `quantize` would need more digits than the context has.
    if value.adjusted() > 30:
        raise Rejected(f"{what} out of range")
    return value.quantize(unit)


def price(text):
    value = decimal(text, PRICE_UNIT, "price")
    if value <= 0:
        raise Rejected("price not positive")
    if value > PRICE_MAX:
        raise Rejected("price out of range")
    return value


def size(text):
    value = decimal(text, SIZE_UNIT, "size")
    if value < 0:
        raise Rejected("size negative")
    if value > SIZE_MAX:
        raise Rejected("size out of range")
    return value


def integer(text, what):
    if text is None or not INTEGER.fullmatch(text):
        raise Rejected(f"{what} is not a whole number")
    return int(text)


def time(ns):
    if ns < YEAR_2000_NS or ns >= 2**63:
        raise Rejected("time out of range")
    return ns


def iso_time(text):
    """ISO 8601 with a zone, up to nanoseconds."""
    match = ISO_8601.fullmatch(text or "")
    if not match:
        raise Rejected("time is not ISO 8601 with a zone")
    day, clock, fraction, zone = match.groups()
    zone = "+00:00" if zone in "Zz" else zone
    try:
        whole = datetime.fromisoformat(f"{day}T{clock}{zone}")
    except ValueError:
        raise Rejected("time is not ISO 8601 with a zone") from None
    since_1970 = whole - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (since_1970.days * 86_400 + since_1970.seconds) * NS_PER_S + int((fraction or "").ljust(9, "0"))


def symbol(text):
    if text is None or not SYMBOL.fullmatch(text):
        raise Rejected("bad symbol")
    return text


# --- reading files ------------------------------------------------------------------------------------------------------
#
# Each format yields, for every row that should be a tick, either the tick or a Rejected. A tick is
# (symbol, time in ns, venue sequence or 0, price, size, condition bytes, tape or 0).


def attempt(read, *row):
    try:
        return read(*row)
    except Rejected as why:
        return why


def lines_of(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        yield from file


def quote_price(bid, ask, bars_from):
    """The price of a quote. Only the side that is used must be there; `mid` uses both."""
    if bars_from == "bid":
        return price(bid)
    if bars_from == "ask":
        return price(ask)
    return ((price(bid) + price(ask)) / 2).quantize(PRICE_UNIT)


def csv_time(row):
    for column, ns in (("timestamp_ns", 1), ("timestamp_us", 1_000), ("timestamp_ms", 1_000_000)):
        if column in row:
            return time(integer(row[column], column) * ns)
    return time(iso_time(row.get("timestamp")))


def four(codes):
    """Up to four condition codes, 0 being none."""
    return bytes(code for code in codes if code)[:4]


def csv_conditions(row):
    """Codes between spaces, `;` or `|`, or a mask in hex, lowest byte first."""
    text = row.get("conditions_hex") or row.get("conditions") or ""
    is_mask = text.startswith("0x") or (len(text) >= 4 and re.fullmatch(r"[0-9a-fA-F]+", text))
    if "conditions_hex" in row or is_mask:
        return int(text or "0", 16).to_bytes(4, "little")
    tokens = [token for token in re.split(r"[ ;|]", text) if token]
    return four(int(token) if token.isdigit() else ord(token) for token in tokens)


def csv_ticks(path, bars_from):
    def read(row):
        if bars_from == "trades":
            at, amount = price(row.get("price")), size(row.get("size"))
            return symbol(row.get("symbol")), csv_time(row), 0, at, amount, csv_conditions(row), 0
        at = quote_price(row.get("bid"), row.get("ask"), bars_from)
        return symbol(row.get("symbol")), csv_time(row), 0, at, Decimal(0), b"", 0

    for row in csv.DictReader(lines_of(path)):
        yield attempt(read, row)


def parse_json(text):
    """JSON with every number left as its text, so that none passes through a float."""
    try:
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except json.JSONDecodeError:
        raise Rejected("malformed JSON") from None


def text_in(message, key, default=None):
    value = message.get(key, default)
    if not isinstance(value, str):
        raise Rejected(f"{key} is missing or of the wrong type")
    return value


def json_time_ms(message, key):
    return time(integer(text_in(message, key), key) * 1_000_000)


def binance_ticks(path, bars_from):
    """`<receive time in ns> {json}` a line, the time optional, the message bare or in a combined stream's envelope."""
    if bars_from != "trades":
        sys.exit("oracle: --format binance has bars from trades only")

    def read(m):
        at, amount = price(text_in(m, "p")), size(text_in(m, "q"))
        codes = four([text_in(m, "X", "MARKET") != "MARKET"])
        return symbol(text_in(m, "s")), json_time_ms(m, "T"), 0, at, amount, codes, 0

    for line in lines_of(path):
        message = attempt(parse_json, line[max(line.find("{"), 0) :])
        if isinstance(message, dict):
            message = message.get("data", message)
        if isinstance(message, Rejected):
            yield message
        elif isinstance(message, dict) and message.get("e") == "trade":
            yield attempt(read, message)


def massive_ticks(path, bars_from):
    """One array of events a line. The exact decimal size `ds` wins over the whole size `s`; `q` orders equal times."""

    def head(e):
        return symbol(text_in(e, "sym")), json_time_ms(e, "t"), integer(text_in(e, "q", "0"), "q")

    def read_trade(e):
        at, amount = price(text_in(e, "p")), size(text_in(e, "ds" if "ds" in e else "s"))
        codes = four(int(code) for code in e.get("c", []))
        return *head(e), at, amount, codes, int(e.get("z", "0"))

    def read_quote(e):
        return *head(e), quote_price(e.get("bp"), e.get("ap"), bars_from), Decimal(0), b"", 0

    for line in lines_of(path):
        events = attempt(parse_json, line)
        if isinstance(events, Rejected):
            yield events
            continue
        for event in events if isinstance(events, list) else [events]:
            kind = event.get("ev") if isinstance(event, dict) else None
            if kind == "T" and bars_from == "trades":
                yield attempt(read_trade, event)
            elif kind == "Q" and bars_from != "trades":
                yield attempt(read_quote, event)


FORMATS = {"csv": csv_ticks, "binance": binance_ticks, "massive": massive_ticks}


# --- calendars ----------------------------------------------------------------------------------------------------------

CALENDARS = Path(__file__).resolve().parent.parent / "src" / "model" / "calendar"
HOUR_NS = 3_600 * NS_PER_S
DAY_NS = 24 * HOUR_NS


def instant(zone, day, minutes):
    """When clocks of a zone show so many minutes after the midnight of a day, in ns."""
    at = datetime(day.year, day.month, day.day) + timedelta(minutes=minutes)
    return int(at.replace(tzinfo=zone).timestamp()) * NS_PER_S


def minutes(clock):
    hours, rest = clock.split(":")
    return int(hours) * 60 + int(rest)


class Calendar:
    """Days and sessions, by a list of all days from the first tick to the last."""

    def __init__(self, name):
        # Assignments of texts and lists: what is TOML here is Python, too.
        lines = ast.parse((CALENDARS / f"{name}.toml").read_text(encoding="utf-8")).body
        data = {line.targets[0].id: ast.literal_eval(line.value) for line in lines}
        self.zone = ZoneInfo(data["zone"])
        self.week = [("mon", "tue", "wed", "thu", "fri", "sat", "sun").index(day) for day in data["week"]]
        self.begins = minutes(data.get("day_ends", "24:00")) - 1_440
        self.sessions = [(what, minutes(a), minutes(b)) for what, a, b in data["sessions"]]
        self.closed = {date.fromisoformat(day) for day, _ in data.get("closed", [])}
        self.early = {date.fromisoformat(day): (minutes(a), minutes(b)) for day, a, b, _ in data.get("early", [])}

    @lru_cache(None)
    def day(self, day):
        """[start, end) of a day, and its stretches [start, end) with what they are."""
        start, end = instant(self.zone, day, self.begins), instant(self.zone, day, self.begins + 1_440)
        stretches = []
        if day.weekday() in self.week and day not in self.closed:
            for what, a, b in self.sessions:
                a -= 1_440 if a >= self.begins + 1_440 else 0
                if day in self.early:
                    regular, late = self.early[day]
                    a, b = (min(a, regular), min(b, late)) if what == "post" else (a, min(b, regular))
                stretches.append((instant(self.zone, day, a), instant(self.zone, day, b), what))
        whole, at = [], start
        for a, b, what in stretches:
            whole += [(at, a, "closed")] if a > at else []
            whole.append((a, b, what))
            at = b
        whole += [(at, end, "closed")] if end > at else []
        return start, end, whole

    @lru_cache(1_000_000)
    def day_of(self, second):
        """The day that an instant is in, by looking at all that it could be."""
        near = datetime.fromtimestamp(second, self.zone).date()
        for day in (near + timedelta(days=n) for n in (-1, 0, 1, 2)):
            start, end, _ = self.day(day)
            if start <= second * NS_PER_S < end:
                return day


class Always:
    """No calendar: UTC days, always open."""

    def day_of(self, second):
        return datetime.fromtimestamp(second, timezone.utc).date()

    def day(self, day):
        start = instant(timezone.utc, day, 0)
        return start, start + DAY_NS, [(start, start + DAY_NS, "regular")]


def interval(calendar, anchored, length, at):
    """[start, end) of the bar of a length that an instant is in."""
    start, end, stretches = calendar.day(calendar.day_of(at // NS_PER_S))
    if length == DAY_NS:
        return start, end
    if anchored and length >= HOUR_NS:
        for a, b, _ in stretches:
            if a <= at < b:
                first = a + (at - a) // length * length
                return first, min(first + length, b)
    return at // length * length, at // length * length + length


def silent(calendar, anchored, length, sessions, after, before):
    """Bars of a length that end after `after`, begin before `before`, and are open for some of their time."""
    at = after
    while at < before:
        day_start, day_end, stretches = calendar.day(calendar.day_of(at // NS_PER_S))
        openings = [(a, b) for a, b, what in stretches if what in sessions and b > at]
        if not openings:
            at = day_end
            continue
        start, end = interval(calendar, anchored, length, max(at, openings[0][0]))
        if start >= before:
            return
        yield start, end
        at = end
# --- sale conditions ----------------------------------------------------------------------------------------------------

CODINGS = ("massive", "letters", "lean", "binance")
TABLES = Path(__file__).resolve().parent.parent / "src" / "shard" / "conditions"
# What each word of a rule lets a trade move.
WORDS = {"open-close": {"open", "close"}, "first": {"open"}, "high-low": {"high-low"}, "volume": {"volume"}}
EVERYTHING = {"open", "close", "high-low", "volume"}


class Conditions:
    """A table of sale conditions. What it answers is remembered, for there are millions of trades of a few kinds."""

    def __init__(self, choice, form):
        name, colon, coding = choice.rpartition(":")
        if not colon or coding not in CODINGS:
            name, coding = choice, None
        path = TABLES / f"{name}.toml"
        table = tomllib.loads((path if path.exists() else Path(name)).read_text())
        self.rows = table["condition"]
        self.hours = table.get("hours")
        keys = {"massive": ["massive"], "letters": ["cts", "utp"], "lean": ["lean"], "binance": ["binance"]}
        has = [c for c in CODINGS if any(key in row for row in self.rows for key in keys[c])]
        self.coding = coding or (form if form in has else has[0] if form == "csv" and len(has) == 1 else None)
        if self.coding not in has:
            sys.exit(f"oracle: say which of {', '.join(has)} the codes are in")

    @cache
    def is_regular(self, second):
        zone = ZoneInfo(self.hours["zone"])
        clock = datetime.fromtimestamp(second, timezone.utc).astimezone(zone).strftime("%H:%M:%S")
        return self.hours["open"] + ":00" <= clock < self.hours["close"] + ":00"

    def rows_of(self, codes, tape):
        if self.coding == "lean":
            mask = int.from_bytes(codes, "little")
            return [row for row in self.rows if any(mask >> bit & 1 for bit in row.get("lean", []))]
        if self.coding == "letters":
            # Where the tape is unknown, a letter means both that it may mean.
            keys = {0: ("cts", "utp"), 3: ("utp",)}.get(tape, ("cts",))
            return [row for row in self.rows for key in keys if any(ord(c) in codes for c in row.get(key, ""))]
        return [row for row in self.rows if any(code in codes for code in row.get(self.coding, []))]

    def moves(self, at, codes, tape, length):
        """What a trade may move in a bar of this length."""
        regular = self.hours is None or self.is_regular(at // NS_PER_S)
        return self.moves_then(regular, codes, tape, length == DAY_NS)

    @cache
    def moves_then(self, regular, codes, tape, daily):
        rows = self.rows_of(codes, tape)
        if any(row.get("admits") for row in rows):
            rows = [row for row in rows if not row.get("yields")]
        moved = set(EVERYTHING)
        for row in rows:
            words = row["minute"]
            if daily:
                words = row.get("daily", words)
            elif "extended" in row and not regular:
                words = row["extended"]
            moved &= set().union(*(WORDS[word] for word in words.split()))
        return moved


# --- bars ---------------------------------------------------------------------------------------------------------------


def timeframe_ns(label):
    match = re.fullmatch(r"([0-9]+)([smhd])", label)
    seconds = int(match[1]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[match[2]] if match else 0
    if seconds == 0 or 86_400 % seconds != 0:
        sys.exit(f"oracle: timeframe {label!r} is not a whole number of s, m, h or d that divides a day")
    return seconds * NS_PER_S


def timeframe_label(ns):
    """The coarsest unit that divides it: 60s is called 1m."""
    seconds = ns // NS_PER_S
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")):
        if seconds % unit_s == 0:
            return f"{seconds // unit_s}{unit}"


def plain(value):
    """Shortest decimal text: no exponent, no trailing zeros, no negative zero."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def flat_line(name, start, end, length, close):
    price = plain(close)
    return (
        f'{{"symbol":"{name}","timeframe":"{timeframe_label(length)}","start":{start // 1000},"end":{end // 1000},'
        f'"open":{price},"high":{price},"low":{price},"close":{price},'
        f'"volume":0,"vwap":null,"trades":0,"rev":0,"flags":["synthetic"]}}\n'
    )


def bar_line(name, start, end, length, ticks, conditions):
    """A bar's line and its close; no line where it would have no price or no trade that counts."""
    # (time, venue sequence, place in the input): the least opens, the greatest closes.
    ticks = sorted(ticks, key=lambda tick: tick[:3])
    moves = [conditions.moves(tick[0], *tick[5:], length) if conditions else EVERYTHING for tick in ticks]
    opens, closes, prices = (
        [tick[3] for tick, moved in zip(ticks, moves) if field in moved] for field in ("open", "close", "high-low")
    )
    ticks = [tick for tick, moved in zip(ticks, moves) if "volume" in moved]
    # Without a price or without a trade that counts there is no bar.
    if not (opens and prices and ticks):
        return "", None
    # A trade that may only be the first is the close where no other may be.
    close = closes[-1] if closes else opens[0]
    volume = sum((tick[4] for tick in ticks), Decimal(0))
    notional = sum((tick[3] * tick[4] for tick in ticks), Decimal(0))
    vwap = plain((notional / volume).quantize(PRICE_UNIT)) if volume > 0 else "null"
    # Written by hand so that every number keeps its exact text. A symbol needs no escape: `symbol` saw to that.
    return (
        f'{{"symbol":"{name}","timeframe":"{timeframe_label(length)}","start":{start // 1000},"end":{end // 1000},'
        f'"open":{plain(opens[0])},"high":{plain(max(prices))},"low":{plain(min(prices))},"close":{plain(close)},'
        f'"volume":{plain(volume)},"vwap":{vwap},"trades":{len(ticks)},"rev":0,"flags":[]}}\n',
        close,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--format", choices=FORMATS, default="csv")
    parser.add_argument("--bars-from", choices=["trades", "bid", "ask", "mid"], default="trades")
    parser.add_argument("--timeframes", default="1s,1m,5m,15m,1h,1d")
    parser.add_argument("--conditions", metavar="NAME|FILE[:CODING]")
    parser.add_argument("--out", help="default: standard output")
    parser.add_argument("--calendar")
    parser.add_argument("--anchor", choices=["epoch", "session"], default="epoch")
    parser.add_argument("--fill", choices=["regular", "extended"])
    parser.add_argument("--fill-bars-max", type=int, default=1_000)
    args = parser.parse_args()
    # A set, because 60s beside 1m is a repeat.
    timeframes = sorted({timeframe_ns(label) for label in args.timeframes.split(",")})

    calendar = Calendar(args.calendar) if args.calendar else Always()
    anchored = args.anchor == "session"
    conditions = Conditions(args.conditions, args.format) if args.conditions else None

    bars = {}
    rejected = Counter()
    place = 0
    for path in args.files:
        for tick in FORMATS[args.format](path, args.bars_from):
            if isinstance(tick, Rejected):
                rejected[str(tick)] += 1
                continue
            place += 1
            name, at, sequence, tick_price, tick_size, *told = tick
            for length in timeframes:
                bar = bars.setdefault((name, length, *interval(calendar, anchored, length, at)), [])
                bar.append((at, sequence, place, tick_price, tick_size, *told))

    # The symbols are ASCII, so Python's order of text is the order of bytes.
    made = {key: bar_line(key[0], *key[2:], key[1], ticks, conditions) for key, ticks in bars.items()}
    lines = {key: line for key, (line, _) in made.items() if line}
    if args.fill:
        sessions = ["regular"] if args.fill == "regular" else ["pre", "regular", "post"]
        keys = sorted(lines)
        for key, following in zip(keys, keys[1:]):
            name, length, _, end = key
            if following[:2] == (name, length):
                gap = silent(calendar, anchored, length, sessions, end, following[2])
                for _, (a, b) in zip(range(args.fill_bars_max), gap):
                    lines[name, length, a, b] = flat_line(name, a, b, length, made[key][1])
    lines = (line for _, line in sorted(lines.items()))
    out = open(args.out, "w", encoding="ascii", newline="") if args.out else sys.stdout
    with out:
        out.writelines(lines)
    for why, count in sorted(rejected.items()):
        print(f"oracle: {count} rejected: {why}", file=sys.stderr)


if __name__ == "__main__":
    main()
