//! Helpers of the integration tests: directories as maps, deterministic values, the golden data,
//! and the formats of `FORMAT.md` written a second time, by hand, so that the tests do not believe
//! the library when it describes its own files.

#![allow(dead_code, unused_imports, reason = "every test binary uses another part of this file")]
#![allow(clippy::disallowed_methods, reason = "the tests damage stores by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

#[path = "../support/scratch.rs"]
mod scratch;
#[path = "../support/size.rs"]
pub(crate) mod size;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, IoSlice, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coldstore::files::disk::{Access, Disk, DiskFile, LockAttempt, OsDisk, write_all_at};
use coldstore::format::conf::Conf;
use coldstore::format::witness::Witness;
use coldstore::{
    Archive, ColumnSpec, Compression, Error, Reader, ReaderOptions, Slot, View, Writer,
    WriterOptions,
};
pub(crate) use scratch::scratch as temp_dir;

/// Slots per file, as FORMAT.md says it.
pub(crate) const PER_FILE: u64 = 8192;
/// The length of every whole offset file.
pub(crate) const OFFSETS_LEN: u64 = 65_536;
/// The e2store version record that starts every data file.
pub(crate) const VERSION: [u8; 8] = [0x65, 0x32, 0, 0, 0, 0, 0, 0];
/// The stream identifier chunk of a framed snappy stream.
pub(crate) const SNAPPY_IDENTIFIER: [u8; 10] = *b"\xff\x06\x00\x00sNaPpY";

/// An uncompressed column with the spec of `bss`.
pub(crate) const PLAIN: ColumnSpec =
    ColumnSpec { record_type: [4, 0], compression: Compression::None, max_value_bytes: 1 << 30 };
/// A compressed column with the spec of `blk`.
pub(crate) const SNAPPY: ColumnSpec =
    ColumnSpec { record_type: [1, 0], compression: Compression::Snappy, max_value_bytes: 10 << 20 };

/// What a column should show: slot and value.
pub(crate) type Content = BTreeMap<u64, Vec<u8>>;
/// A directory: file name and bytes. `lock` is left out, it does not count.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

// ---------------------------------------------------------------------------- directories

/// What takes longer than this hangs.
pub(crate) const HANG: Duration = Duration::from_secs(60);

/// Sets its flag when it is dropped: a thread that goes on until then also ends when an assertion fails,
/// and the test with it.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// All files of a directory with their bytes, without `lock` and `column.check`: the files that other
/// software knows, and what should not be there.
pub(crate) fn files(dir: &Path) -> Files {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != "lock" && entry.file_name() != "column.check")
        .map(|entry| {
            let bytes = fs::read(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), bytes)
        })
        .collect()
}

/// Only what [`files`] has under the names of data, offset and conf files.
pub(crate) fn write_files(dir: &Path, files: &Files) {
    fs::create_dir_all(dir).unwrap();
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

/// A short text of what differs, or nothing. Whole files in an assertion message help nobody.
pub(crate) fn difference(found: &Files, wanted: &Files) -> Option<String> {
    if found == wanted {
        return None;
    }
    let mut text = String::new();
    for name in found.keys().chain(wanted.keys().filter(|name| !found.contains_key(*name))) {
        match (found.get(name), wanted.get(name)) {
            (Some(_), None) => text += &format!("{name}: should not be there; "),
            (None, Some(_)) => text += &format!("{name}: is missing; "),
            (Some(found), Some(wanted)) if found != wanted => {
                let at = found.iter().zip(wanted).position(|(a, b)| a != b);
                text += &format!(
                    "{name}: {} bytes, wanted {}, first difference {at:?}; ",
                    found.len(),
                    wanted.len()
                );
            }
            _ => {}
        }
    }
    Some(text)
}

/// The directory holds exactly these files with these bytes.
#[track_caller]
pub(crate) fn assert_files(dir: &Path, wanted: &Files, context: &str) {
    if let Some(text) = difference(&files(dir), wanted) {
        panic!("{context}: files differ: {text}");
    }
}

/// What a file system tells of a file that somebody wrote to: bytes, length, times, inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) inode: u64,
    pub(crate) len: u64,
    pub(crate) modified: (i64, i64),
    pub(crate) changed: (i64, i64),
}

/// Stamps of everything in a directory, recursively, and of the directory itself (under "").
pub(crate) fn stamps(dir: &Path) -> BTreeMap<PathBuf, Stamp> {
    fn walk(root: &Path, path: &Path, into: &mut BTreeMap<PathBuf, Stamp>) {
        let meta = fs::symlink_metadata(path).unwrap();
        let stamp = Stamp {
            inode: meta.ino(),
            len: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        };
        into.insert(path.strip_prefix(root).unwrap().to_owned(), stamp);
        if meta.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                walk(root, &entry.unwrap().path(), into);
            }
        }
    }
    let mut into = BTreeMap::new();
    walk(dir, dir, &mut into);
    into
}

