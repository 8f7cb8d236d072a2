//! The calendars that are built in, and days, segments and intervals against a slow model that asks jiff for every instant.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;

use super::*;
use crate::model::{Nanos, Timeframes};

fn us() -> Calendar {
    built_in("us-equities").unwrap()
}

/// `2026-03-08 09:30` on New York's clocks.
fn new_york(text: &str) -> UnixNanos {
    let civil: jiff::civil::DateTime = text.parse().unwrap();
    UnixNanos(civil.in_tz("America/New_York").unwrap().timestamp().as_nanosecond() as i64)
}

fn hours(interval: Interval) -> i64 {
    interval.end.since(interval.start).0 / (HOUR_S * SECOND)
}

#[test]
fn every_built_in_calendar_can_be_read_under_its_own_name() {
    for (name, _) in BUILT_IN {
        assert_eq!(built_in(name).unwrap().name(), name);
    }
    assert!(built_in("us-equity").unwrap_err().contains("us-equities"));
}

#[test]
fn a_civil_day_has_23_or_25_hours_where_clocks_change() {
    for (noon, wanted) in [("2026-03-08 12:00", 23), ("2026-03-09 12:00", 24), ("2026-11-01 12:00", 25)] {
        let day = us().day_interval(new_york(noon));
        assert_eq!(hours(day), wanted, "{noon}");
        assert_eq!(day.start, new_york(&noon.replace("12:00", "00:00")));
    }
}

#[test]
fn a_half_day_a_holiday_and_a_weekend_have_their_own_segments() {
    let of = |text: &str| {
        let day = us().day(new_york(text));
        let clock = |at: UnixNanos| at.since(day.interval.start).0 / (60 * SECOND);
        day.segments().iter().map(|s| (clock(s.start), clock(s.end), s.phase)).collect::<Vec<_>>()
    };
    use Phase::*;
    let (pre, open, one, four, five, eight) = (240, 570, 780, 960, 1_020, 1_200);
    let full = vec![
        (0, pre, Closed),
        (pre, open, Pre),
        (open, four, Regular),
        (four, eight, Post),
        (eight, 1_440, Closed),
    ];
    assert_eq!(of("2026-11-25 12:00"), full);
    assert_eq!(of("2026-11-26 12:00"), [(0, 1_440, Holiday)]);
    let half = vec![
        (0, pre, Closed),
        (pre, open, Pre),
        (open, one, Regular),
        (one, five, Post),
        (five, 1_440, Closed),
    ];
    assert_eq!(of("2026-11-27 12:00"), half);
    assert_eq!(of("2026-11-28 12:00"), [(0, 1_440, Closed)]);
}

#[test]
fn an_fx_day_ends_at_17_and_the_week_on_friday() {
    let fx = built_in("fx-week").unwrap();
    let monday = fx.day(new_york("2026-11-22 17:00"));
    assert_eq!(show_date(monday.date), "2026-11-23");
    assert_eq!(monday.segments().len(), 1);
    assert_eq!(monday.segments()[0].phase, Phase::Regular);
    assert_eq!(monday.interval.end, new_york("2026-11-23 17:00"));
    assert_eq!(fx.segment(new_york("2026-11-20 16:59")).phase, Phase::Regular);
    assert_eq!(fx.segment(new_york("2026-11-20 17:00")).phase, Phase::Closed);
    assert_eq!(fx.segment(new_york("2026-11-22 16:59")).phase, Phase::Closed);
    // The weekend in which clocks change: Sunday's day began on Saturday at 17:00.
    assert_eq!(hours(fx.day_interval(new_york("2026-03-08 12:00"))), 23);
    let status = fx.status(new_york("2026-11-18 12:00"));
    assert_eq!(status.next_change, new_york("2026-11-20 17:00"));
    assert_eq!(status.next_close, new_york("2026-11-20 17:00"));
    assert_eq!(status.next_open, new_york("2026-11-22 17:00"));
}

