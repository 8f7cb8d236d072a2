#!/usr/bin/env python3
"""The bars of a file of trades with DuckDB, as fast as we could make it do them: the peer beside `tickwire bars`.

    perf/bars/duckdb_bars.py TRADES.csv OUT.ndjson [--times]

What was tried, several runs of each on 1.7 million trades, two cores: `first` and `last` straight from the file take a seventh
less but are wrong, since with more than one thread they do not keep the order of ties (a few closes differ); on one thread
they are right and take half as long again, as does numbering the rows by a window; `first(price ORDER BY rowid)` is a tenth slower.
Making the JSON text by concatenation takes longer than COPY's own JSON writer; dropping the insertion order gains nothing.

Prices are doubles, as any user would have them; tickwire's are exact.
"""

import sys
import time

imported = time.perf_counter()
import duckdb  # noqa: E402

imported = time.perf_counter() - imported

TIMEFRAMES = [("1s", 1), ("1m", 60), ("5m", 300), ("15m", 900), ("1h", 3_600), ("1d", 86_400)]

# Types given and nothing guessed; only the four columns that matter are kept. A table's rowid is the file's order.
READ = """
CREATE TEMP TABLE trades AS SELECT symbol, timestamp_ms, price, size FROM read_csv(?, header = true, auto_detect = false,
    delim = ',', quote = '', escape = '', columns = {'symbol': 'VARCHAR', 'timestamp_ms': 'BIGINT', 'price': 'DOUBLE',
    'size': 'BIGINT', 'exchange': 'VARCHAR', 'conditions_hex': 'VARCHAR', 'suspicious': 'VARCHAR'})
"""

SECONDS = """
CREATE TEMP TABLE bars_1s AS SELECT symbol, timestamp_ms // 1000 AS start,
    arg_min(price, rowid) AS open, max(price) AS high, min(price) AS low, arg_max(price, rowid) AS close,
    sum(size)::BIGINT AS volume, sum(price * size) AS notional, count(*) AS trades
FROM trades GROUP BY ALL
"""

ROLLED_UP = """
CREATE TEMP TABLE bars_{label} AS SELECT symbol, fine.start // {seconds} * {seconds} AS start,
    arg_min(open, fine.start) AS open, max(high) AS high, min(low) AS low, arg_max(close, fine.start) AS close,
    sum(volume)::BIGINT AS volume, sum(notional) AS notional, sum(trades)::BIGINT AS trades
FROM bars_{finer} AS fine GROUP BY 1, 2
"""

WRITE = """
COPY (
    SELECT symbol, timeframe, start * 1000000 AS start, (start + seconds) * 1000000 AS "end", open, high, low, close, volume,
        CASE WHEN volume > 0 THEN notional / volume END AS vwap, trades
    FROM ({parts}) ORDER BY symbol, seconds, start
) TO '{out}' (FORMAT json)
"""


def main():
    args = [arg for arg in sys.argv[1:] if arg != "--times"]
    if len(args) != 2:
        sys.exit("usage: duckdb_bars.py TRADES.csv OUT.ndjson [--times]")
    source, out = args

    began = time.perf_counter()
    # Without settings DuckDB uses every core.
    db = duckdb.connect()
    db.execute(READ, [source])
    read = time.perf_counter()
    db.execute(SECONDS)
    for (finer, _), (label, seconds) in zip(TIMEFRAMES, TIMEFRAMES[1:]):
        db.execute(ROLLED_UP.format(label=label, seconds=seconds, finer=finer))
    computed = time.perf_counter()
    parts = " UNION ALL ".join(f"SELECT *, '{label}' AS timeframe, {s} AS seconds FROM bars_{label}" for label, s in TIMEFRAMES)
    db.execute(WRITE.format(parts=parts, out=out.replace("'", "''")))
    written = time.perf_counter()

    if "--times" in sys.argv:
        times = {"import": imported, "read": read - began, "compute": computed - read, "write": written - computed}
        times |= {"in_process": written - began, "version": duckdb.__version__}
        import json

        print(json.dumps(times), file=sys.stderr)


if __name__ == "__main__":
    main()