/// Copies a directory with everything in it.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            // Not `fs::copy`: it would carry over the permissions of a read-only checkout.
            fs::write(target, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

// ---------------------------------------------------------------------------- values

/// A number that looks random and is always the same.
pub(crate) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `byte_len` bytes that belong to this slot.
pub(crate) fn value_of_len(slot: u64, byte_len: usize) -> Vec<u8> {
    (0..byte_len.div_ceil(8) as u64)
        .flat_map(|word| mix(slot.wrapping_mul(31).wrapping_add(word)).to_le_bytes())
        .take(byte_len)
        .collect()
}

/// The value of a slot: 1 to 300 bytes, always the same, another one for every slot.
pub(crate) fn value(slot: u64) -> Vec<u8> {
    value_of_len(slot, 1 + usize::try_from(mix(slot) % 300).unwrap())
}

/// The values of these slots.
pub(crate) fn content(slots: impl IntoIterator<Item = u64>) -> Content {
    slots.into_iter().map(|slot| (slot, value(slot))).collect()
}

/// The values of these slots, as a batch.
pub(crate) fn batch(slots: impl IntoIterator<Item = u64>) -> Vec<(Slot, Vec<u8>)> {
    slots.into_iter().map(|slot| (Slot(slot), value(slot))).collect()
}

// ---------------------------------------------------------------------------- opening

/// Opens for reading with the default options.
#[expect(unsafe_code, reason = "opening a reader maps files")]
pub(crate) fn try_reader(dir: &Path) -> Result<Reader, Error> {
    // SAFETY: the directory belongs to this test, which truncates no file below a committed length
    // while a reader is open, unless the test is about exactly that and does not touch the map.
    unsafe { Reader::open(dir, ReaderOptions::default()) }
}

/// Opens for reading with these options.
#[expect(unsafe_code, reason = "opening a reader maps files")]
pub(crate) fn try_reader_with(dir: &Path, options: ReaderOptions) -> Result<Reader, Error> {
    // SAFETY: as in `try_reader`.
    unsafe { Reader::open(dir, options) }
}

/// Opens an archive for reading.
#[expect(unsafe_code, reason = "opening an archive maps files")]
#[track_caller]
pub(crate) fn open_archive(root: &Path) -> Archive {
    // SAFETY: as in `try_reader`.
    unsafe { Archive::open(root, ReaderOptions::default()) }.unwrap()
}

/// A reader of what this writer commits.
#[expect(unsafe_code, reason = "opening a reader maps files")]
#[track_caller]
pub(crate) fn reader_of(writer: &Writer) -> Reader {
    // SAFETY: as in `try_reader`.
    unsafe { writer.reader(ReaderOptions::default()) }.unwrap()
}

#[track_caller]
pub(crate) fn reader(dir: &Path) -> Reader {
    try_reader(dir).unwrap()
}

/// A view of a reader that was opened just now.
#[track_caller]
pub(crate) fn view(dir: &Path) -> View {
    reader(dir).view()
}

/// Opens or makes a [`PLAIN`] column for writing.
pub(crate) fn try_writer(dir: &Path, backfill: bool) -> Result<Writer, Error> {
    Writer::open(dir, WriterOptions::create(PLAIN).allow_backfill(backfill))
}

#[track_caller]
pub(crate) fn writer(dir: &Path, backfill: bool) -> Writer {
    try_writer(dir, backfill).unwrap()
}

/// A new [`PLAIN`] column in `dir` with the values of these slots, put one by one, and closed again.
#[track_caller]
pub(crate) fn column(dir: &Path, backfill: bool, slots: impl IntoIterator<Item = u64>) {
    let mut writer = writer(dir, backfill);
    for slot in slots {
        writer.put(Slot(slot), &value(slot)).unwrap();
    }
}

// ---------------------------------------------------------------------------- looking

/// Everything that a scan of the whole column gives.
#[track_caller]
pub(crate) fn scan(view: &View) -> Content {
    view.range(..)
        .map(|record| {
            let record = record.unwrap();
            (record.slot().0, record.value().unwrap().into_owned())
        })
        .collect()
}

/// What a view that is opened now shows.
#[track_caller]
pub(crate) fn shown(dir: &Path) -> Content {
    scan(&view(dir))
}

fn slots_of(content: &Content) -> Vec<u64> {
    content.keys().copied().collect()
}

/// The view shows exactly this, by every way of asking: both scans, every kind of get of every slot
/// that is listed, and of the slots around it.
#[track_caller]
pub(crate) fn assert_shows(view: &View, wanted: &Content, context: &str) {
    let forward: Vec<(u64, Vec<u8>)> = view
        .range(..)
        .map(|record| {
            let record = record.unwrap_or_else(|error| panic!("{context}: scan: {error}"));
            (record.slot().0, record.value().unwrap().into_owned())
        })
        .collect();
    let scanned: Vec<u64> = forward.iter().map(|(slot, _)| *slot).collect();
    assert_eq!(scanned, slots_of(wanted), "{context}: slots of a scan forwards");
    for ((slot, found), wanted) in forward.iter().zip(wanted.values()) {
        assert_eq!(found, wanted, "{context}: value of slot {slot} in a scan");
    }
    let mut backward: Vec<(u64, Vec<u8>)> = view
        .range(..)
        .rev()
        .map(|record| {
            let record = record.unwrap_or_else(|error| panic!("{context}: backward scan: {error}"));
            (record.slot().0, record.value().unwrap().into_owned())
        })
        .collect();
    backward.reverse();
    assert_eq!(backward, forward, "{context}: a scan backwards against one forwards");

    let mut buffer = b"left over".to_vec();
    for (&slot, wanted) in wanted {
        let found = view.get(Slot(slot)).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(found.as_deref(), Some(&wanted[..]), "{context}: get of slot {slot}");
        assert!(view.contains(Slot(slot)).unwrap(), "{context}: contains of slot {slot}");
        assert!(view.get_into(Slot(slot), &mut buffer).unwrap(), "{context}: slot {slot}");
        assert_eq!(&buffer, wanted, "{context}: get_into of slot {slot}");
        let owned = view.owned(Slot(slot)).unwrap().expect("an owned record");
        assert_eq!(&owned[..], &wanted[..], "{context}: owned record of slot {slot}");
    }
    for &slot in wanted.keys() {
        for near in [
            slot.wrapping_sub(PER_FILE),
            slot.wrapping_sub(2),
            slot.wrapping_sub(1),
            slot.wrapping_add(1),
            slot.wrapping_add(2),
            slot.wrapping_add(PER_FILE),
        ] {
            if !wanted.contains_key(&near) {
                assert_absent(view, near, context);
            }
        }
    }
    assert_absent(view, wanted.keys().next_back().map_or(0, |slot| slot.wrapping_add(1)), context);
}

/// No way of asking shows a record at this slot.
#[track_caller]
pub(crate) fn assert_absent(view: &View, slot: u64, context: &str) {
    let slot = Slot(slot);
    let mut buffer = b"left over".to_vec();
    assert_eq!(view.get(slot).unwrap(), None, "{context}: get of slot {slot}");
    assert_eq!(view.get_stored(slot).unwrap(), None, "{context}: get_stored of slot {slot}");
    assert!(!view.contains(slot).unwrap(), "{context}: contains of slot {slot}");
    assert!(!view.get_into(slot, &mut buffer).unwrap(), "{context}: get_into of slot {slot}");
    assert!(view.record(slot).unwrap().is_none(), "{context}: record of slot {slot}");
    assert!(view.owned(slot).unwrap().is_none(), "{context}: owned record of slot {slot}");
}

/// A reader of the directory shows exactly this, and changes nothing by looking.
#[track_caller]
pub(crate) fn assert_reads(dir: &Path, wanted: &Content, context: &str) {
    let before = stamps(dir);
    let bytes = files(dir);
    assert_shows(&view(dir), wanted, context);
    assert_eq!(stamps(dir), before, "{context}: a reader changed the directory");
    assert_files(dir, &bytes, context);
}

/// The error is `Corrupt`, and names a file.
#[track_caller]
pub(crate) fn assert_corrupt(error: &Error, file: &str, context: &str) {
    let Error::Corrupt(corruption) = error else {
        panic!("{context}: wanted Corrupt, found {error:?}");
    };
    let name = corruption.file.file_name().unwrap().to_str().unwrap();
    assert_eq!(name, file, "{context}: {error}");
}

/// Opening for writing is refused with `Corrupt`, whatever the options are, and touches nothing;
/// neither does a dry run.
#[track_caller]
pub(crate) fn assert_writer_refuses(dir: &Path, context: &str) {
    let bytes = files(dir);
    for (name, options) in [
        ("existing", WriterOptions::existing()),
        ("create", WriterOptions::create(PLAIN)),
        ("create with backfill", WriterOptions::create(PLAIN).allow_backfill(true)),
        ("existing with backfill", WriterOptions::existing().allow_backfill(true)),
        ("existing, larger bound", WriterOptions::existing().max_value_bytes(1 << 40)),
    ] {
        let before: Vec<_> = stamps(dir).into_iter().filter(|(path, _)| is_data(path)).collect();
        let error =
            Writer::open(dir, options).err().unwrap_or_else(|| panic!("{context}: {name}: opened"));
        assert!(error.is_corrupt(), "{context}: {name}: wanted Corrupt, found {error:?}");
        assert_files(dir, &bytes, &format!("{context}: {name}"));
        let after: Vec<_> = stamps(dir).into_iter().filter(|(path, _)| is_data(path)).collect();
        assert_eq!(after, before, "{context}: {name}: something was touched");
    }
    let error = coldstore::inspect(dir).expect_err("inspect of a corrupt column");
    assert!(error.is_corrupt(), "{context}: inspect: wanted Corrupt, found {error:?}");
    assert_files(dir, &bytes, &format!("{context}: inspect"));
}

/// Everything but the lock and the directory (whose times move when the lock is made).
fn is_data(path: &Path) -> bool {
    path != Path::new("") && path != Path::new("lock")
}

// ---------------------------------------------------------------------------- bytes by hand

pub(crate) fn data_name(file_id: u64) -> String {
    format!("data_{file_id:05}")
}

pub(crate) fn offsets_name(file_id: u64) -> String {
    format!("data_{file_id:05}.off")
}

/// A conf, field by field as FORMAT.md section 4 has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawConf {
    pub(crate) highest: u64,
    pub(crate) len: u64,
    pub(crate) record_type: [u8; 2],
    pub(crate) compression: u8,
    /// Byte 27: reserved in V2, flags in V3.
    pub(crate) byte_27: u8,
    pub(crate) max: u64,
    /// Backfill file and its length: there are such fields in V3 alone.
    pub(crate) backfill: Option<(u64, u64)>,
}

