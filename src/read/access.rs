//! How a reader goes about the files, so that the system reads what is needed and no more.

use memmap2::Advice;

/// What a reader is used for. It changes how fast things are read, never what is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Point reads and scans, side by side.
    ///
    /// A map is read page by page as it is touched, and with it the system reads what lies around,
    /// by its readahead setting: 128 KiB to several MiB. A scan wants that. A point read does not,
    /// so in a column whose values may be larger than a page, the first touch of a record asks for
    /// exactly that record in one request (`MADV_WILLNEED`), unless it is in memory, and what lies
    /// around is left alone. Later touches ask for nothing, until it shows that memory is short
    /// and the system has dropped pages of maps: then every touch asks for a while, some µs each.
    ///
    /// Columns of small values (roots) are left to readahead: a whole file of them is no larger
    /// than one request.
    #[default]
    Mixed,
    /// Point reads only, in random order: as [`Access::Mixed`], and without any readahead
    /// (`MADV_RANDOM`), also in columns of small values. Better where a column is much larger than
    /// memory and few of its pages are used. From Linux 6.4 on, pages that are mapped like this
    /// count as unused and are the first to go when memory is short.
    Random,
    /// Scans only, upwards: pages are read far ahead and may be dropped behind
    /// (`MADV_SEQUENTIAL`); nothing is done for point reads.
    Sequential,
    /// Everything is left to the system's readahead, and no advice is given: for a column that is
    /// in memory anyway, or a file system on which advice does harm.
    Unadvised,
}

/// A value that fits a page needs no request of its own.
const PAGE_BYTES: u64 = 4096;

impl Access {
    /// Whether the first touch of a record asks for it, in a column with this bound on values.
    pub(super) fn asks(self, max_value_bytes: u64) -> bool {
        matches!(self, Access::Mixed | Access::Random) && max_value_bytes > PAGE_BYTES
    }

    /// What is said of a data file's map.
    pub(super) fn data_advice(self) -> Option<Advice> {
        match self {
            Access::Mixed | Access::Unadvised => None,
            Access::Random => Some(Advice::Random),
            Access::Sequential => Some(Advice::Sequential),
        }
    }

    /// What is said of an offset file's map: it is small, and one request may take it whole.
    pub(super) fn table_advice(self) -> Option<Advice> {
        (self == Access::Random).then_some(Advice::Random)
    }
}
