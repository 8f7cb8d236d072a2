//! Rows under a header. Columns in any order; those not known are passed over.
//!
//! | column | meaning |
//! |---|---|
//! | `symbol` | 1 to 32 printable bytes |
//! | `timestamp_ns`, `_us`, `_ms` or `timestamp` | event time: a whole number of the unit, or ISO 8601 (UTC where it names no zone) |
//! | `price`, `size` | a trade, as decimal text |
//! | `trade_id` | optional |
//! | `exchange` | optional: one letter, or a number up to 255; anything longer is not kept |
//! | `conditions` | optional: up to four codes (a number up to 255, or one character) between spaces, `;` or `\|`; or a mask: `0x…`, or four to eight hex digits |
//! | `conditions_hex` | the same as a mask, however short |
//! | `bid`, `ask`, `bid_size`, `ask_size` | a quote, where there is no `price`; sizes optional; an empty or zero price is an absent side |
//!
//! A field may be quoted; a line end within quotes is not supported. A row has as many fields as the header.

use crate::model::{Price, Size, Tick, TradeId, UnixNanos, Venue};

use super::dialect::Dialect;
use super::field::{Context, Number, notional};
use super::reject::Reason;

/// The most columns a header may have.
const COLUMNS_MAX: usize = 64;

/// Why a header cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// No column for something that every row needs.
    #[error("the header has no column {what}: it needs {want}; found: {found}")]
    Missing {
        /// The column.
        what: &'static str,
        /// What would be right.
        want: &'static str,
        /// The columns that are there.
        found: String,
    },
    /// Two columns for the same thing.
    #[error("the header names column {0:?} twice, or two columns for the same thing: leave one")]
    Twice(String),
    /// Too many columns.
    #[error("the header has more than 64 columns")]
    TooMany,
    /// A quotation without an end.
    #[error("the header has a quotation without an end")]
    Quote,
}

/// How a row writes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Whole nanoseconds since 1970.
    Nanos,
    /// Whole microseconds since 1970.
    Micros,
    /// Whole milliseconds since 1970.
    Millis,
    /// ISO 8601.
    Iso,
}

/// Which field of a row, from 0, has the event time under this header, and how it is written.
///
/// # Errors
/// Where the header cannot be used.
pub fn time_column(header: &[u8]) -> Result<(usize, TimeUnit), HeaderError> {
    Columns::read(header).map(|columns| (columns.time, columns.unit))
}

/// Where the fields are; an absent one has the place `ABSENT`.
#[derive(Debug, Clone)]
struct Columns {
    count: usize,
    symbol: usize,
    time: usize,
    unit: TimeUnit,
    price: usize,
    size: usize,
    trade_id: usize,
    exchange: usize,
    conditions: usize,
    conditions_are_mask: bool,
    bid: usize,
    ask: usize,
    bid_size: usize,
    ask_size: usize,
}

const ABSENT: usize = usize::MAX;

