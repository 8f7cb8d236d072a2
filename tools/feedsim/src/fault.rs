//! Faults: what a plan says, when it strikes, and whom.
//!
//! ```text
//! KIND[,KIND…][:every=5s][:after=3s][:for=2s][:times=N][:on=one|turn|all|CONNECTION|key=KEY][:share=0.3][:by=500ms][:code=1011]
//! ```
//!
//! Of several kinds each strike takes one by the seed. Without `every` it strikes once.

use std::fmt;
use std::str::FromStr;

use crate::random::Random;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Some ticks are never sent, and nothing tells of it.
    Drop,
    /// The socket stays and nothing is written, pongs included; what was due follows afterwards.
    Stall,
    /// Some ticks are sent twice.
    Duplicate,
    /// Some ticks are sent late.
    Disorder,
    /// Messages that are none, between the others.
    Garbage,
    /// A frame is cut in its middle and the connection reset.
    Half,
    /// The connection is reset.
    Reset,
    /// The connection is closed with a code.
    Close,
    /// Bytes come one by one.
    Loris,
    /// The connection is told that there are too many of its key, and closed.
    Evict,
    /// The connection is reset, and keys are refused.
    Auth,
    /// The connection is reset, and none is taken.
    Refuse,
    /// Some ticks carry a time that is wrong.
    Skew,
    /// REST answers 429.
    Rest429,
    /// REST answers 500.
    Rest500,
    /// REST does not answer.
    RestHang,
}

impl Kind {
    const ALL: [(&'static str, Self); 16] = [
        ("drop", Self::Drop),
        ("stall", Self::Stall),
        ("duplicate", Self::Duplicate),
        ("disorder", Self::Disorder),
        ("garbage", Self::Garbage),
        ("half", Self::Half),
        ("reset", Self::Reset),
        ("close", Self::Close),
        ("loris", Self::Loris),
        ("evict", Self::Evict),
        ("auth", Self::Auth),
        ("refuse", Self::Refuse),
        ("skew", Self::Skew),
        ("rest-429", Self::Rest429),
        ("rest-500", Self::Rest500),
        ("rest-hang", Self::RestHang),
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// It strikes the venue's REST side and no connection.
    pub const fn is_rest(self) -> bool {
        matches!(self, Self::Rest429 | Self::Rest500 | Self::RestHang)
    }
}

/// Whom it strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One connection by the seed.
    One,
    /// One after the other, in order of their keys and then their age.
    Turn,
    /// All.
    All,
    /// The connection of this number.
    Connection(u64),
    /// The connections of a key.
    Key(String),
}

/// A plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Each strike takes one of these; never empty.
    pub kinds: Vec<Kind>,
    /// Between strikes, ms; 0: once.
    pub every_ms: i64,
    /// Before the first, ms.
    pub after_ms: i64,
    /// How long it lasts, ms.
    pub for_ms: i64,
    /// How often at most.
    pub times: u64,
    /// Whom.
    pub on: Target,
    /// Share of ticks, where the kind takes some.
    pub share: f64,
    /// How late or how wrong, ms.
    pub by_ms: i64,
    /// Of a close.
    pub code: u16,
}

/// What a text says that is no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanError(String);

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PlanError {}

impl FromStr for Plan {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let bad = |what: &str, right: &str| PlanError(format!("{text:?}: {what}; right is {right}"));
        let mut parts = text.split(':');
        let mut kinds = Vec::new();
        for name in parts.next().unwrap_or("").split(',') {
            let Some((_, kind)) = Kind::ALL.iter().find(|(known, _)| *known == name) else {
                let all: Vec<_> = Kind::ALL.iter().map(|(name, _)| *name).collect();
                return Err(bad(&format!("there is no fault {name:?}"), &all.join(", ")));
            };
            kinds.push(*kind);
        }
        let mut plan = Self {
            kinds,
            every_ms: 0,
            after_ms: 0,
            for_ms: 2_000,
            times: u64::MAX,
            on: Target::One,
            share: 0.2,
            by_ms: 500,
            code: 1011,
        };
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let span = || duration_ms(value).ok_or_else(|| bad(part, "a time such as 500ms, 2s or 1.5s"));
            match key {
                "every" => plan.every_ms = span()?.max(1),
                "after" => plan.after_ms = span()?,
                "for" => plan.for_ms = span()?,
                "by" => plan.by_ms = span()?,
                "times" => plan.times = value.parse().map_err(|_| bad(part, "times=N"))?,
                "code" => plan.code = value.parse().map_err(|_| bad(part, "code=1000 to 4999"))?,
                "share" => {
                    let share = value.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
                    plan.share = share.ok_or_else(|| bad(part, "share=0 to 1"))?;
                }
                "on" => {
                    plan.on = match (value, value.strip_prefix("key=")) {
                        ("one", _) => Target::One,
                        ("turn", _) => Target::Turn,
                        ("all", _) => Target::All,
                        (_, Some(key)) => Target::Key(key.to_owned()),
                        (number, None) => Target::Connection(
                            number.parse().map_err(|_| bad(part, "on=one, turn, all, NUMBER or key=KEY"))?,
                        ),
                    }
                }
                _ => return Err(bad(part, "every, after, for, times, on, share, by or code")),
            }
        }
        Ok(plan)
    }
}

