//! The wiring table: which core runs which stage, which ring joins whom, how deep it is, and what happens when it is full.
//!
//! | ring | carries | depth | when full |
//! |---|---|---|---|
//! | ingest → shard *j* | `Tick`, 64 bytes | `rings.ticks_depth` | its sources are not read: TCP pushes back, files wait; quotes of live sources conflate |
//! | shard *j* → gateway *k* | `Event`, 128 bytes | `rings.events_depth` | states stay in the shard and merge; facts wait beside it, and after `rings.facts_deadline_ms` the ring is declared broken and resynchronised from the shard's history |
//! | shard *j* → collector | `Event` | `rings.events_depth` | the shard waits, always |
//! | gateway *k* → shard *j* | `Interest` | `rings.interests_depth` | kept and retried next turn |
//! | dealer → gateway *k* | accepted sockets | 256 | another gateway gets the next; if all are full the dealer accepts no more |
//! | gateway *k* → dealer | ends of connections | 256 | kept and retried next turn |
//! | main → ingest | `Command` to a feed | 64 | refused, and whoever sent it is told |
//! | ingest → resolver threads, and back | names; addresses | 1024 | that attempt to connect fails and is made again |
//! | ingest → REST thread | `RestWish` | 1024 | kept in their order and retried next turn |
//! | REST thread → ingest | `Tick`, halves of bars | 4096 | the thread waits |
//! | any stage → main | `Report` | 256 | that period is skipped |

use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;

use crossbeam_channel::Sender as ChannelSender;

use crate::backfill::{self, BackfillOptions};
use crate::collect::{Collected, Collector};
use crate::config::{Config, Layout, Placement};
use crate::feed::{Progress, SourceError};
use crate::gateway::dealer::{Dealer, SOCKETS_DEPTH, way};
use crate::gateway::{Gateway, GatewayOptions};
use crate::ingest::{self, Commands, Ingest, IngestOptions, Outside, Pace, RestLines, Troubles};
use crate::model::calendar::NestError;
use crate::model::{Event, Interest, Nanos, RestWish, SymbolTable, Tick, UnixNanos};
use crate::runtime::core::{Core, CoreOptions, Stop};
use crate::runtime::resolver::Resolver;
use crate::runtime::transport::Network;
use crate::runtime::{Bell, Clock, Receiver, Report, Sender, Stream, ring, warm};
use crate::shard::{Link, Patience, Shard, ShardOptions};

/// Reports that may wait for whoever prints them.
const REPORTS_DEPTH: usize = 256;
/// Wishes that may wait for the REST thread; beyond them they wait, counted, where they were made.
const WISHES_DEPTH: usize = 1024;
/// Ticks of the REST thread that may wait for ingest: 2048 bars, a few answers.
const ANSWERS_DEPTH: usize = 4096;
/// After a stop was asked for, a core that has not finished by then ends all the same.
const STOP_PATIENCE: Nanos = Nanos::from_millis(1_800);

/// What takes the shards' events.
pub enum Outlet {
    /// Clients.
    Gateway,
    /// A file; the collected bars go to this channel.
    Collect(ChannelSender<Collected>),
}

impl Outlet {
    /// How many stages it is.
    const fn count(&self, layout: &Layout) -> usize {
        match self {
            Self::Gateway => layout.gateways,
            Self::Collect(_) => 1,
        }
    }
}

/// Which stages run on which core. Stages are numbered: 0 ingest, then the shards, then the gateways or the collector. The dealer
/// has no number: it is on the first gateway's core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The stages of each core.
    pub cores: Vec<Vec<usize>>,
    /// Which processor each core is pinned to.
    pub processors: Vec<Option<usize>>,
    /// What could not be had as asked for.
    pub notes: Vec<String>,
    /// How many of the stages are shards.
    pub shards: usize,
}

