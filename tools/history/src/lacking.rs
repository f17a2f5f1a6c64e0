//! Checks an archive as a whole: finds columns that are missing, empty, or shorter than they once were.
//!
//! Reads only the confs, the manifest and a few roots. Damage within a column is left to
//! [`verify`](coldstore::verify).

use std::fmt;
use std::path::Path;

use coldstore::archive::held::{Held, is_there};
use coldstore::files::pread::is_of_the_process;
use coldstore::format::names::{self, SlotFile};
use coldstore::manifest;
use coldstore::occupancy::lowest_slot;
use coldstore::removal::Removal;
use coldstore::verify::Severity;
use coldstore::write::copy;
use coldstore::{
    Column, Error, Manifest, PreadView, Reader, ReaderOptions, Result, SLOTS_PER_FILE, Slot,
    Snapshot as _, StatesPolicy,
};

/// A range of records, or an operation's rest, that an archive lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// The column.
    pub column: Column,
    /// The first and the last affected slot, if known.
    pub slots: Option<(Slot, Slot)>,
    /// [`Severity::Damage`] if committed records are gone; [`Severity::Unfinished`] if a running or
    /// interrupted import or daemon has yet to write them.
    pub severity: Severity,
    /// What is wrong, as a predicate without its subject: "is missing …".
    pub what: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.column)?;
        if let Some((first, last)) = self.slots {
            write!(f, ", slots {first} to {last}")?;
        }
        write!(f, ": {}; {}", self.what, self.remedy)
    }
}

const IMPORT: &str = "import the same files again (with --backfill where later slots are there)";
const IMPORT_OR_RESTORE: &str =
    "import the same files again, or restore a copy of the column that holds them";
const FINISH: &str = "the next command that writes to the archive finishes it";
const FINISH_ELSEWHERE: &str =
    "run the command that began it again, in the version that did: nothing else is written before";

