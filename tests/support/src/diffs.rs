//! Archives whose states are stored as diffs.

use std::collections::BTreeMap;

use coldstore::{Checksums, Column, Manifest, Slot, Writer, WriterOptions};
use coldstore_consensus::Preset;
use coldstore_history::replay::Source;
use coldstore_history::states::hierarchy::{Hierarchy, Layer};
use coldstore_history::states::value::{DiffContext, encode_slot};
use coldstore_history::states::{Columns, StateRef};

use crate::ImportedArchive;
use crate::chain_content::all_states;

/// A state by its bytes alone.
pub struct WholeState<'s> {
    ssz: &'s [u8],
    columns: Columns,
}

impl<'s> WholeState<'s> {
    pub fn new(preset: Preset, ssz: &'s [u8]) -> Self {
        Self { ssz, columns: Columns::of_raw(preset, ssz).unwrap() }
    }

    pub fn state(&self) -> StateRef<'_> {
        StateRef { base: self.ssz, columns: &self.columns }
    }
}

/// Stores the states of the small chain by these layers instead of those that it has: the raw ones in `bss`, of the
/// others those that are chosen in `bsd`, each on its best base that is stored. The layers are recorded in the
/// manifest. Returns the values of `bsd`.
pub fn store_diffs(
    archive: &ImportedArchive,
    layers: &Hierarchy,
    is_kept: impl Fn(u64) -> bool,
) -> BTreeMap<u64, Vec<u8>> {
    let first = first_whole(archive);
    let states: BTreeMap<u64, Vec<u8>> =
        all_states().into_iter().filter(|(slot, _)| *slot >= first).collect();
    let is_raw = |slot: u64| layers.layer(Slot(slot)) == Layer::Raw;
    put(archive, Column::StateSnapshots, states.iter().filter(|(slot, _)| is_raw(**slot)));
    let source = Source::of(&archive.open()).unwrap();
    let context = DiffContext::new(&source);
    let mut values = BTreeMap::new();
    for (slot, ssz) in states.iter().filter(|(slot, _)| !is_raw(**slot) && is_kept(**slot)) {
        let bases = layers.bases(Slot(*slot)).into_iter().map(|base| base.0);
        let mut stored = bases.filter(|base| is_raw(*base) || values.contains_key(base));
        let Some(base) = stored.find(|base| states.contains_key(base)) else { continue };
        let base = WholeState::new(Preset::Minimal, &states[&base]);
        let next = WholeState::new(Preset::Minimal, ssz);
        values.insert(*slot, encode_slot(base.state(), next.state(), context).unwrap());
    }
    put(archive, Column::StateDiffs, values.iter());
    record_layers(archive, layers);
    values
}

/// Records layers in the manifest, and no others before them.
pub fn record_layers(archive: &ImportedArchive, layers: &Hierarchy) {
    let record = |manifest: &mut Manifest| {
        layers.record(manifest);
        Ok(())
    };
    Manifest::update(archive.path(), record).unwrap();
}

fn first_whole(archive: &ImportedArchive) -> u64 {
    let snapshots = archive.open().column(Column::StateSnapshots).unwrap().view();
    coldstore::Snapshot::first_from(&snapshots, Slot(0)).unwrap().unwrap().0
}

/// Replaces a column by one with these values.
pub fn put<'v>(
    archive: &ImportedArchive,
    column: Column,
    values: impl Iterator<Item = (&'v u64, &'v Vec<u8>)>,
) {
    let directory = archive.path().join(column.dir_name());
    if directory.exists() {
        std::fs::remove_dir_all(&directory).unwrap();
    }
    let options = WriterOptions::create(column.spec()).checksums(Checksums::On);
    let mut writer = Writer::open(&directory, options).unwrap();
    for (slot, value) in values {
        writer.put(Slot(*slot), value).unwrap();
    }
}
