//! WebSocket frames as a server sends them: headers are parsed, payloads passed over but for their heads. No I/O here.

/// How much of a payload is looked at. Every time and number of a message stands in it.
pub const HEAD_BYTES: usize = 1024;
/// The longest header of a frame without a mask.
const HEADER_BYTES_MAX: usize = 10;
/// The room that [`Frames::take`] needs before its input.
pub const ROOM_BYTES: usize = HEADER_BYTES_MAX + HEAD_BYTES;

/// What a server may not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// A reserved bit.
    Reserved,
    /// A mask, which only clients use.
    Masked,
    /// An opcode that does not exist.
    Opcode,
    /// A control frame in parts, or of more than 125 bytes.
    Control,
}

/// One whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// 0 goes on, 1 text, 2 binary, 8 close, 9 ping, 10 pong.
    pub opcode: u8,
    /// The first bytes of the payload; all of a control frame's.
    pub head: &'a [u8],
}

/// The frames of one connection, whatever pieces its bytes come in.
#[derive(Default)]
pub struct Frames {
    /// The beginning of a frame that is not yet whole.
    kept: Vec<u8>,
    /// How many bytes of it are still to come and of no interest; 0 where even its head is not whole.
    rest: u64,
}

struct Header {
    opcode: u8,
    bytes: usize,
    payload: u64,
}

impl Frames {
    /// Hands over each frame that `buffer[ROOM_BYTES..filled]` makes whole. What was kept of a frame before goes into
    /// the room in front, so nothing is ever copied but such beginnings.
    ///
    /// # Errors
    /// What the server may not send. Nothing after it means anything.
    pub fn take(
        &mut self,
        buffer: &mut [u8],
        filled: usize,
        mut on: impl FnMut(Frame<'_>),
    ) -> Result<(), Broken> {
        let mut from = ROOM_BYTES;
        if self.rest > 0 {
            let skipped = self.rest.min((filled - from) as u64);
            self.rest -= skipped;
            from += skipped as usize;
            if self.rest > 0 {
                return Ok(());
            }
            if let Some(header) = header(&self.kept)? {
                on(Frame { opcode: header.opcode, head: &self.kept[header.bytes..] });
            }
        } else {
            from -= self.kept.len();
            buffer[from..ROOM_BYTES].copy_from_slice(&self.kept);
        }
        self.kept.clear();
        let mut bytes = &buffer[from..filled];
        while let Some(Header { opcode, bytes: start, payload }) = header(bytes)? {
            let whole = start as u64 + payload;
            let head = start + payload.min(HEAD_BYTES as u64) as usize;
            if bytes.len() as u64 >= whole {
                on(Frame { opcode, head: &bytes[start..head] });
                bytes = &bytes[whole as usize..];
                continue;
            }
            if bytes.len() >= head {
                self.kept.extend_from_slice(&bytes[..head]);
                self.rest = whole - bytes.len() as u64;
                return Ok(());
            }
            break;
        }
        self.kept.extend_from_slice(bytes);
        Ok(())
    }
}

/// The header at the beginning of `bytes`; `None` where it is not whole.
#[inline]
fn header(bytes: &[u8]) -> Result<Option<Header>, Broken> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(Broken::Reserved);
    }
    if second & 0x80 != 0 {
        return Err(Broken::Masked);
    }
    let (opcode, short) = (first & 0x0f, second & 0x7f);
    match opcode {
        0..=2 => {}
        8..=10 if first & 0x80 != 0 && short < 126 => {}
        8..=10 => return Err(Broken::Control),
        _ => return Err(Broken::Opcode),
    }
    let (bytes, payload) = match short {
        126 => match bytes.get(2..4) {
            Some(&[a, b]) => (4, u64::from(u16::from_be_bytes([a, b]))),
            _ => return Ok(None),
        },
        127 => match bytes.get(2..HEADER_BYTES_MAX).and_then(|long| long.try_into().ok()) {
            // The highest bit is reserved: without it a length and a header fit 64 bits.
            Some(long) => match u64::from_be_bytes(long) {
                length if length >> 63 != 0 => return Err(Broken::Reserved),
                length => (HEADER_BYTES_MAX, length),
            },
            None => return Ok(None),
        },
        short => (2, u64::from(short)),
    };
    Ok(Some(Header { opcode, bytes, payload }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0x80 | opcode];
        match payload.len() {
            n @ 0..126 => out.push(n as u8),
            n @ 126..65_536 => {
                out.push(126);
                out.extend((n as u16).to_be_bytes());
            }
            n => {
                out.push(127);
                out.extend((n as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(payload);
        out
    }

    /// Feeds `bytes` in pieces of `step` and gives opcode and head of each frame.
    fn read(bytes: &[u8], step: usize) -> Result<Vec<(u8, Vec<u8>)>, Broken> {
        let (mut frames, mut found) = (Frames::default(), Vec::new());
        let mut buffer = vec![0; ROOM_BYTES + step];
        for piece in bytes.chunks(step) {
            buffer[ROOM_BYTES..ROOM_BYTES + piece.len()].copy_from_slice(piece);
            frames.take(&mut buffer, ROOM_BYTES + piece.len(), |frame| {
                found.push((frame.opcode, frame.head.to_vec()));
            })?;
        }
        assert!(frames.kept.is_empty() && frames.rest == 0, "something was left over");
        Ok(found)
    }

    #[test]
    fn frames_are_the_same_in_whatever_pieces_they_come() {
        let mut bytes = Vec::new();
        let mut sent = Vec::new();
        for length in
            [0, 1, 125, 126, 127, 300, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 1, 65_535, 65_536, 70_001]
        {
            let payload: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            for opcode in [1, 2, 0] {
                bytes.extend(frame(opcode, &payload));
                sent.push((opcode, payload[..length.min(HEAD_BYTES)].to_vec()));
            }
            bytes.extend(frame(9, b"ping"));
            sent.push((9, b"ping".to_vec()));
        }
        for step in [1, 2, 3, 7, 126, 1000, HEAD_BYTES, ROOM_BYTES, 65_536, bytes.len()] {
            assert_eq!(read(&bytes, step).unwrap(), sent, "in pieces of {step}");
        }
    }

    #[test]
    fn what_a_server_may_not_send_is_found() {
        for (bytes, why) in [
            (&[0xc1, 0][..], Broken::Reserved),
            (&[0x81, 0x80, 1, 2, 3, 4], Broken::Masked),
            (&[0x83, 0], Broken::Opcode),
            (&[0x8b, 0], Broken::Opcode),
            (&[0x09, 0], Broken::Control),
            (&[0x89, 126, 0, 126], Broken::Control),
            (&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], Broken::Reserved),
        ] {
            assert_eq!(read(bytes, bytes.len()), Err(why), "{bytes:x?}");
        }
    }

    #[test]
    fn the_longest_length_is_only_waited_for() {
        let mut frames = Frames::default();
        let mut buffer = vec![0; ROOM_BYTES + 10];
        buffer[ROOM_BYTES..].copy_from_slice(&[0x82, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255]);
        frames.take(&mut buffer, ROOM_BYTES + 10, |_| panic!("it is not whole")).unwrap();
    }
}
