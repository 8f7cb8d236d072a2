//! What the peers have in common: when each message is due, and its text, byte for byte as long as tickwire's trade.

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The answer to a subscription, which the load client waits for.
pub const SUBSCRIBED: &str = r#"{"type":"subscribed","channel":"trades","symbols":["LOAD"]}"#;
/// Messages published at one go where many are due: so many that a server which is behind may gather, and not for ever.
pub const GO_MAX: usize = 256;

/// `PORT RATE CONNECTIONS SECONDS [MODE]`.
pub struct Arguments {
    /// Where to listen, on 127.0.0.1.
    pub port: u16,
    /// Messages a second to every connection.
    pub rate: f64,
    /// Publishing begins when so many have subscribed.
    pub connections: usize,
    /// It ends by itself after so long.
    pub life: Duration,
    /// Which of its ways to work.
    pub mode: String,
}

impl Arguments {
    /// From the command line.
    ///
    /// # Errors
    /// What would be right.
    pub fn read() -> Result<Self, String> {
        let all: Vec<String> = std::env::args().skip(1).collect();
        fn number<T: FromStr>(all: &[String], at: usize) -> Result<T, String> {
            let found = all.get(at).and_then(|text| text.parse().ok());
            found.ok_or_else(|| "it takes PORT RATE CONNECTIONS SECONDS [MODE]".to_owned())
        }
        Ok(Self {
            port: number(&all, 0)?,
            rate: number::<f64>(&all, 1)?.clamp(0.001, 1e7),
            connections: number(&all, 2)?,
            life: Duration::from_secs(number(&all, 3)?),
            mode: all.get(4).cloned().unwrap_or_default(),
        })
    }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Messages at a fixed rate: each has its due time, however late it is made.
pub struct Schedule {
    began_us: u64,
    rate: f64,
    next: u64,
}

impl Schedule {
    /// From now on.
    pub fn new(rate: f64) -> Self {
        Self { began_us: now_us(), rate, next: 0 }
    }

    fn due_us(&self) -> u64 {
        self.began_us + (self.next as f64 / self.rate * 1e6) as u64
    }

    /// How long until the next message is due.
    pub fn wait(&self) -> Duration {
        Duration::from_micros(self.due_us().saturating_sub(now_us()))
    }

    /// Replaces `text` by the next message, if it is due.
    pub fn take(&mut self, text: &mut String) -> bool {
        let (due, now) = (self.due_us(), now_us());
        if now < due {
            return false;
        }
        text.clear();
        self.next += 1;
        // String takes whatever is written.
        let _ = write!(
            text,
            r#"{{"type":"trade","channel":"trades","sequence":{},"timestamp":"2026-02-07T14:30:00.123Z","ts_event":{due},"ts_recv":{now},"ts_sent":{now},"data":{{"symbol":"LOAD","price":100.{:02},"size":{},"timestamp":{due},"exchange":null,"trade_id":null,"conditions":[]}}}}"#,
            self.next,
            self.next * 7 % 100,
            self.next % 99 + 1,
        );
        true
    }
}
