"""The candle protocol with PyPI's `websocket-client`, the dashboard protocol with npm's `ws`."""

import json
import subprocess
import threading
import time
from decimal import Decimal
from pathlib import Path

import websocket

from engine import PATIENCE_S, Engine, require, wait_for
from market import BEGIN_MS, MINUTE_MS, Market

ENGINE = {"form": "massive", "bars": 'timeframes = ["1s", "1m", "5m", "1d"]\nclock = "event"'}
SYMBOL = "NIFTY"
MINUTES = 6


class Candles:
    """A client of `/ws`."""

    def __init__(self, engine):
        self.socket = websocket.create_connection(f"ws://127.0.0.1:{engine.port}/ws", timeout=PATIENCE_S)

    def ask(self, kind, **data):
        self.socket.send(json.dumps({"type": kind, "data": data}))

    def next(self):
        return json.loads(self.socket.recv(), parse_float=Decimal)

    def until(self, kind):
        while True:
            message = self.next()
            if message["type"] == kind:
                return message
            require(message["type"] == "candle", f"unexpected: {message}")


def the_candles_are_those_of_the_trades_forming_and_complete(binary):
    with Engine(binary, **ENGINE) as engine:
        market, client = Market(engine.feed_port), Candles(engine)
        client.ask("subscription", action="subscribe", symbols=[SYMBOL], timeframes=["1m", "5m"], indicators=["rsi"])
        require("rsi" in client.until("error")["message"], "indicators are not computed yet, and that is not said")
        # The rest may be read so fast that no candle of it is seen forming.
        market.trade(SYMBOL, BEGIN_MS)
        require(not client.until("candle")["data"]["is_complete"], "the first trade's candle forms")
        market.run([SYMBOL], MINUTES)
        lengths = {"1m": MINUTE_MS, "5m": 5 * MINUTE_MS}
        wanted = {label: market.bars(SYMBOL, length) for label, length in lengths.items()}
        complete, forming = {"1m": {}, "5m": {}}, 1
        while any(len(complete[label]) < len(wanted[label]) for label in wanted):
            candle = client.until("candle")["data"]
            label, start = candle["timeframe"], candle["timestamp"] // 1000
            require(candle["timestamp"] % 1000 == 0, f"times are in µs: {candle}")
            if not candle["is_complete"]:
                require(start not in complete[label], f"it forms after it was complete: {candle}")
                forming += 1
                continue
            bar = wanted[label][start]
            values = {name: bar[short] for name, short in zip(("open", "high", "low", "close", "volume", "vwap"), ("o", "h", "l", "c", "v", "vw"))}
            got = {name: candle[name] for name in values}
            require(got == values, f"{candle} should be {values}")
            complete[label][start] = candle
        # The minute of the last trade is open still.
        client.ask("current_candle", symbol=SYMBOL, timeframe="1m")
        current = client.until("current_candle")["data"]
        last = market.trades[SYMBOL][-1]
        require(current["close"] == last["price"] and not current["is_complete"], f"the current candle is {current}")
        client.ask("current_candle", symbol="NOBODY", timeframe="1m")
        require("NOBODY" in client.until("error")["message"], "a symbol nobody has heard of")
        client.ask("stats")
        require(client.until("stats")["data"]["connections"] == 1, "one connection")
        client.ask("subscription", action="unsubscribe", symbols=[SYMBOL])
        client.ask("stats")
        client.until("stats")
        market.trade(SYMBOL, BEGIN_MS + 30 * MINUTE_MS)
        market.trade("OTHER", BEGIN_MS)
        client.ask("subscription", action="subscribe", symbols=["OTHER"], timeframes=["1m"])
        require(client.until("candle")["data"]["symbol"] == "OTHER", "nothing more of what was left")
        client.socket.close()
    return f"{forming} forming, {sum(map(len, complete.values()))} complete"


