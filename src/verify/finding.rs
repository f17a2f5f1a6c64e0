//! What a verification is asked, and what it finds.

use std::ops::Range;
use std::path::PathBuf;

use crate::column::Column;
use crate::error::CorruptItem;
use crate::slot::Slot;

/// Options of [`verify_column`](super::verify_column).
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// Also decode every value.
    pub deep: bool,
    /// Which of an archive's columns this is. Blocks and states must then contain the slot that refers
    /// to them, and roots must have 32 bytes.
    pub column: Option<Column>,
    /// Records below this slot were removed on purpose (the manifest's `pruned_before`).
    pub pruned_before: Option<Slot>,
}

impl VerifyOptions {
    /// Sets [`Self::deep`].
    #[must_use]
    pub fn deep(self, deep: bool) -> Self {
        Self { deep, ..self }
    }

    /// Sets [`Self::column`].
    #[must_use]
    pub fn column(self, column: Option<Column>) -> Self {
        Self { column, ..self }
    }

    /// Sets [`Self::pruned_before`].
    #[must_use]
    pub fn pruned_before(self, pruned_before: Option<Slot>) -> Self {
        Self { pruned_before, ..self }
    }
}

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The bytes on disk contradict the format, or are gone.
    Damage,
    /// The bytes cannot be read (a bad sector, a permission, a limit). Whether they are intact is
    /// unknown.
    Unreadable,
    /// A running or interrupted import has yet to write something.
    Unfinished,
    /// Not damage, but worth knowing: uncommitted bytes that healing will remove, or a range without
    /// files, whose slots were skipped or whose files were deleted.
    Note,
}

/// One finding of a verification.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How serious it is.
    pub severity: Severity,
    /// The file.
    pub file: PathBuf,
    /// Byte offset in the file, if the finding has a place.
    pub offset: Option<u64>,
    /// Number of affected bytes, if known.
    pub byte_len: Option<u64>,
    /// The affected slot, if known.
    pub slot: Option<Slot>,
    /// The affected item.
    pub what: CorruptItem,
    /// What the format requires there.
    pub wanted: String,
    /// What is there.
    pub found: String,
}

impl Finding {
    /// A finding without a place in the file.
    pub fn new(
        severity: Severity,
        file: impl Into<PathBuf>,
        what: impl Into<CorruptItem>,
        wanted: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        let (file, what, wanted, found) = (file.into(), what.into(), wanted.into(), found.into());
        Self { severity, file, offset: None, byte_len: None, slot: None, what, wanted, found }
    }

    /// The same finding at an offset in bytes.
    #[must_use]
    pub fn at(self, offset: u64) -> Self {
        Self { offset: Some(offset), ..self }
    }

    /// The same finding about a range of bytes.
    #[must_use]
    pub fn about(self, bytes: Range<u64>) -> Self {
        Self { offset: Some(bytes.start), byte_len: Some(bytes.end - bytes.start), ..self }
    }

    /// The same finding about a slot.
    #[must_use]
    pub fn of(self, slot: Slot) -> Self {
        Self { slot: Some(slot), ..self }
    }
}

/// Totals of a verification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Number of intact records.
    pub records: u64,
    /// Number of intact records that match their checksum.
    pub with_checksum: u64,
    /// Number of records that could not be read completely; not included in `records`.
    pub unread_records: u64,
    /// Number of files checked; a data file and its offset file count once.
    pub files: u64,
    /// Number of findings that are damage.
    pub damages: u64,
    /// Number of findings that are unreadable ranges or files.
    pub unreadable: u64,
    /// Number of all other findings.
    pub notes: u64,
    /// Number of notes that leave open whether a record was lost; included in `notes`.
    pub undecided: u64,
}

impl Summary {
    /// Number of intact records that were not compared with a checksum: none was kept, or it may belong
    /// to another record, because other software has written since.
    #[must_use]
    pub fn not_compared(&self) -> u64 {
        self.records.saturating_sub(self.with_checksum)
    }
}
