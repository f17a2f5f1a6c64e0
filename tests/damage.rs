//! Damage of every kind: a read gives the right value or an error that names the place.
//!
//! A small store of each kind is damaged in one place, read in every way, verified, opened for
//! writing, and restored; thousands of times. Beside the library stands a second reader of the
//! format ([`Reference`]), written from `FORMAT.md` and as naive as can be. Where the library gives
//! something else than what was put, the reference must say the same, and the cause must be one of
//! [`Unnoticed`]: the closed list of what the format cannot notice. What the list has is counted and
//! printed (`cargo test --test damage -- --nocapture`).
//!
//! No read may panic, hang, or allocate much: this binary's allocator keeps the largest request.
#![allow(clippy::unwrap_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test that damages files writes them itself")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use coldstore::verify::{Finding, Summary, VerifyOptions, verify_column};
use coldstore::{Compression, Error, Reader, ReaderOptions, Slot, Writer, WriterOptions};
use support::allocations::{Counting, largest};
use support::size::quick_or_whole;
use support::{Progress, assert_same_files, differing_files, files_of, open_reader, scratch, spec};
use tempfile::TempDir;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// No value here has more than a few hundred bytes.
const LARGEST_ALLOCATION: usize = 8 << 20;

const SLOTS_PER_FILE: u64 = 8192;
const TABLE_BYTES: usize = 65_536;
const CONF: &str = "column.conf";

type Files = BTreeMap<String, Vec<u8>>;

// ---------------------------------------------------------------- the stores

struct Store {
    directory: TempDir,
    compression: Compression,
    backfill: bool,
    /// What was put.
    records: BTreeMap<u64, Vec<u8>>,
    files: Files,
    /// What verification says of it: a note on the skipped file.
    findings: Vec<Finding>,
}

/// Two sealed files, a skipped one, and the current one; in V3 the conf names the second.
const CURRENT: u64 = 3;
const SEQUENTIAL: [u64; 12] = [
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
const BACKFILLED: [&[u64]; 4] =
    [&[2], &[CURRENT * 8_192 + 8], &[8_192 + 50, 8_192 + 60], &[8_192 + 200]];

/// The first value of a file begins with bytes that look like a record, so that an entry that leads
/// here (in an uncompressed column) shows one.
const FAKE_RECORD_AT: u64 = 16;
const FAKE_RECORD: [u8; 12] = [0x77, 0, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4];

/// Values of 0 to 60 bytes, and one of 200.
fn value(slot: u64) -> Vec<u8> {
    if slot == 0 {
        return [&FAKE_RECORD[..], &support::bytes_from(slot, 20)].concat();
    }
    let byte_len = match slot {
        5 => 0,
        1 => 200,
        slot => 20 + usize::try_from(support::mix(slot) % 40).unwrap(),
    };
    support::bytes_from(slot, byte_len)
}

fn store(compression: Compression, backfill: bool) -> Store {
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
    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn restore(&self) {
        let now = files_of(self.path());
        for (name, ..) in differing_files(&self.files, &now) {
            match self.files.get(&name) {
                Some(bytes) => fs::write(self.path().join(name), bytes).unwrap(),
                None => fs::remove_file(self.path().join(name)).unwrap(),
            }
        }
    }

    /// The slots worth asking for: all with a record, their neighbours, the edges of the files.
    fn slots(&self, damage: &Damage) -> Vec<u64> {
        let mut slots: Vec<u64> = (0..=CURRENT + 1)
            .flat_map(|file| [file * SLOTS_PER_FILE, file * SLOTS_PER_FILE + SLOTS_PER_FILE - 1])
            .chain(self.records.keys().flat_map(|slot| [slot.saturating_sub(1), *slot, slot + 1]))
            .chain(damage.entry_slot())
            .collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }
}

fn data_name(file: u64) -> String {
    format!("data_{file:05}")
}

fn table_name(file: u64) -> String {
    format!("data_{file:05}.off")
}

/// The id in the name of a data file or an offset file.
fn id_of(name: &str) -> Option<u64> {
    name.strip_prefix("data_")?.trim_end_matches(".off").parse().ok()
}

// ---------------------------------------------------------------- damage

#[derive(Clone, Debug)]
enum Damage {
    Flip { file: String, at: usize, mask: u8 },
    Cut { file: String, len: usize },
    Longer { file: String },
    Gone { files: Vec<String> },
}

impl Damage {
    fn apply(&self, files: &mut Files) {
        match self {
            Damage::Flip { file, at, mask } => files.get_mut(file).unwrap()[*at] ^= mask,
            Damage::Cut { file, len } => files.get_mut(file).unwrap().truncate(*len),
            Damage::Longer { file } => files.get_mut(file).unwrap().push(0),
            Damage::Gone { files: gone } => files.retain(|name, _| !gone.contains(name)),
        }
    }

    /// Writes what differs to the directory.
    fn write(&self, directory: &Path, damaged: &Files) {
        match self {
            Damage::Flip { file, .. } | Damage::Cut { file, .. } | Damage::Longer { file } => {
                fs::write(directory.join(file), &damaged[file]).unwrap();
            }
            Damage::Gone { files } => {
                for file in files {
                    fs::remove_file(directory.join(file)).unwrap();
                }
            }
        }
    }

    fn file(&self) -> &str {
        match self {
            Damage::Flip { file, .. } | Damage::Cut { file, .. } | Damage::Longer { file } => file,
            Damage::Gone { files } => &files[0],
        }
    }

    /// The slot whose entry is flipped.
    fn entry_slot(&self) -> Option<u64> {
        match self {
            Damage::Flip { file, at, .. } if file.ends_with(".off") => {
                Some(id_of(file)? * SLOTS_PER_FILE + *at as u64 / 8)
            }
            _ => None,
        }
    }
}

/// Everything that is done to one store.
fn damages(store: &Store) -> Vec<Damage> {
    let mut damages = Vec::new();
    for (file, bytes) in &store.files {
        if file == CONF {
            conf_damages(file, bytes, &mut damages);
            target_damages(store, file, bytes, &mut damages);
        } else if file.ends_with(".off") {
            table_damages(file, bytes, &mut damages);
        } else {
            data_damages(file, bytes, &mut damages);
        }
        damages.push(Damage::Longer { file: file.clone() });
        damages.push(Damage::Gone { files: vec![file.clone()] });
    }
    for file in [0, 1, CURRENT] {
        damages.push(Damage::Gone { files: vec![data_name(file), table_name(file)] });
    }
    damages
}

const EVERY_BIT_AND_ALL: [u8; 9] = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF];

