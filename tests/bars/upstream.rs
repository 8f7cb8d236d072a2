//! What is missing, what comes twice and what a vendor says, against slow obvious models.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod gaps;
mod lines;
mod model;
mod rules;
mod vendors;
