//! One source of the stage: how it is opened, and how one that has an end is read.

use std::collections::VecDeque;
use std::io;

use crate::feed::file::{FileFeed, Progress};
use crate::feed::pipe::Pipe;
use crate::feed::tcp::{After, LineConnection};
use crate::feed::{Context, Origin, SourceError, SourceOptions, Tallies};
use crate::model::{Tick, UnixNanos};
use crate::runtime::{Bell, Listener, Registrar, Turned};

use super::Ingest;
use super::playback::{Pace, Playback};

/// What a file or standard input may parse in one turn, in bytes.
const TURN_BYTES: usize = 64 * 1024;

pub(super) struct Source {
    pub(super) options: SourceOptions,
    pub(super) tallies: Tallies,
    pub(super) feed: Feed,
    /// Of a finite source, what the rings had no room for.
    pub(super) pending: Vec<Tick>,
}

pub(super) enum Feed {
    Files {
        open: VecDeque<FileFeed>,
    },
    Paced(Box<Playback>),
    Pipe {
        pipe: Pipe,
        lines: Box<LineConnection>,
        ended: bool,
    },
    /// Its connections are the stage's `live` part.
    Pool,
    Door {
        listener: Listener,
        ready: bool,
        rest_until: Option<UnixNanos>,
        open: usize,
    },
}

impl Ingest {
    pub(super) fn read_finite(&mut self, place: usize, now: UnixNanos) -> Turned {
        let Self { router, symbols, sources, clock, read_to_parsed, troubles, stopping, .. } = self;
        let Source { tallies, feed, pending, .. } = &mut sources[place];
        let mut turned = Turned::default();
        let before = pending.len();
        router.dispatch(pending, symbols, false);
        turned.work += before - pending.len();
        if !pending.is_empty() || *stopping {
            return turned;
        }
        let recorded = true;
        let mut cx = Context { now, source: place as u8, recorded, symbols, tallies };
        let outcome = match feed {
            Feed::Files { open } => {
                let outcome = match open.front_mut() {
                    Some(file) => file.parse(TURN_BYTES, &mut cx, pending).map(|n| turned.work += n),
                    None => Ok(()),
                };
                if open.front().is_some_and(FileFeed::is_ended) {
                    open.pop_front();
                }
                turned.more = !open.is_empty();
                outcome
            }
            Feed::Paced(playback) => playback.play(&mut cx, pending).map(|more| turned.more = more),
            Feed::Pipe { pipe, lines, ended } if !*ended => {
                let after = lines.read(pipe, &mut cx, pending);
                turned.work += usize::from(after == After::More);
                turned.more = after == After::More;
                *ended = after == After::Ended;
                match lines.refusal() {
                    Some(message) => Err(SourceError::Header { path: "stdin".to_owned(), message }),
                    None => Ok(()),
                }
            }
            Feed::Pipe { .. } | Feed::Pool | Feed::Door { .. } => Ok(()),
        };
        if let Err(error) = outcome {
            let text = error.to_string();
            tallies.note(now, "source trouble", text.as_bytes());
            troubles.add(text);
        }
        if !pending.is_empty() {
            read_to_parsed.record_n(clock.now() - now, pending.len() as u64);
            let before = pending.len();
            router.dispatch(pending, symbols, false);
            turned.work += before - pending.len();
        }
        turned
    }
}

pub(super) fn open(
    source: &SourceOptions,
    token: usize,
    pace: Option<Pace>,
    progress: &Progress,
    registrar: &Registrar,
    bell: &Bell,
) -> Result<Feed, SourceError> {
    match &source.origin {
        Origin::Files(paths) if paths.is_empty() => Err(SourceError::NoFile(source.name.clone())),
        Origin::Files(paths) => match pace {
            Some(pace) => Ok(Feed::Paced(Box::new(Playback::open(source, paths, pace, progress)?))),
            None => {
                let files = paths
                    .iter()
                    .map(|path| FileFeed::open(path, source.dialect, source.line_bytes_max, progress));
                Ok(Feed::Files { open: files.collect::<Result<_, _>>()? })
            }
        },
        Origin::Stdin => {
            let path = || "standard input".to_owned();
            let pipe = Pipe::spawn(io::stdin(), bell.clone())
                .map_err(|error| SourceError::Open { path: path(), error })?;
            let lines = Box::new(LineConnection::new(source.dialect, source.line_bytes_max));
            Ok(Feed::Pipe { pipe, lines, ended: false })
        }
        Origin::Tcp(addr) | Origin::WebSocket(addr) => {
            let listener =
                registrar.listen(*addr, token).map_err(|error| SourceError::Listen { addr: *addr, error })?;
            Ok(Feed::Door { listener, ready: true, rest_until: None, open: 0 })
        }
        Origin::Connect(_) => Ok(Feed::Pool),
    }
}
