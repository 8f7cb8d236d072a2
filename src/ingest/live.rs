//! The pools of the stage: vendors that it connects to itself, and its lines to the cold threads that help with that.
//!
//! All pools share one queue to the shards, as they share what is covered: the gap that one begins and another ends must arrive in
//! this order. While something waits in it for room in a ring, no connection of a pool is read.

use crossbeam_channel::{Receiver as ChannelReceiver, Sender as ChannelSender, TrySendError, bounded};

use crate::feed::tcp::After;
use crate::feed::{
    Client, ClientLimits, Context, Coverage, FeedCommand, Means, Pool, PoolOptions, SourceError,
    SourceOptions,
};
use crate::model::{RestWish, SymbolCache, Tick, TickKind, UnixNanos};
use crate::runtime::resolver::{Name, Resolver};
use crate::runtime::{Bell, Clock, Latency, Receiver, Registrar, Report, Turned};

use super::source::Source;
use super::{BATCH_TICKS, Router};

/// Tokens of pools' sockets begin here, above those of listeners and what they accepted.
pub(super) const FIRST_TOKEN: usize = 1 << 32;
/// How many messages one connection may bring in one turn: of small ones, about half of what a read of a busy one holds.
const MESSAGES_PER_TURN: usize = 256;
/// How many ticks, more or less one message: some 100 µs of parsing before the next connection has its turn.
const TICKS_PER_TURN: usize = 1024;
/// How many ticks of the REST thread are taken in one turn.
const ANSWERS_PER_TURN: usize = 1024;
/// How many commands may wait. They come from people and signals.
const COMMANDS_DEPTH: usize = 64;

/// What the stage is joined to beside its rings to the shards. By default to nothing: only addresses can be connected to then, and
/// nothing is filled.
#[derive(Default)]
pub struct Outside {
    /// Decides what the pools choose at random: keys, and how long they wait before they connect again.
    pub seed: u64,
    /// Asks for the addresses of names.
    pub resolver: Option<Resolver>,
    /// What pools are asked to change while they run.
    pub commands: Option<ChannelReceiver<Command>>,
    /// The thread that asks vendors for what was missed.
    pub rest: Option<RestLines>,
}

/// The two ways between the stage and the REST thread.
pub struct RestLines {
    /// Wishes: where it is full they wait in their order.
    pub wishes: ChannelSender<RestWish>,
    /// Bars, two ticks each, of the source that their halves name.
    pub answers: Receiver<Tick>,
}

/// A command on its way to a pool.
#[derive(Debug, Clone)]
pub struct Command {
    /// The name of a source; `None`: every pool.
    pub feed: Option<String>,
    /// What is asked.
    pub command: FeedCommand,
}

/// Sends commands to a running stage. Clones send to the same.
#[derive(Clone)]
pub struct Commands {
    sender: ChannelSender<Command>,
    bell: Bell,
    feeds: Vec<String>,
}

/// Why a command was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No pool has that name.
    #[error("no feed named {asked:?} connects to a vendor; those that do: {there}")]
    NoSuchFeed {
        /// The name asked for.
        asked: String,
        /// The names there are.
        there: String,
    },
    /// Too many wait.
    #[error("{COMMANDS_DEPTH} commands wait already; try again in a moment")]
    Full,
    /// The engine has ended.
    #[error("the engine has ended")]
    Ended,
}

impl Commands {
    /// The sending end for the pools among these sources, and the receiving end. `bell` is that of the stage's core.
    pub fn channel(sources: &[SourceOptions], bell: Bell) -> (Self, ChannelReceiver<Command>) {
        let (sender, receiver) = bounded(COMMANDS_DEPTH);
        let pools = sources.iter().filter(|source| source.origin.pool().is_some());
        let feeds = pools.map(|source| source.name.clone()).collect();
        (Self { sender, bell, feeds }, receiver)
    }

    /// Hands a command to one pool, or to all.
    ///
    /// # Errors
    /// Where no such pool is, or the stage has too many to do already.
    pub fn send(&self, feed: Option<&str>, command: FeedCommand) -> Result<(), CommandError> {
        if let Some(asked) = feed
            && !self.feeds.iter().any(|there| there == asked)
        {
            let there = if self.feeds.is_empty() { "none".to_owned() } else { self.feeds.join(", ") };
            return Err(CommandError::NoSuchFeed { asked: asked.to_owned(), there });
        }
        let sent = self.sender.try_send(Command { feed: feed.map(str::to_owned), command });
        self.bell.ring();
        sent.map_err(|error| match error {
            TrySendError::Full(_) => CommandError::Full,
            TrySendError::Disconnected(_) => CommandError::Ended,
        })
    }
}