#[test]
fn the_status_says_what_comes_next_across_a_holiday() {
    let at = |text| us().status(new_york(text));
    let wednesday = at("2026-11-25 21:00");
    assert_eq!(wednesday.standing(), Standing::Closed);
    assert_eq!(wednesday.next_change, new_york("2026-11-26 00:00"));
    assert_eq!(wednesday.next_open, new_york("2026-11-27 09:30"));
    assert_eq!(wednesday.next_close, new_york("2026-11-27 13:00"));
    let thanksgiving = at("2026-11-26 12:00");
    assert_eq!(thanksgiving.standing(), Standing::Holiday);
    assert_eq!(thanksgiving.next_change, new_york("2026-11-27 00:00"));
    let open = at("2026-11-27 10:00");
    assert_eq!((open.standing(), open.since), (Standing::Regular, new_york("2026-11-27 09:30")));
    assert_eq!(
        (open.next_change, open.next_close),
        (new_york("2026-11-27 13:00"), new_york("2026-11-27 13:00"))
    );
    assert_eq!(open.next_open, new_york("2026-11-30 09:30"));
    let always = built_in("crypto-24x7").unwrap().status(new_york("2026-11-27 10:00"));
    assert_eq!((always.standing(), always.next_change), (Standing::Regular, UnixNanos::MAX));
}

#[test]
fn hours_anchored_to_the_session_end_with_it() {
    let timeframes = Timeframes::parse("1m,1h,4h,1d").unwrap();
    let grid = Grid::new(&timeframes, Arc::new(us()), Anchor::Session).unwrap();
    let of = |level, text: &str| {
        let interval = grid.interval(level, new_york(text));
        (interval.start, interval.end)
    };
    for day in ["2026-03-06", "2026-03-09", "2026-10-30", "2026-11-02"] {
        let at = |clock: &str| new_york(&format!("{day} {clock}"));
        assert_eq!(of(1, &format!("{day} 10:29")), (at("09:30"), at("10:30")));
        assert_eq!(of(1, &format!("{day} 15:45")), (at("15:30"), at("16:00")));
        assert_eq!(of(1, &format!("{day} 09:29")), (at("09:00"), at("09:30")));
        assert_eq!(of(2, &format!("{day} 13:30")), (at("13:30"), at("16:00")));
        assert_eq!(of(1, &format!("{day} 16:00")), (at("16:00"), at("17:00")));
    }
    assert_eq!(of(1, "2026-11-27 12:59"), (new_york("2026-11-27 12:30"), new_york("2026-11-27 13:00")));
    assert_eq!(grid.odd_length_s(1, new_york("2026-11-27 12:30")), 1_800);
    assert_eq!(grid.odd_length_s(1, new_york("2026-11-27 11:30")), 0);
    assert_eq!(grid.odd_length_s(3, new_york("2026-03-08 00:00")), 23 * 3_600);
}

#[test]
fn timeframes_that_do_not_nest_are_refused_with_what_to_add() {
    let nest = |list: &str, anchor| {
        Grid::new(&Timeframes::parse(list).unwrap(), Arc::new(us()), anchor)
            .map_err(|error| error.to_string())
    };
    // 1h is the finest, and days are made of its segments.
    assert!(nest("1h,1d", Anchor::Session).is_ok());
    let wrong = nest("4h,1d", Anchor::Epoch).unwrap_err();
    assert!(wrong.contains("us-equities") && wrong.contains("1d") && wrong.contains("60 minutes"), "{wrong}");
    assert!(nest("1h,4h,1d", Anchor::Epoch).is_ok());
    let wrong = nest("45m,90m", Anchor::Session).unwrap_err();
    assert!(wrong.contains("30 minutes"), "{wrong}");
    assert!(nest("15m,45m,90m", Anchor::Session).is_ok());
    // A day that begins at a full hour is not made of bars of four hours.
    assert_eq!(nest("1h,4h,1d", Anchor::Epoch).unwrap().child(2), 0);
    assert_eq!(nest("1h,4h,1d", Anchor::Session).unwrap().child(2), 1);
}

