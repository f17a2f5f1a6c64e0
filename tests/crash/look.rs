//! A reader of its own, over what lies on a [`Medium`]: `FORMAT.md`, section 7, by hand.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::rc::Rc;

use coldstore::format::conf::Conf;
use coldstore::format::sums::{SUMS_BYTES, SumTable, SumVerdict};
use coldstore::format::witness::{Standing, Witness};
use coldstore::{FileId, Slot};

use crate::medium::{BLOCK, Bytes, Medium, Target, is_zero};
use test_support::{Content, PER_FILE, RawConf, data_name, offsets_name};

/// What a reader sees of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) conf: RawConf,
    pub(crate) content: Content,
    /// A sealed file with bytes behind its last record. No reader minds, but nobody ever cuts them
    /// off again.
    pub(crate) dead_bytes: Option<String>,
    /// A record that is not what its checksum says.
    pub(crate) wrong_sums: Option<String>,
    /// Slots of which no checksum is kept.
    pub(crate) unknown_sums: Vec<u64>,
    /// A conf that is in no slot of the witness.
    pub(crate) unwitnessed: Option<Standing>,
}

/// Index and value of the entries that are not 0.
type Entries = Rc<[(u64, u64)]>;

thread_local! {
    /// By the hash of the file.
    static TABLES: RefCell<HashMap<u64, Entries>> = RefCell::default();
}

/// Reads the column at `path`; `None` where there is no conf.
pub(crate) fn look(medium: &Medium, path: &Path) -> Result<Option<Seen>, String> {
    let Some(dir) = medium.dir(path) else { return Ok(None) };
    let names = medium.names(dir);
    let file = |name: &str| match names.get(name) {
        Some(Target::File(ino)) => Some(medium.file(*ino)),
        _ => None,
    };
    let Some(conf) = file("column.conf") else { return Ok(None) };
    let conf = conf.get();
    if !matches!((conf.get(..8), conf.len()), (Some(b"LHSTBLK2"), 36) | (Some(b"LHSTBLK3"), 52)) {
        return Err(format!("column.conf is torn: {} bytes", conf.len()));
    }
    let conf = RawConf::parse(conf);
    if conf.record_type == [0, 0] {
        return Err("column.conf is torn".to_owned());
    }
    let check = file("column.check").map(Bytes::get).unwrap_or_default();
    let unwitnessed = unwitnessed(&conf, check)?;
    let mut content = Content::new();
    let (mut dead_bytes, mut wrong_sums, mut unknown_sums) = (None, None, Vec::new());
    if conf.highest == u64::MAX {
        return Ok(Some(Seen { conf, content, dead_bytes, wrong_sums, unknown_sums, unwitnessed }));
    }
    let current = conf.highest / PER_FILE;
    if !names.contains_key(data_name(current).as_str()) {
        return Err(format!("the current file {current} is gone"));
    }
    let id_of = |name: &str| -> Option<u64> {
        name.strip_suffix(".off").unwrap_or(name).get(5..)?.parse().ok()
    };
    let mut ids: Vec<u64> = names.keys().filter_map(|name| id_of(name)).collect();
    ids.dedup();
    for id in ids {
        let table = file(&offsets_name(id));
        let data = file(&data_name(id)).map(Bytes::get);
        let file_len = data.map_or(0, <[u8]>::len) as u64;
        let bound = match conf.backfill {
            _ if id == current => conf.len,
            Some((backfill, len)) if id == backfill => len,
            _ => file_len,
        };
        if bound > file_len && id <= current {
            return Err(format!("{} has {file_len} of {bound} bytes", data_name(id)));
        }
        if id > current {
            continue;
        }
        if table.is_none() && bound > 8 {
            return Err(format!("{} has {bound} bytes and no offsets", data_name(id)));
        }
        let data = data.unwrap_or_default();
        let mut end = 8;
        let table = table.map(|table| table_of(table.hash(), table.get()));
        for &(index, entry) in table.iter().flat_map(|table| table.iter()) {
            let slot = id * PER_FILE + index;
            if slot > conf.highest {
                continue;
            }
            if entry >= bound {
                if conf.backfill.is_none() {
                    return Err(format!("slot {slot} leads to {entry}, past {bound}, under V2"));
                }
                continue;
            }
            let value = record(&conf, &data[..usize::try_from(bound).expect("small")], entry)
                .ok_or_else(|| format!("no record of slot {slot} at {entry} of file {id}"))?;
            end = end.max(entry + 8 + u64::from(stored_len(data, entry)));
            let sums = file(&sums_name(id)).map(Bytes::get).unwrap_or_default();
            match verdict(&conf, sums, data, (id, slot, entry)) {
                SumVerdict::Intact => {}
                SumVerdict::Unknown => unknown_sums.push(slot),
                wrong => wrong_sums = Some(format!("the checksum of slot {slot} says {wrong:?}")),
            }
            content.insert(slot, value);
        }
        let is_named = id == current || conf.backfill.is_some_and(|(named, _)| named == id);
        if !is_named && file_len > end {
            dead_bytes = Some(format!("{} ends at {end} of {file_len}", data_name(id)));
        }
    }
    if !content.contains_key(&conf.highest) {
        return Err(format!("the highest slot {} has no record", conf.highest));
    }
    Ok(Some(Seen { conf, content, dead_bytes, wrong_sums, unknown_sums, unwitnessed }))
}

