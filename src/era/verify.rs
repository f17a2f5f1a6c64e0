//! The first pass over a group: decodes and checks everything, and writes nothing.

use super::check;
use super::error::ImportError;
use super::group::Group;
use super::group_records::{EraBlock, EraState, Limits};
use super::index::IndexEncoding;
use super::lacks::Lacks;
use super::progress::PassProgress;
use super::prove::Prover;
use super::reader::EraFile;
use super::report::Phase;
use super::ssz::Root;
use super::walk::Kept;
use crate::slot::Slot;

/// A verified group, which may be committed. All groups of a file are verified before the first one is
/// committed, so little of each is kept in memory.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) group: Group,
    /// The parts of it that are to be written.
    pub(super) lacks: Lacks,
    /// The blocks of the era.
    pub(super) blocks: Vec<VerifiedBlock>,
    /// Data kept in memory, and the hasher that recognizes the rest when it is read again.
    pub(super) kept: Kept,
    /// File offset of the first record that was not kept.
    pub(super) kept_end: u64,
    /// Length of the decoded state in bytes.
    pub(super) state_len: u64,
    /// `None` in era 0.
    pub(super) index_encoding: Option<IndexEncoding>,
    /// The last slot before the era, and its block root according to the era.
    pub(super) before: Option<(Slot, Root)>,
    /// The block root of the era's last slot; era 0 has no slots.
    pub(super) last_root: Option<Root>,
}

/// A verified block, which may be committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct VerifiedBlock {
    /// Its slot, as an index in the era.
    pub(super) place: u16,
    /// Length of its stored bytes.
    pub(super) stored_len: u32,
    /// A keyed hash of its stored bytes, which detects changes since verification. `None` if the bytes are
    /// kept.
    pub(super) sum: Option<u64>,
}

/// Verifies a group. Keeps about `keep` stored bytes of its first blocks, and the state if it is not
/// larger. With a prover, decodes the state first, because it contains the roots of the blocks.
pub(super) fn verify(
    file: &mut EraFile,
    group: &Group,
    limits: Limits,
    keep: usize,
    prover: Option<&mut (dyn Prover + '_)>,
    progress: &mut PassProgress<'_, '_>,
) -> Result<(Verified, EraState), ImportError> {
    let groups = file.groups().to_vec();
    let path = file.path().to_path_buf();
    let mut walk = file.walk(group, limits)?;
    walk.keep(keep);
    let (proved, proof) = match prover {
        Some(prover) => {
            let (state, state_len, proof) = walk.prove_state(prover, &groups)?;
            (Some((state, state_len)), Some(proof))
        }
        None => (None, None),
    };
    if let Some(proof) = &proof {
        walk.prove_blocks(&**proof);
    }
    let mut blocks = Vec::new();
    while let Some(block) = walk.next_block()? {
        blocks.push(block);
        progress.report(Phase::Verify, block.record.end())?;
    }
    let (state, state_len) = match proved {
        Some(proved) => walk.pass_state().map(|_| proved)?,
        None => walk.read_state(&mut |position| progress.note(Phase::Verify, position))?,
    };
    let index_encoding = walk.check_index(&blocks)?;
    let kept = walk.into_kept();
    progress.report(Phase::Verify, group.end)?;

    let mut verified = Verified {
        group: *group,
        lacks: Lacks::default(),
        blocks: Vec::new(),
        kept_end: kept_end(group, &blocks, kept.blocks.len() as u64),
        kept,
        state_len,
        index_encoding,
        before: None,
        last_root: None,
    };
    if let (Some(slots), Some(roots)) = (group.slots, &state.roots) {
        check::check_era(&path, slots, &blocks, &state, roots)?;
        verified.before = check::wanted_before(slots, &blocks, roots);
        verified.last_root = roots.block_roots.last().copied();
        verified.blocks = blocks
            .iter()
            .filter_map(|block| {
                let place = u16::try_from(slots.index_of(block.head.slot)?).ok()?;
                let stored_len = block.record.payload_len;
                Some(VerifiedBlock { place, stored_len, sum: block.sum })
            })
            .collect();
    }
    if let Some(proof) = proof {
        proof.finish(&blocks)?;
    }
    Ok((verified, state))
}

fn kept_end(group: &Group, blocks: &[EraBlock], kept: u64) -> u64 {
    let (mut end, mut stored) = (group.offset, 0_u64);
    for block in blocks {
        stored = stored.saturating_add(block.record.payload_len.into());
        if stored > kept {
            break;
        }
        end = block.record.end();
    }
    end
}
