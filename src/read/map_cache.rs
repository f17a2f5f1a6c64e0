//! The latest maps of the files that were touched, for the views to come.

use std::collections::HashMap;
use std::sync::Arc;

use crate::files::directory::Inode;
use crate::files::map::SlotMap;
use crate::files::watch::Changes;
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
    /// The bound was the file's length when it was looked at. Until it changes, it is.
    pub(super) is_whole: bool,
}

/// A moment between two looks at what has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(u64);

/// Keeps the maps of so many files that no view holds; of these, the ones used last.
#[derive(Debug)]
pub(super) struct MapCache {
    files: HashMap<FileId, Entry>,
    max_files: usize,
    /// Counts uses.
    clock: u64,
    /// Counts looks at what has changed; `None` while nobody watches.
    looks: Option<u64>,
}

#[derive(Debug)]
struct Entry {
    cached: Cached,
    used: u64,
    /// The file is as it was when it was looked at.
    is_unchanged: bool,
}

impl MapCache {
    pub(super) fn new(max_files: usize) -> Self {
        Self { files: HashMap::new(), max_files, clock: 0, looks: None }
    }

    /// Before a file is looked at; it is put in with this.
    pub(super) fn now(&self) -> Option<Moment> {
        self.looks.map(Moment)
    }

    /// The map of a file, which is used by that, and whether the file is as it was when it was
    /// looked at.
    pub(super) fn get(&mut self, file_id: FileId) -> Option<(Cached, bool)> {
        self.clock += 1;
        let entry = self.files.get_mut(&file_id)?;
        entry.used = self.clock;
        Some((entry.cached.clone(), entry.is_unchanged))
    }

    /// Puts in what was found of a file since `begun`. True when the file is as it was then.
    pub(super) fn put(&mut self, file_id: FileId, cached: Cached, begun: Option<Moment>) -> bool {
        self.clock += 1;
        let is_unchanged = self.is_still(begun) && cached.is_whole;
        let entry = Entry { cached, used: self.clock, is_unchanged };
        self.files.insert(file_id, entry);
        if self.files.len() > self.max_files {
            // An eighth goes at a time, so that looking for the oldest costs little for each file.
            self.shrink(self.max_files - self.max_files / 8);
        }
        is_unchanged
    }

    /// The file was looked at since `begun`, and its length is the bound. True when it is as it was
    /// then.
    pub(super) fn confirm(&mut self, file_id: FileId, begun: Option<Moment>) -> bool {
        let is_unchanged = self.is_still(begun);
        if let Some(entry) = self.files.get_mut(&file_id) {
            entry.cached.is_whole = true;
            entry.is_unchanged = is_unchanged;
        }
        is_unchanged
    }

    /// What was found since `begun` is no older than the last look at what has changed.
    fn is_still(&self, begun: Option<Moment>) -> bool {
        begun.is_some() && begun == self.now()
    }

    /// What has changed since the last call; the first begins the watch.
    pub(super) fn note(&mut self, changes: &Changes) {
        let looks = self.looks.map_or(0, |looks| looks + 1);
        self.looks = Some(looks);
        if changes.incomplete || looks == 0 {
            self.files.values_mut().for_each(|entry| entry.is_unchanged = false);
        }
        for file_id in &changes.files {
            if let Some(entry) = self.files.get_mut(file_id) {
                entry.is_unchanged = false;
            }
        }
    }

    /// Unmaps the files that were used longest ago, until so many are left. What a view holds is
    /// forgotten here and stays mapped until the view goes.
    pub(super) fn shrink(&mut self, max_files: usize) {
        let mut by_age: Vec<(bool, u64, FileId)> = self
            .files
            .iter()
            .map(|(file_id, entry)| (is_held(&entry.cached.map), entry.used, *file_id))
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
        Cached { map, data: inode, offsets: inode, bound: 0, sealed_under_v2: true, is_whole: true }
    }

    #[test]
    fn those_used_longest_ago_go_first_and_what_a_view_holds_goes_last() {
        let mut cache = MapCache::new(8);
        for id in 0..8 {
            cache.put(FileId(id), cached(), None);
        }
        let held = cache.get(FileId(0)).unwrap();
        assert!(cache.get(FileId(1)).is_some());
        cache.put(FileId(8), cached(), None);
        assert_eq!(cache.files.len(), 7);
        assert!(cache.get(FileId(2)).is_none() && cache.get(FileId(3)).is_none());
        assert!(cache.get(FileId(1)).is_some() && cache.get(FileId(4)).is_some());
        cache.shrink(1);
        assert!(cache.get(FileId(0)).is_some(), "held by somebody else");
        assert!(!held.0.map.has_files());
    }

    #[test]
    fn a_file_is_unchanged_only_when_nothing_was_missed_since_it_was_looked_at() {
        let is_unchanged = |cache: &mut MapCache, id| cache.get(FileId(id)).unwrap().1;
        let changes = |files: &[u64], incomplete| Changes {
            files: files.iter().copied().map(FileId).collect(),
            incomplete,
            any: true,
        };
        let mut cache = MapCache::new(8);
        cache.put(FileId(0), cached(), cache.now());
        assert!(!is_unchanged(&mut cache, 0), "nobody watches");
        cache.note(&changes(&[], false));
        assert!(!is_unchanged(&mut cache, 0), "looked at before the watch");
        for id in 0..3 {
            cache.put(FileId(id), cached(), cache.now());
        }
        cache.put(FileId(3), Cached { is_whole: false, ..cached() }, cache.now());
        let before = cache.now();
        cache.note(&changes(&[1], false));
        cache.put(FileId(4), cached(), before);
        let found = [0, 1, 2, 3, 4].map(|id| is_unchanged(&mut cache, id));
        assert_eq!(found, [true, false, true, false, false]);
        cache.confirm(FileId(1), cache.now());
        cache.confirm(FileId(4), before);
        assert!(is_unchanged(&mut cache, 1) && !is_unchanged(&mut cache, 4));
        cache.note(&changes(&[], true));
        assert!((0..5).all(|id| !is_unchanged(&mut cache, id)));
    }
}
