#!/usr/bin/env bash
# Whole-file speed: `tickwire bars` beside polars and DuckDB on the same trades, nine rounds in turn (see run.py).
#
#   perf/bars/run.sh TRADES.csv[.gz] [further arguments of run.py, such as --rounds 3 or --peers-only]
#
# Without an argument the path is taken from TICKWIRE_BARS_CSV.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

file=${TICKWIRE_BARS_CSV:-}
if [[ $# -gt 0 && $1 != --* ]]; then
  file=$1
  shift
fi
if [[ -z $file ]]; then
  cat >&2 <<'TEXT'
run.sh: no file of trades given.
  perf/bars/run.sh TRADES.csv[.gz]        or set TICKWIRE_BARS_CSV
It needs the columns symbol,timestamp_ms,price,size,exchange,conditions_hex,suspicious, in order of time.
A small one is tests/data/equities-trades.csv.gz; figures to quote come from a file of a million rows or more.
TEXT
  exit 2
fi
if [[ ! -r $file ]]; then
  echo "run.sh: cannot read $file" >&2
  exit 2
fi

venv=$root/perf/.venv
if [[ ! -x $venv/bin/python ]]; then
  python3 -m venv "$venv"
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"

peers_only=false
for arg in "$@"; do
  [[ $arg == --peers-only ]] && peers_only=true
done
program=()
if ! $peers_only; then
  (cd "$root" && cargo build --release --bin tickwire)
  program=(--tickwire "${CARGO_TARGET_DIR:-$root/target}/release/tickwire")
fi

# Unpacking is nobody's work here: it is done once and its time told apart.
inflate=()
if [[ $file == *.gz ]]; then
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  plain=$scratch/$(basename "${file%.gz}")
  began=$EPOCHREALTIME
  gzip -dc "$file" >"$plain"
  ended=$EPOCHREALTIME
  # Microseconds since 1970, whatever the locale's decimal sign.
  us=$((${ended//[!0-9]/} - ${began//[!0-9]/}))
  inflate=(--inflate-seconds "$(printf '%d.%06d' $((us / 1000000)) $((us % 1000000)))")
  echo "unpacked in ${inflate[1]} s" >&2
  file=$plain
fi

"$venv/bin/python" "$here/run.py" "$file" "${program[@]}" "${inflate[@]}" "$@"
