//! Answers of REST interfaces, each row compared to what simd-json's own document and exact decimals say of it.

use simd_json::OwnedValue;
use simd_json::prelude::*;

use tickwire::backfill::answer::{Answer, Asked, Row};
use tickwire::backfill::find;
use tickwire::feed::json::Json;
use tickwire::model::{Nanos, UnixNanos};

use super::massive::{document, field, number, whole};
use super::number::{self, Number};

const MINUTE_MS: i64 = 60_000;
/// 2026-03-05T15:00:00Z.
const FROM_MS: i64 = 1_772_722_800_000;
const TO_MS: i64 = FROM_MS + 60 * MINUTE_MS;
/// The vendor's clock: the last ten minutes are not over.
const OVER_MS: i64 = TO_MS - 10 * MINUTE_MS;
const VOLUME_MAX: i128 = 1 << 80;
const NOTIONAL_MAX: i128 = 1 << 100;

/// What a row means by a plain reading: start, open, high, low, close, volume, turnover, trades.
type Plain = (i64, [i64; 4], i128, Option<i128>, u64);

/// The verdict on a row.
enum Meant {
    Bar(Plain),
    Empty,
    Refused,
}

pub fn massive(data: &[u8]) {
    check("massive", data, |answer| {
        let good = matches!(field(answer, "status")?.as_str()?, "OK" | "DELAYED")
            && field(answer, "ticker")?.as_str()? == "AAPL";
        let rows = match field(answer, "results") {
            None => Vec::new(),
            Some(results) => results.as_array()?.iter().map(massive_row).collect(),
        };
        let next = match field(answer, "next_url") {
            None => true,
            Some(next) => {
                let url = next.as_str()?;
                let path =
                    url.split_once("://").map_or(Some(url), |(_, rest)| Some(&rest[rest.find('/')?..]))?;
                path.starts_with('/') && path.bytes().all(|b| (b'!'..=b'~').contains(&b) && b != b'#')
            }
        };
        (good && next && answer.is_object()).then_some(rows)
    });
}

pub fn binance(data: &[u8]) {
    check("binance-usdm", data, |answer| Some(answer.as_array()?.iter().map(binance_row).collect()));
}

/// Start, ordered prices, volume, turnover and trades of a row whose numbers are all there; `None` where one is no number.
fn massive_row(row: &OwnedValue) -> (Option<i64>, Option<Plain>) {
    let start = field(row, "t").and_then(whole).and_then(|ms| i64::try_from(ms).ok());
    let rest = || {
        let value = |name| number(field(row, name)?);
        let volume = number::sum_within(&value("v")?, 8, VOLUME_MAX)?;
        let turnover = match field(row, "vw") {
            None => None,
            Some(_) => Some(number::average_times(&value("vw")?, volume, NOTIONAL_MAX)?),
        };
        let trades = match field(row, "n") {
            None => None,
            Some(n) => Some(u32::try_from(whole(n)?).ok()?),
        };
        let prices = [price(&value("o")?)?, price(&value("h")?)?, price(&value("l")?)?, price(&value("c")?)?];
        Some((start?, prices, volume, turnover, trades.map_or(u64::MAX, u64::from)))
    };
    let there = ["t", "o", "h", "l", "c", "v"].iter().all(|name| field(row, name).is_some());
    if there { (start, rest()) } else { (None, None) }
}

fn binance_row(row: &OwnedValue) -> (Option<i64>, Option<Plain>) {
    let Some(cells) = row.as_array().filter(|cells| cells.len() >= 9) else { return (None, None) };
    if cells[..9].iter().any(OwnedValue::is_null) {
        return (None, None);
    }
    let start = whole(&cells[0]).and_then(|ms| i64::try_from(ms).ok());
    let rest = || {
        let value = |at: usize| cells[at].as_str().map(Number::Text);
        let prices = [price(&value(1)?)?, price(&value(2)?)?, price(&value(3)?)?, price(&value(4)?)?];
        let volume = number::sum_within(&value(5)?, 8, VOLUME_MAX)?;
        let turnover = number::sum_within(&value(7)?, 17, NOTIONAL_MAX)?;
        let trades = u32::try_from(whole(&cells[8])?).ok()?;
        Some((start?, prices, volume, Some(turnover), u64::from(trades)))
    };
    (start, rest())
}

fn price(value: &Number<'_>) -> Option<i64> {
    number::price(value).filter(|price| *price > 0)
}

/// What rows mean that come one after the other.
fn verdicts(rows: Vec<(Option<i64>, Option<Plain>)>) -> Vec<Meant> {
    let mut newest = i64::MIN;
    let verdict = |(start, plain): (Option<i64>, Option<Plain>)| {
        let Some(start) = start.filter(|ms| (FROM_MS..TO_MS).contains(ms) && ms % MINUTE_MS == 0) else {
            return Meant::Refused;
        };
        if start <= newest {
            return Meant::Refused;
        }
        newest = start;
        match plain {
            Some(plain) if start + MINUTE_MS <= OVER_MS => {
                let [open, high, low, close] = plain.1;
                let ordered = high >= open && high >= close && low <= open && low <= close;
                match plain {
                    _ if !ordered => Meant::Refused,
                    (_, _, 0, _, 0) => Meant::Empty,
                    (start, prices, volume, turnover, u64::MAX) => {
                        Meant::Bar((start, prices, volume, turnover, 0))
                    }
                    plain => Meant::Bar(plain),
                }
            }
            _ => Meant::Refused,
        }
    };
    rows.into_iter().map(verdict).collect()
}