fn conf_damages(file: &str, bytes: &[u8], damages: &mut Vec<Damage>) {
    for at in 0..bytes.len() {
        for mask in EVERY_BIT_AND_ALL {
            damages.push(Damage::Flip { file: file.to_owned(), at, mask });
        }
        damages.push(Damage::Cut { file: file.to_owned(), len: at });
    }
}

/// The flips of one byte that give the backfill file a length at which one of its records ends.
fn target_damages(store: &Store, file: &str, bytes: &[u8], damages: &mut Vec<Damage>) {
    let Some((id, len)) = ReferenceConf::read(bytes).and_then(|conf| conf.named) else { return };
    let data = &store.files[&data_name(id)];
    let mut end = 8;
    while end < data.len() {
        let difference = (len ^ end as u64).to_le_bytes();
        let differing: Vec<usize> = (0..8).filter(|at| difference[*at] != 0).collect();
        if let [at] = differing[..] {
            let mask = difference[at];
            damages.push(Damage::Flip { file: file.to_owned(), at: 44 + at, mask });
        }
        end += record_at(data, end).len();
    }
}

fn table_damages(file: &str, bytes: &[u8], damages: &mut Vec<Damage>) {
    let entries: Vec<(usize, u64)> = bytes
        .chunks_exact(8)
        .map(|entry| u64::from_le_bytes(entry.try_into().unwrap()))
        .enumerate()
        .filter(|(_, entry)| *entry != 0)
        .collect();
    for (index, entry) in &entries {
        for at in index * 8..index * 8 + 8 {
            let masks: &[u8] =
                if at < index * 8 + 2 { &EVERY_BIT_AND_ALL } else { &[1, 0x80, 0xFF] };
            damages.extend(masks.iter().map(|&mask| Damage::Flip {
                file: file.to_owned(),
                at,
                mask,
            }));
        }
        // The flips of one byte that lead to another record, and to nothing.
        for other in entries.iter().map(|(_, other)| *other).chain([0, FAKE_RECORD_AT]) {
            let difference = (entry ^ other).to_le_bytes();
            let differing: Vec<usize> = (0..8).filter(|at| difference[*at] != 0).collect();
            if let [at] = differing[..] {
                let mask = difference[at];
                damages.push(Damage::Flip { file: file.to_owned(), at: index * 8 + at, mask });
            }
        }
        for len in [index * 8, index * 8 + 1, index * 8 + 2, index * 8 + 7, index * 8 + 8] {
            damages.push(Damage::Cut { file: file.to_owned(), len });
        }
    }
    // A spread over the others, each byte of an entry in turn; some become the entry of a record.
    for (count, at) in (0..TABLE_BYTES).step_by(509).enumerate() {
        let mask = [0x01, 0x80, 0xFF, 0x08][count % 4];
        damages.push(Damage::Flip { file: file.to_owned(), at, mask });
    }
    let gap = (6..).find(|index| entries.iter().all(|(used, _)| used != index)).unwrap();
    for entry in entries.iter().map(|(_, entry)| *entry).filter(|entry| *entry < 256) {
        let mask = u8::try_from(entry).unwrap();
        damages.push(Damage::Flip { file: file.to_owned(), at: gap * 8, mask });
    }
    for len in [0, 1, 7, 8, TABLE_BYTES / 2, TABLE_BYTES - 8, TABLE_BYTES - 1] {
        damages.push(Damage::Cut { file: file.to_owned(), len });
    }
}

