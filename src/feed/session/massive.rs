//! Massive (once Polygon.io): `connected`, then a key, then comma-separated parameters such as `T.AAPL`.
//!
//! Sources: <https://massive.com/docs/websocket/quickstart> for the messages; its knowledge base for the limits: one connection
//! an account and cluster unless more were bought, any number of symbols on it. At the limit the *older* connection gets
//! `max_connections` and is closed, after the newer one's whole handshake. A real server answers each parameter
//! with a status of its own. Very long requests were seen to close the connection (polygon-io/issues #44), so they are sent in pieces.

use serde::Deserialize;

use crate::model::{Nanos, Symbol};

use super::{Answer, Ask, Class, Key, Session, SessionOptions, SessionRow, begins_with_word, shown};

pub(super) const ROW: SessionRow = SessionRow {
    name: "massive",
    channels: &[
        ("T", Class::Trades),
        ("Q", Class::Quotes),
        ("A", Class::Bars),
        ("AM", Class::Bars),
        ("LULD", Class::Other),
    ],
    channels_default: &["T"],
    url_default: "wss://socket.massive.com/stocks",
    key: Key::One("MASSIVE_API_KEY"),
    // The vendor names none; all US stocks are about 12,000 and have three channels of use.
    streams_max: 40_000,
    // About 1 KiB a message.
    params_max: 100,
    has_wildcard: true,
    spacing: Nanos::ZERO,
    lifetime: None,
    open: |options| Box::new(Massive { options: options.clone() }),
};

/// How far into a message the mark of a status can be.
const PEEK_BYTES: usize = 64;

struct Massive {
    options: SessionOptions,
}

#[derive(Deserialize)]
struct Status {
    ev: Option<String>,
    status: Option<String>,
    message: Option<String>,
}

impl Session for Massive {
    fn open(&mut self, _answers: &mut Vec<Answer>) {}

    fn is_control(&self, text: &[u8]) -> bool {
        match text.strip_prefix(b"[{\"ev\":\"") {
            Some(event) => event.starts_with(b"status\""),
            None => begins_with_word(text, PEEK_BYTES, b"\"status\""),
        }
    }

    fn control(&mut self, text: &[u8], answers: &mut Vec<Answer>) -> bool {
        // Elements of other types, or that are no objects, are the dialect's to judge.
        if let Ok(elements) = serde_json::from_slice::<Vec<serde_json::Value>>(text) {
            for element in elements {
                match serde_json::from_value::<Status>(element) {
                    Ok(status) if status.ev.as_deref() == Some("status") => self.status(&status, answers),
                    _ => {}
                }
            }
        }
        true
    }

    fn request(&mut self, ask: Ask, symbols: &[Symbol]) -> Vec<u8> {
        let action = ask.word();
        let channels = &self.options.channels;
        let params: Vec<_> = symbols
            .iter()
            .flat_map(|symbol| channels.iter().map(move |(channel, _)| format!("{channel}.{symbol}")))
            .collect();
        // Neither a channel nor a symbol has a byte that JSON escapes.
        format!(r#"{{"action":"{action}","params":"{}"}}"#, params.join(",")).into_bytes()
    }
}

impl Massive {
    fn status(&self, status: &Status, answers: &mut Vec<Answer>) {
        let message = status.message.as_deref().unwrap_or("");
        match status.status.as_deref().unwrap_or("") {
            "connected" => {
                let auth = serde_json::json!({"action": "auth", "params": self.options.key.0});
                answers.push(Answer::Say(auth.to_string().into_bytes()));
            }
            "auth_success" => answers.push(Answer::Ready),
            "auth_failed" | "auth_timeout" => answers.push(Answer::AuthFailed(shown(message))),
            "max_connections" => answers.push(Answer::TooMany(shown(message))),
            "success" => match message.split_once(':') {
                Some((what, params)) if what.starts_with("unsubscribed") => {
                    answers.extend(self.mains(params).map(Answer::Left));
                }
                Some((what, params)) if what.starts_with("subscribed") => {
                    answers.extend(self.mains(params).map(Answer::Held));
                }
                _ => {}
            },
            other => {
                let before = answers.len();
                let text = shown(&format!("{other}: {message}"));
                let refused = message.contains("not authorized") || message.contains("not entitled");
                if refused || other == "error" {
                    answers.extend(self.mains(message).map(|symbol| Answer::Refused(symbol, text.clone())));
                }
                if answers.len() == before {
                    answers.push(if refused { Answer::RefusedOther(text) } else { Answer::Trouble(text) });
                }
            }
        }
    }