class Dashboard:
    """A client of `/api/ws` in a Node of its own."""

    def __init__(self, engine):
        script = str(Path(__file__).with_name("legend.mjs"))
        command = ["node", script, f"ws://127.0.0.1:{engine.port}/api/ws"]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.messages = []
        self.reading = threading.Thread(target=self.read, daemon=True)
        self.reading.start()

    def read(self):
        for line in self.child.stdout:
            self.messages.append((time.monotonic(), json.loads(line, parse_float=Decimal)))

    def send(self, **fields):
        self.child.stdin.write(json.dumps(fields) + "\n")
        self.child.stdin.flush()

    def await_message(self, kind, condition=lambda message: True):
        def look():
            return next((m for _, m in list(self.messages) if m["type"] == kind and condition(m)), None)

        return wait_for(look, f"a {kind} among {[m for _, m in self.messages][-5:]}")

    def close(self):
        self.child.kill()
        self.child.wait()
        self.reading.join(PATIENCE_S)


def a_dashboard_gets_the_last_100_and_then_at_most_ten_prices_a_second(binary):
    with Engine(binary, **ENGINE) as engine:
        market = Market(engine.feed_port)
        for n in range(150):
            market.trade("AAPL", BEGIN_MS + n * 10)
            market.trade("TSLA", BEGIN_MS + n * 10)
        client = Dashboard(engine)
        try:
            client.await_message("connection", lambda m: m["status"] == "connected" and m["connection_id"])
            client.send(type="ping")
            client.await_message("pong")
            for channel in ("patterns", "alerts", "market_status"):
                client.send(type="subscribe", channel=channel)
                client.await_message("subscription", lambda m: m.get("channel") == channel)
            client.await_message("market_status")
            client.send(type="invalid")
            client.await_message("error", lambda m: m["message"].startswith("Unknown message type: invalid"))
            # The feed is read when a quote sent after the trades has been.
            last = market.trades["TSLA"][-1]["price"]

            def all_read():
                client.send(type="unsubscribe", channel="ticker", ticker="TSLA")
                client.messages.clear()
                client.send(type="subscribe", channel="ticker", ticker="TSLA")
                told = client.await_message("history", lambda m: m["ticker"] == "TSLA")["messages"]
                return len(told) == 100 and told[-1]["price"] == last

            wait_for(all_read, "a history of the last 100 trades")
            client.send(type="subscribe", channel="ticker", ticker="AAPL")
            history = client.await_message("history", lambda m: m["ticker"] == "AAPL")
            prices = [message["price"] for message in history["messages"]]
            require(prices == [t["price"] for t in market.trades["AAPL"][-100:]], f"a history of {prices}")
            began = time.monotonic()
            for n in range(400):
                for symbol in ("AAPL", "TSLA"):
                    market.trade(symbol, BEGIN_MS + MINUTE_MS + n)
                # The pace is the load itself.
                time.sleep(0.005)
            for symbol in ("AAPL", "TSLA"):
                trades = [trade for trade in market.trades[symbol]]
                prices = [trade["price"] for trade in trades]
                newest = client.await_message(
                    "price_update", lambda m: m["ticker"] == symbol and m["volume"] == sum(t["size"] for t in trades)
                )
                got = {name: newest[name] for name in ("price", "open", "high", "low", "change", "change_percent")}
                wanted = {"price": prices[-1], "open": prices[0], "high": max(prices), "low": min(prices), "change": None, "change_percent": None}
                require(got == wanted, f"{got} should be {wanted}")
            times = [at for at, message in client.messages if message["type"] == "price_update" and at >= began]
            span = max(times) - began
            require(5 <= len(times) <= 10 * span + 2, f"{len(times)} prices in {span:.1f} s")
        finally:
            client.close()
    return f"{len(times)} prices in {span:.1f} s of {sum(map(len, market.trades.values()))} trades"


PROMISES = [
    the_candles_are_those_of_the_trades_forming_and_complete,
    a_dashboard_gets_the_last_100_and_then_at_most_ten_prices_a_second,
]
