//! The wiring table: which core runs which stage, which ring joins whom, how deep it is, and what happens when it is full.
//!
//! | ring | carries | depth | when full |
//! |---|---|---|---|
//! | ingest → shard *j* | `Tick`, 64 bytes | `rings.ticks_depth` | its sources are not read: TCP pushes back, files wait; quotes of live sources conflate |
//! | shard *j* → gateway | `Event`, 128 bytes | `rings.events_depth` | states stay in the shard and merge; facts wait beside it, and after `rings.facts_deadline_ms` the ring is declared broken and resynchronised from the shard's history |
//! | shard *j* → collector | `Event` | `rings.events_depth` | the shard waits, always |
//! | gateway → shard *j* | `Interest` | `rings.interests_depth` | kept and retried next turn |
//! | any stage → main | `Report` | 256 | that period is skipped |

use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;

use crossbeam_channel::Sender as ChannelSender;

use crate::collect::{Collected, Collector};
use crate::config::{Config, Layout, Placement};
use crate::feed::{Progress, SourceError};
use crate::gateway::Gateway;
use crate::ingest::{Ingest, IngestOptions, Pace, Troubles};
use crate::model::{Event, Interest, Nanos, SymbolTable, Tick};
use crate::runtime::core::{Core, CoreOptions, Stop};
use crate::runtime::transport::Network;
use crate::runtime::{Bell, Clock, Receiver, Report, Sender, Stage, ring};
use crate::shard::{Link, Patience, Shard, ShardOptions};

/// Reports that may wait for whoever prints them.
const REPORTS_DEPTH: usize = 256;
/// After a stop was asked for, a core that has not finished by then ends all the same.
const STOP_PATIENCE: Nanos = Nanos::from_millis(1_800);

/// What takes the shards' events.
pub enum Outlet {
    /// Clients.
    Gateway,
    /// A file; the collected bars go to this channel.
    Collect(ChannelSender<Collected>),
}

/// Which stages run on which core. Stages are numbered: 0 ingest, then the shards, then the outlet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The stages of each core.
    pub cores: Vec<Vec<usize>>,
    /// Which processor each core is pinned to.
    pub processors: Vec<Option<usize>>,
    /// What could not be had as asked for.
    pub notes: Vec<String>,
}

