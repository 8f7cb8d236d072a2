//! Encoded WebSocket frames, shared by reference: a slab of counted buffers that are reused.
//!
//! A frame is written once, header and payload in one buffer, and never changed while anyone holds it. The payload is
//! encoded first, after a gap as wide as the widest header; the header then goes right before it, so nothing is moved.

use crate::model::UnixNanos;

/// The widest header of an unmasked frame: opcode, length 127, eight bytes of length.
const HEADER_BYTES_MAX: usize = 10;
/// A buffer that grew beyond this is given back when its frame ends: one long answer must not stay in memory for ever.
const KEPT_BYTES_MAX: usize = 16 * 1024;

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
}

/// WebSocket opcodes that this server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// UTF-8 text.
    Text = 1,
    /// Ends the WebSocket.
    Close = 8,
    /// Wants a pong.
    Ping = 9,
    /// Answers a ping.
    Pong = 10,
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
}

/// All frames of one gateway.
#[derive(Default)]
pub struct FramePool {
    slots: Vec<Slot>,
    free: Vec<u32>,
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
        let payload = slot.bytes.len() - HEADER_BYTES_MAX;
        let first = FIN | opcode as u8;
        slot.start = if payload < 126 {
            slot.bytes[8..10].copy_from_slice(&[first, payload as u8]);
            8
        } else if let Ok(short) = u16::try_from(payload) {
            slot.bytes[6..8].copy_from_slice(&[first, 126]);
            slot.bytes[8..10].copy_from_slice(&short.to_be_bytes());
            6
        } else {
            slot.bytes[0..2].copy_from_slice(&[first, 127]);
            slot.bytes[2..10].copy_from_slice(&(payload as u64).to_be_bytes());
            0
        };
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
                FrameId(place)
            }
            None => {
                self.slots.push(Slot { bytes: Vec::new(), start: 0, references: 1, encoded: now, kind });
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

    /// When it was encoded.
    pub fn encoded(&self, id: FrameId) -> UnixNanos {
        self.slots[id.0 as usize].encoded
    }

    /// What it carries.
    pub fn kind(&self, id: FrameId) -> FrameKind {
        self.slots[id.0 as usize].kind
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
            if slot.bytes.capacity() > KEPT_BYTES_MAX {
                slot.bytes = Vec::new();
            }
            self.free.push(id.0);
        }
    }

    /// How many frames it has made. While that stays, no frame's place is taken by another.
    #[inline]
    pub fn made(&self) -> u64 {
        self.made
    }

    /// How many frames are held by anyone.
    pub fn held(&self) -> usize {
        self.slots.len() - self.free.len()
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
