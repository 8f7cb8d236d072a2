//! Imports run one way, and stages never import each other.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with the line it failed on")]

use std::fs;
use std::path::Path;

/// Each module of the crate's root and what it may name besides itself. A new module needs a row.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("runtime", &["model"]),
    ("feed", &["model", "runtime"]),
    ("ingest", &["model", "runtime", "feed"]),
    ("shard", &["model", "runtime"]),
    ("gateway", &["model", "runtime"]),
    ("journal", &["model", "runtime"]),
    ("store", &["model", "runtime"]),
    ("relay", &["model", "runtime"]),
    ("control", &["model", "runtime"]),
    // Cold: it fetches what a feed missed.
    ("backfill", &["model", "runtime", "feed"]),
    // What stands in the gateway's place where bars go to a file.
    ("collect", &["model", "runtime"]),
    ("latency", &["runtime"]),
    ("replay", &["model", "runtime", "feed"]),
    // It fills the options that each stage defines.
    (
        "config",
        &[
            "model", "runtime", "feed", "backfill", "ingest", "shard", "gateway", "journal", "store",
            "relay", "control",
        ],
    ),
    (
        "topology",
        &[
            "model", "runtime", "feed", "backfill", "ingest", "shard", "gateway", "journal", "store",
            "relay", "control", "config", "collect",
        ],
    ),
];

/// Sees everything: it only declares or starts.
const ROOTS: &[&str] = &["lib", "main", "cli"];

/// The modules that a file names by a path from the crate's root, with their lines. `file` is relative to `src`.
fn imports(file: &str, source: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let tokens = tokens(source);
    // How deep each inline module is nested in braces, innermost last.
    let (mut depth, mut inline) = (0, Vec::new());
    let home = module_path(file).len();
    for (i, (line, token)) in tokens.iter().enumerate() {
        let text = |at: usize| tokens.get(at).map_or("", |(_, t)| t.as_str());
        match token.as_str() {
            "{" => {
                depth += 1;
                if i >= 2 && text(i - 2) == "mod" {
                    inline.push(depth);
                }
            }
            "}" => {
                if inline.last() == Some(&depth) {
                    inline.pop();
                }
                depth -= 1;
            }
            "crate" | "tickwire" if text(i + 1) == "::" && (i == 0 || text(i - 1) != "::") => {
                heads(&tokens, i + 2, &mut |head| found.push((*line, head.to_owned())));
            }
            "super" if i == 0 || text(i - 1) != "::" => {
                let (mut at, mut ups) = (i, 1);
                while text(at + 1) == "::" && text(at + 2) == "super" {
                    (at, ups) = (at + 2, ups + 1);
                }
                if ups >= home + inline.len() && text(at + 1) == "::" {
                    heads(&tokens, at + 2, &mut |head| found.push((*line, head.to_owned())));
                }
            }
            _ => {}
        }
    }
    found
}

/// The first names of the path or of the group of paths that starts at a token.
fn heads(tokens: &[(usize, String)], at: usize, take: &mut impl FnMut(&str)) {
    let Some((_, first)) = tokens.get(at) else { return };
    if first != "{" {
        take(first);
        return;
    }
    let (mut depth, mut starts) = (0, true);
    for (_, token) in &tokens[at..] {
        match token.as_str() {
            "{" => (depth, starts) = (depth + 1, depth == 0),
            "}" if depth == 1 => return,
            "}" => depth -= 1,
            "," => starts = depth == 1,
            name if starts => {
                take(name);
                starts = false;
            }
            _ => {}
        }
    }
}

/// `shard/mod.rs` is `[shard]`, `shard/candle.rs` is `[shard, candle]`, `lib.rs` is the root.
fn module_path(file: &str) -> Vec<&str> {
    let mut path: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    if path.last() == Some(&"mod") || ROOTS.contains(&file.trim_end_matches(".rs")) {
        path.pop();
    }
    path
}

/// Names, `::`, and single characters of punctuation, with their lines; comments, strings and characters left out.
fn tokens(source: &str) -> Vec<(usize, String)> {
    let bytes = source.as_bytes();
    let (mut tokens, mut i, mut line) = (Vec::new(), 0, 1);
    let named = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80;
    while i < bytes.len() {
        let rest = &source.as_bytes()[i..];
        let taken = match rest[0] {
            b'/' if rest.starts_with(b"//") => rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with(b"/*") => block_comment(rest),
            b'"' => string(rest),
            b'r' if raw_string(rest).is_some() => raw_string(rest).unwrap(),
            b'b' if rest.get(1) == Some(&b'r') && raw_string(&rest[1..]).is_some() => {
                1 + raw_string(&rest[1..]).unwrap()
            }
            b'\'' if rest.get(1) == Some(&b'\\') => {
                3 + rest[3..].iter().position(|&b| b == b'\'').unwrap_or(0) + 1
            }
            b'\'' if rest.get(2) == Some(&b'\'') => 3,
            b if named(b) => {
                let n = rest.iter().position(|&b| !named(b)).unwrap_or(rest.len());
                tokens.push((line, String::from_utf8_lossy(&rest[..n]).into_owned()));
                n
            }
            b':' if rest.starts_with(b"::") => {
                tokens.push((line, "::".to_owned()));
                2
            }
            b if b.is_ascii_whitespace() => 1,
            b => {
                tokens.push((line, char::from(b).to_string()));
                1
            }
        };
        let end = (i + taken).min(bytes.len());
        line += bytes[i..end].iter().filter(|&&b| b == b'\n').count();
        i = end;
    }
    tokens
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut i) = (0, 0);
    while i < rest.len() {
        if rest[i..].starts_with(b"/*") {
            (depth, i) = (depth + 1, i + 2);
        } else if rest[i..].starts_with(b"*/") {
            (depth, i) = (depth - 1, i + 2);
            if depth == 0 {
                return i;
            }
        } else {
            i += 1;
        }
    }
    rest.len()
}

