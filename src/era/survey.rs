//! Decides what an archive lacks of each era, per column and slot, before anything is written.

use std::collections::BTreeSet;
use std::path::Path;

use super::archive_roots::{check_held, complete_blocks, genesis_of, view_of};
use super::era_file::EraFile;
use super::era_position::{EraPosition, Lack, LackingState, Lacks, Presence};
use super::group::{EraGroup, EraSlots};
use super::import_error::{ImportError, another_chain, refused};
use super::import_options::{ImportColumns, ImportOptions};
use super::import_plan::{ImportPlan, PlannedFile};
use super::state_store::StateStore;
use crate::column::Column;
use crate::error::Result;
use crate::manifest::StatesPolicy;
use crate::occupancy::lowest_slot;
use crate::slot::Slot;
use crate::write::Writer;

/// The columns of blocks and roots, in the order of the arrays below.
const HISTORY: [Column; 3] = [Column::BlockRoots, Column::StateRoots, Column::Blocks];

/// Simulates an import before it starts: tracks what the columns hold after each era.
pub(super) struct Survey<'p> {
    pub(super) options: ImportOptions<'p>,
    /// The archive's first slot; `None` while all its history columns are empty.
    first: Option<Slot>,
    /// The highest slots of the [`HISTORY`] after the preceding eras are imported.
    ends: [Option<Slot>; 3],
    /// The slot up to which no block is missing after the last one.
    blocks_complete: Option<Slot>,
    states_end: Option<Slot>,
    /// The genesis validators root of the states in `bss`.
    genesis_validators_root: Option<[u8; 32]>,
    /// The era whose state will be the archive's newest. It is stored even if it is not selected.
    newest: Option<u64>,
    seen: BTreeSet<u64>,
}

