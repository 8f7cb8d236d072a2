//! What a market does now, and when that changes.

use super::{Calendar, Phase};
use crate::model::UnixNanos;

/// Days that are looked at for what comes next.
const DAYS_AHEAD_MAX: i64 = 16;

/// What a market, or one symbol of it, does.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Nothing is dealt.
    Closed = 0,
    /// Before the regular session.
    Pre = 1,
    /// In the regular session.
    Regular = 2,
    /// After the regular session.
    Post = 3,
    /// A day without sessions that would otherwise have some.
    Holiday = 4,
    /// Dealing in this symbol has been stopped.
    Halted = 5,
}

impl Standing {
    /// As the protocols spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Pre => "pre",
            Self::Regular => "regular",
            Self::Post => "post",
            Self::Holiday => "holiday",
            Self::Halted => "halted",
        }
    }

    /// The standing of a number.
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Pre,
            2 => Self::Regular,
            3 => Self::Post,
            4 => Self::Holiday,
            5 => Self::Halted,
            _ => Self::Closed,
        }
    }
}

impl From<Phase> for Standing {
    fn from(phase: Phase) -> Self {
        Self::from_byte(phase as u8)
    }
}

/// What a market does at an instant, and the times that matter next; [`UnixNanos::MAX`] where there is none soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarketStatus {
    /// What it does.
    pub standing: Standing,
    /// When it began to.
    pub since: UnixNanos,
    /// When it will do something else.
    pub next_change: UnixNanos,
    /// When the next regular session begins.
    pub next_open: UnixNanos,
    /// When the regular session ends, this one or the next.
    pub next_close: UnixNanos,
}

impl Calendar {
    /// What the market does at an instant.
    pub fn status(&self, at: UnixNanos) -> MarketStatus {
        let now = self.segment(at);
        let mut status = MarketStatus {
            standing: now.phase.into(),
            since: now.start,
            next_change: UnixNanos::MAX,
            next_open: UnixNanos::MAX,
            next_close: UnixNanos::MAX,
        };
        let date = self.date_of(at);
        let mut regular = now.phase == Phase::Regular;
        for date in date..date + DAYS_AHEAD_MAX {
            let day = self.day_of_date(date);
            for segment in day.segments().iter().filter(|segment| segment.end > at) {
                if segment.phase != now.phase && segment.start > at {
                    status.next_change = status.next_change.min(segment.start);
                }
                let opens = segment.phase == Phase::Regular;
                if opens && !regular && segment.start > at {
                    status.next_open = status.next_open.min(segment.start);
                }
                if !opens && regular {
                    status.next_close = status.next_close.min(segment.start);
                }
                regular = opens;
            }
            if status.next_open < UnixNanos::MAX && status.next_close < UnixNanos::MAX {
                break;
            }
        }
        status
    }
}
