//! Alpaca: `connected`, then a key and its secret, then lists of symbols by channel, answered by all that is subscribed to.
//!
//! Source: <https://docs.alpaca.markets/docs/streaming-market-data>. Most accounts have one connection; one more is refused with 406. The key
//! must come within 10 s. 402 is a wrong key, 404 a late one, 405 too many symbols, 409 a channel that was not bought.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::model::{Nanos, Symbol};

use super::{Answer, Ask, Class, Key, Session, SessionOptions, SessionRow, begins_with_word, shown};

pub(super) const ROW: SessionRow = SessionRow {
    name: "alpaca",
    channels: &[
        ("trades", Class::Trades),
        ("quotes", Class::Quotes),
        ("bars", Class::Bars),
        ("updatedBars", Class::Bars),
        ("dailyBars", Class::Bars),
        ("statuses", Class::Other),
        ("lulds", Class::Other),
    ],
    channels_default: &["trades"],
    url_default: "wss://stream.data.alpaca.markets/v2/sip",
    key: Key::Two("APCA_API_KEY_ID", "APCA_API_SECRET_KEY"),
    // Plans differ, down to 30 symbols; the vendor's own answer, 405, is what counts.
    streams_max: 40_000,
    // About 2 KiB a message, where 16 KiB are the most the vendor reads.
    params_max: 200,
    has_wildcard: true,
    spacing: Nanos::ZERO,
    lifetime: None,
    open: |options| Box::new(Alpaca { options: options.clone(), held: BTreeSet::new() }),
};

/// How far into a message the mark of a control message can be.
const PEEK_BYTES: usize = 32;

struct Alpaca {
    options: SessionOptions,
    /// What the vendor last said it sends of the main channel.
    held: BTreeSet<String>,
}

impl Session for Alpaca {
    fn open(&mut self, _answers: &mut Vec<Answer>) {
        self.held.clear();
    }

    fn is_control(&self, text: &[u8]) -> bool {
        if text.strip_prefix(b"[{\"T\":\"").is_some_and(|kind| kind.get(1) == Some(&b'"')) {
            return false;
        }
        [b"\"success\"".as_slice(), b"\"error\"", b"\"subscription\""]
            .iter()
            .any(|word| begins_with_word(text, PEEK_BYTES, word))
    }

    fn control(&mut self, text: &[u8], answers: &mut Vec<Answer>) -> bool {
        let elements = serde_json::from_slice::<Vec<Value>>(text).unwrap_or_default();
        for element in &elements {
            let message = element["msg"].as_str().unwrap_or("");
            match element["T"].as_str() {
                Some("success") if message == "connected" => {
                    let auth = serde_json::json!({
                        "action": "auth",
                        "key": self.options.key.0,
                        "secret": self.options.secret.0,
                    });
                    answers.push(Answer::Say(auth.to_string().into_bytes()));
                }
                Some("success") if message == "authenticated" => answers.push(Answer::Ready),
                Some("subscription") => self.subscription(element, answers),
                Some("error") => {
                    let code = element["code"].as_i64().unwrap_or(0);
                    let text = shown(&format!("{code}: {message}"));
                    answers.push(match code {
                        401 | 402 | 404 => Answer::AuthFailed(text),
                        406 => Answer::TooMany(text),
                        405 | 409 => Answer::RefusedOther(text),
                        _ => Answer::Trouble(text),
                    });
                }
                _ => {}
            }
        }
        true
    }

    fn request(&mut self, ask: Ask, symbols: &[Symbol]) -> Vec<u8> {
        let names: Vec<_> = symbols.iter().map(Symbol::as_str).collect();
        let mut request = serde_json::json!({ "action": ask.word() });
        for (channel, _) in &self.options.channels {
            request[channel] = serde_json::json!(names);
        }
        request.to_string().into_bytes()
    }
}

impl Alpaca {
    fn subscription(&mut self, element: &Value, answers: &mut Vec<Answer>) {
        let Some(list) = element[self.options.main_name()].as_array() else { return };
        let now: BTreeSet<_> = list.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
        let symbols = |names: BTreeSet<&String>| {
            names.into_iter().filter_map(|name| Symbol::or_every(name.as_bytes()).ok()).collect::<Vec<_>>()
        };
        let held = symbols(now.iter().collect());
        let left = symbols(self.held.difference(&now).collect());
        answers.extend(held.into_iter().map(Answer::Held));
        answers.extend(left.into_iter().map(Answer::Left));
        self.held = now;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Secret;
    use super::*;

    fn session() -> Alpaca {
        let options = SessionOptions {
            key: Secret("key".to_owned()),
            secret: Secret("secret".to_owned()),
            channels: vec![("trades".to_owned(), Class::Trades), ("bars".to_owned(), Class::Bars)],
        };
        Alpaca { options, held: BTreeSet::new() }
    }

    #[test]
    fn the_conversation_is_the_documented_one() {
        let mut session = session();
        let mut answers = Vec::new();
        let mut told = |session: &mut Alpaca, text: &str| {
            assert!(session.is_control(text.as_bytes()), "{text}");
            assert!(session.control(text.as_bytes(), &mut answers));
            std::mem::take(&mut answers)
        };
        let [a, b] = ["AAPL", "MSFT"].map(|name| Symbol::new(name.as_bytes()).unwrap());
        let auth = br#"{"action":"auth","key":"key","secret":"secret"}"#.to_vec();
        assert_eq!(told(&mut session, r#"[{"T":"success","msg":"connected"}]"#), [Answer::Say(auth)]);
        assert_eq!(told(&mut session, r#"[{"T":"success","msg":"authenticated"}]"#), [Answer::Ready]);
        let request = session.request(Ask::Subscribe, &[a, b]);
        assert_eq!(request, br#"{"action":"subscribe","bars":["AAPL","MSFT"],"trades":["AAPL","MSFT"]}"#);
        let both = r#"[{"T":"subscription","trades":["AAPL","MSFT"],"quotes":[],"bars":["AAPL"]}]"#;
        assert_eq!(told(&mut session, both), [Answer::Held(a), Answer::Held(b)]);
        let one = r#"[{"T":"subscription","trades":["MSFT"],"quotes":[],"bars":[]}]"#;
        assert_eq!(told(&mut session, one), [Answer::Held(b), Answer::Left(a)]);
    }

    #[test]
    fn each_error_has_its_meaning() {
        let mut session = session();
        let mut told = |code: i64| {
            let mut answers = Vec::new();
            session.control(format!(r#"[{{"T":"error","code":{code},"msg":"x"}}]"#).as_bytes(), &mut answers);
            answers.remove(0)
        };
        assert!(matches!(told(402), Answer::AuthFailed(_)));
        assert!(matches!(told(406), Answer::TooMany(_)));
        assert!(matches!(told(409), Answer::RefusedOther(_)));
        assert!(matches!(told(500), Answer::Trouble(_)));
    }

    #[test]
    fn data_is_not_taken_for_a_control_message() {
        assert!(!session().is_control(br#"[{"T":"t","i":96921,"S":"AAPL","x":"D","p":126.55,"s":1}]"#));
    }
}
