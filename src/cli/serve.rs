//! `tickwire serve`, `demo` and `check`: an engine until it is told to end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tickwire::config::Config;
use tickwire::feed::{self, Endpoint, INGEST_PATH, Origin, SourceOptions};
use tickwire::ingest::Pace;
use tickwire::latency::{IntervalLog, Totals, with_interval_log};
use tickwire::model::UnixNanos;
use tickwire::runtime::Report;
use tickwire::runtime::core::Stop;
use tickwire::topology::{Engine, Outlet, Plan, available_processors};

use super::universes::UniverseFiles;
use super::{CheckArguments, DemoArguments, Failure, ServeArguments, environment, load};

/// How soon a signal is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The demo's recordings. They are in the binary, so that it needs no file beside it.
const RECORDINGS: [(&str, &[u8]); 2] = [
    ("equities.csv.gz", include_bytes!("../../tests/data/demo-equities.csv.gz")),
    ("crypto.csv.gz", include_bytes!("../../tests/data/demo-crypto.csv.gz")),
];

pub(super) fn check(arguments: &CheckArguments) -> Result<(), Failure> {
    let config = load(&arguments.config)?;
    println!("{} is well-formed.\n", arguments.config.display());
    print!("{}", config.explain());
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = UnixNanos(i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX));
    for calendar in config.candles.calendars.calendars() {
        for (n, line) in calendar.explain(now).lines().enumerate() {
            println!("{} {line}", if n == 0 { "calendar " } else { "         " });
        }
    }
    let plan = Plan::new(&config.layout, false, &available_processors());
    print!("{}", plan.explain(&config.layout));
    Ok(())
}

pub(super) fn serve(arguments: &ServeArguments) -> Result<(), Failure> {
    let mut config = load(&arguments.config)?;
    if let Some(listen) = arguments.listen {
        config.gateway.listen = listen;
    }
    if let Some(placement) = arguments.placement {
        config.layout.placement = placement;
    }
    config.gateway.echo_bytes_max = arguments.test_echo;
    if let Some(shards) = arguments.shards {
        config.layout.shards = usize::from(shards);
    }
    if let Some(gateways) = arguments.gateways {
        config.layout.gateways = usize::from(gateways);
    }
    let sources = config.sources.clone();
    run(config, None, arguments.latency_log.as_deref(), |engine| {
        for note in &engine.plan.notes {
            eprintln!("tickwire: {note}");
        }
        if let Some(addr) = engine.gateway_addr {
            eprintln!("tickwire: clients at ws://{addr}/v1/stream");
        }
        for (source, addr) in sources.iter().zip(&engine.source_addrs) {
            match (&source.origin, addr) {
                (Origin::Tcp(_), Some(addr)) => {
                    eprintln!("tickwire: {} takes lines at tcp://{addr}", source.name)
                }
                (Origin::WebSocket(_), Some(addr)) => {
                    eprintln!("tickwire: {} takes publishers at ws://{addr}{INGEST_PATH}", source.name);
                }
                (Origin::Connect(pool), _) => {
                    let Endpoint { tls, host, port, .. } = &pool.endpoint;
                    let (scheme, n) = (if *tls { "wss" } else { "ws" }, pool.members.len());
                    eprintln!(
                        "tickwire: {} connects to {scheme}://{host}:{port}, {n} at a time",
                        source.name
                    );
                }
                _ => {}
            }
        }
    })
}

pub(super) fn demo(arguments: &DemoArguments) -> Result<(), Failure> {
    let mut config = Config::from_environment(environment)?;
    config.gateway.listen = arguments.listen;
    let recordings =
        Recordings::unpack().map_err(|error| Failure::Run(format!("cannot unpack the demo: {error}")))?;
    let csv = feed::find("csv").ok_or_else(|| Failure::Run("the csv dialect is missing".to_owned()))?;
    let source = |(path, (name, _)): (&PathBuf, &(&str, &[u8]))| {
        SourceOptions::new(name.trim_end_matches(".csv.gz"), Origin::Files(vec![path.clone()]), csv)
    };
    config.sources = recordings.paths.iter().zip(&RECORDINGS).map(source).collect();
    let pace = Pace { speed_num: 1, speed_den: 1, loop_forever: true, retime: true };
    run(config, Some(pace), arguments.latency_log.as_deref(), |engine| {
        let Some(addr) = engine.gateway_addr else { return };
        println!(
            "tickwire demo: real trades of SPY, BAC, AIG, IBM (2013-10-08) and BTCUSDT, ETHUSDT spot and perpetual (2024-08-08),\n\
             replayed as if they happened now, at ws://{addr}/v1/stream. Ctrl-C ends it and prints the latencies.\n\n\
             Try, in another terminal (pip install websockets):\n\n\
             python3 -c 'import asyncio,websockets as w\n\
             async def main():\n    \
                 async with w.connect(\"ws://{addr}/v1/stream\") as s:\n        \
                     await s.send(\"\"\"{{\"action\":\"subscribe\",\"channel\":\"bars\",\"symbols\":[\"SPY\",\"BTCUSDT\"],\"timeframes\":[\"1s\",\"1m\"]}}\"\"\")\n        \
                     async for m in s: print(m)\n\
             asyncio.run(main())'\n"
        );
    })
}

/// Raises `flag` on SIGINT and SIGTERM.
pub(super) fn on_signal(flag: &Arc<AtomicBool>) -> Result<(), Failure> {
    catch(signal_hook::consts::SIGINT, flag)?;
    catch(signal_hook::consts::SIGTERM, flag)
}

