//! A state of the archive, read field by field or streamed as SSZ.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::thread;

use coldstore::{PreadView, Slot, Snapshot};
use coldstore_consensus::{Fork, HashedState, Preset, Root, StateFault, hash_state};

use super::States;
use super::columns::{Columns, StateRef};
use super::path::PathFault;
use super::ssz_reader::SszReader;
use super::validator::{Status, Validator};
use crate::replay::ReplayError;

/// How a state was made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum How {
    /// It is stored whole in `bss`.
    Stored,
    /// From a whole state and diffs in `bsd`.
    Diffs {
        /// The slot of the whole state.
        base: Slot,
        /// The slots of the diffs, ascending; the last one is the state's.
        records: Vec<Slot>,
    },
    /// From the nearest stored state and the blocks after it.
    Replayed {
        /// The slot of the stored state.
        base: Slot,
        /// The slots of the diffs from which that one was made, ascending; empty if it is stored whole.
        records: Vec<Slot>,
        /// Why the state could not be read: a link that is missing or damaged. `None` if the state is not kept.
        instead_of: Option<Arc<PathFault>>,
    },
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored => f.write_str("stored whole"),
            Self::Diffs { base, records } => {
                let plural = if records.len() == 1 { "" } else { "s" };
                write!(f, "{} diff{plural} on slot {base}", records.len())
            }
            Self::Replayed { base, instead_of: None, .. } => {
                write!(f, "replayed from slot {base}")
            }
            Self::Replayed { base, instead_of: Some(fault), .. } => {
                write!(f, "replayed from slot {base}, since {fault}")
            }
        }
    }
}

/// A state. What it has in common with a stored state stays where that one is mapped; the rest, about 45 MB of a
/// mainnet state, is shared with the cache.
///
/// Balances are in Gwei. Lists of validators end where the registry does; fields that the state's fork does not have
/// are `None`. [`guide::any_state`](crate::guide::any_state) has an example.
#[derive(Debug)]
pub struct StateView<'a, S = PreadView> {
    pub(super) states: &'a States<S>,
    /// The slot of the whole state, and its bytes.
    pub(super) whole: Slot,
    pub(super) base: Cow<'a, [u8]>,
    pub(super) columns: Columns,
    pub(super) how: How,
    pub(super) wrong_base: Option<Slot>,
}

