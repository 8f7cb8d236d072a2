//! Trades of Massive as fast as a reader takes them, and how long it took until the last of them was read.
//!
//! `ingest_load TARGET PER_FRAME TICKS`. TARGET is `tcp://HOST:PORT` for lines, `ws://HOST:PORT/PATH` for a publisher's messages, or
//! `serve` for a venue that a reader connects to (it prints its port first). Each trade has its own id, sequence and time. The end is
//! when the reader, having read all, answered the close: what lies in the kernel's buffers does not count as taken.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

type Failure = Box<dyn std::error::Error>;

const SYMBOLS: u64 = 500;
/// Written at once, about.
const CHUNK_BYTES: usize = 1 << 16;
/// A reader that takes nothing for so long has failed.
const STALL_MAX: Duration = Duration::from_secs(30);
/// Digits of an id: the first of them keep it free of leading zeros.
const ID_FIRST: u64 = 10_000_000_000;
const DIGITS: usize = 11;
const TIME_DIGITS: usize = 13;
/// Trades that differ in more than id, sequence and time.
const TEMPLATES: u64 = 4096;
const MASK: [u8; 4] = [0; 4];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Lines,
    /// Masked, by zeros, which change nothing.
    Client,
    Server,
}

fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

/// A trade, and where in it its id, its sequence and its time stand: they alone differ each time it is sent.
struct Template {
    text: Vec<u8>,
    id_at: usize,
    sequence_at: usize,
    time_at: usize,
}

fn template(number: u64) -> Template {
    // Few symbols have most of the sales, as anywhere.
    let symbol = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % SYMBOLS * (number % 7 + 1) / 7;
    let (cents, size) = (number % 97, number % 399 + 1);
    let mut text = format!(r#"{{"ev":"T","sym":"LD{symbol:03}","x":4,"i":""#);
    let id_at = text.len();
    text += &format!(
        r#"{ID_FIRST}","z":3,"p":{}.{cents:02},"s":{size},"c":[14,37],"t":1700000000000,"q":{ID_FIRST}}}"#,
        100 + symbol
    );
    let sequence_at = text.len() - 1 - DIGITS;
    let time_at = sequence_at - r#","q":"#.len() - TIME_DIGITS;
    Template { text: text.into_bytes(), id_at, sequence_at, time_at }
}

/// The next id, in its digits.
fn count(id: &mut [u8; DIGITS]) {
    for digit in id.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
}

fn frame(out: &mut Vec<u8>, payload: &[u8], framing: Framing) {
    if framing == Framing::Lines {
        out.extend_from_slice(payload);
        out.push(b'\n');
        return;
    }
    let mask_bit = if framing == Framing::Client { 0x80 } else { 0 };
    out.push(0x81);
    match payload.len() {
        short @ 0..126 => out.push(mask_bit | short as u8),
        length @ 126..65_536 => {
            out.push(mask_bit | 126);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(mask_bit | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    if framing == Framing::Client {
        out.extend(MASK);
    }
    out.extend_from_slice(payload);
}

/// A publisher's handshake.
fn upgrade(socket: &mut TcpStream, host: &str, path: &str) -> Result<(), Failure> {
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )?;
    let head = head_of(socket)?;
    if head.first().is_some_and(|line| line.starts_with("HTTP/1.1 101")) {
        Ok(())
    } else {
        Err(format!("{head:?}").into())
    }
}

fn head_of(socket: &mut TcpStream) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    let mut reader = BufReader::with_capacity(1, socket);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err("it ended within its handshake".into());
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            return Ok(lines);
        }
        lines.push(line);
    }
}

/// A venue's side: the handshake, and answers to a key and to subscriptions as Massive words them.
fn serve() -> Result<TcpStream, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("port {}", listener.local_addr()?.port());
    let (mut socket, _) = listener.accept()?;
    let head = head_of(&mut socket)?;
    let key = head.iter().find_map(|line| {
        line.to_ascii_lowercase().starts_with("sec-websocket-key:").then(|| line[18..].trim())
    });
    let accept = derive_accept_key(key.ok_or("no key in the handshake")?.as_bytes());
    write!(
        socket,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )?;
    let status =
        |name: &str, message: &str| format!(r#"{{"ev":"status","status":"{name}","message":"{message}"}}"#);
    let say = |socket: &mut TcpStream, text: &str| -> Result<(), Failure> {
        let mut out = Vec::new();
        frame(&mut out, format!("[{text}]").as_bytes(), Framing::Server);
        Ok(socket.write_all(&out)?)
    };
    say(&mut socket, &status("connected", "Connected Successfully"))?;
    loop {
        let request = message_of(&mut socket)?;
        let value: serde_json::Value = serde_json::from_str(&request)?;
        let params = value["params"].as_str().unwrap_or("");
        if value["action"] == "auth" {
            say(&mut socket, &status("auth_success", "authenticated"))?;
            continue;
        }
        let done: Vec<_> =
            params.split(',').map(|one| status("success", &format!("subscribed to: {one}"))).collect();
        say(&mut socket, &done.join(","))?;
        return Ok(socket);
    }
}

