//! The words of the engine as plain `Copy` records, their layouts asserted.

pub mod bar;
pub mod calendar;
pub mod decimal;
pub mod event;
pub mod price;
pub mod rest;
pub mod symbol;
pub mod tick;
pub mod time;
pub mod timeframe;
pub mod topic;
pub mod upstream;

pub use bar::{Bar, BarFlags, BarState, Reason};
pub use event::{Day, Event, EventKind, Quote};
pub use price::{NOTIONAL_MAX, Notional, Price, Size, Volume};
pub use rest::RestWish;
pub use symbol::{Symbol, SymbolCache, SymbolError, SymbolId, SymbolTable};
pub use tick::{IdForm, Tick, TickKind, TradeId, Venue};
pub use time::{Nanos, UnixNanos};
pub use timeframe::{Timeframe, Timeframes};
pub use topic::{Ask, Channel, Interest, Topic};
pub use upstream::{BarOrigin, UpstreamBar};
