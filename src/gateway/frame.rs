//! Encoded WebSocket frames, shared by reference: a slab of counted buffers that are reused.
//!
//! A frame is written once, header and payload in one buffer, and never changed while anyone holds it. The payload is
//! encoded first, after a gap as wide as the widest header; the header then goes right before it, so nothing is moved.

use crate::model::UnixNanos;

use super::dialect::Format;

/// The widest header of an unmasked frame: opcode, length 127, eight bytes of length.
const HEADER_BYTES_MAX: usize = 10;
/// A buffer that grew beyond this is given back when its frame ends: one long answer must not stay in memory for ever.
const KEPT_BYTES_MAX: usize = 16 * 1024;
/// So many longer buffers are kept for gathered messages, which are mostly written as soon as they are made.
const LONG_KEPT_MAX: usize = 16;
/// The longest that are kept: a gathered message and its last item fit.
const LONG_BYTES_MAX: usize = 512 * 1024;

const FIN: u8 = 0x80;

/// What a frame carries, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Bytes of HTTP.
    Http,
    /// A ping, pong or close.
    Control,
    /// An answer to a request.
    Reply,
    /// A fact.
    Fact,
    /// A state.
    State,
    /// Messages of one interval.
    Gathered {
        /// How many of them are facts.
        facts: u32,
        /// How many of them are states.
        states: u32,
    },
}

/// WebSocket opcodes that this server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// UTF-8 text.
    Text = 1,
    /// Bytes.
    Binary = 2,
    /// Ends the WebSocket.
    Close = 8,
    /// Wants a pong.
    Ping = 9,
    /// Answers a ping.
    Pong = 10,
}

impl Opcode {
    /// What messages of a format are sent as.
    pub const fn of(format: Format) -> Self {
        match format {
            Format::Json => Self::Text,
            Format::Binary => Self::Binary,
        }
    }
}

/// A counted reference to a frame. It is `Copy`, so holders count by hand: [`FramePool::retain`], [`FramePool::release`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameId(u32);

struct Slot {
    bytes: Vec<u8>,
    start: usize,
    references: u32,
    encoded: UnixNanos,
    kind: FrameKind,
    /// Where it is among the [shared frames](super::shared), [`NO_PLACE`] where it is not, and whether it is written there.
    place: u64,
    is_written: bool,
}

/// Among no shared frames.
const NO_PLACE: u64 = u64::MAX;

impl Slot {
    /// Writes the header before the payload.
    fn close(&mut self, opcode: Opcode) {
        let payload = self.bytes.len() - HEADER_BYTES_MAX;
        let first = FIN | opcode as u8;
        self.start = if payload < 126 {
            self.bytes[8..10].copy_from_slice(&[first, payload as u8]);
            8
        } else if let Ok(short) = u16::try_from(payload) {
            self.bytes[6..8].copy_from_slice(&[first, 126]);
            self.bytes[8..10].copy_from_slice(&short.to_be_bytes());
            6
        } else {
            self.bytes[0..2].copy_from_slice(&[first, 127]);
            self.bytes[2..10].copy_from_slice(&(payload as u64).to_be_bytes());
            0
        };
    }
}

/// All frames of one gateway.
#[derive(Default)]
pub struct FramePool {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Free ones with buffers longer than [`KEPT_BYTES_MAX`].
    long: Vec<u32>,
    made: u64,
}

