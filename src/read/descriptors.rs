//! Open data files, for reads past the maps.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use crate::files::directory::{Directory, Inode};
use crate::format::names;
use crate::slot::FileId;

/// Files held open at most. Processes have few descriptors to give, and opening a file costs a
/// hundredth of a read from the medium.
const MAX_FILES: usize = 32;

/// The data files read last, the latest at the end.
#[derive(Debug, Default)]
pub(super) struct Descriptors(Mutex<Vec<(Inode, Arc<File>)>>);

impl Descriptors {
    /// The data file of an id, which is the one with this inode; somebody has it mapped. `None`
    /// where it cannot be opened, or the name leads to another file by now.
    pub(super) fn get(
        &self,
        directory: &Directory,
        file_id: FileId,
        inode: Inode,
    ) -> Option<Arc<File>> {
        let find = |files: &mut Vec<(Inode, Arc<File>)>| {
            let at = files.iter().rposition(|(held, _)| *held == inode)?;
            let found = files.remove(at);
            let file = Arc::clone(&found.1);
            files.push(found);
            Some(file)
        };
        if let Some(file) = find(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Some(file);
        }
        let name = names::data_file(file_id);
        let opened = directory.open_file(&name).and_then(|file| {
            let status = file.as_ref().map(|file| directory.open_status(&name, file));
            Ok(file.zip(status.transpose()?))
        });
        let file = match opened {
            Ok(Some((file, status))) if status.inode == inode => Arc::new(file),
            Ok(_) => return None,
            Err(error) => {
                tracing::debug!(%error, "a mapped file could not be opened for reads");
                return None;
            }
        };
        // It makes no difference to what is read whether the advice is taken.
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random) {
            tracing::debug!(%error, "advice on a file was not taken");
        }
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if files.len() >= MAX_FILES {
            files.remove(0);
        }
        files.push((inode, Arc::clone(&file)));
        Some(file)
    }
}
