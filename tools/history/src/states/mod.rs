//! The state of any slot: the nearest stored one, and a replay of the blocks after it.

mod columns;
pub mod hierarchy;
mod intake;
pub mod value;

use std::io::{self, Write};
use std::sync::Arc;

use coldstore::read::Taken;
use coldstore::{Archive, Manifest, PreadView, Slot, Snapshot};
use coldstore_consensus::transition::{BeaconState, ChainRules};
use coldstore_consensus::{Config, Fork, Root};

pub use self::columns::{Columns, StateRef, VALIDATOR_BYTES, ValidatorBytes};
use crate::replay::{Check, Replay, ReplayError, RulesError, Source, rules_of};

/// The states of an archive, stored or not, on one snapshot of its columns. May be used by several threads.
///
/// The state of a slot has the slot's block applied. Without a block it is the specification's state of that
/// slot: slots processed, and upgraded if a fork begins. What is trusted is the stored state from which it is
/// rebuilt: [`RebuiltState::prove`] also covers that one.
/// [`guide::any_state`](crate::guide::any_state) has an example.
#[derive(Clone, Debug)]
pub struct States<S = PreadView> {
    source: Source<S>,
    rules: Arc<ChainRules>,
}

impl<S: Taken> States<S> {
    /// The states of an archive as it is now. Its rules are those of `config`, or else of the known network that
    /// it belongs to.
    ///
    /// # Errors
    /// [`RulesError`]; [`RulesError::Storage`] also if one of the columns is missing.
    pub fn open(archive: &Archive<S>, config: Option<&Config>) -> Result<Self, RulesError> {
        let manifest = Manifest::read(archive.root())?.unwrap_or_default();
        let source = Source::of(archive)?;
        let rules = rules_of(&manifest, &source, config)?;
        Ok(Self { source, rules })
    }
}

impl<S: Snapshot> States<S> {
    /// The records from which the states are rebuilt.
    #[must_use]
    pub fn source(&self) -> &Source<S> {
        &self.source
    }

    /// The state of a slot. Takes the time of reading a state, and of a replay of the slots between.
    ///
    /// If the replay fails because the nearest stored state is wrong, and that is not at an era's end, it starts
    /// once more from the one at the beginning of the era: [`RebuiltState::wrong_base`].
    ///
    /// # Errors
    /// [`ReplayError`]: of them [`NoState`](ReplayError::NoState), [`BeyondEnd`](ReplayError::BeyondEnd),
    /// [`MissingBlock`](ReplayError::MissingBlock) and [`NoBlockRoot`](ReplayError::NoBlockRoot) say what the
    /// archive lacks, the others that its records contradict each other or the rules.
    pub fn at(&self, slot: Slot) -> Result<RebuiltState<'_, S>, ReplayError> {
        self.at_watched(slot, &mut |_| {})
    }

    /// As [`Self::at`]; `watch` is called with each slot before it is replayed.
    ///
    /// # Errors
    /// As [`Self::at`].
    pub fn at_watched(
        &self,
        slot: Slot,
        watch: &mut dyn FnMut(Slot),
    ) -> Result<RebuiltState<'_, S>, ReplayError> {
        let end = self.source.end();
        if Some(slot) > end {
            return Err(ReplayError::BeyondEnd { slot, end });
        }
        let Some(base) = self.source.snapshots.last_to(slot)? else {
            return Err(ReplayError::NoState {
                slot,
                next: self.source.snapshots.first_from(slot)?,
            });
        };
        match self.replay(base, slot, watch) {
            Ok(replay) => Ok(RebuiltState { replay, base, wrong_base: None, states: self }),
            Err(error) => self.without(base, slot, watch).ok_or(error),
        }
    }

    fn replay(
        &self,
        base: Slot,
        slot: Slot,
        watch: &mut dyn FnMut(Slot),
    ) -> Result<Replay<'_>, ReplayError> {
        let mut replay = self.start(base)?;
        while replay.slot() < slot {
            watch(Slot(replay.slot().0 + 1));
            replay.step(&self.source)?;
        }
        Ok(replay)
    }

    /// The state of a slot without the nearest stored one, if that is wrong and is not at an era's end.
    fn without(
        &self,
        nearest: Slot,
        slot: Slot,
        watch: &mut dyn FnMut(Slot),
    ) -> Option<RebuiltState<'_, S>> {
        let slots_per_era = self.rules.preset().slots_per_era();
        let base = self.source.boundary_before(nearest, slots_per_era).ok()??;
        // A fault of a block or a root stops the replay from the older state too.
        let is_right = self.start(nearest).and_then(|mut state| state.check_root(&self.source));
        if is_right.is_ok() {
            return None;
        }
        let replay = self.replay(base, slot, watch).ok()?;
        Some(RebuiltState { replay, base, wrong_base: Some(nearest), states: self })
    }

    /// A replay that starts from the stored state of a slot.
    fn start(&self, base: Slot) -> Result<Replay<'_>, ReplayError> {
        let stored = self.source.snapshots.get(base)?;
        let stored = stored.ok_or(ReplayError::NoState { slot: base, next: None })?;
        Replay::start(Arc::clone(&self.rules), base, stored, Check::Boundary)
    }
}

