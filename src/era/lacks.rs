//! Describes what each column of an archive lacks of an era.

use crate::column::Column;
use crate::slot::Slot;

/// What each column lacks of an era.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lacks {
    pub(super) blocks: Lack,
    pub(super) block_roots: Lack,
    pub(super) state_roots: Lack,
    pub(super) state: LackingState,
    /// The highest slots of the era with a root in `bbr` and in `bsr`.
    pub(super) held: [Option<Slot>; 2],
    /// Whether the archive has a part of the era.
    pub(super) is_begun: bool,
}

impl Lacks {
    /// The columns that lacked records of a partly present era.
    pub(super) fn completed(&self) -> Vec<Column> {
        if !self.is_begun {
            return Vec::new();
        }
        let lacks_state = matches!(self.state, LackingState::Lacking(_));
        [
            (Column::Blocks, self.blocks != Lack::Nothing),
            (Column::BlockRoots, self.block_roots != Lack::Nothing),
            (Column::StateRoots, self.state_roots != Lack::Nothing),
            (Column::StateSnapshots, lacks_state),
        ]
        .into_iter()
        .filter_map(|(column, lacks)| lacks.then_some(column))
        .collect()
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
