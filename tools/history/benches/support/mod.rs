//! Archives of a made-up chain like mainnet's, for benches and tests.
#![allow(dead_code, missing_docs, unreachable_pub, unsafe_code, clippy::unwrap_used)]

pub mod reference;
pub mod year;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use coldstore::{
    Archive, ArchiveWriter, ArchiveWriterOptions, Column, MappedArchive, ReaderOptions, Slot,
};
use coldstore_consensus::transition::{
    ChainRules, SyntheticChain, SyntheticParameters, SyntheticSlot,
};
use coldstore_consensus::{Config, KnownNetwork, Preset};

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

/// An archive that grows with its chain: `blk`, `bbr` and `bsr` of every slot from the chain's start on, and in
/// `bss` the first state and those that are kept. `bss` and `bsd` can be backfilled.
pub struct ChainArchive {
    root: PathBuf,
    writer: ArchiveWriter,
    pub chain: SyntheticChain,
    pub first: Slot,
    pending: Vec<SyntheticSlot>,
}

impl ChainArchive {
    pub fn new(root: &Path, parameters: SyntheticParameters) -> Self {
        let columns = [Column::Blocks, Column::BlockRoots, Column::StateRoots];
        let options = ArchiveWriterOptions::default().columns(columns);
        let options = options.backfill(Column::StateSnapshots).backfill(Column::StateDiffs);
        let writer = ArchiveWriter::open(root, options).unwrap();
        let chain = SyntheticChain::new(&rules(), parameters);
        let (root, first) = (root.to_owned(), Slot(chain.state().slot()));
        let pending = vec![chain.slot()];
        let mut made = Self { root, writer, chain, first, pending };
        made.keep_state();
        made
    }

    /// Moves the chain to a slot.
    pub fn advance_to(&mut self, slot: Slot) {
        while self.chain.state().slot() < slot.0 {
            self.pending.push(self.chain.advance().unwrap());
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
