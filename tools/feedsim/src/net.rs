//! Sockets: one listener takes WebSocket upgrades and REST requests alike, plain or by TLS; one takes orders.

use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use socket2::SockRef;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use crate::frames::Reader;
use crate::line::{Dialect, Out, Queue};
use crate::rest::{self, Ask, Outcome};
use crate::venue::{Kindred, Venue};

/// A request's head, bytes.
const HEAD_BYTES_MAX: usize = 65_536;
const HEADERS_MAX: usize = 64;
/// How long a client may take for TLS and its request.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Between the bytes of a slow loris.
const LORIS_PAUSE: Duration = Duration::from_millis(2);
/// So long the first half of a frame has to arrive before the reset.
const BEFORE_RESET: Duration = Duration::from_millis(20);
/// So long a client has to answer a close.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// The venue, shared by the tasks of one thread.
pub type Shared = Arc<Mutex<Venue>>;

/// ms since 1970 by the machine's clock.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The venue for a moment, never across a wait.
pub fn hold(venue: &Shared) -> MutexGuard<'_, Venue> {
    venue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes connections until the end of the process.
pub async fn listen(listener: TcpListener, tls: Option<TlsAcceptor>, venue: Shared) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, tls.clone(), venue.clone()))),
            // Out of descriptors, most likely: they come back.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Takes orders until the end of the process: a line of JSON, an answer of one line.
