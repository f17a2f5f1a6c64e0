//! Options of a reader: its access pattern, the column it expects, and its limits.

use memmap2::Advice;

use crate::column::ColumnSpec;

/// The default of [`ReaderOptions::value_ceiling`]: 1 GiB.
const DEFAULT_CEILING: u64 = 1 << 30;

/// The default of [`ReaderOptions::max_mapped_files`]. Each file takes two maps, so the five columns of an
/// archive stay below the 65,530 maps that Linux allows a process.
const DEFAULT_MAX_MAPPED_FILES: usize = 4096;

/// Size of a page. A value that fits in one needs no separate request.
const PAGE_BYTES: u64 = 4096;

/// How the kernel is advised to read mapped files. It affects only speed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// A mix of point reads and scans.
    ///
    /// A page fault reads the page with its surroundings, by the system's readahead setting: 128 KiB to
    /// several MiB. That suits a scan but not a point read. So in a column whose values may be larger than
    /// a page, the first point read of a record prefetches exactly that record (`MADV_WILLNEED`) at the
    /// cost of one system call, some µs. For a record longer than 4 MiB, it prefetches the beginning and
    /// leaves the rest to readahead. Later reads of the record cost no call; if it was evicted, readahead
    /// serves them too.
    ///
    /// Columns of small values (roots) are left to readahead: a whole file of them is no larger than one
    /// request.
    #[default]
    Mixed,
    /// Point reads in random order, without readahead (`MADV_RANDOM`), in columns of small values too.
    /// Better if a column is much larger than memory.
    ///
    /// In a column whose values may be larger than a page, every point read prefetches its whole record,
    /// since it may have been evicted. That costs one system call, some µs, even for a resident record. A
    /// forward scan prefetches some MiB ahead. Since Linux 6.4, pages mapped like this are the first to be
    /// evicted.
    Random,
    /// Forward scans: pages are read far ahead and may be evicted after use (`MADV_SEQUENTIAL`).
    /// Point reads get no advice.
    Sequential,
    /// No advice: everything is left to the system's readahead. For a column that is resident anyway, or a
    /// file system on which advice does harm.
    Unadvised,
}

impl Access {
    /// Whether point reads prefetch their records in a column with this bound on values.
    pub(super) fn prefetches(self, max_value_bytes: u64) -> bool {
        matches!(self, Access::Mixed | Access::Random) && max_value_bytes > PAGE_BYTES
    }

    /// The advice for the map of a data file.
    pub(super) fn data_advice(self) -> Option<Advice> {
        match self {
            Access::Mixed | Access::Unadvised => None,
            Access::Random => Some(Advice::Random),
            Access::Sequential => Some(Advice::Sequential),
        }
    }

    /// The advice for the map of an offset file: a point read of a large value needs one page of it.
    pub(super) fn table_advice(self, max_value_bytes: u64) -> Option<Advice> {
        let is_random = self == Access::Random || self.prefetches(max_value_bytes);
        is_random.then_some(Advice::Random)
    }
}

/// What a reader expects of a column, and its limits.
#[derive(Clone, Copy, Debug)]
pub struct ReaderOptions {
    pub(super) expected: Option<ColumnSpec>,
    pub(super) ceiling: u64,
    pub(super) max_mapped_files: usize,
    pub(super) access: Access,
    pub(super) checks_sums: bool,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            expected: None,
            ceiling: DEFAULT_CEILING,
            max_mapped_files: DEFAULT_MAX_MAPPED_FILES,
            access: Access::default(),
            checks_sums: false,
        }
    }
}

impl ReaderOptions {
    /// The record type and compression that the column must have. Without it, those of the conf
    /// are accepted. The bound of `spec` is ignored.
    #[must_use]
    pub fn expect(self, spec: ColumnSpec) -> Self {
        Self { expected: Some(spec), ..self }
    }

    /// Maximum number of bytes of one decoded value, regardless of the conf (default 1 GiB).
    #[must_use]
    pub fn value_ceiling(self, bytes: u64) -> Self {
        Self { ceiling: bytes, ..self }
    }

    /// Maximum number of files that the latest view keeps mapped (default 4096). Each takes its
    /// size in address space and two maps, of which Linux allows a process 65,530.
    ///
    /// A file is mapped when a view first reads it, and stays mapped for that view; the next view takes the
    /// map over if the file has not changed. When the latest view holds more files than this,
    /// [`Reader::view`](crate::Reader::view) and [`Reader::refresh`](crate::Reader::refresh) of a
    /// `Reader<View>` return a new view of the same commit without maps. Other readers map nothing and ignore
    /// this option. Dropping the last handle to the old view unmaps its files. A
    /// view never loses a map while it is held, so it may exceed the limit by all the files that it reads.
    #[must_use]
    pub fn max_mapped_files(self, files: usize) -> Self {
        Self { max_mapped_files: files, ..self }
    }

    /// How the kernel is advised to read the files.
    #[must_use]
    pub fn access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// Whether every record is compared with its checksum as it is read, if the writer kept one
    /// ([`Checksums`](crate::Checksums)). A record that differs is
    /// [`Error::Corrupt`](crate::Error::Corrupt). Costs the checksum's computation and one system call per
    /// record.
    #[must_use]
    pub fn checksums(self, checksums: bool) -> Self {
        Self { checks_sums: checksums, ..self }
    }
}
