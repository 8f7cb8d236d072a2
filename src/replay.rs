//! Sends recorded feeds to an engine at the pace at which they were recorded, a multiple of it, or as fast as it takes them.
//!
//! The pace is open-loop: a line is due at its own time whether or not the engine kept up with those before it, and the
//! greatest lateness is reported. Lines go out as they were recorded but for a receive time before them, which is dropped:
//! the engine that gets them stamps its own.

mod link;
mod recording;
pub mod retime;
pub mod schedule;
pub mod target;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::feed::{DialectRow, Progress, SourceError};
use crate::model::{Nanos, UnixNanos};
use crate::runtime::Clock;

use link::{Broken, Done, Link};
use recording::{About, Reading, Recording};

pub use retime::Retimer;
pub use schedule::{Schedule, Speed, SpeedError};
pub use target::{Target, TargetError};

/// The longest sleep: how soon a stop, a ping or a close is noticed.
const SLEEP_MAX: Nanos = Nanos::from_millis(20);
/// How much of a file is searched for its first time before it is moved to now, in bytes of its lines.
const FIRST_TIME_WITHIN: usize = 16 << 20;

/// What to send, where to and how.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// Files, plain or gzip, one after the other.
    pub files: Vec<PathBuf>,
    /// What their lines are: a row of [`DIALECTS`](crate::feed::DIALECTS).
    pub dialect: &'static DialectRow,
    /// How fast recorded time passes.
    pub speed: Speed,
    /// Where it goes.
    pub to: Target,
    /// Moves the times in the lines by one span, so that the first is now. Above 1x the later ones then run ahead of the clock,
    /// and an engine refuses what is more than an hour ahead.
    pub retime: bool,
    /// The most lines due together that are written at once (TCP) or share one message (WebSocket), in bytes. A longer line goes alone.
    pub batch_bytes_max: usize,
    /// The longest line, in bytes; longer ones are left out and counted.
    pub line_bytes_max: usize,
    /// Connecting, with the handshake, takes no longer.
    pub connect_max: Nanos,
    /// The wait for the engine to have read all of it, at the end, takes no longer.
    pub close_max: Nanos,
}

impl ReplayOptions {
    /// The recorded pace and times, and the default limits: 64 KiB a batch, lines of 1 MiB (as an engine takes them), 5 s to
    /// connect, 10 s to close.
    pub fn new(files: Vec<PathBuf>, dialect: &'static DialectRow, to: Target) -> Self {
        Self {
            files,
            dialect,
            speed: Speed::RECORDED,
            to,
            retime: false,
            batch_bytes_max: 64 * 1024,
            line_bytes_max: 1 << 20,
            connect_max: Nanos::from_secs(5),
            close_max: Nanos::from_secs(10),
        }
    }
}

/// What a replay did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// Lines handed to the system whole, csv headers among them.
    pub lines: u64,
    /// Their bytes, with a line end each.
    pub bytes: u64,
    /// Ticks the format found in them; `None` where they were not parsed: at [`Speed::Max`] without `retime`. None at all
    /// in a whole recording means that the format is another.
    pub ticks: Option<u64>,
    /// Lines past `line_bytes_max`, left out.
    pub too_long: u64,
    /// Connections made: more than one where csv files have different headers.
    pub connections: u32,
    /// From the first connection to the last close.
    pub elapsed: Duration,
    /// How long after it was due the most delayed line was handed to the system; zero at [`Speed::Max`].
    pub late_max: Duration,
    /// The engine answered each close in time: it has read everything.
    pub acknowledged: bool,
}

/// Why a replay did not begin, or ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Nothing to send.
    #[error("a replay needs at least one file")]
    NoFile,
    /// A file cannot be read, or its header cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// `retime` found nothing to go by.
    #[error(
        "{path}: no time in its first lines: is it {dialect}? Without one it cannot be moved to now (--retime)"
    )]
    NoTime {
        /// The file.
        path: String,
        /// The format it was read as.
        dialect: &'static str,
    },
    /// `retime` for a format whose times it does not know.
    #[error("the times of {0} cannot be moved to now: leave --retime out")]
    CannotRetime(&'static str),
    /// Nobody listens there.
    #[error("cannot connect to {target}: {error}; does an engine listen there?")]
    Connect {
        /// Where.
        target: Target,
        /// What the system said.
        error: io::Error,
    },
    /// It is no WebSocket, or not on that path.
    #[error("{target} refused the WebSocket: {why}")]
    Handshake {
        /// Where.
        target: Target,
        /// What it answered.
        why: String,
    },
    /// The engine closed before the end.
    #[error("{target} does not take the rest: {why}; {lines} lines had been sent before")]
    Closed {
        /// Where.
        target: Target,
        /// Lines handed to the system before. The engine may have read fewer.
        lines: u64,
        /// What happened.
        why: String,
    },
}

