//! The `[[feed]]` sections: where ticks come from.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::backfill::RestOptions;
use crate::feed::{self, Origin, SourceOptions, Universes};

use super::connect::{self, LimitsSection, MemberSection, RestSection};
use super::{ConfigError, range, wrong};

/// One or several of something that is written as text.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a text, or a list of texts")]
pub(super) enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    pub(super) fn list(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FeedSection {
    pub name: Option<String>,
    pub source: String,
    pub format: String,
    pub listen: Option<SocketAddr>,
    pub files: Option<Vec<PathBuf>>,
    pub line_bytes_max: Option<usize>,
    pub connections_max: Option<usize>,
    pub url: Option<String>,
    pub key: Option<String>,
    pub key_env: Option<String>,
    pub secret: Option<String>,
    pub secret_env: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub channels: Option<Vec<String>>,
    pub symbols: Option<Vec<String>>,
    pub universe: Option<Texts>,
    pub universe_file: Option<PathBuf>,
    pub connections: Option<usize>,
    pub members: Option<Vec<MemberSection>>,
    pub limits: Option<LimitsSection>,
    pub rest: Option<RestSection>,
}

impl FeedSection {
    /// What it is called.
    pub(super) fn name_at(&self, n: usize) -> String {
        self.name.clone().unwrap_or_else(|| format!("feed-{n}"))
    }

    pub(super) fn check(
        &self,
        n: usize,
        universes: &Universes,
        environment: &impl Fn(&str) -> Option<String>,
    ) -> Result<(SourceOptions, Option<RestOptions>), ConfigError> {
        let key = |field: &str| format!("feed[{n}].{field}");
        let listen = || {
            self.listen.ok_or_else(|| wrong(&key("listen"), "missing: say where, such as \"127.0.0.1:9001\""))
        };
        let dialect = feed::find(&self.format).ok_or_else(|| {
            let known: Vec<_> = feed::DIALECTS.iter().map(|row| row.name).collect();
            wrong(&key("format"), format!("{:?} is none of {}", self.format, known.join(", ")))
        })?;
        let mut rest = None;
        let origin = match self.source.as_str() {
            "files" => match &self.files {
                Some(files) if !files.is_empty() => Origin::Files(files.clone()),
                _ => return Err(wrong(&key("files"), "missing: name at least one file")),
            },
            "stdin" => Origin::Stdin,
            "tcp" => Origin::Tcp(listen()?),
            "websocket" => Origin::WebSocket(listen()?),
            "connect" => {
                let (pool, side) = connect::check(self, n, dialect, universes, environment)?;
                rest = side;
                Origin::Connect(Box::new(pool))
            }
            other => {
                return Err(wrong(
                    &key("source"),
                    format!("{other:?} is none of connect, files, stdin, tcp, websocket"),
                ));
            }
        };
        let connects = matches!(origin, Origin::Connect(_));
        if !connects {
            self.refuse_keys_of_connections(n)?;
        }
        let mut source = SourceOptions::new(&self.name_at(n), origin, dialect);
        source.line_bytes_max =
            range(&key("line_bytes_max"), self.line_bytes_max, source.line_bytes_max, 64, 1 << 30)?;
        if !connects {
            source.connections_max =
                range(&key("connections_max"), self.connections_max, source.connections_max, 1, 1 << 16)?;
        }
        Ok((source, rest))
    }

    /// A key that would have no effect is a mistake.
    fn refuse_keys_of_connections(&self, n: usize) -> Result<(), ConfigError> {
        let idle = [
            ("url", self.url.is_some()),
            ("key", self.key.is_some() || self.key_env.is_some()),
            ("secret", self.secret.is_some() || self.secret_env.is_some()),
            ("ca_file", self.ca_file.is_some()),
            ("channels", self.channels.is_some()),
            ("symbols", self.symbols.is_some()),
            ("universe", self.universe.is_some() || self.universe_file.is_some()),
            ("connections", self.connections.is_some()),
            ("members", self.members.is_some()),
            ("limits", self.limits.is_some()),
            ("rest", self.rest.is_some()),
        ];
        match idle.iter().find(|(_, set)| *set) {
            None => Ok(()),
            Some((field, _)) => Err(wrong(
                &format!("feed[{n}].{field}"),
                format!("has no meaning for source = {:?}: it is for source = \"connect\"", self.source),
            )),
        }
    }
}

/// A source in plain words.
pub(super) fn explain(source: &SourceOptions, rest: Option<&RestOptions>) -> String {
    let text = match &source.origin {
        Origin::Files(paths) => {
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        }
        Origin::Stdin => "standard input".to_owned(),
        Origin::Tcp(addr) => format!("lines over tcp://{addr}"),
        Origin::WebSocket(addr) => format!("publishers at ws://{addr}{}", feed::INGEST_PATH),
        Origin::Connect(pool) => return connect::explain(pool, rest),
    };
    format!("feed      {}: {text} as {}\n", source.name, source.dialect.name)
}