impl Plan {
    /// Lays the stages out for a machine with these processors.
    ///
    /// With `collects` a file takes the gateway's place, and parsing has a core for itself.
    pub fn new(layout: &Layout, collects: bool, available: &[usize]) -> Self {
        let outlets = if collects { 1 } else { layout.gateways };
        let stages = 1 + layout.shards + outlets;
        let has = available.len();
        let mut notes = Vec::new();
        let wanted = match layout.placement {
            Placement::Auto if has >= stages => Placement::Dedicated,
            Placement::Auto if has >= 2 => Placement::Shared,
            Placement::Auto => Placement::Single,
            asked => asked,
        };
        let needs = match wanted {
            Placement::Dedicated => stages,
            Placement::Shared => 2,
            Placement::Single | Placement::Auto => 1,
        };
        if needs > has && layout.pin {
            notes.push(format!(
                "{needs} cores asked for, {has} processors available: some cores share a processor"
            ));
        }
        let cores: Vec<Vec<usize>> = match wanted {
            Placement::Dedicated => (0..stages).map(|stage| vec![stage]).collect(),
            Placement::Shared if collects => vec![vec![0], (1..stages).collect()],
            Placement::Shared => vec![(0..stages - outlets).collect(), (stages - outlets..stages).collect()],
            Placement::Single | Placement::Auto => vec![(0..stages).collect()],
        };
        if outlets > 1 && cores.len() < stages {
            notes.push(format!(
                "{outlets} gateways share a core: more than one is of use only where each has its own (placement = \"dedicated\")"
            ));
        }
        let chosen = if layout.processors.is_empty() { available } else { &layout.processors };
        let strangers: Vec<_> = chosen.iter().filter(|id| !available.contains(id)).collect();
        if !strangers.is_empty() {
            notes.push(format!(
                "processors {strangers:?} are not available here; this process may use {available:?}"
            ));
        }
        // Two spinning cores on one processor would only take turns: where processors are short nothing is pinned.
        let pin = layout.pin && strangers.is_empty() && cores.len() <= chosen.len();
        let processors = (0..cores.len()).map(|at| chosen.get(at).copied().filter(|_| pin)).collect();
        Self { cores, processors, notes, shards: layout.shards }
    }

    /// Cores, and rings with what they cost and what happens when they are full.
    pub fn explain(&self, layout: &Layout) -> String {
        let mut out = String::new();
        for (stages, processor) in self.cores.iter().zip(&self.processors) {
            let name = |stage: &usize| match self.stage_name(*stage) {
                first if first == "gateway-0" => format!("dealer, {first}"),
                other => other,
            };
            let names: Vec<_> = stages.iter().map(name).collect();
            let place = processor.map_or_else(|| "not pinned".to_owned(), |id| format!("processor {id}"));
            out += &format!("core      {}: {place}\n", names.join(", "));
        }
        let mut ring = |name: String, depth: usize, bytes: usize, full: &str| {
            let kib = depth * bytes / 1024;
            out += &format!("ring      {name}: {depth} slots, {kib} KiB; when full: {full}\n");
        };
        for shard in 0..layout.shards {
            let full = "its sources are not read";
            ring(format!("ingest-0 -> shard-{shard}"), layout.ticks_depth, size_of::<Tick>(), full);
            for gateway in 0..layout.gateways {
                let full = "states merge, facts wait, then resynchronise";
                let name = format!("shard-{shard} -> gateway-{gateway}");
                ring(name, layout.events_depth, size_of::<Event>(), full);
                let name = format!("gateway-{gateway} -> shard-{shard}");
                ring(name, layout.interests_depth, size_of::<Interest>(), "kept and retried");
            }
        }
        for gateway in 0..layout.gateways {
            let bytes = size_of::<Stream>();
            let full = "another gateway gets the next";
            ring(format!("dealer -> gateway-{gateway}"), SOCKETS_DEPTH, bytes, full);
        }
        for note in &self.notes {
            out += &format!("note      {note}\n");
        }
        out
    }

