//! Massive's own protocol for US stocks, `/stocks`: its official clients work with nothing changed but the address.
//!
//! Every message out is an array of one event. Names and units are those of <https://massive.com/docs/websocket/stocks>: times in
//! ms; `T` trades, `Q` top of book, `A` and `AM` closed bars of one second and one minute, again with each revision. Sizes that
//! the clients hold as integers (`s`, `bs`, `as`, `z`) are cut to whole units; `ds` has the exact size, `dv` and `dav` the exact volumes.
//! Whatever is not known is left out, which all official clients read as absent.

use std::collections::HashSet;

use crate::gateway::close::{self, CloseCode};
use crate::model::decimal::{write_i64, write_u64};
use crate::model::{
    Channel, Event, EventKind, Price, Size, Symbol, Tick, TickKind, Timeframes, TradeId, UnixNanos, Venue,
    Volume,
};

use super::json::{put, string};
use super::native::request::{Fault, quoted, read_object, read_symbol, text_field, unknown};
use super::{Delivery, Dialect, Envelope, Parsed, Reply, Request, RequestError, Scene, Symbols};

/// Smallest units in one whole share.
const SHARE: u128 = 10u128.pow(Size::SCALE);
/// The clients hold the sizes of quotes in 32 bits.
const QUOTE_SIZE_MAX: u128 = i32::MAX as u128;

/// The dialect.
pub struct Massive;

impl Dialect for Massive {
    fn path(&self) -> &'static str {
        "/stocks"
    }

    fn parse(&self, text: &str, timeframes: &Timeframes, requests: &mut Vec<Parsed>) {
        if let Err((code, message)) = read(text, timeframes, requests) {
            requests.push(Err(RequestError { id: None, code, message }));
        }
    }

    fn event(&self, out: &mut Vec<u8>, event: &Event, scene: &Scene<'_>) {
        // A subscription begins with what happens next.
        if scene.snapshot {
            return;
        }
        match event.kind() {
            EventKind::BarClosed | EventKind::BarRevised => bar(out, event, scene),
            EventKind::Trade
                if matches!(event.as_trade().kind(), TickKind::Trade | TickKind::AggregatedTrade) =>
            {
                trade(out, &event.as_trade(), scene)
            }
            EventKind::Quote => quote(out, event, scene),
            _ => {}
        }
    }

    fn reply(&self, out: &mut Vec<u8>, id: Option<&str>, reply: &Reply<'_>, _now: UnixNanos) {
        let topic = id.unwrap_or("");
        match reply {
            Reply::Welcome { .. } => status(out, "connected", &["Connected Successfully"]),
            Reply::Acknowledged { .. } => status(out, "auth_success", &["authenticated"]),
            Reply::Subscribed { .. } => status(out, "success", &["subscribed to: ", topic]),
            Reply::Unsubscribed { .. } => status(out, "success", &["unsubscribed to: ", topic]),
            Reply::Error { message, .. } => status(out, "error", &[message]),
            Reply::Slow { closing: true, topic, .. } => {
                status(out, "slow_consumer", &["too slow for what is subscribed, most of all ", topic]);
            }
            _ => {}
        }
    }

    /// Reads what a symbol's day is, for `av`, `op` and `a`.
    fn tells_days(&self) -> bool {
        true
    }

    /// After 1000 and 1001 the official Python client stops for good; after all others it connects again.
    fn close_code(&self, code: CloseCode) -> CloseCode {
        match code {
            close::SLOW => close::POLICY,
            close::GOING_AWAY => close::RESTART,
            other => other,
        }
    }
}

