//! The gateway under a manual clock on a network in memory; the test plays the shards through their rings.

mod harness;
mod join;
mod slow;
mod wire;
