//! The state of any slot, whole or in parts.
//!
//! A state is read from the diffs that the archive keeps ([`hierarchy`]), or rebuilt from the nearest state and
//! the blocks after it.

pub mod boundary;
mod cache;
mod claim;
mod columns;
pub mod hierarchy;
mod intake;
pub mod kind;
pub mod links;
pub(crate) mod mirror;
mod path;
mod replayed;
mod root;
mod sent;
mod series;
mod ssz_reader;
pub mod stored;
pub mod stored_state;
mod validator;
pub mod value;
mod view;

use std::sync::Arc;

use coldstore::read::Taken;
use coldstore::{Archive, Manifest, PreadView, Slot, Snapshot};
use coldstore_consensus::transition::ChainRules;
use coldstore_consensus::{Config, Preset};

use self::cache::{CachedState, Decoded};
use self::hierarchy::Hierarchy;
use self::path::{Path, whole};
use self::value::{DiffContext, DiffValue, DutyCache, apply_path};
use crate::replay::{ReplayError, RulesError, Source};

pub use self::cache::DEFAULT_CACHE_BYTES;
pub use self::claim::claim;
pub use self::columns::{Columns, StateRef, VALIDATOR_BYTES, ValidatorBytes};
pub use self::path::PathFault;
pub use self::sent::{Sent, SentFault, SentStates};
pub use self::series::{EpochOfValidators, History, ValidatorAt};
pub use self::ssz_reader::SszReader;
pub use self::validator::{FAR_FUTURE_EPOCH, Status, Validator};
pub use self::view::{How, StateView};

/// The states of an archive, stored or not, on one snapshot of its columns. May be used by several threads; clones
/// share what is decoded.
///
/// The state of a slot has the slot's block applied. Without a block it is the specification's state of that
/// slot: slots processed, and upgraded if a fork begins. What is trusted is the stored state from which it is
/// made: [`StateView::prove`] also covers that one.
/// [`guide::any_state`](crate::guide::any_state) has an example.
#[derive(Clone, Debug)]
pub struct States<S = PreadView> {
    source: Source<S>,
    preset: Preset,
    /// Without them nothing is replayed.
    rules: Option<Arc<ChainRules>>,
    hierarchy: Arc<Hierarchy>,
    decoded: Arc<Decoded>,
    duties: Arc<DutyCache>,
}

impl<S: Taken> States<S> {
    /// The states of an archive as it is now. Its rules are those of `config`, or else of the known network that
    /// it belongs to.
    ///
    /// # Errors
    /// [`RulesError`]; [`RulesError::Storage`] also if one of the columns is missing.
    pub fn open(archive: &Archive<S>, config: Option<&Config>) -> Result<Self, RulesError> {
        let (source, rules) = Source::with_rules(archive, config)?;
        let manifest = Manifest::read(archive.root())?.unwrap_or_default();
        let hierarchy = Hierarchy::of_manifest(archive.root(), &manifest, rules.preset())?;
        Ok(Self::of(source, rules, hierarchy))
    }
}

impl<S: Snapshot> States<S> {
    /// The states of a source of this chain, in these layers.
    #[must_use]
    pub fn of(source: Source<S>, rules: Arc<ChainRules>, hierarchy: Hierarchy) -> Self {
        let stored = Self::of_stored(source, rules.preset(), hierarchy);
        Self { rules: Some(rules), ..stored }
    }

    /// The stored states of an archive whose network need not be known. None is replayed: [`Self::stored_at`].
    #[must_use]
    pub fn of_stored(source: Source<S>, preset: Preset, layers: Hierarchy) -> Self {
        let decoded = Arc::new(Decoded::new(DEFAULT_CACHE_BYTES));
        let (layers, duties) = (Arc::new(layers), Arc::default());
        Self { source, preset, rules: None, hierarchy: layers, decoded, duties }
    }

    /// Keeps at most this many bytes of decoded states and trees; with 0 nothing is kept. Clones made
    /// before keep their own.
    #[must_use]
    pub fn with_cache_bytes(mut self, max_bytes: usize) -> Self {
        self.decoded = Arc::new(Decoded::new(max_bytes));
        self
    }