impl RawConf {
    pub(crate) fn parse(bytes: &[u8]) -> RawConf {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let v3 = match (&bytes[..8], bytes.len()) {
            (b"LHSTBLK2", 36) => false,
            (b"LHSTBLK3", 52) => true,
            (magic, len) => panic!("no conf: magic {magic:?}, {len} bytes"),
        };
        RawConf {
            highest: word(8),
            len: word(16),
            record_type: [bytes[24], bytes[25]],
            compression: bytes[26],
            byte_27: bytes[27],
            max: word(28),
            backfill: v3.then(|| (word(36), word(44))),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(if self.backfill.is_some() { b"LHSTBLK3" } else { b"LHSTBLK2" });
        bytes.extend(self.highest.to_le_bytes());
        bytes.extend(self.len.to_le_bytes());
        bytes.extend(self.record_type);
        bytes.extend([self.compression, self.byte_27]);
        bytes.extend(self.max.to_le_bytes());
        if let Some((file, len)) = self.backfill {
            bytes.extend(file.to_le_bytes());
            bytes.extend(len.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn read(dir: &Path) -> RawConf {
        RawConf::parse(&fs::read(dir.join("column.conf")).unwrap())
    }

    /// Replaces the conf as a commit does it: by a rename.
    pub(crate) fn commit(&self, dir: &Path) {
        let tmp = dir.join("column.conf.tmp");
        fs::write(&tmp, self.bytes()).unwrap();
        fs::rename(&tmp, dir.join("column.conf")).unwrap();
        write_witness(dir, &[&self.bytes()]);
    }

    /// The conf of an empty [`PLAIN`] column.
    pub(crate) fn empty(backfill: bool) -> RawConf {
        RawConf {
            highest: u64::MAX,
            len: 0,
            record_type: PLAIN.record_type,
            compression: 0,
            byte_27: u8::from(backfill),
            max: PLAIN.max_value_bytes,
            backfill: backfill.then_some((u64::MAX, 0)),
        }
    }

    /// Changes the conf on disk by a rename.
    pub(crate) fn edit(dir: &Path, change: impl FnOnce(&mut RawConf)) {
        let mut conf = RawConf::read(dir);
        change(&mut conf);
        conf.commit(dir);
    }
}

/// Writes `column.check` as if these confs, as far as they are any, had been written one after the
/// other. Without a conf it is removed.
pub(crate) fn write_witness(dir: &Path, confs: &[&[u8]]) {
    let decoded = confs.iter().map(|bytes| Conf::decode(Path::new("column.conf"), bytes));
    let (mut witness, mut last) = (Witness::default(), None);
    for conf in decoded.filter_map(Result::ok) {
        witness.fill(last.as_ref(), conf);
        last = Some(conf);
    }
    match last {
        Some(_) => fs::write(dir.join("column.check"), witness.to_bytes()).unwrap(),
        None => drop(fs::remove_file(dir.join("column.check"))),
    }
}

/// The names of what was put aside in a directory.
pub(crate) fn asides(dir: &Path) -> Vec<String> {
    files(dir).into_keys().filter(|name| name.starts_with("aside")).collect()
}

/// The spec that a golden conf was made with.
pub(crate) fn spec_of(conf: &RawConf) -> ColumnSpec {
    let compression = match conf.compression {
        0 => Compression::None,
        1 => Compression::Snappy,
        other => panic!("compression {other}"),
    };
    ColumnSpec { record_type: conf.record_type, compression, max_value_bytes: conf.max }
}

/// A record as it stands in a data file.
pub(crate) fn record_bytes(record_type: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let mut bytes = record_type.to_vec();
    bytes.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

/// The record of a slot of a [`PLAIN`] column.
pub(crate) fn plain_record(slot: u64) -> Vec<u8> {
    record_bytes(PLAIN.record_type, &value(slot))
}

/// The entry of a slot, 0 where the file is missing or too short.
pub(crate) fn entry(dir: &Path, slot: u64) -> u64 {
    let Ok(bytes) = fs::read(dir.join(offsets_name(slot / PER_FILE))) else {
        return 0;
    };
    let at = usize::try_from(slot % PER_FILE).unwrap() * 8;
    bytes.get(at..at + 8).map_or(0, |entry| u64::from_le_bytes(entry.try_into().unwrap()))
}

/// Overwrites the entry of a slot in place; makes a whole offset file where there is none.
pub(crate) fn set_entry(dir: &Path, slot: u64, offset: u64) {
    let path = dir.join(offsets_name(slot / PER_FILE));
    let file = open_rw(&path);
    if file.metadata().unwrap().len() == 0 {
        file.set_len(OFFSETS_LEN).unwrap();
    }
    file.write_all_at(&offset.to_le_bytes(), slot % PER_FILE * 8).unwrap();
}

fn open_rw(path: &Path) -> fs::File {
    fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

pub(crate) fn data_len(dir: &Path, file_id: u64) -> u64 {
    fs::metadata(dir.join(data_name(file_id))).unwrap().len()
}

/// Appends bytes to a file and returns where they start.
pub(crate) fn append(dir: &Path, name: &str, bytes: &[u8]) -> u64 {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(dir.join(name)).unwrap();
    let at = file.metadata().unwrap().len();
    file.write_all(bytes).unwrap();
    at
}

/// Appends a record to the data file of a slot, making it with its version record where there is
/// none, and returns its offset. No entry, no commit.
pub(crate) fn append_record(dir: &Path, slot: u64, record: &[u8]) -> u64 {
    let name = data_name(slot / PER_FILE);
    if !dir.join(&name).exists() {
        append(dir, &name, &VERSION);
    }
    append(dir, &name, record)
}

/// Record and entry of a [`PLAIN`] value, without the commit: what a crash right before the conf
/// leaves. Returns the record's offset.
pub(crate) fn write_uncommitted(dir: &Path, slot: u64) -> u64 {
    let offset = append_record(dir, slot, &plain_record(slot));
    set_entry(dir, slot, offset);
    offset
}

/// Overwrites bytes of a file in place.
pub(crate) fn overwrite(dir: &Path, name: &str, at: u64, bytes: &[u8]) {
    open_rw(&dir.join(name)).write_all_at(bytes, at).unwrap();
}

pub(crate) fn set_len(dir: &Path, name: &str, len: u64) {
    open_rw(&dir.join(name)).set_len(len).unwrap();
}

pub(crate) fn remove(dir: &Path, name: &str) {
    fs::remove_file(dir.join(name)).unwrap();
}

// ---------------------------------------------------------------------------- golden data

/// `tests/data/golden`.
pub(crate) fn golden_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden")
}

/// One folder of the golden data.
#[derive(Debug)]
pub(crate) struct Golden {
    /// `v2-bss-empty`, `crash/sequential-data` …
    pub(crate) name: String,
    /// The archive.
    pub(crate) path: PathBuf,
    /// The name of its one column.
    pub(crate) column: String,
    pub(crate) sequential: Vec<(u64, Vec<u8>)>,
    pub(crate) backfill: Vec<(u64, Vec<u8>)>,
    /// Slot, length, sha256 in hex.
    pub(crate) expect: Vec<(u64, u64, String)>,
}

impl Golden {
    fn load(path: &Path, name: String) -> Golden {
        let columns: Vec<String> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().unwrap().is_dir())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        let [column] = &columns[..] else { panic!("{name}: one column, found {columns:?}") };
        let expect = fs::read_to_string(path.join("expect.tsv"))
            .unwrap()
            .lines()
            .map(|line| {
                let fields: Vec<&str> = line.split('\t').collect();
                let [slot, length, sha256] = fields[..] else { panic!("{name}: {line}") };
                (slot.parse().unwrap(), length.parse().unwrap(), sha256.to_owned())
            })
            .collect();
        Golden {
            column: column.clone(),
            path: path.to_owned(),
            sequential: puts(&path.join("sequential.tsv")),
            backfill: puts(&path.join("backfill.tsv")),
            expect,
            name,
        }
    }

    pub(crate) fn is_crash(&self) -> bool {
        self.name.starts_with("crash/")
    }

    pub(crate) fn column_dir(&self) -> PathBuf {
        self.path.join(&self.column)
    }

    /// The puts that were acknowledged, and the one that a crash stopped.
    pub(crate) fn interrupted(&self) -> (u64, &[u8]) {
        let puts = if self.backfill.is_empty() { &self.sequential } else { &self.backfill };
        let (slot, value) = puts.last().expect("a put that was interrupted");
        (*slot, value)
    }
}

/// Slot and value of every line; nothing where the file is missing.
fn puts(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let Ok(text) = fs::read_to_string(path) else {
        return Vec::new();
    };
    text.lines()
        .map(|line| {
            let (slot, hex) = line.split_once('\t').unwrap_or((line, ""));
            (slot.parse().unwrap(), unhex(hex))
        })
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "odd hex");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every folder below `tests/data/golden`, found by walking.
pub(crate) fn golden() -> Vec<Golden> {
    fn folders(path: &Path) -> Vec<(String, PathBuf)> {
        let mut found: Vec<(String, PathBuf)> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().unwrap().is_dir())
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
            .collect();
        found.sort();
        found
    }
    let mut all = Vec::new();
    for (name, path) in folders(&golden_root()) {
        if name == "crash" {
            for (name, path) in folders(&path) {
                all.push(Golden::load(&path, format!("crash/{name}")));
            }
        } else {
            all.push(Golden::load(&path, name));
        }
    }
    all
}

// ---------------------------------------------------------------------------- a disk that fails

/// One call of [`Disk`] or [`DiskFile`] that the writer made. Files by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Open(String),
    Create(String),
    Write { file: String, at: u64, bytes: Vec<u8> },
    SetLen { file: String, byte_len: u64 },
    Sync(String),
    Rename { from: String, to: String },
    Remove(String),
    SyncDir(PathBuf),
    CreateDir(PathBuf),
}

impl Call {
    /// True when the call changes bytes, lengths or names; a flush and an opening do not.
    pub(crate) fn changes(&self) -> bool {
        !matches!(self, Call::Open(_) | Call::Sync(_) | Call::SyncDir(_))
    }

    pub(crate) fn is_flush(&self) -> bool {
        matches!(self, Call::Sync(_) | Call::SyncDir(_))
    }
}

/// What happens at the call that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails and nothing of it happens; later calls work.
    Once,
    /// It fails after half of it, if it is a write, or after all of it, if it is anything else
    /// that changes something; later calls work.
    Torn,
    /// It and every later call fail, as after a kill.
    Dead,
}

#[derive(Debug, Default)]
struct DiskState {
    calls: Vec<Call>,
    fault: Option<(usize, Fault)>,
    hit: bool,
    /// A write takes at most so many bytes.
    longest_write: Option<usize>,
    /// For each mark of a finished commit in the witness the call before it. They are not among the calls.
    marks: Vec<Option<Call>>,
    fails_marks: bool,
}

/// The real disk, with a log of every call that matters to what is on it, and with a fault at one
/// of them. Reading, listing and the lock are passed through.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestDisk {
    state: Arc<Mutex<DiskState>>,
}