pub async fn take_orders(listener: TcpListener, venue: Shared) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let venue = venue.clone();
        tokio::spawn(async move {
            let (read, mut write) = stream.into_split();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let answer = hold(&venue).order(&line, now_ms());
                if write.write_all(format!("{answer}\n").as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// A second handle of a socket, to reset it whatever lies above it.
struct Cutter(std::net::TcpStream);

impl Cutter {
    /// The socket ends by a reset as soon as its other handles are gone, and they fail from now on.
    fn cut(self) {
        let _ = SockRef::from(&self.0).set_linger(Some(Duration::ZERO));
        // Not shut down: that would say goodbye first.
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, venue: Shared) {
    let Ok(stream) = stream.into_std() else { return };
    let (Ok(twin), Ok(stream)) = (stream.try_clone(), TcpStream::from_std(stream)) else { return };
    let cutter = Cutter(twin);
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve(stream, "http", cutter, venue).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(HANDSHAKE_MAX, tls.accept(stream)).await {
                serve(stream, "https", cutter, venue).await;
            }
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin>(
    mut stream: S,
    scheme: &str,
    cutter: Cutter,
    venue: Shared,
) {
    let Ok(Some((request, rest))) = timeout(HANDSHAKE_MAX, read_request(&mut stream)).await else { return };
    let Some(key) = &request.websocket_key else {
        let ask = Ask {
            target: request.target.clone(),
            base: format!("{scheme}://{}", request.host),
            authorization: request.authorization,
        };
        return answer(&mut stream, &ask, &venue).await;
    };
    // REST is answered all the same: real venues have a host of its own for it.
    if !hold(&venue).takes(now_ms()) {
        drop(stream);
        return cutter.cut();
    }
    let kindred = hold(&venue).manners.kindred;
    let Some((dialect, streams)) = room(kindred, &request.target) else {
        let _ = stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .await;
        return;
    };
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    if stream.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    let (queue, out) = Queue::new();
    let number = hold(&venue).opened(dialect, &streams, now_ms(), queue.clone());
    let (read, write) = tokio::io::split(stream);
    let reader = tokio::select! {
        reset = write_all(write, out, &queue) => reset,
        () = read_all(read, rest, number, &venue) => false,
        () = queue.kill.notified() => true,
    };
    hold(&venue).closed(number, now_ms());
    if reader {
        cutter.cut();
    } else {
        let _ = cutter.0.shutdown(Shutdown::Write);
    }
}

/// Which words are spoken at a path, and the streams it names.
fn room(kindred: Kindred, target: &str) -> Option<(Dialect, Vec<String>)> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let names = |text: &str| text.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    match kindred {
        Kindred::Massive => (path == "/stocks").then(|| (Dialect::Massive, Vec::new())),
        _ if path == "/stream" => {
            let streams = query.split('&').find_map(|pair| pair.strip_prefix("streams=")).unwrap_or("");
            Some((Dialect::Combined, names(streams)))
        }
        _ => path.strip_prefix("/ws").map(|rest| (Dialect::Raw, names(rest))),
    }
}

struct Request {
    target: String,
    host: String,
    authorization: String,
    websocket_key: Option<String>,
}

/// The request, and what was read past it.
async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<(Request, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if bytes.len() > HEAD_BYTES_MAX || stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(length) = head.parse(&bytes).ok()? else { continue };
        let header = |name: &str| {
            let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            found.map(|header| String::from_utf8_lossy(header.value).into_owned())
        };
        let request = Request {
            target: head.path.unwrap_or("/").to_owned(),
            host: header("host").unwrap_or_default(),
            authorization: header("authorization").unwrap_or_default(),
            websocket_key: header("sec-websocket-key"),
        };
        return Some((request, bytes[length..].to_vec()));
    }
}

async fn answer<S: AsyncWrite + Unpin>(stream: &mut S, ask: &Ask, venue: &Shared) {
    let outcome = rest::ask(&mut hold(venue), ask, now_ms());
    let answer = match outcome {
        Outcome::Answer(answer) => answer,
        Outcome::Hang(until) => return sleep(Duration::from_millis((until - now_ms()).max(0) as u64)).await,
    };
    let mut text = format!("HTTP/1.1 {} feedsim\r\nContent-Type: application/json\r\n", answer.status);
    for (name, value) in &answer.headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("Content-Length: {}\r\nConnection: close\r\n\r\n{}", answer.body.len(), answer.body);
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn read_all<S: AsyncRead + Unpin>(mut read: S, rest: Vec<u8>, number: u64, venue: &Shared) {
    let (mut reader, mut bytes) = (Reader::default(), rest);
    loop {
        reader.take(&bytes);
        loop {
            match reader.next() {
                Ok(Some(incoming)) => hold(venue).heard(number, incoming, now_ms()),
                Ok(None) => break,
                Err(code) => {
                    hold(venue).broke(number, code);
                    // What comes after it has no meaning.
                    return sleep(CLOSE_MAX).await;
                }
            }
        }
        bytes.clear();
        if !matches!(read.read_buf(&mut bytes).await, Ok(1..)) {
            return;
        }
    }
}

/// Empties the queue into the socket. True where it is to end by a reset.
async fn write_all<S: AsyncWrite + Unpin>(
    mut write: S,
    mut out: UnboundedReceiver<Out>,
    queue: &Queue,
) -> bool {
    let mut loris_until = None;
    while let Some(next) = out.recv().await {
        match next {
            Out::Bytes(bytes) => {
                let slow = loris_until.is_some_and(|until| tokio::time::Instant::now() < until);
                let done = match slow {
                    true => dribble(&mut write, &bytes, loris_until).await,
                    false => write.write_all(&bytes).await,
                };
                queue.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
                if done.is_err() || (out.is_empty() && write.flush().await.is_err()) {
                    return false;
                }
            }
            Out::Stall(span) => sleep(span).await,
            Out::Loris(span) => loris_until = Some(tokio::time::Instant::now() + span),
            Out::Reset => {
                let _ = write.flush().await;
                sleep(BEFORE_RESET).await;
                return true;
            }
            Out::End => {
                let _ = write.shutdown().await;
                sleep(CLOSE_MAX).await;
                return false;
            }
        }
    }
    // The venue forgot it.
    false
}

/// Byte by byte until the time is over, then the rest at once.
async fn dribble<S: AsyncWrite + Unpin>(
    write: &mut S,
    bytes: &[u8],
    until: Option<tokio::time::Instant>,
) -> std::io::Result<()> {
    for (at, byte) in bytes.iter().enumerate() {
        if until.is_none_or(|until| tokio::time::Instant::now() >= until) {
            return write.write_all(&bytes[at..]).await;
        }
        write.write_all(&[*byte]).await?;
        write.flush().await?;
        sleep_until(tokio::time::Instant::now() + LORIS_PAUSE).await;
    }
    Ok(())
}
