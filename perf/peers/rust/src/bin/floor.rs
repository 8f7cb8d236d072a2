//! The floor: no server at all, a loop that writes one prepared frame to every socket in turn. Nothing is read, queued or
//! decided, and one client that does not read stops all. A server that sends each frame by itself cannot cost less.
//!
//! With the mode `gather`, everything due when a round begins is prepared together and each socket gets it in one write:
//! the floor of a server that lets messages wait for each other when it is behind.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::thread::{sleep, spawn};

use peers::{Arguments, GO_MAX, SUBSCRIBED, Schedule};
use tokio_tungstenite::tungstenite::{Message, accept};

/// Appends a text frame.
fn frame(text: &str, out: &mut Vec<u8>) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.push(0x81);
    match length {
        0..126 => out.push(length as u8),
        _ => {
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
}

fn join(listener: &TcpListener) -> Result<TcpStream, String> {
    let (stream, _) = listener.accept().map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let mut websocket = accept(stream).map_err(|error| error.to_string())?;
    websocket.read().map_err(|error| error.to_string())?;
    websocket.send(Message::text(SUBSCRIBED)).map_err(|error| error.to_string())?;
    websocket.get_ref().try_clone().map_err(|error| error.to_string())
}

fn main() -> Result<(), String> {
    let arguments = Arguments::read()?;
    spawn(move || {
        sleep(arguments.life);
        std::process::exit(0);
    });
    let most = if arguments.mode == "gather" { GO_MAX } else { 1 };
    let listener = TcpListener::bind(("127.0.0.1", arguments.port)).map_err(|error| error.to_string())?;
    println!("listening");
    let mut sockets = (0..arguments.connections).map(|_| join(&listener)).collect::<Result<Vec<_>, _>>()?;
    let mut schedule = Schedule::new(arguments.rate);
    let (mut text, mut bytes) = (String::new(), Vec::new());
    while !sockets.is_empty() {
        bytes.clear();
        for _ in 0..most {
            if !schedule.take(&mut text) {
                break;
            }
            frame(&text, &mut bytes);
        }
        if bytes.is_empty() {
            sleep(schedule.wait());
            continue;
        }
        sockets.retain_mut(|socket| socket.write_all(&bytes).is_ok());
    }
    Ok(())
}
