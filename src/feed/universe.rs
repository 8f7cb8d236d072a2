//! Named lists of symbols, `family:list`: what a feed's members are to take.

use std::collections::BTreeMap;

use crate::model::Symbol;

/// Lists of symbols by key, such as `tech_leaders:top_100`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Universes {
    lists: BTreeMap<String, Vec<Symbol>>,
}

impl Universes {
    /// The symbols of a key, in the order they were listed.
    pub fn get(&self, key: &str) -> Option<&[Symbol]> {
        self.lists.get(key).map(Vec::as_slice)
    }
}
