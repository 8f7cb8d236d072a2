//! Two publishers of csv rows, good and bad, that cut their bytes anywhere.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;

use tickwire::runtime::transport::{End, Network};

use crate::model::Row;
use crate::random::Random;

pub const SYMBOLS: [&str; 4] = ["A", "BTC", "X.Y", "ZZ"];
/// The greatest price and the least size: their product is still a sum that bars can hold.
const GREATEST: (i64, u64) = (i64::MAX, 1);

/// What a line should become once all its bytes are in.
#[derive(Clone)]
pub enum Meant {
    Header,
    Trade(Row),
    Quote { symbol: &'static str, bid: i64, ask: i64 },
    Bad(&'static str),
}

/// One publisher.
pub struct Feed {
    port: u16,
    header: &'static str,
    link: Option<End>,
    outgoing: Vec<u8>,
    /// Lines with a byte still to write, and how many bytes until their end.
    lines: VecDeque<(usize, Meant)>,
    pub records: u64,
    pub bad: BTreeMap<&'static str, u64>,
}

impl Feed {
    pub fn new(port: u16, header: &'static str) -> Self {
        Self {
            port,
            header,
            link: None,
            outgoing: Vec::new(),
            lines: VecDeque::new(),
            records: 0,
            bad: BTreeMap::new(),
        }
    }

    pub fn connect(&mut self, network: &Network, capacity: usize) {
        self.link = network.connect(self.port, capacity).ok();
        self.add(self.header, Meant::Header);
    }

    /// Ends the connection; everything must have been written.
    pub fn disconnect(&mut self) {
        assert!(self.outgoing.is_empty(), "lines were left behind");
        self.link = None;
    }

    pub fn is_written(&self) -> bool {
        self.outgoing.is_empty()
    }

    fn add(&mut self, line: &str, meant: Meant) {
        self.outgoing.extend_from_slice(line.as_bytes());
        self.outgoing.push(b'\n');
        self.lines.push_back((line.len() + 1, meant));
    }

    /// Writes the next bytes, at most `most`; whole lines go to `done`. Returns how many bytes went.
    pub fn write(&mut self, most: usize, done: &mut Vec<Meant>) -> usize {
        let Some(link) = &mut self.link else { return 0 };
        let n = link.write(&self.outgoing[..most.min(self.outgoing.len())]).unwrap_or(0);
        self.outgoing.drain(..n);
        let mut left = n;
        while let Some((bytes, _)) = self.lines.front_mut() {
            if *bytes > left {
                *bytes -= left;
                break;
            }
            left -= *bytes;
            let Some((_, meant)) = self.lines.pop_front() else { break };
            match &meant {
                Meant::Header => {}
                Meant::Bad(reason) => {
                    self.records += 1;
                    *self.bad.entry(reason).or_default() += 1;
                }
                Meant::Trade(_) | Meant::Quote { .. } => self.records += 1,
            }
            done.push(meant);
        }
        n
    }

    pub fn trade(&mut self, row: &Row) {
        let id = if row.id == 0 { String::new() } else { row.id.to_string() };
        let (price, size) = (decimal(i128::from(row.price), 9), decimal(i128::from(row.size), 8));
        self.add(
            &format!("{},{},{price},{size},{id}", row.symbol, row.ts / 1_000_000),
            Meant::Trade(row.clone()),
        );
    }

    pub fn quote(&mut self, symbol: &'static str, now: i64, bid: i64, ask: i64) {
        let (low, high) = (decimal(i128::from(bid), 9), decimal(i128::from(ask), 9));
        let line = format!("{symbol},{},{low},{high}", now / 1_000_000);
        self.add(&line, Meant::Quote { symbol, bid, ask });
    }

    /// A row of trades that must be rejected, for this reason.
    pub fn nonsense(&mut self, now: i64, random: &mut Random) {
        let t = now / 1_000_000;
        let long = "S".repeat(33);
        let rows = [
            (format!("A,{t},,1,1"), "missing_field"),
            (format!("A,{t},1,,1"), "missing_field"),
            (format!("A,{t},0,1,1"), "price_zero"),
            (format!("A,{t},-1,1,1"), "price_negative"),
            (format!("A,{t},NaN,1,1"), "bad_number"),
            (format!("A,{t},0x10,1,1"), "bad_number"),
            (format!("A,{t},9223372036.854775808,1,1"), "price_range"),
            (format!("A,{t},1e400,1,1"), "price_range"),
            (format!("A,{t},1,-1,1"), "size_negative"),
            (format!("A,{t},1,1e30,1"), "size_range"),
            (format!("A,{t},9000000000,180000000000,1"), "notional_range"),
            ("A,,1,1,1".to_owned(), "time_missing"),
            ("A,soon,1,1,1".to_owned(), "time_bad"),
            ("A,5,1,1,1".to_owned(), "time_range"),
            ("A,-5,1,1,1".to_owned(), "time_range"),
            (format!("A,{},1,1,1", t + 7_200_000), "time_future"),
            ("A,99999999999999999999,1,1,1".to_owned(), "time_future"),
            (format!(",{t},1,1,1"), "symbol_empty"),
            (format!("{long},{t},1,1,1"), "symbol_too_long"),
            (format!("A\u{1}B,{t},1,1,1"), "symbol_unprintable"),
            (format!("A,{t},1,1"), "malformed_row"),
            (format!("A,{t},1,1,1,1"), "malformed_row"),
            ("{\"e\":\"trade\"}".to_owned(), "malformed_row"),
            ("A".to_owned(), "malformed_row"),
        ];
        let (line, reason) = &rows[random.below(rows.len() as u64) as usize];
        self.add(line, Meant::Bad(reason));
    }
}

/// Makes trades as a disorderly market does.
pub struct Market {
    pub symbols: &'static [&'static str],
    next_id: u64,
    made: Vec<Row>,
}

impl Market {
    pub fn new(symbols: usize) -> Self {
        Self { symbols: &SYMBOLS[..symbols], next_id: 1, made: Vec::new() }
    }

    pub fn next(&mut self, now: i64, random: &mut Random) -> Row {
        if random.one_in(12) && !self.made.is_empty() {
            // Sent once more, and now and then with another price: the first one counts.
            let mut again = self.made[random.below(self.made.len() as u64) as usize].clone();
            if random.one_in(3) {
                again.price = 10_000_000;
            }
            return again;
        }
        let behind_ms = match random.below(10) {
            0 => random.below(20_000),
            1 | 2 => random.below(3_000),
            _ => random.below(200),
        };
        let step = random.pick(&[1, 1, 500, 1_000]);
        let ts = (now / 1_000_000 - behind_ms as i64) / step * step * 1_000_000;
        let (price, size) = if random.one_in(150) {
            GREATEST
        } else {
            (10_000_000 * (1 + random.below(40_000) as i64), 25_000_000 * random.below(9))
        };
        let id = if random.one_in(9) { 0 } else { self.next_id };
        self.next_id += 1;
        let row = Row { symbol: random.pick(self.symbols), ts, price, size, id };
        if id != 0 {
            self.made.push(row.clone());
        }
        row
    }
}

/// Exact decimal text of a whole number of 10^-places.
fn decimal(units: i128, places: u32) -> String {
    let one = 10i128.pow(places);
    format!("{}.{:0width$}", units / one, units % one, width = places as usize)
}
