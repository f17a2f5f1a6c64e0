//! MDBX: native integer keys, `MDBX_APPEND` where keys ascend, durable commits.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Mutex;

use signet_libmdbx::tx::aliases::RoTxUnsync;
use signet_libmdbx::{
    Database, DatabaseFlags, Environment, EnvironmentFlags, Geometry, Mode, SyncMode, WriteFlags,
};

use crate::store::{Reading, Shape, Store};

/// An environment with one database.
pub struct Mdbx {
    env: Environment,
    /// The highest slot, once something was put.
    highest: Mutex<Option<u64>>,
}

/// A read transaction.
pub struct MdbxReader {
    env: Environment,
    transaction: Option<RoTxUnsync>,
    records: Database,
}

impl std::fmt::Debug for Mdbx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mdbx").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for MdbxReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MdbxReader").finish_non_exhaustive()
    }
}

impl Store for Mdbx {
    type Reader = MdbxReader;

    fn open(directory: &Path, shape: &Shape) -> Self {
        let is_new = !directory.join("mdbx.dat").exists();
        let mut options = Environment::builder();
        let geometry = Geometry {
            size: Some(0..(64 << 30)),
            growth_step: Some(256 << 20),
            ..Geometry::default()
        };
        let mode = Mode::ReadWrite { sync_mode: SyncMode::Durable };
        let flags = EnvironmentFlags { mode, no_rdahead: shape.cold_random, ..Default::default() };
        let env = options.set_geometry(geometry).set_flags(flags).open(directory).unwrap();
        if is_new {
            let transaction = env.begin_rw_unsync().unwrap();
            transaction.create_db(None, DatabaseFlags::INTEGER_KEY).unwrap();
            transaction.commit().unwrap();
        }
        Self { env, highest: Mutex::new(None) }
    }

    fn reader(&self) -> MdbxReader {
        let transaction = self.env.begin_ro_unsync().unwrap();
        let records = transaction.open_db(None).unwrap();
        MdbxReader { env: self.env.clone(), transaction: Some(transaction), records }
    }

    fn put_batch(&self, records: &[(u64, Vec<u8>)]) {
        let mut highest = self.highest.lock().unwrap();
        let transaction = self.env.begin_rw_unsync().unwrap();
        let database = transaction.open_db(None).unwrap();
        if highest.is_none() {
            let mut cursor = transaction.cursor(database).unwrap();
            let last = cursor.last::<[u8; 8], ()>().unwrap();
            *highest = last.map(|(slot, ())| u64::from_ne_bytes(slot));
        }
        for (slot, value) in records {
            let ascends = highest.is_none_or(|highest| *slot > highest);
            let flags = if ascends { WriteFlags::APPEND } else { WriteFlags::empty() };
            transaction.put(database, &slot.to_ne_bytes(), value, flags).unwrap();
            if ascends {
                *highest = Some(*slot);
            }
        }
        transaction.commit().unwrap();
    }
}

impl Reading for MdbxReader {
    #[inline]
    fn with<R>(&self, slot: u64, look: impl FnOnce(&[u8]) -> R) -> R {
        let transaction = self.transaction.as_ref().unwrap();
        let stored: Option<Cow<'_, [u8]>> =
            transaction.get(self.records.dbi(), &slot.to_ne_bytes()).unwrap();
        look(&stored.unwrap())
    }

    fn scan(&self, mut look: impl FnMut(&[u8])) {
        let transaction = self.transaction.as_ref().unwrap();
        let mut cursor = transaction.cursor(self.records).unwrap();
        let mut record = cursor.first::<(), Cow<'_, [u8]>>().unwrap();
        while let Some(((), stored)) = record {
            look(&stored);
            record = cursor.next().unwrap();
        }
    }

    fn renew(&mut self) {
        self.transaction = None;
        self.transaction = Some(self.env.begin_ro_unsync().unwrap());
    }
}
