//! redb with `Durability::Immediate`, which is its default, and a cache that holds everything.

use std::path::Path;
use std::sync::Arc;

use redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition,
};

use crate::store::{Reading, Shape, Store};

const RECORDS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("records");

/// A database with one table.
#[derive(Debug)]
pub struct Redb {
    database: Arc<Database>,
}

/// The table in a read transaction.
#[derive(Debug)]
pub struct RedbReader {
    database: Arc<Database>,
    records: ReadOnlyTable<u64, &'static [u8]>,
}

impl Store for Redb {
    type Reader = RedbReader;

    fn open(directory: &Path, shape: &Shape) -> Self {
        let path = directory.join("records.redb");
        let is_new = !path.exists();
        let mut builder = Builder::new();
        let database = builder.set_cache_size(shape.cache_bytes as usize).create(path).unwrap();
        if is_new {
            let transaction = database.begin_write().unwrap();
            transaction.open_table(RECORDS).unwrap();
            transaction.commit().unwrap();
        }
        Self { database: Arc::new(database) }
    }

    fn reader(&self) -> RedbReader {
        let records = self.database.begin_read().unwrap().open_table(RECORDS).unwrap();
        RedbReader { database: Arc::clone(&self.database), records }
    }

    fn put_batch(&self, records: &[(u64, Vec<u8>)]) {
        let mut transaction = self.database.begin_write().unwrap();
        transaction.set_durability(Durability::Immediate).unwrap();
        {
            let mut table = transaction.open_table(RECORDS).unwrap();
            for (slot, value) in records {
                table.insert(slot, value.as_slice()).unwrap();
            }
        }
        transaction.commit().unwrap();
    }
}

impl Reading for RedbReader {
    #[inline]
    fn with<R>(&self, slot: u64, look: impl FnOnce(&[u8]) -> R) -> R {
        look(self.records.get(slot).unwrap().unwrap().value())
    }

    fn scan(&self, mut look: impl FnMut(&[u8])) {
        for record in self.records.iter().unwrap() {
            look(record.unwrap().1.value());
        }
    }

    fn renew(&mut self) {
        self.records = self.database.begin_read().unwrap().open_table(RECORDS).unwrap();
    }
}