impl Columns {
    fn read(header: &[u8]) -> Result<Self, HeaderError> {
        let header = header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header);
        let mut ends = [0; COLUMNS_MAX];
        let mut unquoted = Vec::new();
        let header = if header.contains(&b'"') {
            unquoted.extend_from_slice(header);
            // A quoted name is a plain name in quotes here: none of ours holds a comma.
            unquoted.retain(|&b| b != b'"');
            if header.iter().filter(|&&b| b == b'"').count() % 2 == 1 {
                return Err(HeaderError::Quote);
            }
            &unquoted[..]
        } else {
            header
        };
        let count = match split(header, &mut ends) {
            Split::Plain(count) => count,
            Split::Quoted | Split::TooMany => return Err(HeaderError::TooMany),
        };
        let mut columns = Self {
            count,
            symbol: ABSENT,
            time: ABSENT,
            unit: TimeUnit::Iso,
            price: ABSENT,
            size: ABSENT,
            trade_id: ABSENT,
            exchange: ABSENT,
            conditions: ABSENT,
            conditions_are_mask: false,
            bid: ABSENT,
            ask: ABSENT,
            bid_size: ABSENT,
            ask_size: ABSENT,
        };
        for place in 0..count {
            let name = String::from_utf8_lossy(field(header, &ends, place).trim_ascii()).to_ascii_lowercase();
            let slot = match name.as_str() {
                "symbol" => &mut columns.symbol,
                "timestamp" | "timestamp_ns" | "timestamp_us" | "timestamp_ms" => &mut columns.time,
                "price" => &mut columns.price,
                "size" => &mut columns.size,
                "trade_id" => &mut columns.trade_id,
                "exchange" => &mut columns.exchange,
                "conditions" | "conditions_hex" => &mut columns.conditions,
                "bid" => &mut columns.bid,
                "ask" => &mut columns.ask,
                "bid_size" => &mut columns.bid_size,
                "ask_size" => &mut columns.ask_size,
                _ => continue,
            };
            if *slot != ABSENT {
                return Err(HeaderError::Twice(name));
            }
            *slot = place;
            match name.as_str() {
                "timestamp_ns" => columns.unit = TimeUnit::Nanos,
                "timestamp_us" => columns.unit = TimeUnit::Micros,
                "timestamp_ms" => columns.unit = TimeUnit::Millis,
                "conditions_hex" => columns.conditions_are_mask = true,
                _ => {}
            }
        }
        let missing = |what, want| {
            let mut found = String::from_utf8_lossy(header).into_owned();
            if found.len() > 200 {
                found = found.chars().take(200).collect();
            }
            Err(HeaderError::Missing { what, want, found })
        };
        if columns.symbol == ABSENT {
            return missing("symbol", "symbol");
        }
        if columns.time == ABSENT {
            return missing(
                "timestamp",
                "one of timestamp_ns, timestamp_us, timestamp_ms (whole numbers) or timestamp (ISO 8601)",
            );
        }
        if columns.price == ABSENT {
            if columns.bid == ABSENT && columns.ask == ABSENT {
                return missing("price", "price and size for trades, or bid and ask for quotes");
            }
            if columns.bid == ABSENT {
                return missing("bid", "bid and ask for quotes");
            }
            if columns.ask == ABSENT {
                return missing("ask", "bid and ask for quotes");
            }
        } else if columns.size == ABSENT {
            return missing("size", "price and size for trades");
        }
        Ok(columns)
    }
}

/// The dialect.
pub struct Csv {
    columns: Option<Columns>,
    refused: Option<HeaderError>,
    /// A row with quotes, without them; `ends` then index it.
    unquoted: Vec<u8>,
    /// Where the fields of the current row end; kept here so that no row pays for clearing it.
    ends: [u32; COLUMNS_MAX],
}

impl Default for Csv {
    fn default() -> Self {
        Self { columns: None, refused: None, unquoted: Vec::new(), ends: [0; COLUMNS_MAX] }
    }
}

impl Dialect for Csv {
    #[inline]
    fn parse(&mut self, line: &mut [u8], cx: &mut Context<'_>, out: &mut Vec<Tick>) {
        let Self { columns: Some(columns), unquoted, ends, .. } = self else {
            return self.header(line, cx);
        };
        cx.tallies.record();
        let (row, count): (&[u8], usize) = match split(line, ends) {
            Split::Plain(count) => (line, count),
            Split::TooMany => (line, COLUMNS_MAX + 1),
            Split::Quoted => {
                let count = unquote(line, unquoted, ends).unwrap_or(0);
                (unquoted, count)
            }
        };
        if count != columns.count {
            return cx.tallies.reject(Reason::MalformedRow, line, cx.now);
        }
        let quoting = columns.price == ABSENT;
        let read = if quoting { quote(columns, row, ends, cx) } else { trade(columns, row, ends, cx) };
        match read {
            Ok(tick) => {
                cx.tallies.accept(&tick);
                out.push(tick);
            }
            Err(reason) => cx.tallies.reject(reason, row, cx.now),
        }
    }

