//! What clients ask for, carried out.

use std::collections::HashMap;

use crate::model::{Channel, Symbol, SymbolError, SymbolId, Topic};

use super::Gateway;
use super::deliver::ANSWERS_WAIT;
use super::dialect::{self, Delivery, Envelope, Listed, Reply, Request, Since, Symbols};
use super::lane::LANES_MAX;
use super::lengthy::{Leave, Lengthy, Resolve};

impl Gateway {
    /// One text message of a client.
    pub(super) fn on_message(&mut self, slot: u32, text: &str) {
        let Some(connection) = self.connection(slot) else { return };
        let codec = dialect::TABLE[connection.dialect];
        let mut requests = Vec::new();
        codec.parse(text, &self.timeframes, &mut requests);
        self.take_all(slot, requests);
        self.evict_all(ANSWERS_WAIT);
    }

    pub(super) fn on_request(&mut self, slot: u32, envelope: Envelope) {
        let id = envelope.id;
        match envelope.request {
            Request::Subscribe { channel, symbols, levels, delivery, since, trades } => {
                self.subscribe(slot, id, channel, symbols, levels, delivery, since, trades);
            }
            Request::Snapshot { channel, symbols, levels } => self.look(slot, id, channel, symbols, levels),
            Request::Unsubscribe { channel, symbols, levels } => {
                self.unsubscribe(slot, id, channel, &symbols, &levels);
            }
            Request::UnsubscribeAll => {
                let wanted = self.connection(slot).map(|connection| std::mem::take(&mut connection.wanted));
                let topics = wanted.unwrap_or_default().into_keys().collect();
                let leave = Leave { id, channel: None, names: Vec::new(), topics, done: 0 };
                self.take_on(slot, Lengthy::Leave(Box::new(leave)));
            }
            Request::List => self.list(slot, id.as_deref()),
            Request::Acknowledge { action, what } => {
                self.reply(slot, id.as_deref(), &Reply::Acknowledged { action, what });
            }
            Request::Ping => self.reply(slot, id.as_deref(), &Reply::Pong),
            Request::Stats => {
                let figures = self.figures();
                self.reply(slot, id.as_deref(), &Reply::Stats(&figures));
            }
        }
    }

