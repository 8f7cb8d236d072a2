//! Frames that many clients are sent, end to end in files that live in memory, so that the kernel gives a long run of them to each
//! client by reference instead of by a copy each.
//!
//! Frames for the same clients get neighbouring places; a frame is written to its place when the first long run needs it. No byte is
//! ever written twice, for the kernel may still have to send it: a whole file is given up in time, and what of it is under way lives
//! on until it is sent.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, pwrite};

use super::frame::{FrameId, FramePool};
use super::outbox::Piece;

/// Bytes of one file, and how many there are. What is older is copied again where a client is so far behind.
const FILE_BYTES: u64 = 4 << 20;
const FILES: usize = 4;
/// What an audience reserves at a time. A run ends with it, unless what follows is still free.
const RESERVED_BYTES: u64 = 128 << 10;
/// Audiences remembered, each in a place by its key. One that is sent much is not driven out by those that are sent little.
const AUDIENCES: usize = 64;
const HITS_MAX: u8 = 16;
/// A frame that fewer hold is not worth one more copy.
const HOLDERS_MIN: u32 = 4;
/// By default a socket's send buffer, `send_buffer_bytes`, is as long.
const RUN_BYTES_MAX: u64 = 64 << 10;

/// Clients that are sent the same frames: the next of these goes to `next`, up to `end` there is room.
#[derive(Clone, Copy, Default)]
struct Audience {
    key: u64,
    next: u64,
    end: u64,
    /// Frames for it, less those for others that would have its place.
    hits: u8,
}

/// Bytes of a file that are to be sent.
pub struct Run<'a> {
    /// Where they are.
    pub file: &'a OwnedFd,
    /// The first of them.
    pub at: u64,
    /// How many they are.
    pub length: usize,
}

/// A file in memory.
struct Shelf {
    /// `None` where the system had none to give.
    file: Option<OwnedFd>,
    is_written: bool,
}

impl Shelf {
    fn new() -> Self {
        Self { file: memfd_create("tickwire frames", MemfdFlags::CLOEXEC).ok(), is_written: false }
    }
}

/// The shared frames of one gateway. Places are numbered through all files.
pub struct SharedFrames {
    audiences: [Audience; AUDIENCES],
    /// All there ever are at once, from the start: descriptors may be short later. The first of them is number `oldest`.
    files: VecDeque<Shelf>,
    oldest: u64,
    /// The first place that nobody has reserved.
    free: u64,
    bytes: Vec<u8>,
    run_bytes_min: u64,
    /// The system can't do this: all is copied.
    is_off: bool,
}

impl SharedFrames {
    /// None yet. Runs will have at least so many bytes.
    pub fn new(run_bytes_min: usize) -> Self {
        Self {
            audiences: [Audience::default(); AUDIENCES],
            files: std::iter::repeat_with(Shelf::new).take(FILES).collect(),
            oldest: 0,
            free: 0,
            bytes: Vec::with_capacity(2 * RUN_BYTES_MAX as usize),
            run_bytes_min: run_bytes_min as u64,
            is_off: false,
        }
    }

    /// Gives a frame a place after the last one for the same clients.
    #[inline]
    pub fn place(&mut self, audience: u64, frame: FrameId, pool: &mut FramePool) {
        let length = pool.bytes(frame).len() as u64;
        if pool.holders(frame) < HOLDERS_MIN || length > RUN_BYTES_MAX || self.is_off {
            return;
        }
        let known = &mut self.audiences[audience as usize % AUDIENCES];
        if known.key != audience {
            match known.hits.checked_sub(1) {
                Some(fewer) => known.hits = fewer,
                None => *known = Audience { key: audience, ..Audience::default() },
            }
            return;
        }
        known.hits = (known.hits + 1).min(HITS_MAX);
        if known.next + length > known.end || known.next < self.oldest * FILE_BYTES {
            let begin = self.free;
            self.free += RESERVED_BYTES;
            let begins_file = begin.is_multiple_of(FILE_BYTES);
            // What it has is used up to the end, if the rest is right behind.
            if known.end != begin || begins_file {
                known.next = begin;
            }
            known.end = self.free;
            if begin == (self.oldest + FILES as u64) * FILE_BYTES {
                self.oldest += 1;
                let gone = self.files.pop_front().filter(|shelf| !shelf.is_written);
                self.files.push_back(gone.unwrap_or_else(Shelf::new));
            }
        }
        pool.give_place(frame, known.next);
        known.next += length;
    }

