//! Opens archives. Mapping is `unsafe`, and this file is its only place.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail};
use coldstore::archive::held::is_there;
use coldstore::format::names::{self, SlotFile};
use coldstore::{Archive, Column, MappedArchive, MappedReader, Reader, ReaderOptions};
use coldstore_history::lacking::{self, Lacking};

use crate::arguments::ColumnOf;

/// Opens an archive for reading; creates nothing.
pub(crate) fn archive(root: &Path) -> coldstore::Result<MappedArchive> {
    // SAFETY: the maps are sound while only writers of this format change or shorten the files. The
    // command cannot enforce that; its manual requires it of the operator. The maps end with the
    // process, after one verb.
    #[expect(unsafe_code, reason = "readers map the files; this is the command's one door to them")]
    unsafe {
        Archive::open_mapped(root, ReaderOptions::default())
    }
}

/// Refuses a directory that is not an archive; returns what the archive lacks.
pub(crate) fn lacking(root: &Path) -> Result<Vec<Lacking>> {
    if !lacking::is_archive(root)? {
        bail!("{} is not an archive: {}", root.display(), lacking::what_it_is(root));
    }
    Ok(lacking::check(root)?)
}

/// Opens a column by its directory.
pub(crate) fn directory(path: &Path, column: Column) -> coldstore::Result<MappedReader> {
    let options = ReaderOptions::default().expect(column.spec()).checksums(true);
    // SAFETY: as in `archive`.
    #[expect(unsafe_code, reason = "readers map the files")]
    unsafe {
        Reader::open_mapped(path, options)
    }
}

/// Opens one column for reading.
pub(crate) fn column(of: &ColumnOf) -> coldstore::Result<MappedReader> {
    archive(&of.archive)?.column(of.column).cloned()
}

/// The columns of an archive, including those with files but no conf. A missing archive is an error.
pub(crate) fn present_columns(root: &Path) -> Result<Vec<Column>> {
    let listed = fs::read_dir(root).with_context(|| format!("{}: cannot open", root.display()));
    drop(listed?);
    let mut columns = Vec::new();
    for column in Column::ALL {
        let directory = root.join(column.dir_name());
        if is_there(&directory.join(names::CONF))? || has_slot_files(&directory)? {
            columns.push(column);
        }
    }
    Ok(columns)
}

/// Whether the directory has files with slots of a column.
pub(crate) fn has_slot_files(directory: &Path) -> coldstore::Result<bool> {
    let failed = |error| coldstore::Error::io(directory, "list the directory", error);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        if name.to_str().and_then(SlotFile::parse).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
