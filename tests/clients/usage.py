"""What is wrong on the command line or in the configuration is named, with what would be right, and the exit code says so."""

import socket
import subprocess
import tempfile
from pathlib import Path

from engine import require

FEED = '[[feed]]\nsource = "tcp"\nformat = "csv"\nlisten = "127.0.0.1:0"\n'
# (a configuration, the exit code of check, words its message must have)
CONFIGS = [
    ("[gateway]\nlisten = \"127.0.0.1:0\"\n" + FEED, 0, ["well-formed"]),
    ("[gateway]\nlisten = \"127.0.0.1:0\"\nconections_max = 5\n", 2, ["line 3", "conections_max", "connections_max"]),
    ("[gatway]\nlisten = \"127.0.0.1:0\"\n", 2, ["line 1", "gatway", "gateway"]),
    ("[gateway]\nconnections_max = \"many\"\n", 2, ["line 2", "connections_max", "many"]),
    ("[gateway]\nconnections_max = 0\n", 2, ["gateway.connections_max", "0", "1"]),
    ("[gateway]\nlisten = \"here\"\n", 2, ["line 2", "listen", "here"]),
    ("[bars]\ntimeframes = [\"1s\", \"7x\"]\n", 2, ["bars.timeframes", "7x"]),
    ("[bars]\ntimeframes = [\"2s\", \"3s\"]\n", 2, ["bars.timeframes", "3s"]),
    ("[bars]\ntimeframes = []\n", 2, ["bars.timeframes"]),
    ("[bars]\ntrades_per_symbol_max = 0\n", 2, ["bars.trades_per_symbol_max", "0", "1"]),
    ("[bars]\nclock = \"sundial\"\n", 2, ["bars.clock", "sundial", "live", "event"]),
    ("[bars]\nfrom = \"last\"\n", 2, ["bars.from", "last", "trades", "mid"]),
    ("[cores]\nplacement = \"nowhere\"\n", 2, ["line 2", "nowhere", "dedicated"]),
    ("[cores]\ngateways = 0\n", 2, ["cores.gateways", "0", "64"]),
    ("[gateway]\nconnections_per_ip_max = 0\n", 2, ["gateway.connections_per_ip_max", "0", "1"]),
    ("[gateway]\nrequest_bytes_per_s_max = 65536\n", 2, ["gateway.request_bytes_per_s_max", "65536", "525312"]),
    ("[gateway]\nmessage_bytes_max = 16777216\n", 0, ["well-formed"]),
    ("[gateway]\ndrain_s = 3601\n", 2, ["gateway.drain_s", "3601", "hour"]),
    ("[cores]\ngateways = 2\nplacement = \"single\"\n", 0, ["2 gateways share a core", "dealer -> gateway-1", "shard-0 -> gateway-1"]),
    ("[rings]\nevents_depth = 1\n", 2, ["rings.events_depth", "1", "128"]),
    ("[[feed]]\nsource = \"tcp\"\nformat = \"csv\"\n", 2, ["feed[0].listen", "127.0.0.1"]),
    ("[[feed]]\nsource = \"pigeon\"\nformat = \"csv\"\n", 2, ["feed[0].source", "pigeon", "tcp"]),
    ("[[feed]]\nsource = \"stdin\"\nformat = \"morse\"\n", 2, ["feed[0].format", "morse", "massive"]),
    ("[[feed]]\nsource = \"files\"\nformat = \"csv\"\n", 2, ["feed[0].files"]),
    ("[[feed]]\nsource = \"stdin\"\n", 2, ["line 1", "format"]),
    ("this is no toml\n", 2, ["line 1"]),
]
# (arguments, words its message must have)
COMMANDS = [
    ([], ["serve", "demo", "bars", "check"]),
    (["sevre"], ["sevre", "serve"]),
    (["serve"], ["--config"]),
    (["serve", "--config", "no-such-file.toml"], ["no-such-file.toml", "No such file"]),
    (["check", "--config", "no-such-file.toml"], ["no-such-file.toml", "No such file"]),
    (["serve", "--config", "x.toml", "--gateways", "0"], ["--gateways", "0", "1"]),
    (["demo", "--listen", "here"], ["--listen", "here"]),
    (["bars", "x.csv"], ["--format"]),
    (["bars", "x.csv", "--format", "morse"], ["morse", "csv", "massive", "binance"]),
    (["bars", "x.csv", "--format", "csv", "--timeframes", "7x"], ["--timeframes", "7x"]),
    (["bars", "x.csv", "--format", "csv", "--bars-from", "last"], ["--bars-from", "last", "mid"]),
    (["bars", "x.csv", "--format", "csv", "--shards", "0"], ["--shards", "0", "1"]),
    (["bars", "--format", "csv"], ["FILE"]),
]


def run(*command):
    """Exit code, and all that was said."""
    command = [str(part) for part in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20)
    return done.returncode, done.stdout


def says(command, code, words, got):
    got_code, text = got
    require(got_code == code, f"{command}: exit code {got_code}, not {code}: {text}")
    missing = [word for word in words if word not in text]
    require(not missing, f"{command}: no word of {missing} in: {text}")


def a_bad_configuration_is_refused_with_its_line_its_key_and_what_would_be_right(binary):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "engine.toml"
        for text, code, words in CONFIGS:
            path.write_text(text)
            says(text, code, words, run(binary, "check", "--config", path))
            if code:
                says(text, code, words, run(binary, "serve", "--config", path))
    return f"{len(CONFIGS)} configurations"


def a_bad_command_line_is_refused_with_what_would_be_right(binary):
    for arguments, words in COMMANDS:
        says(arguments, 2, words, run(binary, *arguments))
    return f"{len(COMMANDS)} command lines"


def a_file_that_cannot_be_read_fails_and_is_named(binary):
    says("bars", 1, ["no-such-file.csv"], run(binary, "bars", "no-such-file.csv", "--format", "csv"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ticks.csv"
        path.write_text("symbol,price,size\nA,1,1\n")
        says("bars", 1, ["ticks.csv", "timestamp"], run(binary, "bars", path, "--format", "csv"))


def a_port_in_use_fails_and_says_so(binary):
    with socket.socket() as taken, tempfile.TemporaryDirectory() as folder:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        path = Path(folder) / "engine.toml"
        path.write_text(f'[gateway]\nlisten = "{address}"\n{FEED}')
        words = [address, "in use", "--listen"]
        says("serve", 1, words, run(binary, "serve", "--config", path))
        says("demo", 1, words, run(binary, "demo", "--listen", address))
        path.write_text(f'[gateway]\nlisten = "127.0.0.1:0"\n{FEED}'.replace('csv"\nlisten = "127.0.0.1:0', f'csv"\nlisten = "{address}'))
        says("serve", 1, [address, "in use"], run(binary, "serve", "--config", path))


def help_names_every_command_and_flag(binary):
    says("--help", 0, ["demo", "serve", "check", "bars"], run(binary, "--help"))
    flags = {"serve": ["--config", "--listen", "--placement", "--shards", "--gateways"], "demo": ["--listen"], "check": ["--config"]}
    flags["bars"] = ["--format", "--timeframes", "--out", "--bars-from", "--late-tolerance", "--shards", "--symbols-max"]
    for command, words in flags.items():
        says(command, 0, words, run(binary, command, "--help"))


PROMISES = [
    a_bad_configuration_is_refused_with_its_line_its_key_and_what_would_be_right,
    a_bad_command_line_is_refused_with_what_would_be_right,
    a_file_that_cannot_be_read_fails_and_is_named,
    a_port_in_use_fails_and_says_so,
    help_names_every_command_and_flag,
]
