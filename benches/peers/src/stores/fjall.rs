//! fjall: batches flushed with `PersistMode::SyncAll`, long values kept apart from the tree.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use super::key;
use crate::data::Kind;
use crate::store::{Reading, Shape, Store};

/// A database with one keyspace.
pub struct Fjall {
    database: Database,
    records: Keyspace,
}

impl std::fmt::Debug for Fjall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fjall").finish_non_exhaustive()
    }
}

/// The keyspace; reads see what is committed when they begin.
pub struct FjallReader {
    records: Keyspace,
}

impl std::fmt::Debug for FjallReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FjallReader").finish_non_exhaustive()
    }
}

impl Store for Fjall {
    type Reader = FjallReader;

    fn open(directory: &Path, shape: &Shape) -> Self {
        let database = Database::builder(directory.join("fjall"))
            .cache_size(shape.cache_bytes)
            .open()
            .unwrap();
        let is_long = shape.data.kind != Kind::Roots;
        let separated = || {
            let options = KvSeparationOptions::default();
            options.separation_threshold(4096).file_target_size(256 << 20)
        };
        let options = || {
            KeyspaceCreateOptions::default()
                .with_kv_separation(is_long.then(separated))
                .expect_point_read_hits(true)
                .manual_journal_persist(true)
        };
        let records = database.keyspace("records", options).unwrap();
        Self { database, records }
    }

    fn reader(&self) -> FjallReader {
        FjallReader { records: self.records.clone() }
    }

    fn put_batch(&self, records: &[(u64, Vec<u8>)]) {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for (slot, value) in records {
            batch.insert(&self.records, key(*slot), value.as_slice());
        }
        batch.commit().unwrap();
    }

    fn settle(&self) {
        self.records.rotate_memtable_and_wait().unwrap();
        self.records.major_compact().unwrap();
        self.database.persist(PersistMode::SyncAll).unwrap();
    }
}

impl Reading for FjallReader {
    #[inline]
    fn with<R>(&self, slot: u64, look: impl FnOnce(&[u8]) -> R) -> R {
        look(&self.records.get(key(slot)).unwrap().unwrap())
    }

    fn scan(&self, mut look: impl FnMut(&[u8])) {
        for record in self.records.iter() {
            look(&record.value().unwrap());
        }
    }
}
