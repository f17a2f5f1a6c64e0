//! LMDB through heed: native integer keys, and `MDB_APPEND` where keys ascend.

use std::path::Path;
use std::sync::Mutex;

use heed::byteorder::NativeEndian;
use heed::types::{Bytes, U64};
use heed::{
    CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, IntegerComparator, PutFlags, RoTxn,
    WithoutTls,
};

use crate::store::{Reading, Shape, Store};

type Records = Database<'static, U64<NativeEndian>, Bytes, IntegerComparator>;

/// An environment with one database.
#[derive(Debug)]
pub struct Lmdb {
    env: Option<Env<WithoutTls>>,
    records: Records,
    /// The highest slot, once something was put.
    highest: Mutex<Option<u64>>,
}

/// A read transaction.
pub struct LmdbReader {
    env: Env<WithoutTls>,
    transaction: Option<RoTxn<'static, WithoutTls>>,
    records: Records,
}

impl std::fmt::Debug for LmdbReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LmdbReader").finish_non_exhaustive()
    }
}

impl Lmdb {
    fn env(&self) -> &Env<WithoutTls> {
        self.env.as_ref().unwrap()
    }
}

fn create(env: &Env<WithoutTls>) -> Records {
    let transaction = env.write_txn().unwrap();
    env.create_databases_and_commit(transaction, |opener, transaction| {
        opener
            .database_options()
            .types::<U64<NativeEndian>, Bytes>()
            .key_comparator::<IntegerComparator>()
            .create(transaction)
            .map(CommitOrAbort::<_, ()>::Commit)
    })
    .unwrap()
    .unwrap_commit()
}

fn find(env: &Env<WithoutTls>) -> Records {
    let transaction = env.read_txn().unwrap();
    env.open_databases_and_commit(transaction, |opener, transaction| {
        opener
            .database_options()
            .types::<U64<NativeEndian>, Bytes>()
            .key_comparator::<IntegerComparator>()
            .open(transaction)
            .map(CommitOrAbort::<_, ()>::Commit)
    })
    .unwrap()
    .unwrap_commit()
    .unwrap()
}

/// An environment that is still open in this process cannot be opened again.
impl Drop for Lmdb {
    fn drop(&mut self) {
        if let Some(env) = self.env.take() {
            drop(env.prepare_for_closing());
        }
    }
}

impl Store for Lmdb {
    type Reader = LmdbReader;

    fn open(directory: &Path, shape: &Shape) -> Self {
        let is_new = !directory.join("data.mdb").exists();
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(64 << 30).max_readers(64);
        let flags = if shape.cold_random { EnvFlags::NO_READ_AHEAD } else { EnvFlags::empty() };
        // SAFETY: these flags leave LMDB's locks and flushes on.
        #[expect(unsafe_code, reason = "heed asks for it")]
        unsafe {
            options.flags(flags)
        };
        // SAFETY: the directory is this program's own, and only LMDB writes there.
        #[expect(unsafe_code, reason = "the file is mapped")]
        let env = unsafe { options.open(directory) }.unwrap();
        let records = if is_new { create(&env) } else { find(&env) };
        Self { env: Some(env), records, highest: Mutex::new(None) }
    }

    fn reader(&self) -> LmdbReader {
        let env = self.env().clone();
        let transaction = Some(env.clone().static_read_txn().unwrap());
        LmdbReader { env, transaction, records: self.records }
    }

    fn put_batch(&self, records: &[(u64, Vec<u8>)]) {
        let mut highest = self.highest.lock().unwrap();
        let mut transaction = self.env().write_txn().unwrap();
        if highest.is_none() {
            *highest = self.records.last(&transaction).unwrap().map(|(slot, _)| slot);
        }
        for (slot, value) in records {
            if highest.is_none_or(|highest| *slot > highest) {
                self.records
                    .put_with_flags(&mut transaction, PutFlags::APPEND, slot, value)
                    .unwrap();
                *highest = Some(*slot);
            } else {
                self.records.put(&mut transaction, slot, value).unwrap();
            }
        }
        transaction.commit().unwrap();
    }
}

impl Reading for LmdbReader {
    #[inline]
    fn with<R>(&self, slot: u64, look: impl FnOnce(&[u8]) -> R) -> R {
        let transaction = self.transaction.as_ref().unwrap();
        look(self.records.get(transaction, &slot).unwrap().unwrap())
    }

    fn scan(&self, mut look: impl FnMut(&[u8])) {
        for record in self.records.iter(self.transaction.as_ref().unwrap()).unwrap() {
            look(record.unwrap().1);
        }
    }

    fn renew(&mut self) {
        self.transaction = None;
        self.transaction = Some(self.env.clone().static_read_txn().unwrap());
    }
}