fn data_damages(file: &str, bytes: &[u8], damages: &mut Vec<Damage>) {
    const MASKS: [u8; 3] = [0x01, 0x80, 0xFF];
    let mut record = 8;
    let mut header = 0..8;
    for at in 0..bytes.len() {
        if at == record {
            // With the beginning of a value, which is structure too in a compressed column.
            header = at..at + 8 + 18;
            record += record_at(bytes, record).len();
        }
        // Within a value the three take turns.
        let masks = if header.contains(&at) { &MASKS[..] } else { &MASKS[at % 3..=at % 3] };
        damages.extend(masks.iter().map(|&mask| Damage::Flip { file: file.to_owned(), at, mask }));
        damages.push(Damage::Cut { file: file.to_owned(), len: at });
    }
}

// ---------------------------------------------------------------- the reference

/// What a slot reads as.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reading {
    Nothing,
    Value(Vec<u8>),
    Refused,
}

/// `FORMAT.md`, section 7, word for word, over the bytes of a directory.
struct Reference<'a> {
    files: &'a Files,
    conf: Option<ReferenceConf>,
}

struct ReferenceConf {
    backfill: bool,
    highest: u64,
    current_len: u64,
    record_type: [u8; 2],
    compressed: bool,
    max_value_bytes: u64,
    named: Option<(u64, u64)>,
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

impl ReferenceConf {
    fn read(bytes: &[u8]) -> Option<Self> {
        let backfill = match (bytes.get(..8)?, bytes.len()) {
            (b"LHSTBLK2", 36) => false,
            (b"LHSTBLK3", 52) => true,
            _ => return None,
        };
        let flags_allowed = u8::from(backfill);
        if bytes[26] > 1 || bytes[27] > flags_allowed {
            return None;
        }
        let named = backfill.then(|| (u64_at(bytes, 36), u64_at(bytes, 44)));
        Some(Self {
            backfill,
            highest: u64_at(bytes, 8),
            current_len: u64_at(bytes, 16),
            record_type: [bytes[24], bytes[25]],
            compressed: bytes[26] == 1,
            max_value_bytes: u64_at(bytes, 28),
            named: named.filter(|(file, _)| *file != u64::MAX),
        })
    }
}

impl<'a> Reference<'a> {
    fn new(files: &'a Files) -> Self {
        let conf = files.get(CONF).and_then(|bytes| ReferenceConf::read(bytes));
        Self { files, conf }
    }

    fn read(&self, slot: u64) -> Reading {
        let Some(conf) = &self.conf else {
            return Reading::Refused;
        };
        if conf.highest == u64::MAX || slot > conf.highest {
            return Reading::Nothing;
        }
        let file = slot / SLOTS_PER_FILE;
        let data = self.files.get(&data_name(file));
        let table = self.files.get(&table_name(file));
        let Some(bound) = self.bound(conf, file) else {
            return Reading::Refused;
        };
        let Some(table) = table else {
            return if bound <= 8 { Reading::Nothing } else { Reading::Refused };
        };
        if table.len() > TABLE_BYTES {
            return Reading::Refused;
        }
        let mut padded = table.clone();
        padded.resize(TABLE_BYTES, 0);
        let entry = u64_at(&padded, usize::try_from(slot % SLOTS_PER_FILE * 8).unwrap());
        let Some(data) = data else {
            return if padded.iter().all(|byte| *byte == 0) {
                Reading::Nothing
            } else {
                Reading::Refused
            };
        };
        if entry == 0 {
            return Reading::Nothing;
        }
        if entry >= bound {
            return if conf.backfill { Reading::Nothing } else { Reading::Refused };
        }
        let committed = &data[..usize::try_from(bound).unwrap()];
        conf.record(&committed[usize::try_from(entry).unwrap()..]).unwrap_or(Reading::Refused)
    }

    /// `None` where the file is shorter than the conf says.
    fn bound(&self, conf: &ReferenceConf, file: u64) -> Option<u64> {
        let len = self.files.get(&data_name(file)).map_or(0, |data| data.len() as u64);
        if file == conf.highest / SLOTS_PER_FILE {
            return (conf.current_len <= len).then_some(conf.current_len);
        }
        match conf.named {
            Some((named, bound)) if named == file => (bound <= len).then_some(bound),
            _ => Some(len),
        }
    }

