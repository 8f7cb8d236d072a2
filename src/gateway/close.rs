//! Why a WebSocket is closed: the one table of close codes.
//!
//! | code | name | when |
//! |---|---|---|
//! | 1000 | normal | the client closed without a code of its own |
//! | 1001 | going away | the engine stops, or its input has ended |
//! | 1002 | protocol error | an unmasked frame, a reserved bit, a wrong opcode or fragment order |
//! | 1007 | not UTF-8 | a text message that is not UTF-8 |
//! | 1008 | policy | more than `requests_per_s_max`, `request_bytes_per_s_max` or `control_frames_per_s_max` allow |
//! | 1009 | too big | a message or frame above `message_bytes_max` |
//! | 1012 | restart | the engine starts again (SIGTERM): connect again |
//! | 1013 | full | try again later |
//! | 4008 | slow consumer | facts waited past `outbox_facts_bytes_max` or `outbox_facts_age_ms_max`, or were lost |
//! | 4009 | replaced | the same user connected again |
//! | 4010 | idle | nothing was received for twice `heartbeat_s`, pongs included |
//!
//! Clients of `/stocks` are told 1008 for 4008 and 1012 for 1001: see [`super::dialect::Dialect::close_code`].

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseCode {
    /// The number on the wire.
    pub code: u16,
    /// Its name, and the reason text where there is none more precise.
    pub name: &'static str,
}

const fn row(code: u16, name: &'static str) -> CloseCode {
    CloseCode { code, name }
}

/// The client closed, without a code.
pub const NORMAL: CloseCode = row(1000, "normal");
/// The engine stops.
pub const GOING_AWAY: CloseCode = row(1001, "going away");
/// The client broke the WebSocket protocol.
pub const PROTOCOL: CloseCode = row(1002, "protocol error");
/// A text message was not UTF-8.
pub const NOT_UTF8: CloseCode = row(1007, "text is not UTF-8");
/// The client broke a rule of ours.
pub const POLICY: CloseCode = row(1008, "policy");
/// A message was too long.
pub const TOO_BIG: CloseCode = row(1009, "message too big");
/// The engine restarts.
pub const RESTART: CloseCode = row(1012, "restart");
/// No room now.
pub const FULL: CloseCode = row(1013, "full, try again later");
/// The client reads too slowly for its facts.
pub const SLOW: CloseCode = row(4008, "slow consumer");
/// The same user connected again.
pub const REPLACED: CloseCode = row(4009, "replaced");
/// Nothing was heard of the client.
pub const IDLE: CloseCode = row(4010, "idle");

/// Every code that this server can send, in order.
pub const TABLE: [CloseCode; 11] =
    [NORMAL, GOING_AWAY, PROTOCOL, NOT_UTF8, POLICY, TOO_BIG, RESTART, FULL, SLOW, REPLACED, IDLE];

/// A control frame's payload is at most 125 bytes, two of them the code.
const REASON_BYTES_MAX: usize = 123;

impl CloseCode {
    /// Appends the payload of a close frame: the code, and as much of `reason` as fits.
    pub fn write(self, reason: &str, out: &mut Vec<u8>) {
        let mut end = reason.len().min(REASON_BYTES_MAX);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        out.extend_from_slice(&self.code.to_be_bytes());
        out.extend_from_slice(&reason.as_bytes()[..end]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_ordered_and_unique() {
        assert!(TABLE.windows(2).all(|pair| pair[0].code < pair[1].code));
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let mut out = Vec::new();
        SLOW.write(&"é".repeat(100), &mut out);
        assert!(out.len() <= 125);
        assert!(std::str::from_utf8(&out[2..]).is_ok());
    }
}
