//! One connection of a pool: what state it is in, what it still has to ask for, and how it fares.

use std::collections::VecDeque;

use crate::feed::dialect::Dialect;
use crate::feed::session::{Answer, Session};
use crate::model::{Nanos, Tick, TickKind, UnixNanos};
use crate::runtime::Report;

use super::backoff::Backoff;
use super::options::{MemberOptions, PoolLimits, PoolOptions};

/// How many recent messages say how far the venue's clock is from ours.
const OFFSETS: usize = 31;
/// Further than this a clock is not believed.
const OFFSET_MAX: Nanos = Nanos::from_secs(5);
/// How often a subscription without an answer is asked for again soon; after that, once a minute.
const TRIES_SOON: u8 = 3;
/// See [`TRIES_SOON`].
const TRY_LATE: Nanos = Nanos::from_secs(60);
/// How long symbols may take to leave a connection that is to be renewed.
pub const RETIRE_MAX: Nanos = Nanos::from_secs(10);

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is none; the next attempt is due at `until`.
    Resting {
        /// When.
        until: UnixNanos,
    },
    /// It is being opened, and given up at `give_up`.
    Connecting {
        /// When.
        give_up: UnixNanos,
    },
    /// It is open, and the vendor looks at our key.
    Authorizing {
        /// When it is given up.
        give_up: UnixNanos,
    },
    /// It takes subscriptions.
    Ready {
        /// Since when.
        since: UnixNanos,
    },
    /// It was told to close; `lost` is awaited.
    Closing,
}

impl State {
    /// What reports call it.
    const fn number(self) -> u64 {
        match self {
            Self::Resting { .. } => 0,
            Self::Connecting { .. } => 1,
            Self::Authorizing { .. } => 2,
            Self::Ready { .. } => 3,
            Self::Closing => 4,
        }
    }
}

/// When a connection that has ended is to be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// After the back-off.
    Backoff,
    /// At once: it ended because we wanted a new one.
    AtOnce,
}

/// What a member did, in totals since start.
#[derive(Debug, Default)]
struct Health {
    messages: u64,
    bytes: u64,
    attempts: u64,
    opened: u64,
    losses: u64,
    errors: u64,
    refused: u64,
    unanswered: u64,
    stale_spells: u64,
}

/// One connection.
pub struct Member {
    pub options: MemberOptions,
    pub session: Box<dyn Session>,
    pub dialect: Box<dyn Dialect>,
    pub state: State,
    pub next: Next,
    pub backoff: Backoff,
    pub settled: bool,
    /// It has opened once, or failed once.
    pub tried: bool,
    /// It is being renewed, until then at the latest.
    pub retire_by: Option<UnixNanos>,
    pub opened_at: UnixNanos,
    /// When it is to be renewed.
    pub renew_at: Option<UnixNanos>,
    /// Places of the roster to subscribe to, with how often that was done in vain, and places to leave.
    pub to_ask: VecDeque<(usize, u8)>,
    pub to_leave: VecDeque<usize>,
    /// Places without an answer, when to ask again, and how often that was done.
    awaited: VecDeque<(UnixNanos, usize, u8)>,
    /// The vendor takes no message before that.
    pub free_at: UnixNanos,
    /// When the peer last showed that it lives, and when data came.
    pub heard: UnixNanos,
    data_at: UnixNanos,
    pinged: UnixNanos,
    stale: bool,
    offsets: [Nanos; OFFSETS],
    offsets_seen: usize,
    health: Health,
}

/// How far the venue's clock is ahead of ours by what this member heard, at the median and at the most. One that has had no data goes
/// by the others, whose venue is the same.
fn offset(members: &[Member], slot: usize) -> (Nanos, Nanos) {
    let others = || members.iter().filter_map(Member::offset).max_by_key(|(_, most)| *most);
    members[slot].offset().or_else(others).unwrap_or((Nanos::ZERO, Nanos::ZERO))
}