    /// Entries of a file that lie below its bound, with the slot they are of.
    fn entry(&self, slot: u64) -> u64 {
        let table = self.files.get(&table_name(slot / SLOTS_PER_FILE)).cloned().unwrap_or_default();
        let mut padded = table;
        padded.resize(TABLE_BYTES, 0);
        u64_at(&padded, usize::try_from(slot % SLOTS_PER_FILE * 8).unwrap())
    }
}

impl ReferenceConf {
    /// What begins here, up to the bound. `None`: no record of this column.
    fn record(&self, bytes: &[u8]) -> Option<Reading> {
        let header = bytes.get(..8)?;
        let length = usize::try_from(u32::from_le_bytes(header[2..6].try_into().unwrap())).unwrap();
        if header[..2] != self.record_type || header[6..] != [0, 0] {
            return None;
        }
        let payload = bytes[8..].get(..length)?;
        let value = if self.compressed { thaw(payload)? } else { payload.to_vec() };
        (value.len() as u64 <= self.max_value_bytes).then_some(Reading::Value(value))
    }
}

fn thaw(payload: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    snap::read::FrameDecoder::new(payload).take(1 << 20).read_to_end(&mut value).ok()?;
    Some(value)
}

// ---------------------------------------------------------------- what the format cannot notice

/// Why a read may give something else than what was put. Nothing else may be the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unnoticed {
    /// There is no checksum over an uncompressed value: that byte differs, nothing else.
    ValueByte,
    /// The length in a header changed, and the record still ends within the committed part.
    RecordLength,
    /// A snappy chunk became one of the types that a decoder must skip: its bytes are missing.
    SkippableChunk,
    /// The entry leads to another record: that one's value is shown, here or where nothing was.
    EntryOfAnotherRecord,
    /// The entry leads into a value whose bytes look like a record.
    EntryIntoAValue,
    /// The entry became 0: no record.
    EntryZero,
    /// In V3 an entry past the bound is what a crash leaves: no record.
    EntryPastBoundV3,
    /// The compression in the conf, for a reader that expects nothing: stored bytes as values.
    ConfCompression,
    /// In V3 the conf names another file, or another length: the entries past the bound that this
    /// gives read as no record.
    ConfBackfillTarget,
    /// The offset file of a sealed file was cut: zeros behind its end, also within an entry.
    TableCut,
    /// In V3 a sealed data file was cut in front of a record: an entry past the bound.
    DataCutV3,
    /// Both files of a sealed id are gone: as if all its slots had been skipped.
    BothGone,
    /// Healing cleared an entry past the bound, which a reader calls corrupt in V2.
    HealedEntry,
    /// In V3 the conf's length of the backfill file became one at which a record of it ends: healing
    /// cut off those behind it. A crash leaves the same picture.
    HealedByConfTarget,
}

impl Unnoticed {
    /// Whether nothing in the files contradicts anything else, so that verification cannot tell.
    fn is_beyond_verification(self) -> bool {
        matches!(self, Unnoticed::ValueByte | Unnoticed::SkippableChunk)
    }

    /// Whether verification knows that it is damage, in a file in which a crash leaves no bytes that no
    /// slot refers to.
    fn is_known_as_damage(self) -> bool {
        matches!(
            self,
            Unnoticed::RecordLength
                | Unnoticed::EntryZero
                | Unnoticed::EntryPastBoundV3
                | Unnoticed::EntryOfAnotherRecord
                | Unnoticed::EntryIntoAValue
                | Unnoticed::TableCut
        )
    }
}

/// The cause of a wrong reading of `slot`; panics when there is none on the list.
fn classify(
    store: &Store,
    damage: &Damage,
    damaged: &Files,
    slot: u64,
    right: &Reading,
    shown: &Reading,
) -> Unnoticed {
    let before = Reference::new(&store.files);
    let after = Reference::new(damaged);
    let id = slot / SLOTS_PER_FILE;
    match damage {
        Damage::Flip { file, at, mask } if *file == data_name(id) => {
            let entry = usize::try_from(before.entry(slot)).unwrap();
            let payload = entry + 8;
            if (entry + 2..entry + 6).contains(at) {
                return Unnoticed::RecordLength;
            }
            let (Reading::Value(right), Reading::Value(shown)) = (right, shown) else {
                panic!("{right:?} became {shown:?}");
            };
            if store.compression == Compression::None {
                let mut flipped = right.clone();
                flipped[at - payload] ^= mask;
                assert_eq!(*shown, flipped);
                return Unnoticed::ValueByte;
            }
            let bytes = &store.files[file];
            assert!(chunk_types(bytes, entry).contains(at), "offset {at} of a record at {entry}");
            assert!((0x80..=0xFE).contains(&(bytes[*at] ^ mask)));
            assert!(right.len() > shown.len());
            Unnoticed::SkippableChunk
        }
        Damage::Flip { file, .. } if *file == table_name(id) => {
            assert_eq!(damage.entry_slot(), Some(slot), "another entry than the flipped one");
            let entry = after.entry(slot);
            let conf = after.conf.as_ref().unwrap();
            if entry == 0 {
                assert_eq!(*shown, Reading::Nothing);
                return Unnoticed::EntryZero;
            }
            if entry >= after.bound(conf, id).unwrap() {
                assert!(store.backfill && *shown == Reading::Nothing);
                return Unnoticed::EntryPastBoundV3;
            }
            let others = || store.records.keys().filter(|other| **other / SLOTS_PER_FILE == id);
            if others().any(|other| before.entry(*other) == entry) {
                return Unnoticed::EntryOfAnotherRecord;
            }
            Unnoticed::EntryIntoAValue
        }
        Damage::Flip { file, at: 26, .. } if file == CONF => Unnoticed::ConfCompression,
        Damage::Flip { file, at: 36..52, .. } if file == CONF => {
            assert!(store.backfill && *shown == Reading::Nothing);
            Unnoticed::ConfBackfillTarget
        }
        Damage::Cut { file, len } if *file == table_name(id) && id != CURRENT => {
            // Of an entry that was cut itself the first bytes may lead to another record.
            let is_cut = len % 8 != 0 && *len as u64 / 8 == slot % SLOTS_PER_FILE;
            assert!(is_cut || *shown == Reading::Nothing);
            Unnoticed::TableCut
        }
        Damage::Cut { file, len } if *file == data_name(id) && id != CURRENT => {
            assert!(store.backfill && before.entry(slot) >= *len as u64);
            assert_eq!(*shown, Reading::Nothing);
            Unnoticed::DataCutV3
        }
        Damage::Gone { files } if files.len() == 2 && id != CURRENT => {
            assert_eq!(*shown, Reading::Nothing);
            Unnoticed::BothGone
        }
        _ => panic!("slot {slot}: {right:?} became {shown:?} and no exception allows it"),
    }
}

