//! What lies on a [`Medium`], as the reference reader reads it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use coldstore::format::conf::Conf;
use coldstore::format::witness::{Standing, Witness};
use test_support::{
    ColumnFile, Content, Data, PER_FILE, RawConf, Reference, SUMS_BYTES, Shown, Sums, Table,
    VERSION, Verdict, data_name, id_of, offsets_name,
};

use crate::medium::{Bytes, Medium, Target};

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

thread_local! {
    /// Offset files and checksum files, by the hash of the file.
    static TABLES: RefCell<HashMap<u64, Rc<Table>>> = RefCell::default();
    static SUMS: RefCell<HashMap<u64, Rc<Sums>>> = RefCell::default();
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
    let conf = RawConf::valid(conf.get()).filter(|conf| conf.record_type != [0, 0]);
    let conf = conf.ok_or("column.conf is torn")?;
    let check = file("column.check").map(Bytes::get).unwrap_or_default();
    let unwitnessed = unwitnessed(&conf, check)?;
    let ids = names.keys().filter_map(|name| id_of(name));
    let files = ids.map(|id| {
        let data =
            file(&data_name(id)).map(|data| Data { bytes: Cow::Borrowed(data.get()), hole: 0 });
        let table = file(&offsets_name(id)).map(|table| parsed(&TABLES, table, Table::parse));
        let sums = file(&sums_name(id)).map(|sums| parsed(&SUMS, sums, Sums::parse));
        (id, ColumnFile { data, table, sums })
    });
    let reference = Reference { conf, files: files.collect() };
    let mut content = Content::new();
    let (mut dead_bytes, mut wrong_sums, mut unknown_sums) = (None, None, Vec::new());
    for id in reference.ids() {
        let file = reference.file(id).map_err(|damage| format!("{}: {damage:?}", data_name(id)))?;
        let mut end = VERSION.len() as u64;
        for index in file.table.into_iter().flat_map(Table::indices) {
            let slot = id * PER_FILE + u64::from(index);
            let value = match reference.shown(slot) {
                Shown::Nothing => continue,
                Shown::Payload { at, byte_len } => {
                    end = end.max(at + byte_len);
                    reference.value(reference.bytes(slot, at, byte_len), u64::MAX)
                }
                Shown::Damage | Shown::FileDamage => None,
            };
            let value = value.ok_or_else(|| format!("no record of slot {slot} of file {id}"))?;
            match reference.verdict(slot) {
                Verdict::Intact => {}
                Verdict::Unknown => unknown_sums.push(slot),
                wrong => wrong_sums = Some(format!("the checksum of slot {slot} says {wrong:?}")),
            }
            content.insert(slot, value);
        }
        let file_len = reference.files[&id].data.as_ref().map_or(0, Data::byte_len);
        if reference.conf.named_len(id).is_none() && file_len > end {
            dead_bytes = Some(format!("{} ends at {end} of {file_len}", data_name(id)));
        }
    }
    let conf = reference.conf;
    if conf.highest_slot().is_some_and(|highest| !content.contains_key(&highest)) {
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

/// After healing no checksum is left of a record that is not there.
pub(crate) fn stray_sums(medium: &Medium, path: &Path) -> Result<(), String> {
    let Some(dir) = medium.dir(path) else { return Ok(()) };
    let names = medium.names(dir);
    for (name, target) in names {
        let id = id_of(name).filter(|_| name.ends_with(".sum"));
        let (Some(id), Target::File(sums)) = (id, target) else {
            continue;
        };
        let Some(Target::File(offsets)) = names.get(offsets_name(id).as_str()) else {
            return Err(format!("{name} is there without offsets"));
        };
        let table = parsed(&TABLES, medium.file(*offsets), Table::parse);
        let sums = parsed(&SUMS, medium.file(*sums), Sums::parse);
        if sums.byte_len != SUMS_BYTES {
            return Err(format!("{name} has {} bytes after healing", sums.byte_len));
        }
        if let Some(index) = sums.entries.keys().find(|index| table.entry(**index) == 0) {
            return Err(format!("{name} has a checksum at {index} without a record"));
        }
    }
    Ok(())
}

/// The parsed file, from the cache where it has been parsed before.
fn parsed<T>(
    cache: &'static std::thread::LocalKey<RefCell<HashMap<u64, Rc<T>>>>,
    file: &Bytes,
    parse: fn(&[u8]) -> T,
) -> Rc<T> {
    cache.with_borrow_mut(|cache| {
        if cache.len() > 10_000 {
            cache.clear();
        }
        Rc::clone(cache.entry(file.hash()).or_insert_with(|| Rc::new(parse(file.get()))))
    })
}