#[test]
fn a_calendar_with_a_mistake_is_refused_by_its_key() {
    let good = "name='x'\nzone='Asia/Tokyo'\nweek=['mon']\n";
    for (bad, wanted) in [
        ("sessions=[['regular','09:00','08:00']]", "ends before it begins"),
        ("sessions=[['lunch','09:00','10:00']]", "none of pre"),
        ("sessions=[['regular','9:00','10:00']]", "09:30"),
        ("sessions=[['pre','09:00','10:00']]", "regular"),
        ("sessions=[]", "between 1 and"),
        ("sessions=[['regular','09:00','11:30']]\nclosed=[['2026-13-01','x']]", "date"),
        ("sessions=[['regular','09:00','11:30']]\nclosed=[['2026-01-01','x'],['2026-01-01','y']]", "twice"),
        ("sessions=[['regular','09:00','11:30']]\nearly=[['2026-01-01','12:00','11:00','y']]", "ends before"),
        ("sessions=[['regular','09:00','11:30']]\nday_ends='25:00'", "day_ends"),
        ("sessions=[['regular','09:00','11:30']]\nholiday=1", "holiday"),
    ] {
        let error = parse(&format!("{good}{bad}")).unwrap_err();
        assert!(error.contains(wanted), "{bad}: {error}");
    }
    let tokyo =
        parse(&format!("{good}sessions=[['regular','09:00','11:30'],['regular','12:30','15:30']]")).unwrap();
    assert_eq!(tokyo.day(UnixNanos(1_792_368_000 * SECOND)).segments().len(), 5);
}

#[test]
fn no_instant_is_too_early_or_too_late_to_have_an_interval() {
    let timeframes = Timeframes::parse("1s,1h,1d").unwrap();
    for (name, _) in BUILT_IN {
        let grid = Grid::new(&timeframes, Arc::new(built_in(name).unwrap()), Anchor::Session).unwrap();
        for at in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 250_000_000, i64::MAX - 1] {
            for level in 0..3 {
                let interval = grid.interval(level, UnixNanos(at));
                assert!(
                    interval.start <= UnixNanos(at) && UnixNanos(at) <= interval.end,
                    "{name} {level} {at}"
                );
            }
        }
    }
}

/// The day of an instant by asking jiff which civil date it is, and stepping to the first instants of that and the next.
fn slow_day(zone: &TimeZone, begins_s: i64, at: UnixNanos) -> (i64, i64) {
    let begin = |date: Date| {
        // The first second of the clock that is not before the wanted one, minute by minute from well before.
        let wanted = date.at(0, 0, 0, 0).checked_add(begins_s.seconds()).unwrap();
        let mut t = zone.to_ambiguous_zoned(wanted).earlier().unwrap().timestamp();
        t = t.checked_sub(3.hours()).unwrap();
        t = Timestamp::from_second(t.as_second().div_euclid(60) * 60).unwrap();
        while zone.to_datetime(t) < wanted {
            t = t.checked_add(1.minute()).unwrap();
        }
        t.as_second()
    };
    let civil = zone.to_datetime(Timestamp::from_second(seconds(at)).unwrap());
    let mut date = civil.date().checked_sub(2.days()).unwrap();
    loop {
        let next = date.tomorrow().unwrap();
        let end = begin(next);
        if end > seconds(at) {
            return (begin(date), end);
        }
        date = next;
    }
}

const ZONES: [&str; 9] = [
    "America/New_York",
    "Europe/London",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Asia/Beirut",
    "America/Havana",
    "Pacific/Apia",
    "Asia/Tehran",
];

