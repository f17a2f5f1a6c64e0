//! Options for opening a column for writing.

use crate::column::ColumnSpec;
use crate::write::door::Door;

/// Options for opening a column for writing. The default opens an existing column as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriterOptions {
    /// Record type and compression of the column. If set, a missing column is created.
    pub(super) spec: Option<ColumnSpec>,
    pub(super) max_value_bytes: u64,
    pub(super) allow_backfill: bool,
    pub(super) checksums: Checksums,
    pub(super) door: Option<Door>,
    pub(super) is_deferred: bool,
    pub(super) discard: bool,
    pub(super) restore_conf: bool,
    pub(super) orphans_aside: bool,
}

/// Whether checksums of new records are kept beside them: `data_00000.sum` beside `data_00000`
/// (`FORMAT.md`, section 8). Software that does not know checksum files ignores them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksums {
    /// No. An existing checksum of a slot that has lost its record is still replaced: beside the new
    /// record it would report damage.
    #[default]
    Off,
    /// In columns that already have a checksum file.
    WherePresent,
    /// Yes.
    On,
}

impl WriterOptions {
    /// The default for a column with this record type and compression, which is created if it is missing. A
    /// larger bound on values than the one on disk replaces it.
    #[must_use]
    pub fn create(spec: ColumnSpec) -> Self {
        Self { spec: Some(spec), max_value_bytes: spec.max_value_bytes, ..Self::default() }
    }

    /// Whether skipped slots below the highest may be filled. Once on, it stays on: the column
    /// becomes `LHSTBLK3`, and `false` does not change that.
    #[must_use]
    pub fn allow_backfill(self, allow_backfill: bool) -> Self {
        Self { allow_backfill, ..self }
    }

    /// Whether checksums of new records are kept (default: [`Checksums::Off`]).
    #[must_use]
    pub fn checksums(self, checksums: Checksums) -> Self {
        Self { checksums, ..self }
    }

    /// Healing removes everything that the conf does not name without keeping a copy, even if no crash can
    /// have left it, and also every file that was put aside earlier. By default such data is put aside, or
    /// opening fails.
    #[must_use]
    pub fn discard(self, discard: bool) -> Self {
        Self { discard, ..self }
    }

    /// Restores the newest conf in `column.check` that fits the files. Opening fails if none does.
    #[must_use]
    pub fn restore_conf(self, restore_conf: bool) -> Self {
        Self { restore_conf, ..self }
    }

    /// Healing puts aside sealed data files without an offset file, which block backfill into them.
    /// By default they stay, since the offset file may have been lost. Only in columns with backfill,
    /// and only files that neither a conf nor a checksum file mentions.
    #[must_use]
    pub fn orphans_aside(self, orphans_aside: bool) -> Self {
        Self { orphans_aside, ..self }
    }

    /// Checks every value before it is written (default: no checks).
    #[must_use]
    pub fn door(self, door: Door) -> Self {
        Self { door: Some(door), ..self }
    }

    /// Raises the bound on one decoded value, in bytes. The bound never decreases.
    #[must_use]
    pub fn max_value_bytes(self, bytes: u64) -> Self {
        Self { max_value_bytes: self.max_value_bytes.max(bytes), ..self }
    }

    /// Whether opening defers what it changes besides healing to the first write or to
    /// [`Writer::settle`](crate::Writer::settle): creating a missing column (which is not locked until
    /// then), turning backfill on, raising the bound on values.
    #[must_use]
    pub(crate) fn deferred(self, is_deferred: bool) -> Self {
        Self { is_deferred, ..self }
    }
}
