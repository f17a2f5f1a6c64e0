//! The roots of an era's slots in `bbr` and `bsr`.

use std::ops::Range;

use coldstore::verify::Severity;
use coldstore::{Column, Error, Result, Slot, View};
use coldstore_consensus::{Preset, Root, era_root};

use super::{DeepVerifier, Findings, Views, damage};

/// The roots of one era in the two columns.
#[derive(Debug)]
pub(super) struct EraColumns {
    pub(super) era: u64,
    pub(super) first: Slot,
    /// By slot, preceded by the slot before the era.
    block_roots: Vec<Option<Root>>,
    state_roots: Vec<Option<Root>>,
    /// Records of the era with another length than a root.
    odd: Vec<(Column, Slot, usize)>,
}

impl EraColumns {
    pub(super) fn read(views: &Views, preset: Preset, era: u64) -> Result<Self> {
        let slots = preset.slots_per_era();
        let first = Slot(era.saturating_sub(1).saturating_mul(slots));
        let end = first.0.saturating_add(slots);
        let mut odd = Vec::new();
        let before = match first.previous() {
            Some(before) => roots(
                (views.block_roots.as_ref(), Column::BlockRoots),
                before.0..first.0,
                &mut odd,
            )?,
            None => vec![None],
        };
        // That slot belongs to the era before, and is reported there.
        odd.clear();
        let block_roots =
            roots((views.block_roots.as_ref(), Column::BlockRoots), first.0..end, &mut odd)?;
        let state_roots =
            roots((views.state_roots.as_ref(), Column::StateRoots), first.0..end, &mut odd)?;
        Ok(Self { era, first, block_roots: [before, block_roots].concat(), state_roots, odd })
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        let first = self.first.0;
        (first..first.saturating_add(self.state_roots.len() as u64)).map(Slot)
    }

    /// The block root of a slot of the era.
    pub(super) fn block_root(&self, slot: Slot) -> Option<Root> {
        *self.block_roots.get(self.place(slot)? + 1)?
    }

    /// The block root of the slot before a slot of the era.
    pub(super) fn block_root_before(&self, slot: Slot) -> Option<Root> {
        *self.block_roots.get(self.place(slot)?)?
    }

    pub(super) fn state_root(&self, slot: Slot) -> Option<Root> {
        *self.state_roots.get(self.place(slot)?)?
    }

    fn place(&self, slot: Slot) -> Option<usize> {
        usize::try_from(slot.0.checked_sub(self.first.0)?).ok()
    }

    /// The era's root with another block root for one slot.
    pub(super) fn era_root_with(&self, slot: Slot, root: Root) -> Option<Root> {
        let mut block_roots = self.block_roots.clone();
        *block_roots.get_mut(self.place(slot)? + 1)? = Some(root);
        root_of(&block_roots, &self.state_roots)
    }

    /// The era's root, if all roots are present.
    pub(super) fn era_root(&self) -> Option<Root> {
        root_of(&self.block_roots, &self.state_roots)
    }

    /// Slots of the era without a root, below the column's highest.
    fn missing(&self, view: Option<&View>, roots: &[Option<Root>]) -> Option<(Slot, Slot, u64)> {
        let highest = view?.highest_written_slot()?;
        let missing =
            self.slots().zip(roots).filter(|(slot, root)| root.is_none() && *slot <= highest);
        let slots: Vec<Slot> = missing.map(|(slot, _)| slot).collect();
        Some((*slots.first()?, *slots.last()?, slots.len() as u64))
    }
}

/// The root of an era's roots; `block_roots` starts with the slot before the era.
fn root_of(block_roots: &[Option<Root>], state_roots: &[Option<Root>]) -> Option<Root> {
    let all = |roots: &[Option<Root>]| roots.iter().copied().collect::<Option<Vec<Root>>>();
    Some(era_root(&all(block_roots.get(1..)?)?, &all(state_roots)?))
}

