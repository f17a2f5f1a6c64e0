//! How much of an era an archive has.

use crate::column::Column;
use crate::error::Result;
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

/// What each column lacks of an era.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lacks {
    pub(super) blocks: Lack,
    pub(super) block_roots: Lack,
    pub(super) state_roots: Lack,
    pub(super) state: LackingState,
    /// Whether the archive has a part of the era.
    pub(super) is_begun: bool,
}

impl Lacks {
    /// What each column lacks.
    pub(super) fn by_column(&self) -> [(Column, Lack); 4] {
        let state = match self.state {
            LackingState::Lacking(lack) => lack,
            _ => Lack::Nothing,
        };
        [
            (Column::Blocks, self.blocks),
            (Column::BlockRoots, self.block_roots),
            (Column::StateRoots, self.state_roots),
            (Column::StateSnapshots, state),
        ]
    }

    /// The columns that lacked records of a partly present era.
    pub(super) fn completed(&self) -> Vec<Column> {
        let lacking = self.by_column().into_iter().filter(|(_, lack)| *lack != Lack::Nothing);
        lacking.filter(|_| self.is_begun).map(|(column, _)| column).collect()
    }
}

/// What a column lacks of the slots that an era brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lack {
    /// Nothing.
    #[default]
    Nothing,
    /// Slots above its highest.
    Next,
    /// Slots at or below its highest, and maybe others above it.
    Behind,
}

impl Lack {
    /// What a column with the highest slot `end` lacks, by the first slot that is missing.
    pub(super) fn of(first_lacking: Option<Slot>, end: Option<Slot>) -> Self {
        match first_lacking {
            None => Lack::Nothing,
            Some(slot) if Some(slot) <= end => Lack::Behind,
            Some(_) => Lack::Next,
        }
    }
}

/// The state of an era.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LackingState {
    /// It is neither present nor selected.
    #[default]
    NotSelected,
    /// It was pruned.
    Pruned,
    /// It is present.
    Held,
    /// It is selected and missing.
    Lacking(Lack),
}

/// The slots of an era that a column has and lacks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Presence {
    pub(super) highest: Option<Slot>,
    pub(super) first_lacking: Option<Slot>,
    /// Whether some of the missing slots were pruned.
    pub(super) pruned: bool,
}

impl Presence {
    pub(super) fn of(
        writer: &Writer,
        slots: impl Iterator<Item = Slot>,
        pruned_before: Option<Slot>,
    ) -> Result<Self> {
        let mut presence = Self::default();
        for slot in slots {
            if writer.contains(slot)? {
                presence.highest = Some(slot);
            } else if pruned_before.is_none_or(|pruned| slot >= pruned) {
                presence.first_lacking = presence.first_lacking.or(Some(slot));
            } else {
                presence.pruned = true;
            }
        }
        Ok(presence)
    }
}
