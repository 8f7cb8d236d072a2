//! A reader of binary records that shares no code with their writer: it goes by the documented offsets.

use std::fmt::Write as _;

use tickwire::gateway::dialect::json::iso_millis;
use tickwire::model::{Price, Size, UnixNanos, Volume};

const CHANNELS: [&str; 3] = ["bars", "trades", "quotes"];
const STATES: [&str; 3] = ["forming", "closed", "revised"];
const KINDS: [&str; 3] = ["trade", "cancel", "correction"];
const REASONS: [&str; 5] = ["", "late", "cancel", "correct", "backfill"];
const FLAGS: [&str; 4] = ["incomplete", "synthetic", "halted", "refused"];

pub struct Record<'a> {
    bytes: &'a [u8],
    /// `ts_event`, `ts_recv`, `ts_sent`, ns.
    pub times: [i64; 3],
}

impl<'a> Record<'a> {
    /// The first record of a message and its length.
    pub fn read(message: &'a [u8]) -> Option<(Self, usize)> {
        let length = u32::from_le_bytes(message.get(4..8)?.try_into().ok()?) as usize;
        let record = Self { bytes: message.get(..length)?, times: [0; 3] };
        (record.u16(2) == 1).then_some(())?;
        let times = [16, 24, 32].map(|place| record.i64(place));
        Some((Self { times, ..record }, length))
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes[at..at + 2].try_into().unwrap())
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().unwrap())
    }

    fn i64(&self, at: usize) -> i64 {
        i64::from_le_bytes(self.bytes[at..at + 8].try_into().unwrap())
    }

    fn u128(&self, at: usize) -> u128 {
        u128::from_le_bytes(self.bytes[at..at + 16].try_into().unwrap())
    }

    /// Text with zeros to its 32 bytes.
    fn text(&self, at: usize, length: u8) -> &'a str {
        let (text, rest) = self.bytes[at..at + 32].split_at(usize::from(length));
        assert!(rest.iter().all(|&byte| byte == 0));
        std::str::from_utf8(text).unwrap()
    }

    fn symbol(&self) -> &'a str {
        self.text(48, self.bytes[43])
    }

    /// The JSON message of the same event.
    pub fn json(&self) -> String {
        let bytes = self.bytes;
        let (schema, state) = (self.u16(0), usize::from(bytes[41]));
        let kind = match schema {
            _ if bytes[42] & 1 != 0 => "snapshot",
            1 => "bar",
            2 => KINDS[state],
            _ => "quote",
        };
        let mut iso = Vec::new();
        iso_millis(&mut iso, UnixNanos(self.times[2]));
        let [event, recv, sent] = self.times.map(|at| at.div_euclid(1_000));
        let mut out = format!(
            r#"{{"type":"{kind}","channel":"{}","sequence":{},"timestamp":"{}","ts_event":{event},"ts_recv":{recv},"ts_sent":{sent},"data":{{"symbol":"{}""#,
            CHANNELS[usize::from(bytes[40])],
            self.u64(8),
            String::from_utf8(iso).unwrap(),
            self.symbol(),
        );
        match schema {
            1 => self.bar(&mut out, STATES[state]),
            2 => self.trade(&mut out),
            _ => self.quote(&mut out),
        }
        out + "}}"
    }

    fn bar(&self, out: &mut String, state: &str) {
        let bytes = self.bytes;
        let label = match self.u32(44) {
            86_400 => "1d".to_owned(),
            s if s % 3_600 == 0 => format!("{}h", s / 3_600),
            s if s % 60 == 0 => format!("{}m", s / 60),
            s => format!("{s}s"),
        };
        let [start, end] = [80, 88].map(|at| self.i64(at).div_euclid(1_000));
        let [open, high, low, close] = [96, 104, 112, 120].map(|at| price(self.i64(at)));
        let vwap = match self.i64(144) {
            i64::MIN => "null".to_owned(),
            vwap => price(vwap),
        };
        write!(
            out,
            r#","timeframe":"{label}","start":{start},"end":{end},"open":{open},"high":{high},"low":{low},"close":{close},"volume":{},"vwap":{vwap},"trades":{},"state":"{state}","rev":{}"#,
            volume(self.u128(128)),
            self.u64(152),
            self.u32(160),
        )
        .unwrap();
        if bytes[164] > 0 {
            write!(out, r#","reason":"{}""#, REASONS[usize::from(bytes[164])]).unwrap();
        }
        let flags = FLAGS.iter().enumerate().filter(|(bit, _)| bytes[165] >> bit & 1 == 1);
        let flags: Vec<String> = flags.map(|(_, name)| format!("\"{name}\"")).collect();
        write!(out, r#","flags":[{}]"#, flags.join(",")).unwrap();
        assert_eq!(bytes[166..168], [0, 0]);
    }

    fn trade(&self, out: &mut String) {
        let bytes = self.bytes;
        let exchange = match bytes[105] {
            0 => "null".to_owned(),
            1 => format!("\"{}\"", bytes[104]),
            _ => format!("\"{}\"", char::from(bytes[104])),
        };
        let id = match self.text(112, bytes[106]) {
            "" => "null".to_owned(),
            id => format!("\"{id}\""),
        };
        let conditions: Vec<String> =
            bytes[108..112].iter().filter(|&&code| code != 0).map(u8::to_string).collect();
        write!(
            out,
            r#","price":{},"size":{},"timestamp":{},"exchange":{exchange},"trade_id":{id},"conditions":[{}]"#,
            price(self.i64(88)),
            size(self.u64(96)),
            self.i64(80).div_euclid(1_000),
            conditions.join(",")
        )
        .unwrap();
    }

    fn quote(&self, out: &mut String) {
        let there = |bit: u8, text: String| {
            if self.bytes[120] >> bit & 1 == 1 { text } else { "null".to_owned() }
        };
        write!(
            out,
            r#","bid":{},"ask":{},"bid_size":{},"ask_size":{},"last":{},"volume":{}"#,
            there(0, price(self.i64(80))),
            there(1, price(self.i64(88))),
            there(0, size(self.u64(96))),
            there(1, size(self.u64(104))),
            there(2, price(self.i64(112))),
            volume(self.u128(128)),
        )
        .unwrap();
    }

    /// What `decode.c` prints of it.
    pub fn line(&self) -> String {
        let bytes = self.bytes;
        let mut out = format!(
            "{} {} {} {} {} {} {} {} {} {}",
            self.u16(0),
            self.u64(8),
            self.i64(16),
            self.i64(24),
            self.i64(32),
            bytes[40],
            bytes[41],
            bytes[42],
            self.u32(44),
            self.symbol(),
        );
        let wide = |at| format!("{}:{}", self.u64(at + 8), self.u64(at));
        match self.u16(0) {
            1 => {
                for at in [80, 88, 96, 104, 112, 120] {
                    write!(out, " {}", self.i64(at)).unwrap();
                }
                let (volume, vwap, trades) = (wide(128), self.i64(144), self.u64(152));
                write!(out, " {volume} {vwap} {trades} {} {} {}", self.u32(160), bytes[164], bytes[165])
            }
            2 => {
                let id = self.text(112, bytes[106]);
                let [timestamp, price] = [80, 88].map(|at| self.i64(at));
                let codes = &bytes[108..112];
                write!(
                    out,
                    " {timestamp} {price} {} {} {} {} {} {} {} [{id}]",
                    self.u64(96),
                    bytes[104],
                    bytes[105],
                    codes[0],
                    codes[1],
                    codes[2],
                    codes[3]
                )
            }
            _ => {
                let [bid, ask, last] = [80, 88, 112].map(|at| self.i64(at));
                let [bid_size, ask_size] = [96, 104].map(|at| self.u64(at));
                write!(out, " {bid} {ask} {bid_size} {ask_size} {last} {} {}", bytes[120], wide(128))
            }
        }
        .unwrap();
        out
    }
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

fn price(units: i64) -> String {
    written(|out| Price(units).write(out))
}

fn size(units: u64) -> String {
    written(|out| Size(units).write(out))
}

fn volume(units: u128) -> String {
    written(|out| Volume(units).write(out))
}