impl Plan {
    /// Lays the stages out for a machine with these processors.
    ///
    /// With `collects` a file takes the gateway's place, and parsing has a core for itself.
    pub fn new(layout: &Layout, collects: bool, available: &[usize]) -> Self {
        let stages = layout.shards + 2;
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
            Placement::Shared => vec![(0..stages - 1).collect(), vec![stages - 1]],
            Placement::Single | Placement::Auto => vec![(0..stages).collect()],
        };
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
        Self { cores, processors, notes }
    }

    /// Cores, and rings with what they cost and what happens when they are full.
    pub fn explain(&self, layout: &Layout) -> String {
        let mut out = String::new();
        for (stages, processor) in self.cores.iter().zip(&self.processors) {
            let names: Vec<_> = stages.iter().map(|&stage| self.stage_name(stage)).collect();
            let place = processor.map_or_else(|| "not pinned".to_owned(), |id| format!("processor {id}"));
            out += &format!("core      {}: {place}\n", names.join(", "));
        }
        for shard in 0..layout.shards {
            let rings = [
                (
                    format!("ingest-0 -> shard-{shard}"),
                    layout.ticks_depth,
                    size_of::<Tick>(),
                    "its sources are not read",
                ),
                (
                    format!("shard-{shard} -> gateway-0"),
                    layout.events_depth,
                    size_of::<Event>(),
                    "states merge, facts wait, then resynchronise",
                ),
                (
                    format!("gateway-0 -> shard-{shard}"),
                    layout.interests_depth,
                    size_of::<Interest>(),
                    "kept and retried",
                ),
            ];
            for (name, depth, bytes, full) in rings {
                out += &format!(
                    "ring      {name}: {depth} slots, {} KiB; when full: {full}\n",
                    depth * bytes / 1024
                );
            }
        }
        for note in &self.notes {
            out += &format!("note      {note}\n");
        }
        out
    }

    /// The name of a stage by its number.
    pub fn stage_name(&self, stage: usize) -> String {
        let stages = self.cores.iter().map(Vec::len).sum::<usize>();
        match stage {
            0 => "ingest-0".to_owned(),
            last if last + 1 == stages => "gateway-0".to_owned(),
            shard => format!("shard-{}", shard - 1),
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
    /// Of an inline engine: a way into each shard beside the ingest's, for ticks that no feed dialect makes.
    pub inlets: Vec<Sender<Tick>>,
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
        let stages = (0..config.layout.shards + 2).collect();
        let plan = Plan { cores: vec![stages], processors: vec![None], notes: Vec::new() };
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
    let Config { mut candles, sources, gateway, layout, .. } = config;
    candles.history_bytes_max /= layout.shards;
    candles.trades_bytes_max /= layout.shards;
    let shards = layout.shards;
    let core_of = |stage: usize| plan.cores.iter().position(|stages| stages.contains(&stage)).unwrap_or(0);
    let bell_of = |stage: usize| cores[core_of(stage)].bell();
    let (ingest_bell, outlet_bell) = (bell_of(0), bell_of(shards + 1));

    let mut tick_senders: Vec<Sender<Tick>> = Vec::with_capacity(shards);
    let mut event_receivers: Vec<Receiver<Event>> = Vec::with_capacity(shards);
    let mut interest_senders: Vec<Sender<Interest>> = Vec::with_capacity(shards);
    let patience = Patience {
        facts_max: matches!(outlet, Outlet::Gateway).then_some(layout.facts_waiting_max),
        deadline: layout.facts_deadline,
    };
    let mut shard_stages = Vec::with_capacity(shards);
    let mut inlets = Vec::new();
    for shard in 0..shards {
        let bell = bell_of(1 + shard);
        let (tick_tx, tick_rx) = ring(layout.ticks_depth, ingest_bell.clone(), bell.clone());
        let (event_tx, event_rx) = ring(layout.events_depth, bell.clone(), outlet_bell.clone());
        let (interest_tx, interest_rx) = ring(layout.interests_depth, outlet_bell.clone(), bell);
        tick_senders.push(tick_tx);
        event_receivers.push(event_rx);
        interest_senders.push(interest_tx);
        let options = ShardOptions {
            name: plan.stage_name(1 + shard),
            candles: candles.clone(),
            feed_offset_max: config.feed_offset_max,
        };
        let link = Link::new(event_tx, interest_rx, patience);
        let mut ticks = vec![tick_rx];
        if has_inlets {
            let (inlet, side) = ring(INLET_DEPTH, Bell::silent(), Bell::silent());
            inlets.push(inlet);
            ticks.push(side);
        }
        shard_stages.push(Shard::new(options, ticks, vec![link]));
    }

    let symbols = SymbolTable::new(config.symbols_max);
    let live = sources.len();
    let ingest_options = IngestOptions {
        name: plan.stage_name(0),
        sources,
        finish_at_end: config.finish_at_end,
        pace,
        bell: ingest_bell,
        clock: clock(),
    };
    let at = core_of(0);
    let ingest = Ingest::new(ingest_options, cores[at].registrar()?, symbols.clone(), tick_senders)?;
    let (progress, troubles) = (ingest.progress(), ingest.troubles());
    let source_addrs = (0..live).map(|source| ingest.local_addr(source)).collect();
    cores[at].add(Box::new(ingest));
    for (shard, stage) in shard_stages.into_iter().enumerate() {
        cores[core_of(1 + shard)].add(Box::new(stage));
    }
    let at = core_of(shards + 1);
    let mut gateway_addr = None;
    let outlet: Box<dyn Stage> = match outlet {
        Outlet::Collect(done) => {
            let (symbols, timeframes) = (symbols.clone(), candles.timeframes);
            Box::new(Collector::new(symbols, timeframes, event_receivers, interest_senders, done))
        }
        Outlet::Gateway => {
            let addr = gateway.listen;
            let (registrar, timeframes) = (cores[at].registrar()?, candles.timeframes);
            let made = Gateway::new(
                gateway,
                registrar,
                symbols.clone(),
                timeframes,
                epoch,
                event_receivers,
                interest_senders,
            );
            let gateway = made.map_err(|error| WireError::Listen { addr, error })?;
            gateway_addr = gateway.local_addr().ok();
            Box::new(gateway)
        }
    };
    cores[at].add(outlet);
    let (report_tx, reports) = crossbeam_channel::bounded(REPORTS_DEPTH);
    cores.iter_mut().for_each(|core| core.report_to(report_tx.clone()));
    Ok(Engine { cores, plan, symbols, reports, gateway_addr, source_addrs, progress, troubles, inlets })
}
