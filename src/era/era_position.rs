//! Decides what an archive lacks of each era, per column and slot, before anything is written.

use std::collections::BTreeSet;
use std::path::Path;

use super::archive_roots::{check_held, complete_blocks, genesis_of, view_of};
use super::columns::{ImportColumns, ImportOptions};
use super::error::{AnotherChain, ImportError, refused};
use super::group::{EraSlots, Group};
use super::lacks::{Lack, LackingState, Lacks};
use super::plan::{Plan, PlannedFile};
use super::reader::EraFile;
use super::ssz::Root;
use crate::column::Column;
use crate::error::Result;
use crate::occupancy::lowest_slot;
use crate::slot::Slot;
use crate::write::Writer;

/// How much of an era the archive has.
#[derive(Debug)]
pub(super) enum EraPosition {
    /// All of it, or all except pruned slots.
    Complete {
        /// Whether a part of it was pruned.
        pruned: bool,
    },
    /// Only a part of it, or nothing.
    Lacking(Lacks),
}

/// Simulates an import before it starts: tracks what the columns hold after each era.
pub(super) struct Survey {
    options: ImportOptions,
    /// The archive's first slot; `None` while all its history columns are empty.
    first: Option<Slot>,
    /// The highest slots of `bbr` and `bsr` after the preceding eras are imported.
    roots_end: [Option<Slot>; 2],
    blocks_end: Option<Slot>,
    /// The slot up to which no block is missing after the last one.
    blocks_complete: Option<Slot>,
    states_end: Option<Slot>,
    /// The genesis validators root of the states in `bss`.
    genesis_validators_root: Option<Root>,
    /// The era whose state will be the archive's newest. It is stored even if it is not selected.
    newest: Option<u64>,
    seen: BTreeSet<u64>,
}

impl Survey {
    pub(super) fn new(
        plan: &Plan,
        columns: &ImportColumns<'_>,
        options: ImportOptions,
    ) -> Result<Self> {
        let ImportColumns { blocks, block_roots, state_roots, state_snapshots } = columns;
        let roots = view_of(block_roots)?;
        let (of_blocks, of_states) = (view_of(blocks)?, view_of(state_roots)?);
        let mut lowest = None;
        for view in [&of_blocks, &roots, &of_states].into_iter().flatten() {
            lowest = lowest.into_iter().chain(lowest_slot(view)?).min();
        }
        let blocks_end = blocks.highest_written_slot();
        let roots_end = [block_roots.highest_written_slot(), state_roots.highest_written_slot()];
        let snapshots = state_snapshots.as_deref();
        Ok(Self {
            options,
            first: lowest.map(|lowest| lowest.min(options.first_slot.unwrap_or(lowest))),
            roots_end,
            blocks_end,
            blocks_complete: complete_blocks(blocks_end, roots.as_ref())?,
            states_end: snapshots.and_then(Writer::highest_written_slot),
            genesis_validators_root: snapshots.map(genesis_of).transpose()?.flatten(),
            newest: plan.files().last().map(|file| file.last_era),
            seen: BTreeSet::new(),
        })
    }

    /// The archive's first slot; `None` while it holds no history.
    pub(super) fn first_slot(&self) -> Option<Slot> {
        self.first
    }

    /// Decides what the archive lacks of each era of a file, and compares the roots that it has.
    ///
    /// # Errors
    /// For missing eras before this one, for another chain, and if backfill is needed but not allowed.
    pub(super) fn file(
        &mut self,
        columns: &mut ImportColumns<'_>,
        planned: &PlannedFile,
    ) -> Result<Vec<(Group, EraPosition)>, ImportError> {
        let mut file = planned.open()?;
        // This is the only link between era 0 and the archive; later eras have roots to compare.
        if planned.first_era == 0 {
            self.check_genesis(planned)?;
        }
        let mut eras = Vec::new();
        for group in file.groups().to_vec() {
            // A repeated era is compared with the first occurrence, which is imported by then.
            let position = if self.seen.insert(group.era) {
                self.era(columns, &mut file, &group)?
            } else {
                EraPosition::Complete { pruned: false }
            };
            eras.push((group, position));
        }
        Ok(eras)
    }

