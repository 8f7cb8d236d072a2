//! What every core is made of: a clock, a loop, rings, a socket seam and measurements. It knows nothing of markets.

pub mod clock;
pub mod core;
pub mod memory;
pub mod metrics;
pub mod park;
pub mod resolver;
pub mod ring;
pub mod stage;
pub mod tls;
pub mod transport;
pub mod websocket;

mod sync {
    //! The atomics of the parking protocol, in one place so that a model checker can stand in for them.
    pub use std::sync::atomic::{AtomicBool, Ordering, fence};
}

pub use clock::Clock;
pub use metrics::{Latency, Report};
pub use park::Bell;
pub use ring::{Receiver, Sender, ring, warm};
pub use stage::{Stage, Turned};
pub use transport::{Listener, Ready, Registrar, Stream};
