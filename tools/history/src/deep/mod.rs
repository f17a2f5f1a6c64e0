//! The proof of an archive from its own columns, era by era.
//!
//! A late state in `bss` has the root of the block roots and state roots of every era below it. These
//! are compared with `bbr` and `bsr`; block roots prove blocks, state roots prove states: those in `bss`, and
//! those rebuilt from diffs in `bsd`. A repeated
//! block root proves a skipped slot; a new one proves that there was a block. History after that state
//! can only be checked for consistency, and is counted separately.

mod anchor;
mod blocks;
mod diffs;
mod report;
mod roots;
mod seal;
mod snapshots;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use coldstore::verify::{Finding, Severity};
use coldstore::{
    Column, CorruptItem, Corruption, Error, Manifest, MappedArchive, Reader, ReaderOptions, Result,
    Slot, Snapshot as _, View,
};
use coldstore_consensus::{Preset, Root};

pub use self::diffs::StateSample;
pub use self::report::{DeepReport, Loose, NotProved, PassedOver, Resumed};
pub use self::seal::ProvedEra;

use self::anchor::Known;
use self::roots::EraColumns;
use crate::import::Trust;
use crate::replay::Source;
use crate::states::States;
use crate::states::hierarchy::Hierarchy;
use crate::states::kind::{START_BYTES, ValueKind};

/// Options of a proof.
#[derive(Clone, Copy, Debug)]
pub struct DeepOptions {
    /// The preset of the archive's chain.
    pub preset: Preset,
    /// One column, or all of them.
    pub column: Option<Column>,
    /// Blocks of slots below this one were pruned.
    pub blocks_pruned_before: Option<Slot>,
    /// Which states that are stored as diffs are proved.
    pub sample: StateSample,
}

/// Proves an archive, read-only, on one snapshot of each column.
#[derive(Debug)]
pub struct DeepVerifier<'a> {
    archive: &'a MappedArchive,
    options: DeepOptions,
    known: Known,
    views: Views,
    /// The stored states, if the archive has diffs of this software.
    states: Option<States<View>>,
    /// The slots in `bsd` whose faults were reported: many states may build on one.
    broken: BTreeSet<Slot>,
    report: DeepReport,
    /// The report as it was before the last era.
    before: DeepReport,
    /// The root of the last era with complete roots, which its state must have.
    last_era: Option<(u64, Root)>,
}

/// The views of the columns; `None` if a column is missing or damaged, which the plain verification
/// reports.
#[derive(Debug)]
struct Views {
    blocks: Option<View>,
    block_roots: Option<View>,
    state_roots: Option<View>,
    snapshots: Option<View>,
    diffs: Option<View>,
}

impl Views {
    fn of(archive: &MappedArchive) -> Result<Self> {
        let view = |column| {
            let looked = Error::if_sound(archive.column(column));
            looked.map(|reader| reader.map(coldstore::MappedReader::view))
        };
        Ok(Self {
            blocks: view(Column::Blocks)?,
            block_roots: view(Column::BlockRoots)?,
            state_roots: view(Column::StateRoots)?,
            snapshots: view(Column::StateSnapshots)?,
            diffs: view(Column::StateDiffs)?,
        })
    }

    fn all(&self) -> [Option<&View>; 5] {
        let Self { blocks, block_roots, state_roots, snapshots, diffs } = self;
        [blocks, block_roots, state_roots, snapshots, diffs].map(Option::as_ref)
    }
}

/// The stored states of an archive with diffs of this software; `None` if there are none, if a column that
/// rebuilding needs is missing or damaged, or without a preset.
///
/// # Errors
/// [`Error::Io`] when the archive cannot be read; [`Error::Corrupt`] for layers in the manifest that are none.
pub fn stored_states(
    archive: &MappedArchive,
    preset: Option<Preset>,
) -> Result<Option<States<View>>> {
    let Some(preset) = preset else { return Ok(None) };
    if !has_diffs(archive.root())? {
        return Ok(None);
    }
    let Some(source) = Error::if_sound(Source::of(archive))? else { return Ok(None) };
    let manifest = Manifest::read(archive.root())?.unwrap_or_default();
    let layers = Hierarchy::of_manifest(archive.root(), &manifest, preset)?;
    Ok(Some(States::of_stored(source, preset, layers)))
}

/// Whether `bsd` of the archive in `root` holds diffs of this software, by its first value.
///
/// # Errors
/// [`Error::Io`] when it cannot be read.
pub fn has_diffs(root: &Path) -> Result<bool> {
    let options = ReaderOptions::default().expect(Column::StateDiffs.spec());
    let opened = Reader::open(root.join(Column::StateDiffs.dir_name()), options);
    let Some(diffs) = Error::if_sound(opened)?.map(|reader| reader.view()) else {
        return Ok(false);
    };
    let first = Error::if_sound(diffs.first_from(Slot(0)))?.flatten();
    let Some(first) = first else { return Ok(false) };
    let mut start = Vec::new();
    let read = diffs.get_range_into(first, 0..START_BYTES as u64, &mut start);
    let is_read = Error::if_sound(read)?.is_some();
    Ok(is_read && ValueKind::of(first, &start) == ValueKind::Diff)
}

