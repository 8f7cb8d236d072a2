//! Files of universes are read again when they change, or when asked to; what cannot be read leaves the lists as they are.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use tickwire::feed::{FeedCommand, Origin, SourceOptions, Universes};
use tickwire::ingest::Commands;

/// How soon a change is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The files of all feeds.
pub(super) struct UniverseFiles {
    files: Vec<File>,
    looked: Instant,
}

struct File {
    feed: String,
    path: PathBuf,
    /// The lists that are not from the file.
    fixed: Universes,
    seen: Option<(SystemTime, u64)>,
    /// A command found no room and is to be sent again.
    again: bool,
}

impl UniverseFiles {
    /// Those that the sources name, as they are now.
    pub(super) fn of(sources: &[SourceOptions]) -> Self {
        let file = |source: &SourceOptions| match &source.origin {
            Origin::Connect(pool) => pool.universe_file.as_ref().map(|path| File {
                feed: source.name.clone(),
                path: path.clone(),
                fixed: pool.universes_fixed.clone(),
                seen: stamp(path),
                again: false,
            }),
            _ => None,
        };
        Self { files: sources.iter().filter_map(file).collect(), looked: Instant::now() }
    }

    /// Reads what has changed, or everything where that was asked for, and tells the pools.
    pub(super) fn look(&mut self, asked: bool, commands: &Commands) {
        if self.files.is_empty() || (!asked && self.looked.elapsed() < LOOK_EVERY) {
            return;
        }
        self.looked = Instant::now();
        for file in &mut self.files {
            let seen = stamp(&file.path);
            if !asked && !file.again && seen == file.seen {
                continue;
            }
            file.seen = seen;
            let shown = file.path.display();
            match Universes::read(&file.path) {
                Ok(read) => {
                    let universes = file.fixed.clone().overlaid(read);
                    let count = universes.keys().count();
                    let sent = commands.send(Some(&file.feed), FeedCommand::Reload(universes));
                    file.again = sent.is_err();
                    match sent {
                        Ok(()) => eprintln!(
                            "tickwire: {}: {count} universes after reading {shown} again",
                            file.feed
                        ),
                        Err(error) => eprintln!("tickwire: {}: universes wait: {error}", file.feed),
                    }
                }
                Err(error) => eprintln!("tickwire: {}: the universes stay as they were: {error}", file.feed),
            }
        }
    }
}

/// When a file was last written, and its length.
fn stamp(path: &std::path::Path) -> Option<(SystemTime, u64)> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len()))
}
