//! Puts data aside that healing would otherwise destroy: `FORMAT.md`, section 12.
//!
//! Whole files are renamed; tails of data files, and tables, are copied. A file that was put aside
//! stays until every record in it is committed again with the same bytes, or until it is discarded.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::{Error, IoError, Result};
use crate::files::disk::Access;
use crate::format::conf::Conf;
use crate::format::conf_check;
use crate::format::names::{Aside, AsidePart, SlotFile};
use crate::format::record::{FIRST_RECORD_OFFSET, RecordTag};
use crate::write::column_dir::ColumnDir;
use crate::write::heal_action::{HealAction, HealChange};
use crate::write::named_file::{NamedFile, chunks};

/// The operation that an error names when a copy cannot be written, usually for want of space.
pub(super) const COPY_ASIDE: &str = "put aside a copy of what healing removes (`coldstore heal --discard` removes it without one) as";

/// Temporary name of a copy that is being written.
const UNFINISHED: &str = "aside.tmp";

/// The files put aside in a column, sorted by number and file id.
#[derive(Clone, Debug, Default)]
pub(super) struct Asides {
    files: Vec<Aside>,
    /// The numbers in use when the files were listed, and those given since. Numbers of files that are to
    /// be removed are not reused: [`copy_all`] runs before the removal, which goes by name.
    numbers: BTreeSet<u64>,
}

