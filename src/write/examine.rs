//! Plans the healing of a column: `FORMAT.md`, sections 6 and 12. Changes nothing.

use std::collections::BTreeSet;

use crate::error::{CorruptItem, Error, Result};
use crate::files::disk::Access;
use crate::format::conf::Conf;
use crate::format::conf_check;
use crate::format::corruption::missing;
use crate::format::names::{self, AsidePart, SlotFile};
use crate::format::offsets::{OffsetTable, TABLE_BYTES, entry_offset};
use crate::format::record::{FIRST_RECORD_OFFSET, HEADER_BYTES};
use crate::format::witness::{Standing, Witness};
use crate::slot::{FileId, Slot};
use crate::write::aside::Asides;
use crate::write::column_dir::{ColumnDir, Sums};
use crate::write::heal_action::{HealAction, HealChange};
use crate::write::named_file::NamedFile;

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

/// Whether the files are complete according to this conf.
fn is_complete(directory: &ColumnDir, conf: &Conf) -> Result<bool> {
    match examine(directory, conf, &Evidence::Own) {
        Ok(Plan { actions, .. }) => {
            let is_cut = |a: &HealAction| matches!(a.change, HealChange::ExtendedOffsets(_));
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
    let data = directory.open_data(target.file_id, Access::Read, target.data_len)?;
    let Some((table, _)) = directory.read_table(target.file_id)? else { return Ok(false) };
    let entries = table.records().map(|(_, entry)| entry);
    let Some(last) = entries.filter(|entry| *entry < target.data_len).max() else {
        return Ok(false);
    };
    let end = data.record_end(conf.spec.record_type, last, target.data_len)?;
    Ok(end == Some(target.data_len))
}

/// What healing will do, and the files that will be put aside by then.
pub(super) struct Plan {
    pub(super) actions: Vec<HealAction>,
    pub(super) asides: Asides,
}

/// Plans the healing of a column. Fails if the conf does not fit the files.
pub(super) fn examine(directory: &ColumnDir, conf: &Conf, evidence: &Evidence) -> Result<Plan> {
    let mut asides = Asides::list(directory)?;
    let actions = asides.done_with(directory, conf, evidence.is_own())?;
    let mut examined = Examined { directory, conf, evidence, plan: Plan { actions, asides } };
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
    if directory.has(names::CONF_TMP)? {
        let file = directory.file_path(names::CONF_TMP);
        examined.plan.actions.push(HealAction { file, change: HealChange::RemovedTmp });
    }
    Ok(examined.plan)
}

/// A column under examination.
struct Examined<'a> {
    directory: &'a ColumnDir,
    conf: &'a Conf,
    evidence: &'a Evidence,
    plan: Plan,
}

/// The files of an id that the conf names, and that fit the conf.
struct Files {
    file_id: FileId,
    data: NamedFile,
    table: Box<OffsetTable>,
    offsets_len: u64,
    /// The committed length of the data file.
    data_len: u64,
    /// From this index on, a checksum without a record belongs to an uncommitted record.
    sums_from: usize,
}

impl Examined<'_> {
    fn current(&mut self, highest: Slot) -> Result<()> {
        let (directory, conf) = (self.directory, self.conf);
        let (file_id, data_len) = (highest.file_id(), conf.current_data_len);
        let data = directory.open_data(file_id, Access::Read, data_len)?;
        let Some((table, offsets_len)) = directory.read_table(file_id)? else {
            return Err(missing(directory.offset_path(file_id), "offset file", data_len));
        };
        let path = directory.offset_path(file_id);
        let largest = conf_check::check_entries(path, highest, data_len, table.entries())?;
        let end = data.record_end(conf.spec.record_type, largest, data_len)?;
        conf_check::check_last_record(directory.data_path(file_id), data_len, largest, end)?;
        // At or below the highest slot, an uncommitted record can only come from backfill. Without
        // backfill, a checksum without an entry is the last trace of a lost record, and is kept.
        let sums_from = if conf.backfill.is_some() { 0 } else { highest.index_in_file() + 1 };
        // The conf fits, so entries above the highest slot are uncommitted too.
        self.files(&Files { file_id, data, table, offsets_len, data_len, sums_from })
    }

    fn backfill_file(&mut self, file_id: FileId, data_len: u64) -> Result<()> {
        let (directory, conf) = (self.directory, self.conf);
        let data = directory.open_data(file_id, Access::Read, data_len)?;
        let (table, offsets_len) = match directory.read_table(file_id)? {
            Some(table) => table,
            None if data_len > FIRST_RECORD_OFFSET => {
                return Err(missing(directory.offset_path(file_id), "offset file", data_len));
            }
            // A missing table needs no extension either, so it counts as whole.
            None => (OffsetTable::zeroed(), TABLE_BYTES as u64),
        };
        for (index, entry) in table.records().filter(|(_, entry)| *entry < data_len) {
            data.end_of(conf.spec.record_type, file_id.slot_at(index), entry, data_len)?;
        }
        self.files(&Files { file_id, data, table, offsets_len, data_len, sums_from: 0 })
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
        self.plan.actions.push(HealAction { file, change: HealChange::DroppedBackfillFile });
        Ok(())
    }

    /// Removes a file that the conf does not name, or puts it aside if it may hold committed records.
    fn unnamed(&mut self, file: SlotFile, is_doubted: bool) -> Result<()> {
        let path = self.directory.slot_file_path(file);
        let Some(found) = self.directory.open(path.clone(), Access::Read)? else { return Ok(()) };
        let byte_len = found.byte_len()?;
        let action = match is_doubted && self.may_hold_records(file.file_id())? {
            true => self.plan.asides.move_aside(self.directory, file, byte_len),
            false => HealAction { file: path, change: HealChange::RemovedFile(byte_len) },
        };
        self.plan.actions.push(action);
        Ok(())
    }

    /// Whether the files of an id that no commit names contain a whole record or an entry.
    fn may_hold_records(&self, file_id: FileId) -> Result<bool> {
        let directory = self.directory;
        if let Some(data) = directory.open(directory.data_path(file_id), Access::Read)? {
            let byte_len = data.byte_len()?;
            let record_type = self.conf.spec.record_type;
            let end = data.record_end(record_type, FIRST_RECORD_OFFSET, byte_len)?;
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

    fn files(&mut self, files: &Files) -> Result<()> {
        let Files { file_id, data, table, offsets_len, data_len, .. } = files;
        let (directory, highest, is_own) =
            (self.directory, self.conf.highest, self.evidence.is_own());
        let strays: Vec<(usize, u64)> =
            table.records().filter(|(_, entry)| entry >= data_len).collect();
        let slot_of = |(index, _): &(usize, u64)| file_id.slot_at(*index);
        let at_or_below = strays.iter().filter(|stray| Some(slot_of(stray)) <= highest);
        let low: Vec<(usize, u64)> = at_or_below.copied().collect();
        if let Some(&(index, entry)) = low.first()
            && self.conf.backfill.is_none()
            && !is_own
        {
            return Err(stray_entry(directory, *file_id, index, entry, *data_len));
        }
        let [data_path, offset_path, sums_path] =
            SlotFile::all(*file_id).map(|file| directory.slot_file_path(file));
        let mut healed = Vec::new();
        let mut heal = |file, change| healed.push(HealAction { file, change });
        if !strays.is_empty() {
            let slots = strays.iter().map(slot_of).collect();
            heal(offset_path.clone(), HealChange::ClearedEntries(slots));
        }
        if *offsets_len < TABLE_BYTES as u64 {
            heal(offset_path.clone(), HealChange::ExtendedOffsets(*offsets_len));
        }
        let of_sums = self.sums(files)?;
        let with_sums = of_sums.is_some();
        if let Some(change) = of_sums {
            heal(sums_path.clone(), change);
        }
        let (from, to) = (data.byte_len()?, *data_len);
        if from > to {
            heal(data_path.clone(), HealChange::Truncated { from, to });
        }
        if healed.is_empty() {
            return Ok(());
        }
        for path in [data_path, offset_path, sums_path] {
            directory.check_has_one_name(path)?;
        }
        let in_tail = data.record_end(self.conf.spec.record_type, to, from)?;
        let has_records = !strays.is_empty() || in_tail.is_some_and(|end| end <= from);
        let is_rot = !low.is_empty() && !is_own && !self.are_of_a_crash(files, &low)?;
        let Plan { actions, asides } = &mut self.plan;
        if is_rot || self.evidence.doubts() && has_records {
            let whole = |file: SlotFile| AsidePart::Whole(file);
            let mut parts = vec![AsidePart::Tail(*file_id, to), whole(SlotFile::Offsets(*file_id))];
            parts.extend(with_sums.then(|| whole(SlotFile::Sums(*file_id))));
            asides.copy_aside(directory, parts, actions)?;
        }
        actions.append(&mut healed);
        Ok(())
    }

    /// Whether entries past the committed length are the remnant of one interrupted batch: they point to
    /// records in the tail, or to offsets at which the unfinished commit could have written records.
    fn are_of_a_crash(&self, files: &Files, strays: &[(usize, u64)]) -> Result<bool> {
        let Files { file_id, data, data_len, .. } = files;
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
        let are_apart = strays.is_sorted_by(|(_, left), (_, right)| {
            right.checked_sub(*left).is_some_and(|by| by >= HEADER_BYTES)
        });
        Ok(are_apart && strays.iter().all(|(_, entry)| conf_check::header_fits(*entry, len)))
    }

    /// Plans the healing of the checksum file of a file that the conf names.
    fn sums(&self, files: &Files) -> Result<Option<HealChange>> {
        let Files { file_id, table, data_len, sums_from, .. } = files;
        let (directory, record_type) = (self.directory, self.conf.spec.record_type);
        let committed = |index: &usize| (1..*data_len).contains(&table.get(*index));
        Ok(match directory.read_sums(*file_id, record_type)? {
            Sums::Absent => None,
            Sums::Broken(sums, byte_len) => {
                // An unfinished commit was creating the file, unless it contains a checksum of a
                // committed record.
                let fits = |index: usize| {
                    committed(&index)
                        && sums.get(index).is_of(file_id.slot_at(index), table.get(index))
                };
                match sums.known().any(fits) {
                    true => Some(HealChange::MendedSums),
                    false => Some(HealChange::RemovedFile(byte_len)),
                }
            }
            Sums::Whole(sums) => {
                let stray = sums.known().filter(|index| index >= sums_from && !committed(index));
                let mut stray: Vec<usize> = stray.collect();
                if !stray.is_empty() && !self.evidence.is_own() {
                    let starts = unreferenced_records(files, record_type)?;
                    let is_lost = |index: usize| {
                        let (entry, slot) = (sums.get(index), file_id.slot_at(index));
                        starts.iter().any(|offset| entry.is_of(slot, *offset))
                    };
                    // Keep the checksum: it is the last trace of a record whose entry has rotted.
                    stray.retain(|index| !is_lost(*index));
                }
                let slots: Vec<Slot> = stray.iter().map(|index| file_id.slot_at(*index)).collect();
                (!slots.is_empty()).then_some(HealChange::ClearedSums(slots))
            }
        })
    }
}

/// The offsets of records below the committed length that no entry points to.
fn unreferenced_records(files: &Files, record_type: [u8; 2]) -> Result<Vec<u64>> {
    let Files { data, table, data_len, .. } = files;
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
