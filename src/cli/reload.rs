//! Universe files of a running engine: read anew when they change or when the operator says so, on the main thread, which may block.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use tickwire::feed::{FeedCommand, SourceOptions, Universes};
use tickwire::ingest::Commands;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The files, and whom to tell.
pub(super) struct Reloads {
    files: Vec<UniverseFile>,
    commands: Commands,
    looked: Instant,
}

struct UniverseFile {
    feed: String,
    path: PathBuf,
    /// The lists of the configuration, which those of the file are laid over.
    fixed: Universes,
    /// When it was written and how long it is, as last seen.
    seen: Option<(SystemTime, u64)>,
}

impl Reloads {
    /// The files of these sources, which have just been read.
    pub(super) fn new(sources: &[SourceOptions], commands: Commands) -> Self {
        let file = |source: &SourceOptions| {
            let pool = source.origin.pool()?;
            let path = pool.universe_file.clone()?;
            let seen = stamp(&path);
            Some(UniverseFile { feed: source.name.clone(), path, fixed: pool.universes_fixed.clone(), seen })
        };
        Self { files: sources.iter().filter_map(file).collect(), commands, looked: Instant::now() }
    }

    /// Hands on the files that changed, now and then; with `all`, each file at once. What came of it goes to `say`. A file that
    /// cannot be read leaves its feed as it is.
    pub(super) fn look(&mut self, all: bool, mut say: impl FnMut(String)) {
        if !all && self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        for file in &mut self.files {
            let stamp = stamp(&file.path);
            if !all && (stamp == file.seen || stamp.is_none()) {
                continue;
            }
            let (feed, path) = (&file.feed, file.path.display());
            match Universes::read(&file.path) {
                Err(error) => say(format!("{feed}: its universes stay as they were: {error}")),
                Ok(read) => {
                    let universes = file.fixed.clone().overlaid(read);
                    match self.commands.send(Some(feed), FeedCommand::Reload(universes)) {
                        Ok(()) => say(format!("{feed}: universes read anew from {path}")),
                        // Seen as it was: it is tried again.
                        Err(error) => {
                            say(format!("{feed}: universes not read anew: {error}"));
                            continue;
                        }
                    }
                }
            }
            file.seen = stamp;
        }
        if all && self.files.is_empty() {
            say("no feed has a universe file: nothing to read anew".to_owned());
        }
    }
}

fn stamp(path: &PathBuf) -> Option<(SystemTime, u64)> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tickwire::feed::{Endpoint, Origin, PoolOptions, find, session};
    use tickwire::ingest::Command;
    use tickwire::runtime::Bell;

    fn write(path: &PathBuf, text: &str, second: u64) {
        std::fs::write(path, text).unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
    }

    #[test]
    fn a_changed_file_is_read_anew_and_a_broken_one_changes_nothing() {
        let path = std::env::temp_dir().join(format!("tickwire-universes-{}.toml", std::process::id()));
        write(&path, "[tech]\ntop = [\"AAPL\"]\n", 0);
        let endpoint = Endpoint {
            tls: false,
            host: "127.0.0.1".to_owned(),
            port: 1,
            path_and_query: "/".to_owned(),
            headers: Vec::new(),
            ca_file: None,
        };
        let (dialect, session) = (find("massive").unwrap(), session::find("massive").unwrap());
        let mut pool = PoolOptions::new("desk", dialect, session, endpoint, Vec::new());
        pool.universe_file = Some(path.clone());
        let sources = [SourceOptions::new("desk", Origin::Connect(Box::new(pool)), dialect)];
        let (commands, sent) = Commands::channel(&sources, Bell::silent());
        let mut reloads = Reloads::new(&sources, commands);
        let mut said = Vec::new();
        let mut look = |all, due: bool, said: &mut Vec<String>| {
            if due {
                reloads.looked = Instant::now().checked_sub(LOOK_EVERY).unwrap();
            }
            reloads.look(all, |text| said.push(text));
            sent.try_recv().ok().map(|Command { command, .. }| match command {
                FeedCommand::Reload(universes) => universes.get("tech:top").unwrap().len(),
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(look(false, true, &mut said), None, "it was read at start");
        write(&path, "[tech]\ntop = [\"AAPL\", \"MSFT\"]\n", 1);
        assert_eq!(look(false, false, &mut said), None, "it is not looked at all the time");
        assert_eq!(look(false, true, &mut said), Some(2));
        assert_eq!(look(false, true, &mut said), None);
        write(&path, "[tech]\ntop = [\"AAPL\", \n", 2);
        assert_eq!(look(false, true, &mut said), None);
        assert!(said.last().unwrap().contains("stay as they were"), "{said:?}");
        assert_eq!(look(false, true, &mut said), None, "it complains once");
        write(&path, "[tech]\ntop = [\"AAPL\"]\n", 3);
        assert_eq!(look(true, false, &mut said), Some(1), "and at once where the operator says so");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(look(false, true, &mut said), None, "a file that is gone changes nothing");
    }
}