    /// The first pieces as a run of bytes in a file, as many as are neighbours. `None` where they are few.
    #[inline]
    pub fn run(&mut self, pieces: &[Piece], pool: &mut FramePool) -> Option<Run<'_>> {
        let first = pieces.first()?;
        let begin = pool.place(first.frame)?;
        let (file, from) = (begin / FILE_BYTES, begin + first.offset as u64);
        let mut to = begin;
        let mut count = 0;
        for piece in pieces {
            let is_next = pool.place(piece.frame) == Some(to) && to / FILE_BYTES == file;
            if !is_next || to >= from + RUN_BYTES_MAX {
                break;
            }
            to += pool.bytes(piece.frame).len() as u64;
            count += 1;
        }
        let length = (to - from).min(RUN_BYTES_MAX);
        if length < self.run_bytes_min {
            return None;
        }
        let index = usize::try_from(file.checked_sub(self.oldest)?).ok()?;
        if let Err(error) = self.write(index, &pieces[..count], pool) {
            self.gives_up(&error.into());
            return None;
        }
        let file = self.files.get(index)?.file.as_ref()?;
        Some(Run { file, at: from % FILE_BYTES, length: length as usize })
    }

    /// Writes those of neighbouring frames that are not in their file yet.
    fn write(&mut self, index: usize, pieces: &[Piece], pool: &mut FramePool) -> Result<(), Errno> {
        if pieces.iter().all(|piece| pool.is_written(piece.frame)) {
            return Ok(());
        }
        let Some(shelf) = self.files.get_mut(index) else { return Ok(()) };
        if shelf.file.is_none() {
            *shelf = Shelf::new();
        }
        let Some(file) = &shelf.file else { return Ok(()) };
        shelf.is_written = true;
        for same in pieces.chunk_by(|a, b| pool.is_written(a.frame) == pool.is_written(b.frame)) {
            let Some(place) = pool.place(same[0].frame).filter(|_| !pool.is_written(same[0].frame)) else {
                continue;
            };
            self.bytes.clear();
            same.iter().for_each(|piece| self.bytes.extend_from_slice(pool.bytes(piece.frame)));
            let mut written = 0;
            while written < self.bytes.len() {
                written += pwrite(file, &self.bytes[written..], place % FILE_BYTES + written as u64)?;
            }
        }
        pieces.iter().for_each(|piece| pool.note_written(piece.frame));
        Ok(())
    }

    /// Whether an error of a file means that the system has no such call, or forbids it: from now on all is copied. Otherwise memory or
    /// descriptors may be there again the next time.
    pub fn gives_up(&mut self, error: &io::Error) -> bool {
        if matches!(
            error.kind(),
            ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::PermissionDenied
        ) {
            self.is_off = true;
            self.files.clear();
        }
        self.is_off
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::pread;

    use super::super::frame::{FrameKind, Opcode};
    use super::super::outbox::{Bounds, Outbox};
    use super::*;
    use crate::model::UnixNanos;

    const T0: UnixNanos = UnixNanos(0);
    const RUN_BYTES_MIN: u64 = 8 << 10;
    const BOUNDS: Bounds = Bounds { facts_bytes_max: usize::MAX, answers_bytes_max: usize::MAX };

    struct World {
        pool: FramePool,
        shared: SharedFrames,
        made: u32,
    }

    impl World {
        fn new() -> Self {
            Self { pool: FramePool::default(), shared: SharedFrames::new(RUN_BYTES_MIN as usize), made: 0 }
        }

        /// A fact of `length` bytes for those outboxes, which holders enough have besides.
        fn send(&mut self, audience: u64, length: usize, outboxes: &mut [Outbox]) {
            self.made += 1;
            let (pool, mark) = (&mut self.pool, self.made.to_le_bytes());
            let frame = pool.encode(T0, FrameKind::Fact, Opcode::Text, |out| {
                out.extend(mark.iter().cycle().take(length));
            });
            (0..HOLDERS_MIN).for_each(|_| pool.retain(frame));
            for outbox in outboxes {
                pool.retain(frame);
                outbox.push_fact(frame, pool, T0, BOUNDS);
            }
            self.shared.place(audience, frame, pool);
            (0..=HOLDERS_MIN).for_each(|_| pool.release(frame));
        }

        /// Takes up to `most` bytes off an outbox, by reference where there is a run: what they are, what they must be, and the run's file.
        fn take(&mut self, outbox: &mut Outbox, most: usize) -> (Vec<u8>, Vec<u8>, Option<(OwnedFd, u64)>) {
            let mut pieces = Vec::new();
            outbox.gather(256, &mut pieces, |_, _| None);
            let rest = |piece: &Piece| self.pool.bytes(piece.frame)[piece.offset..].to_vec();
            let mut expected: Vec<u8> = pieces.iter().flat_map(rest).collect();
            let (taken, source) = match self.shared.run(&pieces, &mut self.pool) {
                Some(run) => {
                    let mut bytes = vec![0; run.length.min(most)];
                    assert_eq!(
                        pread(run.file, &mut bytes, run.at).unwrap(),
                        bytes.len(),
                        "the file has all of it"
                    );
                    (bytes, Some((run.file.try_clone().unwrap(), run.at)))
                }
                None => (expected[..expected.len().min(most)].to_vec(), None),
            };
            expected.truncate(taken.len());
            outbox.advance(taken.len(), &pieces, &mut self.pool, |_, _| {}, |_| {});
            (taken, expected, source)
        }
    }

    #[test]
    fn what_is_referred_to_is_what_would_be_copied_and_never_changes() {
        let mut state = 11u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut world = World::new();
        // Two that read all of audience 5, one that reads 5 and 69, which share a place in the table.
        let mut outboxes: Vec<Outbox> = (0..3).map(|_| Outbox::default()).collect();
        let mut under_way = Vec::new();
        let (mut referred, mut copied) = (0, 0);
        for _ in 0..60_000 {
            let length = if random(500) == 0 { random(80_000) } else { random(700) } as usize;
            if random(5) == 0 {
                world.send(69, length, &mut outboxes[2..]);
            } else {
                world.send(5, length, &mut outboxes);
            }
            // One reads often, the others are far behind.
            let which = match random(400) {
                0..12 => 0,
                12..14 => 1,
                14 => 2,
                _ => continue,
            };
            let most = if random(3) == 0 { 1 << 20 } else { random(40_000) } as usize;
            let (taken, expected, source) = world.take(&mut outboxes[which], most);
            assert_eq!(taken, expected);
            match source {
                Some((file, at)) => {
                    referred += taken.len();
                    under_way.push((file, at, taken));
                }
                None => copied += taken.len(),
            }
            if under_way.len() > 200 {
                let (file, at, sent) = under_way.swap_remove(random(200) as usize);
                let mut bytes = vec![0; sent.len()];
                assert_eq!((pread(&file, &mut bytes, at).unwrap(), bytes), (sent.len(), sent));
            }
        }
        assert!(world.shared.oldest > 0, "this test needs files that were given up");
        assert!(
            referred > 1 << 20 && copied > 1 << 20,
            "this test needs both: {referred} and {copied} bytes"
        );
    }

    #[test]
    fn clients_of_one_topic_have_long_runs_whatever_others_are_sent() {
        let mut world = World::new();
        let mut outboxes = [Outbox::default()];
        // The first makes an audience known.
        world.send(7, 300, &mut []);
        for i in 0..200 {
            world.send(7, 300, &mut outboxes);
            world.send(8 + i % 3, 500, &mut []);
        }
        let mut bytes = 0;
        while !outboxes[0].is_empty() {
            let (taken, expected, source) = world.take(&mut outboxes[0], usize::MAX);
            assert_eq!(taken, expected);
            assert!(source.is_some() || (taken.len() as u64) < RUN_BYTES_MIN);
            bytes += taken.len();
        }
        assert_eq!(bytes, 200 * 304);
    }

    #[test]
    fn frames_of_few_are_not_written_and_what_is_too_old_is_copied() {
        let mut world = World::new();
        let mut outbox = Outbox::default();
        for _ in 0..100 {
            let frame = world.pool.encode(T0, FrameKind::Fact, Opcode::Text, |out| out.resize(310, b'x'));
            world.shared.place(1, frame, &mut world.pool);
            outbox.push_fact(frame, &mut world.pool, T0, BOUNDS);
        }
        let mut pieces = Vec::new();
        outbox.gather(256, &mut pieces, |_, _| None);
        assert!(world.shared.run(&pieces, &mut world.pool).is_none());
        outbox.clear(&mut world.pool);
        (0..100).for_each(|_| world.send(1, 300, std::slice::from_mut(&mut outbox)));
        for _ in 0..FILES as u64 * FILE_BYTES / 60_000 + 80 {
            world.send(2, 60_000, &mut []);
        }
        outbox.gather(256, &mut pieces, |_, _| None);
        assert!(world.shared.run(&pieces, &mut world.pool).is_none());
        assert!(world.shared.files.iter().all(|shelf| !shelf.is_written), "no file without a reader");
    }

    #[test]
    fn where_the_system_refuses_all_is_copied() {
        let mut world = World::new();
        let mut outbox = Outbox::default();
        assert!(!world.shared.gives_up(&ErrorKind::OutOfMemory.into()));
        (0..101).for_each(|_| world.send(1, 300, std::slice::from_mut(&mut outbox)));
        world.take(&mut outbox, 304);
        assert!(world.take(&mut outbox, 10_000).2.is_some());
        assert!(world.shared.gives_up(&ErrorKind::Unsupported.into()));
        for _ in 0..2 {
            let (taken, expected, source) = world.take(&mut outbox, 10_000);
            assert!(taken == expected && source.is_none());
            world.send(1, 300, std::slice::from_mut(&mut outbox));
        }
    }
}
