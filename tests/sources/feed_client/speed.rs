//! How fast one ingest core takes trades over a plain connection, beside a reader that is tungstenite and serde_json. Run by hand:
//! `cargo test --profile ci --test sources feed_client::speed -- --ignored --nocapture`.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tickwire::feed::{Origin, PoolOptions, SourceOptions, find, session};
use tickwire::ingest::Outside;
use tickwire::model::Symbol;
use tungstenite::{Message, WebSocket};

use super::harness::{Rig, Script, Venue, endpoint};

/// Trades of one run.
const TRADES: usize = 2_000_000;

/// One message of `size` trades.
fn message(size: usize) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let one = |n: usize| {
        format!(
            r#"{{"ev":"T","sym":"AAPL","x":4,"i":"{n}","z":3,"p":227.{:02},"s":{},"c":[12,37],"t":{now},"q":{n}}}"#,
            n % 100,
            n % 400 + 1
        )
    };
    format!("[{}]", (0..size).map(one).collect::<Vec<_>>().join(","))
}

fn say(socket: &mut WebSocket<TcpStream>, status: &str) {
    let text = format!(r#"[{{"ev":"status","status":"{status}","message":"{status}"}}]"#);
    socket.send(Message::text(text)).unwrap();
}

/// Sends `TRADES` in messages of `size`, as fast as they are taken.
fn blast(size: usize, greets: bool) -> Script<()> {
    Box::new(move |stream| {
        let mut socket = tungstenite::accept(stream).unwrap();
        if greets {
            say(&mut socket, "connected");
            socket.read().unwrap();
            say(&mut socket, "auth_success");
            socket.read().unwrap();
        }
        let text = tungstenite::Utf8Bytes::from(message(size));
        for _ in 0..TRADES / size {
            socket.write(Message::Text(text.clone())).unwrap();
        }
        socket.flush().unwrap();
        let _ = socket.read();
    })
}

#[derive(Deserialize)]
struct Trade {
    sym: String,
    p: f64,
    s: f64,
    t: i64,
}

fn plain(size: usize) -> Duration {
    let venue = Venue::new(vec![blast(size, false)]);
    let (mut socket, _) = tungstenite::connect(format!("ws://{}/", venue.addr)).unwrap();
    let (mut got, mut sum) = (0, 0.0);
    let begin = Instant::now();
    while got < TRADES {
        let Message::Text(text) = socket.read().unwrap() else { continue };
        let trades: Vec<Trade> = serde_json::from_str(&text).unwrap();
        got += trades.len();
        sum += trades.iter().map(|t| t.p * t.s + (t.t % 7) as f64 + t.sym.len() as f64).sum::<f64>();
    }
    let spent = begin.elapsed();
    std::hint::black_box(sum);
    spent
}

fn ours(size: usize) -> Duration {
    let venue = Venue::new(vec![blast(size, true)]);
    let (dialect, session) = (find("massive").unwrap(), session::find("massive").unwrap());
    let symbols = vec![Symbol::new(b"AAPL").unwrap()];
    let pool = PoolOptions::new("v", dialect, session, endpoint(venue.addr), symbols);
    let source = SourceOptions::new("v", Origin::Connect(Box::new(pool)), dialect);
    let mut rig = Rig::joined(vec![source], 65_536, |_| Outside::default());
    let mut got = 0;
    let mut begin = Instant::now();
    while got < TRADES {
        rig.core.turn();
        if got == 0 {
            begin = Instant::now();
        }
        got += rig.shard.drain(usize::MAX, |_| {});
        assert!(begin.elapsed() < Duration::from_secs(120), "{got} of {TRADES}");
    }
    begin.elapsed()
}

#[test]
#[ignore = "a measurement, not a check: it needs a release build"]
fn speed_beside_a_plain_reader() {
    for size in [1, 50] {
        for round in 1..=3 {
            let rate = |spent: Duration| TRADES as f64 / spent.as_secs_f64();
            let (ours, plain) = (rate(ours(size)), rate(plain(size)));
            println!(
                "{size:>2} a message, round {round}: {ours:>9.0} trades/s; tungstenite and serde_json {plain:>9.0}; {:.2} times",
                ours / plain
            );
        }
    }
}