    /// The name of a stage by its number.
    pub fn stage_name(&self, stage: usize) -> String {
        match stage {
            0 => "ingest-0".to_owned(),
            shard if shard <= self.shards => format!("shard-{}", shard - 1),
            outlet => format!("gateway-{}", outlet - self.shards - 1),
        }
    }
}

/// The processors this process may use.
pub fn available_processors() -> Vec<usize> {
    core_affinity::get_core_ids().map_or_else(|| vec![0], |ids| ids.into_iter().map(|core| core.id).collect())
}

/// Why an engine cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A source cannot begin.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The timeframes do not nest under a calendar.
    #[error(transparent)]
    Calendar(#[from] NestError),
    /// The gateway cannot listen.
    #[error(
        "cannot listen on {addr}: {error}; is another program there already? choose another with --listen"
    )]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The system refused a poll or a thread.
    #[error("cannot set up a core: {0}")]
    Core(#[from] io::Error),
}

/// An engine put together and not yet running.
pub struct Engine {
    /// Its cores, with all stages in place.
    pub cores: Vec<Core>,
    /// Which stage is where.
    pub plan: Plan,
    /// Every symbol it knows.
    pub symbols: SymbolTable,
    /// What its stages report, about once a second.
    pub reports: crossbeam_channel::Receiver<Report>,
    /// Where the gateway listens.
    pub gateway_addr: Option<SocketAddr>,
    /// Where each live source listens.
    pub source_addrs: Vec<Option<SocketAddr>>,
    /// How far its files were read.
    pub progress: Progress,
    /// What went wrong with its sources.
    pub troubles: Troubles,
    /// Asks its feeds to change while they run.
    pub commands: Commands,
    /// Of an inline engine: a way into each shard beside the ingest's, for ticks that no feed dialect makes.
    pub inlets: Vec<Sender<Tick>>,
    /// Of an inline engine: the ends that the REST thread has in others.
    pub rest: Option<RestEnds>,
}

/// What stands in for the REST thread: takes wishes, sends bars.
pub struct RestEnds {
    /// What ingest wants.
    pub wishes: crossbeam_channel::Receiver<RestWish>,
    /// The halves of bars.
    pub answers: Sender<Tick>,
}

/// Ticks that an inlet of an inline engine holds.
const INLET_DEPTH: usize = 64;

impl Engine {
    /// Puts an engine together on threads of its own.
    ///
    /// # Errors
    /// Where a file, a port or a core cannot be had.
    pub fn new(config: Config, outlet: Outlet, pace: Option<Pace>, epoch: String) -> Result<Self, WireError> {
        let plan = Plan::new(&config.layout, matches!(outlet, Outlet::Collect(_)), &available_processors());
        let core = |at: usize| {
            let names: Vec<_> = plan.cores[at].iter().map(|&stage| plan.stage_name(stage)).collect();
            Core::new(CoreOptions {
                name: names.join("+"),
                processor: plan.processors[at],
                spin: config.layout.spin,
                never_park: config.layout.never_park,
            })
        };
        let cores = (0..plan.cores.len()).map(core).collect::<Result<Vec<_>, _>>()?;
        wire(config, plan, cores, outlet, pace, epoch, Clock::real, false)
    }

    /// Puts an engine together on one core that the caller drives, under its clock and on its network.
    ///
    /// # Errors
    /// Where a source or the gateway cannot begin.
    pub fn inline(
        config: Config,
        outlet: Outlet,
        pace: Option<Pace>,
        epoch: String,
        clock: &dyn Fn() -> Clock,
        network: Network,
    ) -> Result<Self, WireError> {
        let shards = config.layout.shards;
        let stages = (0..1 + shards + outlet.count(&config.layout)).collect();
        let plan = Plan { cores: vec![stages], processors: vec![None], notes: Vec::new(), shards };
        wire(config, plan, vec![Core::inline(clock(), network)], outlet, pace, epoch, clock, true)
    }

