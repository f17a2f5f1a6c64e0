use coldstore::{Reader, ReaderOptions, Writer, WriterOptions};
use tempfile::TempDir;

use super::*;

/// The start of a state: what is read of it is the slot.
fn state(slot: u64) -> Vec<u8> {
    let mut state = vec![7; 3000];
    state[SLOT_AT..SLOT_AT + 8].copy_from_slice(&slot.to_le_bytes());
    state
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// A diff of Lighthouse, as it begins: the selector 0, and a container of six lists.
fn of_lighthouse() -> Vec<u8> {
    let offsets = [24, 40, 60, 60, 60, 90_u32].into_iter().flat_map(u32::to_le_bytes);
    [0].into_iter().chain(offsets).chain([9; 200]).collect()
}

#[test]
fn a_value_is_recognized_by_its_first_bytes() {
    let ours = [&b"CSD1"[..], &[1; 60]].concat();
    for (value, kind) in [
        (state(64), ValueKind::State),
        (ours, ValueKind::Diff),
        (compressed(&state(64)), ValueKind::LighthouseState),
        (of_lighthouse(), ValueKind::LighthouseDiff),
        (state(65), ValueKind::Unknown),
        (vec![0; 100], ValueKind::Unknown),
        (b"diff".to_vec(), ValueKind::Unknown),
        (Vec::new(), ValueKind::Unknown),
    ] {
        assert_eq!(ValueKind::of(Slot(64), &value), kind);
        let start = &value[..value.len().min(START_BYTES)];
        assert_eq!(ValueKind::of(Slot(64), start), kind, "by its start");
    }
    // A state may begin like anything: its first field is a time.
    for start in [&b"CSD1"[..], &ZSTD_MAGIC, &[0, 24, 0, 0, 0]] {
        let mut state = state(64);
        state[..start.len()].copy_from_slice(start);
        assert_eq!(ValueKind::of(Slot(64), &state), ValueKind::State);
    }
}

#[test]
fn a_state_that_lighthouse_compressed_is_read_within_the_limit() {
    let value = compressed(&state(64));
    let read = |slot, limit| whole_state(Slot(slot), Cow::Borrowed(&value), limit);
    assert_eq!(read(64, 3000).unwrap(), state(64));
    let error = read(64, 2999).unwrap_err().to_string();
    assert_eq!(
        error,
        "bss, slot 64: wanted a zstd frame of a state of at most 2999 bytes, found more"
    );
    let error = read(65, 3000).unwrap_err().to_string();
    assert!(error.ends_with("found a value of unknown form"), "{error}");
    let cut = whole_state(Slot(64), Cow::Borrowed(&value[..value.len() - 1]), 3000).unwrap_err();
    assert!(matches!(cut, Foreign::Damaged { .. }), "{cut}");
    // 1 GiB of zeros in some kB: no more than the limit is decompressed.
    let bomb = zstd::encode_all(std::io::repeat(0).take(1 << 28), 1).unwrap();
    let error = whole_state(Slot(64), Cow::Borrowed(&bomb), 1 << 20).unwrap_err();
    assert!(matches!(error, Foreign::Damaged { .. }), "{error}");
    let whole = state(64);
    assert!(matches!(whole_state(Slot(64), Cow::Borrowed(&whole), 9), Ok(Cow::Borrowed(_))));
}

#[test]
fn a_diff_of_lighthouse_is_unsupported_and_named() {
    let error = check_diff(Slot(96), &of_lighthouse()).unwrap_err().to_string();
    assert_eq!(
        error,
        "bsd, slot 96: unsupported: a diff of Lighthouse; wanted a diff of coldstore: only \
         Lighthouse reads its own"
    );
    check_diff(Slot(96), b"CSD1").unwrap();
}

fn column(scratch: &TempDir, column: Column, value: &[u8]) -> PreadView {
    let path = scratch.path().join(column.dir_name());
    let mut writer = Writer::open(&path, WriterOptions::create(column.spec())).unwrap();
    writer.put(Slot(64), value).unwrap();
    drop(writer);
    Reader::open(&path, ReaderOptions::default()).unwrap().view()
}

#[test]
fn a_column_of_another_writer_takes_no_diffs_of_ours() {
    let check = |manifest: &Manifest, snapshot: Option<&[u8]>, diff: Option<&[u8]>| {
        let scratch = tempfile::tempdir().unwrap();
        let [snapshots, diffs] = [(Column::StateSnapshots, snapshot), (Column::StateDiffs, diff)]
            .map(|(name, value)| (name, value.map(|value| column(&scratch, name, value))));
        let columns = [(snapshots.0, snapshots.1.as_ref()), (diffs.0, diffs.1.as_ref())];
        let checked = check_ours("ARCHIVE".as_ref(), manifest, columns);
        checked.map_err(|error| error.to_string())
    };
    let unknown = Manifest::default();
    let of = |whose: &str| {
        let mut manifest = Manifest::default();
        manifest.state_values = Some(whose.to_owned());
        manifest
    };
    let (ours, theirs) = (state(64), compressed(&state(64)));
    check(&unknown, None, None).unwrap();
    check(&unknown, Some(&ours), Some(b"CSD1")).unwrap();
    let refused = check(&unknown, Some(&theirs), None).unwrap_err();
    assert!(
        refused.starts_with("bss holds a state that Lighthouse compressed at slot 64"),
        "{refused}"
    );
    let refused = check(&unknown, Some(&ours), Some(&of_lighthouse())).unwrap_err();
    assert!(refused.starts_with("bsd holds a diff of Lighthouse at slot 64"), "{refused}");
    let refused = check(&unknown, None, Some(b"diff")).unwrap_err();
    assert!(refused.starts_with("bsd holds a value of unknown form at slot 64"), "{refused}");
    // The manifest decides where it says it.
    check(&of("coldstore"), None, Some(b"diff")).unwrap();
    let refused = check(&of("lighthouse"), None, None).unwrap_err();
    let wanted = "ARCHIVE: archive.toml says that bss and bsd hold the values of lighthouse";
    assert!(refused.starts_with(wanted), "{refused}");
}
