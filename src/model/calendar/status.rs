//! What a market does now, and when that changes.

use bytemuck::{Pod, Zeroable};

use super::{Calendar, Phase};
use crate::model::UnixNanos;

/// Days that are looked at for what comes next.
const DAYS_AHEAD_MAX: i64 = 16;

/// What a market, or one symbol of it, does.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// There is no calendar that would say.
    Unknown = 6,
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
            Self::Unknown => "unknown",
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
            6 => Self::Unknown,
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
/// 80 bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
pub struct MarketStatus {
    /// When it began to do what it does; [`UnixNanos::MAX`] where that is not known.
    pub since: UnixNanos,
    /// When it will do something else.
    pub next_change: UnixNanos,
    /// When the next regular session begins.
    pub next_open: UnixNanos,
    /// When the regular session ends, this one or the next.
    pub next_close: UnixNanos,
    standing: u64,
    reserved: [u64; 5],
}

const _: () = assert!(size_of::<MarketStatus>() == 80);

impl MarketStatus {
    /// A standing of which nothing more is known.
    pub fn new(standing: Standing, since: UnixNanos) -> Self {
        let none = UnixNanos::MAX;
        Self {
            since,
            next_change: none,
            next_open: none,
            next_close: none,
            standing: standing as u64,
            reserved: [0; 5],
        }
    }

    /// The same market where dealing in a symbol was stopped. When that goes on nobody knows; the sessions' times still hold.
    #[must_use]
    pub fn halted(&self, since: UnixNanos) -> Self {
        let Self { next_open, next_close, .. } = *self;
        Self { next_open, next_close, ..Self::new(Standing::Halted, since) }
    }

    /// What the market does.
    pub fn standing(&self) -> Standing {
        Standing::from_byte(self.standing as u8)
    }
}

impl Calendar {
    /// What the market does at an instant.
    pub fn status(&self, at: UnixNanos) -> MarketStatus {
        let now = self.segment(at);
        let mut status = MarketStatus::new(now.phase.into(), now.start);
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
