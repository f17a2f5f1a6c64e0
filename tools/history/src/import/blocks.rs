//! Proves the blocks of an era.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use coldstore::era::RecordAt;
use coldstore::era::{EraBlock, EraProof};
use coldstore::{Error, Result, Slot};
use coldstore_consensus::{BlockFault, BlockHasher, Preset};

use super::ImportProver;
use super::chain::{Previous, Voucher};
use super::era::{BLOCK, Era};

thread_local! {
    /// A hasher per decoding thread, so that its memory is reused.
    static HASHER: RefCell<Option<(Preset, BlockHasher)>> = const { RefCell::new(None) };
}

/// Proves the blocks of an era by its block roots.
#[derive(Debug)]
pub(super) struct BlocksProof<'p, 'a> {
    prover: &'p mut ImportProver<'a>,
    era: Era,
    voucher: Voucher,
    /// The first slot whose block may be of an unknown fork.
    unknown_from: Option<Slot>,
    blocks: AtomicU64,
    blinded: AtomicU64,
    unknown: AtomicU64,
    /// Blocks of known forks at slots where the state's fork is unknown.
    known_among_unknown: AtomicU64,
}

impl<'p, 'a> BlocksProof<'p, 'a> {
    pub(super) fn new(prover: &'p mut ImportProver<'a>, era: Era, voucher: Voucher) -> Self {
        let unknown_from = match &era.state.body {
            Some(_) => None,
            None => {
                let epoch = era.state.prefix.fork.epoch;
                Some(Slot(epoch.saturating_mul(prover.preset.slots_per_epoch())))
            }
        };
        Self {
            prover,
            era,
            voucher,
            unknown_from,
            blocks: AtomicU64::new(0),
            blinded: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            known_among_unknown: AtomicU64::new(0),
        }
    }

    fn refuse(&self, record: &RecordAt, slot: Slot, wanted: &str, found: String) -> Error {
        let wanted = format!("era {}, slot {slot}: {wanted}", self.era.number);
        Error::corrupt(&self.era.path, record.offset, BLOCK, wanted, found)
    }
}

impl EraProof for BlocksProof<'_, '_> {
    fn block(&self, record: &RecordAt, block: &[u8]) -> Result<()> {
        let slot = coldstore::era::ssz::block_slot(block).unwrap_or_default();
        let place = self.era.slots.and_then(|slots| slots.index_of(slot));
        let root = place.and_then(|place| self.era.state.prefix.block_roots.get(place));
        // The import itself refuses a block of another era.
        let Some(wanted) = root else { return Ok(()) };
        let preset = self.prover.preset;
        let hashed = HASHER.with_borrow_mut(|hasher| match hasher {
            Some((of, hasher)) if *of == preset => hasher.hash(block),
            _ => hasher.insert((preset, BlockHasher::new(preset))).1.hash(block),
        });
        let may_be_unknown = self.unknown_from.is_some_and(|from| slot >= from);
        match hashed {
            Ok(hashed) if hashed.root == *wanted => {
                self.blocks.fetch_add(1, Ordering::Relaxed);
                self.blinded.fetch_add(hashed.is_blinded.into(), Ordering::Relaxed);
                self.known_among_unknown.fetch_add(may_be_unknown.into(), Ordering::Relaxed);
                Ok(())
            }
            // A later fork may have the same layout and hash differently.
            Ok(_) | Err(BlockFault::UnknownLayout(_)) if may_be_unknown => {
                self.unknown.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Ok(hashed) => {
                let wanted = format!("a block with the root {}", wanted);
                Err(self.refuse(record, slot, &wanted, hashed.root.to_string()))
            }
            Err(BlockFault::UnknownLayout(malformed) | BlockFault::Malformed(malformed)) => {
                let (inside, found) = malformed.wanted_and_found();
                let wanted = format!("a block with the root {}; {inside}", wanted);
                Err(self.refuse(record, slot, &wanted, found))
            }
        }
    }

    fn finish(self: Box<Self>, blocks: &[EraBlock]) -> Result<()> {
        let Self { prover, era, voucher, .. } = *self;
        let known_among_unknown = self.known_among_unknown.into_inner();
        let genesis = era.slots.filter(|slots| slots.first == Slot(0));
        if genesis.is_some() && blocks.first().is_none_or(|block| block.head.slot != Slot(0)) {
            return Err(era.refuse(Slot(0), "the genesis block", "none"));
        }
        if known_among_unknown > 0 {
            let wanted = "a state of a known fork, as its blocks are";
            let found = "a state whose fixed part has the length of none";
            return Err(era.refuse(era.state_slot, wanted, found));
        }
        let report = &mut prover.report;
        report.blocks += self.blocks.into_inner();
        report.blinded_blocks += self.blinded.into_inner();
        report.unknown_blocks += self.unknown.into_inner();
        match (&era.state.body, voucher) {
            (None, _) => report.unknown_states.push(era.state_slot),
            (Some(_), Voucher::None) => report.lone_states.push(era.state_slot),
            (Some(_), Voucher::Trusted | Voucher::Next) => report.states += 1,
        }
        let is_trusted = match era.slots {
            Some(_) => prover.trust.era_root(era.number).is_some(),
            None => voucher == Voucher::Trusted,
        };
        match is_trusted {
            true => report.trusted_eras += 1,
            false => report.agreeing_eras += 1,
        }
        report.genesis_validators |= era.slots.is_none() && era.state.body.is_some();
        if era.state.body.is_some() {
            let version = era.state.prefix.fork.version;
            if !prover.known_versions.contains(&version) {
                prover.known_versions.push(version);
            }
        }
        prover.previous = Some(Previous::of(&era));
        Ok(())
    }
}
