#!/usr/bin/env python3
"""Cuts the small files of this directory from the full captures; README.md says what each is and where it came from.

    tests/data/cut.py SOURCE_DIR

Only selects rows and columns: every number keeps its text. Two things are made up, both in massive.jsonl.gz and both from
fixed rules, so that a second run gives the same bytes: the quotes, and the fields a trade of the source does not have.
"""

import csv
import gzip
import io
import json
import sys
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent

EQUITIES = "us-equities-trades-201310.csv.gz"
BARS = "us-equities-bars-201310.csv.gz"
CRYPTO = "binance-trades-20240808.csv.gz"
FX = "fx-quotes-201405.csv.gz"
USDM = "binance-usdm-btcusdt-raw-ws-20240808.txt.gz"
SPOT = "binance-spot-btcusdt-raw-ws-20240808.txt.gz"


def ms(text):
    """Milliseconds since 1970 of an ISO time."""
    return int(datetime.fromisoformat(text).timestamp()) * 1000


def rows(path, start, end):
    """The CSV rows with start <= timestamp_ms < end. The sources are sorted by time, so reading stops at the end."""
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            at = int(row["timestamp_ms"])
            if at >= end:
                return
            if at >= start:
                yield row


def bars(path, start, end):
    """The rows of bars that begin in [start, end)."""
    with gzip.open(path, "rt", newline="") as file:
        yield from (row for row in csv.DictReader(file) if start <= int(row["open_time_ms"]) < end)


