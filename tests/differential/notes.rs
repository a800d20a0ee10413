//! What a case remembers of its calls, for the exceptions and for the reads at its end.

use std::collections::{BTreeSet, HashSet};

use super::answer::{Answer, Seen};
use super::calls::{Call, Rest};
use super::names::Name;

/// Where the device came from.
#[derive(Debug, PartialEq, Eq)]
pub enum Origin {
    Absent,
    /// Made by `create`; once read, what it was on the plain and on the sealed side.
    Created(Option<Box<(Seen, Seen)>>),
    Saved,
}

/// The notes of one case.
pub struct Notes {
    pub device: Origin,
    /// Files of plain snapshots, and names of all.
    pub snapshot_files: HashSet<String>,
    pub snapshot_names: HashSet<Name>,
    /// Reads of rows that were written, and reads that take them away.
    pub trail: BTreeSet<Call>,
    pub takings: BTreeSet<Call>,
}

impl Default for Notes {
    fn default() -> Self {
        Self {
            device: Origin::Absent,
            snapshot_files: HashSet::new(),
            snapshot_names: HashSet::new(),
            trail: BTreeSet::new(),
            takings: BTreeSet::new(),
        }
    }
}

impl Notes {
    /// Takes note of a call that both sides answered, and of the answers.
    pub fn take(&mut self, call: &Call, plain: &Answer, sealed: &Answer) {
        self.trail.extend(call.trail());
        self.takings.extend(call.takings());
        let Call::Rest(call) = call else { return };
        match (call, plain.value(), sealed.value()) {
            (Rest::create {}, Some(_), _) if self.device == Origin::Absent => {
                self.device = Origin::Created(None);
            }
            (Rest::save { .. }, Some(_), _) => self.device = Origin::Saved,
            (Rest::load {}, Some(plain), Some(sealed)) => {
                if let Origin::Created(first @ None) = &mut self.device {
                    *first = Some(Box::new((plain.clone(), sealed.clone())));
                }
            }
            (Rest::snapshot_db { name, .. }, plain, sealed) => {
                if plain.is_some() {
                    self.snapshot_files.extend(self.snapshot_file(name.text()));
                }
                if sealed.is_some() {
                    self.snapshot_names.insert(*name);
                }
            }
            _ => {}
        }
    }

    /// What upstream's SQLite store makes of a snapshot's name, unless it refuses it.
    pub fn snapshot_file(&self, name: &str) -> Option<String> {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
        let letters: String = name
            .chars()
            .map(|letter| if plain(letter) { letter } else { '_' })
            .collect();
        let parts: Vec<&str> = letters.split('.').filter(|part| !part.is_empty()).collect();
        let file = parts.join(".");
        (1..=100).contains(&file.len()).then_some(file)
    }
}