    pub(super) fn reply_error(&mut self, slot: u32, id: Option<&str>, code: &str, message: &str) {
        self.counters.errors += 1;
        self.reply(slot, id, &Reply::Error { code, message });
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one request")]
    fn subscribe(
        &mut self,
        slot: u32,
        id: Option<String>,
        channel: Channel,
        symbols: Symbols,
        levels: Vec<usize>,
        mut delivery: Delivery,
        since: Option<Since>,
        trades: usize,
    ) {
        // Room is checked before any name goes into the table of symbols.
        let most = self.options.subscriptions_max;
        let has = self.connection(slot).map_or(0, |connection| connection.wanted.len());
        let fresh = if symbols.count() * levels.len() + has <= most {
            0
        } else {
            self.count_fresh(slot, channel, &symbols, &levels)
        };
        if fresh + has > most {
            let message = format!(
                "{fresh} more subscriptions on top of {has} are more than the {most} allowed; unsubscribe some, or use \"*\""
            );
            return self.reply_error(slot, id.as_deref(), "too_many_subscriptions", &message);
        }
        // Quotes and status are states altogether; trades have none.
        delivery.forming = channel.is_state() || (channel == Channel::Bars && delivery.forming);
        let Some(terms) = self.terms(slot, &delivery) else {
            let message = format!(
                "throttle_ms, batch_ms and format differ in {LANES_MAX} ways on this connection already, the most allowed; use one of those"
            );
            return self.reply_error(slot, id.as_deref(), "too_many_intervals", &message);
        };
        let resolve = Resolve::new(id, (channel, symbols, levels));
        let delivery = Some(delivery);
        self.take_on(slot, Lengthy::Resolve(Box::new(Resolve { delivery, terms, since, trades, ..resolve })));
    }

    fn count_fresh(&mut self, slot: u32, channel: Channel, symbols: &Symbols, levels: &[usize]) -> usize {
        let ids: Vec<Option<SymbolId>> = match symbols {
            Symbols::All => vec![Some(SymbolId::ANY)],
            Symbols::Named(names) => names.iter().map(|name| self.symbols.table().find(name)).collect(),
        };
        let Some(connection) = self.connection(slot) else { return 0 };
        let known = |id: &Option<SymbolId>, level: usize| {
            id.is_some_and(|id| connection.wanted.contains_key(&topic_of(channel, id, level)))
        };
        ids.iter().map(|id| levels.iter().filter(|&&level| !known(id, level)).count()).sum()
    }

    /// The number of a name. One never heard of is added to the table, or refused where `add` is false.
    pub(super) fn symbol_id(&mut self, name: &Symbol, add: bool) -> Result<SymbolId, (&'static str, String)> {
        if !add {
            return self.symbols.table().find(name).ok_or_else(|| {
                (
                    "unknown_symbol",
                    format!("nothing is known of \"{name}\"; subscribe to be told when there is"),
                )
            });
        }
        self.symbols.intern(name.as_bytes()).map_err(|error| match error {
            SymbolError::TableFull => {
                let most = self.symbols.table().capacity();
                (
                    "symbols_max",
                    format!("\"{name}\" is new, and there are already {most} symbols, the most allowed"),
                )
            }
            other => ("bad_symbol", format!("\"{name}\": {other}")),
        })
    }

    pub(super) fn positions(&mut self, channel: Channel, since: Option<&Since>) -> HashMap<Topic, u64> {
        let Some(since) = since else { return HashMap::new() };
        let table = self.symbols.table();
        let topic = |&(name, level, sequence): &(Symbol, usize, u64)| {
            Some((topic_of(channel, table.find(&name)?, level), sequence))
        };
        since.sequences.iter().filter_map(topic).collect()
    }

    fn look(
        &mut self,
        slot: u32,
        id: Option<String>,
        channel: Channel,
        symbols: Symbols,
        levels: Vec<usize>,
    ) {
        let most = self.options.subscriptions_max;
        let count = symbols.count() * levels.len();
        if count > most {
            let message = format!("{count} snapshots are more than the {most} allowed at once");
            return self.reply_error(slot, id.as_deref(), "too_many_subscriptions", &message);
        }
        let resolve = Resolve::new(id, (channel, symbols, levels));
        self.take_on(slot, Lengthy::Resolve(Box::new(resolve)));
    }

    fn unsubscribe(
        &mut self,
        slot: u32,
        id: Option<String>,
        channel: Channel,
        symbols: &Symbols,
        levels: &[usize],
    ) {
        let names = echo(symbols);
        let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        let ids: Vec<Option<SymbolId>> = match symbols {
            Symbols::All => vec![Some(SymbolId::ANY)],
            Symbols::Named(names) => names.iter().map(|name| self.symbols.table().find(name)).collect(),
        };
        let mut gone = Vec::new();
        for (symbol, name) in ids.into_iter().zip(&names) {
            let before = gone.len();
            let topics =
                symbol.into_iter().flat_map(|id| levels.iter().map(move |&l| topic_of(channel, id, l)));
            gone.extend(topics.filter(|topic| connection.wanted.contains_key(topic)));
            if gone.len() == before {
                let message = format!(
                    "this connection is not subscribed to {} of \"{name}\"; ask for list to see what it has",
                    channel.name()
                );
                return self.reply_error(slot, id.as_deref(), "not_subscribed", &message);
            }
        }
        for topic in &gone {
            connection.wanted.remove(topic);
        }
        let leave = Leave { id, channel: Some(channel), names, topics: gone, done: 0 };
        self.take_on(slot, Lengthy::Leave(Box::new(leave)));
    }

    /// Ends one subscription whose unanswered joins are called off already.
    pub(super) fn leave(&mut self, slot: u32, topic: Topic) {
        if topic.symbol == SymbolId::ANY {
            if let Some(kind) = self.topics.kind(topic) {
                self.leave_wild(slot, kind);
            }
            return;
        }
        let Some(row) = self.topics.find(topic) else { return };
        if let Some(id) = self.topics.joined(slot, row) {
            if self.topics.subscription(id).wild.is_some() {
                self.set_terms(id, |subscription| subscription.named = None);
            } else {
                self.topics.detach(id);
            }
        }
        self.settle(row);
    }

    fn list(&mut self, slot: u32, id: Option<&str>) {
        let Some(connection) = self.connection(slot) else { return };
        let wanted: Vec<(Topic, Delivery)> =
            connection.wanted.iter().map(|(&topic, &how)| (topic, how)).collect();
        let names: Vec<Option<Symbol>> =
            wanted.iter().map(|(topic, _)| self.symbols.name(topic.symbol)).collect();
        // A copy, because the reply needs the rest of the gateway while it is encoded.
        let timeframes = self.timeframes.clone();
        let listed: Vec<Listed<'_>> = wanted
            .iter()
            .zip(&names)
            .map(|(&(topic, delivery), name)| Listed {
                channel: topic.channel(),
                symbol: name.as_ref().map_or("*", Symbol::as_str),
                timeframe: (topic.channel() == Channel::Bars).then(|| timeframes.label(topic.level())),
                delivery,
            })
            .collect();
        self.reply(slot, id, &Reply::Subscriptions(&listed));
    }
}

pub(super) fn topic_of(channel: Channel, symbol: SymbolId, level: usize) -> Topic {
    match channel {
        Channel::Bars => Topic::bars(symbol, level),
        Channel::Trades => Topic::trades(symbol),
        Channel::Quotes => Topic::quotes(symbol),
        Channel::Status => Topic::status(symbol),
    }
}

pub(super) fn echo(symbols: &Symbols) -> Vec<String> {
    match symbols {
        Symbols::All => vec!["*".to_owned()],
        Symbols::Named(names) => names.iter().map(Symbol::to_string).collect(),
    }
}