    /// Gives every core its thread.
    ///
    /// # Errors
    /// Where the system refuses a thread.
    pub fn start(cores: Vec<Core>, stop: &Stop) -> io::Result<Vec<JoinHandle<io::Result<()>>>> {
        let start = |core: Core| {
            let stop = stop.clone();
            // The kernel keeps 15 bytes of a thread's name.
            let name = core.options().name.chars().take(15).collect();
            std::thread::Builder::new().name(name).spawn(move || core.run(&stop, STOP_PATIENCE))
        };
        cores.into_iter().map(start).collect()
    }
}

/// The rings between all shards and one gateway, or the collector, in the order of the shards.
#[derive(Default)]
struct OutletEnds {
    events: Vec<Receiver<Event>>,
    interests: Vec<Sender<Interest>>,
}

/// Joins all stages by the table above.
#[expect(clippy::too_many_arguments, reason = "what two ways to put an engine together have in common")]
fn wire(
    config: Config,
    plan: Plan,
    mut cores: Vec<Core>,
    outlet: Outlet,
    pace: Option<Pace>,
    epoch: String,
    clock: impl Fn() -> Clock,
    has_inlets: bool,
) -> Result<Engine, WireError> {
    let Config { mut candles, sources, rest, gateway, layout, .. } = config;
    candles.history_bytes_max /= layout.shards;
    candles.trades_bytes_max /= layout.shards;
    candles.calendars.grids(&candles.timeframes)?;
    let symbols = SymbolTable::new(config.symbols_max);
    let shards = layout.shards;
    let core_of = |stage: usize| plan.cores.iter().position(|stages| stages.contains(&stage)).unwrap_or(0);
    let bell_of = |stage: usize| cores[core_of(stage)].bell();
    let ingest_bell = bell_of(0);
    let outlets = outlet.count(&layout);

    let mut tick_senders: Vec<Sender<Tick>> = Vec::with_capacity(shards);
    let mut outlet_ends: Vec<OutletEnds> = (0..outlets).map(|_| OutletEnds::default()).collect();
    let patience = Patience {
        facts_max: matches!(outlet, Outlet::Gateway).then_some(layout.facts_waiting_max),
        deadline: layout.facts_deadline,
    };
    let mut shard_stages = Vec::with_capacity(shards);
    let mut inlets = Vec::new();
    for shard in 0..shards {
        let bell = bell_of(1 + shard);
        let (mut tick_tx, mut tick_rx) = ring(layout.ticks_depth, ingest_bell.clone(), bell.clone());
        if candles.preallocate {
            warm(&mut tick_tx, &mut tick_rx, Tick::watermark(UnixNanos::MIN));
        }
        tick_senders.push(tick_tx);
        let links = outlet_ends.iter_mut().enumerate().map(|(k, ends)| {
            let outlet_bell = bell_of(1 + shards + k);
            let (mut event_tx, mut event_rx) = ring(layout.events_depth, bell.clone(), outlet_bell.clone());
            if candles.preallocate {
                warm(&mut event_tx, &mut event_rx, Event::resync());
            }
            let (interest_tx, interest_rx) = ring(layout.interests_depth, outlet_bell, bell.clone());
            ends.events.push(event_rx);
            ends.interests.push(interest_tx);
            Link::new(event_tx, interest_rx, patience)
        });
        let links = links.collect();
        let options = ShardOptions {
            name: plan.stage_name(1 + shard),
            candles: candles.clone(),
            feed_offset_max: config.feed_offset_max,
        };
        let mut ticks = vec![tick_rx];
        if has_inlets {
            let (inlet, side) = ring(INLET_DEPTH, Bell::silent(), Bell::silent());
            inlets.push(inlet);
            ticks.push(side);
        }
        let mut stage = Shard::new(options, ticks, links);
        stage.know_names(symbols.clone());
        shard_stages.push(stage);
    }

    let live = sources.len();
    let (report_tx, reports) = crossbeam_channel::bounded(REPORTS_DEPTH);
    let (commands, commands_rx) = Commands::channel(&sources, ingest_bell.clone());
    let (wishes, wishes_rx) = crossbeam_channel::bounded(WISHES_DEPTH);
    let (answers_tx, answers) = ring(ANSWERS_DEPTH, Bell::silent(), ingest_bell.clone());
    let mut outside = Outside { seed: seed(&epoch), resolver: None, commands: Some(commands_rx), rest: None };
    let mut rest_ends = None;
    if has_inlets {
        outside.rest = Some(RestLines { wishes, answers });
        rest_ends = Some(RestEnds { wishes: wishes_rx, answers: answers_tx });
    } else {
        let names = ingest::live::names(&sources).len();
        if names > 0 {
            outside.resolver = Some(Resolver::spawn(names, ingest_bell.clone())?);
        }
        if !rest.is_empty() {
            let options = BackfillOptions {
                feeds: rest,
                timeframes: candles.timeframes.clone(),
                seal_after: candles.seal_after,
            };
            let lines =
                backfill::Lines { wishes: wishes_rx, answers: answers_tx, reports: report_tx.clone() };
            // It ends with its wishes, which end with ingest.
            backfill::spawn(options, lines, symbols.clone(), clock())?;
            outside.rest = Some(RestLines { wishes, answers });
        }
    }
    let ingest_options = IngestOptions {
        name: plan.stage_name(0),
        sources,
        finish_at_end: config.finish_at_end,
        pace,
        bell: ingest_bell,
        clock: clock(),
        outside,
    };
    let at = core_of(0);
    let ingest = Ingest::new(ingest_options, cores[at].registrar()?, symbols.clone(), tick_senders)?;
    let (progress, troubles) = (ingest.progress(), ingest.troubles());
    let source_addrs = (0..live).map(|source| ingest.local_addr(source)).collect();
    cores[at].add(Box::new(ingest));
    for (shard, stage) in shard_stages.into_iter().enumerate() {
        cores[core_of(1 + shard)].add(Box::new(stage));
    }
    let mut gateway_addr = None;
    match outlet {
        Outlet::Collect(done) => {
            let OutletEnds { events, interests } = outlet_ends.pop().unwrap_or_default();
            let collector = Collector::new(symbols.clone(), candles.timeframes, events, interests, done);
            cores[core_of(shards + 1)].add(Box::new(collector));
        }
        Outlet::Gateway => {
            let dealer_at = core_of(shards + 1);
            let dealer_bell = cores[dealer_at].bell();
            let doors = (0..outlets).map(|k| way(&dealer_bell, &cores[core_of(1 + shards + k)].bell()));
            let (ways, entrances): (Vec<_>, Vec<_>) = doors.unzip();
            let registrar = cores[dealer_at].registrar()?;
            let dealer = Dealer::new(&gateway, &registrar, ways)
                .map_err(|error| WireError::Listen { addr: gateway.listen, error })?;
            gateway_addr = dealer.local_addr().ok();
            cores[dealer_at].add(Box::new(dealer));
            for (k, (OutletEnds { events, interests }, entrance)) in
                outlet_ends.into_iter().zip(entrances).enumerate()
            {
                let at = core_of(1 + shards + k);
                let stage = Gateway::new(
                    GatewayOptions { number: k, ..gateway.clone() },
                    clock(),
                    cores[at].registrar()?,
                    entrance,
                    symbols.clone(),
                    candles.timeframes.clone(),
                    epoch.clone(),
                    events,
                    interests,
                )?;
                cores[at].add(Box::new(stage));
            }
        }
    }
    cores.iter_mut().for_each(|core| core.report_to(report_tx.clone()));
    Ok(Engine {
        cores,
        plan,
        symbols,
        reports,
        gateway_addr,
        source_addrs,
        progress,
        troubles,
        commands,
        inlets,
        rest: rest_ends,
    })
}

/// What its feeds choose at random differs from run to run as its name does, and is the same under the same name. FNV-1a.
fn seed(epoch: &str) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    epoch.bytes().fold(0xcbf2_9ce4_8422_2325, mix)
}
