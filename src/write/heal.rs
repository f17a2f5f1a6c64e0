//! Restores a column to its last commit: `FORMAT.md`, section 6.
//!
//! [`examine`] first inspects the whole column without changing it. It fails with [`Error::Corrupt`] if
//! the files contradict each other, and otherwise returns a list of actions, which [`apply`] executes.
//! Healing may be interrupted at any point and repeated: each action removes only bytes that the conf
//! does not name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{CorruptItem, Error, Result};
use crate::files::disk::{Access, CHUNK_BYTES, LockAttempt, OsDisk};
use crate::format::conf::Conf;
use crate::format::conf_check;
use crate::format::corruption::{
    contradicted_conf, data_file_too_short, last_record_error, missing, no_record,
};
use crate::format::names::{self, SlotFile};
use crate::format::offsets::{OffsetTable, TABLE_BYTES, entry_offset};
use crate::format::record::{FIRST_RECORD_OFFSET, HEADER_BYTES};
use crate::format::sums::{RecordSum, SUMS_BYTES, SumEntry};
use crate::format::witness::{Standing, Witness};
use crate::slot::{FileId, Slot};
use crate::write::aside::{self, Asides};
use crate::write::column_dir::{ColumnDir, NamedFile, Sums};
use crate::write::heal_action::{HealAction, HealReport};
use crate::write::options::WriterOptions;
use crate::write::orphan;
use crate::write::replace;

/// The evidence that the conf in force is the last one committed, so that everything it does not name
/// is a remnant of a crash.
pub(super) enum Evidence {
    /// Data that the conf does not name is this writer's own, or is to be discarded.
    Own,
    /// The conf is the last one committed. `unfinished` is the conf of the commit that was in flight, of
    /// which a crash may have left remnants.
    Vouched { unfinished: Option<Conf> },
    /// None: the conf may have rotted, or be outdated. `contradicts` is the newest conf in the witness,
    /// if no writer produces the conf in force from it.
    Doubted { contradicts: Option<Conf> },
}

impl Evidence {
    /// The evidence that the witness gives for a conf.
    pub(super) fn of(directory: &ColumnDir, conf: &Conf, witness: &Witness) -> Result<Self> {
        Ok(match witness.standing(conf) {
            Standing::Newest => Self::Vouched { unfinished: None },
            // A rotted or restored conf may equal the older one too. In that case the files of the newer
            // commit are complete.
            Standing::Before { unfinished }
                if directory.has(names::CONF_TMP)? || !is_complete(directory, &unfinished)? =>
            {
                Self::Vouched { unfinished: Some(unfinished) }
            }
            Standing::Unwitnessed | Standing::Before { .. } | Standing::Continued { .. } => {
                Self::Doubted { contradicts: None }
            }
            Standing::Contradicted { newest } => Self::Doubted { contradicts: Some(newest) },
        })
    }

    fn is_own(&self) -> bool {
        matches!(self, Self::Own)
    }

    fn doubts(&self) -> bool {
        matches!(self, Self::Doubted { .. })
    }

    /// The length of a file according to the unfinished commit.
    fn unfinished_len(&self, file_id: FileId) -> Option<u64> {
        match self {
            Self::Vouched { unfinished: Some(conf) } => conf.named_len(file_id),
            _ => None,
        }
    }
}

/// Reports what opening the column for writing would heal. Changes nothing and needs no write
/// permission. If there is a lock file, writers are locked out for the duration.
///
/// # Errors
/// [`Error::NoSuchColumn`]; [`Error::AlreadyOpen`] while a writer has the column open; and the errors of
/// opening for writing: [`Error::Corrupt`], [`Error::Unsupported`], [`Error::Io`].
pub fn inspect(directory: impl AsRef<Path>) -> Result<HealReport> {
    inspect_with(directory, WriterOptions::existing())
}

