//! The stores that are damaged.

use super::*;

pub(crate) struct Store {
    pub(crate) directory: TempDir,
    pub(crate) compression: Compression,
    pub(crate) backfill: bool,
    /// What was put.
    pub(crate) records: BTreeMap<u64, Vec<u8>>,
    pub(crate) files: Files,
    /// What verification says of it: a note on the skipped file.
    pub(crate) findings: Vec<Finding>,
}

/// Two sealed files, a skipped one, and the current one; in V3 the conf names the second.
pub(crate) const CURRENT: u64 = 3;
pub(crate) const SEQUENTIAL: [u64; 12] = [
    0,
    1,
    5,
    4_000,
    8_191,
    8_192 + 3,
    8_192 + 100,
    8_192 + 101,
    CURRENT * 8_192,
    CURRENT * 8_192 + 7,
    CURRENT * 8_192 + 9,
    CURRENT * 8_192 + 500,
];
pub(crate) const BACKFILLED: [&[u64]; 4] =
    [&[2], &[CURRENT * 8_192 + 8], &[8_192 + 50, 8_192 + 60], &[8_192 + 200]];

/// The first value of a file begins with bytes that look like a record, so that an entry that leads
/// here (in an uncompressed column) shows one.
pub(crate) const FAKE_RECORD_AT: u64 = 16;
pub(crate) const FAKE_RECORD: [u8; 12] = [0x77, 0, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4];

/// Values of 0 to 60 bytes, and one of 200.
pub(crate) fn value(slot: u64) -> Vec<u8> {
    if slot == 0 {
        return [&FAKE_RECORD[..], &test_support::bytes_from(slot, 20)].concat();
    }
    let byte_len = match slot {
        5 => 0,
        1 => 200,
        slot => 20 + usize::try_from(test_support::mix(slot) % 40).unwrap(),
    };
    test_support::bytes_from(slot, byte_len)
}

pub(crate) fn store(compression: Compression, backfill: bool) -> Store {
    let directory = scratch();
    let options = WriterOptions::create(spec(compression, 1_000)).allow_backfill(backfill);
    let mut writer = Writer::open(directory.path(), options).unwrap();
    let mut records = BTreeMap::new();
    for slot in SEQUENTIAL {
        writer.put(Slot(slot), &value(slot)).unwrap();
        records.insert(slot, value(slot));
    }
    for batch in BACKFILLED.iter().filter(|_| backfill) {
        let items: Vec<(Slot, Vec<u8>)> =
            batch.iter().map(|&slot| (Slot(slot), value(slot))).collect();
        writer.put_batch(&items).unwrap();
        records.extend(batch.iter().map(|&slot| (slot, value(slot))));
    }
    drop(writer);
    let files = files_of(directory.path());
    let mut store =
        Store { directory, compression, backfill, records, files, findings: Vec::new() };
    let (summary, findings) = store.verify(true).unwrap();
    assert_eq!((summary.damages, summary.notes), (0, 1), "{findings:?}");
    assert_eq!(summary.records, store.records.len() as u64);
    store.findings = findings;
    store
}

impl Store {
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn restore(&self) {
        let now = files_of(self.path());
        for name in differing_files(&self.files, &now) {
            match self.files.get(name) {
                Some(bytes) => fs::write(self.path().join(name), bytes).unwrap(),
                None => fs::remove_file(self.path().join(name)).unwrap(),
            }
        }
    }

    /// The slots worth asking for: all with a record, their neighbours, the edges of the files.
    pub(crate) fn slots(&self, damage: &Damage) -> Vec<u64> {
        let mut slots: Vec<u64> = (0..=CURRENT + 1)
            .flat_map(|file| [file * PER_FILE, file * PER_FILE + PER_FILE - 1])
            .chain(self.records.keys().flat_map(|slot| [slot.saturating_sub(1), *slot, slot + 1]))
            .chain(damage.entry_slot())
            .collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }
}
