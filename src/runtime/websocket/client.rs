//! The client side of a WebSocket without its socket: the HTTP request out, its answer in.

use tungstenite::Error;
use tungstenite::handshake::client::{Response, generate_request};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;
use tungstenite::http::{HeaderMap, Request, header};

use crate::model::{Nanos, UnixNanos};

/// The largest head of an answer, in bytes. Vendors behind a content network send 1 to 2 KiB.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// The longest wait that an answer may ask for: beyond it, it is taken for this.
const RETRY_AFTER_MAX: Nanos = Nanos::from_secs(3600);

/// A request to open a WebSocket.
#[derive(Debug)]
pub struct Opening {
    /// Its bytes.
    pub request: Vec<u8>,
    /// What the answer must prove to have read.
    accept: String,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Whether it goes over TLS, which decides the port that need not be named.
    pub tls: bool,
    /// A name or an address.
    pub host: &'a str,
    /// The TCP port.
    pub port: u16,
    /// Beginning with `/`.
    pub path_and_query: &'a str,
    /// Further headers, such as a key's.
    pub headers: &'a [(String, String)],
}

/// Why no WebSocket came of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Another status than 101.
    Status {
        /// HTTP status.
        status: u16,
        /// How long not to ask again, where the answer says.
        retry_after: Option<Nanos>,
    },
    /// Not an answer to our request.
    Invalid(String),
}

impl Opening {
    /// A request with no extensions and no subprotocols. `key` is 16 random bytes.
    ///
    /// # Errors
    /// Where the target's text cannot stand in a request: what, and why.
    pub fn new(target: &Target<'_>, key: u128) -> Result<Self, String> {
        let bare = target.host.trim_start_matches('[').trim_end_matches(']');
        let host = if bare.contains(':') { format!("[{bare}]") } else { bare.to_owned() };
        let (scheme, usual) = if target.tls { ("wss", 443) } else { ("ws", 80) };
        let authority = if target.port == usual { host } else { format!("{host}:{}", target.port) };
        let mut request = Request::builder()
            .uri(format!("{scheme}://{authority}{}", target.path_and_query))
            .header(header::HOST, &authority)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, base64(key));
        for (name, value) in target.headers {
            request = request.header(name, value);
        }
        let request = request.body(()).map_err(|error| error.to_string())?;
        let (request, key) = generate_request(request).map_err(|error| error.to_string())?;
        Ok(Self { request, accept: derive_accept_key(key.as_bytes()) })
    }

    /// Reads the head of the answer from the bytes so far: how many it took, what follows being WebSocket. `Ok(None)` wants more.
    ///
    /// # Errors
    /// Where it is no upgrade to what was asked for.
    pub fn read_answer(&self, bytes: &[u8], now: UnixNanos) -> Result<Option<usize>, Refused> {
        let invalid = |text: &str| Err(Refused::Invalid(text.to_owned()));
        let (consumed, answer) = match Response::try_parse(bytes) {
            Ok(Some(parsed)) => parsed,
            Ok(None) if bytes.len() < ANSWER_BYTES_MAX => return Ok(None),
            Ok(None) => return invalid("the head of the answer is longer than 16 KiB"),
            Err(Error::HttpFormat(error)) => return Err(Refused::Invalid(format!("not HTTP: {error}"))),
            Err(error) => return Err(Refused::Invalid(error.to_string())),
        };
        if consumed > ANSWER_BYTES_MAX {
            return invalid("the head of the answer is longer than 16 KiB");
        }
        let headers = answer.headers();
        let status = answer.status().as_u16();
        if status != 101 {
            return Err(Refused::Status { status, retry_after: retry_after(headers, now) });
        }
        if !names(headers, header::UPGRADE, "websocket") {
            return invalid("the answer has no Upgrade: websocket");
        }
        if !names(headers, header::CONNECTION, "upgrade") {
            return invalid("the answer has no Connection: Upgrade");
        }
        if headers.get(header::SEC_WEBSOCKET_ACCEPT).is_none_or(|value| *value != self.accept) {
            return invalid(
                "Sec-WebSocket-Accept is not that of our key: this may be another request's answer",
            );
        }
        if headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
            return invalid("the answer uses an extension that was not offered");
        }
        if headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
            return invalid("the answer chooses a subprotocol that was not offered");
        }
        Ok(Some(consumed))
    }
}

/// Whether one of a header's comma-separated tokens is `token`, in any case.
fn names(headers: &HeaderMap, header: header::HeaderName, token: &str) -> bool {
    let mut values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.split(',').any(|each| each.trim().eq_ignore_ascii_case(token)))
}

/// Seconds, or a date of HTTP (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: UnixNanos) -> Option<Nanos> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u32>() {
        Ok(seconds) => Nanos::from_secs(i64::from(seconds)),
        Err(_) => {
            let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            UnixNanos(i64::try_from(at.as_nanosecond()).ok()?) - now
        }
    };
    Some(wait.clamp(Nanos::ZERO, RETRY_AFTER_MAX))
}