fn string(rest: &[u8]) -> usize {
    let mut i = 1;
    while i < rest.len() && rest[i] != b'"' {
        i += 1 + usize::from(rest[i] == b'\\');
    }
    i + 1
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|&&b| b == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let body = &rest[2 + hashes..];
    let end = body.windows(close.len()).position(|w| w == close).unwrap_or(body.len());
    Some(2 + hashes + end + close.len())
}

/// What is wrong with the imports of one file.
fn faults(file: &str, source: &str) -> Vec<String> {
    let layer = file.split('/').next().unwrap_or(file).trim_end_matches(".rs");
    if ROOTS.contains(&layer) {
        return Vec::new();
    }
    let Some((_, may)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
        return vec![format!("src/{file}: module {layer:?} has no row in LAYERS of tests/engine/layers.rs")];
    };
    let wrong = |name: &str| name != layer && !may.contains(&name);
    imports(file, source)
        .into_iter()
        .filter(|(_, name)| wrong(name))
        .map(|(line, name)| format!("src/{file}:{line}: {layer} names {name}; it may name {may:?}"))
        .collect()
}

fn sources(folder: &Path, files: &mut Vec<(String, String)>, root: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files, root);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn imports_run_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files, &root);
    assert!(files.len() > 10, "only {} files found", files.len());
    // What finds no import at all cannot find a wrong one.
    let seen: usize = files.iter().map(|(file, source)| imports(file, source).len()).sum();
    assert!(seen > 10, "only {seen} imports found");
    let faults: Vec<String> = files.iter().flat_map(|(file, source)| faults(file, source)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_planted_import_is_found_in_each_of_its_forms() {
    for (file, source) in [
        ("model/tick.rs", "use crate::runtime::Clock;"),
        ("runtime/ring.rs", "use crate::{model::Tick, shard::Link};"),
        ("runtime/ring.rs", "use crate::{model::{Tick, Bar}, shard::{self, Link}};"),
        ("shard/mod.rs", "pub(crate) use crate::gateway::Outbox;"),
        ("shard/mod.rs", "fn f(x: crate::gateway::Outbox) {}"),
        ("shard/mod.rs", "use super::gateway::Outbox;"),
        ("shard/candle.rs", "use super::super::gateway::Outbox;"),
        ("shard/candle.rs", "mod tests { use super::super::super::gateway::Outbox; }"),
        ("shard/candle.rs", "const S: &str = \"\\\" // \"; use crate::feed::Session;"),
        ("gateway/mod.rs", "const C: char = '\"'; use crate::feed::Session;"),
        ("gateway/mod.rs", "const C: char = '\\''; use crate::feed::Session;"),
        ("gateway/mod.rs", "use tickwire::control::Page;"),
        ("feed/mod.rs", "use crate::ingest::Ingest;"),
        ("feed/mod.rs", "use crate::*;"),
        ("control/mod.rs", "use crate::config::Config;"),
        ("surprise.rs", ""),
    ] {
        assert_eq!(faults(file, source).len(), 1, "{file}: {source}");
    }
}

#[test]
fn a_right_import_is_let_through() {
    for (file, source) in [
        ("ingest.rs", "use crate::{feed::Session, model::Tick, runtime::{Stage, ring}};"),
        ("shard/candle.rs", "use super::link::Link; mod tests { use super::super::link; }"),
        (
            "shard/mod.rs",
            "// crate::gateway\n/* crate::gateway /* x */ */ const S: &str = \"crate::gateway\";",
        ),
        ("shard/mod.rs", "const S: &str = r#\"\"crate::gateway\"#; fn f<'a>(x: &'a str) {}"),
        ("shard/mod.rs", "pub(in crate::shard) fn f() {}  pub(crate) fn g() {}  pub(super) fn h() {}"),
        ("config.rs", "use crate::gateway::GatewayOptions;"),
        ("topology.rs", "use crate::{config::Config, shard::Shard};"),
        ("main.rs", "use tickwire::topology::Topology;"),
    ] {
        assert_eq!(faults(file, source), Vec::<String>::new(), "{file}: {source}");
    }
}
