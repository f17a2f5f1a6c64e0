//! `RocksDB`: the log flushed with every write, long values in blob files, no compression.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::key;
use crate::data::Kind;
use crate::store::{Reading, Shape, Store, in_turn};

/// A database with its default column family.
pub struct Rocksdb {
    database: Arc<DB>,
}

/// The database; reads see what is committed when they begin.
pub struct RocksdbReader {
    database: Arc<DB>,
}

impl std::fmt::Debug for Rocksdb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rocksdb").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for RocksdbReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksdbReader").finish_non_exhaustive()
    }
}

fn durable() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

impl Store for Rocksdb {
    type Reader = RocksdbReader;

    fn open(directory: &Path, shape: &Shape) -> Self {
        let cache = Cache::new_lru_cache(shape.cache_bytes as usize);
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&cache);
        table.set_bloom_filter(10.0, false);
        table.set_data_block_index_type(rocksdb::DataBlockIndexType::BinaryAndHash);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&table);
        options.set_compression_type(DBCompressionType::None);
        options.set_max_background_jobs(2);
        options.set_write_buffer_size(128 << 20);
        options.set_advise_random_on_open(shape.cold_random);
        if shape.data.kind != Kind::Roots {
            options.set_enable_blob_files(true);
            options.set_min_blob_size(4096);
            options.set_blob_file_size(256 << 20);
            options.set_blob_compression_type(DBCompressionType::None);
            options.set_blob_cache(&cache);
        }
        Self { database: Arc::new(DB::open(&options, directory.join("rocksdb")).unwrap()) }
    }

    fn reader(&self) -> RocksdbReader {
        RocksdbReader { database: Arc::clone(&self.database) }
    }

    fn put_batch(&self, records: &[(u64, Vec<u8>)]) {
        let mut batch = WriteBatch::default();
        for (slot, value) in records {
            batch.put(key(*slot), value);
        }
        self.database.write_opt(batch, &durable()).unwrap();
    }

    fn settle(&self) {
        self.database.flush().unwrap();
        self.database.compact_range(None::<&[u8]>, None::<&[u8]>);
    }

    /// Its own group commit: every thread writes for itself.
    fn concurrent_puts(&self, records: Vec<(u64, Vec<u8>)>, threads: usize) -> Duration {
        in_turn(records, threads, |(slot, value)| {
            let database = Arc::clone(&self.database);
            move || database.put_opt(key(slot), value, &durable()).unwrap()
        })
    }
}

impl Reading for RocksdbReader {
    #[inline]
    fn with<R>(&self, slot: u64, look: impl FnOnce(&[u8]) -> R) -> R {
        look(&self.database.get_pinned(key(slot)).unwrap().unwrap())
    }

    fn scan(&self, mut look: impl FnMut(&[u8])) {
        let mut options = ReadOptions::default();
        options.set_verify_checksums(true);
        let mut records = self.database.raw_iterator_opt(options);
        records.seek_to_first();
        while records.valid() {
            look(records.value().unwrap());
            records.next();
        }
        records.status().unwrap();
    }
}