fn read(text: &str, timeframes: &Timeframes, requests: &mut Vec<Parsed>) -> Result<(), Fault> {
    const RIGHT: &str = r#"{"action":"subscribe","params":"T.AAPL,AM.*"}"#;
    const ACTIONS: [&str; 3] = ["auth", "subscribe", "unsubscribe"];
    let fields = read_object(text, RIGHT)?;
    let action = text_field(&fields, "action", || format!("one of {}", ACTIONS.join(", ")))?;
    let subscribe = match action {
        // There are no users yet: every key is as good as another.
        "auth" => {
            let request = Request::Acknowledge { action: "auth", what: "" };
            requests.push(Ok(Envelope { id: None, request }));
            return Ok(());
        }
        "subscribe" => true,
        "unsubscribe" => false,
        other => return Err(("unknown_action", unknown("action", other, &ACTIONS))),
    };
    let params = text_field(&fields, "params", || "a list such as \"T.AAPL,AM.*\"".to_owned())?;
    let mut seen = HashSet::new();
    for param in params.split(',').map(str::trim).filter(|param| seen.insert(*param)) {
        requests.push(match read_param(param, timeframes) {
            Ok((channel, symbols, levels)) => {
                let delivery = Delivery { forming: false, ..Delivery::default() };
                let request = if subscribe {
                    Request::Subscribe { channel, symbols, levels, delivery, since: None, trades: 0 }
                } else {
                    Request::Unsubscribe { channel, symbols, levels }
                };
                Ok(Envelope { id: Some(param.to_owned()), request })
            }
            Err((code, message)) => Err(RequestError { id: None, code, message }),
        });
    }
    Ok(())
}

/// `T.AAPL`, `Q.*`, `A.AAPL` or `AM.AAPL`.
fn read_param(param: &str, timeframes: &Timeframes) -> Result<(Channel, Symbols, Vec<usize>), Fault> {
    const CHANNELS: [&str; 4] = ["T", "Q", "A", "AM"];
    let Some((prefix, name)) = param.split_once('.') else {
        let message = format!("{} is not a channel and a symbol, such as T.AAPL or AM.*", quoted(param));
        return Err(("bad_symbol", message));
    };
    let bars = |label: &str| {
        let level = timeframes.level(label).ok_or_else(|| {
            let message = format!(
                "{} is made of {label} bars, which are not built here; there are {timeframes}: add {label} to bars.timeframes",
                quoted(param)
            );
            ("unknown_timeframe", message)
        })?;
        Ok((Channel::Bars, level))
    };
    let (channel, level) = match prefix {
        "T" => (Channel::Trades, 0),
        "Q" => (Channel::Quotes, 0),
        "A" => bars("1s")?,
        "AM" => bars("1m")?,
        _ => {
            let message = format!(
                "channel {} of {} is not served; there are {}",
                quoted(prefix),
                quoted(param),
                CHANNELS.join(", ")
            );
            return Err(("unknown_channel", message));
        }
    };
    let symbols = if name == "*" { Symbols::All } else { Symbols::Named(vec![read_symbol(name)?]) };
    Ok((channel, symbols, vec![level]))
}