impl<'a, S: Snapshot> StateView<'a, S> {
    /// The state's slot.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.columns.slot()
    }

    /// The state's fork; `None` if it is not known here: such a state can only be streamed.
    #[must_use]
    pub fn fork(&self) -> Option<Fork> {
        self.columns.fork()
    }

    /// The preset of its chain.
    #[must_use]
    pub fn preset(&self) -> Preset {
        self.columns.preset()
    }

    /// How the state was made.
    #[must_use]
    pub fn how(&self) -> &How {
        &self.how
    }

    /// The slot of the stored state from which it was made: replayed, or the whole state below its diffs.
    #[must_use]
    pub fn base(&self) -> Slot {
        match self.how {
            How::Stored => self.slot(),
            How::Diffs { base, .. } | How::Replayed { base, .. } => base,
        }
    }

    /// Number of slots that were replayed.
    #[must_use]
    pub fn replayed_slots(&self) -> u64 {
        match self.how {
            How::Replayed { base, .. } => self.slot().0 - base.0,
            How::Stored | How::Diffs { .. } => 0,
        }
    }

    /// The slot of a nearer stored state, which is wrong: damaged, or with another root than the one in `bsr`.
    #[must_use]
    pub fn wrong_base(&self) -> Option<Slot> {
        self.wrong_base
    }

    /// The state's bytes and where they are.
    #[must_use]
    pub fn state(&self) -> StateRef<'_> {
        StateRef { base: &self.base, columns: &self.columns }
    }

    /// The bytes of the whole state.
    pub(crate) fn base_bytes(&self) -> &Cow<'a, [u8]> {
        &self.base
    }

    /// Length of the state as SSZ in bytes.
    #[must_use]
    pub fn ssz_len(&self) -> u64 {
        self.state().ssz_len()
    }

    /// Writes the state as SSZ, in pieces of at most a MiB.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_ssz(&self, out: &mut dyn Write) -> io::Result<()> {
        self.state().write_ssz(out)
    }

    /// Reads the state as SSZ, without a buffer for the whole of it.
    ///
    /// # Errors
    /// [`io::ErrorKind::Other`] if the state is too long for SSZ: 4 GiB.
    pub fn reader(&self) -> io::Result<SszReader<'_>> {
        SszReader::new(self.state())
    }

    /// The SSZ bytes of a field by its name in the specification; `None` if the fork has none of that name.
    /// `validators` is copied, some hundred megabytes: prefer [`Self::validators`].
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.state().field(name)
    }

    /// Number of validators.
    #[must_use]
    pub fn validator_count(&self) -> usize {
        self.columns.validator_count()
    }

    /// The record of a validator.
    #[must_use]
    pub fn validator(&self, index: usize) -> Option<Validator> {
        self.state().validator(index).map(|encoded| Validator::decode(&encoded))
    }

    /// The records of a range of validators.
    pub fn validators(&self, range: Range<usize>) -> impl Iterator<Item = Validator> {
        self.state().validators(range).map(Validator::decode)
    }

    /// The balance of a validator.
    #[must_use]
    pub fn balance(&self, index: usize) -> Option<u64> {
        self.state().balance(index)
    }

    /// The balances of a range of validators.
    pub fn balances(&self, range: Range<usize>) -> impl Iterator<Item = u64> {
        let (balances, _) = self.list("balances").as_chunks();
        part(balances, range).iter().copied().map(u64::from_le_bytes)
    }

    /// The effective balances of a range of validators.
    pub fn effective_balances(&self, range: Range<usize>) -> impl Iterator<Item = u64> {
        self.validators(range).map(|validator| validator.effective_balance)
    }

    /// The participation flags of a range of validators, in the previous and in the current epoch; `None` before
    /// altair. Bits 0 to 2 stand for a timely source, target and head.
    #[must_use]
    pub fn participation(&self, range: Range<usize>) -> Option<[&[u8]; 2]> {
        let [previous, current] = ["previous", "current"]
            .map(|epoch| self.state().bytes_of(&format!("{epoch}_epoch_participation")));
        Some([part(previous?, range.clone()), part(current?, range)])
    }

    /// The status of a validator.
    #[must_use]
    pub fn status(&self, index: usize) -> Option<Status> {
        let epoch = self.slot().0 / self.columns.preset().slots_per_epoch();
        Some(self.validator(index)?.status(epoch, self.balance(index)?))
    }

    /// `hash_tree_root` of the state. Hashes all of it, on all cores; of the validators only those that differ from
    /// the state that was hashed before, if that was on the same stored state.
    ///
    /// # Errors
    /// [`ReplayError::Start`] if the bytes are not a state, or one whose layout is not known.
    pub fn root(&self) -> Result<Root, ReplayError> {
        self.states.root_of(self.whole, self.state())
    }

    /// Hashes the state as [`hash_state`] does, while it is written: without a copy of all of it.
    ///
    /// # Errors
    /// [`StateFault`]
    pub fn hashed(&self) -> Result<HashedState, StateFault>
    where
        S: Sync,
    {
        let (mut reader, mut writer) = io::pipe()?;
        thread::scope(|scope| {
            // If the reader stops early, it says why.
            scope.spawn(move || self.write_ssz(&mut writer));
            let hashed = hash_state(self.preset(), &mut reader);
            drop(reader);
            hashed
        })
    }

    /// Compares the root of the state with the one in `bsr`, and returns it. If they differ, the state is rebuilt
    /// by a replay from the one at the beginning of its era; if that fails too, the error is about the stored state.
    ///
    /// # Errors
    /// [`ReplayError::WrongStateRoot`], [`ReplayError::NoStateRoot`], and those of [`Self::root`].
    pub fn prove(&mut self) -> Result<Root, ReplayError> {
        let wrong = match self.states.check_root(self) {
            Ok(root) => return Ok(root),
            Err(error @ ReplayError::WrongStateRoot { .. }) => error,
            Err(error) => return Err(error),
        };
        let nearest = match self.how {
            How::Replayed { base, .. } => base,
            How::Stored | How::Diffs { .. } => self.slot(),
        };
        if self.wrong_base.is_none()
            && let Some(without) = self.states.without(nearest, self.slot(), &mut |_| {})
            && let Ok(root) = self.states.check_root(&without)
        {
            *self = without;
            return Ok(root);
        }
        if self.replayed_slots() > 0
            && let Ok(Some(base)) = self.states.stored_at(nearest)
        {
            self.states.check_root(&base)?;
        }
        Err(wrong)
    }

    fn list(&self, name: &str) -> &[u8] {
        self.state().bytes_of(name).unwrap_or_default()
    }
}

/// The part of a list that a range covers, as far as it reaches.
fn part<T>(list: &[T], range: Range<usize>) -> &[T] {
    let end = range.end.min(list.len());
    &list[range.start.min(end)..end]
}