/// Whether a directory is an archive: it has a column or a manifest.
///
/// # Errors
/// [`Error::Io`] if the directory or a conf cannot be read; [`Error::UnfinishedCopy`].
pub fn is_archive(root: &Path) -> Result<bool> {
    let listed = std::fs::read_dir(root).map_err(|error| Error::io(root, "open", error))?;
    drop(listed);
    copy::check_finished(root)?;
    if is_there(&root.join(manifest::FILE_NAME))? {
        return Ok(true);
    }
    for column in Column::ALL {
        if Held::of(root, column)? != Held::Nothing {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Describes a directory that is not an archive, for error messages.
#[must_use]
pub fn what_it_is(directory: &Path) -> &'static str {
    let names = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names = names.filter_map(|entry| entry.file_name().into_string().ok()).peekable();
    if names.peek().is_none() {
        return "it is empty";
    }
    let mut what = "it holds neither a column nor archive.toml";
    for name in names {
        if name == names::CONF || SlotFile::parse(&name).is_some() {
            return "it is a column: name the directory above it";
        }
        if name.ends_with(".era") {
            what = "it holds .era files: import them into an archive";
        }
    }
    what
}

/// Lists what the archive in `root` lacks according to its manifest and its columns.
///
/// # Errors
/// [`Error::UnfinishedCopy`]; as [`Manifest::read`]; [`Error::Io`] if a conf cannot be read, or the process
/// is out of file descriptors or memory. Damage is left to verification.
pub fn check(root: &Path) -> Result<Vec<Lacking>> {
    copy::check_finished(root)?;
    // Reads in the order in which lower bounds come first (the manifest, then `bbr`, which is committed
    // last): what a concurrent writer adds meanwhile then never looks like a loss.
    let known = Manifest::read(root)?;
    let mut held = [Held::Nothing; Column::ALL.len()];
    for column in [Column::BlockRoots, Column::StateRoots, Column::Blocks]
        .into_iter()
        .chain([Column::StateSnapshots, Column::StateDiffs])
    {
        held[column.index()] = Held::of(root, column)?;
    }
    let mut check = Check { root, known, held, lowest: [None; HISTORY.len()], found: Vec::new() };
    check.lowest = check.lowest_slots()?;
    check.recorded();
    check.beside_each_other();
    check.behind_each_other()?;
    check.late_begin()?;
    check.newest_state();
    check.intents();
    Ok(check.found)
}

struct Check<'a> {
    root: &'a Path,
    known: Option<Manifest>,
    held: [Held; Column::ALL.len()],
    /// The lowest slots of the columns of [`HISTORY`].
    lowest: [Option<Slot>; HISTORY.len()],
    found: Vec<Lacking>,
}

/// The columns that an archive has either all or none of.
const HISTORY: [Column; 3] = [Column::Blocks, Column::BlockRoots, Column::StateRoots];

impl Check<'_> {
    fn held(&self, column: Column) -> Held {
        self.held[column.index()]
    }

    fn is_found(&self, column: Column) -> bool {
        self.found.iter().any(|lacking| lacking.column == column)
    }

    fn find(
        &mut self,
        column: Column,
        severity: Severity,
        slots: (Slot, Slot),
        what: String,
        remedy: &'static str,
    ) {
        self.found.push(Lacking { column, slots: Some(slots), severity, what, remedy });
    }

    fn lowest_slots(&self) -> Result<[Option<Slot>; HISTORY.len()]> {
        let mut lowest = [None; HISTORY.len()];
        for (lowest, column) in lowest.iter_mut().zip(HISTORY) {
            if let Some(view) = self.view(column)? {
                *lowest = lowest_slot(&view)?;
            }
        }
        Ok(lowest)
    }

    fn first_slot(&self) -> Slot {
        let recorded = self.known.as_ref().and_then(|known| known.first_slot);
        recorded.or(self.lowest.into_iter().flatten().min()).unwrap_or(Slot(0))
    }

    /// A view of a column, read with `pread`: a bad sector in a map would end the process. `None` if the
    /// column is missing or damaged; verification reports the damage.
    fn view(&self, column: Column) -> Result<Option<PreadView>> {
        let options = ReaderOptions::default().expect(column.spec());
        let opened = Reader::open(self.root.join(column.dir_name()), options);
        Error::if_sound(opened.map(|reader| reader.view()))
    }

    /// Finds columns that are behind the manifest.
    fn recorded(&mut self) {
        for column in Column::ALL {
            let Some(entry) = self.known.as_ref().map(|known| known.column(column)) else { return };
            let Some(recorded) = entry.highest else { continue };
            if entry.pruned_before.is_some_and(|pruned| pruned > recorded) {
                continue;
            }
            let begin = entry.pruned_before.unwrap_or_else(|| self.first_slot());
            let (first, what) = match self.held(column) {
                Held::Nothing => (begin, "is missing".to_owned()),
                Held::Empty => (begin, "is empty".to_owned()),
                Held::UpTo(highest) if highest < recorded => {
                    (Slot(highest.0.saturating_add(1)), format!("ends with slot {highest}"))
                }
                Held::UpTo(_) | Held::Unreadable => continue,
            };
            let what = format!("{what}, but was committed up to slot {recorded}");
            let slots = (first.min(recorded), recorded);
            self.find(column, Severity::Damage, slots, what, IMPORT_OR_RESTORE);
        }
    }

    /// Finds history columns that are missing or empty while others hold records.
    fn beside_each_other(&mut self) {
        for column in HISTORY {
            if self.is_found(column) || !matches!(self.held(column), Held::Nothing | Held::Empty) {
                continue;
            }
            let others = HISTORY.into_iter().filter(|other| *other != column);
            let highest = |other: Column| Some((self.held(other).highest()?, other));
            let Some((highest, other)) = others.filter_map(highest).max() else { continue };
            let beside = format!("beside {other}, which holds slots up to {highest}");
            let slots = (self.first_slot().min(highest), highest);
            if self.held(column) == Held::Nothing {
                if self.was_never_made(column) {
                    continue;
                }
                let what = format!("is missing {beside}");
                self.find(column, Severity::Damage, slots, what, IMPORT_OR_RESTORE);
            } else {
                let severity = self.severity_of_emptiness(column, slots);
                self.find(column, severity, slots, format!("is empty {beside}"), IMPORT);
            }
        }
    }

    /// Whether the manifest, which from the beginning has an entry for every column ever created, has none
    /// for this one.
    fn was_never_made(&self, column: Column) -> bool {
        self.known.as_ref().is_some_and(|known| {
            let is_whole =
                !known.rebuilt && Column::ALL.into_iter().any(|any| known.has_column(any));
            is_whole && !known.has_column(column)
        })
    }

    /// An empty column is unfinished if the manifest knows that it was never written to. Without that
    /// knowledge it is unfinished only if an import may still be in its first era.
    fn severity_of_emptiness(&self, column: Column, (first, last): (Slot, Slot)) -> Severity {
        let known = self.known.as_ref().filter(|known| !known.rebuilt);
        let slots_per_era = self.known.as_ref().and_then(|known| known.slots_per_era);
        let is_first_era = last.0.saturating_sub(first.0) < slots_per_era.unwrap_or(SLOTS_PER_FILE);
        let is_at_it = self.held(Column::BlockRoots).highest().is_none() && is_first_era;
        if known.is_some_and(|known| known.column(column).highest.is_none()) || is_at_it {
            Severity::Unfinished
        } else {
            Severity::Damage
        }
    }

    /// Finds columns that are behind or ahead of `bbr`. An import commits the block roots of an era last,
    /// so the era is complete once they are there.
    fn behind_each_other(&mut self) -> Result<()> {
        let Some(roots_end) = self.held(Column::BlockRoots).highest() else { return Ok(()) };
        for column in [Column::Blocks, Column::StateRoots] {
            let Some(highest) = self.held(column).highest() else { continue };
            if highest > roots_end && !self.is_found(Column::BlockRoots) {
                let slots = (Slot(roots_end.0.saturating_add(1)), highest);
                let what = format!("ends with slot {roots_end}, {column} with slot {highest}");
                self.find(Column::BlockRoots, Severity::Unfinished, slots, what, IMPORT);
            }
            let lacks = highest < roots_end
                && !self.is_found(column)
                && (column == Column::StateRoots || !self.is_skipped_after(highest, roots_end)?);
            if lacks {
                let slots = (Slot(highest.0.saturating_add(1)), roots_end);
                let what = format!("ends with slot {highest}, bbr with slot {roots_end}");
                self.find(column, Severity::Unfinished, slots, what, IMPORT);
            }
        }
        Ok(())
    }

    /// Finds history columns that begin after the archive. Blocks may begin later if the roots prove that
    /// the slots before were skipped.
    fn late_begin(&mut self) -> Result<()> {
        let known = self.known.as_ref();
        let is_recorded = known.is_some_and(|known| known.first_slot.is_some() && !known.rebuilt);
        for (column, lowest) in HISTORY.into_iter().zip(self.lowest) {
            let pruned = self.known.as_ref().and_then(|known| known.column(column).pruned_before);
            let begin = self.first_slot().max(pruned.unwrap_or_default());
            let Some(lowest) = lowest.filter(|lowest| *lowest > begin) else { continue };
            let last = Slot(lowest.0.saturating_sub(1));
            if column == Column::Blocks && self.is_skipped_after(begin, last)? {
                continue;
            }
            // Without a recorded first slot, a backfill may still be in progress.
            let severity = if is_recorded { Severity::Damage } else { Severity::Unfinished };
            let what = format!("begins with slot {lowest}, the archive with slot {begin}");
            self.find(column, severity, (begin, last), what, IMPORT);
        }
        Ok(())
    }

    /// Whether every slot after `highest` up to `end` was skipped: both have the same block root. Returns
    /// `true` if a root cannot be read; verification reports that.
    fn is_skipped_after(&self, highest: Slot, end: Slot) -> Result<bool> {
        let Some(roots) = self.view(Column::BlockRoots)? else { return Ok(true) };
        let root = |slot| match roots.value(slot) {
            Ok(root) => Ok(root),
            Err(Error::Io(error)) if is_of_the_process(&error.source) => Err(Error::Io(error)),
            Err(_) => Ok(None),
        };
        let (first, last) = (root(highest)?, root(end)?);
        Ok(first.is_none() || last.is_none() || first == last)
    }

    /// Finds a missing newest state. An import writes the state after its last era under every policy.
    fn newest_state(&mut self) {
        let Some(known) = &self.known else { return };
        let policy = known.states.filter(|states| *states != StatesPolicy::Unknown);
        let (Some(_), Some(slots_per_era), Some(end)) =
            (policy, known.slots_per_era, self.held(Column::BlockRoots).highest())
        else {
            return;
        };
        let state = Slot(end.0.saturating_add(1));
        let is_boundary = slots_per_era > 0 && state.0.is_multiple_of(slots_per_era);
        // It may be a diff.
        let held = [Column::StateSnapshots, Column::StateDiffs].map(|column| self.held(column));
        let is_behind = !held.contains(&Held::Unreadable)
            && held.into_iter().filter_map(Held::highest).max() < Some(state);
        if is_boundary && is_behind && !self.is_found(Column::StateSnapshots) {
            let what = format!("does not hold the state of slot {state}, the newest");
            self.find(Column::StateSnapshots, Severity::Unfinished, (state, state), what, IMPORT);
        }
    }

    fn intents(&mut self) {
        let intents = self.known.as_ref().map(Manifest::intents).unwrap_or_default().to_vec();
        for intent in intents {
            let named = intent.columns.iter().map(|name| name.parse());
            let named = named.collect::<Result<Vec<Column>, _>>().unwrap_or_default();
            let is_known = Removal::of(&intent).is_some() && !named.is_empty();
            let remedy = if is_known { FINISH } else { FINISH_ELSEWHERE };
            // What names no column that is known here may concern all of them.
            let columns = if named.is_empty() { Column::ALL.to_vec() } else { named };
            for column in columns {
                let what = format!("a {} is unfinished", intent.kind);
                let (slots, severity) = (None, Severity::Unfinished);
                self.found.push(Lacking { column, slots, severity, what, remedy });
            }
        }
    }
}
