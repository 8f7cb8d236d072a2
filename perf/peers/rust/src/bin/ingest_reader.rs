//! A reader of ticks as one writes it today: tokio on one thread, tokio-tungstenite or lines, serde_json into a struct, and the
//! last price and the volume of each symbol in a map.
//!
//! `ingest_reader tcp-listen|ws-listen|URL`: takes one connection and prints its port first, or connects to a venue of Massive; at
//! the end it prints how many trades there were.

use std::collections::HashMap;

use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, connect_async};

type Failure = Box<dyn std::error::Error>;

/// A trade as Massive writes it; a status has no more than its type.
#[derive(Deserialize)]
struct Event<'a> {
    ev: &'a str,
    #[serde(default)]
    sym: &'a str,
    #[serde(default)]
    p: f64,
    #[serde(default)]
    s: f64,
    #[serde(default)]
    t: i64,
    #[serde(default)]
    q: u64,
    #[serde(default)]
    i: &'a str,
    #[serde(default)]
    x: u8,
    #[serde(default)]
    z: u8,
    #[serde(default)]
    c: Vec<u8>,
}

#[derive(Default)]
struct Last {
    price: f64,
    volume: f64,
    at: i64,
}

#[derive(Default)]
struct Book {
    symbols: HashMap<String, Last>,
    trades: u64,
    odd: u64,
}

impl Book {
    fn take(&mut self, text: &[u8]) {
        let Ok(events) = serde_json::from_slice::<Vec<Event<'_>>>(text) else {
            self.odd += 1;
            return;
        };
        for event in events.iter().filter(|event| event.ev == "T") {
            // All fields are read, as an engine reads them.
            std::hint::black_box((event.q, event.i, event.x, event.z, &event.c));
            let last = match self.symbols.get_mut(event.sym) {
                Some(last) => last,
                None => self.symbols.entry(event.sym.to_owned()).or_default(),
            };
            (last.price, last.at) = (event.p, event.t);
            last.volume += event.s;
            self.trades += 1;
        }
    }
}

async fn read_socket<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>, book: &mut Book) {
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) => book.take(text.as_bytes()),
            Message::Binary(bytes) => book.take(&bytes),
            _ => {}
        }
    }
}

async fn run(what: &str) -> Result<Book, Failure> {
    let mut book = Book::default();
    if what.starts_with("ws://") {
        let (mut socket, _) = connect_async(what).await?;
        for request in [r#"{"action":"auth","params":"k"}"#, r#"{"action":"subscribe","params":"T.*"}"#] {
            socket.send(Message::text(request)).await?;
        }
        read_socket(socket, &mut book).await;
        return Ok(book);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("port {}", listener.local_addr()?.port());
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    if what == "ws-listen" {
        read_socket(accept_async(stream).await?, &mut book).await;
        return Ok(book);
    }
    let (mut lines, mut line) = (BufReader::with_capacity(1 << 16, stream), Vec::new());
    while lines.read_until(b'\n', &mut line).await? > 0 {
        book.take(&line);
        line.clear();
    }
    Ok(book)
}

fn main() -> Result<(), Failure> {
    let what = std::env::args().nth(1).ok_or("it takes tcp-listen, ws-listen or a URL")?;
    let book = tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(&what))?;
    let volume: f64 =
        book.symbols.values().map(|last| last.volume + last.price * 0.0 + last.at as f64 * 0.0).sum();
    println!("{}", serde_json::json!({"accepted": book.trades, "odd": book.odd, "volume": volume}));
    Ok(())
}
