"""A browser's own WebSocket on the native path: a page in a headless Chromium subscribes and reports what it was sent."""

import json
import shutil
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from engine import Engine, require, wait_for
from market import MINUTE_MS, Market

ENGINE = {"form": "massive", "bars": 'timeframes = ["1s", "1m"]\nclock = "event"'}
BROWSERS = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"]
MINUTES = 3

CLIENT = """
const socket = new WebSocket("ws://127.0.0.1:%d/v1/stream");
socket.onopen = () => socket.send(JSON.stringify(
    {action: "subscribe", channel: "bars", symbols: ["AAPL"], timeframes: ["1m"], forming: false}));
socket.onmessage = ({data}) => report(data);
socket.onerror = () => report('{"type":"failed"}');
"""
PAGE = "<!doctype html><script>const report = (body) => fetch('/', {method: 'POST', body});%s</script>"
# Where no browser is to be had: the WebSocket that Node has of its own.
NODE = "const report = (line) => process.stdout.write(line + '\\n');%s"


class Pages:
    """Serves one page, and keeps what it posts."""

    def __init__(self, page):
        self.said = said = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer(page.encode(), "text/html")

            def do_POST(self):
                said.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.answer(b"", "text/plain")

            def answer(self, body, kind):
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def check(engine, said):
    def of(kind):
        # Posts of a page may overtake each other.
        return [message for message in list(said) if message["type"] == kind]

    wait_for(lambda: of("subscribed") or of("failed"), f"a subscription: {said}")
    require(not of("failed"), "the WebSocket failed")
    market = Market(engine.feed_port)
    market.run(["AAPL"], MINUTES)
    wanted = market.bars("AAPL", MINUTE_MS)
    bars = wait_for(lambda: len(of("bar")) == len(wanted) and of("bar"), f"{len(wanted)} bars")
    for bar in bars:
        data, right = bar["data"], wanted[bar["data"]["start"] // 1000]
        got = [data[name] for name in ("open", "high", "low", "close", "volume", "vwap")]
        require(got == [float(right[name]) for name in ("o", "h", "l", "c", "v", "vw")], f"{data} should be {right}")
    sequences = sorted(bar["sequence"] for bar in bars)
    require(sequences == list(range(1, len(wanted) + 1)), f"sequences {sequences}")
    market.close()
    return len(bars)


def a_browser_gets_every_bar(binary):
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    with Engine(binary, **ENGINE) as engine:
        if browser is None:
            return f"{without_a_browser(engine)} bars. NO BROWSER HERE: this was Node's WebSocket instead"
        pages = Pages(PAGE % (CLIENT % engine.port))
        with tempfile.TemporaryDirectory(prefix="tickwire-browser-", ignore_cleanup_errors=True) as profile:
            flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}"]
            child = subprocess.Popen(
                [browser, *flags, "--remote-debugging-port=0", pages.url],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                return f"{check(engine, pages.said)} bars"
            finally:
                child.terminate()
                child.wait()
                pages.close()


def without_a_browser(engine):
    child = subprocess.Popen(["node", "-e", NODE % (CLIENT % engine.port)], stdout=subprocess.PIPE, text=True)
    said = []

    def read():
        for line in child.stdout:
            said.append(json.loads(line))

    threading.Thread(target=read, daemon=True).start()
    try:
        return check(engine, said)
    finally:
        child.kill()
        child.wait()


PROMISES = [a_browser_gets_every_bar]
