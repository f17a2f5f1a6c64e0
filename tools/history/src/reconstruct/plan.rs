//! Which slots are replayed, and from which stored states.

use std::iter;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;

use coldstore::{Column, Result, Slot, Snapshot as _, View};

use super::keep::{Diffs, Keep};
use crate::replay::{Check, Source};
use crate::states::hierarchy::{Hierarchy, Layer};

/// The states to store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Chosen {
    /// None: the replay only proves.
    #[default]
    Nothing,
    /// Those of the slots that are multiples of this number.
    Every(NonZeroU64),
    /// Those of these slots, ascending.
    Slots(Vec<Slot>),
    /// Those that are kept as diffs, which go to `bsd`.
    Kept(Keep),
}

impl Chosen {
    /// Whether states are stored.
    #[must_use]
    pub fn stores(&self) -> bool {
        *self != Self::Nothing
    }

    pub(super) fn slots(self, hierarchy: Hierarchy, slots_per_epoch: u64) -> ChosenSlots {
        match self {
            Self::Nothing => ChosenSlots::Nothing,
            Self::Every(slots) => ChosenSlots::Every(slots),
            Self::Slots(slots) => ChosenSlots::Slots(slots),
            Self::Kept(keep) => ChosenSlots::Diffs(Diffs::new(keep, hierarchy, slots_per_epoch)),
        }
    }

    /// The column to which states go.
    #[must_use]
    pub fn column(&self) -> Option<Column> {
        match self {
            Self::Nothing => None,
            Self::Every(_) | Self::Slots(_) => Some(Column::StateSnapshots),
            Self::Kept(_) => Some(Column::StateDiffs),
        }
    }
}

/// The slots whose states are to be stored.
#[derive(Clone, Debug)]
pub(super) enum ChosenSlots {
    Nothing,
    Every(NonZeroU64),
    Slots(Vec<Slot>),
    Diffs(Diffs),
}

impl ChosenSlots {
    /// The layer of a slot.
    pub(super) fn layer(&self, slot: Slot) -> Layer {
        match self {
            Self::Diffs(diffs) => diffs.hierarchy.layer(slot),
            _ => Layer::Raw,
        }
    }

    /// Whether the whole state of a slot is chosen.
    pub(super) fn contains_whole(&self, slot: Slot) -> bool {
        match self {
            Self::Nothing | Self::Diffs(_) => false,
            Self::Every(slots) => slot.0 % *slots == 0,
            Self::Slots(slots) => slots.binary_search(&slot).is_ok(),
        }
    }

    /// The chosen slots in a range, ascending.
    fn within(&self, slots: &RangeInclusive<u64>) -> Box<dyn Iterator<Item = Slot> + '_> {
        let (first, last) = (*slots.start(), *slots.end());
        match self {
            Self::Nothing => Box::new(iter::empty()),
            Self::Every(every) => {
                let first = first.checked_next_multiple_of(every.get());
                let step = usize::try_from(every.get()).unwrap_or(usize::MAX);
                Box::new(
                    first.into_iter().flat_map(move |first| (first..=last).step_by(step)).map(Slot),
                )
            }
            Self::Slots(chosen) => {
                let from = chosen.partition_point(|slot| slot.0 < first);
                Box::new(chosen[from..].iter().copied().take_while(move |slot| slot.0 <= last))
            }
            Self::Diffs(diffs) => Box::new(diffs.within(slots)),
        }
    }

    /// The chosen slots in a range whose states are not stored, ascending.
    pub(super) fn missing<'a>(
        &'a self,
        source: &'a Source<View>,
        slots: &RangeInclusive<u64>,
    ) -> impl Iterator<Item = Result<Slot>> + 'a {
        self.within(slots).filter_map(|slot| match self.is_stored(source, slot) {
            Ok(is_stored) => (!is_stored).then_some(Ok(slot)),
            Err(error) => Some(Err(error)),
        })
    }

    /// Whether the state of a chosen slot is stored: a whole one also serves where a diff is chosen.
    fn is_stored(&self, source: &Source<View>, slot: Slot) -> Result<bool> {
        match self {
            Self::Diffs(_) => source.stored().contains(slot),
            _ => source.snapshots.contains(slot),
        }
    }
}

/// Slots that are replayed from one stored state: those of an era, or of several where the boundary states
/// between them are not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The eras; era N ends with the state of slot `N * slots_per_era`.
    pub eras: RangeInclusive<u64>,
    /// The slot of the stored state from which the replay starts.
    pub start: Slot,
    /// The last slot.
    pub end: Slot,
    /// Whether the state of the last slot is stored: the state reached must be equal to it. Otherwise the
    /// root of the last slot decides.
    pub ends_with_stored_state: bool,
}

impl Stretch {
    /// Number of slots to replay.
    #[must_use]
    pub fn slots(&self) -> u64 {
        self.end.0 - self.start.0
    }
}

