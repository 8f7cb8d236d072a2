//! WebSocket frames, server side (RFC 6455). Written here and not by a library, so that a fault can break them.

/// Largest message of a client, bytes: its subscriptions.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// A text frame.
pub const TEXT: u8 = 1;
const CLOSE: u8 = 8;
/// A ping frame.
pub const PING: u8 = 9;
/// A pong frame.
pub const PONG: u8 = 10;

/// A whole frame, unmasked.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..126 => out.push(short as u8),
        length @ 126..65_536 => {
            out.push(126);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend(payload);
    out
}

/// A close frame.
pub fn close(code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason.bytes().take(123));
    frame(CLOSE, &payload)
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message.
    Text(String),
    /// To be answered with the same payload.
    Ping(Vec<u8>),
    /// It lives.
    Pong,
    /// It leaves.
    Close,
}

/// Bytes of a client on their way to messages.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
    message: Vec<u8>,
}

impl Reader {
    /// Takes what was read.
    pub fn take(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message; `None` until more is read.
    ///
    /// # Errors
    /// The close code for what breaks the protocol.
    pub fn next(&mut self) -> Result<Option<Incoming>, u16> {
        loop {
            let [first, second, ..] = self.bytes[..] else { return Ok(None) };
            let (extended, length) = match second & 0x7f {
                126 => {
                    (2, self.bytes.get(2..4).map(|n| n.iter().fold(0, |all, &b| all << 8 | usize::from(b))))
                }
                127 => {
                    (8, self.bytes.get(2..10).map(|n| n.iter().fold(0, |all, &b| all << 8 | usize::from(b))))
                }
                short => (0, Some(usize::from(short))),
            };
            let Some(length) = length else { return Ok(None) };
            if second & 0x80 == 0 || first & 0x70 != 0 {
                return Err(1002);
            }
            if length > MESSAGE_BYTES_MAX - self.message.len() {
                return Err(1009);
            }
            let body = 2 + extended + 4;
            if self.bytes.len() < body + length {
                return Ok(None);
            }
            let frame: Vec<u8> = self.bytes.drain(..body + length).collect();
            let mask = &frame[body - 4..body];
            let payload: Vec<u8> =
                frame[body..].iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m).collect();
            match first & 0x0f {
                0..=2 => {
                    self.message.extend(payload);
                    if first & 0x80 != 0 {
                        let whole = std::mem::take(&mut self.message);
                        return String::from_utf8(whole)
                            .map(|text| Some(Incoming::Text(text)))
                            .map_err(|_| 1007);
                    }
                }
                CLOSE => return Ok(Some(Incoming::Close)),
                PING => return Ok(Some(Incoming::Ping(payload))),
                PONG => return Ok(Some(Incoming::Pong)),
                _ => return Err(1002),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(opcode: u8, fin: bool, payload: &[u8]) -> Vec<u8> {
        let mut out = frame(opcode, payload);
        out[0] = if fin { out[0] } else { out[0] & 0x7f };
        out[1] |= 0x80;
        let head = out.len() - payload.len();
        let mask = [7, 0, 255, 9];
        let body: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m).collect();
        out.truncate(head);
        out.extend(mask);
        out.extend(body);
        out
    }

    #[test]
    fn messages_are_read_however_they_are_cut() {
        let long = "x".repeat(70_000);
        let mut bytes = masked(TEXT, true, b"one");
        bytes.extend(masked(TEXT, false, b"tw"));
        bytes.extend(masked(PING, true, b"p"));
        bytes.extend(masked(0, true, b"o"));
        bytes.extend(masked(TEXT, true, long.as_bytes()));
        bytes.extend(masked(CLOSE, true, &[3, 232]));
        for step in [1, 2, 3, 1000, bytes.len()] {
            let (mut reader, mut out) = (Reader::default(), Vec::new());
            for piece in bytes.chunks(step) {
                reader.take(piece);
                while let Some(message) = reader.next().unwrap() {
                    out.push(message);
                }
            }
            let text = |text: &str| Incoming::Text(text.to_owned());
            assert_eq!(
                out,
                [text("one"), Incoming::Ping(b"p".to_vec()), text("two"), text(&long), Incoming::Close]
            );
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_refused_with_its_code() {
        let answer = |bytes: &[u8]| {
            let mut reader = Reader::default();
            reader.take(bytes);
            reader.next()
        };
        assert_eq!(answer(&frame(TEXT, b"unmasked")), Err(1002));
        assert_eq!(answer(&masked(TEXT, true, &[0xff])), Err(1007));
        assert_eq!(answer(&masked(3, true, b"")), Err(1002));
        assert_eq!(answer(&[0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0]), Err(1009));
    }
}