impl Asides {
    pub(super) fn list(directory: &ColumnDir) -> Result<Self> {
        let mut found: Vec<Aside> =
            directory.names()?.iter().filter_map(|name| Aside::parse(name)).collect();
        found.sort_unstable_by_key(|aside| (aside.number, aside.file_id(), *aside));
        let numbers = found.iter().map(|aside| aside.number).collect();
        Ok(Self { files: found, numbers })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn paths(&self, directory: &ColumnDir) -> Vec<PathBuf> {
        self.files.iter().map(|aside| directory.file_path(&aside.name())).collect()
    }

    fn add(&mut self, aside: Aside) {
        self.numbers.insert(aside.number);
        self.files.push(aside);
    }

    /// The number after the highest one; the lowest free one if the highest is the largest possible.
    fn new_number(&self) -> u64 {
        let after = self.numbers.last().map_or(Some(1), |highest| highest.checked_add(1));
        let is_free = |number: &u64| !self.numbers.contains(number);
        after.or_else(|| (1..=u64::MAX).find(is_free)).unwrap_or(u64::MAX)
    }

    /// Plans to rename a file out of the way. Files of one id share a number, even if a crash spreads the
    /// work over two openings.
    pub(super) fn move_aside(
        &mut self,
        directory: &ColumnDir,
        file: SlotFile,
        byte_len: u64,
    ) -> HealAction {
        let part = AsidePart::Whole(file);
        let of_file = |aside: &&Aside| aside.file_id() == file.file_id();
        let newest = self.files.iter().filter(of_file).map(|aside| aside.number).max();
        let is_free = |number: &u64| !self.files.contains(&Aside { number: *number, part });
        let number = newest.filter(is_free).unwrap_or_else(|| self.new_number());
        let aside = Aside { number, part };
        self.add(aside);
        let aside = directory.file_path(&aside.name());
        let change = HealChange::MovedAside { aside, byte_len };
        HealAction { file: directory.slot_file_path(file), change }
    }

    /// Plans copies of these parts before healing changes them. Copies made by an interrupted opening are
    /// reused.
    pub(super) fn copy_aside(
        &mut self,
        directory: &ColumnDir,
        parts: Vec<AsidePart>,
        actions: &mut Vec<HealAction>,
    ) -> Result<()> {
        let mut wanted = Vec::new();
        for part in parts {
            let path = directory.slot_file_path(part.of().0);
            wanted.extend(directory.open(path, Access::Read)?.map(|file| (part, file)));
        }
        let mut number = self.new_number();
        // Reuse the number of an earlier opening that made the same copies.
        for &earlier in &self.numbers {
            if self.are_copies(directory, earlier, &wanted)? {
                number = earlier;
            }
        }
        for (part, file) in wanted {
            let aside = Aside { number, part };
            if self.files.contains(&aside) {
                continue;
            }
            self.add(aside);
            let (from, aside) = (part.of().1, directory.file_path(&aside.name()));
            let byte_len = file.byte_len()?.saturating_sub(from);
            let change = HealChange::CopiedAside { aside, from, byte_len };
            actions.push(HealAction { file: file.path().to_owned(), change });
        }
        Ok(())
    }

    /// Whether at least one of these files is put aside under this number, and every one that is has the
    /// same bytes.
    fn are_copies(
        &self,
        directory: &ColumnDir,
        number: u64,
        wanted: &[(AsidePart, NamedFile)],
    ) -> Result<bool> {
        let mut some = false;
        for (part, file) in wanted {
            let aside = Aside { number, part: *part };
            if !self.files.contains(&aside) {
                continue;
            }
            let path = directory.file_path(&aside.name());
            let Some(copy) = directory.open(path, Access::Read)? else { return Ok(false) };
            let from = part.of().1;
            let byte_len = file.byte_len()?.saturating_sub(from);
            if copy.byte_len()? != byte_len || !file.has_bytes_of(from, &copy, 0, byte_len)? {
                return Ok(false);
            }
            some = true;
        }
        Ok(some)
    }

    /// Plans the removal of files that are no longer needed: all if `discard` is set, otherwise those
    /// whose records are all committed again.
    pub(super) fn done_with(
        &mut self,
        directory: &ColumnDir,
        conf: &Conf,
        discard: bool,
    ) -> Result<Vec<HealAction>> {
        let mut actions = Vec::new();
        for group in
            self.files.clone().chunk_by(|a, b| (a.number, a.file_id()) == (b.number, b.file_id()))
        {
            if !discard && !is_committed_again(directory, conf, group)? {
                continue;
            }
            for aside in group {
                let file = directory.file_path(&aside.name());
                let found = directory.open(file.clone(), Access::Read)?;
                let byte_len = found.map_or(Ok(0), |found| found.byte_len())?;
                actions.push(HealAction { file, change: HealChange::RemovedAside(byte_len) });
            }
            self.files.retain(|aside| !group.contains(aside));
        }
        Ok(actions)
    }
}

/// Makes all planned copies durable before anything is removed. On error all of them are removed again,
/// since the disk may be full.
pub(super) fn copy_all(directory: &ColumnDir, actions: &[HealAction]) -> Result<()> {
    let mut made = Vec::new();
    let mut copy_all = || {
        for HealAction { file, change } in actions {
            if let HealChange::CopiedAside { aside, from, .. } = change {
                copy(directory, file, aside, *from)?;
                made.push(aside);
            }
        }
        if made.is_empty() { Ok(()) } else { directory.sync() }
    };
    copy_all().inspect_err(|_| made.iter().for_each(|aside| drop(directory.remove(aside))))
}

/// Copies a file from `from` to its end, and flushes the copy; the caller flushes the directory. On
/// error the partial copy is removed.
fn copy(directory: &ColumnDir, file: &Path, aside: &Path, from: u64) -> Result<()> {
    let failed = |error| match error {
        Error::Io(io) => {
            let (path, operation) = (aside.to_owned(), COPY_ASIDE);
            Error::Io(Box::new(IoError { path, operation, ..*io }))
        }
        other => other,
    };
    let unfinished = directory.file_path(UNFINISHED);
    directory.remove_if_there(&unfinished)?;
    let Some(source) = directory.open(file.to_owned(), Access::Read)? else { return Ok(()) };
    let end = source.byte_len()?;
    let mut copied = directory.create(unfinished.clone()).map_err(failed)?;
    let mut write = || {
        for chunk in chunks(from..end) {
            let at = chunk.start - from;
            copied.write_at(&source.read(chunk)?, at).map_err(failed)?;
        }
        copied.sync().map_err(failed)?;
        directory.rename(&unfinished, aside)
    };
    write().inspect_err(|_| drop(directory.remove(&unfinished)))
}

/// Whether every record in a group of files that were put aside together is committed in the column.
fn is_committed_again(directory: &ColumnDir, conf: &Conf, group: &[Aside]) -> Result<bool> {
    let Some(file_id) = group.first().map(|aside| aside.file_id()) else { return Ok(false) };
    let (mut data, mut table, mut from) = (None, None, 0);
    for aside in group {
        let file = directory.open(directory.file_path(&aside.name()), Access::Read)?;
        let Some(file) = file else { continue };
        match aside.part.of() {
            (SlotFile::Data(_), at) => (data, from) = (Some(file), at),
            (SlotFile::Offsets(_), _) => table = Some(file),
            (SlotFile::Sums(_), _) => {}
        }
    }
    if data.is_none() && table.is_none() || Some(file_id) > conf.current_file() {
        return Ok(false);
    }
    let committed = directory.open(directory.data_path(file_id), Access::Read)?;
    let Some(committed) = committed else { return Ok(false) };
    let Some((entries, _)) = directory.read_table(file_id)? else { return Ok(false) };
    let bound = conf.named_len(file_id).unwrap_or(committed.byte_len()?);
    let first = from.max(FIRST_RECORD_OFFSET);
    // The end of the whole record that was put aside from this offset of the data file.
    let whole = |offset: u64| -> Result<Option<u64>> {
        let Some(data) = &data else { return Ok(None) };
        let byte_len = from.saturating_add(data.byte_len()?);
        if offset < first || !conf_check::header_fits(offset, byte_len) {
            return Ok(None);
        }
        let mut header = [0; 8];
        data.read_exact_at(&mut header, offset - from)?;
        let end = RecordTag::new(conf.spec.record_type).end(offset, header);
        Ok(end.filter(|end| *end <= byte_len))
    };
    let same = |offset: u64, end: u64, at: u64| match &data {
        Some(data) if at < bound && end - offset <= bound - at => {
            data.has_bytes_of(offset - from, &committed, at, end - offset)
        }
        _ => Ok(false),
    };
    let mut with_slot = BTreeSet::new();
    if let Some(table) = table {
        for (index, offset) in table.read_table()?.records().filter(|(_, at)| *at >= from) {
            let at = entries.get(index);
            let is_there = at != 0 && at < bound && Some(file_id.slot_at(index)) <= conf.highest;
            let is_same = match whole(offset)? {
                Some(end) => is_there && same(offset, end, at)?,
                None => is_there,
            };
            if !is_same {
                return Ok(false);
            }
            with_slot.insert(offset);
        }
    }
    // Records whose entries did not survive the crash.
    let mut offset = first;
    while let Some(end) = whole(offset)? {
        if !with_slot.contains(&offset) && !same(offset, end, offset)? {
            return Ok(false);
        }
        offset = end;
    }
    Ok(true)
}
