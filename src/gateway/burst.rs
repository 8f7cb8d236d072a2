//! The bytes of one write, side by side. The kernel takes some tens of small frames from one place faster than from as many
//! places, and where one message goes to many clients, their common run of frames is laid out once.

use super::frame::{FrameId, FramePool};
use super::outbox::Piece;

/// What is laid out for one write at most. By default a socket's send buffer, `send_buffer_bytes`, is as long.
const BYTES_MAX: usize = 64 * 1024;

struct Laid {
    frame: FrameId,
    offset: usize,
    /// Where its bytes end.
    end: usize,
}

/// The run of frames that was last laid out.
pub struct Burst {
    bytes: Vec<u8>,
    pieces: Vec<Laid>,
    /// How many frames the pool had made by then. While it makes no more, a frame's number means the same bytes.
    made: u64,
}

impl Burst {
    /// Nothing yet; a run will have up to `pieces_max` frames.
    pub fn new(pieces_max: usize) -> Self {
        Self { bytes: Vec::with_capacity(BYTES_MAX), pieces: Vec::with_capacity(pieces_max), made: 0 }
    }

    /// The bytes of the pieces in order, up to the first that does not fit any more. There are none only without pieces.
    pub fn bytes<'a>(&'a mut self, pieces: &[Piece], pool: &'a FramePool) -> &'a [u8] {
        let rest = |piece: &Piece| &pool.bytes(piece.frame)[piece.offset..];
        match pieces {
            [] => return &[],
            [only] => return rest(only),
            // A long frame is not worth a copy.
            [first, ..] if rest(first).len() > BYTES_MAX / 2 => return rest(first),
            _ => {}
        }
        let same = |(laid, piece): &(&Laid, &Piece)| laid.frame == piece.frame && laid.offset == piece.offset;
        let kept = match self.made == pool.made() {
            true => self.pieces.iter().zip(pieces).take_while(same).count(),
            false => 0,
        };
        self.made = pool.made();
        self.pieces.truncate(kept);
        self.bytes.truncate(self.pieces.last().map_or(0, |laid| laid.end));
        for piece in &pieces[kept..] {
            let bytes = rest(piece);
            let end = self.bytes.len() + bytes.len();
            if end > BYTES_MAX {
                break;
            }
            self.bytes.extend_from_slice(bytes);
            self.pieces.push(Laid { frame: piece.frame, offset: piece.offset, end });
        }
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{FrameKind, Opcode};
    use super::super::outbox::{Bounds, Outbox};
    use super::*;
    use crate::model::UnixNanos;

    const T0: UnixNanos = UnixNanos(0);
    const BOUNDS: Bounds = Bounds { facts_bytes_max: usize::MAX, answers_bytes_max: usize::MAX };

    fn outbox(pool: &mut FramePool, lengths: &[usize]) -> Outbox {
        let mut outbox = Outbox::default();
        for (i, &length) in lengths.iter().enumerate() {
            let body = vec![b'a' + i as u8; length];
            let frame = pool.encode(T0, FrameKind::Fact, Opcode::Text, |out| out.extend_from_slice(&body));
            outbox.push_fact(frame, pool, T0, BOUNDS);
        }
        outbox
    }

    fn pieces(outbox: &mut Outbox) -> Vec<Piece> {
        let mut pieces = Vec::new();
        outbox.gather(64, &mut pieces, |_, _| None);
        pieces
    }

    fn expected(pieces: &[Piece], pool: &FramePool) -> Vec<u8> {
        pieces.iter().flat_map(|piece| pool.bytes(piece.frame)[piece.offset..].to_vec()).collect()
    }

    #[test]
    fn a_burst_is_its_frames_in_order_whatever_was_laid_out_before() {
        let (mut pool, mut burst) = (FramePool::default(), Burst::new(64));
        let mut outbox = outbox(&mut pool, &[3, 300, 0, 126, 9]);
        let all = pieces(&mut outbox);
        for (from, to) in [(0, 5), (0, 3), (0, 4), (1, 4), (0, 5), (4, 5), (2, 2), (0, 2), (0, 5)] {
            assert_eq!(burst.bytes(&all[from..to], &pool), expected(&all[from..to], &pool), "{from}..{to}");
        }
    }

    #[test]
    fn a_frame_partly_written_goes_on_where_it_ended() {
        let (mut pool, mut burst) = (FramePool::default(), Burst::new(64));
        let mut outbox = outbox(&mut pool, &[10, 20, 30]);
        for step in [5, 9, 1, 30] {
            let now = pieces(&mut outbox);
            assert_eq!(burst.bytes(&now, &pool), expected(&now, &pool));
            outbox.advance(step, &now, &mut pool, |_, _| {}, |_| {});
        }
    }

    #[test]
    fn a_frame_that_takes_the_place_of_another_is_not_mistaken_for_it() {
        let (mut pool, mut burst) = (FramePool::default(), Burst::new(64));
        let mut first = outbox(&mut pool, &[10, 20]);
        let laid = pieces(&mut first);
        burst.bytes(&laid, &pool);
        // Places are given out last in, first out: the frames after the next have the numbers of the first again.
        first.clear(&mut pool);
        outbox(&mut pool, &[1, 1]).clear(&mut pool);
        let mut again = outbox(&mut pool, &[40, 50]);
        let now = pieces(&mut again);
        assert!(now.iter().zip(&laid).all(|(a, b)| a.frame == b.frame), "this test needs the same numbers");
        assert_eq!(burst.bytes(&now, &pool), expected(&now, &pool));
    }

    #[test]
    fn a_burst_is_bounded_and_never_nothing() {
        let (mut pool, mut burst) = (FramePool::default(), Burst::new(64));
        for lengths in
            [&[BYTES_MAX * 3, 1][..], &[1, BYTES_MAX * 3], &[BYTES_MAX / 4; 9], &[BYTES_MAX - 4, 9]]
        {
            let mut outbox = outbox(&mut pool, lengths);
            let now = pieces(&mut outbox);
            let found = burst.bytes(&now, &pool);
            assert!(!found.is_empty() && (found.len() <= BYTES_MAX || found.len() == lengths[0] + 10));
            assert!(expected(&now, &pool).starts_with(found));
        }
    }
}
