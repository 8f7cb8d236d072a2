//! How ticks come in: read from text, taken from files and sockets, fetched from vendors; and sent again.

mod backfill;
mod feed;
mod feed_client;
mod feed_speed;
mod feed_vendors;
mod ingest;
mod ingest_live;
mod pool;
mod replay;
