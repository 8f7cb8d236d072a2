#!/usr/bin/env bash
# Ingest beside a plain reader: builds the engine and the peers, then runs run.py.
#
#   perf/ingest/run.sh                  three rounds: a look
#   perf/ingest/run.sh --rounds 9       figures to quote, on a quiet machine
#
# Loopback only.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

# Each package has a lock file and a target of its own.
target=${CARGO_TARGET_DIR:-$root/target}
(cd "$root" && CARGO_TARGET_DIR=$target cargo build --locked --release --bin tickwire)
(cd "$root/perf/peers/rust" && CARGO_TARGET_DIR=$target/peers cargo build --locked --release)

exec python3 "$here/run.py" --tickwire "$target/release/tickwire" --peers "$target/peers/release" "$@"
