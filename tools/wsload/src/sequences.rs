//! Whether a client saw every fact of its topics once. No I/O here.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::message::Kind;

/// What a numbered message showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It is the next one, or the first of its topic.
    Next,
    /// So many facts before it never came.
    Gap(u64),
    /// It came before, or after a newer one.
    Repeat,
}

/// Topics are hashes already.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, &b| hash.rotate_left(8) ^ u64::from(b));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

/// The last fact of each topic of one connection.
#[derive(Default)]
pub struct Sequences {
    topics: HashMap<u64, u64, BuildHasherDefault<Same>>,
}

impl Sequences {
    /// Takes a message's number.
    #[inline]
    pub fn see(&mut self, topic: u64, kind: Kind, sequence: u64) -> Seen {
        let Some(last) = self.topics.get_mut(&topic) else {
            self.topics.insert(topic, sequence);
            return Seen::Next;
        };
        let before = *last;
        match kind {
            // A snapshot says where the stream begins, whatever was before.
            Kind::Snapshot => {
                *last = sequence;
                Seen::Next
            }
            Kind::State if sequence < before => Seen::Repeat,
            // A state carries the number of the last fact, which must have come before it.
            Kind::State if sequence > before => {
                *last = sequence;
                Seen::Gap(sequence - before)
            }
            Kind::State => Seen::Next,
            _ if sequence <= before => Seen::Repeat,
            _ => {
                *last = sequence;
                match sequence - before - 1 {
                    0 => Seen::Next,
                    missing => Seen::Gap(missing),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_once_and_in_order() {
        let mut sequences = Sequences::default();
        for (kind, sequence, wanted) in [
            (Kind::Snapshot, 7, Seen::Next),
            (Kind::Fact, 8, Seen::Next),
            (Kind::State, 8, Seen::Next),
            (Kind::State, 8, Seen::Next),
            (Kind::Fact, 8, Seen::Repeat),
            (Kind::State, 7, Seen::Repeat),
            (Kind::Fact, 11, Seen::Gap(2)),
            (Kind::State, 12, Seen::Gap(1)),
            (Kind::Bar, 13, Seen::Next),
            (Kind::Snapshot, 3, Seen::Next),
            (Kind::Fact, 4, Seen::Next),
        ] {
            assert_eq!(sequences.see(1, kind, sequence), wanted, "{kind:?} {sequence}");
        }
    }

    #[test]
    fn topics_are_numbered_apart() {
        let mut sequences = Sequences::default();
        for sequence in 1..4 {
            assert_eq!(sequences.see(1, Kind::Fact, sequence), Seen::Next);
            assert_eq!(sequences.see(2, Kind::Fact, sequence + 10), Seen::Next);
        }
    }
}
