//! What happens at the venue, before any protocol writes it.

/// A sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sale {
    /// Its place in the table of symbols.
    pub symbol: usize,
    /// When, ms since 1970 by the venue's clock.
    pub at_ms: i64,
    /// Billionths.
    pub price: i128,
    /// Billionths.
    pub size: i128,
    /// Unique within the symbol and its day.
    pub id: String,
    /// Ascends within the symbol.
    pub sequence: u64,
    /// The exchange, by the vendor's number; 0 unknown.
    pub venue: u8,
    /// 1 to 3; 0 unknown.
    pub tape: u8,
    /// The vendor's codes; none is a regular sale.
    pub conditions: Vec<u8>,
    /// The buyer's order was there first.
    pub buyer_is_maker: bool,
}

/// A new top of the book. Prices and sizes in billionths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// Its place in the table of symbols.
    pub symbol: usize,
    /// When, ms since 1970 by the venue's clock.
    pub at_ms: i64,
    /// Ascends within the symbol.
    pub sequence: u64,
    /// Price and size.
    pub bid: (i128, i128),
    /// Price and size.
    pub ask: (i128, i128),
}

/// One of those, or a message of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A sale.
    Sale(Sale),
    /// A quote.
    Quote(Quote),
    /// A recorded message, sent as it was.
    Verbatim {
        /// The stream it belongs to: `btcusdt@trade`.
        stream: String,
        /// Its payload.
        text: String,
        /// The sale it tells of, if it does.
        sale: Option<Sale>,
    },
}

/// Where ticks come from: a generator or a recording. Times are of the venue's clock, in ms since 1970.
pub trait Source: Send {
    /// Appends all that is due up to and with `now_ms`, in order.
    fn take_until(&mut self, now_ms: i64, out: &mut Vec<Event>);
    /// Nothing further will come.
    fn is_over(&self) -> bool;
}

/// The names of all symbols; [`Sale::symbol`] is a place in it.
#[derive(Debug, Default)]
pub struct Symbols {
    names: Vec<String>,
    places: std::collections::HashMap<String, usize>,
}

impl Symbols {
    /// The place of a name, which is added where it is new.
    pub fn place(&mut self, name: &str) -> usize {
        if let Some(&place) = self.places.get(name) {
            return place;
        }
        self.names.push(name.to_owned());
        self.places.insert(name.to_owned(), self.names.len() - 1);
        self.names.len() - 1
    }

    /// The place of a name that is there.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// The name at a place.
    pub fn name(&self, place: usize) -> &str {
        self.names.get(place).map_or("", String::as_str)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.names.len()
    }
}
