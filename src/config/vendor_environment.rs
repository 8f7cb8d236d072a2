//! The environment of an earlier system that had up to three connections to Massive, as settings of a `[[feed]]`.
//!
//! | variable | means |
//! |---|---|
//! | `USE_MASSIVE_API` | there is a feed of Massive's; the file's, or a new one called `massive` |
//! | `MASSIVE_API_KEY` | its key |
//! | `USE_MULTI_CONNECTION` | it has the members that follow; otherwise one, the first of them or what the file says |
//! | `WEBSOCKET_CONNECTIONS_MAX` | its `connections_max`; 3 where nothing is said |
//! | `WEBSOCKET_CONNECTION_n_ENABLED` | there is a member *n*, from 1; earlier ones have a higher priority |
//! | `WEBSOCKET_CONNECTION_n_NAME` | its name |
//! | `WEBSOCKET_CONNECTION_n_UNIVERSE_KEY` | its universe |
//! | `WEBSOCKET_CONNECTION_n_SYMBOLS` | or its symbols, separated by commas |

use crate::feed::pool::MEMBERS_MAX;

use super::connect::MemberSection;
use super::feed::{FeedSection, Texts};
use super::{ConfigError, wrong};

/// What the earlier system's account had.
const CONNECTIONS_MAX: usize = 3;

/// Puts what the environment says in place.
pub(super) fn override_feeds(
    feeds: &mut Vec<FeedSection>,
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<(), ConfigError> {
    if !flag("USE_MASSIVE_API", environment)?.unwrap_or(false) {
        return Ok(());
    }
    let known = feeds.iter().position(|feed| feed.source == "connect" && feed.format == "massive");
    let at = known.unwrap_or_else(|| {
        feeds.push(FeedSection {
            name: Some("massive".to_owned()),
            source: "connect".to_owned(),
            format: "massive".to_owned(),
            ..FeedSection::default()
        });
        feeds.len() - 1
    });
    let feed = &mut feeds[at];
    if let Some(key) = environment("MASSIVE_API_KEY") {
        feed.key = Some(key);
    }
    let several = flag("USE_MULTI_CONNECTION", environment)?.unwrap_or(false);
    let most = match environment("WEBSOCKET_CONNECTIONS_MAX") {
        None => CONNECTIONS_MAX,
        Some(text) => match text.trim().parse() {
            Ok(most) if (1..=MEMBERS_MAX).contains(&most) => most,
            _ => {
                let message = format!("{text:?} is not a whole number between 1 and {MEMBERS_MAX}");
                return Err(wrong("WEBSOCKET_CONNECTIONS_MAX", message));
            }
        },
    };
    let mut members = Vec::new();
    for n in 1..=MEMBERS_MAX {
        let named = |what: &str| format!("WEBSOCKET_CONNECTION_{n}_{what}");
        let set = |what: &str| environment(&named(what)).filter(|text| !text.trim().is_empty());
        let (universe, symbols) = (set("UNIVERSE_KEY"), set("SYMBOLS"));
        // In the mode of one connection the earlier system had no such variables; they are of use all the same.
        let usual = !several && (universe.is_some() || symbols.is_some());
        if !flag(&named("ENABLED"), environment)?.unwrap_or(usual) {
            continue;
        }
        if universe.is_none() && symbols.is_none() {
            let message = format!("is set, but neither {} nor {}", named("UNIVERSE_KEY"), named("SYMBOLS"));
            return Err(wrong(&named("ENABLED"), message));
        }
        let list = |text: String| text.split(',').map(|name| name.trim().to_owned()).collect();
        members.push(MemberSection {
            name: Some(set("NAME").map_or_else(|| format!("connection_{n}"), |name| name.trim().to_owned())),
            // Where both are set the universe is preferred, as it was.
            symbols: if universe.is_none() { symbols.map(list) } else { None },
            universe: universe.map(|key| Texts::One(key.trim().to_owned())),
            priority: Some((MEMBERS_MAX - n) as u8),
        });
        if !several {
            break;
        }
    }
    if several && members.is_empty() {
        let message = "is set, but no WEBSOCKET_CONNECTION_1_ENABLED or further one";
        return Err(wrong("USE_MULTI_CONNECTION", message));
    }
    if !members.is_empty() {
        feed.members = Some(members);
        (feed.symbols, feed.universe, feed.connections) = (None, None, None);
    }
    if several {
        feed.connections_max = Some(most);
    }
    Ok(())
}

fn flag(name: &str, environment: &impl Fn(&str) -> Option<String>) -> Result<Option<bool>, ConfigError> {
    let Some(text) = environment(name) else { return Ok(None) };
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(Some(true)),
        "false" | "0" | "no" | "off" | "" => Ok(Some(false)),
        _ => Err(wrong(name, format!("{text:?} is neither true nor false"))),
    }
}
