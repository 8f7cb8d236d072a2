//! Recorded files at the pace they were recorded, or a multiple of it: merged by time, moved to now if asked, in a loop if asked.

use std::path::PathBuf;

use crate::feed::file::{FileFeed, Progress};
use crate::feed::{Context, DialectRow, SourceError, SourceOptions};
use crate::model::{IdForm, Nanos, Tick, TickKind, TradeId, UnixNanos};

/// How recorded files are replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Recorded time per time: 10 over 1 is ten times as fast.
    pub speed_num: u32,
    /// The speed's denominator.
    pub speed_den: u32,
    /// Begins again [`LOOP_GAP`] after the last tick, with fresh times and fresh trade ids.
    pub loop_forever: bool,
    /// Event times become the times at which the ticks are due; else they stay as recorded (and grow by each round of a loop).
    pub retime: bool,
}

/// The pause between two rounds of a loop.
pub const LOOP_GAP: Nanos = Nanos::from_secs(1);
/// How much of a file is parsed ahead, in bytes.
const AHEAD_BYTES: usize = 64 * 1024;
/// The most ticks released in one turn, so that a clock that jumps brings no flood.
const TURN_TICKS: usize = 4096;

struct Track {
    feed: FileFeed,
    ahead: Vec<Tick>,
    at: usize,
}

/// All files of one paced source.
pub struct Playback {
    pace: Pace,
    row: &'static DialectRow,
    line_bytes_max: usize,
    paths: Vec<PathBuf>,
    progress: Progress,
    tracks: Vec<Track>,
    /// Event time of this round's first tick, and when that is due.
    origin: Option<(UnixNanos, UnixNanos)>,
    /// When the next round may begin.
    next_round: Option<UnixNanos>,
    next_due: Option<UnixNanos>,
    last_due: UnixNanos,
    round: u64,
    /// Least and greatest event time, numeric id and sequence of the first round.
    times: Span,
    ids: Span,
    sequences: Span,
    done: bool,
}

/// The least and the greatest of what was seen.
#[derive(Clone, Copy)]
struct Span {
    least: i128,
    most: i128,
}

impl Span {
    const EMPTY: Self = Self { least: i128::MAX, most: i128::MIN };

    fn see(&mut self, value: i128) {
        self.least = self.least.min(value);
        self.most = self.most.max(value);
    }

    /// How far the next round must move so as not to overlap.
    fn width(self) -> i128 {
        if self.least > self.most { 0 } else { self.most - self.least + 1 }
    }
}

impl Playback {
    /// Opens all files.
    ///
    /// # Errors
    /// Where a file cannot be opened, or the speed is zero.
    pub fn open(
        options: &SourceOptions,
        paths: &[PathBuf],
        pace: Pace,
        progress: &Progress,
    ) -> Result<Self, SourceError> {
        if pace.speed_num == 0 || pace.speed_den == 0 {
            return Err(SourceError::Speed);
        }
        let mut playback = Self {
            pace,
            row: options.dialect,
            line_bytes_max: options.line_bytes_max,
            paths: paths.to_vec(),
            progress: progress.clone(),
            tracks: Vec::with_capacity(paths.len()),
            origin: None,
            next_round: None,
            next_due: None,
            last_due: UnixNanos::MIN,
            round: 0,
            times: Span::EMPTY,
            ids: Span::EMPTY,
            sequences: Span::EMPTY,
            done: false,
        };
        playback.rewind()?;
        Ok(playback)
    }

    fn rewind(&mut self) -> Result<(), SourceError> {
        self.tracks.clear();
        self.origin = None;
        for path in &self.paths {
            let feed = FileFeed::open(path, self.row, self.line_bytes_max, &self.progress)?;
            self.tracks.push(Track { feed, ahead: Vec::new(), at: 0 });
        }
        Ok(())
    }

    /// No tick will follow.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// When the next tick is due; `None` once done, or before the first turn.
    pub fn next_due(&self) -> Option<UnixNanos> {
        if self.done { None } else { self.next_round.or(self.next_due) }
    }

