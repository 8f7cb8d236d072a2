//! A recorded feed as a source: raw Binance messages with their receive times, Massive messages, or rows of sales.
//!
//! Read here and not by the engine's code, for what is true is worked out a second time. A line that tells of nothing is
//! passed over and counted.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use crate::binance;
use crate::decimal;
use crate::event::{Event, Quote, Sale, Source, Symbols};

/// How the file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Raw messages, one a line, a receive time in ns and a space before each.
    Binance,
    /// Messages of Massive, one a line.
    Massive,
    /// A header and rows of sales.
    Csv,
}

/// The source. Each event has the time at which it is sent.
pub struct Recording {
    /// In order of their times; the last is the next.
    left: Vec<(i64, Event)>,
    /// When its first was received, or happened, ms.
    pub first_ms: i64,
    shift_ms: i64,
    /// Lines that tell of nothing that could be sent.
    pub passed_over: u64,
}

impl Recording {
    /// Reads the whole file.
    ///
    /// # Errors
    /// Where it cannot be read or holds nothing to send.
    pub fn read(path: &Path, format: Format, symbols: &mut Symbols) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(failed)?;
        let bytes: Box<dyn Read> = match path.extension() {
            Some(extension) if extension == "gz" => Box::new(MultiGzDecoder::new(file)),
            _ => Box::new(file),
        };
        let (mut all, mut passed_over, mut columns) = (Vec::new(), 0, None);
        let mut sequences: Vec<u64> = Vec::new();
        for line in BufReader::new(bytes).lines() {
            let line = line.map_err(failed)?;
            let before = all.len();
            match format {
                Format::Binance => all.extend(binance_line(&line, symbols)),
                Format::Massive => massive_line(&line, symbols, &mut all),
                Format::Csv => match &columns {
                    None => {
                        let needs = "its header needs symbol, timestamp_ms, _us or _ns, price and size";
                        let found =
                            Columns::of(&line).ok_or_else(|| format!("{}: {needs}", path.display()))?;
                        columns = Some(found);
                        continue;
                    }
                    Some(columns) => all.extend(columns.row(&line, symbols, &mut sequences)),
                },
            }
            passed_over += u64::from(all.len() == before);
        }
        // Stable: what shares a time keeps its order.
        all.sort_by_key(|(at, _)| *at);
        let Some(&(first, _)) = all.first() else {
            return Err(format!("{}: nothing in it could be sent", path.display()));
        };
        all.reverse();
        Ok(Self { left: all, first_ms: first, shift_ms: 0, passed_over })
    }

    /// All of its times, when it is sent and what is in its messages, are so much later.
    pub fn shift(&mut self, shift_ms: i64) {
        self.shift_ms = shift_ms;
    }
}

impl Source for Recording {
    fn take_until(&mut self, now_ms: i64, out: &mut Vec<Event>) {
        while self.left.last().is_some_and(|(at, _)| *at + self.shift_ms <= now_ms) {
            let Some((_, mut event)) = self.left.pop() else { return };
            move_by(&mut event, self.shift_ms);
            out.push(event);
        }
    }

    fn is_over(&self) -> bool {
        self.left.is_empty()
    }
}

fn move_by(event: &mut Event, shift_ms: i64) {
    match event {
        Event::Sale(sale) => sale.at_ms += shift_ms,
        Event::Quote(quote) => quote.at_ms += shift_ms,
        Event::Verbatim { text, sale, .. } => {
            if shift_ms != 0 {
                *text = binance::shifted(text, shift_ms);
            }
            if let Some(sale) = sale {
                sale.at_ms += shift_ms;
            }
        }
    }
}