/// Header and payload of the record at `entry`.
fn record_at(data: &[u8], entry: usize) -> &[u8] {
    let length = u32::from_le_bytes(data[entry + 2..entry + 6].try_into().unwrap());
    &data[entry..entry + 8 + usize::try_from(length).unwrap()]
}

/// Offsets of the type bytes of the snappy chunks of the record at `entry`.
fn chunk_types(data: &[u8], entry: usize) -> Vec<usize> {
    let end = entry + record_at(data, entry).len();
    let mut types = Vec::new();
    let mut at = entry + 8;
    while at < end {
        types.push(at);
        let chunk = [data[at + 1], data[at + 2], data[at + 3], 0];
        at += 4 + usize::try_from(u32::from_le_bytes(chunk)).unwrap();
    }
    types
}

// ---------------------------------------------------------------- reading

/// An error says which file of the column it is about, and no other than the damaged one's or the
/// conf.
fn assert_names_the_place(store: &Store, damage: &Damage, error: &Error) {
    let file: PathBuf = match error {
        Error::Corrupt(corruption) => {
            assert!(!corruption.wanted.is_empty() && !corruption.found.is_empty(), "{error}");
            corruption.file.clone()
        }
        Error::Unsupported { file, .. } | Error::ConfMismatch { file, .. } => file.to_path_buf(),
        Error::Io(error) => error.path.clone(),
        Error::NoSuchColumn { directory } => {
            assert!(matches!(damage, Damage::Gone { .. }) && damage.file() == CONF);
            assert_eq!(**directory, *store.path());
            return;
        }
        other => panic!("{other:?} names no place"),
    };
    assert_eq!(file.parent(), Some(store.path()), "{error}");
    let name = file.file_name().unwrap().to_str().unwrap();
    if let Some(id) = id_of(damage.file()) {
        assert!(name == CONF || id_of(name) == Some(id), "{error}");
    }
}

