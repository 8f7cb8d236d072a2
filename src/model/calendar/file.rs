//! Calendars as dated data: TOML files, three of them built in.

use jiff::civil::Date;
use serde::Deserialize;

use super::zone::Zone;
use super::{Calendar, HOUR_S, Phase, SESSIONS_MAX, Session, Special};

/// The calendars that need no file: name and text.
pub const BUILT_IN: [(&str, &str); 3] = [
    ("us-equities", include_str!("us-equities.toml")),
    ("crypto-24x7", include_str!("crypto-24x7.toml")),
    ("fx-week", include_str!("fx-week.toml")),
];

const DAY_S: i64 = 24 * HOUR_S;

/// A calendar as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    zone: String,
    week: Vec<String>,
    day_ends: Option<String>,
    from: Option<String>,
    to: Option<String>,
    sessions: Vec<(String, String, String)>,
    #[serde(default)]
    closed: Vec<(String, String)>,
    #[serde(default)]
    early: Vec<(String, String, String, String)>,
    /// Read by people.
    #[serde(default, rename = "sources")]
    _sources: Vec<(String, String, String)>,
}

/// One of the calendars that need no file.
///
/// # Errors
/// A sentence that lists them.
pub fn built_in(name: &str) -> Result<Calendar, String> {
    match BUILT_IN.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => parse(text),
        None => {
            let known: Vec<_> = BUILT_IN.iter().map(|(known, _)| *known).collect();
            Err(format!("there is no calendar {name:?}; there are {}", known.join(", ")))
        }
    }
}

/// Reads a calendar's text.
///
/// # Errors
/// A sentence: which key is wrong, and what would be right.
pub fn parse(text: &str) -> Result<Calendar, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let zone = Zone::new(&file.zone).map_err(|message| format!("zone: {message}"))?;
    let mut week = [false; 7];
    for name in &file.week {
        const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
        let at = DAYS.iter().position(|day| day == name);
        week[at.ok_or_else(|| format!("week: {name:?} is none of {}", DAYS.join(", ")))?] = true;
    }
    let ends_s = file.day_ends.as_deref().map_or(Ok(0), |text| clock("day_ends", text))? % DAY_S;
    // A day that ends at 17:00 began at 17:00 the evening before.
    let day_begins_s = if ends_s == 0 { 0 } else { ends_s - DAY_S };
    let sessions = read_sessions(&file.sessions, day_begins_s)?;
    let mut calendar = Calendar {
        name: file.name,
        zone,
        week,
        day_begins_s,
        sessions,
        specials: Vec::new(),
        from: file.from.as_deref().map(|text| date("from", text)).transpose()?,
        to: file.to.as_deref().map(|text| date("to", text)).transpose()?,
    };
    for (day, why) in file.closed {
        let date = date("closed", &day)?;
        calendar.specials.push(Special { date, ends: None, why });
    }
    for (day, regular, post, why) in file.early {
        let date = date("early", &day)?;
        let ends = (clock("early", &regular)?, clock("early", &post)?);
        if ends.0 > ends.1 {
            return Err(format!("early: on {day} the late session ends before the regular one"));
        }
        calendar.specials.push(Special { date, ends: Some(ends), why });
    }
    calendar.specials.sort_by_key(|special| special.date);
    if let Some(pair) = calendar.specials.windows(2).find(|pair| pair[0].date == pair[1].date) {
        return Err(format!("closed, early: {} is there twice", show_date(pair[0].date)));
    }
    Ok(calendar)
}

fn read_sessions(list: &[(String, String, String)], day_begins_s: i64) -> Result<Vec<Session>, String> {
    let mut sessions = Vec::new();
    for (name, from, to) in list {
        let phase = match name.as_str() {
            "pre" => Phase::Pre,
            "regular" => Phase::Regular,
            "post" => Phase::Post,
            other => return Err(format!("sessions: {other:?} is none of pre, regular, post")),
        };
        let (mut from_s, to_s) = (clock("sessions", from)?, clock("sessions", to)?);
        let day_ends_s = day_begins_s + DAY_S;
        if from_s >= day_ends_s {
            from_s -= DAY_S;
        }
        let to_s = if to_s > day_ends_s { to_s - DAY_S } else { to_s };
        let previous = sessions.last().map_or(day_begins_s, |session: &Session| session.to_s);
        if from_s < previous || to_s <= from_s {
            return Err(format!(
                "sessions: {name} {from}–{to} is not after the one before, or ends before it begins"
            ));
        }
        sessions.push(Session { phase, from_s, to_s });
    }
    if sessions.is_empty() || sessions.len() > SESSIONS_MAX {
        return Err(format!("sessions: {} given; between 1 and {SESSIONS_MAX} are possible", sessions.len()));
    }
    if !sessions.iter().any(|session| session.phase == Phase::Regular) {
        return Err("sessions: none is called regular".to_owned());
    }
    Ok(sessions)
}

/// `09:30` as seconds after midnight; `24:00` is the last.
fn clock(key: &str, text: &str) -> Result<i64, String> {
    let wrong = || format!("{key}: {text:?} is not a time of day such as \"09:30\", up to \"24:00\"");
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(hours) || !digits(minutes) {
        return Err(wrong());
    }
    let (hours, minutes): (i64, i64) =
        (hours.parse().map_err(|_| wrong())?, minutes.parse().map_err(|_| wrong())?);
    let s = hours * HOUR_S + minutes * 60;
    if minutes < 60 && s <= DAY_S { Ok(s) } else { Err(wrong()) }
}

/// Days since 1970.
fn date(key: &str, text: &str) -> Result<i64, String> {
    let date: Date =
        text.parse().map_err(|_| format!("{key}: {text:?} is not a date such as \"2026-11-27\""))?;
    let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|error| format!("{key}: {error}"))?;
    Ok(midnight.timestamp().as_second().div_euclid(DAY_S))
}

/// A date given as days since 1970.
pub fn show_date(date: i64) -> String {
    match jiff::Timestamp::from_second(date.saturating_mul(DAY_S)) {
        Ok(midnight) => midnight.strftime("%Y-%m-%d").to_string(),
        Err(_) => format!("day {date}"),
    }
}
