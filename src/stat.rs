//! The files that healing has put aside in a column.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::directory::Directory;
use crate::format::names::{self, AsidePart};

/// A file that healing has put aside: `FORMAT.md`, section 12.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutAside {
    /// Its path.
    pub file: PathBuf,
    /// Its length in bytes.
    pub byte_len: u64,
    part: AsidePart,
}

impl PutAside {
    /// A sentence for users: what the file is, and how to remove it.
    #[must_use]
    pub fn in_words(&self) -> String {
        let what = match self.part {
            AsidePart::Whole(file) => file.name(),
            AsidePart::Tail(file_id, from) => {
                format!("{} from byte {from} on", names::data_file(file_id))
            }
        };
        let byte_len = self.byte_len;
        let bytes = if byte_len == 1 { "byte" } else { "bytes" };
        format!(
            "{byte_len} {bytes} of {what}, which healing put aside until all of it is committed again; \
             `coldstore heal --discard` removes it"
        )
    }
}

/// Lists the files that healing has put aside in a column's directory, ordered by name.
///
/// # Errors
/// [`Error::NoSuchColumn`] if there is no such directory; [`Error::Io`].
pub fn put_aside(directory: impl AsRef<Path>) -> Result<Vec<PutAside>> {
    let path = directory.as_ref();
    match Directory::open(path)? {
        Some(directory) => asides_of(&directory),
        None => Err(Error::NoSuchColumn { directory: path.into() }),
    }
}

pub(crate) fn asides_of(directory: &Directory) -> Result<Vec<PutAside>> {
    let asides = directory.asides()?.into_iter().map(|(aside, byte_len)| PutAside {
        file: directory.file_path(&aside.name()),
        byte_len,
        part: aside.part,
    });
    Ok(asides.collect())
}