/// The pools of one stage.
pub(super) struct Live {
    lines: Vec<Line>,
    /// Each slot of each line, to sweep over.
    slots: Vec<(usize, usize)>,
    pending: Vec<Tick>,
    coverage: Coverage,
    outside: Outside,
    /// The first half of a bar whose second has not come yet.
    half: Option<Tick>,
    /// A wish that the channel had no room for.
    kept: Option<RestWish>,
    wishes_refused: u64,
    /// Where this turn's sweep begins, so that nobody is always last.
    first: usize,
    stopped: bool,
}

struct Line {
    source: usize,
    client: Client,
}

/// The parts of the stage that the pools work with, lent for a turn.
pub(super) struct Ground<'a> {
    pub(super) now: UnixNanos,
    pub(super) registrar: &'a Registrar,
    pub(super) symbols: &'a mut SymbolCache,
    pub(super) sources: &'a mut [Source],
    pub(super) router: &'a mut Router,
    pub(super) clock: &'a mut Clock,
    pub(super) read_to_parsed: &'a mut Latency,
}

impl Live {
    pub(super) fn new(outside: Outside) -> Self {
        Self {
            lines: Vec::new(),
            slots: Vec::new(),
            pending: Vec::new(),
            coverage: Coverage::default(),
            outside,
            half: None,
            kept: None,
            wishes_refused: 0,
            first: 0,
            stopped: false,
        }
    }

    /// Takes on a pool as source number `source`.
    pub(super) fn add(
        &mut self,
        source: usize,
        options: &SourceOptions,
        pool: &PoolOptions,
    ) -> Result<(), SourceError> {
        let limits =
            ClientLimits { message_bytes_max: options.line_bytes_max, step_max: options.handshake_max };
        let seed = self.outside.seed.wrapping_add(source as u64);
        let first_slot = self.slots.len();
        let client = Client::new(Pool::new(pool.clone(), seed), limits, FIRST_TOKEN + first_slot, seed)
            .map_err(|error| SourceError::Trust { name: options.name.clone(), error })?;
        self.slots.extend((0..client.slots()).map(|slot| (self.lines.len(), slot)));
        self.lines.push(Line { source, client });
        Ok(())
    }

    /// A socket became ready, by its token less [`FIRST_TOKEN`].
    pub(super) fn on_edge(&mut self, token: usize) {
        if let Some(&(line, slot)) = self.slots.get(token) {
            self.lines[line].client.on_edge(slot);
        }
    }

