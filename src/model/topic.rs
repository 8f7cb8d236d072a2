//! What can be subscribed to, and how a gateway tells a shard of it.

use bytemuck::{Pod, Zeroable};

use super::symbol::SymbolId;

/// A kind of message. Its nature decides its delivery: facts are kept and replayed, states conflate.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Candles: facts when closed or revised, a state while forming.
    Bars = 0,
    /// Sales, cancels and corrections: facts.
    Trades = 1,
    /// Top of book: a state.
    Quotes = 2,
    /// Whether the market is open, and until when: a state.
    Status = 3,
}

impl Channel {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Bars, Self::Trades, Self::Quotes, Self::Status];

    /// As the protocols spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bars => "bars",
            Self::Trades => "trades",
            Self::Quotes => "quotes",
            Self::Status => "status",
        }
    }

    /// Whether it has states alone, and no facts.
    pub const fn is_state(self) -> bool {
        matches!(self, Self::Quotes | Self::Status)
    }

    /// The channel of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.name() == name)
    }

    const fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Bars,
            1 => Self::Trades,
            2 => Self::Quotes,
            _ => Self::Status,
        }
    }
}

/// (channel, symbol, timeframe): what has a sequence of its own. 8 bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct Topic {
    /// The symbol; [`SymbolId::ANY`] in a wildcard [`Interest`].
    pub symbol: SymbolId,
    channel: u8,
    level: u8,
    reserved: [u8; 2],
}

impl Topic {
    /// The bars of one timeframe, by its level in [`super::Timeframes`].
    pub const fn bars(symbol: SymbolId, level: usize) -> Self {
        Self { symbol, channel: Channel::Bars as u8, level: level as u8, reserved: [0; 2] }
    }

    /// The trades of a symbol.
    pub const fn trades(symbol: SymbolId) -> Self {
        Self { symbol, channel: Channel::Trades as u8, level: 0, reserved: [0; 2] }
    }

    /// The quotes of a symbol.
    pub const fn quotes(symbol: SymbolId) -> Self {
        Self { symbol, channel: Channel::Quotes as u8, level: 0, reserved: [0; 2] }
    }

    /// The market status of a symbol.
    pub const fn status(symbol: SymbolId) -> Self {
        Self { symbol, channel: Channel::Status as u8, level: 0, reserved: [0; 2] }
    }

    /// The same channel and timeframe of another symbol.
    #[must_use]
    pub const fn of(mut self, symbol: SymbolId) -> Self {
        self.symbol = symbol;
        self
    }

    /// Its channel.
    pub const fn channel(self) -> Channel {
        Channel::from_byte(self.channel)
    }

    /// Its timeframe's level, 0 where the channel has none.
    pub const fn level(self) -> usize {
        self.level as usize
    }
}

/// What a gateway asks of a shard for one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Join: answer `request` with history after `since` or a snapshot, then go on live.
    Join {
        /// Echoed in every [`super::Event`] of the answer.
        request: u32,
        /// The last sequence the client has.
        since: Option<u64>,
    },
    /// Answer `request` with the current values; live interest stays as it is.
    Snapshot {
        /// Echoed in every event of the answer.
        request: u32,
    },
    /// Answer `request` with the last trades of the symbol, whatever channel the topic is of; live interest stays as it is.
    Trades {
        /// Echoed in every event of the answer.
        request: u32,
        /// How many at most.
        last: u32,
    },
    /// From now on a [`super::Day`] before each fact of this bars topic, until [`Ask::Off`].
    Days,
    /// Nobody behind this gateway wants the topic any more.
    Off,
}

/// One message from a gateway to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    /// Which topic; with [`SymbolId::ANY`], that channel and timeframe of every symbol, present and future.
    pub topic: Topic,
    /// What to do.
    pub ask: Ask,
    /// Whether states (forming bars) are wanted besides facts. Ignored by [`Ask::Off`].
    pub states: bool,
}