    fn refusal(&self) -> Option<String> {
        self.refused.as_ref().map(ToString::to_string)
    }
}

impl Csv {
    #[cold]
    fn header(&mut self, line: &[u8], cx: &mut Context<'_>) {
        if self.refused.is_none() {
            match Columns::read(line) {
                Ok(columns) => {
                    self.columns = Some(columns);
                    return;
                }
                Err(error) => self.refused = Some(error),
            }
        }
        cx.tallies.record();
        cx.tallies.reject(Reason::BadHeader, line, cx.now);
    }
}

#[inline]
fn trade(
    columns: &Columns,
    row: &[u8],
    ends: &[u32; COLUMNS_MAX],
    cx: &mut Context<'_>,
) -> Result<Tick, Reason> {
    let price = present(field(row, ends, columns.price))?;
    let price = cx.price(Number::Text(price))?;
    let size = present(field(row, ends, columns.size))?;
    let size = cx.size(Number::Text(size))?;
    notional(price, size)?;
    let at = time(columns.unit, field(row, ends, columns.time), cx)?;
    let (conditions, cut) = match optional(row, ends, columns.conditions) {
        [] => ([0; 4], false),
        text if columns.conditions_are_mask => (mask(text)?, false),
        text => conditions(text)?,
    };
    let exchange = optional(row, ends, columns.exchange);
    let symbol = cx.symbol(field(row, ends, columns.symbol))?;
    cx.tallies.conditions_cut += u64::from(cut);
    let mut tick = Tick::trade(symbol, at, cx.now, price, size);
    match optional(row, ends, columns.trade_id) {
        [] => {}
        id => tick = tick.with_id(TradeId::from_text(id)),
    }
    match exchange {
        [] => {}
        [letter] if !letter.is_ascii_digit() => tick = tick.with_venue_letter(*letter),
        number => tick = tick.with_venue(Venue(small(number).unwrap_or(0))),
    }
    tick.source = cx.source;
    tick.conditions = conditions;
    Ok(tick)
}

#[inline]
fn quote(
    columns: &Columns,
    row: &[u8],
    ends: &[u32; COLUMNS_MAX],
    cx: &mut Context<'_>,
) -> Result<Tick, Reason> {
    let mut side = |price: usize, size: usize| -> Result<(Price, Size), Reason> {
        let price = match field(row, ends, price) {
            [] => Price(0),
            text => cx.side_price(Number::Text(text))?,
        };
        let size = match optional(row, ends, size) {
            [] => Size(0),
            text => cx.size(Number::Text(text))?,
        };
        Ok((price, size))
    };
    let bid = side(columns.bid, columns.bid_size)?;
    let ask = side(columns.ask, columns.ask_size)?;
    if bid.0 == Price(0) && ask.0 == Price(0) {
        return Err(Reason::PriceZero);
    }
    let at = time(columns.unit, field(row, ends, columns.time), cx)?;
    let symbol = cx.symbol(field(row, ends, columns.symbol))?;
    let mut tick = Tick::quote(symbol, at, cx.now, bid, ask);
    tick.source = cx.source;
    Ok(tick)
}

fn present(text: &[u8]) -> Result<&[u8], Reason> {
    if text.is_empty() { Err(Reason::MissingField) } else { Ok(text) }
}

#[inline]
fn optional<'a>(row: &'a [u8], ends: &[u32; COLUMNS_MAX], place: usize) -> &'a [u8] {
    if place == ABSENT { &[] } else { field(row, ends, place) }
}