/// Sends all files. It returns when the engine has read them, when `stop` is set (which is no error), or at the first error.
/// `progress` gets the bytes read so far, compressed where a file is, and in all files.
///
/// # Errors
/// See [`ReplayError`].
pub fn run(
    options: &ReplayOptions,
    stop: &AtomicBool,
    progress: impl FnMut(u64, u64),
) -> Result<Sent, ReplayError> {
    if options.files.is_empty() {
        return Err(ReplayError::NoFile);
    }
    let mut bytes_total = 0;
    for path in &options.files {
        // A file that is missing is told before anything is sent.
        let about = std::fs::metadata(path)
            .map_err(|error| SourceError::Open { path: path.display().to_string(), error })?;
        bytes_total += about.len();
    }
    let times = options.speed != Speed::Max || options.retime;
    let mut clock = Clock::real();
    let now = clock.now();
    let mut player = Player {
        options,
        stop,
        clock,
        reading: Reading { dialect: options.dialect, line_bytes_max: options.line_bytes_max, times, now },
        progress,
        read: Progress::default(),
        bytes_total,
        link: None,
        header: None,
        schedule: None,
        began: now,
        batch: Vec::new(),
        batch_lines: 0,
        batch_due: now,
        sent: Sent { ticks: times.then_some(0), acknowledged: true, ..Sent::default() },
    };
    for path in &options.files {
        match player.file(path) {
            Ok(Done::Whole) => {}
            Ok(Done::Stopped) => break,
            Err(error @ (ReplayError::Source(_) | ReplayError::NoTime { .. })) => {
                // What was read is still sent to its end; the trouble with the file is the one to tell.
                let _ = player.flush().and_then(|_| player.finish());
                return Err(error);
            }
            Err(error) => return Err(error),
        }
    }
    player.flush()?;
    player.finish()?;
    if player.schedule.is_some() {
        player.sent.elapsed = player.clock.now().since(player.began).to_duration();
    }
    Ok(player.sent)
}

struct Player<'a, P> {
    options: &'a ReplayOptions,
    stop: &'a AtomicBool,
    clock: Clock,
    reading: Reading,
    progress: P,
    read: Progress,
    bytes_total: u64,
    link: Option<Link>,
    /// The csv header that `link` was given.
    header: Option<Vec<u8>>,
    /// Begins with the first connection.
    schedule: Option<Schedule>,
    began: UnixNanos,
    /// Lines that are due, each with its end.
    batch: Vec<u8>,
    batch_lines: u64,
    /// When the first of them was due.
    batch_due: UnixNanos,
    sent: Sent,
}

