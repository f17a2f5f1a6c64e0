//! Puts data aside that healing would otherwise destroy: `FORMAT.md`, section 12.
//!
//! Whole files are renamed; tails of data files, and tables, are copied. A file that was put aside
//! stays until every record in it is committed again with the same bytes, or until it is discarded.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::disk::{Access, CHUNK_BYTES};
use crate::format::conf::Conf;
use crate::format::names::{Aside, AsidePart, SlotFile};
use crate::format::record::FIRST_RECORD_OFFSET;
use crate::slot::FileId;
use crate::write::column_dir::{ColumnDir, NamedFile};
use crate::write::heal_action::HealAction;

/// The operation that an error names when a copy cannot be written, usually for want of space.
pub(super) const COPY_ASIDE: &str = "put aside a copy of what healing removes (`coldstore heal --discard` removes it without one) as";

/// Temporary name of a copy that is being written.
const UNFINISHED: &str = "aside.tmp";

/// The files put aside in a column, sorted by number and file id.
#[derive(Clone, Debug, Default)]
pub(super) struct Asides(Vec<Aside>);

impl Asides {
    pub(super) fn list(directory: &ColumnDir) -> Result<Self> {
        let mut found: Vec<Aside> =
            directory.names()?.iter().filter_map(|name| Aside::parse(name)).collect();
        found.sort_unstable_by_key(|aside| (aside.number, aside.file_id(), *aside));
        Ok(Self(found))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn paths(&self, directory: &ColumnDir) -> Vec<PathBuf> {
        self.0.iter().map(|aside| directory.file_path(&aside.name())).collect()
    }

    /// Chooses the name under which a file is put aside. Files of one id share a number, even if a crash
    /// spreads the work over two openings.
    fn place(&self, part: AsidePart) -> Aside {
        let of_file = |aside: &&Aside| aside.file_id() == Aside { number: 0, part }.file_id();
        let newest = self.0.iter().filter(of_file).map(|aside| aside.number).max();
        let is_free = |number: &u64| !self.0.contains(&Aside { number: *number, part });
        let last = self.0.iter().map(|aside| aside.number).max().unwrap_or(0);
        Aside { number: newest.filter(is_free).unwrap_or(last + 1), part }
    }

    /// Renames a file out of the way.
    pub(super) fn move_aside(
        &mut self,
        directory: &ColumnDir,
        file: SlotFile,
    ) -> Result<Option<HealAction>> {
        let path = directory.slot_file_path(file);
        let Some(found) = directory.open(path.clone(), Access::Read)? else { return Ok(None) };
        let aside = self.place(AsidePart::Whole(file));
        self.0.push(aside);
        let (aside, byte_len) = (directory.file_path(&aside.name()), found.byte_len()?);
        Ok(Some(HealAction::MovedAside { file: path, aside, byte_len }))
    }

    /// Plans copies of the files of an id before healing changes them; of the data file, only the tail
    /// from `from`. Copies made by an interrupted opening are reused.
    pub(super) fn copy_aside(
        &mut self,
        directory: &ColumnDir,
        file_id: FileId,
        from: u64,
        with_sums: bool,
        actions: &mut Vec<HealAction>,
    ) -> Result<()> {
        let mut parts = vec![(SlotFile::Data(file_id), from, AsidePart::Tail(file_id, from))];
        parts.push(whole(SlotFile::Offsets(file_id)));
        parts.extend(with_sums.then(|| whole(SlotFile::Sums(file_id))));
        self.copy_parts(directory, parts, actions)
    }

    /// Plans a copy of a checksum file before entries are cleared in it, unless `actions` already does.
    pub(super) fn copy_sums_aside(
        &mut self,
        directory: &ColumnDir,
        file_id: FileId,
        actions: &mut Vec<HealAction>,
    ) -> Result<()> {
        let part = whole(SlotFile::Sums(file_id));
        let planned = planned(actions);
        if planned.iter().any(|aside| aside.part == part.2) {
            return Ok(());
        }
        self.0.extend(planned);
        self.copy_parts(directory, vec![part], actions)
    }

    fn copy_parts(
        &mut self,
        directory: &ColumnDir,
        parts: Vec<(SlotFile, u64, AsidePart)>,
        actions: &mut Vec<HealAction>,
    ) -> Result<()> {
        let mut wanted = Vec::new();
        for (file, from, part) in parts {
            let path = directory.slot_file_path(file);
            if let Some(found) = directory.open(path, Access::Read)? {
                wanted.push((found, from, part));
            }
        }
        let numbers: BTreeSet<u64> = self.0.iter().map(|aside| aside.number).collect();
        let mut number = self.0.iter().map(|aside| aside.number).max().unwrap_or(0) + 1;
        // Reuse the number of an earlier opening that made the same copies.
        for earlier in numbers {
            if self.are_copies(directory, earlier, &wanted)? {
                number = earlier;
            }
        }
        for (file, from, part) in wanted {
            let aside = Aside { number, part };
            if self.0.contains(&aside) {
                continue;
            }
            self.0.push(aside);
            let byte_len = file.byte_len()?.saturating_sub(from);
            let (file, aside) = (file.path().to_owned(), directory.file_path(&aside.name()));
            actions.push(HealAction::CopiedAside { file, aside, from, byte_len });
        }
        Ok(())
    }

    /// Whether at least one of these files is put aside under this number, and every one that is has the
    /// same bytes.
    fn are_copies(
        &self,
        directory: &ColumnDir,
        number: u64,
        wanted: &[(NamedFile, u64, AsidePart)],
    ) -> Result<bool> {
        let mut some = false;
        for (file, from, part) in wanted {
            let aside = Aside { number, part: *part };
            if !self.0.contains(&aside) {
                continue;
            }
            let path = directory.file_path(&aside.name());
            let Some(copy) = directory.open(path, Access::Read)? else { return Ok(false) };
            let byte_len = file.byte_len()?.saturating_sub(*from);
            if copy.byte_len()? != byte_len || !same_bytes(file, *from, &copy, 0, byte_len)? {
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
            self.0.clone().chunk_by(|a, b| (a.number, a.file_id()) == (b.number, b.file_id()))
        {
            if !discard && !is_committed_again(directory, conf, group)? {
                continue;
            }
            for aside in group {
                let file = directory.file_path(&aside.name());
                let found = directory.open(file.clone(), Access::Read)?;
                let byte_len = found.map_or(Ok(0), |found| found.byte_len())?;
                actions.push(HealAction::RemovedAside { file, byte_len });
            }
            self.0.retain(|aside| !group.contains(aside));
        }
        Ok(actions)
    }
}

/// The files that these actions put aside.
fn planned(actions: &[HealAction]) -> Vec<Aside> {
    let aside_of = |action: &HealAction| match action {
        HealAction::CopiedAside { aside, .. } | HealAction::MovedAside { aside, .. } => {
            Aside::parse(aside.file_name()?.to_str()?)
        }
        _ => None,
    };
    actions.iter().filter_map(aside_of).collect()
}

/// A whole file as an entry for [`Asides::copy_parts`].
fn whole(file: SlotFile) -> (SlotFile, u64, AsidePart) {
    (file, 0, AsidePart::Whole(file))
}

/// Copies a file from `from` to its end, and flushes the copy; the caller flushes the directory. On
/// error the partial copy is removed.
pub(super) fn copy(directory: &ColumnDir, file: &Path, aside: &Path, from: u64) -> Result<()> {
    let failed = |error| match error {
        Error::Io(io) => Error::Io(Box::new(crate::error::IoError {
            path: aside.to_owned(),
            operation: COPY_ASIDE,
            ..*io
        })),
        other => other,
    };
    let unfinished = directory.file_path(UNFINISHED);
    if directory.open(unfinished.clone(), Access::Read)?.is_some() {
        directory.remove(&unfinished)?;
    }
    let Some(source) = directory.open(file.to_owned(), Access::Read)? else { return Ok(()) };
    let end = source.byte_len()?;
    let mut copied = directory.create(unfinished.clone()).map_err(failed)?;
    let mut write = || {
        let mut at = from;
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let mut chunk = vec![0; len];
            source.read_exact_at(&mut chunk, at)?;
            copied.write_at(&chunk, at - from).map_err(failed)?;
            at += len as u64;
        }
        copied.sync().map_err(failed)?;
        directory.rename(&unfinished, aside)
    };
    write().inspect_err(|_| drop(directory.remove(&unfinished)))
}

/// Whether every record in a group of files that were put aside together is committed in the column.
fn is_committed_again(directory: &ColumnDir, conf: &Conf, group: &[Aside]) -> Result<bool> {
    let Some(first) = group.first() else { return Ok(false) };
    let file_id = first.file_id();
    let open = |aside: &Aside| directory.open(directory.file_path(&aside.name()), Access::Read);
    let (mut data, mut table) = (None, None);
    for aside in group {
        match aside.part {
            AsidePart::Tail(_, from) => data = open(aside)?.map(|file| (file, from)),
            AsidePart::Whole(SlotFile::Data(_)) => data = open(aside)?.map(|file| (file, 0)),
            AsidePart::Whole(SlotFile::Offsets(_)) => table = open(aside)?,
            AsidePart::Whole(SlotFile::Sums(_)) => {}
        }
    }
    if data.is_none() && table.is_none() || Some(file_id) > conf.current_file() {
        return Ok(false);
    }
    let Some(committed) = directory.open(directory.data_path(file_id), Access::Read)? else {
        return Ok(false);
    };
    let bound = conf.named_len(file_id).unwrap_or(committed.byte_len()?);
    let Some((entries, _)) = directory.read_table(file_id)? else { return Ok(false) };
    let from = data.as_ref().map_or(0, |(_, from)| *from);
    let whole = |offset: u64| -> Result<Option<u64>> {
        let Some((file, from)) = &data else { return Ok(None) };
        let (at, byte_len) = (offset.wrapping_sub(*from), file.byte_len()?);
        let lead = if *from == 0 { FIRST_RECORD_OFFSET } else { 0 };
        if at > byte_len || at < lead || byte_len - at < FIRST_RECORD_OFFSET {
            return Ok(None);
        }
        let mut header = [0; 8];
        file.read_exact_at(&mut header, at)?;
        let end = crate::format::conf_check::record_end(header, conf.spec.record_type, offset);
        Ok(end.filter(|end| end - from <= byte_len))
    };
    let same = |offset: u64, end: u64, at: u64| match &data {
        Some((file, from)) if at < bound && end - offset <= bound - at => {
            same_bytes(file, offset - from, &committed, at, end - offset)
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
    let mut offset = from.max(FIRST_RECORD_OFFSET);
    while let Some(end) = whole(offset)? {
        if !with_slot.contains(&offset) && !same(offset, end, offset)? {
            return Ok(false);
        }
        offset = end;
    }
    Ok(true)
}

/// Whether two files have the same `byte_len` bytes at these offsets.
fn same_bytes(
    left: &NamedFile,
    left_at: u64,
    right: &NamedFile,
    right_at: u64,
    byte_len: u64,
) -> Result<bool> {
    let mut done = 0;
    while done < byte_len {
        let len = usize::try_from(byte_len - done).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let (mut one, mut other) = (vec![0; len], vec![0; len]);
        left.read_exact_at(&mut one, left_at + done)?;
        right.read_exact_at(&mut other, right_at + done)?;
        if one != other {
            return Ok(false);
        }
        done += len as u64;
    }
    Ok(true)
}
