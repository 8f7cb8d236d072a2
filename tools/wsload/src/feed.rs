//! The other side: trades at a fixed rate into an engine, as CSV over TCP or in WebSocket messages. Open-loop: each trade's own
//! time is when it was due, whether or not it could be sent then.

use std::io::{Error, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::num::NonZeroU64;
use std::time::Duration;

use serde::Serialize;

use super::connection::upgrade;
use super::now_ns;
use super::options::{Failure, FeedArguments, address, resolve};
use super::tally::histogram;

const HEADER: &str = "symbol,timestamp_us,price,size\n";
/// How long an engine may leave its socket unread.
const STALL_MAX: Duration = Duration::from_secs(10);
/// Trades written at once, where several are due: the rest of them follows.
const BATCH_MAX: u64 = 4096;
/// Longest answer to a handshake.
const ANSWER_BYTES_MAX: usize = 4096;
const SECOND_NS: f64 = 1e9;

#[derive(Serialize)]
struct Sent {
    trades: u64,
    per_s: f64,
    late_p50_us: u64,
    late_p99_us: u64,
    late_max_us: u64,
}

/// Sends until the duration is over.
///
/// # Errors
/// Where the engine cannot be reached, or ends, or reads nothing for ten seconds.
pub fn run(arguments: &FeedArguments) -> Result<(), Failure> {
    let rate = arguments.rate;
    if rate.is_nan() || !(0.001..=1e8).contains(&rate) {
        return Err(Failure::Usage(format!("--rate {rate}: it takes 0.001 to 100,000,000 trades a second")));
    }
    let burst = arguments.burst;
    if burst == 0 {
        return Err(Failure::Usage("--burst 0: it takes 1 or more".to_owned()));
    }
    if let Some(bad) = arguments.symbols.iter().find(|name| !is_plain(name)) {
        return Err(Failure::Usage(format!(
            "--symbol {bad:?}: it takes 1 to 32 letters, digits, '.', '-' or '_'"
        )));
    }
    let is_websocket = arguments.url.starts_with("ws:");
    let (host, path) = address(&arguments.url, if is_websocket { "ws" } else { "tcp" })?;
    let server = resolve(&host)?;
    let failed = |error: Error| Failure::Run(format!("{}: {error}", arguments.url));
    if let Some(id) = arguments.pin {
        core_affinity::set_for_current(core_affinity::CoreId { id });
    }
    // By default a sleep may be 50 µs late; where the system refuses less, the lateness told at the end shows it.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let mut socket = TcpStream::connect(server).map_err(failed)?;
    socket.set_nodelay(true).map_err(failed)?;
    socket.set_write_timeout(Some(STALL_MAX)).map_err(failed)?;
    if is_websocket {
        shake_hands(&mut socket, &host, &path).map_err(failed)?;
    }
    send(&mut socket, HEADER.as_bytes(), is_websocket).map_err(failed)?;

    let began = now_ns();
    let due = |trade: u64| began + ((trade - trade % burst) as f64 / rate * SECOND_NS) as i64;
    let total = (arguments.duration.as_secs_f64() * rate) as u64;
    let (mut next, mut lines, mut late) = (0, Vec::new(), histogram());
    while next < total {
        let now = now_ns();
        let wait = due(next) - now;
        if wait > 0 {
            std::thread::sleep(Duration::from_nanos(wait as u64));
            continue;
        }
        let first = next;
        lines.clear();
        while next < total && next < first + BATCH_MAX && due(next) <= now {
            let symbol = &arguments.symbols[(next % arguments.symbols.len() as u64) as usize];
            let (cents, size) = (next * 7 % 100, next % 99 + 1);
            // Vec takes whatever is written.
            let _ = writeln!(lines, "{symbol},{},100.{cents:02},{size}", due(next) / 1000);
            next += 1;
        }
        send(&mut socket, &lines, is_websocket).map_err(failed)?;
        let sent = now_ns();
        (first..next).for_each(|trade| late.saturating_record(((sent - due(trade)) / 1000).max(0) as u64));
    }
    let took = (now_ns() - began) as f64 / SECOND_NS;
    let sent = Sent {
        trades: next,
        per_s: next as f64 / took,
        late_p50_us: late.value_at_quantile(0.5),
        late_p99_us: late.value_at_quantile(0.99),
        late_max_us: late.max(),
    };
    let text = if arguments.json {
        serde_json::to_string(&sent).map_err(|error| Failure::Run(error.to_string()))?
    } else {
        format!(
            "{} trades, {:.0} a second; late by µs: p50 {}  p99 {}  max {}",
            sent.trades, sent.per_s, sent.late_p50_us, sent.late_p99_us, sent.late_max_us
        )
    };
    writeln!(std::io::stdout(), "{text}").map_err(|error| Failure::Run(format!("standard output: {error}")))
}

fn shake_hands(socket: &mut TcpStream, host: &str, path: &str) -> Result<(), Error> {
    socket.set_read_timeout(Some(STALL_MAX))?;
    socket.write_all(upgrade(host, path).as_bytes())?;
    let mut answer = Vec::new();
    // Byte by byte: what follows the answer is not ours to lose.
    while !answer.ends_with(b"\r\n\r\n") && answer.len() < ANSWER_BYTES_MAX {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        answer.extend(byte);
    }
    if answer.starts_with(b"HTTP/1.1 101 ") {
        return Ok(());
    }
    let line = String::from_utf8_lossy(answer.split(|&b| b == b'\r').next().unwrap_or_default()).into_owned();
    Err(Error::new(ErrorKind::InvalidData, format!("no WebSocket there: {line:?}")))
}

/// Sends lines as they are, or as one text message.
fn send(socket: &mut TcpStream, lines: &[u8], is_websocket: bool) -> Result<(), Error> {
    if !is_websocket {
        return socket.write_all(lines);
    }
    let mut frame = vec![0x81];
    match lines.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        length @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    // A mask of zeros is one as well, and changes nothing.
    frame.extend([0; 4]);
    frame.extend(lines);
    socket.write_all(&frame)
}

fn is_plain(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (1..=32).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;

    use super::*;

    fn arguments(url: String, rate: f64) -> FeedArguments {
        let symbols = vec!["A".to_owned(), "B".to_owned()];
        FeedArguments {
            url,
            rate,
            burst: 1,
            symbols,
            duration: Duration::from_millis(50),
            pin: None,
            json: true,
        }
    }

    fn sent(change: impl FnOnce(&mut FeedArguments)) -> Vec<String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut arguments = arguments(format!("tcp://{}", listener.local_addr().unwrap()), 2000.0);
        change(&mut arguments);
        let read = move || BufReader::new(listener.accept().unwrap().0).lines().map(Result::unwrap).collect();
        let reader = std::thread::spawn(read);
        run(&arguments).unwrap();
        reader.join().unwrap()
    }

    #[test]
    fn every_trade_is_sent_with_the_time_it_was_due() {
        let before = now_ns() / 1000;
        let lines = sent(|_| {});
        assert_eq!(lines.len(), 101);
        assert_eq!(lines[0], HEADER.trim_end());
        let mut last = before;
        for (number, line) in lines[1..].iter().enumerate() {
            let fields: Vec<_> = line.split(',').collect();
            assert_eq!(fields[0], ["A", "B"][number % 2]);
            let due: i64 = fields[1].parse().unwrap();
            assert!(number == 0 || (499..=501).contains(&(due - last)), "{last} then {due}");
            last = due;
        }
    }

    #[test]
    fn a_burst_is_due_at_once() {
        let lines = sent(|arguments| arguments.burst = 10);
        let due = |line: usize| lines[line].split(',').nth(1).unwrap().parse::<i64>().unwrap();
        assert_eq!(lines.len(), 101);
        assert!((1..=10).all(|line| due(line) == due(1)));
        assert!((4_999..=5_001).contains(&(due(11) - due(10))));
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        for rate in [0.0, -1.0, f64::NAN, 1e9] {
            assert!(
                run(&arguments("tcp://127.0.0.1:1".to_owned(), rate))
                    .is_err_and(|failure| failure.is_usage())
            );
        }
        let mut bad = arguments("tcp://127.0.0.1:1".to_owned(), 1.0);
        bad.symbols = vec!["a,b".to_owned()];
        assert!(run(&bad).is_err_and(|failure| failure.is_usage()));
    }
}