/// [`inspect`] for an opening with these options. Only [`WriterOptions::discard`] and
/// [`WriterOptions::orphans_aside`] have an effect.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_with(directory: impl AsRef<Path>, options: WriterOptions) -> Result<HealReport> {
    let directory = ColumnDir::new(Arc::new(OsDisk), directory.as_ref());
    let lock = directory.file_path(names::LOCK);
    let attempt = directory.disk().lock_shared(&lock);
    let held = match attempt.map_err(|error| Error::io(lock, "lock", error))? {
        Some(LockAttempt::Busy(pid)) => {
            return Err(Error::AlreadyOpen { directory: directory.path().into(), pid });
        }
        Some(LockAttempt::Held(lock)) => Some(lock),
        None => None,
    };
    let witness = directory.read_witness()?;
    let conf = directory.read_conf()?.ok_or_else(|| no_conf(&directory))?;
    let leftovers = match &held {
        Some(lock) => replace::leftovers(&directory, &**lock)?,
        None => Vec::new(),
    };
    let leftover =
        |found: ColumnDir| HealAction::RemovedLeftover { directory: found.path().into() };
    let mut actions: Vec<_> = leftovers.into_iter().map(leftover).collect();
    let asides = Asides::list(&directory)?.paths(&directory);
    actions.extend(examine_witnessed(&directory, &conf, &witness, &options)?);
    Ok(HealReport::new(actions, asides))
}

/// Plans what an opening with these options heals, given the conf and its witness.
pub(super) fn examine_witnessed(
    directory: &ColumnDir,
    conf: &Conf,
    witness: &Witness,
    options: &WriterOptions,
) -> Result<Vec<HealAction>> {
    let discard = options.discard;
    let evidence = match discard {
        true => Evidence::Own,
        false => Evidence::of(directory, conf, witness)?,
    };
    let mut actions = examine(directory, conf, &evidence)?;
    examine_taken_over(directory, conf, witness, discard, &mut actions)?;
    if let Evidence::Doubted { contradicts: Some(newest) } = evidence {
        let is_other_kind = (newest.spec.record_type, newest.spec.compression)
            != (conf.spec.record_type, conf.spec.compression);
        if is_other_kind || !actions.is_empty() {
            return Err(contradiction(directory, conf, &newest));
        }
    }
    if options.orphans_aside {
        actions.extend(orphan::put_aside(directory, conf, witness)?);
    }
    if matches!(witness.standing(conf), Standing::Before { .. }) {
        actions.push(HealAction::ClearedWitness { file: directory.file_path(names::CHECK) });
    }
    Ok(actions)
}