    /// Gives the ticks that are due at `cx.now` to `out`. Returns whether more are due already.
    ///
    /// # Errors
    /// The first trouble with a file; that file is over, the others go on.
    pub fn play(&mut self, cx: &mut Context<'_>, out: &mut Vec<Tick>) -> Result<bool, SourceError> {
        if self.done {
            return Ok(false);
        }
        let now = cx.now;
        if let Some(at) = self.next_round {
            if now < at {
                return Ok(false);
            }
            self.next_round = None;
            if let Err(error) = self.rewind() {
                self.done = true;
                return Err(error);
            }
        }
        let end = out.len() + TURN_TICKS;
        while out.len() < end {
            let Some(place) = self.earliest(cx)? else {
                self.end_round(now);
                return Ok(false);
            };
            let track = &mut self.tracks[place];
            let tick = track.ahead[track.at];
            let due = self.due(tick.ts_event, now);
            if due > now {
                self.next_due = Some(due);
                return Ok(false);
            }
            self.last_due = self.last_due.max(due);
            self.tracks[place].at += 1;
            out.push(self.restamp(tick, due, now));
            if tick.kind() == TickKind::BarHead {
                // No tick of another file may come between the halves of a bar.
                let track = &mut self.tracks[place];
                if let Some(tail) = track.ahead.get(track.at).copied() {
                    track.at += 1;
                    out.push(self.restamp(tail, due, now));
                }
            }
        }
        self.next_due = Some(now);
        Ok(true)
    }

    /// The track whose next tick is first, with more of its file parsed where it ran out.
    fn earliest(&mut self, cx: &mut Context<'_>) -> Result<Option<usize>, SourceError> {
        let mut best: Option<(UnixNanos, usize)> = None;
        for (place, track) in self.tracks.iter_mut().enumerate() {
            while track.at == track.ahead.len() && !track.feed.is_ended() {
                track.ahead.clear();
                track.at = 0;
                track.feed.parse(AHEAD_BYTES, cx, &mut track.ahead)?;
            }
            if let Some(tick) = track.ahead.get(track.at)
                && best.is_none_or(|(time, _)| tick.ts_event < time)
            {
                best = Some((tick.ts_event, place));
            }
        }
        Ok(best.map(|(_, place)| place))
    }

    fn due(&mut self, event: UnixNanos, now: UnixNanos) -> UnixNanos {
        let (first, start) = *self.origin.get_or_insert((event, now));
        let span =
            i128::from((event - first).0) * i128::from(self.pace.speed_den) / i128::from(self.pace.speed_num);
        start + Nanos(i64::try_from(span).unwrap_or(i64::MAX))
    }

    fn restamp(&mut self, mut tick: Tick, due: UnixNanos, now: UnixNanos) -> Tick {
        let id = tick.id();
        let sequence = if tick.kind() == TickKind::Trade { tick.sequence() } else { None };
        let has_id = tick.kind() != TickKind::Quote;
        if self.round == 0 {
            self.times.see(i128::from(tick.ts_event.0));
            if has_id && id.form == IdForm::Number {
                self.ids.see(id.bits as i128);
            }
            if let Some(sequence) = sequence {
                self.sequences.see(i128::from(sequence));
            }
        } else {
            if has_id && id.form != IdForm::None {
                tick = tick.with_id(self.fresh_id(id));
            }
            if let Some(sequence) = sequence {
                let moved = self.sequences.width().saturating_mul(i128::from(self.round));
                tick = tick.with_sequence(sequence.saturating_add(u64::try_from(moved).unwrap_or(u64::MAX)));
            }
        }
        if self.pace.retime {
            tick.ts_event = due;
        } else if self.round > 0 {
            let gap = i128::from(LOOP_GAP.0);
            let moved = (self.times.width() + gap).saturating_mul(i128::from(self.round));
            tick.ts_event += Nanos(i64::try_from(moved).unwrap_or(i64::MAX));
        }
        // It is read from a file, but it arrives now, as far as every stage after this one can tell.
        tick.ts_recv = now;
        tick
    }

    /// An id that no earlier round had, or none.
    fn fresh_id(&self, id: TradeId) -> TradeId {
        if id.form != IdForm::Number {
            return TradeId::NONE;
        }
        let moved = self.ids.width().saturating_mul(i128::from(self.round));
        match (id.bits as i128).checked_add(moved) {
            Some(bits) if bits >> 88 == 0 => TradeId { form: IdForm::Number, bits: bits as u128 },
            _ => TradeId::NONE,
        }
    }

    fn end_round(&mut self, now: UnixNanos) {
        // A round without a tick would loop for nothing.
        if !self.pace.loop_forever || self.origin.is_none() {
            self.done = true;
            return;
        }
        self.round += 1;
        self.next_round = Some(self.last_due.max(now) + LOOP_GAP);
    }
}
