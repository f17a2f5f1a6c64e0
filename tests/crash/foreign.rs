//! Another kind of writer, which flushes nothing but a conf before it renames it.

use std::io::IoSlice;
use std::path::{Path, PathBuf};

use coldstore::ColumnSpec;
use coldstore::files::disk::{Access, Disk as _, DiskFile, write_all_at};

use crate::disk::CrashDisk;
use crate::scripts::{COLUMN, value};
use test_support::{PER_FILE, RawConf, data_name, offsets_name, record_bytes};

fn path(name: &str) -> PathBuf {
    Path::new(COLUMN).join(name)
}

fn write(file: &mut dyn DiskFile, bytes: &[u8], at: u64) {
    write_all_at(file, &mut [IoSlice::new(bytes)], at).expect("a write in memory");
}

/// Writes the record and the entry of a slot into files that are there, and where it `commits`
/// replaces the conf by one that says so.
pub(crate) fn write_like_another_writer(
    disk: &CrashDisk,
    spec: ColumnSpec,
    slot: u64,
    commits: bool,
) {
    let file_id = slot / PER_FILE;
    let mut data = disk.open(&path(&data_name(file_id)), Access::Write).expect("a data file");
    let at = data.byte_len().expect("its length");
    let record = record_bytes(spec.record_type, &value(slot));
    write(&mut *data, &record, at);
    let mut offsets = disk.open(&path(&offsets_name(file_id)), Access::Write).expect("its offsets");
    write(&mut *offsets, &at.to_le_bytes(), slot % PER_FILE * 8);
    if !commits {
        return;
    }
    let name = path("column.conf");
    let conf = disk.open(&name, Access::Read).expect("a conf");
    let mut bytes = vec![0; usize::try_from(conf.byte_len().expect("its length")).expect("small")];
    conf.read_at(&mut bytes, 0).expect("its bytes");
    let mut conf = RawConf::parse(&bytes);
    let len = at + record.len() as u64;
    if slot > conf.highest {
        (conf.highest, conf.len) = (slot, len);
    } else {
        conf.backfill = Some((file_id, len));
    }
    let tmp = path("column.conf.tmp");
    let mut file = disk.open(&tmp, Access::CreateNew).expect("a new file");
    write(&mut *file, &conf.bytes(), 0);
    // A torn conf is beyond help.
    file.sync().expect("a flush in memory");
    disk.rename(&tmp, &name).expect("a rename in memory");
}
