//! The native protocol, `/v1/stream`: messages out, written by hand. Requests are read in `native_request.rs`.

use crate::model::decimal::{write_i64, write_u64};
use crate::model::{
    BarState, Channel, Event, EventKind, Nanos, Price, Size, Tick, TickKind, TradeId, UnixNanos, Venue,
};

use super::json::{candle, iso_millis, put, string};
use super::{Dialect, Format, Listed, Parsed, Position, Reply, Scene};
use crate::model::Timeframes;

#[path = "native_binary.rs"]
pub mod binary;
#[path = "native_request.rs"]
pub(super) mod request;

/// The native protocol.
pub struct Native;

impl Dialect for Native {
    fn path(&self) -> &'static str {
        "/v1/stream"
    }

    fn parse(&self, text: &str, timeframes: &Timeframes, requests: &mut Vec<Parsed>) {
        requests.push(request::parse(text, timeframes));
    }

    fn event(&self, out: &mut Vec<u8>, event: &Event, scene: &Scene<'_>) {
        put(out, r#"{"type":""#);
        put(out, kind_name(event, scene.snapshot));
        put(out, r#"","channel":""#);
        put(out, event.topic.channel().name());
        put(out, r#"","sequence":"#);
        write_u64(out, event.sequence);
        put(out, r#","timestamp":""#);
        iso_millis(out, scene.now);
        put(out, r#"","ts_event":"#);
        write_i64(out, event.ts_event.micros());
        put(out, r#","ts_recv":"#);
        write_i64(out, event.ts_recv.micros());
        put(out, r#","ts_sent":"#);
        write_i64(out, scene.now.micros());
        put(out, r#","data":{"symbol":""#);
        put(out, scene.symbol.as_str());
        out.push(b'"');
        match event.kind() {
            EventKind::BarForming => bar(out, event, BarState::Forming, scene),
            EventKind::BarClosed => bar(out, event, BarState::Closed, scene),
            EventKind::BarRevised => bar(out, event, BarState::Revised, scene),
            EventKind::Trade => trade(out, &event.as_trade()),
            EventKind::Quote => quote(out, event),
            EventKind::Status => status(out, event),
            // These carry nothing for clients and never come here.
            EventKind::AnswerBegin
            | EventKind::AnswerEnd
            | EventKind::Resync
            | EventKind::AnswerDone
            | EventKind::Day => {}
        }
        put(out, "}}");
    }

    fn record(&self, out: &mut Vec<u8>, event: &Event, scene: &Scene<'_>) {
        binary::write(out, event, scene);
    }

    fn reply(&self, out: &mut Vec<u8>, id: Option<&str>, reply: &Reply<'_>, _now: UnixNanos) {
        if matches!(reply, Reply::History { .. } | Reply::Acknowledged { .. }) {
            // Nothing in this protocol asks for them.
            return;
        }
        put(out, r#"{"type":""#);
        put(out, reply_name(reply));
        out.push(b'"');
        if let Some(id) = id {
            put(out, r#","id":"#);
            put(out, id);
        }
        reply_body(out, reply);
        out.push(b'}');
    }
}

fn kind_name(event: &Event, snapshot: bool) -> &'static str {
    if snapshot {
        return "snapshot";
    }
    match event.kind() {
        EventKind::Quote => "quote",
        EventKind::Status => "status",
        EventKind::Trade => match event.as_trade().kind() {
            TickKind::Cancel => "cancel",
            TickKind::Correction => "correction",
            _ => "trade",
        },
        _ => "bar",
    }
}

fn bar(out: &mut Vec<u8>, event: &Event, state: BarState, scene: &Scene<'_>) {
    let bar = event.as_bar();
    put(out, r#","timeframe":""#);
    put(out, scene.timeframes.label(event.topic.level()));
    put(out, r#"","start":"#);
    write_i64(out, bar.start.micros());
    put(out, r#","end":"#);
    let end = scene.bar_end(event);
    write_i64(out, end.micros());
    candle(out, &bar);
    put(out, r#","trades":"#);
    write_u64(out, bar.trades);
    put(
        out,
        match state {
            BarState::Forming => r#","state":"forming","rev":"#,
            BarState::Closed => r#","state":"closed","rev":"#,
            BarState::Revised => r#","state":"revised","rev":"#,
        },
    );
    write_u64(out, u64::from(event.rev));
    if let Some(reason) = event.reason().name() {
        put(out, r#","reason":""#);
        put(out, reason);
        out.push(b'"');
    }
    put(out, r#","flags":["#);
    for (i, name) in event.flags.names().enumerate() {
        put(out, if i == 0 { "\"" } else { ",\"" });
        put(out, name);
        out.push(b'"');
    }
    out.push(b']');
}

fn trade(out: &mut Vec<u8>, tick: &Tick) {
    put(out, r#","price":"#);
    tick.price.write(out);
    put(out, r#","size":"#);
    tick.size.write(out);
    put(out, r#","timestamp":"#);
    write_i64(out, tick.ts_event.micros());
    put(out, r#","exchange":"#);
    exchange(out, tick);
    put(out, r#","trade_id":"#);
    match tick.id() {
        TradeId::NONE => put(out, "null"),
        id => {
            // Digits, letters, `-` and `#` only: no escapes.
            out.push(b'"');
            id.write(out);
            out.push(b'"');
        }
    }
    put(out, r#","conditions":["#);
    for (i, &code) in tick.conditions.iter().filter(|&&code| code != 0).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_u64(out, u64::from(code));
    }
    out.push(b']');
}

fn exchange(out: &mut Vec<u8>, tick: &Tick) {
    let Venue(venue) = tick.venue;
    if tick.venue == Venue::NONE {
        return put(out, "null");
    }
    out.push(b'"');
    if tick.venue_is_letter() && venue.is_ascii_alphanumeric() {
        out.push(venue);
    } else {
        write_u64(out, u64::from(venue));
    }
    out.push(b'"');
}

/// A side or a last trade that is absent is `null`: a price of 0 would be a lie.
fn quote(out: &mut Vec<u8>, event: &Event) {
    let quote = event.as_quote();
    let price = |out: &mut Vec<u8>, name: &str, price: Price| {
        put(out, name);
        if price == Price(0) { put(out, "null") } else { price.write(out) }
    };
    let size = |out: &mut Vec<u8>, name: &str, side: Price, size: Size| {
        put(out, name);
        if side == Price(0) { put(out, "null") } else { size.write(out) }
    };
    price(out, r#","bid":"#, quote.bid);
    price(out, r#","ask":"#, quote.ask);
    size(out, r#","bid_size":"#, quote.bid, quote.bid_size);
    size(out, r#","ask_size":"#, quote.ask, quote.ask_size);
    price(out, r#","last":"#, quote.last);
    put(out, r#","volume":"#);
    quote.volume.write(out);
}

/// What the market does, and when it will do something else; `null`: not within two weeks.
fn status(out: &mut Vec<u8>, event: &Event) {
    let status = event.as_status();
    put(out, r#","status":""#);
    put(out, status.standing().name());
    out.push(b'"');
    for (name, at) in [
        (r#","since":"#, status.since),
        (r#","next_change":"#, status.next_change),
        (r#","next_open":"#, status.next_open),
        (r#","next_close":"#, status.next_close),
    ] {
        put(out, name);
        if at == UnixNanos::MAX { put(out, "null") } else { write_i64(out, at.micros()) }
    }
}

fn reply_name(reply: &Reply<'_>) -> &'static str {
    match reply {
        Reply::Welcome { .. } => "welcome",
        Reply::Subscribed { .. } => "subscribed",
        Reply::Snapshots { .. } => "snapshots",
        Reply::Unsubscribed { .. } => "unsubscribed",
        Reply::Subscriptions(_) => "subscriptions",
        Reply::Pong => "pong",
        Reply::Stats(_) => "stats",
        Reply::Error { .. } => "error",
        Reply::Slow { .. } => "slow",
        Reply::Draining { .. } => "draining",
        Reply::History { .. } | Reply::Acknowledged { .. } => "",
    }
}

fn reply_body(out: &mut Vec<u8>, reply: &Reply<'_>) {
    match reply {
        Reply::Welcome { connection, epoch, heartbeat_s, limits } => {
            put(out, r#","connection":"#);
            string(out, connection);
            put(out, r#","epoch":"#);
            string(out, epoch);
            put(out, r#","heartbeat_s":"#);
            write_u64(out, *heartbeat_s);
            put(out, r#","limits":"#);
            figures(out, limits);
        }
        Reply::Subscribed { channel, symbols, sequences, recovered } => {
            about(out, *channel, symbols, *sequences);
            if let Some(recovered) = recovered {
                put(out, r#","recovered":"#);
                put(out, if *recovered { "true" } else { "false" });
            }
        }
        Reply::Snapshots { channel, symbols, sequences, .. } => about(out, *channel, symbols, *sequences),
        Reply::Unsubscribed { channel, symbols } => {
            if let Some(channel) = channel {
                about(out, *channel, symbols, None);
            }
        }
        Reply::Subscriptions(list) => subscriptions(out, list),
        Reply::Pong | Reply::History { .. } | Reply::Acknowledged { .. } => {}
        Reply::Stats(pairs) => {
            put(out, r#","data":"#);
            figures(out, pairs);
        }
        Reply::Error { code, message } => {
            put(out, r#","code":"#);
            string(out, code);
            put(out, r#","message":"#);
            string(out, message);
        }
        Reply::Draining { deadline_s } => {
            put(out, r#","deadline_s":"#);
            write_u64(out, *deadline_s);
        }
        Reply::Slow { topic, conflated, queued_bytes, queue_age_ms, .. } => {
            put(out, r#","topic":"#);
            string(out, topic);
            put(out, r#","conflated":"#);
            write_u64(out, u64::from(*conflated));
            put(out, r#","queued_bytes":"#);
            write_u64(out, *queued_bytes as u64);
            put(out, r#","queue_age_ms":"#);
            write_i64(out, *queue_age_ms);
        }
    }
}

fn about(out: &mut Vec<u8>, channel: Channel, symbols: &[String], sequences: Option<&[Position]>) {
    put(out, r#","channel":""#);
    put(out, channel.name());
    put(out, r#"","symbols":["#);
    for (i, symbol) in symbols.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        string(out, symbol);
    }
    out.push(b']');
    if let Some(sequences) = sequences {
        put(out, r#","sequences":{"#);
        for (i, position) in sequences.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            string(out, &position.name);
            out.push(b':');
            write_u64(out, position.sequence);
        }
        out.push(b'}');
    }
}

fn subscriptions(out: &mut Vec<u8>, list: &[Listed<'_>]) {
    put(out, r#","subscriptions":["#);
    for (i, listed) in list.iter().enumerate() {
        put(out, if i == 0 { r#"{"channel":""# } else { r#",{"channel":""# });
        put(out, listed.channel.name());
        put(out, r#"","symbol":"#);
        string(out, listed.symbol);
        if let Some(timeframe) = listed.timeframe {
            put(out, r#","timeframe":"#);
            string(out, timeframe);
            put(out, r#","forming":"#);
            put(out, if listed.delivery.forming { "true" } else { "false" });
        }
        for (name, interval) in
            [(r#","throttle_ms":"#, listed.delivery.throttle), (r#","batch_ms":"#, listed.delivery.batch)]
        {
            if interval > Nanos::ZERO {
                put(out, name);
                write_i64(out, interval.0 / 1_000_000);
            }
        }
        if listed.delivery.format == Format::Binary {
            put(out, r#","format":"binary""#);
        }
        out.push(b'}');
    }
    out.push(b']');
}

fn figures(out: &mut Vec<u8>, pairs: &[(&'static str, u64)]) {
    out.push(b'{');
    for (i, (name, value)) in pairs.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        write_u64(out, *value);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::{Bar, BarFlags, Notional, Quote, Reason, Symbol, SymbolId, Topic, Volume};

    fn read(event: &Event, snapshot: bool) -> Value {
        let timeframes = Timeframes::parse("1s,1m").unwrap();
        let scene = Scene {
            symbol: Symbol::new(b"AAPL").unwrap(),
            timeframes: &timeframes,
            now: UnixNanos(1_770_474_600_123_456_789),
            snapshot,
            look: false,
            day: None,
        };
        let mut out = Vec::new();
        Native.event(&mut out, event, &scene);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_bar_says_all_that_the_protocol_promises() {
        let bar = Bar {
            volume: Volume(150_000_000),
            notional: Notional(150_000_000 * 10_500_000_000),
            start: UnixNanos(60_000_000_000),
            open: Price(10_000_000_000),
            high: Price(11_000_000_000),
            low: Price(9_990_000_000),
            close: Price(10_250_000_000),
            trades: 3,
        };
        let event = Event::bar(Topic::bars(SymbolId(0), 1), BarState::Revised, 12_345, &bar)
            .at(UnixNanos(61_000_000_500), UnixNanos(62_000_000_999))
            .revision(2, Reason::Late, BarFlags::INCOMPLETE.with(BarFlags::HALTED));
        assert_eq!(
            read(&event, false),
            json!({"type":"bar","channel":"bars","sequence":12345,"timestamp":"2026-02-07T14:30:00.123Z",
                "ts_event":61_000_000,"ts_recv":62_000_000,"ts_sent":1_770_474_600_123_456i64,
                "data":{"symbol":"AAPL","timeframe":"1m","start":60_000_000,"end":120_000_000,"open":10,"high":11,
                "low":9.99,"close":10.25,"volume":1.5,"vwap":10.5,"trades":3,"state":"revised","rev":2,
                "reason":"late","flags":["incomplete","halted"]}})
        );
        let empty = Event::bar(Topic::bars(SymbolId(0), 0), BarState::Forming, 1, &Bar::default());
        assert_eq!(read(&empty, false)["data"]["vwap"], Value::Null);
        assert_eq!(read(&empty, true)["type"], "snapshot");
    }

    #[test]
    fn a_trade_says_where_and_what_id() {
        let tick = Tick::trade(SymbolId(0), UnixNanos(7_000), UnixNanos(9_000), Price(1), Size(38_440));
        let topic = Topic::trades(SymbolId(0));
        let bare = read(&Event::trade(topic, 5, &tick), false);
        assert_eq!(
            bare["data"],
            json!({"symbol":"AAPL","price":1e-9,"size":0.0003844,"timestamp":7,"exchange":null,
                "trade_id":null,"conditions":[]})
        );
        let mut full = tick.with_id(TradeId::from_text(b"52983525027-A")).with_venue_letter(b'X');
        full.conditions = [12, 0, 37, 0];
        let full = read(&Event::trade(topic, 6, &full), false);
        assert_eq!(full["data"]["exchange"], "X");
        assert_eq!(full["data"]["trade_id"], "52983525027-A");
        assert_eq!(full["data"]["conditions"], json!([12, 37]));
        let venue = read(&Event::trade(topic, 7, &tick.with_venue(Venue(4))), false);
        assert_eq!(venue["data"]["exchange"], "4");
        let cancel = Tick::cancel(SymbolId(0), UnixNanos(7), UnixNanos(9), TradeId::from_u64(8));
        assert_eq!(read(&Event::trade(topic, 8, &cancel), false)["type"], "cancel");
    }

    #[test]
    fn a_status_says_what_comes_next_and_null_where_nothing_does() {
        use crate::model::calendar::{MarketStatus, Standing, built_in};
        let topic = Topic::status(SymbolId(0));
        // 2026-11-27 15:00 UTC: open until 13:00 in New York.
        let market = built_in("us-equities").unwrap().status(UnixNanos(1_795_791_600_000_000_000));
        let open = read(&Event::status(topic, &market), false);
        assert_eq!((&open["type"], &open["channel"]), (&json!("status"), &json!("status")));
        assert_eq!(
            open["data"],
            json!({"symbol":"AAPL","status":"regular","since":1_795_789_800_000_000i64,
                "next_change":1_795_802_400_000_000i64,"next_open":1_796_049_000_000_000i64,
                "next_close":1_795_802_400_000_000i64})
        );
        let halted = MarketStatus::new(Standing::Halted, UnixNanos(7_000));
        let halted = read(&Event::status(topic, &halted), true);
        assert_eq!(halted["data"]["status"], "halted");
        assert_eq!((&halted["data"]["since"], &halted["data"]["next_change"]), (&json!(7), &Value::Null));
    }

    #[test]
    fn an_absent_side_of_a_quote_is_null() {
        let mut quote = Quote::default();
        (quote.bid, quote.bid_size) = (Price(2_000_000_000), Size(100_000_000));
        let event = Event::quote(Topic::quotes(SymbolId(0)), 0, &quote);
        assert_eq!(
            read(&event, false)["data"],
            json!({"symbol":"AAPL","bid":2,"ask":null,"bid_size":1,"ask_size":null,"last":null,"volume":0})
        );
    }
}