    fn era(
        &mut self,
        columns: &mut ImportColumns<'_>,
        file: &mut EraFile,
        group: &Group,
    ) -> Result<EraPosition, ImportError> {
        let mut lacks = Lacks::default();
        let mut first_lacking = [None; 3];
        let mut pruned = false;
        if let Some(slots) = group.slots {
            let ImportColumns { blocks, block_roots, state_roots, .. } = columns;
            for (index, writer) in [&mut **block_roots, &mut **state_roots].into_iter().enumerate()
            {
                let every_slot = (slots.first.0..=slots.last.0).map(Slot);
                let column = [Column::BlockRoots, Column::StateRoots][index];
                let looked = Presence::of(writer, every_slot, self.pruned_before(column));
                let presence =
                    looked.map_err(|error| refused(file.path(), group, column, error))?;
                lacks.held[index] = presence.highest;
                pruned |= presence.pruned;
                first_lacking[index] = presence.first_lacking;
            }
            let of_blocks = file.block_slots(group)?.into_iter();
            let looked = Presence::of(blocks, of_blocks, self.pruned_before(Column::Blocks));
            let presence =
                looked.map_err(|error| refused(file.path(), group, Column::Blocks, error))?;
            first_lacking[2] = presence.first_lacking;
            pruned |= presence.pruned;
            lacks.is_begun = presence.highest.is_some() || lacks.held != [None; 2];
        }
        let state_at = self.state_of(columns, file, group, &mut lacks)?;
        if lacks.is_begun {
            let state = file.state_head(group)?;
            check_held(columns, file.path(), group, &state, lacks.held)?;
        }
        let state_is_pruned = lacks.state == LackingState::Pruned;
        // Era 0 consists of a state only. It is small, and verified every time unless it was pruned.
        if (group.slots.is_some() || state_is_pruned)
            && first_lacking == [None; 3]
            && state_at.is_none()
        {
            return Ok(EraPosition::Complete { pruned: pruned || state_is_pruned });
        }
        if let Some(slots) = group.slots {
            self.check_consecutive(file.path(), group.era, slots, first_lacking)?;
            let [roots_end, blocks_end] = [self.roots_end, [self.blocks_end; 2]];
            lacks.block_roots = lack(first_lacking[0], roots_end[0]);
            lacks.state_roots = lack(first_lacking[1], roots_end[1]);
            lacks.blocks = lack(first_lacking[2], blocks_end[0]);
        }
        self.check_backfill(columns, file.path(), group, &lacks, first_lacking)?;
        self.pass(file, group, &lacks)?;
        Ok(EraPosition::Lacking(lacks))
    }

    /// Decides whether the state is present, pruned or wanted. Returns its slot if it is to be stored.
    fn state_of(
        &self,
        columns: &mut ImportColumns<'_>,
        file: &EraFile,
        group: &Group,
        lacks: &mut Lacks,
    ) -> Result<Option<Slot>, ImportError> {
        let slot = group.state_slot;
        let Some(snapshots) = columns.state_snapshots.as_deref_mut() else { return Ok(None) };
        let held = snapshots.contains(slot);
        let column = Column::StateSnapshots;
        if held.map_err(|error| refused(file.path(), group, column, error))? {
            lacks.state = LackingState::Held;
            return Ok(None);
        }
        // Pruned states are not restored, just as pruned blocks are not.
        let is_pruned = self.pruned_before(column).is_some_and(|pruned| slot < pruned);
        if is_pruned {
            lacks.state = LackingState::Pruned;
        }
        if is_pruned || !self.selects(group) {
            return Ok(None);
        }
        lacks.state = LackingState::Lacking(lack(Some(slot), self.states_end));
        Ok(Some(slot))
    }

    fn selects(&self, group: &Group) -> bool {
        let is_newest = || {
            let end = self.roots_end[0].max(self.states_end);
            self.newest == Some(group.era) && end <= Some(group.state_slot)
        };
        self.options.states.selects(group.era) || is_newest()
    }

    fn pruned_before(&self, column: Column) -> Option<Slot> {
        self.options.pruned_before[column.index()]
    }

    /// Checks that no column gets a hole: an era must follow the column's last slot.
    fn check_consecutive(
        &self,
        path: &Path,
        era: u64,
        slots: EraSlots,
        first_lacking: [Option<Slot>; 3],
    ) -> Result<(), ImportError> {
        let not_consecutive =
            |why| Err(ImportError::NotConsecutive { file: path.to_path_buf(), era, slots, why });
        if let Some(why) = self.unfinished(slots) {
            return not_consecutive(why);
        }
        if let Some(first) = self.first.filter(|first| slots.last < *first) {
            return not_consecutive(format!(
                "the archive begins with slot {first}; eras are not added before it"
            ));
        }
        let ends = [
            (Column::BlockRoots, self.roots_end[0]),
            (Column::StateRoots, self.roots_end[1]),
            (Column::Blocks, self.blocks_complete),
        ];
        for ((column, end), lacking) in ends.into_iter().zip(first_lacking) {
            let pruned = self.pruned_before(column);
            let next = end.map(|end| Slot(end.0.saturating_add(1))).max(pruned).or(self.first);
            let Some(next) = next.filter(|next| lacking.is_some() && *next < slots.first) else {
                continue;
            };
            if !next.0.is_multiple_of(slots.count()) && end.is_some() {
                let last = next.0.saturating_sub(1);
                return not_consecutive(format!(
                    "{column} ends with slot {last}, which is not the end of an era of {} slots",
                    slots.count()
                ));
            }
            return Err(ImportError::MissingEras {
                first: next.0.checked_div(slots.count()).unwrap_or_default().saturating_add(1),
                last: era.saturating_sub(1),
                column,
                column_last: end,
                era,
                file: path.to_path_buf(),
            });
        }
        Ok(())
    }

