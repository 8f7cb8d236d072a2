#!/usr/bin/env bash
# Fan-out beside its peers: builds the engine, the load client and the peers, then runs run.py.
#
#   perf/fanout/run.sh                      every scenario, three rounds: a look, some ten minutes
#   perf/fanout/run.sh --pairs 9            figures to quote, on a quiet machine
#   perf/fanout/run.sh --scenarios 1000x100 --servers tickwire uws-relay
#   perf/fanout/run.sh --most --callgrind   also the highest rate each holds, and instructions a frame
#
# Loopback only. The peer uWebSockets is PyPI's `socketify`, which needs libuv (Debian: libuv1).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

venv=$root/perf/.venv
if [[ ! -x $venv/bin/python ]]; then
  python3 -m venv "$venv"
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$root/perf/peers/requirements.txt"
if ! "$venv/bin/python" -c 'import socketify' 2>/dev/null; then
  echo "run.sh: the peer socketify does not start: it needs libuv (apt-get install libuv1), or leave it out with --servers" >&2
fi

# Each package has a lock file and a target of its own.
target=${CARGO_TARGET_DIR:-$root/target}
(cd "$root" && CARGO_TARGET_DIR=$target cargo build --locked --release --bin tickwire)
(cd "$root/tools/wsload" && CARGO_TARGET_DIR=$target/wsload cargo build --locked --release)
(cd "$root/perf/peers/rust" && CARGO_TARGET_DIR=$target/peers cargo build --locked --release)

exec "$venv/bin/python" "$here/run.py" --tickwire "$target/release/tickwire" --wsload "$target/wsload/release/wsload" \
  --peers "$target/peers/release" "$@"