impl TestDisk {
    pub(crate) fn new() -> TestDisk {
        TestDisk::default()
    }

    /// The `n`-th call from now on, counted from 0, fails.
    pub(crate) fn fail_at(&self, n: usize, fault: Fault) {
        let mut state = self.state.lock().unwrap();
        state.calls.clear();
        state.fault = Some((n, fault));
        state.hit = false;
    }

    /// Writes take at most so many bytes from now on.
    pub(crate) fn shorten_writes(&self, byte_len: usize) {
        self.state.lock().unwrap().longest_write = Some(byte_len);
    }

    /// No mark of a finished commit can be written from now on.
    pub(crate) fn fail_marks(&self) {
        self.state.lock().unwrap().fails_marks = true;
    }

    /// For each mark of a finished commit that was written, or was to be, the call before it.
    pub(crate) fn take_marks(&self) -> Vec<Option<Call>> {
        std::mem::take(&mut self.state.lock().unwrap().marks)
    }

    /// Whether the call that was chosen came.
    pub(crate) fn was_hit(&self) -> bool {
        self.state.lock().unwrap().hit
    }

    /// The calls since the last time this was asked, with the one that failed.
    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state.lock().unwrap().calls)
    }

    pub(crate) fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// Logs a call and says whether it fails, and how.
    fn enter(&self, call: Call) -> Option<Fault> {
        let mut state = self.state.lock().unwrap();
        let n = state.calls.len();
        state.calls.push(call);
        match state.fault {
            Some((at, fault)) if n == at => {
                state.hit = true;
                Some(fault)
            }
            Some((at, Fault::Dead)) if n > at => Some(Fault::Dead),
            _ => None,
        }
    }

    fn run<T>(&self, call: Call, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let changes = call.changes();
        match self.enter(call) {
            None => run(),
            Some(Fault::Torn) if changes => run().and_then(|_| Err(injected())),
            Some(_) => Err(injected()),
        }
    }
}