    /// Whether something waits for room in a ring.
    pub(super) fn is_stalled(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether everything is out and nothing will follow.
    pub(super) fn is_dry(&self) -> bool {
        self.pending.is_empty() && (self.lines.is_empty() || self.stopped)
    }

    pub(super) fn deadline(&self) -> Option<UnixNanos> {
        if self.is_stalled() || self.stopped {
            return None;
        }
        let lines = self.lines.iter().filter_map(|line| line.client.deadline());
        lines.chain(self.coverage.deadline()).min()
    }

    pub(super) fn has_work(&self) -> bool {
        let Outside { resolver, commands, rest, .. } = &self.outside;
        !self.stopped
            && (resolver.as_ref().is_some_and(Resolver::has_news)
                || commands.as_ref().is_some_and(|commands| !commands.is_empty())
                || (!self.is_stalled() && rest.as_ref().is_some_and(|rest| !rest.answers.is_empty())))
    }

    pub(super) fn hand_over(&mut self, report: &mut Report) {
        if self.lines.is_empty() {
            return;
        }
        for line in &mut self.lines {
            line.client.pool_mut().hand_over(report);
        }
        self.coverage.hand_over(report);
        let open = self.lines.iter().map(|line| line.client.open() as u64).sum();
        report.count("ingest.vendor_connections", open);
        report.count("ingest.wishes_refused", self.wishes_refused);
    }

    /// Says goodbye to all vendors. What is in the queue still goes to the shards.
    pub(super) fn stop(&mut self, registrar: &Registrar) {
        for line in &mut self.lines {
            line.client.go_away(registrar);
        }
        self.stopped = true;
    }

    pub(super) fn turn(&mut self, ground: &mut Ground<'_>) -> Turned {
        let mut turned = Turned::default();
        if self.lines.is_empty() {
            return turned;
        }
        turned.work += self.dispatch(ground);
        if self.stopped {
            return turned;
        }
        turned.work += self.take_answers(ground) + self.take_commands(ground) + self.take_names(ground);
        self.sweep(ground, &mut turned);
        if self.pending.is_empty() {
            for at in 0..self.lines.len() {
                let (client, mut cx, mut means) = self.lend(at, ground);
                client.on_time(&mut cx, &mut means);
            }
            self.coverage.on_time(ground.now);
        }
        for at in 0..self.lines.len() {
            let (client, mut cx, mut means) = self.lend(at, ground);
            turned.more |= client.obey(&mut cx, &mut means);
        }
        turned.work += self.dispatch(ground);
        self.send_wishes();
        turned
    }

    /// Reads every connection, message by message, until it has no more, its budget is spent or a ring is full.
    fn sweep(&mut self, ground: &mut Ground<'_>, turned: &mut Turned) {
        if self.is_stalled() {
            return;
        }
        let n = self.slots.len();
        let first = self.first;
        self.first = (first + 1) % n.max(1);
        for step in 0..n {
            let (at, slot) = self.slots[(first + step) % n];
            let mut ticks = 0;
            for messages in 0.. {
                if messages == MESSAGES_PER_TURN || ticks >= TICKS_PER_TURN {
                    turned.more = true;
                    break;
                }
                let (client, mut cx, mut means) = self.lend(at, ground);
                let after = client.read(slot, &mut cx, &mut means);
                turned.work += usize::from(after != After::Drained);
                if self.pending.len() >= BATCH_TICKS || after != After::More {
                    ticks += self.pending.len();
                    self.hand_on(ground);
                    if self.is_stalled() {
                        return;
                    }
                }
                if after != After::More {
                    break;
                }
            }
            self.hand_on(ground);
            if self.is_stalled() {
                return;
            }
        }
    }

    /// Sends what was just parsed, and measures how long that took.
    fn hand_on(&mut self, ground: &mut Ground<'_>) {
        if !self.pending.is_empty() {
            let spent = ground.clock.now() - ground.now;
            ground.read_to_parsed.record_n(spent, self.pending.len() as u64);
            self.dispatch(ground);
        }
    }

    fn take_answers(&mut self, ground: &mut Ground<'_>) -> usize {
        let Self { outside, pending, half, .. } = self;
        let Some(rest) = &mut outside.rest else { return 0 };
        if !pending.is_empty() {
            return 0;
        }
        pending.extend(half.take());
        let taken = rest.answers.drain(ANSWERS_PER_TURN, |tick| pending.push(*tick));
        // The halves of a bar enter a ring together, so they are dispatched together.
        *half = pending.pop_if(|tick| tick.kind() == TickKind::BarHead);
        self.dispatch(ground);
        taken
    }

    fn take_commands(&mut self, ground: &mut Ground<'_>) -> usize {
        let mut taken = 0;
        while let Some(Command { feed, command }) =
            self.outside.commands.as_ref().and_then(|commands| commands.try_recv().ok())
        {
            taken += 1;
            for at in 0..self.lines.len() {
                let name = &ground.sources[self.lines[at].source].options.name;
                if feed.as_ref().is_none_or(|feed| feed == name) {
                    let (client, mut cx, mut means) = self.lend(at, ground);
                    client.command(command.clone(), &mut cx, &mut means);
                }
            }
        }
        taken
    }

    fn take_names(&mut self, ground: &mut Ground<'_>) -> usize {
        let mut taken = 0;
        while let Some(answer) = self.outside.resolver.as_mut().and_then(Resolver::next_answer) {
            taken += 1;
            for at in 0..self.lines.len() {
                let (client, mut cx, mut means) = self.lend(at, ground);
                client.on_answer(&answer, &mut cx, &mut means);
            }
        }
        taken
    }

    fn send_wishes(&mut self) {
        while let Some(wish) = self.kept.take().or_else(|| self.coverage.next_wish()) {
            let Some(rest) = &self.outside.rest else {
                self.wishes_refused += 1;
                continue;
            };
            match rest.wishes.try_send(wish) {
                Ok(()) => {}
                Err(TrySendError::Full(wish)) => {
                    self.kept = Some(wish);
                    return;
                }
                Err(TrySendError::Disconnected(_)) => self.wishes_refused += 1,
            }
        }
    }

    /// Sends what there is room for; returns how many went.
    fn dispatch(&mut self, ground: &mut Ground<'_>) -> usize {
        let before = self.pending.len();
        ground.router.dispatch(&mut self.pending, ground.symbols, true);
        before - self.pending.len()
    }

    /// A line's client, and what it needs to work.
    fn lend<'a>(
        &'a mut self,
        at: usize,
        ground: &'a mut Ground<'_>,
    ) -> (&'a mut Client, Context<'a>, Means<'a>) {
        let Self { lines, coverage, outside, pending, .. } = self;
        let Line { source, client, .. } = &mut lines[at];
        let cx = Context {
            now: ground.now,
            source: *source as u8,
            recorded: false,
            symbols: ground.symbols,
            tallies: &mut ground.sources[*source].tallies,
        };
        let resolver = outside.resolver.as_mut();
        (client, cx, Means { registrar: ground.registrar, resolver, coverage, out: pending })
    }
}

/// Every name that the pools among these sources may ask for, once.
pub fn names(sources: &[SourceOptions]) -> Vec<Name> {
    let mut names = Vec::new();
    for pool in sources.iter().filter_map(|source| source.origin.pool()) {
        let name = Name { host: pool.endpoint.host.clone(), port: pool.endpoint.port };
        if crate::runtime::resolver::literal(&name.host).is_none() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
