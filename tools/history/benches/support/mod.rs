//! Archives of a made-up chain like mainnet's, for benches and tests.
#![allow(dead_code, missing_docs, unreachable_pub, unsafe_code, clippy::unwrap_used)]

pub mod reference;
pub mod year;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coldstore::{
    Archive, ArchiveWriter, ArchiveWriterOptions, Column, MappedArchive, ReaderOptions, Slot,
};
use coldstore_consensus::transition::{
    ChainRules, SyntheticChain, SyntheticParameters, SyntheticSlot,
};
use coldstore_consensus::{Config, KnownNetwork, Preset, Root};
use coldstore_history::states::hierarchy::Shape;
use coldstore_history::states::value::{
    DiffContext, DutyCache, RootsError, SlotRoots, encode_slot,
};
use coldstore_history::states::{Columns, StateRef};

/// Slots written at a time.
const BATCH: usize = 256;

/// Mainnet's config, for other validators.
pub fn config() -> Config {
    let known = KnownNetwork::by_name("mainnet").unwrap();
    Config { genesis_validators_root: None, ..Config::of_known(known) }
}

pub fn rules() -> Arc<ChainRules> {
    Arc::new(ChainRules::new(Preset::Mainnet, &config()).unwrap())
}

/// A whole state.
pub struct State {
    pub ssz: Vec<u8>,
    pub columns: Columns,
}

impl State {
    pub fn of(chain: &SyntheticChain) -> Self {
        let ssz = chain.state().to_ssz();
        let columns = Columns::of_raw(Preset::Mainnet, &ssz).unwrap();
        Self { ssz, columns }
    }

    pub fn slot(&self) -> Slot {
        self.columns.slot()
    }

    pub fn as_ref(&self) -> StateRef<'_> {
        StateRef { base: &self.ssz, columns: &self.columns }
    }
}

/// The roots of a chain's slots.
#[derive(Default)]
pub struct Roots(BTreeMap<u64, (Root, Root)>);

impl Roots {
    pub fn add(&mut self, slot: &SyntheticSlot) {
        self.0.insert(slot.slot, (slot.block_root, slot.state_root));
    }
}

impl SlotRoots for Roots {
    fn block_root(&self, slot: Slot) -> Result<Option<Root>, RootsError> {
        Ok(self.0.get(&slot.0).map(|(block_root, _)| *block_root))
    }

    fn state_root(&self, slot: Slot) -> Result<Option<Root>, RootsError> {
        Ok(self.0.get(&slot.0).map(|(_, state_root)| *state_root))
    }
}

/// An archive that grows with its chain: `blk`, `bbr` and `bsr` of every slot from the chain's start on, in `bss`
/// the first state and others that are kept whole, and in `bsd` those that are kept in layers. `bss` and `bsd`
/// can be backfilled.
pub struct ChainArchive {
    root: PathBuf,
    writer: ArchiveWriter,
    pub chain: SyntheticChain,
    pub first: Slot,
    pending: Vec<SyntheticSlot>,
    roots: Roots,
    duties: DutyCache,
    /// The states on which later ones may be kept, each of a finer layer than the one before.
    bases: Vec<State>,
}

impl ChainArchive {
    pub fn new(root: &Path, parameters: SyntheticParameters) -> Self {
        let columns = [Column::Blocks, Column::BlockRoots, Column::StateRoots];
        let options = ArchiveWriterOptions::default().columns(columns);
        let options = options.backfill(Column::StateSnapshots).backfill(Column::StateDiffs);
        let writer = ArchiveWriter::open(root, options).unwrap();
        let chain = SyntheticChain::new(&rules(), parameters);
        let (root, first) = (root.to_owned(), Slot(chain.state().slot()));
        let (pending, roots) = (vec![chain.slot()], Roots::default());
        let (duties, bases) = (DutyCache::default(), Vec::new());
        let mut made = Self { root, writer, chain, first, pending, roots, duties, bases };
        made.roots.add(&made.pending[0]);
        made.keep_state();
        made
    }

