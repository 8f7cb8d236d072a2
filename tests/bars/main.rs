//! What shards make of ticks, against slow obvious models.

mod by_hand;
mod calendar;
mod candles;
mod captures;
mod conditions;
mod model;
mod upstream;
mod usual;