/// Up to when a member is certain to have served, in the venue's time.
pub fn served_until(members: &[Member], slot: usize, limits: &PoolLimits) -> UnixNanos {
    (members[slot].heard + offset(members, slot).0).minus(limits.gap_margin)
}

/// From when on a member that is taken now is certain to serve, in the venue's time. What was held back for a while makes the venue's
/// clock seem slow, and a gap would seem to end before it does: the message that came quickest decides.
pub fn serves_from(members: &[Member], slot: usize, now: UnixNanos, limits: &PoolLimits) -> UnixNanos {
    now + offset(members, slot).1 + limits.gap_margin
}

impl Member {
    /// One that was never tried.
    pub fn new(options: &PoolOptions, member: &MemberOptions) -> Self {
        Self {
            options: member.clone(),
            session: (options.session.open)(&options.asks),
            dialect: (options.dialect.open)(),
            state: State::Resting { until: UnixNanos::MIN },
            next: Next::Backoff,
            backoff: Backoff::default(),
            settled: false,
            tried: false,
            retire_by: None,
            opened_at: UnixNanos::MIN,
            renew_at: None,
            to_ask: VecDeque::new(),
            to_leave: VecDeque::new(),
            awaited: VecDeque::new(),
            free_at: UnixNanos::MIN,
            heard: UnixNanos::MIN,
            data_at: UnixNanos::MIN,
            pinged: UnixNanos::MIN,
            stale: false,
            offsets: [Nanos::ZERO; OFFSETS],
            offsets_seen: 0,
            health: Health::default(),
        }
    }

    /// An attempt begins.
    pub fn connect(&mut self, give_up: UnixNanos) {
        self.health.attempts += 1;
        self.state = State::Connecting { give_up };
        self.next = Next::Backoff;
    }

    /// The connection is up.
    pub fn open(&mut self, options: &PoolOptions, now: UnixNanos, answers: &mut Vec<Answer>) {
        self.health.opened += 1;
        self.state = State::Authorizing { give_up: now + options.limits.auth_max };
        self.session = (options.session.open)(&options.asks);
        self.dialect = (options.dialect.open)();
        self.opened_at = now;
        (self.heard, self.data_at, self.pinged, self.stale) = (now, now, now, false);
        self.free_at = now;
        self.session.open(answers);
    }

    /// Whether subscriptions can be asked for.
    pub const fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    /// Whether the vendor may count it among the account's connections.
    pub const fn is_up(&self) -> bool {
        matches!(self.state, State::Connecting { .. } | State::Authorizing { .. } | State::Ready { .. })
    }

    /// The connection serves nothing any more.
    pub fn empty(&mut self) {
        self.to_ask.clear();
        self.to_leave.clear();
        self.awaited.clear();
        self.settled = false;
        self.retire_by = None;
        self.renew_at = None;
        self.stale = false;
    }

    /// Counts the end of a connection or of an attempt.
    pub fn count_loss(&mut self) {
        self.health.losses += 1;
        self.tried = true;
    }

    /// Counts something that the vendor complained about.
    pub fn count_error(&mut self) {
        self.health.errors += 1;
    }

    /// Counts a subscription that was refused.
    pub fn count_refused(&mut self) {
        self.health.refused += 1;
    }

    /// A message came.
    #[inline]
    pub fn count_message(&mut self, bytes: usize, now: UnixNanos) {
        self.health.messages += 1;
        self.health.bytes += bytes as u64;
        self.heard = now;
    }

    /// Data came: the last of `ticks` shows how far the venue's clock is from ours.
    #[inline]
    pub fn note_data(&mut self, ticks: &[Tick], now: UnixNanos) {
        self.data_at = now;
        self.stale = false;
        if let Some(tick) = ticks.last()
            && matches!(tick.kind(), TickKind::Trade | TickKind::Quote | TickKind::AggregatedTrade)
        {
            self.offsets[self.offsets_seen % OFFSETS] = tick.ts_event - now;
            self.offsets_seen += 1;
        }
    }

