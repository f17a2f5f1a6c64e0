//! The latest maps of the files that were touched, for the views to come.

use std::collections::HashMap;
use std::sync::Arc;

use crate::files::directory::Inode;
use crate::files::map::SlotMap;
use crate::slot::FileId;

/// A map with what tells whether it still serves.
#[derive(Clone, Debug)]
pub(super) struct Cached {
    pub(super) map: Arc<SlotMap>,
    pub(super) data: Inode,
    pub(super) offsets: Inode,
    pub(super) bound: u64,
    /// The bound is the length of a sealed file under V2, where sealed files never grow.
    pub(super) sealed_under_v2: bool,
}

/// Keeps the maps of so many files that no view holds; of these, the ones used last.
#[derive(Debug)]
pub(super) struct MapCache {
    files: HashMap<FileId, (Cached, u64)>,
    max_files: usize,
    /// Counts uses.
    clock: u64,
}

impl MapCache {
    pub(super) fn new(max_files: usize) -> Self {
        Self { files: HashMap::new(), max_files, clock: 0 }
    }

    /// The map of a file, which is used by that.
    pub(super) fn get(&mut self, file_id: FileId) -> Option<Cached> {
        self.clock += 1;
        let (cached, used) = self.files.get_mut(&file_id)?;
        *used = self.clock;
        Some(cached.clone())
    }

    pub(super) fn put(&mut self, file_id: FileId, cached: Cached) {
        self.clock += 1;
        self.files.insert(file_id, (cached, self.clock));
        if self.files.len() > self.max_files {
            // An eighth goes at a time, so that looking for the oldest costs little for each file.
            self.shrink(self.max_files - self.max_files / 8);
        }
    }

    /// Unmaps the files that were used longest ago, until so many are left. What a view holds is
    /// forgotten here and stays mapped until the view goes.
    pub(super) fn shrink(&mut self, max_files: usize) {
        let mut by_age: Vec<(bool, u64, FileId)> = self
            .files
            .iter()
            .map(|(file_id, (cached, used))| (is_held(&cached.map), *used, *file_id))
            .collect();
        by_age.sort_unstable();
        let surplus = by_age.len().saturating_sub(max_files);
        for (_, _, file_id) in by_age.into_iter().take(surplus) {
            self.files.remove(&file_id);
        }
    }
}

/// Somebody else holds the map, or one with another bound of the same files.
fn is_held(map: &Arc<SlotMap>) -> bool {
    Arc::strong_count(map) > 1 || !map.is_last()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::directory::FileStatus;

    fn cached() -> Cached {
        let inode = FileStatus::from(rustix::fs::stat("/").unwrap()).inode;
        let map = Arc::new(SlotMap::absent());
        Cached { map, data: inode, offsets: inode, bound: 0, sealed_under_v2: true }
    }

    #[test]
    fn those_used_longest_ago_go_first_and_what_a_view_holds_goes_last() {
        let mut cache = MapCache::new(8);
        for id in 0..8 {
            cache.put(FileId(id), cached());
        }
        let held = cache.get(FileId(0)).unwrap();
        assert!(cache.get(FileId(1)).is_some());
        cache.put(FileId(8), cached());
        assert_eq!(cache.files.len(), 7);
        assert!(cache.get(FileId(2)).is_none() && cache.get(FileId(3)).is_none());
        assert!(cache.get(FileId(1)).is_some() && cache.get(FileId(4)).is_some());
        cache.shrink(1);
        assert!(cache.get(FileId(0)).is_some(), "held by somebody else");
        assert!(!held.map.has_files());
    }
}
