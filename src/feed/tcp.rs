//! A TCP connection that sends lines.

use std::io::{ErrorKind, Read};

use crate::model::Tick;

use super::dialect::{Dialect, DialectRow, parse_line};
use super::field::Context;
use super::lines::Lines;

/// How much is read at once, and so the most that is parsed before the rings are asked.
pub const READ_BYTES: usize = 64 * 1024;

/// What a bounded read left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing is there now: the next edge says when.
    Drained,
    /// There may be more: read again.
    More,
    /// Nothing will follow; the connection may go.
    Ended,
}

/// The receiving end of one connection.
pub struct LineConnection {
    lines: Lines,
    dialect: Box<dyn Dialect>,
}

impl LineConnection {
    /// For a fresh connection.
    pub fn new(row: &DialectRow, line_bytes_max: usize) -> Self {
        Self { lines: Lines::new(READ_BYTES, line_bytes_max), dialect: (row.open)() }
    }

    /// Why nothing that follows can be read, if so.
    pub fn refusal(&self) -> Option<String> {
        self.dialect.refusal()
    }

    /// One read, and the parsing of all lines it completed. A csv header that cannot be used ends the connection.
    pub fn read(&mut self, input: &mut impl Read, cx: &mut Context<'_>, out: &mut Vec<Tick>) -> After {
        let after = match input.read(self.lines.space()) {
            Ok(0) => After::Ended,
            Ok(n) => {
                self.lines.filled(n);
                After::More
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return After::Drained,
            Err(error) if error.kind() == ErrorKind::Interrupted => return After::More,
            Err(error) => {
                cx.tallies.faults += 1;
                cx.tallies.note(cx.now, "read failed", error.to_string().as_bytes());
                After::Ended
            }
        };
        while let Some(line) = self.lines.next_line() {
            parse_line(self.dialect.as_mut(), line, cx, out);
        }
        if after == After::Ended
            && let Some(line) = self.lines.last_line()
        {
            parse_line(self.dialect.as_mut(), line, cx, out);
        }
        if let Some(message) = self.dialect.refusal() {
            cx.tallies.note(cx.now, "connection closed", message.as_bytes());
            return After::Ended;
        }
        after
    }
}