impl<'p> Survey<'p> {
    pub(super) fn new(
        plan: &ImportPlan,
        columns: &ImportColumns<'_>,
        options: ImportOptions<'p>,
    ) -> Result<Self> {
        let mut lowest = None;
        for column in HISTORY {
            if let Some(view) = view_of(columns.history(column))? {
                lowest = lowest.into_iter().chain(lowest_slot(&view)?).min();
            }
        }
        let ends = HISTORY.map(|column| columns.history(column).highest_written_slot());
        let snapshots = columns.state_snapshots.as_deref();
        let kept = options.store.as_deref().and_then(StateStore::highest);
        Ok(Self {
            first: lowest.map(|lowest| lowest.min(options.first_slot.unwrap_or(lowest))),
            options,
            ends,
            blocks_complete: complete_blocks(ends[2], view_of(columns.block_roots)?.as_ref())?,
            states_end: snapshots.and_then(Writer::highest_written_slot).max(kept),
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
        columns: &ImportColumns<'_>,
        planned: &PlannedFile,
    ) -> Result<Vec<(EraGroup, EraPosition)>, ImportError> {
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
        columns: &ImportColumns<'_>,
        file: &mut EraFile,
        group: &EraGroup,
    ) -> Result<EraPosition, ImportError> {
        let blocks = file.block_slots(group)?;
        let presence = match group.slots {
            Some(slots) => self.presence(columns, file.path(), group, slots, &blocks)?,
            None => Default::default(),
        };
        let first_lacking = presence.map(|presence| presence.first_lacking);
        let [of_block_roots, of_state_roots, _] = presence.map(|presence| presence.highest);
        let is_begun = presence.iter().any(|presence| presence.highest.is_some());
        let state = self.state_of(columns, file.path(), group)?;
        if is_begun {
            let state = file.state_head(group)?;
            check_held(columns, file.path(), group, &state, [of_block_roots, of_state_roots])?;
        }
        // Era 0 consists of a state only. It is small, and verified every time unless it was pruned.
        if (group.slots.is_some() || state == LackingState::Pruned)
            && first_lacking == [None; 3]
            && !matches!(state, LackingState::Lacking(_))
        {
            let pruned = presence.iter().any(|presence| presence.pruned);
            return Ok(EraPosition::Complete { pruned: pruned || state == LackingState::Pruned });
        }
        let mut lacks = Lacks { state, is_begun, ..Lacks::default() };
        if let Some(slots) = group.slots {
            self.check_consecutive(file.path(), group.era, slots, first_lacking)?;
            let of = |at: usize| Lack::of(first_lacking[at], self.ends[at]);
            (lacks.block_roots, lacks.state_roots, lacks.blocks) = (of(0), of(1), of(2));
        }
        self.check_backfill(columns, file.path(), group, &lacks, first_lacking)?;
        // From here on, the era counts as imported.
        if let LackingState::Lacking(_) = state {
            self.states_end = self.states_end.max(Some(group.state_slot));
        }
        if let Some(slots) = group.slots {
            let last = Some(slots.last);
            self.first = self.first.or(Some(slots.first));
            let [block_roots, state_roots, of_blocks] = self.ends;
            let of_blocks = of_blocks.max(blocks.last().copied());
            self.ends = [block_roots.max(last), state_roots.max(last), of_blocks];
            self.blocks_complete = self.blocks_complete.max(last);
        }
        Ok(EraPosition::Lacking(lacks))
    }

    /// The slots that each column of the [`HISTORY`] has. `blocks` are the slots with a block.
    fn presence(
        &self,
        columns: &ImportColumns<'_>,
        path: &Path,
        group: &EraGroup,
        slots: EraSlots,
        blocks: &[Slot],
    ) -> Result<[Presence; 3], ImportError> {
        let mut presence = [Presence::default(); 3];
        for (presence, column) in presence.iter_mut().zip(HISTORY) {
            let (writer, pruned) = (columns.history(column), self.pruned_before(column));
            let looked = match column {
                Column::Blocks => Presence::of(writer, blocks.iter().copied(), pruned),
                _ => Presence::of(writer, (slots.first.0..=slots.last.0).map(Slot), pruned),
            };
            *presence = looked.map_err(refused(path, group, column))?;
        }
        Ok(presence)
    }

    /// Decides whether the state is present, pruned or wanted.
    fn state_of(
        &self,
        columns: &ImportColumns<'_>,
        path: &Path,
        group: &EraGroup,
    ) -> Result<LackingState, ImportError> {
        let (slot, column) = (group.state_slot, Column::StateSnapshots);
        let Some(snapshots) = &columns.state_snapshots else {
            return Ok(LackingState::NotSelected);
        };
        let held = match snapshots.contains(slot) {
            Ok(false) => {
                self.options.store.as_deref().map_or(Ok(false), |kept| kept.contains(slot))
            }
            held => held,
        };
        if held.map_err(refused(path, group, column))? {
            return Ok(LackingState::Held);
        }
        // Pruned states are not restored, just as pruned blocks are not.
        if self.pruned_before(column).is_some_and(|pruned| slot < pruned) {
            return Ok(LackingState::Pruned);
        }
        let is_newest =
            self.newest == Some(group.era) && self.ends[0].max(self.states_end) <= Some(slot);
        Ok(match self.options.states.selects(group.era) || is_newest {
            true => LackingState::Lacking(Lack::of(Some(slot), self.states_end)),
            false => LackingState::NotSelected,
        })
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
        let file = path.to_path_buf();
        if let Some(why) = self.unfinished(slots) {
            return Err(ImportError::NotConsecutive { file, era, slots, why });
        }
        if let Some(first) = self.first.filter(|first| slots.last < *first) {
            let why = format!("the archive begins with slot {first}; eras are not added before it");
            return Err(ImportError::NotConsecutive { file, era, slots, why });
        }
        let ends = [self.ends[0], self.ends[1], self.blocks_complete];
        for ((column, end), lacking) in HISTORY.into_iter().zip(ends).zip(first_lacking) {
            let pruned = self.pruned_before(column);
            let next = end.map(|end| Slot(end.0.saturating_add(1))).max(pruned).or(self.first);
            let Some(next) = next.filter(|next| lacking.is_some() && *next < slots.first) else {
                continue;
            };
            if !next.0.is_multiple_of(slots.count()) && end.is_some() {
                let (last, count) = (next.0.saturating_sub(1), slots.count());
                let why = format!(
                    "{column} ends with slot {last}, which is not the end of an era of {count} slots"
                );
                return Err(ImportError::NotConsecutive { file, era, slots, why });
            }
            return Err(ImportError::MissingEras {
                first: next.0.checked_div(slots.count()).unwrap_or_default().saturating_add(1),
                last: era.saturating_sub(1),
                column,
                column_last: end,
                era,
                file,
            });
        }
        Ok(())
    }

    /// An interrupted import may leave the blocks and state roots of an era without its block roots.
    /// Returns why no other era may follow such an unfinished one.
    fn unfinished(&self, slots: EraSlots) -> Option<String> {
        let [end, state_roots, blocks] = self.ends;
        let next = end.map(|end| end.0.saturating_add(1)).or(self.first.map(|first| first.0))?;
        let era_of = |slot: u64| slot.checked_div(slots.count());
        let highest = [(Column::Blocks, blocks), (Column::StateRoots, state_roots)];
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
        group: &EraGroup,
        lacks: &Lacks,
        [block_roots, state_roots, blocks]: [Option<Slot>; 3],
    ) -> Result<(), ImportError> {
        let slots = [blocks, block_roots, state_roots, Some(group.state_slot)];
        for ((column, lack), slot) in lacks.by_column().into_iter().zip(slots) {
            let writer = match column {
                Column::StateSnapshots => columns.state_snapshots.as_deref(),
                _ => Some(columns.history(column)),
            };
            let is_layered = self.options.states == StatesPolicy::Layered;
            let is_allowed = self.options.backfill
                || (column == Column::StateSnapshots && is_layered)
                || writer.is_some_and(|writer| writer.conf().allows_backfill());
            if let (Lack::Behind, false, Some(slot)) = (lack, is_allowed, slot) {
                let file = path.to_path_buf();
                return Err(ImportError::NeedsBackfill { file, era: group.era, column, slot });
            }
        }
        Ok(())
    }

    /// Checks the file's genesis validators root against the states in the archive.
    fn check_genesis(&self, planned: &PlannedFile) -> Result<(), ImportError> {
        let found = planned.genesis_validators_root;
        match &self.genesis_validators_root {
            Some(wanted) if *wanted != found => {
                let (era, what) = (planned.first_era, "genesis validators root");
                let other = "the archive";
                Err(another_chain(&planned.path, era, Slot(0), what, &found, other, wanted))
            }
            _ => Ok(()),
        }
    }
}