fn status(out: &mut Vec<u8>, status: &str, message: &[&str]) {
    put(out, r#"[{"ev":"status","status":""#);
    put(out, status);
    put(out, r#"","message":"#);
    string(out, &message.concat());
    put(out, "}]");
}

fn begin(out: &mut Vec<u8>, event: &str, symbol: &Symbol) {
    put(out, r#"[{"ev":""#);
    put(out, event);
    put(out, r#"","sym":""#);
    put(out, symbol.as_str());
    out.push(b'"');
}

fn price(out: &mut Vec<u8>, name: &str, price: Price) {
    put(out, name);
    price.write(out);
}

fn number(out: &mut Vec<u8>, name: &str, value: i64) {
    put(out, name);
    write_i64(out, value);
}

fn bar(out: &mut Vec<u8>, event: &Event, scene: &Scene<'_>) {
    let bar = event.as_bar();
    let name = match scene.timeframes.label(event.topic.level()) {
        "1s" => "A",
        "1m" => "AM",
        _ => return,
    };
    begin(out, name, &scene.symbol);
    volume(out, r#","v":"#, r#","dv":""#, bar.volume);
    // A day without volume and without an open is one that the engine cannot tell of.
    let day = scene.day.filter(|day| day.open != Price(0));
    if let Some(day) = day {
        volume(out, r#","av":"#, r#","dav":""#, day.volume);
        price(out, r#","op":"#, day.open);
    }
    if let Some(vwap) = bar.vwap() {
        price(out, r#","vw":"#, vwap);
    }
    price(out, r#","o":"#, bar.open);
    price(out, r#","c":"#, bar.close);
    price(out, r#","h":"#, bar.high);
    price(out, r#","l":"#, bar.low);
    if let Some(vwap) = day.and_then(|day| day.notional.vwap(day.volume)) {
        price(out, r#","a":"#, vwap);
    }
    if bar.trades > 0 {
        put(out, r#","z":"#);
        write_u64(out, (bar.volume.0 / u128::from(bar.trades) / SHARE) as u64);
    }
    number(out, r#","s":"#, bar.start.millis());
    number(out, r#","e":"#, scene.bar_end(event).millis());
    put(out, "}]");
}

/// As a number, and as the exact text for those who hold numbers as floats.
fn volume(out: &mut Vec<u8>, name: &str, exact: &str, volume: Volume) {
    put(out, name);
    volume.write(out);
    put(out, exact);
    volume.write(out);
    out.push(b'"');
}

fn trade(out: &mut Vec<u8>, tick: &Tick, scene: &Scene<'_>) {
    begin(out, "T", &scene.symbol);
    // A venue that its feed names by a letter has no number in this protocol.
    if tick.venue != Venue::NONE && !tick.venue_is_letter() {
        number(out, r#","x":"#, i64::from(tick.venue.0));
    }
    if tick.id() != TradeId::NONE {
        // Digits, letters, `-` and `#` only: no escapes.
        put(out, r#","i":""#);
        tick.id().write(out);
        out.push(b'"');
    }
    tape(out, tick.tape());
    price(out, r#","p":"#, tick.price);
    put(out, r#","s":"#);
    write_u64(out, (u128::from(tick.size.0) / SHARE) as u64);
    put(out, r#","ds":""#);
    tick.size.write(out);
    put(out, r#"","c":["#);
    for (i, &code) in tick.conditions.iter().filter(|&&code| code != 0).enumerate() {
        number(out, if i == 0 { "" } else { "," }, i64::from(code));
    }
    out.push(b']');
    number(out, r#","t":"#, tick.ts_event.millis());
    if let Some(sequence) = tick.sequence() {
        put(out, r#","q":"#);
        write_u64(out, sequence);
    }
    if tick.trf != 0 {
        number(out, r#","trfi":"#, i64::from(tick.trf));
    }
    put(out, "}]");
}

fn quote(out: &mut Vec<u8>, event: &Event, scene: &Scene<'_>) {
    let quote = event.as_quote();
    begin(out, "Q", &scene.symbol);
    let bid = (quote.bid_venue, quote.bid, quote.bid_size);
    side(out, [r#","bx":"#, r#","bp":"#, r#","bs":"#], bid);
    let ask = (quote.ask_venue, quote.ask, quote.ask_size);
    side(out, [r#","ax":"#, r#","ap":"#, r#","as":"#], ask);
    // One condition at most, as the clients hold it.
    if let Some(&code) = quote.conditions.iter().find(|&&code| code != 0) {
        number(out, r#","c":"#, i64::from(code));
    }
    number(out, r#","t":"#, event.ts_event.millis());
    tape(out, quote.tape);
    put(out, "}]");
}

fn side(out: &mut Vec<u8>, names: [&str; 3], (venue, level, size): (Venue, Price, Size)) {
    if level == Price(0) {
        return;
    }
    if venue != Venue::NONE {
        number(out, names[0], i64::from(venue.0));
    }
    price(out, names[1], level);
    put(out, names[2]);
    write_u64(out, (u128::from(size.0) / SHARE).min(QUOTE_SIZE_MAX) as u64);
}

fn tape(out: &mut Vec<u8>, tape: u8) {
    if tape != 0 {
        number(out, r#","z":"#, i64::from(tape));
    }
}

#[cfg(test)]
#[path = "massive_tests.rs"]
mod tests;
