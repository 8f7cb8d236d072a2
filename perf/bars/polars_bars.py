#!/usr/bin/env python3
"""The bars of a file of trades with polars, as fast as we could make it do them: the peer beside `tickwire bars`.

    perf/bars/polars_bars.py TRADES.csv OUT.ndjson [--times]

What was tried, several runs of each on 1.7 million trades, two cores: the in-memory engine takes half as long again as the
streaming one; reading first and aggregating after is no faster than both in one pass; symbols as Categorical or Enum instead of
String change nothing; one lazy plan for everything, rolling up and writing included, takes over three times as long, because each
timeframe reads the file again.

`first` and `last` keep the order of the rows also in the streaming engine, so ties in time resolve as in the file, which is sorted.
Prices are doubles, as any user would have them; tickwire's are exact.
"""

import sys
import time

imported = time.perf_counter()
import polars as pl  # noqa: E402

imported = time.perf_counter() - imported

TIMEFRAMES = [("1s", 1), ("1m", 60), ("5m", 300), ("15m", 900), ("1h", 3_600), ("1d", 86_400)]
SCHEMA = {
    "symbol": pl.String,
    "timestamp_ms": pl.Int64,
    "price": pl.Float64,
    "size": pl.Int64,
    "exchange": pl.String,
    "conditions_hex": pl.String,
    "suspicious": pl.String,
}


def seconds_of(path):
    """The one-second bars, sorted. Reading and this first aggregation are one streaming pass over the file."""
    price, size = pl.col("price"), pl.col("size")
    return (
        pl.scan_csv(path, schema=SCHEMA)
        .select("symbol", "timestamp_ms", "price", "size")
        .group_by("symbol", start=pl.col("timestamp_ms") // 1_000)
        .agg(
            open=price.first(),
            high=price.max(),
            low=price.min(),
            close=price.last(),
            volume=size.sum(),
            notional=(price * size).sum(),
            trades=pl.len(),
        )
        .collect(engine="streaming")
        .sort("symbol", "start")
    )


def rolled_up(bars, seconds):
    """Coarser bars from finer ones sorted by (symbol, start); they come out in the same order."""
    return bars.group_by("symbol", start=pl.col("start") // seconds * seconds, maintain_order=True).agg(
        open=pl.col("open").first(),
        high=pl.col("high").max(),
        low=pl.col("low").min(),
        close=pl.col("close").last(),
        volume=pl.col("volume").sum(),
        notional=pl.col("notional").sum(),
        trades=pl.col("trades").sum(),
    )


def lines(bars, label, seconds):
    """The columns of a bar line."""
    return bars.select(
        "symbol",
        timeframe=pl.lit(label),
        start=pl.col("start") * 1_000_000,
        end=(pl.col("start") + seconds) * 1_000_000,
        open="open",
        high="high",
        low="low",
        close="close",
        volume="volume",
        vwap=pl.when(pl.col("volume") > 0).then(pl.col("notional") / pl.col("volume")),
        trades="trades",
    )


def main():
    args = [arg for arg in sys.argv[1:] if arg != "--times"]
    if len(args) != 2:
        sys.exit("usage: polars_bars.py TRADES.csv OUT.ndjson [--times]")
    source, out = args

    began = time.perf_counter()
    bars = seconds_of(source)
    read = time.perf_counter()
    parts = []
    for label, seconds in TIMEFRAMES:
        if seconds > 1:
            bars = rolled_up(bars, seconds)
        parts.append(lines(bars, label, seconds))
    # Finest first within a symbol already, so a stable sort by symbol alone is enough.
    table = pl.concat(parts).sort("symbol", maintain_order=True)
    computed = time.perf_counter()
    table.lazy().sink_ndjson(out)
    written = time.perf_counter()

    if "--times" in sys.argv:
        # `read` has the one-second bars in it: the two are one pass.
        times = {"import": imported, "read": read - began, "compute": computed - read, "write": written - computed}
        times |= {"in_process": written - began, "version": pl.__version__}
        import json

        print(json.dumps(times), file=sys.stderr)


if __name__ == "__main__":
    main()