#[inline]
fn time(unit: TimeUnit, text: &[u8], cx: &Context<'_>) -> Result<UnixNanos, Reason> {
    if text.is_empty() {
        return Err(Reason::TimeMissing);
    }
    if unit == TimeUnit::Iso {
        return cx.time(iso(text)?);
    }
    let (negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        _ => (false, text),
    };
    let value = match whole(digits) {
        Some(value) => value,
        None if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
            whole(&digits[zeros.min(digits.len() - 1)..]).unwrap_or(u64::MAX)
        }
        None => return Err(Reason::TimeBad),
    };
    if negative {
        return Err(Reason::TimeRange);
    }
    let factor = match unit {
        TimeUnit::Millis => 1_000_000,
        TimeUnit::Micros => 1_000,
        TimeUnit::Nanos | TimeUnit::Iso => 1,
    };
    match value.checked_mul(factor).and_then(|ns| i64::try_from(ns).ok()) {
        Some(ns) => cx.time(UnixNanos(ns)),
        None => Err(Reason::TimeFuture),
    }
}

/// ISO 8601 with a zone or an offset; without either it is UTC.
#[cold]
pub(crate) fn iso(text: &[u8]) -> Result<UnixNanos, Reason> {
    let text = std::str::from_utf8(text).map_err(|_| Reason::TimeBad)?;
    let at = match text.parse::<jiff::Timestamp>() {
        Ok(at) => at,
        Err(_) => {
            let civil = text.parse::<jiff::civil::DateTime>().map_err(|_| Reason::TimeBad)?;
            civil.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| Reason::TimeRange)?.timestamp()
        }
    };
    i64::try_from(at.as_nanosecond()).map(UnixNanos).map_err(|_| Reason::TimeRange)
}

/// A mask of 1 to 8 hex digits, `0x` before them or not.
fn mask(text: &[u8]) -> Result<[u8; 4], Reason> {
    let digits = text.strip_prefix(b"0x").unwrap_or(text);
    if digits.is_empty() || digits.len() > 8 {
        return Err(Reason::BadNumber);
    }
    let mut value = 0u32;
    for &byte in digits {
        let nibble = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return Err(Reason::BadNumber),
        };
        value = value << 4 | u32::from(nibble);
    }
    Ok(value.to_le_bytes())
}

/// Codes, or a mask that shows itself as one; and whether there were more codes than a tick holds.
fn conditions(text: &[u8]) -> Result<([u8; 4], bool), Reason> {
    if text.starts_with(b"0x") || (text.len() >= 4 && text.iter().all(u8::is_ascii_hexdigit)) {
        return mask(text).map(|mask| (mask, false));
    }
    let mut codes = [0; 4];
    let mut n = 0;
    let tokens = text.split(|b| matches!(b, b' ' | b';' | b'|')).filter(|token| !token.is_empty());
    for token in tokens {
        let code = match token {
            [one] if !one.is_ascii_digit() => *one,
            number => small(number).ok_or(Reason::BadNumber)?,
        };
        if code == 0 {
            continue;
        }
        if let Some(slot) = codes.get_mut(n) {
            *slot = code;
        }
        n += 1;
    }
    Ok((codes, n > codes.len()))
}

fn small(text: &[u8]) -> Option<u8> {
    whole(text).and_then(|value| u8::try_from(value).ok())
}

/// A whole number of up to 19 digits, which 64 bits always hold.
#[inline]
fn whole(text: &[u8]) -> Option<u64> {
    let (Some(first), Some(last), 9..=16) = (text.first_chunk::<8>(), text.last_chunk::<8>(), text.len())
    else {
        return whole_by_digit(text);
    };
    // The usual times: two overlapping words, the overlap cleared in the second.
    let places = text.len() - 8;
    let high = join_digits(u64::from_le_bytes(*first) ^ ZEROS)?;
    let low = join_digits((u64::from_le_bytes(*last) ^ ZEROS) & (u64::MAX << (64 - 8 * places)))?;
    Some(high * POW10[places] + low)
}

fn whole_by_digit(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then(|| value * 10 + u64::from(digit))
    })
}

const POW10: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
const ZEROS: u64 = ONES * 0x30;

