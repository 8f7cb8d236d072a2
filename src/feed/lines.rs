//! Bytes in any pieces to whole lines, in bounded memory.

use std::io::{self, ErrorKind, Read};
use std::ops::Range;

use memchr::memchr;

/// What [`Lines::next_line`] found.
pub enum Line<'a> {
    /// A line without its end (`\n` or `\r\n`); a dialect may write into it.
    Whole(&'a mut [u8]),
    /// A line beyond the limit, by its first bytes; what follows up to its end is dropped unseen.
    TooLong(&'a [u8]),
}

/// Where a line is in the buffer.
enum Found {
    Whole(Range<usize>),
    TooLong(Range<usize>),
}

/// A read buffer that hands out lines. It holds at most one line of the allowed length and one read.
pub struct Lines {
    buffer: Vec<u8>,
    /// The unread bytes are `buffer[start..end]`.
    start: usize,
    end: usize,
    /// No line end is in `buffer[start..scanned]`.
    scanned: usize,
    line_bytes_max: usize,
    /// Inside a line that was reported as too long.
    skipping: bool,
}

impl Lines {
    /// A buffer that reads `read_bytes` at a time.
    pub fn new(read_bytes: usize, line_bytes_max: usize) -> Self {
        Self {
            buffer: vec![0; read_bytes.max(64)],
            start: 0,
            end: 0,
            scanned: 0,
            line_bytes_max: line_bytes_max.max(1),
            skipping: false,
        }
    }

    /// Where to read to; never empty. Ask only after [`Lines::next_line`] gave `None`: it makes room by moving what is left.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.scanned -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            // Here a line is longer than the buffer, yet within its limit, or `next_line` would have dropped it.
            let room = self.buffer.len().min(self.line_bytes_max).max(64);
            self.buffer.resize(self.buffer.len() + room, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// `n` bytes were read to [`Lines::space`].
    pub fn filled(&mut self, n: usize) {
        self.end = (self.end + n).min(self.buffer.len());
    }

    /// The next line that is there whole.
    #[inline]
    pub fn next_line(&mut self) -> Option<Line<'_>> {
        let found = self.find()?;
        Some(self.show(found))
    }

    /// The next line of a reader that waits, which is asked for more where none is there whole. The last may have no line end;
    /// `None` is the end of input.
    ///
    /// # Errors
    /// As the reader says, but where it was only interrupted.
    #[inline]
    pub fn read_line(&mut self, reader: &mut impl Read) -> io::Result<Option<Line<'_>>> {
        let found = loop {
            if let Some(found) = self.find() {
                break Some(found);
            }
            match reader.read(self.space()) {
                Ok(0) => break self.find_last(),
                Ok(n) => self.filled(n),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        Ok(found.map(|found| self.show(found)))
    }

    #[inline]
    fn find(&mut self) -> Option<Found> {
        loop {
            let found = memchr(b'\n', &self.buffer[self.scanned..self.end]);
            let Some(offset) = found else {
                self.scanned = self.end;
                // One more byte may be the `\r` of a line of just the allowed length.
                let too_long = self.end - self.start > self.line_bytes_max + 1;
                if self.skipping {
                    self.forget();
                    return None;
                }
                if !too_long {
                    return None;
                }
                self.skipping = true;
                let start = self.start;
                let shown = start + self.line_bytes_max;
                self.forget();
                return Some(Found::TooLong(start..shown));
            };
            let (start, newline) = (self.start, self.scanned + offset);
            self.start = newline + 1;
            self.scanned = self.start;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            return Some(self.cut(start, newline));
        }
    }

    /// At the end of input: the last line, if it has no line end.
    pub fn last_line(&mut self) -> Option<Line<'_>> {
        let found = self.find_last()?;
        Some(self.show(found))
    }

    fn find_last(&mut self) -> Option<Found> {
        let (start, end) = (self.start, self.end);
        self.forget();
        if std::mem::take(&mut self.skipping) || start == end {
            return None;
        }
        Some(self.cut(start, end))
    }

    /// How many bytes wait for the rest of their line.
    pub fn waiting(&self) -> usize {
        self.end - self.start
    }

    /// How much memory it holds, in bytes.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    fn forget(&mut self) {
        self.start = 0;
        self.end = 0;
        self.scanned = 0;
    }

    #[inline]
    fn cut(&self, start: usize, mut end: usize) -> Found {
        if end > start && self.buffer[end - 1] == b'\r' {
            end -= 1;
        }
        if end - start > self.line_bytes_max {
            return Found::TooLong(start..start + self.line_bytes_max);
        }
        Found::Whole(start..end)
    }

    #[inline]
    fn show(&mut self, found: Found) -> Line<'_> {
        match found {
            Found::Whole(range) => Line::Whole(&mut self.buffer[range]),
            Found::TooLong(range) => Line::TooLong(&self.buffer[range]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &[u8], step: usize, line_bytes_max: usize) -> Vec<Result<Vec<u8>, usize>> {
        let mut lines = Lines::new(64, line_bytes_max);
        let mut out = Vec::new();
        let note = |line: Line<'_>, out: &mut Vec<Result<Vec<u8>, usize>>| match line {
            Line::Whole(text) => out.push(Ok(text.to_vec())),
            Line::TooLong(shown) => out.push(Err(shown.len())),
        };
        let mut rest = text;
        while !rest.is_empty() {
            let space = lines.space();
            let n = rest.len().min(step).min(space.len());
            space[..n].copy_from_slice(&rest[..n]);
            lines.filled(n);
            rest = &rest[n..];
            while let Some(line) = lines.next_line() {
                note(line, &mut out);
            }
        }
        if let Some(line) = lines.last_line() {
            note(line, &mut out);
        }
        out
    }

    #[test]
    fn lines_do_not_depend_on_how_the_bytes_were_cut() {
        let text = b"a\r\n\nbb\n0123456789\r\n01234567890\nend";
        let whole = read_all(text, text.len(), 10);
        assert_eq!(whole.len(), 6);
        assert_eq!(whole[3], Ok(b"0123456789".to_vec()));
        assert_eq!(whole[4], Err(10));
        assert_eq!(whole[5], Ok(b"end".to_vec()));
        for step in 1..text.len() {
            assert_eq!(read_all(text, step, 10), whole, "step {step}");
        }
    }

    /// Gives a few bytes at a time, and is interrupted before each.
    struct Halting<'a>(&'a [u8], bool);

    impl Read for Halting<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(ErrorKind::Interrupted.into());
            }
            let n = self.0.len().min(3).min(buffer.len());
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    #[test]
    fn a_reader_gives_its_lines_to_the_last_and_then_no_more() {
        let text = b"a\r\n\nbb\n0123456789\r\n01234567890\nend";
        let (mut reader, mut lines, mut seen) = (Halting(text, false), Lines::new(64, 10), Vec::new());
        while let Some(line) = lines.read_line(&mut reader).unwrap() {
            seen.push(match line {
                Line::Whole(text) => Ok(text.to_vec()),
                Line::TooLong(shown) => Err(shown.len()),
            });
        }
        assert_eq!(seen, read_all(text, text.len(), 10));
        assert!(matches!(lines.read_line(&mut reader), Ok(None)), "the end stays the end");
    }

    #[test]
    fn a_line_without_end_holds_no_more_than_its_limit_and_a_read() {
        let mut lines = Lines::new(64 * 1024, 1 << 20);
        let mut reported = 0;
        for _ in 0..1024 {
            let space = lines.space();
            space.fill(b'x');
            let n = space.len();
            lines.filled(n);
            while let Some(line) = lines.next_line() {
                assert!(matches!(line, Line::TooLong(_)));
                reported += 1;
            }
            assert!(lines.capacity() <= (2 << 20) + 128 * 1024, "{}", lines.capacity());
        }
        assert_eq!(reported, 1);
        let space = lines.space();
        space[..4].copy_from_slice(b"x\ny\n");
        lines.filled(4);
        assert!(matches!(lines.next_line(), Some(Line::Whole(line)) if line == b"y"));
    }
}