/// The ms of `500ms`, `2s`, `1.5s`.
pub fn duration_ms(text: &str) -> Option<i64> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1.0),
        None => (text.strip_suffix('s')?, 1_000.0),
    };
    let value = number.parse::<f64>().ok()? * unit;
    (value.is_finite() && (0.0..1e12).contains(&value)).then_some(value as i64)
}

/// A plan and when it strikes next.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The plan.
    pub plan: Plan,
    next_ms: i64,
    left: u64,
    turn: usize,
}

impl Schedule {
    /// Its first strike is `after` the start.
    pub fn new(plan: Plan, start_ms: i64) -> Self {
        let next_ms = start_ms.saturating_add(plan.after_ms);
        let left = if plan.every_ms == 0 { plan.times.min(1) } else { plan.times };
        Self { plan, next_ms, left, turn: 0 }
    }

    /// The kind that strikes now, if one does; the next follows after `every`, up to a quarter sooner or later by the seed.
    pub fn strike(&mut self, now_ms: i64, random: &mut Random) -> Option<Kind> {
        if self.left == 0 || now_ms < self.next_ms {
            return None;
        }
        self.left -= 1;
        let every = self.plan.every_ms;
        let jitter = random.below((every / 2).max(1) as u64) as i64 - every / 4;
        self.next_ms = now_ms.saturating_add((every + jitter).max(1));
        Some(self.plan.kinds[random.index(self.plan.kinds.len())])
    }

    /// Which of the connections it strikes: places in a list of their numbers and keys.
    pub fn struck(&mut self, connections: &[(u64, String)], random: &mut Random) -> Vec<u64> {
        let numbers = |wanted: &dyn Fn(&(u64, String)) -> bool| {
            connections.iter().filter(|one| wanted(one)).map(|(number, _)| *number).collect()
        };
        match &self.plan.on {
            Target::All => numbers(&|_| true),
            Target::Connection(number) => numbers(&|one| one.0 == *number),
            Target::Key(key) => numbers(&|one| one.1 == *key),
            _ if connections.is_empty() => Vec::new(),
            Target::One => vec![connections[random.index(connections.len())].0],
            Target::Turn => {
                self.turn += 1;
                vec![connections[(self.turn - 1) % connections.len()].0]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_means_its_text() {
        let plan: Plan = "stall,reset:every=5s:for=1.5s:on=turn:times=3".parse().unwrap();
        assert_eq!(plan.kinds, [Kind::Stall, Kind::Reset]);
        assert_eq!((plan.every_ms, plan.for_ms, plan.times, plan.on), (5_000, 1_500, 3, Target::Turn));
        let plan: Plan = "close:on=key=A:code=1012".parse().unwrap();
        assert_eq!((plan.on, plan.code, plan.every_ms), (Target::Key("A".to_owned()), 1012, 0));
        for (_, kind) in Kind::ALL {
            assert_eq!(kind.name().parse::<Plan>().unwrap().kinds, [kind]);
        }
    }

    #[test]
    fn what_is_no_plan_is_told_what_would_be_right() {
        for text in [
            "",
            "stal",
            "stall:for=2",
            "stall:on=",
            "drop:share=2",
            "reset:sometimes",
            "reset:for=-1s",
            "reset:for=nans",
        ] {
            let error = text.parse::<Plan>().unwrap_err().to_string();
            assert!(error.contains("right is"), "{error}");
        }
    }

    #[test]
    fn it_strikes_as_often_as_it_says_and_the_same_ones_for_a_seed() {
        let run = |seed| {
            let mut random = Random::new(seed);
            let mut schedule =
                Schedule::new("reset,half:every=1s:after=2s:times=5:on=turn".parse().unwrap(), 0);
            let connections = [(4, String::new()), (6, String::new())];
            let mut log = Vec::new();
            for now in 0..60_000 {
                if let Some(kind) = schedule.strike(now, &mut random) {
                    log.push((now, kind, schedule.struck(&connections, &mut random)));
                }
            }
            log
        };
        let log = run(9);
        assert_eq!(log.len(), 5);
        assert_eq!(log[0].0, 2_000);
        assert!(log.windows(2).all(|two| (750..=1_250).contains(&(two[1].0 - two[0].0))), "{log:?}");
        assert!(
            log.iter().map(|strike| &strike.2[..]).eq([[4], [6], [4], [6], [4]].iter().map(|one| &one[..]))
        );
        assert_eq!(log, run(9));
        assert_ne!(log, run(10));
    }

    #[test]
    fn without_every_it_strikes_once() {
        let mut schedule = Schedule::new("reset".parse().unwrap(), 5);
        let mut random = Random::new(1);
        assert_eq!(schedule.strike(4, &mut random), None);
        assert_eq!(schedule.strike(5, &mut random), Some(Kind::Reset));
        assert!((6..100_000).all(|now| schedule.strike(now, &mut random).is_none()));
    }
}