/// The next text of a client, unmasked; other frames are passed over.
fn message_of(socket: &mut TcpStream) -> Result<String, Failure> {
    loop {
        let mut head = [0; 2];
        socket.read_exact(&mut head)?;
        let length = match head[1] & 0x7f {
            126 => {
                let mut long = [0; 2];
                socket.read_exact(&mut long)?;
                usize::from(u16::from_be_bytes(long))
            }
            127 => return Err("a request of more than 65,535 bytes".into()),
            short => usize::from(short),
        };
        let (mut mask, mut payload) = ([0; 4], vec![0; length]);
        socket.read_exact(&mut mask)?;
        socket.read_exact(&mut payload)?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        if head[0] & 0x0f == 1 {
            return Ok(String::from_utf8(payload)?);
        }
    }
}

fn main() -> Result<(), Failure> {
    let all: Vec<String> = std::env::args().skip(1).collect();
    let [target, per_frame, ticks] = &all[..] else { return Err("it takes TARGET PER_FRAME TICKS".into()) };
    let (per_frame, ticks) = (per_frame.parse::<u64>()?.max(1), ticks.parse::<u64>()?);
    let (mut socket, framing) = if target == "serve" {
        (serve()?, Framing::Server)
    } else if let Some(rest) = target.strip_prefix("ws://") {
        let (host, path) = rest.split_once('/').ok_or("a URL has a path")?;
        let mut socket = TcpStream::connect(host)?;
        upgrade(&mut socket, host, &format!("/{path}"))?;
        (socket, Framing::Client)
    } else {
        (TcpStream::connect(target.strip_prefix("tcp://").ok_or("tcp://, ws:// or serve")?)?, Framing::Lines)
    };
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(STALL_MAX))?;
    socket.set_read_timeout(Some(STALL_MAX))?;

    let templates: Vec<Template> = (0..TEMPLATES).map(template).collect();
    let mut id = [b'0'; DIGITS];
    id[0] = b'1';
    let began = Instant::now();
    let (mut chunk, mut payload, mut bytes, mut number, mut frames) = (Vec::new(), Vec::new(), 0, 0, 0_u64);
    while number < ticks {
        chunk.clear();
        let time = now_ms().to_string();
        while chunk.len() < CHUNK_BYTES && number < ticks {
            payload.clear();
            payload.push(b'[');
            for place in 0..per_frame.min(ticks - number) {
                if place > 0 {
                    payload.push(b',');
                }
                let Template { text, id_at, sequence_at, time_at } =
                    &templates[(number % TEMPLATES) as usize];
                let at = payload.len();
                payload.extend_from_slice(text);
                payload[at + id_at..][..DIGITS].copy_from_slice(&id);
                payload[at + sequence_at..][..DIGITS].copy_from_slice(&id);
                payload[at + time_at..][..TIME_DIGITS].copy_from_slice(time.as_bytes());
                count(&mut id);
                number += 1;
            }
            payload.push(b']');
            frame(&mut chunk, &payload, framing);
            frames += 1;
        }
        socket.write_all(&chunk)?;
        bytes += chunk.len();
    }
    match framing {
        Framing::Lines => socket.shutdown(Shutdown::Write)?,
        Framing::Client => socket.write_all(&[0x88, 0x82, 0, 0, 0, 0, 3, 0xe8])?,
        Framing::Server => socket.write_all(&[0x88, 2, 3, 0xe8])?,
    }
    // Until it answers the close, or ends: it has read all then.
    let mut rest = [0; 4096];
    if framing == Framing::Lines {
        while socket.read(&mut rest)? > 0 {}
    } else {
        let _ = socket.read(&mut rest)?;
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{}",
        serde_json::json!({"ticks": ticks, "frames": frames, "bytes": bytes, "seconds": seconds, "ticks_per_s": ticks as f64 / seconds})
    );
    Ok(())
}