/// A raw message: its payload is sent as it stands, and a trade in it is a sale that is true.
fn binance_line(line: &str, symbols: &mut Symbols) -> Option<(i64, Event)> {
    let (stamp, message) = match line.split_once(' ') {
        Some((stamp, message)) if stamp.bytes().all(|b| b.is_ascii_digit()) => {
            (stamp.parse::<i64>().ok(), message)
        }
        _ => (None, line),
    };
    let value: Value = serde_json::from_str(message).ok()?;
    let data = value.get("data").unwrap_or(&value);
    let number = |name: &str| data.get(name).and_then(Value::as_i64);
    let text = |name: &str| data.get(name).and_then(Value::as_str);
    let stream = match value.get("stream").and_then(Value::as_str) {
        Some(stream) => stream.to_owned(),
        None => format!("{}@{}", text("s")?.to_lowercase(), text("e")?),
    };
    // The payload to the letter: what stands between `"data":` and the brace that ends the message.
    let payload = match message.find(r#""data":"#) {
        Some(at) if value.get("data").is_some() => message[at + 7..].trim_end().strip_suffix('}')?,
        _ => message,
    };
    let sale = (text("e") == Some("trade")).then(|| {
        Some(Sale {
            symbol: symbols.place(text("s")?),
            at_ms: number("T")?,
            price: decimal::parse(text("p")?)?,
            size: decimal::parse(text("q")?)?,
            id: number("t")?.to_string(),
            sequence: data.get("t").and_then(Value::as_u64)?,
            venue: 0,
            tape: 0,
            conditions: Vec::new(),
            buyer_is_maker: data.get("m").and_then(Value::as_bool)?,
        })
    });
    let sale = match sale {
        Some(None) => return None,
        Some(sale) => sale,
        None => None,
    };
    let at = stamp.map(|ns| ns / 1_000_000).or_else(|| number("T")).or_else(|| number("E"))?;
    Some((at, Event::Verbatim { stream, text: payload.to_owned(), sale }))
}

fn massive_line(line: &str, symbols: &mut Symbols, out: &mut Vec<(i64, Event)>) {
    let Ok(Value::Array(events)) = serde_json::from_str(line) else { return };
    for event in &events {
        if let Some(event) = massive_event(event, symbols) {
            let at = match &event {
                Event::Sale(sale) => sale.at_ms,
                Event::Quote(quote) => quote.at_ms,
                Event::Verbatim { .. } => continue,
            };
            out.push((at, event));
        }
    }
}

fn massive_event(event: &Value, symbols: &mut Symbols) -> Option<Event> {
    let text = |name: &str| event.get(name).and_then(Value::as_str);
    let number = |name: &str| event.get(name).filter(|value| value.is_number()).map(Value::to_string);
    let decimal = |name: &str| decimal::parse(&number(name)?);
    let byte =
        |name: &str| event.get(name).and_then(Value::as_u64).and_then(|value| u8::try_from(value).ok());
    let at_ms = event.get("t").and_then(Value::as_i64)?;
    let sequence = event.get("q").and_then(Value::as_u64).unwrap_or(0);
    let kind = text("ev")?;
    if kind == "Q" {
        let symbol = symbols.place(text("sym")?);
        let bid = (decimal("bp").unwrap_or(0), decimal("bs").unwrap_or(0));
        let ask = (decimal("ap").unwrap_or(0), decimal("as").unwrap_or(0));
        return Some(Event::Quote(Quote { symbol, at_ms, sequence, bid, ask }));
    }
    if kind != "T" {
        return None;
    }
    let size = match text("ds") {
        Some(exact) => decimal::parse(exact)?,
        None => decimal("s")?,
    };
    let codes = event.get("c").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    Some(Event::Sale(Sale {
        symbol: symbols.place(text("sym")?),
        at_ms,
        price: decimal("p")?,
        size,
        id: text("i").unwrap_or("").to_owned(),
        sequence,
        venue: byte("x").unwrap_or(0),
        tape: byte("z").unwrap_or(0),
        conditions: codes.iter().filter_map(|code| u8::try_from(code.as_u64()?).ok()).collect(),
        buyer_is_maker: false,
    }))
}

/// Where the fields of a row are.
struct Columns {
    symbol: usize,
    time: usize,
    per_ms: i64,
    price: usize,
    size: usize,
    id: Option<usize>,
}

