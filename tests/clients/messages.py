"""Bad messages: each is answered with its id, a code and a helpful word, and the connection stays; only a broken frame ends it."""

import json

from engine import Engine, require
from raw import BINARY, TEXT, Raw, frame, request

SUBSCRIBE = {"action": "subscribe", "channel": "bars", "symbols": ["A"], "timeframes": ["1s"]}


def but(**changes):
    """The right request with some fields changed, or left out where the change is `...`."""
    fields = {**SUBSCRIBE, **changes}
    return {name: value for name, value in fields.items() if value is not ...}


# (message, code, words of the answer)
BAD = [
    (but(channel="bras"), "unknown_channel", ["bras", "did you mean", "bars"]),
    (but(channel="weather"), "unknown_channel", ["weather", "bars", "trades", "quotes"]),
    (but(channel=3), "wrong_type", ["channel", "number"]),
    (but(channel=...), "missing_field", ["channel", "bars"]),
    (but(action="subscibe"), "unknown_action", ["subscibe", "did you mean", "subscribe"]),
    (but(action=...), "missing_field", ["action", "subscribe"]),
    (but(action=None), "wrong_type", ["action", "null"]),
    (but(action=[]), "wrong_type", ["action", "list"]),
    (but(symbols=...), "missing_field", ["symbols"]),
    (but(symbols="A"), "wrong_type", ["symbols", "list"]),
    (but(symbols=[]), "missing_field", ["symbols", "empty"]),
    (but(symbols=[1]), "wrong_type", ["symbol", "number"]),
    (but(symbols=[None]), "wrong_type", ["symbol", "null"]),
    (but(symbols=["*", "A"]), "bad_symbol", ["alone"]),
    (but(symbols=[""]), "bad_symbol", ["32"]),
    (but(symbols=["x" * 33]), "bad_symbol", ["32"]),
    (but(symbols=["a b"]), "bad_symbol", ["a b"]),
    (but(symbols=["\u0000"]), "bad_symbol", []),
    (but(symbols=["\ud83d\ude00"]), "bad_symbol", []),
    (but(timeframes=...), "missing_field", ["timeframes", "1s"]),
    (but(timeframes="1s"), "wrong_type", ["timeframes", "list"]),
    (but(timeframes=[]), "missing_field", ["timeframes", "1s"]),
    (but(timeframes=[60]), "wrong_type", ["timeframe", "1m"]),
    (but(timeframes=["2m"]), "unknown_timeframe", ["2m", "1s"]),
    (but(forming="yes"), "wrong_type", ["forming", "true"]),
    (but(since=17), "wrong_type", ["since", "epoch"]),
    (but(since={}), "missing_field", ["epoch"]),
    (but(since={"epoch": "e"}), "missing_field", ["sequences"]),
    (but(since={"epoch": "e", "sequences": {"A/1s": -1}}), "wrong_type", ["A/1s", "whole number"]),
    (but(since={"epoch": "e", "sequences": {"A/1s": 1.5}}), "wrong_type", ["A/1s", "whole number"]),
    (but(since={"epoch": "e", "sequences": {"A": 1}}), "bad_symbol", ["timeframe"]),
    (but(since={"epoch": "e", "sequences": {"A/2m": 1}}), "unknown_timeframe", ["2m", "1s"]),
    (but(symbols=["*"], since={"epoch": "e", "sequences": {}}), "not_supported", ["since", "name"]),
    (but(action="unsubscribe"), "not_subscribed", ["A", "list"]),
    (but(action="snapshot", symbols=["NEVER"]), "unknown_symbol", ["NEVER", "subscribe"]),
    (but(symbols=[f"N{n}" for n in range(5_000)]), "too_many_subscriptions", ["5000", "4096"]),
]
# Not JSON objects: there is no id to give back.
NOT_REQUESTS = [
    (b"", "malformed_json"),
    (b"{", "malformed_json"),
    (b"hello", "malformed_json"),
    (b'{"action":"ping"', "malformed_json"),
    (b'{"action":"ping"}}', "malformed_json"),
    (b'{"action":NaN}', "malformed_json"),
    (b'{"action":"\\ud800"}', "malformed_json"),
    (b"[]", "wrong_type"),
    (b"17", "wrong_type"),
    (b'"ping"', "wrong_type"),
    (b"null", "wrong_type"),
    (b"[" * 10_000, "malformed_json"),
    (b'{"a":' * 10_000, "malformed_json"),
    (b"[" * 10_000 + b"]" * 10_000, "malformed_json"),
    (b'{"id":{},"action":"ping"}', "wrong_type"),
    (json.dumps({"id": "x" * 200, "action": "ping"}).encode(), "bad_id"),
]