/// The conf of an empty column may be there before the name of its witness.
fn unwitnessed(conf: &RawConf, check: &[u8]) -> Result<Option<Standing>, String> {
    let decoded = Conf::decode(Path::new("column.conf"), &conf.bytes());
    let decoded = decoded.map_err(|error| error.to_string())?;
    let witness = Witness::from_bytes(check);
    Ok(match witness.standing(&decoded) {
        Standing::Newest => None,
        Standing::Before { unfinished } => {
            // Then all checksums would speak for records of other software.
            let is_marked = |file_id| witness.vouched_len(&unfinished, file_id) == u64::MAX;
            if unfinished.current_file().is_some_and(is_marked) {
                return Err(format!("marked as finished, and not in force: {unfinished:?}"));
            }
            None
        }
        Standing::Unwitnessed if conf.highest == u64::MAX => None,
        other => Some(other),
    })
}

fn sums_name(id: u64) -> String {
    format!("{}.sum", data_name(id))
}

/// `FORMAT.md`, section 8. The sums themselves are golden in the engine's own tests.
fn verdict(
    conf: &RawConf,
    sums: &[u8],
    data: &[u8],
    (id, slot, entry): (u64, u64, u64),
) -> SumVerdict {
    let Some(table) = SumTable::from_bytes(sums, FileId(id), conf.record_type) else {
        return SumVerdict::Unknown;
    };
    let kept = table.get(usize::try_from(slot % PER_FILE).expect("small"));
    let from = usize::try_from(entry).expect("small");
    let header = data[from..from + 8].try_into().expect("eight bytes");
    let payload = &data[from + 8..][..stored_len(data, entry) as usize];
    kept.check(Slot(slot), entry, header, payload)
}

/// After healing no checksum is left of a record that is not there.
pub(crate) fn stray_sums(medium: &Medium, path: &Path) -> Result<(), String> {
    let Some(dir) = medium.dir(path) else { return Ok(()) };
    let names = medium.names(dir);
    for (name, target) in names {
        let of_column = name.starts_with("data_").then(|| name.strip_suffix(".sum")).flatten();
        let (Some(data), Target::File(sums)) = (of_column, target) else {
            continue;
        };
        let id: u64 = data[5..].parse().map_err(|_| format!("{name} is no checksum file"))?;
        let Some(Target::File(offsets)) = names.get(offsets_name(id).as_str()) else {
            return Err(format!("{name} is there without offsets"));
        };
        let entries = entries(medium.file(*offsets).get());
        let bytes = medium.file(*sums).get();
        if bytes.len() != SUMS_BYTES {
            return Err(format!("{name} has {} bytes after healing", bytes.len()));
        }
        for (index, entry) in bytes[32..].chunks(8).enumerate() {
            let is_known = !is_zero(entry);
            if is_known && !entries.iter().any(|(known, _)| *known == index as u64) {
                return Err(format!("{name} has a checksum at {index} without a record"));
            }
        }
    }
    Ok(())
}

fn record(conf: &RawConf, data: &[u8], entry: u64) -> Option<Vec<u8>> {
    let from = usize::try_from(entry).ok()?;
    let header = data.get(from..)?.get(..8)?;
    let len = u32::from_le_bytes(header[2..6].try_into().ok()?) as usize;
    if from < 8 || header[..2] != conf.record_type || header[6..] != [0, 0] {
        return None;
    }
    let stored = data.get(from + 8..)?.get(..len)?;
    if conf.compression == 0 || stored.is_empty() {
        return Some(stored.to_vec());
    }
    let mut value = Vec::new();
    snap::read::FrameDecoder::new(stored).read_to_end(&mut value).ok()?;
    Some(value)
}

fn stored_len(data: &[u8], entry: u64) -> u32 {
    let from = usize::try_from(entry).expect("small") + 2;
    u32::from_le_bytes(data[from..from + 4].try_into().expect("four bytes"))
}

fn table_of(hash: u64, bytes: &[u8]) -> Entries {
    TABLES.with_borrow_mut(|tables| {
        if tables.len() > 10_000 {
            tables.clear();
        }
        Rc::clone(tables.entry(hash).or_insert_with(|| entries(bytes)))
    })
}

fn entries(bytes: &[u8]) -> Entries {
    let mut found = Vec::new();
    for (nth, block) in bytes.chunks(BLOCK).enumerate() {
        if is_zero(block) {
            continue;
        }
        // A short table reads as zeros behind its end.
        for (word, bytes) in block.chunks(8).enumerate() {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            let entry = u64::from_le_bytes(padded);
            if entry != 0 {
                found.push(((nth * BLOCK / 8 + word) as u64, entry));
            }
        }
    }
    found.into()
}
