//! A recorded file line by line: the text to send, and the time at which it was true.

use std::path::Path;

use crate::feed::binance::receive_time_digits;
use crate::feed::csv;
use crate::feed::dialect::parse_line;
use crate::feed::file::{FileBytes, Progress, READ_BYTES};
use crate::feed::{Context, Dialect, DialectRow, Line, Lines, SourceError, Tallies};
use crate::model::{SymbolCache, SymbolTable, Tick, UnixNanos};

/// The most symbols told apart. Lines of further ones have no time of their own here.
const SYMBOLS_MAX: usize = 1 << 20;

/// What reading needs to know.
pub(super) struct Reading {
    pub dialect: &'static DialectRow,
    pub line_bytes_max: usize,
    /// Parse each line for its time; else no line has one.
    pub times: bool,
    /// Now: what is more than an hour ahead of it is no time.
    pub now: UnixNanos,
}

/// What was read besides the text.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct About {
    /// The latest event time of its ticks, as a message is not sent before all of it is true. `None` where none of them has
    /// a time of its own.
    pub time: Option<UnixNanos>,
    /// How many ticks it holds.
    pub ticks: u64,
}

/// A file being read.
pub(super) struct Recording {
    path: String,
    bytes: FileBytes,
    lines: Lines,
    dialect: Box<dyn Dialect>,
    /// A csv file's first line.
    pub header: Option<Vec<u8>>,
    /// Lines past the limit, which were left out.
    pub too_long: u64,
    times: bool,
    stamped: bool,
    now: UnixNanos,
    symbols: SymbolCache,
    tallies: Tallies,
    ticks: Vec<Tick>,
}

impl Recording {
    /// Opens a file and reads a csv header.
    pub fn open(path: &Path, reading: &Reading, progress: &Progress) -> Result<Self, SourceError> {
        let row = reading.dialect;
        let mut recording = Self {
            path: path.display().to_string(),
            bytes: FileBytes::open(path, progress)?,
            lines: Lines::new(READ_BYTES, reading.line_bytes_max),
            dialect: (row.open)(),
            header: None,
            too_long: 0,
            times: reading.times,
            stamped: row.name == "binance",
            now: reading.now,
            symbols: SymbolCache::new(SymbolTable::new(SYMBOLS_MAX)),
            tallies: Tallies::new(row.name),
            ticks: Vec::new(),
        };
        if row.name == "csv" {
            recording.read_header()?;
        }
        Ok(recording)
    }

    /// Its path, as errors name it.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn read_header(&mut self) -> Result<(), SourceError> {
        let mut text = Vec::new();
        while self.next(&mut text)?.is_some() {
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            if let Err(error) = csv::time_column(&text) {
                return Err(SourceError::Header { path: self.path.clone(), message: error.to_string() });
            }
            self.header = Some(text);
            break;
        }
        Ok(())
    }

    /// Reads the next line into `text`, as it is but for its line end and a receive time before it. `None` at the end.
    ///
    /// # Errors
    /// Where the file cannot be read further.
    pub fn next(&mut self, text: &mut Vec<u8>) -> Result<Option<About>, SourceError> {
        text.clear();
        loop {
            let line = match self.lines.read_line(&mut self.bytes) {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(None),
                Err(error) => {
                    let (path, line) = (self.path.clone(), self.tallies.lines);
                    return Err(SourceError::Read { path, line, error });
                }
            };
            let Line::Whole(whole) = line else {
                self.tallies.lines += 1;
                self.too_long += 1;
                continue;
            };
            let body_at = match if self.stamped { receive_time_digits(whole) } else { 0 } {
                0 => 0,
                digits => digits + 1,
            };
            text.extend_from_slice(&whole[body_at..]);
            if !self.times {
                self.tallies.lines += 1;
                return Ok(Some(About::default()));
            }
            let mut cx = Context {
                now: self.now,
                source: 0,
                recorded: true,
                symbols: &mut self.symbols,
                tallies: &mut self.tallies,
            };
            self.ticks.clear();
            // The parser may write into the line: the text was taken before.
            parse_line(self.dialect.as_mut(), Line::Whole(whole), &mut cx, &mut self.ticks);
            // A tick that says no time has that of its receipt, by the clock of the recorder and not of the venue.
            let own = self.ticks.iter().filter(|tick| tick.ts_event != tick.ts_recv);
            let time = own.map(|tick| tick.ts_event).max();
            return Ok(Some(About { time, ticks: self.ticks.len() as u64 }));
        }
    }
}