/// Reads a column of roots. A damaged record counts as missing; the plain verification reports it.
fn roots(
    (view, column): (Option<&View>, Column),
    slots: Range<u64>,
    odd: &mut Vec<(Column, Slot, usize)>,
) -> Result<Vec<Option<Root>>> {
    let mut root = |slot| {
        let stored = match view.map(|view| view.get_stored(slot)) {
            Some(Ok(Some(stored))) => stored,
            None | Some(Ok(None) | Err(Error::Corrupt(_))) => return Ok(None),
            Some(Err(error)) => return Err(error),
        };
        let root = Root::of_slice(stored);
        if root.is_none() {
            odd.push((column, slot, stored.len()));
        }
        Ok(root)
    };
    slots.map(|slot| root(Slot(slot))).collect()
}

impl DeepVerifier<'_> {
    /// Compares the era's root with the one in a later state. If they are equal, returns true: every
    /// root is proved.
    pub(super) fn verify_roots(
        &mut self,
        columns: &EraColumns,
        findings: &mut Findings<'_>,
        told: bool,
    ) -> bool {
        for (column, slot, byte_len) in columns.odd.iter().filter(|_| told) {
            let (wanted, found) = ("a root of 32 bytes".to_owned(), format!("{byte_len} bytes"));
            findings.push(
                *column,
                damage(self.data_file(*column, *slot), *slot, "root", wanted, found),
            );
        }
        let (found, known) = (columns.era_root(), self.known.era_root(columns.era));
        let (Some(found), Some((wanted, of_whom))) = (found, known) else {
            if told {
                self.tell_missing(columns, findings);
            }
            return false;
        };
        if found == wanted {
            match self.known.is_trusted(columns.era) {
                true => self.report.trusted_eras += 1,
                false => self.report.agreeing_eras += 1,
            }
            return true;
        }
        if told {
            let column = Column::BlockRoots;
            let wanted = format!(
                "era {}: block roots and state roots that hash to {}, as {of_whom} has it",
                columns.era, wanted
            );
            let file = self.data_file(column, columns.first);
            let finding = damage(file, columns.first, "roots of an era", wanted, found.to_string());
            findings.push(column, finding);
        }
        false
    }

    /// Reports missing roots: every slot has roots, even a skipped one. The reason is unknown.
    fn tell_missing(&mut self, columns: &EraColumns, findings: &mut Findings<'_>) {
        let block_roots = columns.block_roots.get(1..).unwrap_or_default();
        for (column, view, roots) in [
            (Column::BlockRoots, self.views.block_roots.as_ref(), block_roots),
            (Column::StateRoots, self.views.state_roots.as_ref(), &columns.state_roots),
        ] {
            let Some((first, last, count)) = columns.missing(view, roots) else { continue };
            let wanted = format!("a root of every slot of era {}", columns.era);
            let found = format!(
                "{count} slots from {first} to {last} without: never written, or lost; the roots \
                 do not show which"
            );
            let mut note = damage(self.data_file(column, first), first, "roots", wanted, found);
            note.severity = Severity::Note;
            findings.push(column, note);
        }
    }

    /// Counts the roots of an era that is not tied.
    pub(super) fn count_loose(&mut self, columns: &EraColumns) {
        let block_roots = columns.block_roots.iter().skip(1);
        let has_roots = block_roots.zip(&columns.state_roots);
        let counts = has_roots.map(|(a, b)| u64::from(a.is_some()) + u64::from(b.is_some()));
        let mut with_any = columns.slots().zip(counts).filter(|(_, roots)| *roots > 0);
        let Some((first, roots)) = with_any.next() else { return };
        let (last, roots) =
            with_any.fold((first, roots), |(_, sum), (slot, roots)| (slot, sum + roots));
        let loose = &mut self.report.loose;
        loose.eras += 1;
        loose.roots += roots;
        loose.slots = Some((loose.slots.map_or(first, |(first, _)| first), last));
    }

    /// The file that holds a slot of a column.
    pub(super) fn data_file(&self, column: Column, slot: Slot) -> std::path::PathBuf {
        let name = coldstore::format::names::data_file(slot.file_id());
        self.archive.root().join(column.dir_name()).join(name)
    }
}
