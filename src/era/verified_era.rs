//! The first pass over a group: decodes and checks everything, and writes nothing.

use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::path::PathBuf;

use super::consistency;
use super::e2store::RecordAt;
use super::era_file::EraFile;
use super::era_position::{EraPosition, Lacks};
use super::group::{EraGroup, EraState};
use super::import_error::{ImportError, another_chain};
use super::import_progress::PassProgress;
use super::import_report::Phase;
use super::prover::{EraAt, Prover};
use super::slot_index::IndexEncoding;
use super::value_reader::ValueSum;
use crate::error::Result;
use crate::slot::Slot;

/// A verified group, which may be committed. The second pass writes only what has the sums of this one. All
/// groups of a file are verified before the first one is
/// committed, so little of each is kept in memory.
#[derive(Debug)]
pub(super) struct VerifiedEra {
    pub(super) group: EraGroup,
    /// The parts of it that are to be written.
    pub(super) lacks: Lacks,
    /// The blocks of the era.
    pub(super) blocks: Vec<VerifiedBlock>,
    /// The decoded state.
    pub(super) state: ValueSum,
    /// A keyed hash of the state's roots of the era's slots.
    pub(super) roots_sum: u64,
    /// The hasher of all three.
    pub(super) hasher: RandomState,
    /// `None` in era 0.
    pub(super) index_encoding: Option<IndexEncoding>,
    /// The last slot before the era, and its block root according to the era.
    pub(super) before: Option<(Slot, [u8; 32])>,
    /// The block root of the era's last slot; era 0 has no slots.
    pub(super) last_root: Option<[u8; 32]>,
}

/// A verified block, which may be committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct VerifiedBlock {
    /// Its slot, as an index in the era.
    pub(super) place: u16,
    /// A keyed hash of its stored bytes, which detects changes since verification.
    pub(super) sum: u64,
}

/// The first pass over the files of an import.
pub(super) struct Verifier<'t, 'a, 'p> {
    pub(super) prover: Option<&'p mut dyn Prover>,
    pub(super) progress: PassProgress<'t, 'a>,
    /// The genesis validators root, and the file in which it was first found.
    pub(super) chain: Option<([u8; 32], PathBuf)>,
}

impl Verifier<'_, '_, '_> {
    /// Verifies the eras of a file that the archive lacks, even in part.
    pub(super) fn verify_file(
        &mut self,
        file: &mut EraFile,
        eras: &[(EraGroup, EraPosition)],
    ) -> Result<Vec<VerifiedEra>, ImportError> {
        self.progress.begin_file(file.path(), file.byte_len());
        let mut verified = Vec::new();
        for (group, position) in eras {
            if let EraPosition::Lacking(lacks) = position {
                self.progress.begin_era(group.era);
                let (era, state) = self.verify(file, group, *lacks)?;
                self.check_chain(file, group, &state)?;
                verified.push(era);
            }
        }
        // So that an import without new eras can be stopped too.
        self.progress.report(Phase::Verify, file.byte_len())?;
        Ok(verified)
    }

    /// Verifies a group. With a prover, decodes the state first, because it contains the roots of the
    /// blocks.
    fn verify(
        &mut self,
        file: &mut EraFile,
        group: &EraGroup,
        lacks: Lacks,
    ) -> Result<(VerifiedEra, EraState), ImportError> {
        let path = file.path().to_path_buf();
        let hasher = RandomState::new();
        let (mut proved, mut proof) = (None, None);
        if let Some(prover) = self.prover.as_deref_mut() {
            let groups = file.groups().to_vec();
            let (state, sum, of_blocks) = file.read_state(
                group,
                &hasher,
                |state, reader| {
                    prover.begin(EraAt { path: &path, groups: &groups, group, state }, reader)
                },
                &mut |_| {},
            )?;
            (proved, proof) = (Some((state, sum)), Some(of_blocks));
        }
        let progress = &mut self.progress;
        let mut walk = file.walk(group)?.prove(proof.as_deref(), &hasher);
        let mut blocks = Vec::new();
        while let Some(block) = walk.next_block()? {
            blocks.push(block);
            progress.report(Phase::Verify, block.record.end())?;
        }
        let index_encoding = walk.finish(&blocks)?;
        let (state, state_sum) = match proved {
            Some(proved) => proved,
            None => {
                let mut note = |position| progress.note(Phase::Verify, position);
                let (state, sum, ()) = file.read_state(group, &hasher, |_, _| Ok(()), &mut note)?;
                (state, sum)
            }
        };
        progress.report(Phase::Verify, group.end)?;

        let mut verified = VerifiedEra {
            group: *group,
            lacks,
            blocks: Vec::new(),
            roots_sum: hasher.hash_one(&state.roots),
            state: state_sum,
            hasher,
            index_encoding,
            before: None,
            last_root: None,
        };
        if let (Some(slots), Some(roots)) = (group.slots, &state.roots) {
            consistency::check_era(&path, slots, &blocks, &state, roots)?;
            verified.before = consistency::wanted_before(slots, &blocks, roots);
            verified.last_root = roots.block_roots.last().copied();
            let places = blocks.iter().filter_map(|block| {
                let place = u16::try_from(slots.index_of(block.head.slot)?).ok()?;
                Some(VerifiedBlock { place, sum: block.sum })
            });
            verified.blocks = places.collect();
        }
        if let Some(proof) = proof {
            proof.finish(&blocks)?;
        }
        Ok((verified, state))
    }

    /// Refuses an era of another chain than that of the files before it.
    pub(super) fn check_chain(
        &mut self,
        file: &EraFile,
        group: &EraGroup,
        state: &EraState,
    ) -> Result<(), ImportError> {
        let found = state.head.genesis_validators_root;
        let (wanted, other) = self.chain.get_or_insert_with(|| (found, file.path().to_path_buf()));
        if *wanted == found {
            return Ok(());
        }
        let what = "genesis validators root";
        let other = other.display().to_string();
        Err(another_chain(file.path(), group.era, group.state_slot, what, &found, &other, wanted))
    }

    /// The roots of the archive's state and of the file's, if a prover can compute them.
    pub(super) fn both_roots(
        &mut self,
        held: &mut dyn Read,
        file: &mut EraFile,
        record: &RecordAt,
    ) -> Option<Box<([u8; 32], [u8; 32])>> {
        let prover = self.prover.as_deref_mut()?;
        let held = prover.state_root(held);
        let found = prover.state_root(&mut file.state_stream(record));
        held.zip(found).map(Box::new)
    }
}