/// The work of a reconstruction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Ascending.
    pub stretches: Vec<Stretch>,
    /// Eras that are left out, as none of their chosen states is missing. With [`Check::Epoch`] and
    /// [`Check::Slot`] only those without a chosen slot: the others are replayed from their beginning.
    pub done_eras: u64,
    /// The first slot that can be replayed, which follows the oldest stored state at an era's end with blocks and
    /// roots after it, and the last one with a block root and a state root. `None` if no slot can be.
    pub reach: Option<(Slot, Slot)>,
    /// Eras that are left out, as their blocks or roots are not in the archive: a prune can keep their states.
    pub pruned_eras: Option<RangeInclusive<u64>>,
}

impl Plan {
    /// Divides the slots between the stored boundary states. Reads offset tables only.
    pub(super) fn new(
        source: &Source<View>,
        slots_per_era: u64,
        eras: Option<&RangeInclusive<u64>>,
        chosen: &ChosenSlots,
        check: Check,
    ) -> Result<Self> {
        let last_root = |view: &View| view.highest_written_slot();
        let last = last_root(&source.block_roots).min(last_root(&source.state_roots));
        let mut boundaries = boundaries(source, slots_per_era)?;
        let first_root =
            source.block_roots.first_from(Slot(0))?.max(source.state_roots.first_from(Slot(0))?);
        let first_block = source.blocks.first_from(Slot(0))?;
        let oldest = boundaries.first().copied();
        // A prune that keeps the states leaves some without the blocks and roots after them.
        boundaries.retain(|boundary| {
            first_root <= boundary.0.checked_add(1).map(Slot)
                && first_block < boundary.0.checked_add(slots_per_era).map(Slot)
        });
        let (Some(last), Some(first)) = (last, boundaries.first()) else {
            return Ok(Self::default());
        };
        let mut plan = Self::default();
        if last <= *first {
            return Ok(plan);
        }
        plan.reach = Some((Slot(first.0 + 1), last));
        plan.pruned_eras = oldest
            .filter(|oldest| oldest < first && eras.is_none())
            .map(|oldest| oldest.0 / slots_per_era + 1..=first.0 / slots_per_era);
        let wanted = match eras {
            Some(eras) => {
                let before = eras.start().saturating_sub(1).saturating_mul(slots_per_era);
                before.saturating_add(1)..=eras.end().saturating_mul(slots_per_era)
            }
            None => 1..=u64::MAX,
        };
        let ends = boundaries[1..].iter().copied().map(Some).chain([None]);
        for (boundary, next) in boundaries.iter().zip(ends) {
            let end = next.unwrap_or(last).0.min(last.0).min(*wanted.end());
            let first = boundary.0.saturating_add(1).max(*wanted.start());
            if first > end {
                continue;
            }
            let eras = first.div_ceil(slots_per_era)..=end.div_ceil(slots_per_era);
            let missing = chosen.missing(source, &(first..=end)).next();
            let start = match (missing, chosen) {
                (_, ChosenSlots::Nothing) => *boundary,
                _ if check != Check::Boundary && chosen.within(&(first..=end)).next().is_some() => {
                    *boundary
                }
                (None, _) => {
                    plan.done_eras += eras.end() - eras.start() + 1;
                    continue;
                }
                // Diffs are made from the beginning of the era.
                (Some(_), ChosenSlots::Diffs(_)) => *boundary,
                // Stored states before it are not compared again: a run that was killed resumes cheaply.
                (Some(missing), _) => missing
                    .and_then(|slot| source.snapshots.last_to(slot.previous().unwrap_or_default()))
                    // The worker that reads the damaged file reports it.
                    .unwrap_or(None)
                    .unwrap_or(*boundary),
            };
            plan.stretches.push(Stretch {
                eras,
                start,
                end: Slot(end),
                ends_with_stored_state: next == Some(Slot(end)),
            });
        }
        Ok(plan)
    }

    /// Number of slots to replay.
    #[must_use]
    pub fn slots(&self) -> u64 {
        self.stretches.iter().map(Stretch::slots).sum()
    }
}

/// The slots at the ends of eras whose states are stored, ascending.
fn boundaries(source: &Source<View>, slots_per_era: u64) -> Result<Vec<Slot>> {
    let mut slots = boundaries_in(&source.snapshots, slots_per_era)?;
    if let Some(diffs) = &source.diffs {
        slots.extend(boundaries_in(diffs, slots_per_era)?);
        slots.sort_unstable();
        slots.dedup();
    }
    Ok(slots)
}

/// The slots at the ends of eras with a record, ascending. Those of a file with a damaged offset table are among
/// them, so that the workers of their eras report it, and the others go on.
fn boundaries_in(states: &View, slots_per_era: u64) -> Result<Vec<Slot>> {
    let Some(highest) = states.highest_written_slot() else { return Ok(Vec::new()) };
    let mut slots = Vec::new();
    for file_id in states.file_ids()?.into_iter().filter(|id| *id <= highest.file_id()) {
        let is_boundary = |slot: &Slot| slot.0.is_multiple_of(slots_per_era);
        match states.table(file_id) {
            Ok(table) => {
                let stored = table.records(file_id, highest).map(|(slot, _)| slot);
                slots.extend(stored.filter(is_boundary));
            }
            Err(_) => {
                let last = file_id.last_slot().min(highest);
                let all = (file_id.first_slot().0..=last.0).map(Slot);
                slots.extend(all.filter(is_boundary));
            }
        }
    }
    Ok(slots)
}