/// Eight digits, the first in the lowest byte: pairs, then fours, then all eight are joined by one multiplication each.
/// `None` where a byte is above 9.
#[inline]
fn join_digits(word: u64) -> Option<u64> {
    // A byte above 9 carries into its high bit.
    if (word | (word & !HIGHS).wrapping_add(ONES * 0x76)) & HIGHS != 0 {
        return None;
    }
    let pairs = (word * 10 + (word >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// What [`split`] found.
enum Split {
    /// So many fields, none quoted.
    Plain(usize),
    /// There is a quote somewhere.
    Quoted,
    /// More than [`COLUMNS_MAX`] fields.
    TooMany,
}

/// Finds where each field ends, eight bytes at a time.
#[inline]
fn split(row: &[u8], ends: &mut [u32; COLUMNS_MAX]) -> Split {
    let mut count = 0;
    let mut quotes = 0;
    let mut take = |word: u64, base: u32| {
        quotes |= equal_bytes(word, b'"');
        let mut commas = equal_bytes(word, b',');
        while commas != 0 {
            // One place stays for the last field.
            let Some(end) = ends[..COLUMNS_MAX - 1].get_mut(count) else { return false };
            *end = base + commas.trailing_zeros() / 8;
            count += 1;
            commas &= commas - 1;
        }
        true
    };
    let (words, tail) = row.as_chunks::<8>();
    let mut base = 0;
    let mut fits = true;
    for word in words {
        fits &= take(u64::from_le_bytes(*word), base);
        base += 8;
    }
    if !tail.is_empty() {
        // The last eight bytes without those already seen; a copy of the tail would have to wait for its own stores.
        let word = match row.last_chunk::<8>() {
            Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * tail.len()),
            None => tail.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        };
        fits &= take(word, base);
    }
    if !fits {
        return if row.contains(&b'"') { Split::Quoted } else { Split::TooMany };
    }
    if quotes != 0 {
        return Split::Quoted;
    }
    ends[count] = row.len() as u32;
    Split::Plain(count + 1)
}

/// The high bit of each byte of `word` that equals `byte`, exactly.
#[inline]
fn equal_bytes(word: u64, byte: u8) -> u64 {
    let differs = word ^ (ONES * u64::from(byte));
    !(((differs & !HIGHS) + !HIGHS) | differs) & HIGHS
}

#[inline]
fn field<'a>(row: &'a [u8], ends: &[u32; COLUMNS_MAX], place: usize) -> &'a [u8] {
    let from = if place == 0 { 0 } else { ends[place - 1] as usize + 1 };
    // `ends` ascend within the row by construction; an empty slice would only be rejected.
    row.get(from..ends[place] as usize).unwrap_or(&[])
}

