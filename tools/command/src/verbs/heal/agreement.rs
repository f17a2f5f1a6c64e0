//! Checks whether a copy of a column agrees with the archive's other columns.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use coldstore::verify::Finding;
use coldstore::{
    Column, Error, FileId, Manifest, Result, SLOTS_PER_FILE, Slot, Snapshot as _, View,
};
use coldstore_consensus::{
    Accumulators, BlockFault, BlockHasher, Preset, Root, StateFault, era_root, hash_state,
};
use coldstore_history::replay::Source;
use coldstore_history::states::hierarchy::{Hierarchy, Layer};
use coldstore_history::states::kind::Values;
use coldstore_history::states::stored_state::StoredState;
use coldstore_history::states::{PathFault, States, links};

use crate::open;

/// Bytes of a signed block up to its message: an offset and a signature.
const MESSAGE: usize = 100;
/// Offsets of the roots in the message, after slot and proposer.
const PARENT_ROOT: usize = MESSAGE + 16;
const STATE_ROOT: usize = PARENT_ROOT + 32;
/// Maximum number of states tried, newest first, to find one that can be hashed.
const STATES_LOOKED_AT: usize = 1000;

/// Counts of comparisons.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Compared {
    /// Comparisons of two roots.
    pub(super) roots: u64,
    /// Records of the copy that were compared whole.
    pub(super) records: u64,
}

/// Compares the content of a column in the directory `new` with the other columns:
///
/// 1. the parent root and the state root in each block with `bbr` and `bsr`, and the hash of the block
///    with `bbr`,
/// 2. the hash of each state with `bsr`,
/// 3. the roots of each era with those in the newest state,
/// 4. the state on which each diff builds: it must be there; and the hash of the diffs at the
///    boundaries of eras with `bsr`.
///
/// Only comparisons that involve the column are made. Without a preset nothing is hashed.
///
/// # Errors
/// [`Error::Corrupt`] with the slot of the first difference, [`Error::Io`]. Damaged records of the other
/// columns, and records that cannot be hashed, are skipped.
pub(super) fn compare(
    archive: &Path,
    column: Column,
    new: &Path,
    preset: Option<Preset>,
) -> Result<Compared> {
    let view_of = |of: Column| -> Result<Option<View>> {
        let directory = if of == column { new.to_owned() } else { archive.join(of.dir_name()) };
        let opened = open::directory(&directory, of).map(|reader| reader.view());
        if of == column { opened.map(Some) } else { Error::if_sound(opened) }
    };
    let mut look = Comparison {
        column,
        archive,
        new: new.to_owned(),
        preset,
        block_roots: view_of(Column::BlockRoots)?,
        state_roots: view_of(Column::StateRoots)?,
        snapshots: view_of(Column::StateSnapshots)?,
        roots: 0,
        compared: BTreeMap::new(),
    };
    // 1.
    if matches!(column, Column::Blocks | Column::BlockRoots | Column::StateRoots)
        && let Some(blocks) = view_of(Column::Blocks)?
    {
        look.blocks(&blocks)?;
    }
    // 2.
    if matches!(column, Column::StateRoots | Column::StateSnapshots) {
        look.states()?;
    }
    // 3.
    if matches!(column, Column::BlockRoots | Column::StateRoots) {
        look.eras()?;
    }
    // 4.
    if matches!(column, Column::StateRoots | Column::StateSnapshots | Column::StateDiffs)
        && let (Some(blocks), Some(diffs)) =
            (view_of(Column::Blocks)?, view_of(Column::StateDiffs)?)
        && let Some(states) = look.rebuilt(archive, blocks, diffs)?
    {
        look.diffs(archive, &states)?;
    }
    let records = look.compared.values().flatten().filter(|compared| **compared).count() as u64;
    Ok(Compared { roots: look.roots, records })
}

struct Comparison<'a> {
    column: Column,
    archive: &'a Path,
    /// The directory of the copy.
    new: PathBuf,
    preset: Option<Preset>,
    block_roots: Option<View>,
    state_roots: Option<View>,
    snapshots: Option<View>,
    roots: u64,
    /// Whether the record of each slot of the copy was compared, by file.
    compared: BTreeMap<FileId, Vec<bool>>,
}