/// What the library reads, by slot; of an open that fails, its error.
fn read(
    store: &Store,
    damage: &Damage,
    options: ReaderOptions,
) -> Result<BTreeMap<u64, Reading>, Error> {
    let reader: Reader = open_reader(store.path(), options)
        .inspect_err(|error| assert_names_the_place(store, damage, error))?;
    let view = reader.view();
    let mut shown = BTreeMap::new();
    let mut buffer = Vec::new();
    for slot in store.slots(damage) {
        let at = Slot(slot);
        let reading = match view.get(at) {
            Ok(Some(value)) => Reading::Value(value.into_owned()),
            Ok(None) => Reading::Nothing,
            Err(error) => {
                assert_names_the_place(store, damage, &error);
                Reading::Refused
            }
        };
        // The other ways to one slot.
        match view.get_into(at, &mut buffer) {
            Ok(true) => assert_eq!(reading, Reading::Value(buffer.clone())),
            Ok(false) => assert_eq!(reading, Reading::Nothing),
            Err(_) => assert_eq!(reading, Reading::Refused),
        }
        if let Ok(Some(stored)) = view.get_stored(at) {
            assert!(stored.len() < 10_000);
        }
        if view.contains(at).is_err() {
            assert_eq!(reading, Reading::Refused);
        }
        shown.insert(slot, reading);
    }
    let forward = scanned(store, damage, view.range(..));
    let backward = scanned(store, damage, view.range(..).rev());
    let one_by_one: BTreeMap<u64, Vec<u8>> = shown
        .iter()
        .filter_map(|(slot, reading)| match reading {
            Reading::Value(value) => Some((*slot, value.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(forward.0, one_by_one, "scanned, and got one by one");
    assert_eq!(backward.0, one_by_one, "scanned backwards, and got one by one");
    let refused = shown.values().any(|reading| *reading == Reading::Refused);
    assert_eq!(forward.1, backward.1, "errors of the two directions");
    assert_eq!(forward.1 > 0, refused, "a scan passes over what a get refuses");
    Ok(shown)
}

fn scanned<'v>(
    store: &Store,
    damage: &Damage,
    records: impl Iterator<Item = coldstore::Result<coldstore::Record<'v>>>,
) -> (BTreeMap<u64, Vec<u8>>, u64) {
    let (mut values, mut errors) = (BTreeMap::new(), 0);
    for record in records {
        match record.and_then(|record| Ok((record.slot().0, record.value()?.into_owned()))) {
            Ok((slot, value)) => assert_eq!(values.insert(slot, value), None),
            Err(error) => {
                assert_names_the_place(store, damage, &error);
                errors += 1;
            }
        }
        assert!(errors < 100_000, "a scan that does not end");
    }
    (values, errors)
}

#[derive(Default)]
struct Counts {
    cases: u64,
    refused_at_open: u64,
    slots_right: u64,
    slots_refused: u64,
    unnoticed: BTreeMap<Unnoticed, u64>,
    verified_clean: u64,
    writer_refused: u64,
    writer_opened: u64,
    writer_healed: u64,
}

impl Store {
    fn right(&self, slot: u64) -> Reading {
        self.records.get(&slot).map_or(Reading::Nothing, |value| Reading::Value(value.clone()))
    }

    /// Reads everything and holds it against the reference; gives what went unnoticed.
    fn check_reads(
        &self,
        damage: &Damage,
        damaged: &Files,
        options: ReaderOptions,
        counts: &mut Counts,
    ) -> Option<BTreeMap<u64, Reading>> {
        let Ok(shown) = read(self, damage, options) else {
            counts.refused_at_open += 1;
            return None;
        };
        let reference = Reference::new(damaged);
        for (&slot, reading) in &shown {
            let right = self.right(slot);
            let predicted = reference.read(slot);
            if *reading == right {
                counts.slots_right += 1;
                continue;
            }
            if *reading == Reading::Refused {
                counts.slots_refused += 1;
                // One damaged place in a sealed file does not take the other slots along.
                let local = matches!(damage, Damage::Flip { file, .. } if file != CONF);
                assert!(!local || predicted != right, "slot {slot} could be read");
                continue;
            }
            assert_eq!(*reading, predicted, "slot {slot}, which was {right:?}");
            let cause = classify(self, damage, damaged, slot, &right, reading);
            *counts.unnoticed.entry(cause).or_default() += 1;
        }
        Some(shown)
    }

    /// Whether entry and record of a slot are as they were written.
    fn is_intact(&self, slot: u64, files: &Files) -> bool {
        let (before, now) = (Reference::new(&self.files), Reference::new(files));
        let entry = usize::try_from(before.entry(slot)).unwrap();
        let name = data_name(slot / SLOTS_PER_FILE);
        let record = record_at(&self.files[&name], entry);
        let there = files.get(&name).and_then(|data| data.get(entry..entry + record.len()));
        now.entry(slot) == before.entry(slot) && there == Some(record)
    }

    fn verify(&self, deep: bool) -> coldstore::Result<(Summary, Vec<Finding>)> {
        let expected = spec(self.compression, 1_000);
        let mut findings = Vec::new();
        let summary = verify_column(
            self.path(),
            Some(expected),
            &VerifyOptions { deep, ..VerifyOptions::default() },
            &mut |found| {
                findings.push(found);
            },
        )?;
        assert_eq!(summary.unreadable, 0, "{findings:?}");
        assert_eq!(summary.damages + summary.notes, findings.len() as u64, "{findings:?}");
        Ok((summary, findings))
    }

    /// Verification ends, names places, and finds something wherever a read went wrong unnoticed.
    fn check_verification(&self, damage: &Damage, must_find: bool, counts: &mut Counts) {
        for deep in [true, false] {
            // The quick one must find what the reads got wrong, too.
            if !deep && !must_find {
                continue;
            }
            match self.verify(deep) {
                Ok((_, findings)) => {
                    for finding in &findings {
                        assert!(finding.file.starts_with(self.path()), "{finding:?}");
                    }
                    let clean = findings == self.findings;
                    assert!(!must_find || !clean, "verification (deep: {deep}) finds nothing");
                    counts.verified_clean += u64::from(deep && clean);
                }
                Err(error) => assert_names_the_place(self, damage, &error),
            }
        }
    }

    /// A writer refuses and leaves every byte, or opens and then everything is as the reference
    /// says of the files as they are now; what a reader could read before it can read after.
    fn check_writer(
        &self,
        damage: &Damage,
        damaged: &Files,
        readable: Option<&BTreeMap<u64, Reading>>,
        counts: &mut Counts,
    ) {
        let writer = match Writer::open(self.path(), WriterOptions::existing()) {
            Ok(writer) => writer,
            Err(error) => {
                assert_names_the_place(self, damage, &error);
                assert_same_files(damaged, &files_of(self.path()), "a writer that refuses");
                counts.writer_refused += 1;
                return;
            }
        };
        counts.writer_opened += 1;
        counts.writer_healed += u64::from(!writer.heal_report().is_clean());
        let clean = writer.heal_report().is_clean();
        drop(writer);
        let healed = files_of(self.path());
        let differing = differing_files(damaged, &healed);
        assert_eq!(clean, differing.is_empty(), "reported and done: {differing:?}");
        // Copies of what healing removes.
        let changed = differing.iter().filter(|(name, ..)| !name.starts_with("aside-"));
        for (name, ..) in changed {
            let id = id_of(name).unwrap_or_else(|| panic!("healing changed {name}"));
            assert!(id >= CURRENT || (self.backfill && id == 1), "healing touched {name}");
        }
        let after = read(self, damage, ReaderOptions::default())
            .unwrap_or_else(|error| panic!("after healing: {error}"));
        let lost = self
            .records
            .keys()
            .filter(|slot| self.is_intact(**slot, damaged) && !self.is_intact(**slot, &healed));
        for slot in lost {
            let of_target = matches!(damage, Damage::Flip { file, at: 36..52, .. } if file == CONF);
            assert!(of_target, "healing destroyed slot {slot}");
            *counts.unnoticed.entry(Unnoticed::HealedByConfTarget).or_default() += 1;
        }
        let reference = Reference::new(&healed);
        for (&slot, reading) in &after {
            let right = self.right(slot);
            let before = readable.and_then(|readable| readable.get(&slot));
            if *reading == right || before == Some(reading) {
                continue;
            }
            assert_ne!(before, Some(&right), "healing took slot {slot}");
            if *reading == Reading::Refused {
                continue;
            }
            // The reader called this one corrupt, or the whole store.
            assert_eq!(*reading, reference.read(slot));
            let entry = Reference::new(damaged).entry(slot);
            let bound = Reference::new(&self.files).files[&data_name(slot / SLOTS_PER_FILE)].len();
            assert!(
                damage.entry_slot() == Some(slot) && entry >= bound as u64,
                "after healing slot {slot} is {reading:?} and was {right:?}"
            );
            *counts.unnoticed.entry(Unnoticed::HealedEntry).or_default() += 1;
        }
    }
}

/// Says what was being done when something panics.
struct Context<'a>(&'a Damage);

impl Drop for Context<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the damage: {:?}", self.0);
        }
    }
}

