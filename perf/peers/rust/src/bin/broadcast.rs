//! A broadcast server as one writes it today: tokio on one thread, tokio-tungstenite, a task a connection, and a broadcast
//! channel between them. Whatever waits for a connection goes out with one flush.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{SinkExt as _, StreamExt as _};
use peers::{Arguments, GO_MAX, SUBSCRIBED, Schedule};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender, channel};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};

/// Messages that a slow connection may be behind before it misses some: about 1 MiB of them, tickwire's bound.
const BEHIND_MAX: usize = 4096;

async fn serve(
    stream: TcpStream,
    mut messages: Receiver<Utf8Bytes>,
    joined: Arc<AtomicUsize>,
) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let (mut sink, mut source) = accept_async(stream).await?.split();
    if source.next().await.is_none() {
        return Ok(());
    }
    sink.send(Message::text(SUBSCRIBED)).await?;
    joined.fetch_add(1, Ordering::Relaxed);
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Ok(text) => {
                    sink.feed(Message::Text(text)).await?;
                    while let Ok(more) = messages.try_recv() {
                        sink.feed(Message::Text(more)).await?;
                    }
                    sink.flush().await?;
                }
                // The load client sees the gap.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            },
            inbound = source.next() => match inbound {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
        }
    }
}

async fn publish(arguments: &Arguments, messages: &Sender<Utf8Bytes>, joined: &AtomicUsize) {
    while joined.load(Ordering::Relaxed) < arguments.connections {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let mut schedule = Schedule::new(arguments.rate);
    let mut text = String::new();
    loop {
        for _ in 0..GO_MAX {
            if !schedule.take(&mut text) {
                break;
            }
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            // It is text that was just written; and without a receiver nobody misses it.
            let _ = Utf8Bytes::try_from(bytes).map(|text| messages.send(text));
        }
        match schedule.wait() {
            wait if wait.is_zero() => tokio::task::yield_now().await,
            wait => tokio::time::sleep(wait).await,
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), String> {
    let listener =
        TcpListener::bind(("127.0.0.1", arguments.port)).await.map_err(|error| error.to_string())?;
    println!("listening");
    let (messages, _) = channel(BEHIND_MAX);
    let joined = Arc::new(AtomicUsize::new(0));
    let accept = async {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, messages.subscribe(), Arc::clone(&joined)));
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = publish(&arguments, &messages, &joined) => {}
        () = tokio::time::sleep(arguments.life) => {}
    }
    Ok(())
}

fn main() -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(run(Arguments::read()?))
}