/// A state that was rebuilt from the stored state of a slot at or before its own.
#[derive(Debug)]
pub struct RebuiltState<'a, S = PreadView> {
    replay: Replay<'a>,
    base: Slot,
    wrong_base: Option<Slot>,
    states: &'a States<S>,
}

impl<'a, S: Snapshot> RebuiltState<'a, S> {
    /// The state's slot.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.replay.slot()
    }

    /// The slot of the stored state from which it was rebuilt.
    #[must_use]
    pub fn base(&self) -> Slot {
        self.base
    }

    /// The slot of a nearer stored state, which is wrong: damaged, or with another root than the one in `bsr`.
    #[must_use]
    pub fn wrong_base(&self) -> Option<Slot> {
        self.wrong_base
    }

    /// Number of slots that were replayed; 0 for a stored state.
    #[must_use]
    pub fn replayed_slots(&self) -> u64 {
        self.slot().0 - self.base.0
    }

    /// The state's fork.
    #[must_use]
    pub fn fork(&self) -> Fork {
        self.state().fork()
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &BeaconState<'a> {
        self.replay.state()
    }

    /// Writes the state as SSZ, in pieces of about a MiB.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_ssz(&self, out: &mut dyn Write) -> io::Result<()> {
        self.state().write_ssz(out)
    }

    /// `hash_tree_root` of the state. Hashes all of it on the first call.
    pub fn root(&mut self) -> Root {
        self.replay.root()
    }

    /// Compares the root of the state with the one in `bsr`, and returns it. If they differ, the stored state is
    /// compared as well. If that one is wrong, the state is rebuilt without it, as in [`States::at`]; if that fails
    /// too, the error is about the stored one.
    ///
    /// # Errors
    /// [`ReplayError::WrongStateRoot`], [`ReplayError::NoStateRoot`]
    pub fn prove(&mut self) -> Result<Root, ReplayError> {
        let source = &self.states.source;
        match self.replay.check_root(source) {
            Ok(true) => Ok(self.replay.root()),
            Ok(false) => Err(ReplayError::NoStateRoot { slot: self.slot() }),
            Err(wrong) => {
                if self.wrong_base.is_none()
                    && let Some(mut without) =
                        self.states.without(self.base, self.slot(), &mut |_| {})
                    && matches!(without.replay.check_root(source), Ok(true))
                {
                    *self = without;
                    return Ok(self.root());
                }
                if self.replayed_slots() > 0 {
                    self.states.start(self.base)?.check_root(source)?;
                }
                Err(wrong)
            }
        }
    }
}
