//! What clients ask for, carried out.

use std::collections::HashMap;

use crate::model::{Channel, Symbol, SymbolError, SymbolId, Topic};

use super::Gateway;
use super::dialect::{self, Delivery, Envelope, Listed, Reply, Request, Since, Symbols};
use super::join::{Plan, Wish};
use super::lane::LANES_MAX;
use super::topics::Terms;

impl Gateway {
    /// One text message of a client.
    pub(super) fn on_message(&mut self, slot: u32, text: &str) {
        let Some(connection) = self.connection(slot) else { return };
        let codec = dialect::TABLE[connection.dialect];
        let mut requests = Vec::new();
        codec.parse(text, &self.timeframes, &mut requests);
        for parsed in requests {
            match parsed {
                Ok(envelope) => self.on_request(slot, envelope),
                Err(error) => self.reply_error(slot, error.id.as_deref(), error.code, &error.message),
            }
        }
        while let Some(slot) = self.evictions.pop() {
            self.evict(slot, "too many answers wait for this client");
        }
    }

    fn on_request(&mut self, slot: u32, envelope: Envelope) {
        let id = envelope.id;
        match envelope.request {
            Request::Subscribe { channel, symbols, levels, delivery, since, trades } => {
                self.subscribe(slot, id, channel, &symbols, &levels, delivery, since, trades);
            }
            Request::Snapshot { channel, symbols, levels } => self.look(slot, id, channel, &symbols, &levels),
            Request::Unsubscribe { channel, symbols, levels } => {
                self.unsubscribe(slot, id.as_deref(), channel, &symbols, &levels);
            }
            Request::UnsubscribeAll => {
                self.flush_facts(slot);
                let wanted = self.connection(slot).map(|connection| std::mem::take(&mut connection.wanted));
                for topic in wanted.unwrap_or_default().into_keys() {
                    self.leave(slot, topic);
                }
                self.reply(slot, id.as_deref(), &Reply::Unsubscribed { channel: None, symbols: &[] });
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
        symbols: &Symbols,
        levels: &[usize],
        mut delivery: Delivery,
        since: Option<Since>,
        trades: usize,
    ) {
        // Room is checked before any name goes into the table of symbols.
        let most = self.options.subscriptions_max;
        let has = self.connection(slot).map_or(0, |connection| connection.wanted.len());
        let names = match symbols {
            Symbols::All => 1,
            Symbols::Named(names) => names.len(),
        };
        let fresh = if names * levels.len() + has <= most {
            0
        } else {
            self.count_fresh(slot, channel, symbols, levels)
        };
        if fresh + has > most {
            let message = format!(
                "{fresh} more subscriptions on top of {has} are more than the {most} allowed; unsubscribe some, or use \"*\""
            );
            return self.reply_error(slot, id.as_deref(), "too_many_subscriptions", &message);
        }
        // Quotes are states altogether; trades have none.
        delivery.forming = channel == Channel::Quotes || (channel == Channel::Bars && delivery.forming);
        let Some(terms) = self.terms(slot, &delivery) else {
            let message = format!(
                "throttle_ms, batch_ms and format differ in {LANES_MAX} ways on this connection already, the most allowed; use one of those"
            );
            return self.reply_error(slot, id.as_deref(), "too_many_intervals", &message);
        };
        let topics = match self.resolve(channel, symbols, levels, true) {
            Ok(topics) => topics,
            Err((code, message)) => return self.reply_error(slot, id.as_deref(), code, &message),
        };
        let ours = since.as_ref().is_some_and(|since| since.epoch == self.epoch);
        let positions = self.positions(channel, since.as_ref());
        let recovered = (since.is_some() && !(ours && positions.is_empty())).then_some(ours);
        let since = |topic: &Topic| positions.get(topic).copied().filter(|_| ours);
        let wishes = topics.iter().map(|&topic| Wish { topic, since: since(&topic) }).collect();
        let Some(connection) = self.connection(slot) else { return };
        connection.wanted.extend(topics.into_iter().map(|topic| (topic, delivery)));
        let plan =
            Plan { id, look: false, channel, symbols: echo(symbols), wishes, terms, recovered, trades };
        self.begin_join(slot, plan);
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

    /// The topics a request names. A name never heard of is added to the table, or refused where `add` is false.
    fn resolve(
        &mut self,
        channel: Channel,
        symbols: &Symbols,
        levels: &[usize],
        add: bool,
    ) -> Result<Vec<Topic>, (&'static str, String)> {
        let ids = match symbols {
            Symbols::All => vec![SymbolId::ANY],
            Symbols::Named(names) => {
                names.iter().map(|name| self.symbol_id(name, add)).collect::<Result<Vec<_>, _>>()?
            }
        };
        Ok(ids.iter().flat_map(|&id| levels.iter().map(move |&level| topic_of(channel, id, level))).collect())
    }

    fn symbol_id(&mut self, name: &Symbol, add: bool) -> Result<SymbolId, (&'static str, String)> {
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

    fn positions(&mut self, channel: Channel, since: Option<&Since>) -> HashMap<Topic, u64> {
        let Some(since) = since else { return HashMap::new() };
        let table = self.symbols.table();
        let topic = |&(name, level, sequence): &(Symbol, usize, u64)| {
            Some((topic_of(channel, table.find(&name)?, level), sequence))
        };
        since.sequences.iter().filter_map(topic).collect()
    }

    fn look(&mut self, slot: u32, id: Option<String>, channel: Channel, symbols: &Symbols, levels: &[usize]) {
        let most = self.options.subscriptions_max;
        let topics = match self.resolve(channel, symbols, levels, false) {
            Ok(topics) if topics.len() <= most => topics,
            Ok(topics) => {
                let message = format!("{} snapshots are more than the {most} allowed at once", topics.len());
                return self.reply_error(slot, id.as_deref(), "too_many_subscriptions", &message);
            }
            Err((code, message)) => return self.reply_error(slot, id.as_deref(), code, &message),
        };
        let wishes = topics.into_iter().map(|topic| Wish { topic, since: None }).collect();
        let plan = Plan {
            id,
            look: true,
            channel,
            symbols: echo(symbols),
            wishes,
            terms: Terms::plain(true),
            recovered: None,
            trades: 0,
        };
        self.begin_join(slot, plan);
    }

    fn unsubscribe(
        &mut self,
        slot: u32,
        id: Option<&str>,
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
                return self.reply_error(slot, id, "not_subscribed", &message);
            }
        }
        for topic in &gone {
            connection.wanted.remove(topic);
        }
        self.flush_facts(slot);
        for topic in gone {
            self.leave(slot, topic);
        }
        self.reply(slot, id, &Reply::Unsubscribed { channel: Some(channel), symbols: &names });
    }

    /// Ends one subscription, joined or not yet.
    fn leave(&mut self, slot: u32, topic: Topic) {
        self.cancel_joins(slot, topic);
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

fn topic_of(channel: Channel, symbol: SymbolId, level: usize) -> Topic {
    match channel {
        Channel::Bars => Topic::bars(symbol, level),
        Channel::Trades => Topic::trades(symbol),
        Channel::Quotes => Topic::quotes(symbol),
    }
}

fn echo(symbols: &Symbols) -> Vec<String> {
    match symbols {
        Symbols::All => vec!["*".to_owned()],
        Symbols::Named(names) => names.iter().map(Symbol::to_string).collect(),
    }
}