impl<P: FnMut(u64, u64)> Player<'_, P> {
    fn file(&mut self, path: &Path) -> Result<Done, ReplayError> {
        let mut recording = Recording::open(path, &self.reading, &self.read)?;
        let retimer = if self.options.retime { self.retimer(&recording)? } else { None };
        let mut ahead = VecDeque::new();
        let first_time = match &retimer {
            Some(_) => self.read_to_first_time(&mut recording, &mut ahead)?,
            None => None,
        };
        if self.open_link(&mut recording)? == Done::Stopped {
            return Ok(Done::Stopped);
        }
        let began = self.began;
        let schedule = self.schedule.get_or_insert_with(|| Schedule::new(self.options.speed, began));
        schedule.begin_file();
        if first_time.is_some() {
            // Lines before it move by the same span.
            schedule.due(first_time);
        }
        let shift = schedule.shift().unwrap_or(Nanos::ZERO);
        let (mut text, mut moved) = (Vec::new(), Vec::new());
        loop {
            let about = match ahead.pop_front() {
                Some((held, about)) => {
                    text = held;
                    Some(about)
                }
                None => recording.next(&mut text)?,
            };
            let Some(about) = about else { break };
            let line = match &retimer {
                Some(retimer) => {
                    moved.clear();
                    retimer.retime(&text, shift, &mut moved);
                    &moved
                }
                None => &text,
            };
            if self.line(line, about)? == Done::Stopped {
                return Ok(Done::Stopped);
            }
        }
        self.sent.too_long += recording.too_long;
        Ok(Done::Whole)
    }

    fn retimer(&self, recording: &Recording) -> Result<Option<Retimer>, ReplayError> {
        let row = self.options.dialect;
        if row.name == "csv" && recording.header.is_none() {
            // An empty file.
            return Ok(None);
        }
        match Retimer::new(row, recording.header.as_deref().unwrap_or_default()) {
            Ok(Some(retimer)) => Ok(Some(retimer)),
            Ok(None) => Err(ReplayError::CannotRetime(row.name)),
            Err(error) => {
                let path = recording.path().to_owned();
                Err(SourceError::Header { path, message: error.to_string() }.into())
            }
        }
    }

    fn read_to_first_time(
        &self,
        recording: &mut Recording,
        ahead: &mut VecDeque<(Vec<u8>, About)>,
    ) -> Result<Option<UnixNanos>, ReplayError> {
        let mut held = 0;
        let mut text = Vec::new();
        while held <= FIRST_TIME_WITHIN
            && let Some(about) = recording.next(&mut text)?
        {
            held += text.len() + 1;
            ahead.push_back((std::mem::take(&mut text), about));
            if about.time.is_some() {
                return Ok(about.time);
            }
        }
        Err(ReplayError::NoTime { path: recording.path().to_owned(), dialect: self.options.dialect.name })
    }

    /// A connection that has had this file's header: the one there is, or a new one.
    fn open_link(&mut self, recording: &mut Recording) -> Result<Done, ReplayError> {
        let header = recording.header.take();
        let is_other = matches!((&self.header, &header), (Some(there), Some(here)) if there != here);
        if is_other {
            if self.flush()? == Done::Stopped {
                return Ok(Done::Stopped);
            }
            self.finish()?;
        }
        if self.link.is_none() {
            let within = self.options.connect_max.to_duration();
            let Some(link) = Link::connect(&self.options.to, within, self.stop)? else {
                return Ok(Done::Stopped);
            };
            self.link = Some(link);
            self.header = None;
            self.sent.connections += 1;
            if self.sent.connections == 1 {
                self.began = self.clock.now();
            }
        }
        if let (None, Some(header)) = (&self.header, header) {
            let now = self.clock.now();
            self.add(&header, now);
            self.header = Some(header);
        }
        Ok(Done::Whole)
    }

    fn line(&mut self, line: &[u8], about: About) -> Result<Done, ReplayError> {
        if self.stop.load(Ordering::Relaxed) {
            return Ok(Done::Stopped);
        }
        let due = self.schedule.as_mut().map_or(self.began, |schedule| schedule.due(about.time));
        if self.options.speed != Speed::Max && self.wait_until(due)? == Done::Stopped {
            return Ok(Done::Stopped);
        }
        let is_full = self.batch.len() + line.len() + 1 > self.options.batch_bytes_max;
        if is_full && self.flush()? == Done::Stopped {
            return Ok(Done::Stopped);
        }
        if let Some(ticks) = &mut self.sent.ticks {
            *ticks += about.ticks;
        }
        self.add(line, due);
        Ok(Done::Whole)
    }

    fn add(&mut self, line: &[u8], due: UnixNanos) {
        if self.batch_lines == 0 {
            self.batch_due = due;
        }
        self.batch.extend_from_slice(line);
        self.batch.push(b'\n');
        self.batch_lines += 1;
    }

    /// Sends what is due before it sleeps.
    fn wait_until(&mut self, due: UnixNanos) -> Result<Done, ReplayError> {
        loop {
            let left = due.since(self.clock.now());
            if left <= Nanos::ZERO {
                return Ok(Done::Whole);
            }
            if self.batch_lines > 0 {
                if self.flush()? == Done::Stopped {
                    return Ok(Done::Stopped);
                }
                continue;
            }
            if self.stop.load(Ordering::Relaxed) {
                return Ok(Done::Stopped);
            }
            if let Some(link) = &mut self.link {
                link.look().map_err(|why| closed(self.options, &self.sent, why))?;
            }
            self.tell();
            std::thread::sleep(left.min(SLEEP_MAX).to_duration());
        }
    }

    fn flush(&mut self) -> Result<Done, ReplayError> {
        let Some(link) = self.link.as_mut().filter(|_| self.batch_lines > 0) else {
            return Ok(Done::Whole);
        };
        let done = link
            .look()
            .and_then(|()| link.send(&self.batch, self.stop))
            .map_err(|why| closed(self.options, &self.sent, why))?;
        if done == Done::Stopped {
            // Half a line may have gone: no good end is possible.
            self.link = None;
            self.sent.acknowledged = false;
            return Ok(Done::Stopped);
        }
        self.sent.lines += self.batch_lines;
        self.sent.bytes += self.batch.len() as u64;
        if self.options.speed != Speed::Max {
            let late = self.clock.now().since(self.batch_due).to_duration();
            self.sent.late_max = self.sent.late_max.max(late);
        }
        self.batch.clear();
        self.batch_lines = 0;
        self.tell();
        Ok(Done::Whole)
    }

    fn finish(&mut self) -> Result<(), ReplayError> {
        if let Some(link) = self.link.take() {
            let within = self.options.close_max.to_duration();
            let acknowledged = link.finish(within).map_err(|why| closed(self.options, &self.sent, why))?;
            self.sent.acknowledged &= acknowledged;
        }
        Ok(())
    }

    fn tell(&mut self) {
        let done = self.read.done.load(Ordering::Relaxed);
        (self.progress)(done, self.bytes_total.max(done));
    }
}

fn closed(options: &ReplayOptions, sent: &Sent, why: Broken) -> ReplayError {
    ReplayError::Closed { target: options.to.clone(), lines: sent.lines, why }
}
