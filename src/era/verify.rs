//! The first pass over a group: everything is decoded and checked, nothing is written.

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

/// A group that may be committed. A file may have many groups, and all of them are verified
/// before the first is committed: what is kept of each is small.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) group: Group,
    /// What of it is to be written.
    pub(super) lacks: Lacks,
    /// The blocks of the era.
    pub(super) blocks: Vec<VerifiedBlock>,
    /// What need not be read again, or is recognised by it.
    pub(super) kept: Kept,
    /// Where in the file the first record lies of which nothing was kept.
    pub(super) kept_end: u64,
    /// Bytes of the decoded state.
    pub(super) state_len: u64,
    /// `None` in era 0.
    pub(super) index_encoding: Option<IndexEncoding>,
    /// What the era says of the last slot before it.
    pub(super) before: Option<(Slot, Root)>,
    /// The block root of its own last slot; era 0 has no slots.
    pub(super) last_root: Option<Root>,
}

/// A block that may be committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct VerifiedBlock {
    /// Its slot, as a place in the era.
    pub(super) place: u16,
    /// Bytes that are stored of it.
    pub(super) stored_len: u32,
    /// A keyed hash of its stored bytes: when they have it still, they are what was verified.
    /// `None` when they are kept.
    pub(super) sum: Option<u64>,
}

/// Verifies a group, and keeps about `keep` stored bytes of its first blocks, and a state of no more.
/// With a prover its state is decoded first, for that says what the blocks' roots are.
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
