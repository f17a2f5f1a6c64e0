//! Makes and parses every file name of a column.

use crate::slot::FileId;

/// The commit marker, replaced only by rename.
pub const CONF: &str = "column.conf";
/// The next commit marker, while a commit is in flight.
pub const CONF_TMP: &str = "column.conf.tmp";
/// The witness: the last two confs, each with a checksum. Other software ignores it.
pub const CHECK: &str = "column.check";
/// The file on which the writer holds a `flock`.
pub const LOCK: &str = "lock";

/// Whether this crate creates and removes files by this name in a column's directory. It leaves all
/// other files alone, except those put aside (see [`Aside`]).
#[must_use]
pub fn is_of_column(name: &str) -> bool {
    [CONF, CONF_TMP, LOCK, CHECK].contains(&name) || SlotFile::parse(name).is_some()
}

/// The directory, beside the column's directory `name`, in which the column's new content is built.
/// After the exchange it holds the old content.
#[must_use]
pub fn new_directory(name: &str) -> String {
    format!(".{name}.new")
}

/// The column's directory name, if `name` is one of [`new_directory`].
#[must_use]
pub fn column_of_new_directory(name: &str) -> Option<&str> {
    name.strip_prefix('.')?.strip_suffix(".new")
}

/// The directory that receives the old content on a file system that cannot exchange two names.
#[must_use]
pub fn old_directory(name: &str) -> String {
    format!(".{name}.old")
}

const DATA_PREFIX: &str = "data_";
const OFFSET_SUFFIX: &str = ".off";
const SUMS_SUFFIX: &str = ".sum";

/// `data_00042`
#[must_use]
pub fn data_file(file_id: FileId) -> String {
    format!("{DATA_PREFIX}{file_id}")
}

/// `data_00042.off`
#[must_use]
pub fn offset_file(file_id: FileId) -> String {
    format!("{DATA_PREFIX}{file_id}{OFFSET_SUFFIX}")
}

/// `data_00042.sum`
#[must_use]
pub fn sums_file(file_id: FileId) -> String {
    format!("{DATA_PREFIX}{file_id}{SUMS_SUFFIX}")
}

/// A data, offset or checksum file of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SlotFile {
    /// The data file of this id.
    Data(FileId),
    /// The offset file of this id.
    Offsets(FileId),
    /// The checksum file of this id.
    Sums(FileId),
}

impl SlotFile {
    /// Parses a file name. `None` unless the name is spelled exactly as [`Self::name`] spells it.
    #[must_use]
    pub fn parse(name: &str) -> Option<SlotFile> {
        let rest = name.strip_prefix(DATA_PREFIX)?;
        let (digits, kind): (_, fn(FileId) -> SlotFile) =
            if let Some(digits) = rest.strip_suffix(OFFSET_SUFFIX) {
                (digits, SlotFile::Offsets)
            } else if let Some(digits) = rest.strip_suffix(SUMS_SUFFIX) {
                (digits, SlotFile::Sums)
            } else {
                (rest, SlotFile::Data)
            };
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let file_id = FileId(digits.parse().ok()?);
        let is_canonical = file_id <= FileId::MAX && file_id.to_string() == digits;
        is_canonical.then(|| kind(file_id))
    }

    /// The file's name.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            SlotFile::Data(id) => data_file(id),
            SlotFile::Offsets(id) => offset_file(id),
            SlotFile::Sums(id) => sums_file(id),
        }
    }

    /// The data, offset and checksum file of an id.
    #[must_use]
    pub fn all(file_id: FileId) -> [SlotFile; 3] {
        [SlotFile::Data(file_id), SlotFile::Offsets(file_id), SlotFile::Sums(file_id)]
    }

    /// The id of the file.
    #[must_use]
    pub fn file_id(self) -> FileId {
        match self {
            SlotFile::Data(id) | SlotFile::Offsets(id) | SlotFile::Sums(id) => id,
        }
    }
}

/// A file that healing has put aside: `aside-7-data_00042`, `aside-7-data_00042.off`, or
/// `aside-7-data_00042.from-1234` (a data file from an offset on). Other software ignores such names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Aside {
    /// Files that were put aside together share a number.
    pub number: u64,
    /// The content of the file.
    pub part: AsidePart,
}

/// The content of a file that was put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AsidePart {
    /// A whole file.
    Whole(SlotFile),
    /// The bytes of a data file from this offset on.
    Tail(FileId, u64),
}

impl AsidePart {
    /// The file it was taken from, and the offset in it of the first byte.
    #[must_use]
    pub fn of(self) -> (SlotFile, u64) {
        match self {
            AsidePart::Whole(file) => (file, 0),
            AsidePart::Tail(file_id, from) => (SlotFile::Data(file_id), from),
        }
    }
}

const ASIDE_PREFIX: &str = "aside-";
const TAIL_SUFFIX: &str = ".from-";

impl Aside {
    /// The name of the file.
    #[must_use]
    pub fn name(self) -> String {
        let number = self.number;
        match self.part {
            AsidePart::Whole(file) => format!("{ASIDE_PREFIX}{number}-{}", file.name()),
            AsidePart::Tail(file_id, from) => {
                format!("{ASIDE_PREFIX}{number}-{}{TAIL_SUFFIX}{from}", data_file(file_id))
            }
        }
    }

    /// Parses a file name. `None` unless the name is spelled exactly as [`Self::name`] spells it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (number, rest) = name.strip_prefix(ASIDE_PREFIX)?.split_once('-')?;
        let part = match rest.split_once(TAIL_SUFFIX) {
            Some((file, from)) => match SlotFile::parse(file)? {
                SlotFile::Data(file_id) => AsidePart::Tail(file_id, from.parse().ok()?),
                SlotFile::Offsets(_) | SlotFile::Sums(_) => return None,
            },
            None => AsidePart::Whole(SlotFile::parse(rest)?),
        };
        let aside = Self { number: number.parse().ok()?, part };
        (aside.name() == name).then_some(aside)
    }

    /// The id of the file that was put aside.
    #[must_use]
    pub fn file_id(self) -> FileId {
        self.part.of().0.file_id()
    }
}