def still_there(raw, what):
    raw.ask(action="ping", id=what)
    pong = raw.answer("pong")
    require(pong.get("id") == what, f"another answer than the ping's: {pong}")


def each_bad_request_is_answered_with_its_id_and_the_connection_stays(binary):
    with Engine(binary, gateway="subscriptions_max = 4096") as engine:
        raw = Raw.open(engine.port)
        for number, (fields, code, words) in enumerate(BAD):
            name = number if number % 2 else f"request {number}"
            raw.ask(id=name, **fields)
            answer = raw.message()
            require(answer["type"] == "error", f"{fields}: {answer}")
            require((answer["code"], answer.get("id")) == (code, name), f"{code} of {name} expected: {answer}")
            missing = [word for word in words if word not in answer["message"]]
            require(not missing, f"no word of {missing}: {answer}")
            still_there(raw, f"after {number}")
        # And it is still good for what it is there for.
        raw.ask(id="good", **SUBSCRIBE)
        require(raw.answer("subscribed")["id"] == "good", "no subscription after all that")
        engine.stop()
    return f"{len(BAD)} requests"


def what_is_no_request_at_all_is_answered_and_the_connection_stays(binary):
    with Engine(binary) as engine:
        raw = Raw.open(engine.port)
        for text, code in NOT_REQUESTS:
            raw.send(frame(TEXT, text))
            answer = raw.message()
            got = answer["type"], answer.get("code"), "id" in answer
            require(got == ("error", code, False), f"{text[:60]!r}: {code} expected: {answer}")
            require(len(answer["message"]) > 15, f"no help: {answer}")
            still_there(raw, "so far")
        raw.send(frame(BINARY, b"\x00\x01"))
        answer = raw.message()
        require(answer["type"] == "error" and len(answer["message"]) > 15, f"a binary message: {answer}")
        still_there(raw, "after binary")
        engine.stop()
    return f"{len(NOT_REQUESTS) + 1} messages"


def a_message_of_1_mib_closes_with_1009_and_bad_utf8_with_1007(binary):
    with Engine(binary, gateway="message_bytes_max = 65536") as engine:
        bystander = Raw.open(engine.port)
        whole = frame(TEXT, b'{"action":"ping","pad":"' + b"x" * (1 << 20) + b'"}')
        in_parts = frame(TEXT, b"x" * 300_000, fin=False) + frame(0, b"x" * 300_000)
        bad_text = [b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b'{"action":"\xc3', b"\xc0\x80"]
        cases = [(whole, 1009), (in_parts, 1009)] + [(frame(TEXT, text), 1007) for text in bad_text]
        # A character split over two fragments is none the worse; half of one at the end is.
        cases.append((frame(TEXT, b"\xc3", fin=False) + frame(0, b""), 1007))
        for data, code in cases:
            raw = Raw.open(engine.port)
            raw.send_while_open(data)
            got = raw.close_code()
            require(got == code, f"{data[:20]!r}: close code {got}, not {code}")
        raw = Raw.open(engine.port)
        raw.send(frame(TEXT, b'{"action":"ping","id":"\xc3', fin=False) + frame(0, b'\xa9"}'))
        require(raw.answer("pong")["id"] == "\u00e9", "a character split over two fragments")
        still_there(bystander, "untouched")
        engine.stop()
    return f"{len(cases)} cases"


def a_path_that_does_not_exist_is_answered_404(binary):
    with Engine(binary, source="websocket") as engine:
        for port, path in ((engine.port, "/"), (engine.port, "/v1/streams"), (engine.port, "/ingest"), (engine.feed_port, "/")):
            raw = Raw(engine.port if port == engine.port else port)
            raw.send(request(path))
            head = raw.head()
            require(head.startswith(b"HTTP/1.1 404 "), f"{path}: {head}")
            require(raw.ended(), f"{path}: the socket stays open after its 404")
        raw = Raw(engine.port)
        raw.send(request("/v1/stream?x=1"))
        require(raw.head().startswith(b"HTTP/1.1 101 "), "a query is no part of the path")
        engine.stop()


def more_requests_a_second_than_allowed_close_with_1008(binary):
    with Engine(binary) as engine:
        bystander = Raw.open(engine.port)
        raw = Raw.open(engine.port)
        raw.send_while_open(frame(TEXT, b'{"action":"ping"}') * 5_000)
        code = raw.close_code()
        require(code == 1008, f"close code {code}")
        still_there(bystander, "untouched")
        engine.stop()


PROMISES = [
    each_bad_request_is_answered_with_its_id_and_the_connection_stays,
    what_is_no_request_at_all_is_answered_and_the_connection_stays,
    a_message_of_1_mib_closes_with_1009_and_bad_utf8_with_1007,
    a_path_that_does_not_exist_is_answered_404,
    more_requests_a_second_than_allowed_close_with_1008,
]