    /// Moves the chain to a slot.
    pub fn advance_to(&mut self, slot: Slot) {
        while self.chain.state().slot() < slot.0 {
            let slot = self.chain.advance().unwrap();
            self.roots.add(&slot);
            self.pending.push(slot);
            if self.pending.len() >= BATCH {
                self.flush();
            }
        }
    }

    /// Stores the state of the present slot as it is.
    pub fn keep_state(&mut self) {
        let state = (Slot(self.chain.state().slot()), self.chain.state().to_ssz());
        self.writer.writer(Column::StateSnapshots).unwrap().put_batch(&[state]).unwrap();
    }

    /// Moves the chain to a slot, and keeps the states of those slots on the way that `keeps` chooses in the
    /// layers of the preset. Those that the layers need for them must be among them.
    pub fn advance_keeping(&mut self, last: Slot, keeps: impl Fn(Slot) -> bool) {
        if self.chain.state().slot() == self.first.0 {
            self.keep_in_layer();
        }
        let kept: Vec<Slot> = (self.chain.state().slot() + 1..=last.0).map(Slot).collect();
        for slot in kept.into_iter().filter(|slot| keeps(*slot)) {
            self.advance_to(slot);
            self.keep_in_layer();
        }
        self.advance_to(last);
    }

    /// Stores the state of the present slot in its layer.
    fn keep_in_layer(&mut self) {
        let (shape, next) = (Shape::of_preset(Preset::Mainnet), State::of(&self.chain));
        let slot = next.slot();
        let bases: Vec<Slot> = shape.bases(slot).collect();
        let rank = |slot| shape.layers().position(|layer| layer == shape.layer(slot));
        if let Some(wanted) = bases.first() {
            let base = self.bases.iter().find(|base| base.slot() == *wanted);
            let base = base.unwrap_or_else(|| panic!("slot {slot} needs {wanted}"));
            let context =
                DiffContext { duties: Some(&self.duties), ..DiffContext::new(&self.roots) };
            let value = encode_slot(base.as_ref(), next.as_ref(), context).unwrap();
            self.writer.writer(Column::StateDiffs).unwrap().put(slot, &value).unwrap();
        } else if slot != self.first {
            self.keep_state();
        }
        // Later states are on this one, and on none of its layer or finer ones before it.
        self.bases.retain(|base| rank(base.slot()) < rank(slot));
        self.bases.push(next);
    }

    /// Writes what the chain has, and opens the archive for readers.
    pub fn open(&mut self) -> MappedArchive {
        self.flush();
        open(&self.root)
    }

    /// Writes what the chain has, and unlocks the archive for other writers.
    pub fn close(mut self) -> SyntheticChain {
        self.flush();
        self.chain
    }

    fn flush(&mut self) {
        let slots = std::mem::take(&mut self.pending);
        let roots = |root: fn(&SyntheticSlot) -> [u8; 32]| -> Vec<(Slot, [u8; 32])> {
            slots.iter().map(|slot| (Slot(slot.slot), root(slot))).collect()
        };
        let (block_roots, state_roots) =
            (roots(|slot| slot.block_root.0), roots(|slot| slot.state_root.0));
        let blocks = slots.into_iter().filter_map(|slot| Some((Slot(slot.slot), slot.block?)));
        let blocks: Vec<(Slot, Vec<u8>)> = blocks.collect();
        self.writer.writer(Column::Blocks).unwrap().put_batch(&blocks).unwrap();
        self.writer.writer(Column::BlockRoots).unwrap().put_batch(&block_roots).unwrap();
        self.writer.writer(Column::StateRoots).unwrap().put_batch(&state_roots).unwrap();
    }
}

pub fn open(root: &Path) -> MappedArchive {
    // SAFETY: only writers of this format change the files.
    unsafe { Archive::open_mapped(root, ReaderOptions::default()).unwrap() }
}
