//! A vendor's REST side, and the desk that asks it: the engine's own, without its threads and sockets. Answers take their time, and go
//! wrong as real ones do.

use tickwire::backfill::desk::{Call, Desk, Outcome, Reply, Trouble};
use tickwire::backfill::meter::Meter;
use tickwire::backfill::{RestOptions, find};
use tickwire::model::{Nanos, RestWish, SymbolTable, Timeframes, UnixNanos, UpstreamBar};
use tickwire::runtime::Report;
use tickwire::topology::RestEnds;

use crate::random::Random;
use crate::venue::{Sale, Tongue, decimal};

const SECOND_MS: i64 = 1_000;
/// Rows of one page, where a vendor has pages.
const PAGE_ROWS: usize = 15;

/// The desks of all lines, and what is under way.
pub struct Office {
    tongue: Tongue,
    desks: Vec<(Desk, Meter)>,
    ends: RestEnds,
    /// When each answer comes, and whose it is.
    under_way: Vec<(i64, usize, Call)>,
    bars: Vec<UpstreamBar>,
    /// Every request is answered wrongly until then.
    pub down_until: i64,
    /// How far the vendor's clock is ahead, ms.
    ahead: i64,
    /// This wish is lost on its way: a planted fault.
    pub lose_wish: Option<u64>,
    wishes: u64,
    /// Bars that were handed over.
    pub healed: u64,
}

impl Office {
    pub fn new(
        tongue: Tongue,
        lines: usize,
        labels: &Timeframes,
        (seal_after, now): (Nanos, UnixNanos),
        ends: RestEnds,
        ahead: i64,
    ) -> Self {
        let vendor = find(if tongue == Tongue::Massive { "massive" } else { "binance-spot" });
        let options = RestOptions::new("desk", vendor.expect("a row of the table"));
        let desk = |line: usize| {
            let desk = Desk::new(line as u8, options.clone(), labels, seal_after, line as u64, now);
            (desk, Meter::new(options.weight_per_minute_max))
        };
        let desks = (0..lines).map(desk).collect();
        let (under_way, bars) = (Vec::new(), Vec::new());
        Self {
            tongue,
            desks,
            ends,
            under_way,
            bars,
            down_until: 0,
            ahead,
            lose_wish: None,
            wishes: 0,
            healed: 0,
        }
    }

    /// When something is to be asked or answered.
    pub fn deadline(&self) -> Option<i64> {
        let ms = |at: UnixNanos| at.0.div_euclid(1_000_000) + i64::from(at.0 % 1_000_000 != 0);
        let asked = self.desks.iter().filter_map(|(desk, meter)| desk.deadline(meter)).map(ms);
        asked.chain(self.under_way.iter().map(|(at, ..)| *at)).min()
    }

    /// What the desks have to say, for whoever looks into a failure.
    pub fn notes(&mut self) -> Vec<String> {
        let mut report = Report::new("rest", UnixNanos(0));
        self.desks.iter_mut().for_each(|(desk, _)| desk.hand_over(&mut report));
        let counted = report.counters.iter().map(|(name, value)| format!("{name} {value}"));
        report.notes.iter().cloned().chain(counted).collect()
    }

    /// Takes wishes, asks, answers what is due and hands over; `true` where anything was done.
    pub fn turn(&mut self, now: i64, sales: &[Sale], symbols: &SymbolTable, random: &mut Random) -> bool {
        let at = UnixNanos(now * 1_000_000);
        let mut busy = false;
        for wish in self.ends.wishes.try_iter() {
            busy = true;
            self.wishes += 1;
            if self.lose_wish == Some(self.wishes) {
                continue;
            }
            let desk = &mut self.desks[usize::from(wish.source())].0;
            match wish {
                RestWish::Fill { symbol, from, to, .. } => desk.fill(symbol, from, to, at),
                RestWish::Poll { symbol, on, .. } => desk.poll(symbol, on, at),
            }
        }
        for (line, (desk, meter)) in self.desks.iter_mut().enumerate() {
            while let Some(call) = desk.next_call(at, meter, symbols) {
                busy = true;
                self.under_way.push((now + 20 + random.below(200) as i64, line, call));
            }
        }
        while let Some(place) = self.under_way.iter().position(|(due, ..)| *due <= now) {
            busy = true;
            let (_, line, call) = self.under_way.swap_remove(place);
            let outcome = self.answer(&call.path, now, sales, random);
            let (desk, meter) = &mut self.desks[line];
            desk.answered(call, outcome, at, meter, &mut self.bars);
        }
        let room = self.ends.answers.room() / 2;
        for bar in self.bars.drain(..room.min(self.bars.len())) {
            busy = true;
            self.healed += u64::from(bar.bar.trades > 0);
            for tick in bar.to_ticks() {
                assert!(self.ends.answers.push(tick).is_ok(), "there was room");
            }
        }
        self.ends.answers.flush();
        busy
    }