fn injected() -> io::Error {
    io::Error::other("injected fault")
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

impl Disk for TestDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let name = file_name(path);
        let open = || OsDisk.open(path, access);
        let inner = match access {
            Access::Read => open()?,
            Access::Write => self.run(Call::Open(name.clone()), open)?,
            // A failed creation of a name that is there is no change.
            Access::CreateNew => self.run(Call::Create(name.clone()), open)?,
        };
        Ok(Box::new(TestFile { disk: self.clone(), name, inner }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(directory)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if path.exists() {
            // Refused by the system, so no change and not a call that could fail in another way.
            return OsDisk.create_dir(path);
        }
        self.run(Call::CreateDir(path.to_owned()), || OsDisk.create_dir(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let call = Call::Rename { from: file_name(from), to: file_name(to) };
        self.run(call, || OsDisk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.run(Call::Remove(file_name(path)), || OsDisk.remove(path))
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.run(Call::SyncDir(directory.to_owned()), || OsDisk.sync_dir(directory))
    }

    fn lock(&self, path: &Path) -> io::Result<LockAttempt> {
        OsDisk.lock(path)
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Option<LockAttempt>> {
        OsDisk.lock_shared(path)
    }
}

#[derive(Debug)]
struct TestFile {
    disk: TestDisk,
    name: String,
    inner: Box<dyn DiskFile>,
}

impl DiskFile for TestFile {
    fn byte_len(&self) -> io::Result<u64> {
        self.inner.byte_len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&mut self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        if self.name == "column.check" && offset % 4096 == 128 {
            // The mark of a finished commit: nothing waits for it, and nothing is wrong where it fails.
            let mut state = self.disk.state.lock().unwrap();
            let last = state.calls.last().cloned();
            state.marks.push(last);
            return match state.fails_marks {
                true => Err(injected()),
                false => self.inner.write_at(buffers, offset),
            };
        }
        let longest = self.disk.state.lock().unwrap().longest_write.unwrap_or(usize::MAX);
        let bytes: Vec<u8> =
            buffers.iter().flat_map(|buffer| buffer.iter().copied()).take(longest).collect();
        let call = Call::Write { file: self.name.clone(), at: offset, bytes: bytes.clone() };
        match self.disk.enter(call) {
            None => self.inner.write_at(&[IoSlice::new(&bytes)], offset),
            Some(Fault::Torn) => {
                // An aligned store of 8 bytes is there as a whole or not at all.
                let half = if bytes.len() <= 8 { 0 } else { bytes.len() / 2 / 8 * 8 };
                write_all_at(&mut *self.inner, &mut [IoSlice::new(&bytes[..half])], offset)?;
                Err(injected())
            }
            Some(_) => Err(injected()),
        }
    }

    fn set_len(&mut self, byte_len: u64) -> io::Result<()> {
        let call = Call::SetLen { file: self.name.clone(), byte_len };
        let disk = self.disk.clone();
        disk.run(call, || self.inner.set_len(byte_len))
    }

    fn sync(&mut self) -> io::Result<()> {
        let disk = self.disk.clone();
        disk.run(Call::Sync(self.name.clone()), || self.inner.sync())
    }
}

/// Opens or makes a [`PLAIN`] column on this disk.
pub(crate) fn open_on(disk: &TestDisk, dir: &Path, backfill: bool) -> Writer {
    let options = WriterOptions::create(PLAIN).allow_backfill(backfill);
    Writer::open_on(disk.shared(), dir, options).unwrap()
}

/// Where in the calls the conf is replaced.
pub(crate) fn rename_positions(calls: &[Call]) -> Vec<usize> {
    (0..calls.len()).filter(|&at| matches!(calls[at], Call::Rename { .. })).collect()
}

/// Which file, by name, a call changes.
pub(crate) fn changed_file(call: &Call) -> Option<&str> {
    match call {
        Call::Create(file) | Call::Write { file, .. } | Call::SetLen { file, .. } => Some(file),
        _ => None,
    }
}

/// Everything that the calls changed has been flushed by their end.
#[track_caller]
pub(crate) fn assert_flushed(calls: &[Call], dir: &Path) {
    let mut unflushed = BTreeSet::new();
    let mut names_unflushed = false;
    for call in calls {
        if let Some(file) = changed_file(call) {
            unflushed.insert(file.to_owned());
        }
        match call {
            Call::Create(_) | Call::Rename { .. } | Call::Remove(_) => names_unflushed = true,
            Call::SyncDir(path) if path == dir => names_unflushed = false,
            _ => {}
        }
        match call {
            Call::Sync(file) => drop(unflushed.remove(file)),
            Call::Rename { from, to } => {
                let flushed = !unflushed.remove(from);
                assert!(flushed, "{from} is renamed before it was flushed: {calls:?}");
                unflushed.remove(to);
            }
            Call::Remove(file) => drop(unflushed.remove(file)),
            _ => {}
        }
    }
    assert!(unflushed.is_empty(), "not flushed: {unflushed:?}: {calls:?}");
    assert!(!names_unflushed, "the directory is not flushed: {calls:?}");
}

// ---------------------------------------------------------------------------- scenarios

/// A [`PLAIN`] column and a batch that is about to be put into it: one for every way that section
/// 5.2 of FORMAT.md can go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) backfill: bool,
    /// Put one by one when the column is made.
    pub(crate) sequential: &'static [u64],
    /// Put one by one after that.
    pub(crate) backfilled: &'static [u64],
    /// Put in one batch.
    pub(crate) batch: &'static [u64],
    /// The file that the conf has to name, by a commit of its own, before anything else happens.
    pub(crate) intent: Option<u64>,
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "the first put of a column",
        backfill: false,
        sequential: &[],
        backfilled: &[],
        batch: &[5],
        intent: None,
    },
    Scenario {
        name: "the first put of a column with backfill, two files",
        backfill: true,
        sequential: &[],
        backfilled: &[],
        batch: &[8191, 8192],
        intent: None,
    },
    Scenario {
        name: "sequential, in the current file",
        backfill: false,
        sequential: &[1, 3, 5],
        backfilled: &[],
        batch: &[6, 9, 8191],
        intent: None,
    },
    Scenario {
        name: "sequential, a replayed prefix before it",
        backfill: false,
        sequential: &[1, 3, 9000],
        backfilled: &[],
        batch: &[1, 3, 9000, 9001],
        intent: None,
    },
    Scenario {
        name: "sequential, into the next file",
        backfill: false,
        sequential: &[1],
        backfilled: &[],
        batch: &[8195],
        intent: None,
    },
    Scenario {
        name: "sequential, over four files, one of them left out",
        backfill: false,
        sequential: &[1, 8190],
        backfilled: &[],
        batch: &[8191, 8192, 16_384, 16_385, 40_000],
        intent: None,
    },
    Scenario {
        name: "sequential, past a file that backfill has filled",
        backfill: true,
        sequential: &[1, 9000],
        backfilled: &[2],
        batch: &[9001, 17_000],
        intent: None,
    },
    Scenario {
        name: "sequential, past the current file that backfill has filled",
        backfill: true,
        sequential: &[1, 9000],
        backfilled: &[2, 8999],
        batch: &[17_000],
        intent: None,
    },
    Scenario {
        name: "backfill into the current file",
        backfill: true,
        sequential: &[1, 20],
        backfilled: &[],
        batch: &[0, 5, 9],
        intent: None,
    },
    Scenario {
        name: "backfill into a sealed file",
        backfill: true,
        sequential: &[1, 9000, 17_000],
        backfilled: &[],
        batch: &[5, 7],
        intent: Some(0),
    },
    Scenario {
        name: "backfill into a file that never existed",
        backfill: true,
        sequential: &[1, 17_000],
        backfilled: &[],
        batch: &[8192, 9000, 9001],
        intent: Some(1),
    },
    Scenario {
        name: "backfill into a sealed file and the current one",
        backfill: true,
        sequential: &[1, 9000, 17_000],
        backfilled: &[],
        batch: &[9001, 16_384, 16_999],
        intent: Some(1),
    },
    Scenario {
        name: "backfill into the sealed file that the conf names",
        backfill: true,
        sequential: &[1, 9000, 17_000],
        backfilled: &[5],
        batch: &[3, 8],
        intent: None,
    },
    Scenario {
        name: "backfill into another sealed file than the conf names",
        backfill: true,
        sequential: &[1, 9000, 17_000],
        backfilled: &[9001],
        batch: &[5, 6],
        intent: Some(0),
    },
    Scenario {
        name: "backfill into a file that never existed, another is named",
        backfill: true,
        sequential: &[1, 9000, 40_000],
        backfilled: &[5],
        batch: &[20_000],
        intent: Some(2),
    },
];

impl Scenario {
    /// Makes the column as it is before the batch.
    #[track_caller]
    pub(crate) fn build(&self, dir: &Path) {
        let slots = self.sequential.iter().chain(self.backfilled).copied();
        column(dir, self.backfill, slots);
    }

    pub(crate) fn before(&self) -> Content {
        content(self.sequential.iter().chain(self.backfilled).copied())
    }

    pub(crate) fn after(&self) -> Content {
        content(self.sequential.iter().chain(self.backfilled).chain(self.batch).copied())
    }

    pub(crate) fn items(&self) -> Vec<(Slot, Vec<u8>)> {
        batch(self.batch.iter().copied())
    }

    /// The files of the column before the batch and after it, without a crash.
    pub(crate) fn files(&self) -> (Files, Files) {
        let dir = temp_dir();
        self.build(dir.path());
        let before = files(dir.path());
        writer(dir.path(), self.backfill).put_batch(&self.items()).unwrap();
        (before, files(dir.path()))
    }
}