fn check(
    vendor: &str,
    data: &[u8],
    plain: impl FnOnce(&OwnedValue) -> Option<Vec<(Option<i64>, Option<Plain>)>>,
) {
    let at = |ms: i64| UnixNanos(ms * 1_000_000);
    let asked = Asked { symbol: "AAPL", seconds: 60, from: at(FROM_MS), to: at(TO_MS), over: at(OVER_MS) };
    let vendor = find(vendor).expect("a vendor of that name").vendor;
    let mut answer = Answer::default();
    let read = vendor.read(&mut data.to_vec(), &asked, &mut Json::default(), &mut answer);
    let starts = || answer.rows.iter().map(|row| row.bar.start);
    assert!(starts().all(|start| start >= asked.from && start + Nanos::from_secs(60) <= asked.over));
    assert!(starts().zip(starts().skip(1)).all(|(one, next)| one < next), "rows that do not ascend");
    let Some(document) = document(data) else { return };
    let meant = plain(&document);
    assert_eq!(read.is_ok(), meant.is_some(), "an answer, or none: {read:?}");
    let verdicts = verdicts(meant.unwrap_or_default());
    if read.is_err() {
        return;
    }
    let bars: Vec<Plain> = verdicts
        .iter()
        .filter_map(|verdict| if let Meant::Bar(bar) = verdict { Some(*bar) } else { None })
        .collect();
    assert_eq!(answer.rows.iter().map(of).collect::<Vec<_>>(), bars);
    let count = |wanted: fn(&&Meant) -> bool| verdicts.iter().filter(wanted).count() as u64;
    assert_eq!(answer.empty.len() as u64, count(|verdict| matches!(verdict, Meant::Empty)), "without trades");
    assert_eq!(answer.refused(), count(|verdict| matches!(verdict, Meant::Refused)), "refused");
    check_quiet(&asked, &answer);
}

/// Intervals that are told as quiet have no bar; and without a refused row all that have none are told, or those with a row that says so.
fn check_quiet(asked: &Asked<'_>, answer: &Answer) {
    let quiet = answer.quiet(asked, asked.from, asked.to);
    let has_bar = |start: &UnixNanos| answer.rows.iter().any(|row| row.bar.start == *start);
    assert!(quiet.iter().all(|start| (asked.from..asked.to).contains(start) && !has_bar(start)));
    assert!(quiet.iter().all(|start| start.floor(asked.length()) == *start));
    assert!(
        quiet.iter().zip(quiet.iter().skip(1)).all(|(one, next)| one < next),
        "quiet ones that do not ascend"
    );
    if answer.refused() == 0 {
        let silent = asked.intervals() as usize - answer.rows.len();
        let told = if answer.leaves_out_empty { silent } else { answer.empty.len() };
        assert_eq!(quiet.len(), told, "quiet ones of {silent} without a bar");
    }
}

fn of(row: &Row) -> Plain {
    let bar = &row.bar;
    (
        bar.start.millis(),
        [bar.open.0, bar.high.0, bar.low.0, bar.close.0],
        bar.volume.0 as i128,
        row.has_notional.then_some(bar.notional.0),
        bar.trades,
    )
}

pub fn massive_seeds() -> Vec<Vec<u8>> {
    let row = |n: i64, rest: &str| {
        format!(r#"{{"v":100.5,"o":10.1,"c":10.2,"h":10.5,"l":10,"t":{}{rest}}}"#, FROM_MS + n * MINUTE_MS)
    };
    let answer = |rows: &str, rest: &str| {
        format!(
            r#"{{"ticker":"AAPL","resultsCount":1,"adjusted":false,"results":[{rows}],"status":"OK"{rest}}}"#
        )
        .into_bytes()
    };
    vec![
        answer(
            &[
                row(0, r#","vw":10.25,"n":7"#),
                row(1, r#","vw":10.255555555555555"#),
                row(6, r#","vw":1.025e+1"#),
                row(2, r#","n":7"#),
            ]
            .join(","),
            "",
        ),
        answer(
            &[row(3, ""), row(3, ""), row(70, ""), row(55, "")].join(","),
            r#","next_url":"https://h/v2/a?cursor=x""#,
        ),
        answer(&row(4, "").replace("100.5", "7.0790813e+07"), ""),
        answer(&row(5, r#","n":0"#).replace("100.5", "0"), ""),
        br#"{"ticker":"AAPL","queryCount":0,"resultsCount":0,"adjusted":false,"status":"DELAYED"}"#.to_vec(),
        br#"{"status":"ERROR","error":"Unknown API Key"}"#.to_vec(),
    ]
}

pub fn binance_seeds() -> Vec<Vec<u8>> {
    let row = |n: i64| {
        let open = FROM_MS + n * MINUTE_MS;
        format!(
            r#"[{open},"61000.10","61010.00","60990.5","61005.00","3.844E-5",{},"2.34461256",2,"0","0","0"]"#,
            open + MINUTE_MS - 1
        )
    };
    let empty = |n: i64| row(n).replace("3.844E-5", "0").replace("2.34461256", "0").replace(",2,", ",0,");
    vec![
        format!("[{}]", [row(0), row(1), empty(2), row(3)].join(",")).into_bytes(),
        format!("[{}]", [row(9), row(9), row(59), row(60)].join(",")).into_bytes(),
        br#"{"code":-1121,"msg":"Invalid symbol."}"#.to_vec(),
        b"[]".to_vec(),
    ]
}
