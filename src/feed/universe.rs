//! Named lists of symbols, `family:list`: what the members of a pool are to take.
//!
//! A file of universes is TOML or, where its name ends in `.json`, JSON, in the same shape as the `[universes]` table of the
//! configuration: a key with its list, or a family with its lists. These three say the same:
//!
//! ```toml
//! "tech_leaders:top_100" = ["AAPL", "MSFT"]
//! ```
//! ```toml
//! [tech_leaders]
//! top_100 = ["AAPL", "MSFT"]
//! ```
//! ```json
//! {"tech_leaders": {"top_100": ["AAPL", "MSFT"]}}
//! ```
//!
//! A symbol that stands twice in a list counts once, where it stands first.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::Deserialize;

use crate::model::Symbol;

/// The most bytes of a universe file: all symbols of the world ten times over.
pub const UNIVERSE_BYTES_MAX: usize = 16 << 20;

/// Lists of symbols by key, such as `tech_leaders:top_100`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Universes {
    lists: BTreeMap<String, Vec<Symbol>>,
}

/// Lists as they are written: by key, or by family and key.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Written(BTreeMap<String, Entry>);

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a list of symbols, or a table of such lists")]
enum Entry {
    List(Vec<String>),
    Family(BTreeMap<String, Vec<String>>),
}

/// Why there are no universes.
#[derive(Debug, thiserror::Error)]
pub enum UniverseError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// Which file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is too long.
    #[error("{path} is longer than {UNIVERSE_BYTES_MAX} bytes")]
    TooLong {
        /// Which file.
        path: String,
    },
    /// Neither TOML nor JSON of the shape.
    #[error("{path}: {message}")]
    Syntax {
        /// Which file.
        path: String,
        /// Where, and what would be right.
        message: String,
    },
    /// A name that is no symbol.
    #[error("universe {key:?}: {name:?}: {error}")]
    Symbol {
        /// Which list.
        key: String,
        /// Which name.
        name: String,
        /// Why not.
        error: crate::model::SymbolError,
    },
    /// A list twice, once under its family and once by its whole key.
    #[error("universe {key:?} is listed twice")]
    Twice {
        /// Which list.
        key: String,
    },
}

impl Universes {
    /// Reads a file. It blocks: not for a core.
    ///
    /// # Errors
    /// What is wrong with the file, and where.
    pub fn read(path: &Path) -> Result<Self, UniverseError> {
        use std::io::Read as _;
        let shown = path.display().to_string();
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(UNIVERSE_BYTES_MAX as u64 + 1).read_to_string(&mut text))
            .map_err(|error| UniverseError::Read { path: shown.clone(), error })?;
        if text.len() > UNIVERSE_BYTES_MAX {
            return Err(UniverseError::TooLong { path: shown });
        }
        let json = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
        let written = if json {
            serde_json::from_str::<Written>(&text).map_err(|error| error.to_string())
        } else {
            toml::from_str::<Written>(&text).map_err(|error| error.to_string())
        };
        let written = written.map_err(|message| UniverseError::Syntax { path: shown, message })?;
        Self::default().with(&written)
    }

    /// With these lists too.
    ///
    /// # Errors
    /// A name that is no symbol, or a list that is there already.
    pub fn with(mut self, written: &Written) -> Result<Self, UniverseError> {
        for (name, entry) in &written.0 {
            match entry {
                Entry::List(list) => self.add(name.clone(), list)?,
                Entry::Family(lists) => {
                    for (key, list) in lists {
                        self.add(format!("{name}:{key}"), list)?;
                    }
                }
            }
        }
        Ok(self)
    }

    /// With the lists of `other`, which win over those of the same key.
    #[must_use]
    pub fn overlaid(mut self, other: Self) -> Self {
        self.lists.extend(other.lists);
        self
    }

    fn add(&mut self, key: String, names: &[String]) -> Result<(), UniverseError> {
        let list = symbols(names).map_err(|(name, error)| UniverseError::Symbol {
            key: key.clone(),
            name: name.to_owned(),
            error,
        })?;
        match self.lists.insert(key.clone(), list) {
            None => Ok(()),
            Some(_) => Err(UniverseError::Twice { key }),
        }
    }

    /// The symbols of a key, in the order they were listed.
    pub fn get(&self, key: &str) -> Option<&[Symbol]> {
        self.lists.get(key).map(Vec::as_slice)
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.lists.keys().map(String::as_str)
    }
}

/// Names as symbols, each once; or the first that is none.
pub fn symbols(names: &[String]) -> Result<Vec<Symbol>, (&str, crate::model::SymbolError)> {
    let mut seen = HashSet::new();
    let mut list = Vec::with_capacity(names.len());
    for name in names {
        let symbol = Symbol::or_every(name.trim().as_bytes()).map_err(|error| (name.as_str(), error))?;
        if seen.insert(symbol) {
            list.push(symbol);
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(universes: &Universes, key: &str) -> Vec<String> {
        universes.get(key).unwrap().iter().map(Symbol::to_string).collect()
    }

    #[test]
    fn the_three_ways_to_write_a_universe_say_the_same() {
        let flat = r#""tech:top" = ["AAPL", "MSFT", "AAPL"]"#;
        let table = "[tech]\ntop = [\"AAPL\", \"MSFT\"]";
        let json = r#"{"tech": {"top": ["AAPL", "MSFT"]}}"#;
        let read = |written: Written| Universes::default().with(&written).unwrap();
        let all = [
            read(toml::from_str(flat).unwrap()),
            read(toml::from_str(table).unwrap()),
            read(serde_json::from_str(json).unwrap()),
        ];
        assert!(all.iter().all(|universes| *universes == all[0]));
        assert_eq!(names(&all[0], "tech:top"), ["AAPL", "MSFT"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let written: Written = toml::from_str(r#""a:b" = ["GOOD", "NOT GOOD"]"#).unwrap();
        let error = Universes::default().with(&written).unwrap_err().to_string();
        assert!(error.contains("a:b") && error.contains("NOT GOOD"), "{error}");
        let twice: Written = toml::from_str("\"a:b\" = []\n[a]\nb = []").unwrap();
        assert!(matches!(Universes::default().with(&twice), Err(UniverseError::Twice { .. })));
        let error = toml::from_str::<Written>("a = 7").unwrap_err().to_string();
        assert!(error.contains("list of symbols"), "{error}");
        let error = Universes::read(Path::new("/nowhere/at/all.toml")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all.toml"), "{error}");
    }
}