/// Whether the files are complete according to this conf.
fn is_complete(directory: &ColumnDir, conf: &Conf) -> Result<bool> {
    match examine(directory, conf, &Evidence::Own) {
        Ok(actions) => {
            let is_cut = |action: &HealAction| matches!(action, HealAction::ExtendedOffsets { .. });
            Ok(!actions.iter().any(is_cut) && ends_with_a_record(directory, conf)?)
        }
        Err(error) if error.is_corrupt() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the backfill file ends with a record that an entry points to.
fn ends_with_a_record(directory: &ColumnDir, conf: &Conf) -> Result<bool> {
    let Some(target) = conf.backfill_target().filter(|t| t.data_len > FIRST_RECORD_OFFSET) else {
        return Ok(true);
    };
    let data = open_data(directory, target.file_id, target.data_len)?;
    let Some((table, _)) = directory.read_table(target.file_id)? else { return Ok(false) };
    let entries = table.records().map(|(_, entry)| entry);
    let Some(last) = entries.filter(|entry| *entry < target.data_len).max() else {
        return Ok(false);
    };
    let end = data.record_end(conf.spec.record_type, last, target.data_len)?;
    Ok(end == Some(target.data_len))
}

/// The error for a conf that no writer produces from the newest one in the witness.
fn contradiction(directory: &ColumnDir, conf: &Conf, newest: &Conf) -> Error {
    let wanted = format!("the conf in column.check ({newest}), or one that can follow it");
    let found = format!(
        "another conf ({conf}). Nothing was changed. `coldstore heal --restore-conf` restores the one in \
         column.check. `coldstore heal --discard` keeps this one and removes data that it does not name"
    );
    let what = CorruptItem::Conf("conf, which contradicts its witness");
    Error::corrupt(directory.file_path(names::CONF), None, what, wanted, found)
}

/// The error for a directory without a conf: either no column, or a column whose conf was lost.
pub(super) fn no_conf(directory: &ColumnDir) -> Error {
    let files = match directory.slot_files_if_there() {
        Ok(files) => files,
        Err(error) => return error,
    };
    match files.first() {
        None => Error::NoSuchColumn { directory: directory.path().into() },
        Some(file) => {
            let found = format!("none, but {}", directory.slot_file_path(*file).display());
            Error::corrupt(
                directory.file_path(names::CONF),
                None,
                CorruptItem::Column,
                "a conf",
                found,
            )
        }
    }
}

/// Plans the healing of a column. Fails if the conf does not fit the files. Changes nothing.
pub(super) fn examine(
    directory: &ColumnDir,
    conf: &Conf,
    evidence: &Evidence,
) -> Result<Vec<HealAction>> {
    let mut asides = Asides::list(directory)?;
    let mut actions = match (asides.is_empty(), evidence) {
        (false, evidence) => asides.done_with(directory, conf, evidence.is_own())?,
        (true, _) => Vec::new(),
    };
    let mut examined = Examined { directory, conf, evidence, asides, actions: Vec::new() };
    if let Some(highest) = conf.highest {
        examined.current(highest)?;
    }
    if let Some(target) = conf.backfill_target() {
        match target.data_len {
            0 => examined.new_backfill_file(target.file_id)?,
            data_len => examined.backfill_file(target.file_id, data_len)?,
        }
    }
    for file in directory.slot_files()? {
        if Some(file.file_id()) > conf.current_file() {
            examined.unnamed(file, evidence.doubts())?;
        }
    }
    actions.append(&mut examined.actions);
    let tmp = directory.file_path(names::CONF_TMP);
    if directory.open(tmp.clone(), Access::Read)?.is_some() {
        actions.push(HealAction::RemovedTmp { file: tmp });
    }
    Ok(actions)
}

/// A column under examination.
struct Examined<'a> {
    directory: &'a ColumnDir,
    conf: &'a Conf,
    evidence: &'a Evidence,
    asides: Asides,
    actions: Vec<HealAction>,
}

/// A file that the conf names, and that fits the conf.
struct Looked {
    file_id: FileId,
    data: NamedFile,
    table: Box<OffsetTable>,
    offsets_len: u64,
    data_len: u64,
    /// From this index on, a checksum without a record belongs to an uncommitted record.
    sums_from: usize,
}

impl Examined<'_> {
    fn current(&mut self, highest: Slot) -> Result<()> {
        let (directory, conf) = (self.directory, self.conf);
        let file_id = highest.file_id();
        let data_len = conf.current_data_len;
        let data = open_data(directory, file_id, data_len)?;
        let Some((table, offsets_len)) = directory.read_table(file_id)? else {
            return Err(missing(directory.offset_path(file_id), "offset file", data_len));
        };
        let entries = table.entries();
        let largest = conf_check::check_current_entries(entries, highest.index_in_file(), data_len)
            .map_err(|contradiction| {
                contradicted_conf(directory.offset_path(file_id), highest, contradiction, data_len)
            })?;
        let end = data.record_end(conf.spec.record_type, largest, data_len)?;
        if end != Some(data_len) {
            return Err(last_record_error(directory.data_path(file_id), largest, data_len, end));
        }
        // At or below the highest slot, an uncommitted record can only come from backfill. Without
        // backfill, a checksum without an entry is the last trace of a lost record, and is kept.
        let sums_from = if conf.backfill.is_some() { 0 } else { highest.index_in_file() + 1 };
        // The conf fits, so entries above the highest slot are uncommitted too.
        self.file(&Looked { file_id, data, table, offsets_len, data_len, sums_from })
    }

    fn backfill_file(&mut self, file_id: FileId, data_len: u64) -> Result<()> {
        let (directory, conf) = (self.directory, self.conf);
        let data = open_data(directory, file_id, data_len)?;
        let (table, offsets_len) = match directory.read_table(file_id)? {
            Some(table) => table,
            None if data_len > FIRST_RECORD_OFFSET => {
                return Err(missing(directory.offset_path(file_id), "offset file", data_len));
            }
            // A missing table needs no extension either, so it counts as whole.
            None => (OffsetTable::zeroed(), TABLE_BYTES as u64),
        };
        for (index, entry) in table.records().filter(|(_, entry)| *entry < data_len) {
            let end = data.record_end(conf.spec.record_type, entry, data_len)?;
            if end.is_none_or(|end| end > data_len) {
                let (path, slot) = (data.path().to_owned(), file_id.slot_at(index));
                return Err(no_record(path, slot, entry, end, data_len));
            }
        }
        self.file(&Looked { file_id, data, table, offsets_len, data_len, sums_from: 0 })
    }

    /// Examines a backfill file without committed records. Its files may be remnants of a crash, or intact
    /// files that an operator has restored.
    fn new_backfill_file(&mut self, file_id: FileId) -> Result<()> {
        let unfinished_len = self.evidence.unfinished_len(file_id);
        let data = self.directory.open(self.directory.data_path(file_id), Access::Read)?;
        let data_len = data.map_or(Ok(0), |data| data.byte_len())?;
        let is_ours = self.evidence.is_own() || unfinished_len.is_some_and(|len| data_len <= len);
        for file in [SlotFile::Sums(file_id), SlotFile::Offsets(file_id), SlotFile::Data(file_id)] {
            self.unnamed(file, !is_ours)?;
        }
        let file = self.directory.file_path(names::CONF);
        self.actions.push(HealAction::DroppedBackfillFile { file });
        Ok(())
    }

    /// Removes a file that the conf does not name, or puts it aside if it may hold committed records.
    fn unnamed(&mut self, file: SlotFile, is_doubted: bool) -> Result<()> {
        let path = self.directory.slot_file_path(file);
        let Some(found) = self.directory.open(path.clone(), Access::Read)? else { return Ok(()) };
        let byte_len = found.byte_len()?;
        let action = match is_doubted && self.may_hold_records(file.file_id())? {
            true => self.asides.move_aside(self.directory, file)?,
            false => Some(HealAction::RemovedFile { file: path, byte_len }),
        };
        self.actions.extend(action);
        Ok(())
    }

    /// Whether the files of an id that no commit names contain a whole record or an entry.
    fn may_hold_records(&self, file_id: FileId) -> Result<bool> {
        let directory = self.directory;
        let first = FIRST_RECORD_OFFSET;
        if let Some(data) = directory.open(directory.data_path(file_id), Access::Read)? {
            let byte_len = data.byte_len()?;
            let end = data.record_end(self.conf.spec.record_type, first, byte_len)?;
            if end.is_some_and(|end| end <= byte_len) {
                return Ok(true);
            }
        }
        match directory.read_table(file_id) {
            Ok(table) => Ok(table.is_some_and(|(table, _)| table.records().next().is_some())),
            Err(error) if error.is_corrupt() => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn file(&mut self, looked: &Looked) -> Result<()> {
        let Looked { file_id, data, table, offsets_len, data_len, .. } = looked;
        let (directory, highest) = (self.directory, self.conf.highest);
        let strays = || table.records().filter(|(_, entry)| entry >= data_len);
        let slot_of = |(index, _)| file_id.slot_at(index);
        let at_or_below = strays().filter(|(index, _)| Some(file_id.slot_at(*index)) <= highest);
        let low: Vec<(usize, u64)> = at_or_below.collect();
        if let Some(&(index, entry)) = low.first()
            && self.conf.backfill.is_none()
            && !self.evidence.is_own()
        {
            return Err(stray_entry(directory, *file_id, index, entry, *data_len));
        }
        let mut healed = Vec::new();
        let file = directory.offset_path(*file_id);
        let slots: Vec<Slot> = strays().map(slot_of).collect();
        if !slots.is_empty() {
            healed.push(HealAction::ClearedEntries { file: file.clone(), slots });
        }
        if *offsets_len < TABLE_BYTES as u64 {
            healed.push(HealAction::ExtendedOffsets { file, from: *offsets_len });
        }
        let sums_at = healed.len();
        healed.extend(self.sums(looked)?);
        let (from, to) = (data.byte_len()?, *data_len);
        if from > to {
            healed.push(HealAction::Truncated { file: data.path().to_owned(), from, to });
        }
        if healed.is_empty() {
            return Ok(());
        }
        for path in [data.path(), &directory.offset_path(*file_id), &directory.sums_path(*file_id)]
        {
            check_has_one_name(directory, path.to_owned())?;
        }
        let in_tail = data.record_end(self.conf.spec.record_type, to, from)?;
        let has_records = strays().next().is_some() || in_tail.is_some_and(|end| end <= from);
        let is_rot =
            !low.is_empty() && !self.evidence.is_own() && !self.are_of_a_crash(looked, &low)?;
        if is_rot || self.evidence.doubts() && has_records {
            let with_sums = healed.len() > sums_at + usize::from(from > to);
            let actions = &mut self.actions;
            self.asides.copy_aside(directory, *file_id, to, with_sums, actions)?;
        }
        self.actions.append(&mut healed);
        Ok(())
    }

    /// Whether entries past the committed length are the remnant of one interrupted batch: they point to
    /// records in the tail, or to offsets at which the unfinished commit could have written records.
    fn are_of_a_crash(&self, looked: &Looked, strays: &[(usize, u64)]) -> Result<bool> {
        let Looked { file_id, data, data_len, .. } = looked;
        let byte_len = data.byte_len()?;
        let mut starts = BTreeSet::new();
        let mut at = *data_len;
        // The last record may be torn.
        while at < byte_len {
            starts.insert(at);
            let end = data.record_end(self.conf.spec.record_type, at, byte_len)?;
            at = end.unwrap_or(byte_len);
        }
        if strays.iter().all(|(_, entry)| starts.remove(entry)) {
            return Ok(true);
        }
        let Some(len) = self.evidence.unfinished_len(*file_id) else { return Ok(false) };
        let apart = |pair: &[(usize, u64)]| match pair {
            [(_, left), (_, right)] => {
                right.checked_sub(*left).is_some_and(|by| by >= HEADER_BYTES)
            }
            _ => false,
        };
        Ok(strays.windows(2).all(apart)
            && strays.iter().all(|(_, entry)| conf_check::header_fits(*entry, len)))
    }

    /// Plans the healing of the checksum file of a file that the conf names.
    fn sums(&self, looked: &Looked) -> Result<Option<HealAction>> {
        let Looked { file_id, table, data_len, sums_from, .. } = looked;
        let (directory, record_type) = (self.directory, self.conf.spec.record_type);
        let file = directory.sums_path(*file_id);
        let committed = |index: &usize| (1..*data_len).contains(&table.get(*index));
        Ok(match directory.read_sums(*file_id, record_type)? {
            Sums::Absent => None,
            Sums::Broken(byte_len) => {
                // An unfinished commit was creating the file, unless it contains a checksum of a
                // committed record.
                let sums = directory.read_broken_sums(*file_id, record_type)?;
                let fits = |index: usize| {
                    committed(&index)
                        && sums.get(index).is_of(file_id.slot_at(index), table.get(index))
                };
                match sums.known().any(fits) {
                    true => Some(HealAction::MendedSums { file }),
                    false => Some(HealAction::RemovedFile { file, byte_len }),
                }
            }
            Sums::Whole(sums) => {
                let stray = sums.known().filter(|index| index >= sums_from && !committed(index));
                let mut stray: Vec<usize> = stray.collect();
                if !stray.is_empty() && !self.evidence.is_own() {
                    let starts = unreferenced_records(looked, record_type)?;
                    let is_lost = |index: usize| {
                        let (entry, slot) = (sums.get(index), file_id.slot_at(index));
                        starts.iter().any(|offset| entry.is_of(slot, *offset))
                    };
                    // Keep the checksum: it is the last trace of a record whose entry has rotted.
                    stray.retain(|index| !is_lost(*index));
                }
                let slots: Vec<Slot> = stray.iter().map(|index| file_id.slot_at(*index)).collect();
                (!slots.is_empty()).then_some(HealAction::ClearedSums { file, slots })
            }
        })
    }
}

/// The offsets of records below the committed length that no entry points to.
fn unreferenced_records(looked: &Looked, record_type: [u8; 2]) -> Result<Vec<u64>> {
    let Looked { data, table, data_len, .. } = looked;
    let referenced: BTreeSet<u64> =
        table.records().map(|(_, entry)| entry).filter(|entry| entry < data_len).collect();
    let mut starts = Vec::new();
    let mut ends = vec![FIRST_RECORD_OFFSET];
    for entry in &referenced {
        ends.extend(data.record_end(record_type, *entry, *data_len)?);
    }
    for mut at in ends {
        while at < *data_len && !referenced.contains(&at) {
            let Some(end) = data.record_end(record_type, at, *data_len)? else { break };
            starts.push(at);
            at = end;
        }
    }
    Ok(starts)
}

/// Plans to clear stale checksums. After an unfinished commit here, software that ignores checksum files
/// may have written other records in place of the uncommitted ones, whose checksums remained. If the
/// conf may be this writer's own, such a record may just as well have rotted, so the checksums are put
/// aside first.
fn examine_taken_over(
    directory: &ColumnDir,
    conf: &Conf,
    witness: &Witness,
    discard: bool,
    actions: &mut Vec<HealAction>,
) -> Result<()> {
    let is_undecided = witness.knows(conf) && !discard;
    let mut asides = Asides::list(directory)?;
    for file in directory.slot_files()? {
        let SlotFile::Sums(file_id) = file else { continue };
        let vouched = witness.vouched_len(conf, file_id);
        if vouched == u64::MAX || Some(file_id) > conf.current_file() {
            continue;
        }
        let Sums::Whole(sums) = directory.read_sums(file_id, conf.spec.record_type)? else {
            continue;
        };
        let (Some(data), Some((table, _))) = (
            directory.open(directory.data_path(file_id), Access::Read)?,
            directory.read_table(file_id)?,
        ) else {
            continue;
        };
        let bound = conf.named_len(file_id).unwrap_or(data.byte_len()?).min(data.byte_len()?);
        let mut slots = Vec::new();
        for index in
            sums.known().filter(|index| (vouched.max(1)..bound).contains(&table.get(*index)))
        {
            let (slot, offset) = (file_id.slot_at(index), table.get(index));
            let end = data.record_end(conf.spec.record_type, offset, bound)?;
            let Some(end) = end.filter(|end| *end <= bound) else { continue };
            if !is_as_kept(&data, sums.get(index), slot, offset, end)? {
                slots.push(slot);
            }
        }
        if !slots.is_empty() {
            let file = directory.sums_path(file_id);
            check_has_one_name(directory, file.clone())?;
            if is_undecided {
                asides.copy_sums_aside(directory, file_id, actions)?;
            }
            actions.push(HealAction::ClearedSums { file, slots });
        }
    }
    Ok(())
}

/// Whether a record matches either of its checksums.
fn is_as_kept(data: &NamedFile, kept: SumEntry, slot: Slot, offset: u64, end: u64) -> Result<bool> {
    let mut header = [0; 8];
    data.read_exact_at(&mut header, offset)?;
    let mut sum = RecordSum::new(slot, offset, header);
    let mut at = offset + HEADER_BYTES;
    while at < end {
        let len = usize::try_from(end - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let mut piece = vec![0; len];
        data.read_exact_at(&mut piece, at)?;
        sum.update(&piece);
        at += len as u64;
    }
    let found = sum.entry(slot, offset);
    Ok(kept.record == found.record || kept.entry == found.entry)
}

/// The error for an entry that no crash can leave.
fn stray_entry(
    directory: &ColumnDir,
    file_id: FileId,
    index: usize,
    entry: u64,
    data_len: u64,
) -> Error {
    let slot = file_id.slot_at(index);
    let wanted = format!("an offset below the committed {data_len} bytes (slot {slot})");
    let found = format!(
        "{entry}, which no crash can leave without backfill: restore the file from a copy, or clear \
         the entry with `coldstore heal --discard`"
    );
    let path = directory.offset_path(file_id);
    Error::corrupt(path, entry_offset(index), CorruptItem::OffsetEntry, wanted, found)
}

/// Opens a data file, which must have at least the committed length.
fn open_data(directory: &ColumnDir, file_id: FileId, data_len: u64) -> Result<NamedFile> {
    let path = directory.data_path(file_id);
    let Some(data) = directory.open(path.clone(), Access::Read)? else {
        return Err(missing(path, "data file", data_len));
    };
    let byte_len = data.byte_len()?;
    if byte_len < data_len {
        return Err(data_file_too_short(path, byte_len, data_len));
    }
    Ok(data)
}

/// Fails if a file that is about to be changed has other hard links, under which its uncommitted bytes
/// may be committed.
fn check_has_one_name(directory: &ColumnDir, path: PathBuf) -> Result<()> {
    let Some(file) = directory.open(path.clone(), Access::Read)? else {
        return Ok(());
    };
    match file.names()? {
        0 | 1 => Ok(()),
        names => {
            let wanted = "one name (replace the file by a copy: data that is uncommitted here may \
                          be committed under another name)";
            let found = format!("{names} names (hard links)");
            Err(Error::corrupt(path, None, "file to be healed", wanted, found))
        }
    }
}

/// Flushes the files that opening trusts. The previous process may have died between a rename and its
/// flush, so that visible data is not durable yet.
pub(super) fn flush_trusted(directory: &ColumnDir, conf: &Conf) -> Result<()> {
    let target = conf.backfill_target().map(|target| target.file_id);
    for file_id in conf.current_file().into_iter().chain(target) {
        let sums = directory.sums_path(file_id);
        for path in [directory.data_path(file_id), directory.offset_path(file_id), sums] {
            if let Some(mut file) = directory.open(path, Access::Read)? {
                file.sync()?;
            }
        }
    }
    directory.sync()?;
    directory.sync_parent()
}

/// Removes the remnants of a commit that this writer abandons. The conf may still name a backfill file
/// without committed records; the next opening drops it.
pub(super) fn take_back(directory: &ColumnDir, conf: &Conf) -> Result<()> {
    let mut actions = examine(directory, conf, &Evidence::Own)?;
    actions.retain(|action| !matches!(action, HealAction::RemovedAside { .. }));
    apply(directory, conf, &actions)
}

/// Executes the actions that [`examine`] planned. Flushes every changed file, then the directory.
///
/// An offset file is rewritten as a whole, and before its data file is truncated. If an earlier attempt
/// failed to flush it, the page cache may show entries as cleared that are still on the medium. The
/// excess length of the data file is the only sign of such an attempt, so it must go last.
pub(super) fn apply(directory: &ColumnDir, conf: &Conf, actions: &[HealAction]) -> Result<()> {
    copy_asides(directory, actions)?;
    for action in actions {
        tracing::info!(column = %directory.path().display(), "healing: {action}");
        match action {
            // Copies were made above; conf and witness are the caller's to write.
            HealAction::CopiedAside { .. }
            | HealAction::DroppedBackfillFile { .. }
            | HealAction::ClearedWitness { .. } => {}
            HealAction::MovedAside { file, aside, .. } => directory.rename(file, aside)?,
            HealAction::MendedSums { file } => {
                if let Some(file_id) = file_id_of(file) {
                    let sums = directory.read_broken_sums(file_id, conf.spec.record_type)?;
                    let mut file = must_open(directory, file)?;
                    file.set_len(SUMS_BYTES as u64)?;
                    file.write_at(sums.as_bytes(), 0)?;
                    file.sync()?;
                }
            }
            HealAction::ClearedEntries { file, slots } => rewrite_table(directory, file, slots)?,
            HealAction::ClearedSums { file, slots } => {
                if let Some(file_id) = file_id_of(file) {
                    rewrite_sums(directory, conf, file_id, slots)?;
                }
            }
            HealAction::ExtendedOffsets { file, .. } => rewrite_table(directory, file, &[])?,
            HealAction::Truncated { file, to, .. } => {
                if let Some(file_id) = file_id_of(file) {
                    rewrite_table(directory, &directory.offset_path(file_id), &[])?;
                    rewrite_sums(directory, conf, file_id, &[])?;
                }
                let mut data = must_open(directory, file)?;
                data.set_len(*to)?;
                data.sync()?;
            }
            HealAction::RemovedFile { file, .. }
            | HealAction::RemovedAside { file, .. }
            | HealAction::RemovedTmp { file } => {
                directory.remove(file)?;
            }
            // Removed by opening, before the column was examined.
            HealAction::RemovedLeftover { .. } => {}
        }
    }
    if actions.is_empty() { Ok(()) } else { directory.sync() }
}

/// Makes all planned copies durable before anything is removed. On error all of them are removed again,
/// since the disk may be full.
fn copy_asides(directory: &ColumnDir, actions: &[HealAction]) -> Result<()> {
    let mut made = Vec::new();
    let mut copy_all = || {
        for action in actions {
            if let HealAction::CopiedAside { file, aside, from, .. } = action {
                aside::copy(directory, file, aside, *from)?;
                made.push(aside);
            }
        }
        if made.is_empty() { Ok(()) } else { directory.sync() }
    };
    copy_all().inspect_err(|_| made.iter().for_each(|aside| drop(directory.remove(aside))))
}

fn file_id_of(path: &Path) -> Option<FileId> {
    Some(SlotFile::parse(path.file_name()?.to_str()?)?.file_id())
}

/// Rewrites a whole checksum file with the entries of `cleared` set to 0. A broken file is left alone.
pub(super) fn rewrite_sums(
    directory: &ColumnDir,
    conf: &Conf,
    file_id: FileId,
    cleared: &[Slot],
) -> Result<()> {
    let Sums::Whole(mut table) = directory.read_sums(file_id, conf.spec.record_type)? else {
        return Ok(());
    };
    for slot in cleared {
        table.set(slot.index_in_file(), SumEntry::default());
    }
    let mut sums = must_open(directory, &directory.sums_path(file_id))?;
    sums.write_at(table.as_bytes(), 0)?;
    sums.sync()
}

/// Rewrites an offset file with the entries of `cleared` set to 0. A missing file is not created, since
/// there are no records then.
fn rewrite_table(directory: &ColumnDir, path: &Path, cleared: &[Slot]) -> Result<()> {
    let Some(mut offsets) = directory.open(path.to_owned(), Access::Write)? else {
        return Ok(());
    };
    let mut table = offsets.read_table()?;
    for slot in cleared {
        table.set(slot.index_in_file(), 0);
    }
    offsets.write_at(table.as_bytes(), 0)?;
    offsets.sync()
}

fn must_open(directory: &ColumnDir, path: &Path) -> Result<NamedFile> {
    directory
        .open(path.to_owned(), Access::Write)?
        .ok_or_else(|| Error::io(path, "open", std::io::ErrorKind::NotFound.into()))
}