/// A year in nanoseconds, for choosing instants.
const YEAR: i64 = 365 * DAY_S * SECOND;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn days_are_those_of_a_slow_model_in_every_zone(
        zone in 0..ZONES.len(), at in 30 * YEAR..100 * YEAR, evening in any::<bool>(),
    ) {
        let ends = if evening { "day_ends='17:00'" } else { "" };
        let text = format!(
            "name='x'\nzone='{}'\nweek=['mon']\n{ends}\nsessions=[['regular','09:00','15:00']]", ZONES[zone]
        );
        let calendar = parse(&text).unwrap();
        let day = calendar.day_interval(UnixNanos(at));
        let zone = TimeZone::get(ZONES[zone]).unwrap();
        let begins_s = if evening { -7 * HOUR_S } else { 0 };
        prop_assert_eq!((seconds(day.start), seconds(day.end)), slow_day(&zone, begins_s, UnixNanos(at)));
    }

    /// The slow model: the phase of every minute by New York's clock, and an hour counted from where it last changed.
    #[test]
    fn session_hours_are_those_of_a_slow_model(at in 41 * YEAR..59 * YEAR) {
        let calendar = us();
        let zone = TimeZone::get("America/New_York").unwrap();
        let phase = |minute: i64| {
            let civil = zone.to_datetime(Timestamp::from_second(minute * 60).unwrap());
            let date = civil.date().to_string();
            let clock = civil.hour() as i64 * 60 + civil.minute() as i64;
            let special = calendar.specials_from(0).find(|(day, ..)| show_date(*day) == date);
            let weekend = matches!(
                civil.date().weekday(), jiff::civil::Weekday::Saturday | jiff::civil::Weekday::Sunday
            );
            let (close, late) = if special.is_some() { (780, 1_020) } else { (960, 1_200) };
            let phase = match special {
                _ if weekend => Phase::Closed,
                Some((_, true, _)) => Phase::Holiday,
                _ if (240..570).contains(&clock) => Phase::Pre,
                _ if (570..close).contains(&clock) => Phase::Regular,
                _ if (close..late).contains(&clock) => Phase::Post,
                _ => Phase::Closed,
            };
            (date, phase)
        };
        let minute = at / (60 * SECOND);
        let here = phase(minute);
        let first = (0..).map(|back| minute - back).find(|&m| phase(m - 1) != here).unwrap();
        let last = (0..).map(|on| minute + on).find(|&m| phase(m + 1) != here).unwrap() + 1;
        let start = first + (minute - first) / 60 * 60;
        let timeframes = Timeframes::parse("1m,1h").unwrap();
        let grid = Grid::new(&timeframes, Arc::new(us()), Anchor::Session).unwrap();
        let got = grid.interval(1, UnixNanos(at));
        prop_assert_eq!((seconds(got.start), seconds(got.end)), (start * 60, (start + 60).min(last) * 60));
        prop_assert_eq!(calendar.segment(UnixNanos(at)).phase, here.1);
    }

    #[test]
    fn intervals_lie_end_to_end_and_children_within_their_parents(
        name in 0..BUILT_IN.len(), at in 30 * YEAR..100 * YEAR, anchored in any::<bool>(),
    ) {
        let timeframes = Timeframes::parse("1s,1m,5m,15m,30m,1h,2h,4h,1d").unwrap();
        let anchor = if anchored { Anchor::Session } else { Anchor::Epoch };
        let calendar = Arc::new(built_in(BUILT_IN[name].0).unwrap());
        let grid = Grid::new(&timeframes, calendar, anchor).unwrap();
        for level in 0..timeframes.len() {
            let here = grid.interval(level, UnixNanos(at));
            prop_assert!(here.has(UnixNanos(at)));
            prop_assert_eq!(grid.interval(level, here.start), here);
            prop_assert_eq!(grid.interval(level, here.end.minus(Nanos(1))), here);
            prop_assert_eq!(grid.interval(level, here.end).start, here.end);
            if level > 0 {
                let child = grid.child(level);
                prop_assert_eq!(grid.interval(child, here.start).start, here.start, "level {}", level);
                prop_assert_eq!(grid.interval(child, here.end).start, here.end, "level {}", level);
            }
        }
    }
}