    /// How far the venue's clock is ahead of ours, transit included: the median of recent messages, and the most; `None` before the
    /// first.
    fn offset(&self) -> Option<(Nanos, Nanos)> {
        let known = self.offsets_seen.min(OFFSETS);
        let mut sorted = self.offsets;
        sorted[..known].sort_unstable();
        let within = |at: usize| Nanos(sorted[at].0.clamp(-OFFSET_MAX.0, OFFSET_MAX.0));
        (known > 0).then(|| (within(known / 2), within(known - 1)))
    }

    /// A place was asked for, after `tries` in vain: when it is to be answered.
    pub fn await_answer(&mut self, place: usize, tries: u8, now: UnixNanos, limits: &PoolLimits) {
        let patience =
            if tries < TRIES_SOON { limits.subscribe_max } else { TRY_LATE.max(limits.subscribe_max) };
        // Nearly always in order; a late try among soon ones only delays those behind it.
        self.awaited.push_back((now + patience, place, tries));
    }

    /// A place whose time has passed, if any, and how often it was asked for by now.
    pub fn overdue(&mut self, now: UnixNanos) -> Option<(usize, u8)> {
        let &(at, place, tries) = self.awaited.front()?;
        if at > now {
            return None;
        }
        self.awaited.pop_front();
        Some((place, tries.saturating_add(1)))
    }

    /// A place had no answer in time.
    pub fn count_unanswered(&mut self) {
        self.health.unanswered += 1;
    }

    /// When a ping is due.
    pub fn ping_at(&self, limits: &PoolLimits) -> UnixNanos {
        self.heard.max(self.pinged) + limits.ping_after
    }

    /// A ping goes out.
    pub fn ping(&mut self, now: UnixNanos) {
        self.pinged = now;
    }

    /// Whether a spell without data begins now.
    pub fn falls_stale(&mut self, now: UnixNanos, limits: &PoolLimits) -> bool {
        let begins = !self.stale && now.since(self.data_at) >= limits.stale_after;
        if begins {
            self.stale = true;
            self.health.stale_spells += 1;
        }
        begins
    }

    /// When it next needs the clock, but for a rest that ends.
    pub fn deadline(&self, limits: &PoolLimits) -> Option<UnixNanos> {
        let since = match self.state {
            State::Resting { .. } | State::Closing => return None,
            State::Connecting { give_up } | State::Authorizing { give_up } => return Some(give_up),
            State::Ready { since } => since,
        };
        let busy = !self.to_ask.is_empty() || !self.to_leave.is_empty();
        let times = [
            Some(self.heard + limits.silence_max),
            Some(self.ping_at(limits).max(self.free_at)),
            busy.then_some(self.free_at),
            (!self.settled).then_some(since + limits.settle_after),
            (!self.stale).then_some(self.data_at + limits.stale_after),
            self.awaited.front().map(|(at, ..)| *at),
            self.renew_at,
            self.retire_by,
        ];
        times.into_iter().flatten().min()
    }

    /// Adds its health.
    pub fn hand_over(&self, pool: &str, held: usize, guests: usize, report: &mut Report) {
        let (name, report_at) = (&self.options.name, report.at);
        let mut count =
            |figure: &str, value: u64| report.count(format!("feed.{pool}.{name}.{figure}"), value);
        let health = &self.health;
        count("state", self.state.number());
        count("messages", health.messages);
        count("bytes", health.bytes);
        count("attempts", health.attempts);
        count("opened", health.opened);
        count("losses", health.losses);
        count("errors", health.errors);
        count("refused", health.refused);
        count("unanswered", health.unanswered);
        count("symbols", held as u64);
        count("guests", guests as u64);
        // Who holds nothing expects nothing.
        count("stale", u64::from(self.stale && held > 0));
        if health.messages > 0 {
            count("last_message_age_ms", (report_at.since(self.heard).0.max(0) / 1_000_000) as u64);
        }
        count("stale_spells", health.stale_spells);
    }
}