impl FramePool {
    /// Encodes one frame; the caller holds its first reference.
    pub fn encode(
        &mut self,
        now: UnixNanos,
        kind: FrameKind,
        opcode: Opcode,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> FrameId {
        let id = self.take(now, kind);
        let slot = &mut self.slots[id.0 as usize];
        slot.bytes.resize(HEADER_BYTES_MAX, 0);
        write(&mut slot.bytes);
        slot.close(opcode);
        id
    }

    /// Copies the payloads of other frames into one, as the items of a JSON array or, of binary messages, one after the
    /// other. The caller holds its first reference, and still those of the parts.
    pub fn gather(&mut self, now: UnixNanos, kind: FrameKind, opcode: Opcode, parts: &[FrameId]) -> FrameId {
        if let Some(place) = self.long.pop() {
            self.free.push(place);
        }
        let id = self.take(now, kind);
        let mut bytes = std::mem::take(&mut self.slots[id.0 as usize].bytes);
        bytes.resize(HEADER_BYTES_MAX, 0);
        let text = opcode == Opcode::Text;
        for (i, &part) in parts.iter().enumerate() {
            if text {
                bytes.push(if i == 0 { b'[' } else { b',' });
            }
            bytes.extend_from_slice(self.payload(part));
        }
        if text {
            bytes.push(b']');
        }
        let slot = &mut self.slots[id.0 as usize];
        slot.bytes = bytes;
        slot.close(opcode);
        id
    }

    /// Copies a frame that waited: it is as if it had been encoded now. The caller holds its first reference.
    pub fn copy(&mut self, now: UnixNanos, opcode: Opcode, of: FrameId) -> FrameId {
        let kind = self.kind(of);
        let id = self.take(now, kind);
        let mut bytes = std::mem::take(&mut self.slots[id.0 as usize].bytes);
        bytes.resize(HEADER_BYTES_MAX, 0);
        bytes.extend_from_slice(self.payload(of));
        let slot = &mut self.slots[id.0 as usize];
        slot.bytes = bytes;
        slot.close(opcode);
        id
    }

    /// Holds bytes as they are, such as an HTTP answer.
    pub fn raw(&mut self, now: UnixNanos, kind: FrameKind, bytes: &[u8]) -> FrameId {
        let id = self.take(now, kind);
        let slot = &mut self.slots[id.0 as usize];
        slot.start = 0;
        slot.bytes.extend_from_slice(bytes);
        id
    }

    fn take(&mut self, now: UnixNanos, kind: FrameKind) -> FrameId {
        self.made += 1;
        match self.free.pop() {
            Some(place) => {
                let slot = &mut self.slots[place as usize];
                slot.bytes.clear();
                slot.references = 1;
                slot.encoded = now;
                slot.kind = kind;
                (slot.place, slot.is_written) = (NO_PLACE, false);
                FrameId(place)
            }
            None => {
                self.slots.push(Slot {
                    bytes: Vec::new(),
                    start: 0,
                    references: 1,
                    encoded: now,
                    kind,
                    place: NO_PLACE,
                    is_written: false,
                });
                FrameId((self.slots.len() - 1) as u32)
            }
        }
    }

    /// The frame as it goes on the wire.
    #[inline]
    pub fn bytes(&self, id: FrameId) -> &[u8] {
        let slot = &self.slots[id.0 as usize];
        &slot.bytes[slot.start..]
    }

    /// Its payload. Not of [`FramePool::raw`] bytes.
    pub fn payload(&self, id: FrameId) -> &[u8] {
        &self.slots[id.0 as usize].bytes[HEADER_BYTES_MAX..]
    }

    /// Whether it is a message without content: what was to be encoded has no word in its dialect.
    pub fn is_blank(&self, id: FrameId) -> bool {
        self.payload(id).is_empty()
    }

    /// When it was encoded.
    pub fn encoded(&self, id: FrameId) -> UnixNanos {
        self.slots[id.0 as usize].encoded
    }

    /// What it carries.
    pub fn kind(&self, id: FrameId) -> FrameKind {
        self.slots[id.0 as usize].kind
    }

    /// How many hold it.
    #[inline]
    pub fn holders(&self, id: FrameId) -> u32 {
        self.slots[id.0 as usize].references
    }

    /// Where it is among the shared frames.
    #[inline]
    pub fn place(&self, id: FrameId) -> Option<u64> {
        Some(self.slots[id.0 as usize].place).filter(|&place| place != NO_PLACE)
    }

    /// Says where it is among the shared frames.
    pub fn give_place(&mut self, id: FrameId, place: u64) {
        self.slots[id.0 as usize].place = place;
    }

    /// Whether it is written there.
    #[inline]
    pub fn is_written(&self, id: FrameId) -> bool {
        self.slots[id.0 as usize].is_written
    }

    /// Says that it is written there.
    pub fn note_written(&mut self, id: FrameId) {
        self.slots[id.0 as usize].is_written = true;
    }

    /// One more holder.
    #[inline]
    pub fn retain(&mut self, id: FrameId) {
        self.slots[id.0 as usize].references += 1;
    }

    /// One holder less; the last one's buffer is reused.
    #[inline]
    pub fn release(&mut self, id: FrameId) {
        let slot = &mut self.slots[id.0 as usize];
        debug_assert!(slot.references > 0, "released more often than held");
        slot.references = slot.references.saturating_sub(1);
        if slot.references == 0 {
            if slot.bytes.capacity() <= KEPT_BYTES_MAX {
                self.free.push(id.0);
            } else if slot.bytes.capacity() <= LONG_BYTES_MAX && self.long.len() < LONG_KEPT_MAX {
                self.long.push(id.0);
            } else {
                slot.bytes = Vec::new();
                self.free.push(id.0);
            }
        }
    }

    /// How many frames it has made. While that stays, no frame's place is taken by another.
    #[inline]
    pub fn made(&self) -> u64 {
        self.made
    }

    /// How many frames are held by anyone.
    pub fn held(&self) -> usize {
        self.slots.len() - self.free.len() - self.long.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pool: &mut FramePool, length: usize) -> FrameId {
        pool.encode(UnixNanos(0), FrameKind::Fact, Opcode::Text, |out| out.resize(out.len() + length, b'x'))
    }

    #[test]
    fn a_header_fits_its_payload() {
        let mut pool = FramePool::default();
        for (length, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let id = text(&mut pool, length);
            assert_eq!(pool.bytes(id).len(), header + length);
            assert_eq!(pool.bytes(id)[0], 0x81);
        }
    }

    #[test]
    fn gathered_frames_are_an_array_of_text_or_binary_end_to_end() {
        let mut pool = FramePool::default();
        let parts = [text(&mut pool, 2), text(&mut pool, 3)];
        let kind = FrameKind::Gathered { facts: 2, states: 0 };
        let array = pool.gather(UnixNanos(0), kind, Opcode::Text, &parts);
        assert_eq!(pool.bytes(array), b"\x81\x08[xx,xxx]");
        let binary = pool.gather(UnixNanos(0), kind, Opcode::Binary, &parts);
        assert_eq!(pool.bytes(binary), b"\x82\x05xxxxx");
        let one = pool.copy(UnixNanos(9), Opcode::Text, parts[0]);
        assert_eq!((pool.bytes(one), pool.encoded(one)), (&b"\x81\x02xx"[..], UnixNanos(9)));
    }

    #[test]
    fn a_long_buffer_serves_the_next_gathered_frame_and_no_other() {
        let mut pool = FramePool::default();
        let part = text(&mut pool, 2 * KEPT_BYTES_MAX);
        let kind = FrameKind::Gathered { facts: 1, states: 0 };
        let long = pool.gather(UnixNanos(0), kind, Opcode::Text, &[part]);
        pool.release(long);
        assert_ne!(text(&mut pool, 1), long);
        assert_eq!(pool.gather(UnixNanos(0), kind, Opcode::Text, &[part]), long);
        assert_eq!(pool.held(), 3);
    }

    #[test]
    fn a_buffer_is_reused_once_nobody_holds_it() {
        let mut pool = FramePool::default();
        let first = text(&mut pool, 10);
        pool.retain(first);
        pool.release(first);
        let second = text(&mut pool, 10);
        assert_ne!(first, second);
        pool.release(first);
        assert_eq!(text(&mut pool, 3), first);
        assert_eq!(pool.held(), 2);
    }
}