fn damage_everything(compression: Compression, backfill: bool) {
    let store = store(compression, backfill);
    let expected = ReaderOptions::default().expect(spec(compression, 1_000));
    let progress = Progress::watched("damage");

    // Without damage everything is right.
    let nothing = Damage::Gone { files: vec!["no file".to_owned()] };
    let mut none = Counts::default();
    store.check_reads(&nothing, &store.files, expected, &mut none).unwrap();
    assert_eq!((none.slots_refused, none.unnoticed.len()), (0, 0));
    store.check_writer(&nothing, &store.files, None, &mut none);
    assert_eq!((none.writer_opened, none.writer_healed), (1, 0));

    let mut counts = Counts::default();
    // Flips come in groups of 3 and of 9 for one byte: 1 of 7 goes through all of them in turn.
    let every = quick_or_whole(7, 1);
    let mut flips = 0;
    for damage in damages(&store) {
        if let Damage::Flip { .. } = damage {
            flips += 1;
            if flips % every != 0 {
                continue;
            }
        }
        let _context = Context(&damage);
        progress.step();
        counts.cases += 1;
        let mut damaged = store.files.clone();
        damage.apply(&mut damaged);
        damage.write(store.path(), &damaged);

        let mut here = Counts::default();
        let shown = store.check_reads(&damage, &damaged, ReaderOptions::default(), &mut here);
        if damage.file() == CONF {
            let mut with_expectation = Counts::default();
            store.check_reads(&damage, &damaged, expected, &mut with_expectation);
            let known = with_expectation.unnoticed;
            assert!(!known.contains_key(&Unnoticed::ConfCompression));
        }
        let must_find = here.unnoticed.keys().any(|cause| !cause.is_beyond_verification());
        store.check_verification(&damage, must_find, &mut here);
        let is_strict = !backfill || id_of(damage.file()) == Some(CURRENT);
        if is_strict && here.unnoticed.keys().any(|cause| cause.is_known_as_damage()) {
            let (summary, findings) = store.verify(false).unwrap();
            assert!(summary.damages > 0, "what was lost is a note: {findings:?}");
        }
        store.check_writer(&damage, &damaged, shown.as_ref(), &mut here);
        store.restore();

        counts.refused_at_open += here.refused_at_open;
        counts.slots_right += here.slots_right;
        counts.slots_refused += here.slots_refused;
        counts.verified_clean += here.verified_clean;
        counts.writer_refused += here.writer_refused;
        counts.writer_opened += here.writer_opened;
        counts.writer_healed += here.writer_healed;
        for (cause, count) in here.unnoticed {
            *counts.unnoticed.entry(cause).or_default() += count;
        }
    }
    print(&store, &counts);
    assert!(largest() < LARGEST_ALLOCATION, "an allocation of {} bytes", largest());
}

