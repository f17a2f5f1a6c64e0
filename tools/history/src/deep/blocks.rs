//! Proves blocks by the roots of their slots.

use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use coldstore::archive::held::is_there;
use coldstore::era::ssz::BlockHead;
use coldstore::format::names;
use coldstore::occupancy::first_slot_was_skipped;
use coldstore::verify::{Finding, Severity};
use coldstore::{Column, Error, Result, Slot, View};
use coldstore_consensus::{BlockFault, BlockHasher, HashedBlock, Root, StatePrefix};

use super::roots::EraColumns;
use super::{DeepVerifier, Findings, damage, finding_of};

/// The result for a slot.
enum Outcome {
    /// The block hashes to the root of its slot.
    Fits { is_blinded: bool },
    /// There is no block, and the block root repeats that of the slot before.
    Skipped,
    /// There is no block, but a new block root.
    Missing,
    /// There is a block, but nothing to prove it with.
    Unproved,
    /// The block was pruned.
    Pruned,
    /// There is neither block nor root.
    Unknown,
    /// The block is wrong, and the finding is reported.
    Refused,
}

impl Outcome {
    /// Adjusts the result for pruned blocks, of which none count as missing.
    fn pruned(self, is_pruned: bool) -> Self {
        match self {
            Outcome::Missing | Outcome::Unknown if is_pruned => Outcome::Pruned,
            outcome => outcome,
        }
    }
}

struct Looked {
    slot: Slot,
    outcome: Outcome,
    bytes: u64,
    findings: Vec<(Column, Finding)>,
}