    /// An interrupted import may leave the blocks and state roots of an era without its block roots.
    /// Returns why no other era may follow such an unfinished one.
    fn unfinished(&self, slots: EraSlots) -> Option<String> {
        let end = self.roots_end[0];
        let next = end.map(|end| end.0.saturating_add(1)).or(self.first.map(|first| first.0))?;
        let era_of = |slot: u64| slot.checked_div(slots.count());
        let highest = [(Column::Blocks, self.blocks_end), (Column::StateRoots, self.roots_end[1])];
        highest.into_iter().find_map(|(column, highest)| {
            let highest = highest.filter(|highest| Some(*highest) > end)?;
            if slots.index_of(highest).is_some() || era_of(next) != era_of(highest.0) {
                return None;
            }
            let block_roots = match end {
                Some(end) => format!("bbr ends with slot {end}"),
                None => "bbr is empty".to_owned(),
            };
            Some(format!(
                "{column} holds slots up to {highest} but {block_roots}: the era of slot {highest} \
                 is unfinished and has to be imported first"
            ))
        })
    }

    /// Fails if a column needs backfill that is not allowed. Nothing has changed yet.
    fn check_backfill(
        &self,
        columns: &ImportColumns<'_>,
        path: &Path,
        group: &Group,
        lacks: &Lacks,
        first_lacking: [Option<Slot>; 3],
    ) -> Result<(), ImportError> {
        let ImportColumns { blocks, block_roots, state_roots, state_snapshots } = columns;
        let needs = [
            (Column::BlockRoots, Some(&**block_roots), lacks.block_roots, first_lacking[0]),
            (Column::StateRoots, Some(&**state_roots), lacks.state_roots, first_lacking[1]),
            (Column::Blocks, Some(&**blocks), lacks.blocks, first_lacking[2]),
            (
                Column::StateSnapshots,
                state_snapshots.as_deref(),
                match lacks.state {
                    LackingState::Lacking(lack) => lack,
                    _ => Lack::Nothing,
                },
                Some(group.state_slot),
            ),
        ];
        for (column, writer, lack, slot) in needs {
            let is_allowed = self.options.backfill
                || writer.is_some_and(|writer| writer.conf().allows_backfill());
            if let (Lack::Behind, false, Some(slot)) = (lack, is_allowed, slot) {
                return Err(ImportError::NeedsBackfill {
                    file: path.to_path_buf(),
                    era: group.era,
                    column,
                    slot,
                });
            }
        }
        Ok(())
    }

    /// Records the era as imported.
    fn pass(&mut self, file: &mut EraFile, group: &Group, lacks: &Lacks) -> Result<()> {
        if let LackingState::Lacking(_) = lacks.state {
            self.states_end = self.states_end.max(Some(group.state_slot));
        }
        let Some(slots) = group.slots else { return Ok(()) };
        self.first = self.first.or(Some(slots.first));
        for end in &mut self.roots_end {
            *end = (*end).max(Some(slots.last));
        }
        self.blocks_end = self.blocks_end.max(file.block_slots(group)?.last().copied());
        self.blocks_complete = self.blocks_complete.max(Some(slots.last));
        Ok(())
    }

    /// Checks the file's genesis validators root against the states in the archive.
    fn check_genesis(&self, planned: &PlannedFile) -> Result<(), ImportError> {
        let found = planned.genesis_validators_root;
        match self.genesis_validators_root {
            Some(wanted) if wanted != found => Err(AnotherChain {
                file: planned.path.clone(),
                era: planned.first_era,
                slot: Slot(0),
                what: "genesis validators root",
                found,
                other: "the archive".to_owned(),
                wanted: Some(wanted),
            }
            .into()),
            _ => Ok(()),
        }
    }
}

/// The slots of an era that a column has and lacks.
struct Presence {
    highest: Option<Slot>,
    first_lacking: Option<Slot>,
    /// Whether some of the missing slots were pruned.
    pruned: bool,
}

impl Presence {
    fn of(
        writer: &mut Writer,
        slots: impl Iterator<Item = Slot>,
        pruned_before: Option<Slot>,
    ) -> Result<Self> {
        let (mut highest, mut first_lacking, mut pruned) = (None, None, false);
        for slot in slots {
            if writer.contains(slot)? {
                highest = Some(slot);
            } else if pruned_before.is_none_or(|pruned| slot >= pruned) {
                first_lacking = first_lacking.or(Some(slot));
            } else {
                pruned = true;
            }
        }
        Ok(Self { highest, first_lacking, pruned })
    }
}

fn lack(first_lacking: Option<Slot>, end: Option<Slot>) -> Lack {
    match first_lacking {
        None => Lack::Nothing,
        Some(slot) if Some(slot) <= end => Lack::Behind,
        Some(_) => Lack::Next,
    }
}