    fn answer(&self, path: &str, now: i64, sales: &[Sale], random: &mut Random) -> Outcome {
        if now < self.down_until {
            return match random.below(4) {
                0 => Err(Trouble::TimedOut("the answer".to_owned())),
                1 => Ok(Reply { status: 429, retry_after: Some(Nanos::from_secs(3)), ..Reply::default() }),
                2 => Ok(Reply { status: 200, body: b"{\"status\":\"OK\",\"ti".to_vec(), ..Reply::default() }),
                _ => Ok(Reply { status: 503, ..Reply::default() }),
            };
        }
        let body = match self.tongue {
            Tongue::Massive => self.aggregates(path, sales),
            Tongue::Binance => klines(path, sales),
        };
        let date = Some(UnixNanos((now + self.ahead).div_euclid(1_000) * 1_000_000_000));
        Ok(Reply { status: 200, body: body.into_bytes(), date, ..Reply::default() })
    }

    /// Seconds without sales have no row.
    fn aggregates(&self, path: &str, sales: &[Sale]) -> String {
        let parts: Vec<&str> = path.split(['/', '?']).collect();
        let ["", "v2", "aggs", "ticker", name, "range", "1", "second", from, last, ..] = parts[..] else {
            panic!("{path} is nothing that Massive has");
        };
        let (from, last) = (whole(from), whole(last));
        let (mut rows, mut next) = (Vec::new(), String::new());
        for start in (from..=last).step_by(SECOND_MS as usize) {
            let Some(bar) = Aggregate::of(sales, name, start) else { continue };
            if rows.len() == PAGE_ROWS {
                let rest = format!("/v2/aggs/ticker/{name}/range/1/second/{start}/{last}?cursor");
                next = format!(r#","next_url":"https://elsewhere.example{rest}""#);
                break;
            }
            let Aggregate { open, high, low, close, size, worth, trades } = bar;
            // Of the average all digits that a float has.
            let average = worth as f64 / 100.0 / size as f64;
            let [open, high, low, close] = [open, high, low, close].map(decimal);
            rows.push(format!(
                r#"{{"t":{start},"o":{open},"h":{high},"l":{low},"c":{close},"v":{size},"vw":{average},"n":{trades}}}"#
            ));
        }
        let rows = rows.join(",");
        format!(r#"{{"ticker":"{name}","adjusted":false,"results":[{rows}],"status":"OK"{next}}}"#)
    }
}

/// Every second has a row.
fn klines(path: &str, sales: &[Sale]) -> String {
    let value = |name: &str| {
        let pairs = path.split(['?', '&']).filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    };
    assert_eq!(value("interval"), "1s");
    let starts = (whole(value("startTime"))..=whole(value("endTime"))).step_by(SECOND_MS as usize);
    let row = |start: i64| {
        let flat = Aggregate { open: 1, high: 1, low: 1, close: 1, ..Aggregate::default() };
        let bar = Aggregate::of(sales, value("symbol"), start).unwrap_or(flat);
        let Aggregate { open, high, low, close, size, worth, trades } = bar;
        let [open, high, low, close, worth] = [open, high, low, close, worth].map(decimal);
        let end = start + SECOND_MS - 1;
        format!(
            r#"[{start},"{open}","{high}","{low}","{close}","{size}",{end},"{worth}",{trades},"0","0","0"]"#
        )
    };
    format!("[{}]", starts.map(row).collect::<Vec<_>>().join(","))
}

fn whole(text: &str) -> i64 {
    text.parse().expect("a whole number")
}

/// The sums of sales; prices and worth in 1e-2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Aggregate {
    pub open: u64,
    pub high: u64,
    pub low: u64,
    pub close: u64,
    pub size: u64,
    pub worth: u64,
    pub trades: u64,
}

impl Aggregate {
    pub fn add(&mut self, sale: &Sale) {
        if self.trades == 0 {
            (self.open, self.high, self.low) = (sale.price, sale.price, sale.price);
        }
        self.high = self.high.max(sale.price);
        self.low = self.low.min(sale.price);
        self.close = sale.price;
        self.size += sale.size;
        self.worth += sale.size * sale.price;
        self.trades += 1;
    }

    /// The second of a symbol that begins at `start`. Sales are in order of time.
    fn of(sales: &[Sale], name: &str, start: i64) -> Option<Self> {
        let from = sales.partition_point(|sale| sale.ms < start);
        let to = sales.partition_point(|sale| sale.ms < start + SECOND_MS);
        let mut sum = Self::default();
        let is_its = |sale: &&Sale| name.strip_prefix('S').and_then(|n| n.parse().ok()) == Some(sale.symbol);
        sales[from..to].iter().filter(is_its).for_each(|sale| sum.add(sale));
        (sum.trades > 0).then_some(sum)
    }
}