fn catch(signal: i32, flag: &Arc<AtomicBool>) -> Result<(), Failure> {
    signal_hook::flag::register(signal, Arc::clone(flag))
        .map(drop)
        .map_err(|error| Failure::Run(format!("cannot catch signal {signal}: {error}")))
}

/// The demo's files, unpacked for as long as it runs.
struct Recordings {
    folder: PathBuf,
    paths: Vec<PathBuf>,
}

impl Recordings {
    fn unpack() -> std::io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("tickwire-demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let mut recordings = Self { folder, paths: Vec::new() };
        for (name, bytes) in RECORDINGS {
            let path = recordings.folder.join(name);
            std::fs::write(&path, bytes)?;
            recordings.paths.push(path);
        }
        Ok(recordings)
    }
}

impl Drop for Recordings {
    fn drop(&mut self) {
        // What cannot be removed is a few hundred KiB in the temporary folder.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Runs an engine until a signal or the end of its input, then prints its latencies.
fn run(
    config: Config,
    pace: Option<Pace>,
    latency_log: Option<&Path>,
    greet: impl FnOnce(&Engine),
) -> Result<(), Failure> {
    let signals = Signals::catch()?;
    let ends = Ends { gateways: config.layout.gateways, drain: Duration::from_secs(config.gateway.drain_s) };
    if config.candles.preallocate {
        // All of it is touched before the first tick: clearing huge pages delays nothing then. Where it fails they stay off.
        let _ = rustix::thread::disable_transparent_huge_pages(false);
    }
    let mut universes = UniverseFiles::of(&config.sources);
    let engine = Engine::new(config, Outlet::Gateway, pace, epoch())
        .map_err(|error| Failure::Run(error.to_string()))?;
    greet(&engine);
    match latency_log {
        None => supervise(engine, &signals, ends, &mut universes, None),
        Some(path) => {
            with_interval_log(path, |log| supervise(engine, &signals, ends, &mut universes, Some(log)))
                .map_err(|error| Failure::Run(format!("cannot write {}: {error}", path.display())))?
        }
    }
}

/// What an operator asks for by a signal.
#[derive(Clone, Copy)]
enum Asked {
    /// SIGINT: the end, at once.
    End,
    /// SIGTERM: make room for the next engine; clients are seen off first.
    Restart,
}

/// The signals not yet looked at.
struct Signals {
    end: Arc<AtomicBool>,
    restart: Arc<AtomicBool>,
    /// SIGHUP: read the files of universes again.
    reload: Arc<AtomicBool>,
}

impl Signals {
    fn catch() -> Result<Self, Failure> {
        let signals = Self { end: Arc::default(), restart: Arc::default(), reload: Arc::default() };
        catch(signal_hook::consts::SIGINT, &signals.end)?;
        catch(signal_hook::consts::SIGTERM, &signals.restart)?;
        catch(signal_hook::consts::SIGHUP, &signals.reload)?;
        Ok(signals)
    }

    fn take(&self) -> Option<Asked> {
        if self.end.swap(false, Ordering::Relaxed) {
            Some(Asked::End)
        } else {
            self.restart.swap(false, Ordering::Relaxed).then_some(Asked::Restart)
        }
    }
}

/// What the end of an engine waits for.
#[derive(Clone, Copy)]
struct Ends {
    /// Gateways that have clients to see off.
    gateways: usize,
    /// How long that may take.
    drain: Duration,
}

fn supervise(
    engine: Engine,
    signals: &Signals,
    ends: Ends,
    universes: &mut UniverseFiles,
    mut log: Option<&mut IntervalLog<'_>>,
) -> Result<(), Failure> {
    let Engine { cores, reports, troubles, commands, .. } = engine;
    let stop = Stop::default();
    let threads = Engine::start(cores, &stop)
        .map_err(|error| Failure::Run(format!("cannot start a thread: {error}")))?;
    let mut totals = Totals::default();
    let began = Instant::now();
    let mut take = |report: Report| {
        totals.add(&report);
        report.notes.iter().for_each(|note| eprintln!("tickwire: {}: {note}", report.stage));
        if let Some(log) = log.as_deref_mut() {
            log.add(&report);
        }
        report.give_back();
    };
    let (mut gateways_done, mut drained_at) = (0, began);
    while !threads.iter().all(|thread| thread.is_finished()) {
        if let Ok(report) = reports.recv_timeout(LOOK_EVERY) {
            gateways_done += usize::from(report.last && report.stage.starts_with("gateway-"));
            take(report);
        }
        universes.look(signals.reload.swap(false, Ordering::Relaxed), &commands);
        match signals.take() {
            None => {}
            Some(_) if stop.draining() || stop.requested() => {
                let message = "a second signal: ended at once, without a word to those clients still there";
                return Err(Failure::Run(message.to_owned()));
            }
            Some(Asked::End) => stop.request(),
            Some(Asked::Restart) => {
                stop.drain();
                drained_at = Instant::now() + ends.drain;
            }
        }
        let drained = gateways_done >= ends.gateways || Instant::now() >= drained_at;
        if stop.draining() && !stop.requested() && drained {
            stop.request();
        }
    }
    let mut failures = troubles.list();
    for thread in threads {
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failures.push(format!("a core failed: {error}")),
            Err(_) => failures.push("a core panicked; its message is above".to_owned()),
        }
    }
    reports.try_iter().for_each(&mut take);
    println!("\nran {:.1} s\n{}", began.elapsed().as_secs_f64(), totals.table());
    if failures.is_empty() { Ok(()) } else { Err(Failure::Run(failures.join("\n"))) }
}

/// A name for this run's sequences: they begin again with every start.
fn epoch() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", since.as_micros(), std::process::id())
}