/// 16 bytes in base64 (RFC 4648): 21 characters of six bits, one of two bits, two of padding.
fn base64(bytes: u128) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let sixes = (0..21).map(|place| (bytes >> (122 - 6 * place)) as usize & 63);
    let last = (bytes as usize & 3) << 4;
    let text = sixes.chain([last]).map(|six| char::from(ALPHABET[six]));
    text.chain(['=', '=']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::websocket::{REQUEST_BYTES_MAX, read_upgrade};

    const NOW: UnixNanos = UnixNanos(784_111_770_000_000_000);

    fn target(headers: &[(String, String)]) -> Target<'_> {
        Target { tls: false, host: "::1", port: 8080, path_and_query: "/stocks?a=b", headers }
    }

    fn opening() -> Opening {
        Opening::new(&target(&[]), u128::from_be_bytes(*b"the sample nonce")).unwrap()
    }

    #[test]
    fn the_key_is_the_one_of_the_standard() {
        // RFC 6455, 1.3: this key, and the answer to it.
        assert_eq!(base64(u128::from_be_bytes(*b"the sample nonce")), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(opening().accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn our_own_server_understands_the_request_and_we_its_answer_in_any_pieces() {
        let headers = [("X-Key".to_owned(), "secret".to_owned())];
        let opening = Opening::new(&target(&headers), 7).unwrap();
        let upgrade = read_upgrade(&opening.request, REQUEST_BYTES_MAX).unwrap().unwrap();
        assert_eq!((upgrade.path.as_str(), upgrade.consumed), ("/stocks", opening.request.len()));
        assert_eq!(upgrade.request.headers()["x-key"], "secret");
        assert_eq!(upgrade.request.headers()["host"], "[::1]:8080");
        assert!(!upgrade.request.headers().contains_key("sec-websocket-extensions"));
        let answer = [&upgrade.response[..], b"\x81\x00"].concat();
        for end in 0..upgrade.response.len() {
            assert_eq!(opening.read_answer(&answer[..end], NOW), Ok(None));
        }
        assert_eq!(opening.read_answer(&answer, NOW), Ok(Some(upgrade.response.len())));
    }

    #[test]
    fn a_usual_port_is_not_named() {
        let target = Target { tls: true, host: "feed.example", port: 443, path_and_query: "/", headers: &[] };
        let request = Opening::new(&target, 1).unwrap().request;
        assert!(String::from_utf8(request).unwrap().contains("Host: feed.example\r\n"));
    }

    #[test]
    fn a_header_cannot_smuggle_another() {
        for bad in ["a\r\nX-Other: 1", "a\nb", "a\0"] {
            let headers = [("X-Key".to_owned(), bad.to_owned())];
            assert!(Opening::new(&target(&headers), 1).is_err(), "{bad:?}");
        }
        let headers = [("Bad Name".to_owned(), "x".to_owned())];
        assert!(Opening::new(&target(&headers), 1).is_err());
        assert!(Opening::new(&Target { path_and_query: "/a b", ..target(&[]) }, 1).is_err());
    }

    #[test]
    fn a_status_and_how_long_to_stay_away_are_told() {
        let refused = |head: &str| opening().read_answer(head.as_bytes(), NOW).unwrap_err();
        let status = |status, retry_after| Refused::Status { status, retry_after };
        assert_eq!(refused("HTTP/1.1 401 Unauthorized\r\n\r\n"), status(401, None));
        assert_eq!(
            refused("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 120\r\n\r\n"),
            status(429, Some(Nanos::from_secs(120)))
        );
        assert_eq!(
            refused("HTTP/1.1 503 No\r\nretry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"),
            status(503, Some(Nanos::from_secs(7)))
        );
        assert_eq!(refused("HTTP/1.1 503 No\r\nRetry-After: soon\r\n\r\n"), status(503, None));
        assert_eq!(
            refused("HTTP/1.1 503 No\r\nRetry-After: 4000000000\r\n\r\n"),
            status(503, Some(RETRY_AFTER_MAX))
        );
    }

    #[test]
    fn what_is_no_upgrade_to_our_request_is_refused() {
        let good = "HTTP/1.1 101 x\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
        let read = |head: &str| opening().read_answer(format!("{head}\r\n").as_bytes(), NOW);
        assert!(matches!(read(good), Ok(Some(_))));
        for (bad, why) in [
            (good.replace("WebSocket\r", "h2c\r"), "Upgrade: websocket"),
            (good.replace(", Upgrade", ""), "Connection: Upgrade"),
            (good.replace("s3p", "S3p"), "of our key"),
            (format!("{good}Sec-WebSocket-Extensions: permessage-deflate\r\n"), "extension"),
            (format!("{good}Sec-WebSocket-Protocol: x\r\n"), "subprotocol"),
            ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), ""),
            (format!("{good}X: {}\r\n", "x".repeat(ANSWER_BYTES_MAX)), "16 KiB"),
        ] {
            let Err(Refused::Invalid(text)) = read(&bad) else { panic!("{bad} was taken") };
            assert!(text.contains(why), "{bad}: {text}");
        }
        let endless = "HTTP/1.1 101 x\r\nX: ".to_owned() + &"x".repeat(ANSWER_BYTES_MAX);
        assert!(matches!(opening().read_answer(endless.as_bytes(), NOW), Err(Refused::Invalid(_))));
    }
}