def write(name, text):
    """Gzip without a name or a time in the header: the same cut is the same bytes."""
    with open(HERE / name, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(text.encode())


def write_csv(name, columns, selected):
    """`columns` maps the name in the new file to the name in the source."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(columns)
    out.writerows([row[source] for source in columns.values()] for row in selected)
    write(name, text.getvalue())


def same(*names):
    return {name: name for name in names}


def cut_csv(source):
    # Half an hour after the open: past its rush, before the lull of noon.
    write_csv(
        "demo-equities.csv.gz",
        same("symbol", "timestamp_ms", "price", "size", "exchange") | {"conditions": "conditions_hex"},
        rows(source / EQUITIES, ms("2013-10-08T13:50:00+00:00"), ms("2013-10-08T14:00:00+00:00")),
    )
    write_csv(
        "equities-trades.csv.gz",
        same("symbol", "timestamp_ms", "price", "size", "exchange", "conditions_hex", "suspicious"),
        rows(source / EQUITIES, ms("2013-10-08T08:00:00+00:00"), ms("2013-10-08T13:41:00+00:00")),
    )
    # The source's own bars of the same trades, minutes that are whole in the cut.
    write_csv(
        "equities-bars.csv.gz",
        same("symbol", "tf", "open_time_ms", "open", "high", "low", "close", "volume"),
        bars(source / BARS, ms("2013-10-08T08:00:00+00:00"), ms("2013-10-08T13:41:00+00:00")),
    )
    write_csv(
        "demo-crypto.csv.gz",
        same("symbol", "timestamp_ms", "price", "size", "trade_id"),
        rows(source / CRYPTO, 0, ms("2100-01-01T00:00:00+00:00")),
    )
    write_csv(
        "fx-quotes.csv.gz",
        same("symbol", "timestamp_ms", "bid", "ask"),
        rows(source / FX, ms("2014-05-08T12:00:00+00:00"), ms("2014-05-08T12:32:00+00:00")),
    )


def cut_raw(source):
    for name, path in (("binance-usdm-raw.txt.gz", USDM), ("binance-spot-raw.txt.gz", SPOT)):
        with gzip.open(source / path, "rt", newline="") as file:
            write(name, "".join(line for line, _ in zip(file, range(3_000))))


# --- massive.jsonl.gz -----------------------------------------------------------------------------------------------------

# SIP participant letter -> Massive's exchange id. D is FINRA, which reports through a trade reporting facility (trfi).
EXCHANGE = {
    "A": 1, "B": 2, "C": 3, "D": 4, "I": 6, "J": 7, "K": 8, "M": 9, "N": 10, "P": 11, "Q": 12, "T": 12, "W": 16, "X": 17,
    "Y": 18, "Z": 19,
}
# The source's condition flag -> Massive's condition code. Flags without a code here are left out.
CONDITION = {
    1 << 0: 0, 1 << 1: 7, 1 << 2: 20, 1 << 3: 29, 1 << 5: 14, 1 << 6: 25, 1 << 7: 8, 1 << 8: 28, 1 << 9: 10, 1 << 10: 12,
    1 << 11: 30, 1 << 13: 12, 1 << 14: 13, 1 << 20: 2, 1 << 21: 9, 1 << 24: 15, 1 << 25: 22, 1 << 26: 16, 1 << 29: 41,
}
# 1 = tape A (NYSE), 2 = tape B (Arca and others), 3 = tape C (Nasdaq).
TAPE = {"SPY": 2, "BAC": 1, "AIG": 1, "IBM": 1}


def number(text):
    """A JSON number with the value of the text, written as Massive does: 180, 165.4. Prices here have at most five
    significant digits, so a float prints as the digits it was read from."""
    return float(text) if text.rstrip("0")[-1] not in ".0" and "." in text else int(text.split(".")[0])


def hundredths(text):
    whole, _, fraction = text.partition(".")
    return int(whole) * 100 + int(fraction.ljust(2, "0"))


def dollars(cents):
    return number(f"{cents // 100}.{cents % 100:02}")


def trade(row, n, sequence):
    flags = int(row["conditions_hex"], 16)
    at = int(row["timestamp_ms"])
    event = {
        "ev": "T", "sym": row["symbol"], "x": EXCHANGE[row["exchange"]], "i": str(52_983_525_000_000 + n),
        "z": TAPE[row["symbol"]], "p": number(row["price"]), "s": int(row["size"]),
    }
    # Massive sends the exact size beside the whole one. Every 40th trade gets a fraction, so that a reader that
    # takes `s` is found out; every 7th has no `ds`, as before that field existed.
    if n % 40 == 0:
        event["ds"] = f'{row["size"]}.{n % 9 + 1}25'
    elif n % 7:
        event["ds"] = row["size"]
    conditions = sorted({code for flag, code in CONDITION.items() if flags & flag})
    # A trade without conditions has no `c` at all.
    if conditions != [0] or n % 2:
        event["c"] = conditions
    event |= {"t": at, "pt": at - 1, "q": sequence}
    if row["exchange"] == "D":
        event |= {"trfi": 201 + n % 2, "trft": at}
    return event


def quote(row, n, sequence):
    """A quote one cent around a trade: the source has no quotes of equities."""
    cents = hundredths(row["price"])
    event = {
        "ev": "Q", "sym": row["symbol"], "bx": 11, "bp": dollars(cents - 1), "bs": 100 * (n % 9 + 1),
        "ax": 12, "ap": dollars(cents + 1), "as": 100 * (n % 5 + 1), "c": 1,
    }
    # The indicators are there only when there are some.
    if n % 3 == 0:
        event["i"] = [604]
    return event | {"t": int(row["timestamp_ms"]), "q": sequence, "z": TAPE[row["symbol"]]}


def status(name, message):
    return {"ev": "status", "status": name, "message": message}


def cut_massive(source):
    messages = [
        [status("connected", "Connected Successfully")],
        [status("auth_success", "authenticated")],
        [status("success", f"subscribed to: {kind}.{name}") for name in TAPE for kind in "TQ"],
    ]
    events = []
    sequence = dict.fromkeys(TAPE, 1_000)
    first, last = ms("2013-10-09T14:46:00+00:00"), ms("2013-10-09T14:47:20+00:00")
    for n, row in enumerate(rows(source / EQUITIES, first, last)):
        # A symbol's sequence numbers rise but skip, and trades and quotes share them.
        sequence[row["symbol"]] += 1 + n % 4
        events.append(trade(row, n, sequence[row["symbol"]]))
        if n % 4 == 0:
            sequence[row["symbol"]] += 1
            events.append(quote(row, n, sequence[row["symbol"]]))
    at = 0
    while at < len(events):
        # 1, 8, 15, 2, 9 … : every length from 1 to 20 in turn.
        length = len(messages) * 7 % 20 + 1
        messages.append(events[at : at + length])
        at += length
    messages.insert(len(messages) // 2, [status("success", "subscribed to: AM.SPY")])
    write("massive.jsonl.gz", "".join(json.dumps(m, separators=(",", ":")) + "\n" for m in messages))


def main():
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("usage: tests/data/cut.py SOURCE_DIR   (the directory of the full captures)")
    source = Path(sys.argv[1])
    cut_csv(source)
    cut_raw(source)
    cut_massive(source)


if __name__ == "__main__":
    main()
