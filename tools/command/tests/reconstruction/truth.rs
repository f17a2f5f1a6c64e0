//! The expected value of each slot, as `slot length sha256` in a file readable by any process.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

/// For each slot the expected line of `scan --format sha256`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Truth(BTreeMap<u64, String>);

pub(crate) fn line_of(slot: u64, value: &[u8]) -> String {
    let mut line = format!("{slot}\t{}\t", value.len());
    for byte in Sha256::digest(value) {
        write!(line, "{byte:02x}").unwrap();
    }
    line
}

impl Truth {
    pub(crate) fn of_values<'a>(values: impl IntoIterator<Item = (u64, &'a [u8])>) -> Self {
        Self(values.into_iter().map(|(slot, value)| (slot, line_of(slot, value))).collect())
    }

    pub(crate) fn of_lines(text: &str) -> Self {
        let slot = |line: &str| line.split('\t').next().unwrap().parse().unwrap();
        Self(text.lines().map(|line| (slot(line), line.to_owned())).collect())
    }

    pub(crate) fn read(path: impl AsRef<Path>) -> Self {
        Self::of_lines(&fs::read_to_string(path).unwrap())
    }

    pub(crate) fn write(&self, path: impl AsRef<Path>) {
        let lines: Vec<&str> = self.0.values().map(String::as_str).collect();
        fs::write(path, lines.join("\n")).unwrap();
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = u64> {
        self.0.keys().copied()
    }

    #[track_caller]
    pub(crate) fn check(&self, slot: u64, line: &str) {
        let wanted =
            self.0.get(&slot).unwrap_or_else(|| panic!("slot {slot} has no business here"));
        assert_eq!(line, wanted, "slot {slot} holds a wrong value");
    }

    /// Asserts that every found slot is right, and that all wanted slots are found.
    #[track_caller]
    pub(crate) fn check_all(&self, found: &Truth, wanted: impl IntoIterator<Item = u64>) {
        found.0.iter().for_each(|(slot, line)| self.check(*slot, line));
        for slot in wanted {
            assert!(found.0.contains_key(&slot), "slot {slot} was acknowledged and is lost");
        }
    }
}