impl<'a> DeepVerifier<'a> {
    /// Finds the newest state in the archive that can be hashed. Its roots of older eras are the reference,
    /// unless a trusted state has them.
    ///
    /// # Errors
    /// [`Error::Io`] when the archive cannot be read.
    pub fn new(archive: &'a MappedArchive, options: DeepOptions, trust: Trust) -> Result<Self> {
        let views = Views::of(archive)?;
        let states = stored_states(archive, Some(options.preset))?;
        let known = Known::of(&views, states.as_ref(), options.preset, trust)?;
        let report = DeepReport {
            anchor: known.anchor(),
            own_state: known.own_slot(),
            passed_over: known.passed_over(),
            ..DeepReport::default()
        };
        Ok(Self {
            archive,
            options,
            known,
            views,
            states,
            broken: BTreeSet::new(),
            report,
            before: report,
            last_era: None,
        })
    }

    /// The eras with slots in any column: era N consists of the slots before `N * slots_per_era`.
    /// `None` in an empty archive.
    ///
    /// # Errors
    /// [`Error::Io`] when the archive cannot be read.
    pub fn eras(&self) -> Result<Option<RangeInclusive<u64>>> {
        let slots = self.options.preset.slots_per_era();
        let views = || self.views.all().into_iter().flatten();
        let highest = views().filter_map(View::highest_written_slot).max();
        let Some(highest) = highest else { return Ok(None) };
        let mut lowest = None;
        for view in views() {
            let Some(Some(record)) = Error::if_sound(view.at_or_after(Slot(0)))? else { continue };
            lowest = Some(lowest.map_or(record.slot(), |lowest: Slot| lowest.min(record.slot())));
        }
        let lowest = lowest.unwrap_or_default();
        Ok(Some(lowest.0 / slots + 1..=highest.0 / slots + 1))
    }

    /// Proves the records of one era. Eras must ascend. `report` returns whether a finding is new;
    /// known findings are not counted.
    ///
    /// # Errors
    /// [`Error::Io`] when the archive cannot be read. Damage is reported.
    pub fn verify_era(
        &mut self,
        era: u64,
        report: &mut dyn FnMut(Column, Finding) -> bool,
    ) -> Result<()> {
        self.before = self.report;
        if self.last_era.is_none_or(|(last, _)| last.checked_add(1) != Some(era)) && era > 1 {
            let before = EraColumns::read(&self.views, self.options.preset, era - 1)?;
            self.last_era = before.era_root().map(|root| (era - 1, root));
        }
        let columns = EraColumns::read(&self.views, self.options.preset, era)?;
        let only = self.options.column;
        let wants = |column| only.is_none_or(|only| only == column);
        let mut findings = Findings { report, damages: 0 };
        let roots_hold = self.verify_roots(
            &columns,
            &mut findings,
            wants(Column::BlockRoots) || wants(Column::StateRoots),
        );
        if !roots_hold {
            self.count_loose(&columns);
        }
        if wants(Column::Blocks) || wants(Column::BlockRoots) || wants(Column::StateRoots) {
            self.verify_blocks(&columns, roots_hold, &mut findings)?;
        }
        if wants(Column::StateSnapshots) {
            self.verify_snapshots(&columns, roots_hold, &mut findings)?;
        }
        if wants(Column::StateDiffs) {
            self.verify_diffs(&columns, roots_hold, &mut findings)?;
        }
        self.report.damages += findings.damages;
        self.last_era = columns.era_root().map(|root| (era, root));
        Ok(())
    }

    /// The report so far.
    #[must_use]
    pub fn report(&self) -> &DeepReport {
        &self.report
    }

    /// Why nothing is proved, if no era was tied to a state.
    #[must_use]
    pub fn why_not_proved(&self) -> Option<NotProved> {
        (self.report.tied_eras() == 0).then(|| self.known.why_not())
    }
}

/// Collects findings.
struct Findings<'r> {
    report: &'r mut dyn FnMut(Column, Finding) -> bool,
    damages: u64,
}

impl Findings<'_> {
    fn push(&mut self, column: Column, finding: Finding) {
        let is_damage = finding.severity == Severity::Damage;
        let is_new = (self.report)(column, finding);
        self.damages += u64::from(is_damage && is_new);
    }
}

fn damage(
    file: PathBuf,
    slot: Slot,
    what: impl Into<CorruptItem>,
    wanted: String,
    found: String,
) -> Finding {
    Finding::new(Severity::Damage, file, what, wanted, found).of(slot)
}

/// Turns an error of the library into a finding.
fn finding_of(error: Error, slot: Slot) -> Result<Finding> {
    match error {
        Error::Corrupt(corruption) => {
            let Corruption { file, offset, what, wanted, found } = *corruption;
            let mut finding = damage(file, slot, what, wanted, found);
            finding.offset = offset;
            Ok(finding)
        }
        other => Err(other),
    }
}