impl Comparison<'_> {
    fn blocks(&mut self, blocks: &View) -> Result<()> {
        let mut hasher = self.preset.map(BlockHasher::new);
        for record in blocks.range(..) {
            let Some(record) = self.passed_over(Column::Blocks, record)? else { continue };
            let slot = record.slot();
            let Some(block) = self.passed_over(Column::Blocks, record.value())? else { continue };
            let whose = format!("in the block of slot {slot}");
            // A skipped slot repeats the root before it.
            for (of, at, offset) in [
                (Column::BlockRoots, slot.previous(), PARENT_ROOT),
                (Column::StateRoots, Some(slot), STATE_ROOT),
            ] {
                let told = block.get(offset..offset + 32);
                if let (Some(at), Some(told)) = (at, told)
                    && self.root(of, at, told, &whose)?
                    && of == self.column
                {
                    self.mark(at);
                }
            }
            let Some(hasher) = hasher.as_mut().filter(|_| self.column != Column::StateRoots) else {
                continue;
            };
            match hasher.hash(&block) {
                Ok(hashed) => {
                    let whose = format!("what the block of slot {slot} hashes to");
                    if self.root(Column::BlockRoots, slot, &hashed.root.0, &whose)? {
                        self.mark(slot);
                    }
                }
                Err(BlockFault::Malformed(fault)) if self.column == Column::Blocks => {
                    return Err(self.refuse(format!("slot {slot}: a block"), fault.to_string()));
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn states(&mut self) -> Result<()> {
        let (Some(snapshots), Some(preset)) = (self.snapshots.clone(), self.preset) else {
            return Ok(());
        };
        let is_copy = self.column == Column::StateSnapshots;
        for record in snapshots.range(..) {
            let Some(record) = self.passed_over(Column::StateSnapshots, record)? else { continue };
            let slot = record.slot();
            match hash_state(preset, &mut record.stored()) {
                Ok(state) => {
                    let Some(body) = state.body else { continue };
                    let whose = format!("what the state of slot {slot} hashes to");
                    if self.root(Column::StateRoots, slot, &body.root.0, &whose)? {
                        self.mark(slot);
                    }
                }
                Err(StateFault::Malformed(fault)) if is_copy => {
                    return Err(self.refuse(format!("slot {slot}: a state"), fault.to_string()));
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// The states that are rebuilt from diffs; `None` if a column for that is missing, or the diffs are
    /// not of this software.
    fn rebuilt(&self, archive: &Path, blocks: View, diffs: View) -> Result<Option<States<View>>> {
        let manifest = Manifest::read(archive)?.unwrap_or_default();
        if manifest.state_values.as_deref() != Some(Values::Coldstore.name()) {
            return Ok(None);
        }
        let (Some(preset), Some(block_roots), Some(state_roots), Some(snapshots)) = (
            self.preset,
            self.block_roots.clone(),
            self.state_roots.clone(),
            self.snapshots.clone(),
        ) else {
            return Ok(None);
        };
        let diffs = Some(diffs);
        let source = Source { blocks, block_roots, state_roots, snapshots, diffs };
        let layers = Hierarchy::of_manifest(archive, &manifest, preset)?;
        Ok(Some(States::of_stored(source, preset, layers)))
    }

    fn diffs(&mut self, archive: &Path, states: &States<View>) -> Result<()> {
        let mut first = None;
        links::check(archive, states, &mut |_| {}, &mut |fault, _, finding: Finding| {
            if first.is_none() && self.is_of_copy(states.layers(), fault) {
                first = Some(finding);
            }
        })?;
        if let Some(Finding { slot, what, wanted, found, .. }) = first {
            let slot = slot.unwrap_or_default();
            return Err(self.refuse(format!("slot {slot}: {what}: {wanted}"), found));
        }
        let Some(diffs) = states.source().diffs.clone() else { return Ok(()) };
        let slots_per_era = states.preset().slots_per_era();
        let mut next = diffs.first_from(Slot(0))?;
        while let Some(slot) = next {
            let above = match slot.0.is_multiple_of(slots_per_era) {
                true => {
                    self.diff(states, slot)?;
                    slot.next()
                }
                false => (slot.0.checked_add(slots_per_era - 1))
                    .map(|above| Slot(above - above % slots_per_era)),
            };
            next = match above {
                Some(above) => diffs.first_from(above)?,
                None => None,
            };
        }
        Ok(())
    }

    /// Whether a fault of diffs is one of the copy, and not of another column.
    fn is_of_copy(&self, layers: &Hierarchy, fault: &PathFault) -> bool {
        match (self.column, fault) {
            (column, PathFault::Missing { base, .. }) => {
                let is_whole = layers.layer(*base) == Layer::Raw;
                column == if is_whole { Column::StateSnapshots } else { Column::StateDiffs }
            }
            (Column::StateSnapshots, fault) => matches!(fault, PathFault::Whole { .. }),
            (Column::StateRoots, fault) => matches!(fault, PathFault::WrongBase { .. }),
            _ => true,
        }
    }

    fn diff(&mut self, states: &States<View>, slot: Slot) -> Result<()> {
        let view = match states.stored_at(slot) {
            Ok(Some(view)) => view,
            Ok(None) => return Ok(()),
            Err(PathFault::Storage { error: error @ Error::Io(_), .. }) => return Err(error),
            Err(fault) if self.is_of_copy(states.layers(), &fault) => {
                return Err(self.refuse(format!("slot {slot}: a state"), fault.to_string()));
            }
            Err(_) => return Ok(()),
        };
        let Ok(root) = view.root() else { return Ok(()) };
        let whose = format!("what the state of slot {slot} hashes to");
        if self.root(Column::StateRoots, slot, &root.0, &whose)? {
            self.mark(slot);
        }
        Ok(())
    }

    fn eras(&mut self) -> Result<()> {
        let Some((of, slots, known)) = self.newest_state() else { return Ok(()) };
        for era in 1..=known.eras() {
            let first = (era - 1).saturating_mul(slots);
            let roots = |view: Option<&View>| -> Option<Vec<Root>> {
                let root = |slot| Root::of_slice(view?.get_stored(Slot(slot)).ok()??);
                (first..first.saturating_add(slots)).map(root).collect()
            };
            let both = roots(self.block_roots.as_ref()).zip(roots(self.state_roots.as_ref()));
            let (Some((block_roots, state_roots)), Some(wanted)) = (both, known.era_root(era))
            else {
                continue;
            };
            let found = era_root(&block_roots, &state_roots);
            if found != wanted {
                let wanted = format!(
                    "era {era}, slots {first} to {}: roots in bbr and bsr that hash to {}, as the \
                     state of slot {of} in bss has it",
                    first + slots - 1,
                    wanted
                );
                return Err(self.refuse(wanted, found.to_string()));
            }
            self.roots += slots;
            (first..first + slots).for_each(|slot| self.mark(Slot(slot)));
        }
        Ok(())
    }

    /// The newest state that can be hashed: its slot, the slots per era, and its accumulators.
    fn newest_state(&self) -> Option<(Slot, u64, Accumulators)> {
        let (snapshots, preset) = (self.snapshots.as_ref()?, self.preset?);
        if let Some(newest) = self.newest_diff(preset) {
            return Some(newest);
        }
        let newest = snapshots.range(..).rev().flatten().take(STATES_LOOKED_AT);
        let mut hashed = newest.filter_map(|record| {
            let state = hash_state(preset, &mut record.stored()).ok()?;
            let is_sound = state.prefix.slot == record.slot().0;
            let body = state.body.filter(|_| is_sound)?;
            Some((record.slot(), preset.slots_per_era(), body.accumulators))
        });
        hashed.next()
    }

    /// The same of the newest state at an era's end, if it is stored as a diff and can be read.
    fn newest_diff(&self, preset: Preset) -> Option<(Slot, u64, Accumulators)> {
        let archive = open::archive(self.archive).ok()?;
        let diffs = archive.column(Column::StateDiffs).ok()?.view();
        let slots_per_era = preset.slots_per_era();
        let last = diffs.highest_written_slot()?.0;
        let slot = Slot(last - last % slots_per_era);
        let stored = StoredState::read(&archive, preset, slot).ok()??;
        let state = hash_state(preset, &mut stored.reader().ok()?).ok()?;
        let body = state.body.filter(|_| state.prefix.slot == slot.0 && !stored.is_whole())?;
        Some((slot, slots_per_era, body.accumulators))
    }

    /// Compares a root with the one stored for a slot; false if none is stored.
    fn root(&mut self, of: Column, at: Slot, told: &[u8], whose: &str) -> Result<bool> {
        // A comparison between two other columns does not concern the copy.
        let is_copy = of == self.column;
        if !is_copy && matches!(self.column, Column::BlockRoots | Column::StateRoots) {
            return Ok(false);
        }
        let view = if of == Column::BlockRoots { &self.block_roots } else { &self.state_roots };
        let held = view.as_ref().map(|view| view.get_stored(at));
        let held = match held {
            Some(Ok(Some(held))) => held,
            Some(Err(error)) if is_copy || !error.is_corrupt() => return Err(error),
            None | Some(Ok(None) | Err(_)) => return Ok(false),
        };
        self.roots += 1;
        if held == told {
            return Ok(true);
        }
        let (held, told) = (const_hex::encode_prefixed(held), const_hex::encode_prefixed(told));
        Err(match is_copy {
            true => self.refuse(format!("{told} in {of} at slot {at}, as {whose}"), held),
            false => self
                .refuse(format!("slot {at}: {held}, as {of} has it"), format!("{told}, {whose}")),
        })
    }

    /// Skips a damaged record of another column; in the copy it is an error.
    fn passed_over<T>(&self, of: Column, read: Result<T>) -> Result<Option<T>> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(Error::Corrupt(_)) if of != self.column => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn mark(&mut self, slot: Slot) {
        let slots = self.compared.entry(slot.file_id());
        let slots = slots
            .or_insert_with(|| vec![false; usize::try_from(SLOTS_PER_FILE).unwrap_or_default()]);
        if let Some(compared) = slots.get_mut(slot.index_in_file()) {
            *compared = true;
        }
    }

    fn refuse(&self, wanted: String, found: String) -> Error {
        Error::corrupt(&self.new, None, "copy", wanted, found)
    }
}
