//! Open data files, for reads past the maps.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::files::directory::Directory;
use crate::format::names;
use crate::slot::FileId;

/// Files held open at most. Processes have few descriptors to give, and opening a file costs a
/// hundredth of a read from the medium.
const MAX_FILES: usize = 32;

/// The data files read last, the latest at the end.
#[derive(Debug, Default)]
pub(super) struct Descriptors(Mutex<Vec<(FileId, Arc<File>)>>);

impl Descriptors {
    /// The data file of an id, `None` when there is none.
    pub(super) fn get(&self, directory: &Directory, file_id: FileId) -> Result<Option<Arc<File>>> {
        let find = |files: &mut Vec<(FileId, Arc<File>)>| {
            let at = files.iter().rposition(|(id, _)| *id == file_id)?;
            let found = files.remove(at);
            let file = Arc::clone(&found.1);
            files.push(found);
            Some(file)
        };
        if let Some(file) = find(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(Some(file));
        }
        let name = names::data_file(file_id);
        let Some(file) = directory.open_file(&name)? else {
            return Ok(None);
        };
        #[cfg(target_os = "linux")]
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random)
            .map_err(|error| Error::io(directory.file_path(&name), "advise", error.into()))?;
        let file = Arc::new(file);
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if files.len() >= MAX_FILES {
            files.remove(0);
        }
        files.push((file_id, Arc::clone(&file)));
        Ok(Some(file))
    }
}