impl Columns {
    fn of(header: &str) -> Option<Self> {
        let names: Vec<_> = header.split(',').map(str::trim).collect();
        let find = |name: &str| names.iter().position(|known| *known == name);
        let (time, per_ms) = [("timestamp_ms", 1), ("timestamp_us", 1_000), ("timestamp_ns", 1_000_000)]
            .into_iter()
            .find_map(|(name, per_ms)| Some((find(name)?, per_ms)))?;
        Some(Self {
            symbol: find("symbol")?,
            time,
            per_ms,
            price: find("price")?,
            size: find("size")?,
            id: find("trade_id"),
        })
    }

    /// Times finer than a millisecond are cut to it: both venues tell no finer ones.
    fn row(&self, line: &str, symbols: &mut Symbols, sequences: &mut Vec<u64>) -> Option<(i64, Event)> {
        let fields: Vec<_> = line.split(',').collect();
        let at_ms = fields.get(self.time)?.parse::<i64>().ok()? / self.per_ms;
        let (price, size) =
            (decimal::parse(fields.get(self.price)?)?, decimal::parse(fields.get(self.size)?)?);
        let symbol = symbols.place(fields.get(self.symbol)?);
        if sequences.len() <= symbol {
            sequences.resize(symbol + 1, 0);
        }
        sequences[symbol] += 1;
        let sequence = sequences[symbol];
        let id = self.id.and_then(|place| fields.get(place)).filter(|id| !id.is_empty());
        let id = id.map_or_else(|| sequence.to_string(), |id| (*id).to_owned());
        let sale = Sale {
            symbol,
            at_ms,
            price,
            size,
            id,
            sequence,
            venue: 0,
            tape: 0,
            conditions: Vec::new(),
            buyer_is_maker: false,
        };
        Some((at_ms, Event::Sale(sale)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(name)
    }

    fn all(name: &str, format: Format, shift: i64) -> (Vec<Event>, Symbols, Recording) {
        let mut symbols = Symbols::default();
        let mut recording = Recording::read(&shipped(name), format, &mut symbols).unwrap();
        recording.shift(shift);
        let mut events = Vec::new();
        recording.take_until(i64::MAX, &mut events);
        assert!(recording.is_over());
        (events, symbols, recording)
    }

    #[test]
    fn a_capture_is_sent_to_the_letter() {
        let (events, symbols, recording) = all("feed/binance-spot.txt", Format::Binance, 0);
        let file = std::fs::read_to_string(shipped("feed/binance-spot.txt")).unwrap();
        assert_eq!(events.len() as u64 + recording.passed_over, file.lines().count() as u64);
        assert_eq!(symbols.name(0), "BTCUSDT");
        let mut sales = 0;
        for event in &events {
            let Event::Verbatim { stream, text, sale } = event else { panic!("{event:?}") };
            let whole = binance::combined(stream, text);
            assert!(file.lines().any(|line| line.ends_with(&whole)), "{whole}");
            sales += u64::from(sale.is_some());
        }
        assert_eq!(sales, file.lines().filter(|line| line.contains(r#""e":"trade""#)).count() as u64);
    }

    #[test]
    fn moved_times_are_moved_in_the_sale_and_in_its_text() {
        let (events, ..) = all("feed/binance-usdm.txt", Format::Binance, 86_400_000);
        for event in &events {
            if let Event::Verbatim { text, sale: Some(sale), .. } = event {
                assert!(text.contains(&format!(r#""T":{}"#, sale.at_ms)), "{text}");
            }
        }
    }

    #[test]
    fn sales_of_every_format_are_read() {
        for (name, format) in
            [("feed/massive.txt", Format::Massive), ("feed/us-equities-trades.csv", Format::Csv)]
        {
            let (events, symbols, _) = all(name, format, 0);
            assert!(events.iter().any(|event| matches!(event, Event::Sale(_))), "{name}");
            assert!(symbols.count() > 0);
        }
    }
}