    /// The symbols whose main channel a text names.
    fn mains<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Symbol> + 'a {
        let main = self.options.main_name();
        text.split([',', ' ', ':']).filter_map(move |param| {
            let (channel, symbol) = param.trim_end_matches(['.', '!', ')']).split_once('.')?;
            if channel.trim_start_matches('(') == main {
                Symbol::or_every(symbol.as_bytes()).ok()
            } else {
                None
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Secret;
    use super::*;

    fn session() -> Massive {
        Massive {
            options: SessionOptions {
                key: Secret("k\"ey".to_owned()),
                secret: Secret::default(),
                channels: vec![("Q".to_owned(), Class::Quotes), ("T".to_owned(), Class::Trades)],
            },
        }
    }

    fn answers(text: &str) -> Vec<Answer> {
        let mut answers = Vec::new();
        let mut session = session();
        assert!(session.is_control(text.as_bytes()));
        session.control(text.as_bytes(), &mut answers);
        answers
    }

    fn symbol(name: &str) -> Symbol {
        Symbol::new(name.as_bytes()).unwrap()
    }

    #[test]
    fn the_conversation_is_the_documented_one() {
        let connected = r#"[{"ev":"status","status":"connected","message":"Connected Successfully"}]"#;
        assert_eq!(answers(connected), [Answer::Say(br#"{"action":"auth","params":"k\"ey"}"#.to_vec())]);
        let success = r#"[{"ev":"status","status":"auth_success","message":"authenticated"}]"#;
        assert_eq!(answers(success), [Answer::Ready]);
        let text = session().request(Ask::Subscribe, &[symbol("AAPL"), symbol("BRK.B")]);
        assert_eq!(text, br#"{"action":"subscribe","params":"Q.AAPL,T.AAPL,Q.BRK.B,T.BRK.B"}"#);
        let held = r#"[{"ev":"status","status":"success","message":"subscribed to: T.BRK.B"},
            {"ev":"status","status":"success","message":"subscribed to: Q.BRK.B"}]"#;
        assert_eq!(answers(held), [Answer::Held(symbol("BRK.B"))]);
        let left = r#"[{"ev":"status","status":"success","message":"unsubscribed to: T.AAPL"}]"#;
        assert_eq!(answers(left), [Answer::Left(symbol("AAPL"))]);
    }

    #[test]
    fn what_is_refused_is_named() {
        let failed = r#"[{"ev":"status","status":"auth_failed","message":"authentication failed"}]"#;
        assert_eq!(answers(failed), [Answer::AuthFailed("authentication failed".to_owned())]);
        let many = r#"[{"ev":"status","status":"max_connections","message":"Maximum number of connections exceeded."}]"#;
        assert!(matches!(&answers(many)[..], [Answer::TooMany(_)]));
        let refused =
            r#"[{"ev":"status","status":"error","message":"not authorized to subscribe to: T.AAPL"}]"#;
        assert!(matches!(&answers(refused)[..], [Answer::Refused(who, _)] if *who == symbol("AAPL")));
        let other =
            r#"[{"ev":"status","status":"error","message":"not authorized to subscribe to: Q.AAPL"}]"#;
        assert!(matches!(&answers(other)[..], [Answer::RefusedOther(text)] if text.contains("Q.AAPL")));
    }

    #[test]
    fn data_is_not_taken_for_a_control_message() {
        let session = session();
        assert!(
            !session.is_control(br#"[{"ev":"T","sym":"AAPL","x":11,"i":"1","z":3,"p":1.5,"s":1,"t":1}]"#)
        );
        assert!(!session.is_control(br#"[{"ev":"AM","sym":"AAPL","v":4110,"av":9470157,"op":0.4372}]"#));
    }
}
