//! A file as a source, plain or gzip by its first two bytes.

use std::fs::File;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use crate::model::Tick;

use super::dialect::{Dialect, DialectRow, parse_line};
use super::field::Context;
use super::lines::Lines;
use super::source::SourceError;

/// How much is asked of the file system at once.
pub const READ_BYTES: usize = 256 * 1024;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// How far the files of a source have been read, for a progress bar.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Bytes read, compressed where the file is.
    pub done: Arc<AtomicU64>,
    /// Bytes in all files; 0 where unknown.
    pub total: Arc<AtomicU64>,
}

type Raw = Chain<Cursor<Vec<u8>>, Counted>;

/// Counts what is read.
struct Counted {
    file: File,
    done: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.done.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

enum Reader {
    Plain(Raw),
    Gzip(Box<MultiGzDecoder<BufReader<Raw>>>),
}

/// A file's bytes, unpacked where it is gzip.
pub struct FileBytes(Reader);

impl FileBytes {
    /// Opens a file. Its size is added to the progress' total.
    ///
    /// # Errors
    /// Where it cannot be opened or its first bytes cannot be read.
    pub fn open(path: &Path, progress: &Progress) -> Result<Self, SourceError> {
        let failed = |error| SourceError::Open { path: path.display().to_string(), error };
        let file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if about.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        progress.total.fetch_add(about.len(), Ordering::Relaxed);
        let mut counted = Counted { file, done: Arc::clone(&progress.done) };
        let mut magic = Vec::with_capacity(2);
        Read::by_ref(&mut counted).take(2).read_to_end(&mut magic).map_err(failed)?;
        let zipped = magic == GZIP_MAGIC;
        let raw = Cursor::new(magic).chain(counted);
        Ok(Self(if zipped {
            Reader::Gzip(Box::new(MultiGzDecoder::new(BufReader::with_capacity(READ_BYTES, raw))))
        } else {
            Reader::Plain(raw)
        }))
    }
}

impl Read for FileBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Reader::Plain(raw) => raw.read(buffer),
            Reader::Gzip(decoder) => decoder.read(buffer),
        }
    }
}

/// A file being read.
pub struct FileFeed {
    path: PathBuf,
    reader: FileBytes,
    lines: Lines,
    dialect: Box<dyn Dialect>,
    ended: bool,
}

impl FileFeed {
    /// Opens a file. Its size is added to the progress' total.
    ///
    /// # Errors
    /// Where it cannot be opened or its first bytes cannot be read.
    pub fn open(
        path: &Path,
        row: &DialectRow,
        line_bytes_max: usize,
        progress: &Progress,
    ) -> Result<Self, SourceError> {
        Ok(Self {
            path: path.to_owned(),
            reader: FileBytes::open(path, progress)?,
            lines: Lines::new(READ_BYTES, line_bytes_max),
            dialect: (row.open)(),
            ended: false,
        })
    }

    /// Its path, as errors name it.
    pub fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// Everything was parsed.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Parses whole lines until about `bytes` of them are done or the file ends; `out` gets the ticks. Returns how many bytes were parsed.
    ///
    /// # Errors
    /// Where the file cannot be read further, or its header cannot be used. It is ended then.
    pub fn parse(
        &mut self,
        bytes: usize,
        cx: &mut Context<'_>,
        out: &mut Vec<Tick>,
    ) -> Result<usize, SourceError> {
        let mut parsed = 0;
        while !self.ended && parsed < bytes {
            let before = cx.tallies.bytes;
            let line = match self.lines.read_line(&mut self.reader) {
                Ok(Some(line)) => line,
                Ok(None) => {
                    self.ended = true;
                    break;
                }
                Err(error) => {
                    self.ended = true;
                    cx.tallies.faults += 1;
                    let (path, line) = (self.path(), cx.tallies.lines);
                    return Err(SourceError::Read { path, line, error });
                }
            };
            parse_line(self.dialect.as_mut(), line, cx, out);
            parsed += (cx.tallies.bytes - before) as usize;
        }
        if let Some(message) = self.dialect.refusal() {
            self.ended = true;
            return Err(SourceError::Header { path: self.path(), message });
        }
        Ok(parsed)
    }
}