    /// Bytes of decoded states and trees that are kept now.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.decoded.bytes()
    }

    /// The layers by which diffs are read.
    #[must_use]
    pub fn layers(&self) -> &Hierarchy {
        &self.hierarchy
    }

    /// The preset of the archive's chain.
    #[must_use]
    pub fn preset(&self) -> Preset {
        self.preset
    }

    /// What diffs of this archive's states are made and applied with.
    pub(crate) fn diff_context(&self) -> DiffContext<'_> {
        DiffContext { duties: Some(&self.duties), ..DiffContext::new(&self.source) }
    }

    /// The records from which the states are made.
    #[must_use]
    pub fn source(&self) -> &Source<S> {
        &self.source
    }

    /// The state of a slot.
    ///
    /// 1. It is stored whole, or as diffs: then it is read.
    /// 2. Otherwise, or if a record of its chain is missing or damaged, it is replayed from the nearest state below
    ///    that can be read: [`StateView::how`].
    /// 3. If the replay fails because that state is wrong, and that is not at an era's end, it starts once more from
    ///    the one at the beginning of the era: [`StateView::wrong_base`].
    ///
    /// # Errors
    /// [`ReplayError`]: of them [`NoState`](ReplayError::NoState), [`BeyondEnd`](ReplayError::BeyondEnd),
    /// [`MissingBlock`](ReplayError::MissingBlock) and [`NoBlockRoot`](ReplayError::NoBlockRoot) say what the
    /// archive lacks, the others that its records contradict each other or the rules.
    pub fn at(&self, slot: Slot) -> Result<StateView<'_, S>, ReplayError> {
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
    ) -> Result<StateView<'_, S>, ReplayError> {
        let end = self.source.end();
        if Some(slot) > end {
            return Err(ReplayError::BeyondEnd { slot, end });
        }
        match self.stored_at(slot) {
            Ok(Some(view)) => Ok(view),
            Ok(None) => self.replayed(slot, None, watch),
            Err(fault) => self.replayed(slot, Some(fault), watch),
        }
    }

    /// The state of a slot as it is stored, whole or as diffs; `None` if it is not.
    ///
    /// # Errors
    /// [`PathFault`]: a record of its chain is missing or damaged.
    pub fn stored_at(&self, slot: Slot) -> Result<Option<StateView<'_, S>>, PathFault> {
        let Some(path) = self.path(slot)? else { return Ok(None) };
        let from = match path.from {
            Some(ref from) => from.clone(),
            None => CachedState {
                whole: path.whole,
                records: Arc::new([]),
                columns: self.whole_columns(path.whole, &path.base)?,
            },
        };
        let state = match path.records.is_empty() {
            true => from,
            false => self.applied(&path, &from)?,
        };
        let CachedState { whole, records, columns } = state;
        let how = match records.is_empty() {
            true => How::Stored,
            false => How::Diffs { base: whole, records: records.to_vec() },
        };
        let base = path.base;
        Ok(Some(StateView { states: self, whole, base, columns, how, wrong_base: None }))
    }

    /// The columns of the whole state of a slot, which must be one of this chain and slot.
    fn whole_columns(&self, slot: Slot, ssz: &[u8]) -> Result<Columns, PathFault> {
        let refuse = |fault| whole(slot, ReplayError::start(slot, &fault));
        let columns = Columns::of_raw(self.preset, ssz).map_err(refuse)?;
        if columns.slot() != slot {
            let (wanted, found) = (format!("slot {slot}"), format!("slot {}", columns.slot()));
            return Err(whole(slot, ReplayError::Start { slot, wanted, found }));
        }
        if let Some(rules) = self.rules.as_ref().filter(|_| columns.fork().is_some()) {
            rules.fork_of_state(ssz).map_err(refuse)?;
        }
        Ok(columns)
    }

    /// Applies the records of a path.
    fn applied(&self, path: &Path<'_>, from: &CachedState) -> Result<CachedState, PathFault> {
        let values = path.records.iter().map(|record| DiffValue::parse(record.slot, &record.value));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        let context = self.diff_context();
        let columns = apply_path(self.preset, &path.base, &from.columns, &values, context)?;
        let new = path.records.iter().map(|record| record.slot);
        let records = from.records.iter().copied().chain(new).collect();
        let state = CachedState { whole: path.whole, records, columns };
        self.decoded.put_state(state.clone());
        Ok(state)
    }
}
