//! What a server owes a client's bytes, read off RFC 6455 as plainly as can be: messages, pings, and how it ends.

/// How a stream of frames ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It does not; perhaps in the middle of a frame.
    Open,
    /// In the middle of a frame that can already be told to be one of these faults, by their close codes.
    MayBreak(Vec<u16>),
    /// In a fault, by the close codes that fit.
    Broken(Vec<u16>),
    /// In a close of the client, to be answered by one of these codes; 0 stands for none.
    Closed(Vec<u16>),
}

/// What a client sent.
#[derive(Debug)]
pub struct Sent {
    /// (opcode, payload) of each whole message.
    pub messages: Vec<(u8, Vec<u8>)>,
    /// Payload of each ping.
    pub pings: Vec<Vec<u8>>,
    /// How it ended.
    pub end: End,
}

/// Reads a client's bytes after its handshake.
pub fn read(bytes: &[u8], message_bytes_max: usize) -> Sent {
    let mut sent = Sent { messages: Vec::new(), pings: Vec::new(), end: End::Open };
    let mut message: Option<(u8, Vec<u8>)> = None;
    let mut rest = bytes;
    while let [first, second, after @ ..] = rest {
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        let control = opcode >= 8;
        let mut faults = Vec::new();
        if first & 0x70 != 0 || second & 0x80 == 0 || !matches!(opcode, 0..=2 | 8..=10) {
            faults.push(1002);
        }
        if control && (!fin || second & 0x7f > 125) {
            faults.push(1002);
        }
        if !control && (opcode == 0) != message.is_some() {
            faults.push(1002);
        }
        let width = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        if after.len() < width + mask {
            sent.end = End::MayBreak(faults);
            return sent;
        }
        let length = match width {
            0 => u64::from(second & 0x7f),
            _ => after[..width].iter().fold(0, |n, &byte| n << 8 | u64::from(byte)),
        };
        let begun = message.as_ref().map_or(0, |(_, text)| text.len() as u64);
        if length > message_bytes_max as u64 || (!control && begun + length > message_bytes_max as u64) {
            faults.push(1009);
        }
        if length > i64::MAX as u64 {
            faults.push(1002);
        }
        let body = &after[width + mask..];
        let Some(masked) = usize::try_from(length).ok().and_then(|length| body.get(..length)) else {
            sent.end = if faults.is_empty() { End::Open } else { End::MayBreak(faults) };
            return sent;
        };
        let key = &after[width..width + mask];
        let unmask = |(n, byte): (usize, &u8)| byte ^ key.get(n % 4).copied().unwrap_or(0);
        let payload: Vec<u8> = masked.iter().enumerate().map(unmask).collect();
        rest = &body[payload.len()..];
        // A fragment of text that no later one can put right.
        let utf8_fault = |text: &[u8], last: bool| match std::str::from_utf8(text) {
            Ok(_) => false,
            Err(error) => last || error.error_len().is_some(),
        };
        if !control {
            let mut whole = message.clone().unwrap_or((opcode, Vec::new()));
            whole.1.extend_from_slice(&payload);
            if whole.0 == 1 && utf8_fault(&whole.1, fin) {
                faults.push(1007);
            }
            message = Some(whole);
        }
        if !faults.is_empty() {
            sent.end = End::Broken(faults);
            return sent;
        }
        match opcode {
            8 => {
                sent.end = match payload[..] {
                    [] => End::Closed(vec![0, 1000]),
                    [_] => End::Broken(vec![1002]),
                    [high, low, ref reason @ ..] => {
                        let code = u16::from_be_bytes([high, low]);
                        // 1014 was registered after the RFC, and not everyone knows it.
                        let allowed = matches!(code, 1000..=1003 | 1007..=1013 | 3000..=4999);
                        match (std::str::from_utf8(reason).is_ok(), allowed) {
                            (true, true) => End::Closed(vec![code]),
                            (true, false) => End::Closed(vec![1002, code]),
                            (false, _) => End::Broken(vec![1007, 1002]),
                        }
                    }
                };
                return sent;
            }
            9 => sent.pings.push(payload),
            10 => {}
            _ if fin => sent.messages.extend(message.take()),
            _ => {}
        }
    }
    sent
}
