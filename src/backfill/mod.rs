//! What a feed's stream missed, fetched over the vendor's REST side. Cold: a thread of its own, which may block and be late.

pub mod answer;
pub mod binance;
pub mod client;
pub mod desk;
pub mod massive;
pub mod meter;
pub mod options;
pub mod poll;
pub mod queue;
pub mod tallies;
mod thread;
pub mod vendor;

use crossbeam_channel::{Receiver, Sender as ReportSender};

use crate::model::{Nanos, RestWish, Tick, Timeframes};
use crate::runtime::{Report, Sender};

pub use options::{BaseUrl, BaseUrlError, RestOptions, Secret};
pub use thread::spawn;
pub use vendor::{VENDORS, VendorRow, find};

/// What the thread is to do.
#[derive(Debug, Clone)]
pub struct BackfillOptions {
    /// The REST side of each source that has one, by the source's number. Wishes for other sources are counted and left.
    pub feeds: Vec<(u8, RestOptions)>,
    /// The engine's: the finest that the vendor has is asked for.
    pub timeframes: Timeframes,
    /// How long after its end a bar can still be revised: nothing older is asked for.
    pub seal_after: Nanos,
}

/// What the thread is joined to.
pub struct Lines {
    /// What it is asked for. It ends when all senders of this have gone.
    pub wishes: Receiver<RestWish>,
    /// The bars it got, each as the two ticks of an [`UpstreamBar`](crate::model::UpstreamBar) in a row. Where the ring is
    /// full it waits.
    pub answers: Sender<Tick>,
    /// What it counted, about once a second, as `rest.<feed>.<counter>`. Where this is full that period is skipped.
    pub reports: ReportSender<Report>,
}