fn print(store: &Store, counts: &Counts) {
    println!(
        "{} {}: {} cases; refused at open {}; slots right {}, refused {}",
        store.compression,
        if store.backfill { "v3" } else { "v2" },
        counts.cases,
        counts.refused_at_open,
        counts.slots_right,
        counts.slots_refused,
    );
    println!(
        "  verified clean {}; writer refused {}, opened {}, of these healed {}",
        counts.verified_clean, counts.writer_refused, counts.writer_opened, counts.writer_healed
    );
    for (cause, count) in &counts.unnoticed {
        println!("  unnoticed: {cause:?} {count}");
    }
    println!("  largest allocation {} bytes", largest());
}

#[test]
fn damage_to_an_uncompressed_column_is_told_or_on_the_list() {
    damage_everything(Compression::None, false);
}

#[test]
fn damage_to_an_uncompressed_column_with_backfill_is_told_or_on_the_list() {
    damage_everything(Compression::None, true);
}

#[test]
fn damage_to_a_compressed_column_is_told_or_on_the_list() {
    damage_everything(Compression::Snappy, false);
}

#[test]
fn damage_to_a_compressed_column_with_backfill_is_told_or_on_the_list() {
    damage_everything(Compression::Snappy, true);
}

/// A header that promises four gigabytes, a conf that allows them, a chunk that claims to be huge:
/// nothing is reserved that is not there.
#[test]
fn a_promised_length_reserves_nothing() {
    for compression in [Compression::None, Compression::Snappy] {
        let store = store(compression, false);
        let mut damaged = store.files.clone();
        let conf = damaged.get_mut(CONF).unwrap();
        conf[28..36].copy_from_slice(&u64::MAX.to_le_bytes());
        fs::write(store.path().join(CONF), &*conf).unwrap();
        let data = damaged.get_mut(&data_name(0)).unwrap();
        data[10..14].copy_from_slice(&[0xFF; 4]);
        fs::write(store.path().join(data_name(0)), &*data).unwrap();
        let view = open_reader(store.path(), ReaderOptions::default()).unwrap().view();
        let error = view.get(Slot(0)).unwrap_err();
        assert!(error.is_corrupt(), "{error}");
        drop(view);
        store.restore();
    }
    assert!(largest() < LARGEST_ALLOCATION, "an allocation of {} bytes", largest());
}

/// Checksums and decoding go along with what is read.
#[test]
fn a_value_of_any_size_is_verified_in_little_memory() {
    const VALUE_BYTES: u64 = 64 << 20;
    for compression in [Compression::None, Compression::Snappy] {
        let directory = scratch();
        let options = WriterOptions::create(spec(compression, VALUE_BYTES));
        Writer::open(directory.path(), options).unwrap().put(Slot(0), b"x").unwrap();
        let path = directory.path().join(data_name(0));
        let mut data = fs::OpenOptions::new().write(true).open(&path).unwrap();
        data.seek(io::SeekFrom::Start(16)).unwrap();
        let mut value = io::repeat(7).take(VALUE_BYTES);
        match compression {
            Compression::None => drop(io::copy(&mut value, &mut data).unwrap()),
            Compression::Snappy => {
                let mut encoder = snap::write::FrameEncoder::new(&mut data);
                io::copy(&mut value, &mut encoder).unwrap();
                encoder.flush().unwrap();
            }
        }
        let data_len = data.metadata().unwrap().len();
        let length = u32::try_from(data_len - 16).unwrap().to_le_bytes();
        data.write_all_at(&length, 10).unwrap();
        let mut conf = fs::read(directory.path().join(CONF)).unwrap();
        conf[16..24].copy_from_slice(&data_len.to_le_bytes());
        fs::write(directory.path().join(CONF), conf).unwrap();
        drop(fs::remove_file(directory.path().join("column.check")));
        let mut findings = Vec::new();
        let options = VerifyOptions { deep: true, ..VerifyOptions::default() };
        let summary =
            verify_column(directory.path(), None, &options, &mut |found| findings.push(found));
        assert_eq!((summary.unwrap().records, findings), (1, Vec::new()));
    }
    assert!(largest() < LARGEST_ALLOCATION, "an allocation of {} bytes", largest());
}
