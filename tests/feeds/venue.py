"""A venue in a process of its own: `feedsim` with its addresses, its orders, its log and its file of the truth."""

import csv
import json
import re
import socket
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "clients"))

from engine import PATIENCE_S, Failed, Process, Served, require, wait_for  # noqa: E402


class Venue(Process):
    """`feedsim FLAGS`, on free ports, with an order port, a log and the file of the truth in a folder of its own."""

    def __init__(self, feedsim, *flags, tls=False):
        self.folder = tempfile.TemporaryDirectory(prefix="tickwire-feeds-")
        self.work = Path(self.folder.name)
        self.truth_path, self.log_path = self.work / "truth.csv", self.work / "log.ndjson"
        secure = ("--listen-tls", "127.0.0.1:0", "--tls-dir", self.work) if tls else ()
        super().__init__(
            feedsim, *flags, *secure, "--control", "127.0.0.1:0", "--truth", self.truth_path, "--log", self.log_path
        )
        places = json.loads(self.await_text(r"\{[^\n]*\}\n", "out")[0])
        self.ws, self.http, self.ca = places["ws"], places["http"], places.get("ca")
        self.wss, self.https = places.get("wss"), places.get("https")
        host, _, port = places["control"].rpartition(":")
        self.orders = socket.create_connection((host, int(port)), PATIENCE_S).makefile("rw")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.orders.close()
        self.kill()
        self.folder.cleanup()

    def order(self, **order):
        self.orders.write(json.dumps(order) + "\n")
        self.orders.flush()
        answer = json.loads(self.orders.readline())
        require("error" not in answer, f"{order}: {answer}")
        return answer

    def fault(self, plan):
        """The connections it struck."""
        return self.order(do="fault", plan=plan)["connections"]

    def counts(self):
        return self.order(do="counts")

    def await_state(self, state, patience=PATIENCE_S):
        return wait_for(lambda: self.counts()["state"] == state, f"the venue is {state}", patience)

    def log(self):
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]

    def truth(self):
        """Every sale that was due, as far as it is written; `sent` tells for each connection what it got."""
        try:
            self.counts()
        except (OSError, ValueError):
            # No answer comes from a venue that has ended, and then everything is written.
            require(self.wait() == 0, f"feedsim failed: {self.err}")
        with open(self.truth_path, newline="") as file:
            lines = file.readlines()
        # While it is read more is written, and not by whole lines.
        rows = list(csv.DictReader(line for line in lines if line.endswith("\n")))
        for row in rows:
            row["timestamp_ms"] = int(row["timestamp_ms"])
            row["sent"] = dict(part.split("=") for part in row["sent"].split())
        return rows

    def report(self, patience=PATIENCE_S):
        """Waits for its end, and returns what it said last."""
        code = self.wait(patience)
        require(code == 0, f"feedsim ended with {code}: {self.err}")
        return json.loads(self.out.splitlines()[-1])


def port_of(url):
    return int(re.search(r":(\d+)", url.split("//")[1])[1])


__all__ = ["PATIENCE_S", "Failed", "Process", "Served", "Venue", "port_of", "require", "wait_for"]
