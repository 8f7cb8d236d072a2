//! A calendar in plain words, for people who check a configuration.

use std::fmt::Write as _;

use super::{Calendar, Phase, Standing, file::show_date};
use crate::model::UnixNanos;

/// How many special days ahead are named.
const AHEAD: usize = 5;

impl Calendar {
    /// What it says of now, today and the next special days, one line each.
    pub fn explain(&self, now: UnixNanos) -> String {
        let mut out = String::new();
        let status = self.status(now);
        let change = match status.next_change {
            UnixNanos::MAX => String::new(),
            at => format!(" until {}", self.clock(at, true)),
        };
        // Writing to a String cannot fail.
        let _ =
            writeln!(out, "{}: {} now ({}){change}", self.name, status.standing().name(), self.zone.name());
        let today = self.day(now);
        let open = today.segments().iter().filter(|s| !matches!(s.phase, Phase::Closed | Phase::Holiday));
        let parts: Vec<_> = open
            .map(|segment| {
                let name = Standing::from(segment.phase).name();
                format!("{name} {}–{}", self.clock(segment.start, false), self.clock(segment.end, false))
            })
            .collect();
        let sessions = if parts.is_empty() { "no session".to_owned() } else { parts.join(", ") };
        let hours = today.interval.end.since(today.interval.start).0 / (super::HOUR_S * super::SECOND);
        let _ = writeln!(out, "today {}, {hours} hours: {sessions}", show_date(today.date));
        let next: Vec<_> = self
            .specials_from(today.date)
            .take(AHEAD)
            .map(|(date, closed, why)| {
                format!("{} {} ({why})", show_date(date), if closed { "closed" } else { "early close" })
            })
            .collect();
        if !next.is_empty() {
            let _ = writeln!(out, "next: {}", next.join(", "));
        }
        match self.to {
            Some(to) if to < today.date => {
                let _ =
                    writeln!(out, "its lists ended on {}: holidays since are unknown to it", show_date(to));
            }
            Some(to) => {
                let _ = writeln!(out, "its lists end on {}", show_date(to));
            }
            None => {}
        }
        out
    }

    /// What clocks of the market show at an instant.
    fn clock(&self, at: UnixNanos, with_date: bool) -> String {
        let s = super::seconds(at);
        let local = s + self.zone.offset_at(s);
        let minute = local.rem_euclid(super::DAY_S) / 60;
        let time = format!("{:02}:{:02}", minute / 60, minute % 60);
        if with_date { format!("{} {time}", show_date(local.div_euclid(super::DAY_S))) } else { time }
    }
}