impl DeepVerifier<'_> {
    /// Hashes the blocks of an era, on all cores. If `roots_hold`, the era's roots are proved: a block
    /// with another root is wrong, and a block with the same root is proved.
    pub(super) fn verify_blocks(
        &mut self,
        columns: &EraColumns,
        roots_hold: bool,
        findings: &mut Findings<'_>,
    ) -> Result<()> {
        let Some(view) = self.views.blocks.clone() else { return Ok(()) };
        let of_roots = self.views.block_roots.as_ref().and_then(View::highest_written_slot);
        let end = view.highest_written_slot().max(of_roots);
        let slots: Vec<Slot> = columns.slots().filter(|slot| Some(*slot) <= end).collect();
        let (next, cores) = (AtomicUsize::new(0), thread::available_parallelism());
        let this = &*self;
        let work = || {
            let mut hasher = BlockHasher::new(this.options.preset);
            let (mut value, mut looked) = (Vec::new(), Vec::new());
            while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
                let at = At { columns, roots_hold, slot: *slot, view: &view };
                looked.push(this.look_at(&at, &mut hasher, &mut value));
            }
            looked
        };
        let mut looked: Vec<Result<Looked>> = thread::scope(|scope| {
            let helpers: Vec<_> =
                (1..cores.map_or(1, NonZero::get)).map(|_| scope.spawn(work)).collect();
            let mut looked = work();
            for helper in helpers {
                looked
                    .extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            looked
        });
        looked.sort_by_key(|looked| looked.as_ref().map_or(Slot(0), |looked| looked.slot));
        let mut missing = Vec::new();
        for looked in looked {
            let Looked { slot, outcome, bytes, findings: found } = looked?;
            self.report.bytes += bytes;
            match outcome {
                Outcome::Fits { is_blinded } if roots_hold => {
                    self.report.blocks += 1;
                    self.report.blinded_blocks += u64::from(is_blinded);
                }
                Outcome::Fits { .. } => self.report.loose.blocks += 1,
                Outcome::Skipped => self.report.skipped_slots += u64::from(roots_hold),
                Outcome::Missing => missing.push(slot),
                Outcome::Pruned => self.report.pruned_slots += 1,
                Outcome::Unproved => self.report.unproved_blocks += 1,
                Outcome::Unknown => self.report.unknown_slots += 1,
                Outcome::Refused => {}
            }
            let wants = |column| self.options.column.is_none_or(|one| one == column);
            for (column, finding) in found.into_iter().filter(|(column, _)| wants(*column)) {
                findings.push(column, finding);
            }
        }
        self.tell_missing_blocks(&missing, view.highest_written_slot(), findings)
    }

    fn look_at(
        &self,
        at: &At<'_>,
        hasher: &mut BlockHasher,
        value: &mut Vec<u8>,
    ) -> Result<Looked> {
        let mut looked =
            Looked { slot: at.slot, outcome: Outcome::Refused, bytes: 0, findings: Vec::new() };
        match at.view.get_into(at.slot, value) {
            Ok(true) => {
                looked.bytes = value.len() as u64;
                let hashed = hasher.hash(value);
                looked.outcome = self.look_at_block(at, hashed, &mut looked.findings)?;
            }
            Ok(false) => looked.outcome = self.without_block(at)?.pruned(self.is_pruned(at.slot)),
            Err(error) => {
                let finding = finding_of(error, at.slot)?;
                looked.findings.push((Column::Blocks, finding));
            }
        }
        Ok(looked)
    }

    fn is_pruned(&self, slot: Slot) -> bool {
        self.options.blocks_pruned_before.is_some_and(|first_kept| slot < first_kept)
    }

    /// The result for a slot without a block, from the roots.
    fn without_block(&self, at: &At<'_>) -> Result<Outcome> {
        let root = at.columns.block_root(at.slot);
        Ok(match (root, at.columns.block_root_before(at.slot)) {
            (Some(root), Some(before)) if root == before => Outcome::Skipped,
            (Some(_), Some(_)) => Outcome::Missing,
            // The genesis block always exists.
            (Some(_), None) if at.slot == Slot(0) => Outcome::Missing,
            (Some(_), None) => self.first_without_block(at)?,
            _ => Outcome::Unknown,
        })
    }

    /// The result for the archive's first slot, from its state or else from the next block.
    fn first_without_block(&self, at: &At<'_>) -> Result<Outcome> {
        let state = match &self.views.snapshots {
            Some(view) => Error::if_sound(view.record(at.slot))?.flatten(),
            None => None,
        };
        let prefix =
            state.and_then(|state| StatePrefix::parse(self.options.preset, state.stored()).ok());
        if let Some(prefix) = prefix.filter(|prefix| prefix.slot == at.slot.0) {
            let is_its_own = prefix.latest_block.slot == at.slot.0;
            return Ok(if is_its_own { Outcome::Missing } else { Outcome::Skipped });
        }
        let Some(roots) = &self.views.block_roots else { return Ok(Outcome::Unknown) };
        Ok(match first_slot_was_skipped(at.view, roots, at.slot)? {
            true => Outcome::Skipped,
            false => Outcome::Unknown,
        })
    }

    fn look_at_block(
        &self,
        at: &At<'_>,
        hashed: Result<HashedBlock, BlockFault>,
        findings: &mut Vec<(Column, Finding)>,
    ) -> Result<Outcome> {
        let root = at.columns.block_root(at.slot);
        let refuse = |column, what, wanted: String, found: String| {
            (column, damage(self.data_file(column, at.slot), at.slot, what, wanted, found))
        };
        let hashed = match (hashed, root) {
            (Ok(hashed), _) => hashed,
            (Err(BlockFault::UnknownLayout(_)), _) if !at.roots_hold => {
                return Ok(Outcome::Unproved);
            }
            (Err(fault), root) => {
                let wanted = match root {
                    Some(root) => format!("a block with the root {}, in bbr", root),
                    None => "a block".to_owned(),
                };
                findings.push(refuse(Column::Blocks, "block", wanted, fault.to_string()));
                return Ok(Outcome::Refused);
            }
        };
        if hashed.header.slot != at.slot.0 {
            let (wanted, found) =
                ("a block of that slot".to_owned(), format!("slot {}", hashed.header.slot));
            findings.push(refuse(Column::Blocks, "block", wanted, found));
            return Ok(Outcome::Refused);
        }
        let Some(root) = root else { return Ok(Outcome::Unproved) };
        if hashed.root != root {
            findings.push(match self.is_right(at, &hashed.root)? {
                true => refuse(
                    Column::BlockRoots,
                    "block root",
                    format!("{}, the root of the block, which fits those around it", hashed.root),
                    root.to_string(),
                ),
                false => refuse(
                    Column::Blocks,
                    "block",
                    format!("a block with the root {}, in bbr", root),
                    hashed.root.to_string(),
                ),
            });
            return Ok(Outcome::Refused);
        }
        let is_blinded = hashed.is_blinded;
        // From here on the block is right, and may be compared with others.
        let before = at.columns.block_root_before(at.slot);
        if let Some(before) = before.filter(|before| *before != hashed.header.parent_root) {
            let wanted = format!("{}, the block's parent", hashed.header.parent_root);
            let (column, mut finding) =
                refuse(Column::BlockRoots, "block root", wanted, before.to_string());
            if let Some(slot) = at.slot.previous() {
                finding.slot = Some(slot);
                finding.file = self.data_file(column, slot);
            }
            findings.push((column, finding));
        }
        let state_root = at.columns.state_root(at.slot);
        if let Some(state_root) = state_root.filter(|root| *root != hashed.header.state_root) {
            let wanted = format!("{}, as the block has it", hashed.header.state_root);
            findings.push(refuse(Column::StateRoots, "state root", wanted, state_root.to_string()));
        }
        Ok(Outcome::Fits { is_blinded })
    }

    /// Whether a block is right although `bbr` has another root: the era's roots with it hash to the
    /// wanted root, or it is the parent of the next block.
    fn is_right(&self, at: &At<'_>, root: &Root) -> Result<bool> {
        if at.roots_hold {
            return Ok(false);
        }
        let wanted = self.known.era_root(at.columns.era).map(|(wanted, _)| wanted);
        if wanted.is_some() && at.columns.era_root_with(at.slot, *root) == wanted {
            return Ok(true);
        }
        let Some(next) = at.slot.next() else { return Ok(false) };
        let Some(Some(next)) = Error::if_sound(at.view.at_or_after(next))? else {
            return Ok(false);
        };
        let mut value = Vec::new();
        let is_read = Error::if_sound(next.value_into(&mut value))?.is_some();
        let head = BlockHead::parse(&value);
        Ok(is_read && head.is_ok_and(|head| head.parent_root == root.0))
    }

    /// Reports missing blocks. Those above the last block were never imported; others were lost, alone
    /// or with their file.
    fn tell_missing_blocks(
        &mut self,
        missing: &[Slot],
        highest: Option<Slot>,
        findings: &mut Findings<'_>,
    ) -> Result<()> {
        let of_file = |a: &Slot, b: &Slot| {
            a.file_id() == b.file_id() && (Some(*a) <= highest) == (Some(*b) <= highest)
        };
        for slots in missing.chunk_by(of_file) {
            let (Some(first), Some(last)) = (slots.first(), slots.last()) else { continue };
            let count = slots.len() as u64;
            let file = self.data_file(Column::Blocks, *first);
            let is_behind = Some(*first) > highest;
            let (severity, found) = if is_behind {
                self.report.never_imported += count;
                (Severity::Note, "never imported: blk ends before it")
            } else {
                self.report.lost_blocks += count;
                match is_there(&file)? || is_there(&with_offsets(&file, *first))? {
                    true => (Severity::Damage, "none: never imported, or its offset is lost"),
                    false => (Severity::Damage, "no file: it is missing"),
                }
            };
            if self.options.column.is_some_and(|column| column != Column::Blocks) {
                continue;
            }
            let wanted = match count {
                1 => "a block, for its root is another than the one before".to_owned(),
                _ => format!(
                    "{count} blocks up to slot {last}, for their roots are others than those \
                     before them"
                ),
            };
            let mut finding = damage(file, *first, "block", wanted, found.to_owned());
            finding.severity = severity;
            findings.push(Column::Blocks, finding);
        }
        Ok(())
    }
}

/// A slot with the columns of its era.
struct At<'e> {
    columns: &'e EraColumns,
    roots_hold: bool,
    slot: Slot,
    view: &'e View,
}

fn with_offsets(data_file: &Path, slot: Slot) -> std::path::PathBuf {
    data_file.with_file_name(names::offset_file(slot.file_id()))
}
