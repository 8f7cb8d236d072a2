//! A reader that may block, such as standard input, on a thread of its own.

use std::io::{self, Read};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use crate::runtime::Bell;

/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;
/// How many reads may wait for the stage; then the thread waits, and whoever writes the pipe with it.
const READS_MAX: usize = 4;

/// The stage's end of the pipe.
pub struct Pipe {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
}

impl Pipe {
    /// Reads `input` to its end on a thread of its own, and rings `bell` for each read. The thread ends with the input, or
    /// after its next read once the pipe is dropped.
    ///
    /// # Errors
    /// Where no thread can be had.
    pub fn spawn(mut input: impl Read + Send + 'static, bell: Bell) -> io::Result<Self> {
        let (full_tx, full) = bounded(READS_MAX);
        let (empty, empty_rx) = bounded::<Vec<u8>>(READS_MAX + 2);
        std::thread::Builder::new().name("pipe".to_owned()).spawn(move || {
            loop {
                let mut buffer = empty_rx.try_recv().unwrap_or_default();
                buffer.resize(READ_BYTES, 0);
                let read = match input.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(n) => {
                        buffer.truncate(n);
                        Ok(buffer)
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let failed = read.is_err();
                if full_tx.send(read).is_err() || failed {
                    break;
                }
                bell.ring();
            }
            // The end shows as a closed channel: close it before the last ring.
            drop(full_tx);
            bell.ring();
        })?;
        Ok(Self { full, empty, current: Vec::new(), at: 0 })
    }

    /// Whether a read would not say `WouldBlock`.
    pub fn is_ready(&self) -> bool {
        self.at < self.current.len() || !self.full.is_empty()
    }
}

impl Read for Pipe {
    /// Never blocks: `WouldBlock` where nothing has come, 0 at the end.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            let used = std::mem::take(&mut self.current);
            self.at = 0;
            if used.capacity() > 0 {
                // No room means the thread has buffers enough.
                let _ = self.empty.try_send(used);
            }
            self.current = match self.full.try_recv() {
                Ok(read) => read?,
                Err(TryRecvError::Empty) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(TryRecvError::Disconnected) => return Ok(0),
            };
        }
        let n = (&self.current[self.at..]).read(out)?;
        self.at += n;
        Ok(n)
    }
}