/// Copies a row without its quotes (`""` within them is one). In the copy fields lie one byte apart, as [`field`] expects.
/// `None` where a quotation has no end or text follows it.
#[cold]
fn unquote(row: &[u8], out: &mut Vec<u8>, ends: &mut [u32; COLUMNS_MAX]) -> Option<usize> {
    out.clear();
    let mut count = 0;
    let mut rest = row;
    loop {
        if count == COLUMNS_MAX {
            return Some(COLUMNS_MAX + 1);
        }
        if let Some(mut quoted) = rest.strip_prefix(b"\"") {
            loop {
                let end = memchr::memchr(b'"', quoted)?;
                out.extend_from_slice(&quoted[..end]);
                quoted = &quoted[end + 1..];
                match quoted.strip_prefix(b"\"") {
                    Some(after) => {
                        out.push(b'"');
                        quoted = after;
                    }
                    None => break,
                }
            }
            rest = quoted;
        } else {
            let end = memchr::memchr(b',', rest).unwrap_or(rest.len());
            if rest[..end].contains(&b'"') {
                return None;
            }
            out.extend_from_slice(&rest[..end]);
            rest = &rest[end..];
        }
        ends[count] = out.len() as u32;
        count += 1;
        match rest.split_first() {
            None => return Some(count),
            Some((b',', after)) => {
                out.push(b',');
                rest = after;
            }
            Some(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_at_once_or_refused() {
        for len in 1..=19 {
            for first in ["0", "1", "9"] {
                let text = first.to_owned() + &"9876543210123456789"[..len - 1];
                assert_eq!(whole(text.as_bytes()), text.parse().ok(), "{text}");
                for at in 0..len {
                    for byte in (0..=255u8).filter(|b| !b.is_ascii_digit()) {
                        let mut broken = text.clone().into_bytes();
                        broken[at] = byte;
                        assert_eq!(whole(&broken), None, "{byte} at {at}");
                    }
                }
            }
        }
        assert_eq!(whole(b"1381132800464"), Some(1_381_132_800_464));
        assert_eq!(whole(b"9999999999999999999"), Some(9_999_999_999_999_999_999));
        assert_eq!(whole(b""), None);
        assert_eq!(whole(b"12a"), None);
    }

    #[test]
    fn every_comma_is_found_and_nothing_else() {
        for byte in 0..=255u8 {
            let row = [byte; 21];
            let mut ends = [0; COLUMNS_MAX];
            match split(&row, &mut ends) {
                Split::Plain(n) => assert_eq!(n, if byte == b',' { 22 } else { 1 }, "{byte}"),
                Split::Quoted => assert_eq!(byte, b'"'),
                Split::TooMany => panic!("{byte}"),
            }
        }
    }

    #[test]
    fn a_header_error_names_the_column_and_what_would_be_right() {
        let say = |header: &str| Columns::read(header.as_bytes()).unwrap_err().to_string();
        assert!(say("timestamp_ms,price,size").contains("no column symbol"));
        assert!(say("symbol,time,price,size").contains("timestamp_ns, timestamp_us, timestamp_ms"));
        assert!(say("symbol,timestamp,price").contains("no column size"));
        assert!(say("symbol,timestamp,bid").contains("no column ask"));
        assert!(say("symbol,timestamp").contains("price and size for trades, or bid and ask for quotes"));
        assert!(say("symbol,timestamp,timestamp_ms,price,size").contains("twice"));
        assert_eq!(Columns::read(",".repeat(80).as_bytes()).unwrap_err(), HeaderError::TooMany);
        assert!(Columns::read(b"\xef\xbb\xbf\"Symbol\", TIMESTAMP_MS ,price,size").is_ok());
    }

    #[test]
    fn quotes_are_taken_off_and_broken_ones_refused() {
        let read = |row: &str| {
            let (mut out, mut ends) = (Vec::new(), [0; COLUMNS_MAX]);
            let count = unquote(row.as_bytes(), &mut out, &mut ends)?;
            Some(
                (0..count)
                    .map(|i| String::from_utf8_lossy(field(&out, &ends, i)).into_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(read("\"a,b\",c,\"d"), None);
        assert_eq!(
            read(r#""a,b",c,"d""e",f"#),
            Some(vec!["a,b".into(), "c".into(), "d\"e".into(), "f".into()])
        );
        assert_eq!(read(r#""a"b,c"#), None);
        assert_eq!(read(r#"a"b,c"#), None);
        assert_eq!(read("\"\","), Some(vec![String::new(), String::new()]));
    }

    #[test]
    fn conditions_are_codes_or_a_mask() {
        assert_eq!(conditions(b"20002000"), Ok((0x2000_2000u32.to_le_bytes(), false)));
        assert_eq!(conditions(b"0x20"), Ok((0x20u32.to_le_bytes(), false)));
        assert_eq!(conditions(b"37 12"), Ok(([37, 12, 0, 0], false)));
        assert_eq!(conditions(b"@;F|T I"), Ok(([b'@', b'F', b'T', b'I'], false)));
        assert_eq!(conditions(b"1 2 3 4 5"), Ok(([1, 2, 3, 4], true)));
        assert_eq!(conditions(b"300"), Err(Reason::BadNumber));
        assert_eq!(mask(b"123456789"), Err(Reason::BadNumber));
    }
}
