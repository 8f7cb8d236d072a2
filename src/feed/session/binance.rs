//! Binance: no key; requests with numbers, each answered by its number.
//!
//! Sources: <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams> and
//! <https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams>: spot takes 5 messages a second, pings
//! and pongs included, and futures 10; 1,024 streams a connection; it pings every 20 s (futures: 3 min); a connection ends
//! after 24 h; stream names are lower case. A second unsubscribe of the same stream may end in 1008, so none is ever sent.

use std::collections::VecDeque;

use serde::Deserialize;

use crate::model::{Nanos, Symbol};

use super::{Answer, Ask, Class, Key, Session, SessionOptions, SessionRow, begins_with_word, shown};

pub(super) const ROW: SessionRow = SessionRow {
    name: "binance",
    channels: &[
        ("trade", Class::Trades),
        ("aggTrade", Class::Aggregated),
        ("kline_*", Class::Bars),
        ("bookTicker", Class::Quotes),
    ],
    channels_default: &["trade"],
    url_default: "wss://stream.binance.com:9443/stream",
    key: Key::None,
    streams_max: 1_024,
    // About 3 KiB a message.
    params_max: 200,
    has_wildcard: false,
    // 3.3 messages a second leave room for the pongs that the same limit counts.
    spacing: Nanos::from_millis(300),
    // Half an hour before the vendor's 24 h, so that the time is ours to choose.
    lifetime: Some(Nanos::from_secs(23 * 3600 + 1800)),
    open: |options| Box::new(Binance { options: options.clone(), last: 0, asked: VecDeque::new() }),
};

/// How far into a message the mark of an answer can be.
const PEEK_BYTES: usize = 48;
/// Requests whose answers are awaited; older ones are forgotten, and asked again by the pool.
const ASKED_MAX: usize = 256;

struct Binance {
    options: SessionOptions,
    /// The number of the last request.
    last: u64,
    asked: VecDeque<(u64, Ask, Vec<Symbol>)>,
}

#[derive(Deserialize)]
struct Reply {
    id: Option<u64>,
    error: Option<Complaint>,
    // A complaint about a text that could not be read stands alone.
    code: Option<i64>,
    msg: Option<String>,
    e: Option<String>,
}

#[derive(Deserialize)]
struct Complaint {
    code: Option<i64>,
    msg: Option<String>,
}

impl Session for Binance {
    fn open(&mut self, answers: &mut Vec<Answer>) {
        self.asked.clear();
        answers.push(Answer::Ready);
    }

    fn is_control(&self, text: &[u8]) -> bool {
        // Data begins with its stream or its type.
        if text.starts_with(b"{\"stream\"") || text.starts_with(b"{\"u\":") {
            return false;
        }
        [b"\"result\"".as_slice(), b"\"id\"", b"\"error\"", b"\"code\"", b"\"serverShutdown\""]
            .iter()
            .any(|word| begins_with_word(text, PEEK_BYTES, word))
    }

    fn control(&mut self, text: &[u8], answers: &mut Vec<Answer>) -> bool {
        let Ok(reply) = serde_json::from_slice::<Reply>(text) else { return true };
        if reply.e.as_deref() == Some("serverShutdown") {
            answers.push(Answer::Ending("serverShutdown".to_owned()));
            return false;
        }
        let complaint = match (reply.error, reply.code) {
            (Some(error), _) => Some((error.code, error.msg)),
            (None, Some(code)) => Some((Some(code), reply.msg)),
            (None, None) => None,
        };
        let complaint = complaint.map(|(code, text)| {
            let code = code.map_or_else(String::new, |code| format!("{code}: "));
            shown(&format!("{code}{}", text.unwrap_or_default()))
        });
        let request = reply.id.and_then(|id| {
            let at = self.asked.iter().position(|(asked, ..)| *asked == id)?;
            self.asked.remove(at)
        });
        match (request, complaint) {
            (Some((_, Ask::Subscribe, symbols)), None) => {
                answers.extend(symbols.into_iter().map(Answer::Held));
            }
            (Some((_, Ask::Unsubscribe, symbols)), None) => {
                answers.extend(symbols.into_iter().map(Answer::Left));
            }
            (Some((_, Ask::Subscribe, symbols)), Some(why)) => {
                answers.extend(symbols.into_iter().map(|symbol| Answer::Refused(symbol, why.clone())));
            }
            (_, Some(why)) => answers.push(Answer::Trouble(why)),
            (None, None) => {}
        }
        false
    }

    fn request(&mut self, ask: Ask, symbols: &[Symbol]) -> Vec<u8> {
        self.last += 1;
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back((self.last, ask, symbols.to_vec()));
        let method = ask.word().to_ascii_uppercase();
        let channels = &self.options.channels;
        let streams: Vec<_> = symbols
            .iter()
            .flat_map(|symbol| {
                let name = symbol.as_str().to_ascii_lowercase();
                channels.iter().map(move |(channel, _)| format!("\"{name}@{channel}\""))
            })
            .collect();
        format!(r#"{{"method":"{method}","params":[{}],"id":{}}}"#, streams.join(","), self.last).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Secret;
    use super::*;

    fn session() -> Binance {
        let options = SessionOptions {
            key: Secret::default(),
            secret: Secret::default(),
            channels: vec![("trade".to_owned(), Class::Trades), ("bookTicker".to_owned(), Class::Quotes)],
        };
        Binance { options, last: 0, asked: VecDeque::new() }
    }

    #[test]
    fn an_answer_is_matched_with_its_request_by_number() {
        let mut session = session();
        let [btc, eth] = ["BTCUSDT", "ETHUSDT"].map(|name| Symbol::new(name.as_bytes()).unwrap());
        let first = session.request(Ask::Subscribe, &[btc]);
        assert_eq!(
            first,
            br#"{"method":"SUBSCRIBE","params":["btcusdt@trade","btcusdt@bookTicker"],"id":1}"#
        );
        session.request(Ask::Subscribe, &[eth]);
        session.request(Ask::Unsubscribe, &[btc]);
        let mut answers = Vec::new();
        for text in [
            r#"{"result":null,"id":2}"#,
            r#"{"error":{"code":2,"msg":"Invalid request"},"id":1}"#,
            r#"{"result":null,"id":3}"#,
            r#"{"result":null,"id":2}"#,
            r#"{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"}"#,
        ] {
            assert!(session.is_control(text.as_bytes()), "{text}");
            assert!(!session.control(text.as_bytes(), &mut answers));
        }
        let expected = [
            Answer::Held(eth),
            Answer::Refused(btc, "2: Invalid request".to_owned()),
            Answer::Left(btc),
            Answer::Trouble("3: Invalid JSON: expected value at line 1 column 1".to_owned()),
        ];
        assert_eq!(answers, expected);
    }

    #[test]
    fn data_is_not_taken_for_a_control_message() {
        let session = session();
        for text in [
            r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1,"s":"BTCUSDT","t":1,"p":"1","q":"1"}}"#,
            r#"{"e":"trade","E":1723161255342,"s":"BTCUSDT","t":3729146345,"p":"61717.60"}"#,
            r#"{"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000"}"#,
            r#"{"e":"kline","E":1672515782136,"s":"BNBBTC","k":{"t":1672515780000}}"#,
        ] {
            assert!(!session.is_control(text.as_bytes()), "{text}");
        }
    }
}
