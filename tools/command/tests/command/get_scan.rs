//! `get` and `scan`.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};

use crate::support::{Archive, coldstore, coldstore_fed, on_a_terminal, roots, stream, test_data};

fn some_roots() -> Archive {
    Archive::new().with("bbr", &roots([3, 5, 9, 8191, 8192, 20_000]))
}

fn blocks() -> Archive {
    Archive::new().with("blk", &[(1, vec![7; 1000]), (2, b"two".to_vec()), (4, Vec::new())])
}

#[test]
fn get_prints_only_the_value() {
    let archive = blocks();
    let run = coldstore(&["get", &archive.arg(), "blk", "1"]).exits(0);
    assert_eq!(run.stdout, [7; 1000]);
    assert_eq!(run.stderr, "");
    assert_eq!(coldstore(&["get", &archive.arg(), "blk", "4"]).exits(0).stdout, b"");
}

#[test]
fn get_stored_prints_the_bytes_as_on_disk() {
    let archive = blocks();
    let run = coldstore(&["get", &archive.arg(), "blocks", "1", "--stored"]).exits(0);
    assert!(run.stdout.starts_with(b"\xff\x06\x00\x00sNaPpY"));
    let roots = some_roots();
    let stored = coldstore(&["get", &roots.arg(), "bbr", "5", "--stored"]).exits(0).stdout;
    assert_eq!(stored, coldstore(&["get", &roots.arg(), "bbr", "5"]).exits(0).stdout);
}

#[test]
fn get_out_writes_a_file_and_prints_nothing() {
    let archive = blocks();
    let file = archive.beside("value");
    let run = coldstore(&["get", &archive.arg(), "blk", "2", "--out", &file]).exits(0);
    assert_eq!((run.stdout, fs::read(&file).unwrap()), (vec![], b"two".to_vec()));
    let run = coldstore(&["get", &archive.arg(), "blk", "2", "--out", "-"]).exits(0);
    assert_eq!(run.stdout, b"two");
}

#[test]
fn get_of_a_slot_without_a_record_exits_1_with_a_reason() {
    let archive = blocks();
    for slot in ["0", "3", "5", "18446744073709551614"] {
        let run = coldstore(&["get", &archive.arg(), "blk", slot]).exits(1);
        assert_eq!(run.complains_of(&format!("no record of slot {slot}")).stdout, b"");
    }
}

#[test]
fn sha256_lines_are_slot_length_and_hash() {
    let run = blocks().scan("blk", &["--format", "sha256"]).exits(0);
    let lines: Vec<&str> = run.text().lines().collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        lines[0],
        "1\t1000\tdf1329c8b6c7cf3740bbe2f8bab34d253a8d9534a79dceea18177081fdf9f0e9"
    );
    assert_eq!(lines[2], "4\t0\te3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

#[test]
fn json_lines_have_slots_and_lengths_as_strings_and_roots_in_hex() {
    let lines = some_roots().scan("bbr", &["--format", "json"]).exits(0).json_lines();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[0]["slot"], "3");
    assert_eq!(lines[0]["length"], "32");
    assert_eq!(lines[0]["root"], format!("0x{}", "0000000000000003".repeat(4)));
    let blocks = blocks().scan("blk", &["--format", "json"]).exits(0).json_lines();
    assert_eq!(blocks[0]["length"], "1000");
    assert!(blocks[0]["stored_length"].as_str().unwrap().parse::<u64>().unwrap() < 1000);
    assert!(blocks[0].get("root").is_none());
}

#[test]
fn the_table_has_a_heading_and_the_first_bytes() {
    let run = blocks().scan("blk", &["--from", "2", "--to", "2"]).exits(0);
    let lines: Vec<Vec<&str>> =
        run.text().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..3], ["slot", "length", "stored"]);
    assert_eq!((lines[1][0], lines[1][1], lines[1][3]), ("2", "3", "74776f"));
    assert_eq!(lines.len(), 2);
}

#[test]
fn the_slot_stream_has_the_specified_bytes() {
    let items = roots([3, 5, 9, 8191, 8192, 20_000]);
    let run = some_roots().scan("bbr", &["--format", "stream"]).exits(0);
    assert_eq!(run.stdout, stream([2, 0], &items));
    let run = blocks().scan("blk", &["--format", "stream", "--from", "2"]).exits(0);
    assert_eq!(run.stdout, stream([1, 0], &[(2, b"two".to_vec()), (4, vec![])]), "decoded");
}

#[test]
fn ranges_are_inclusive_and_go_both_ways() {
    let archive = some_roots();
    let slots = |more: &[&str]| -> Vec<String> {
        let run = archive.scan("bbr", &[&["--format", "sha256"], more].concat()).exits(0);
        run.first_words().into_iter().map(str::to_owned).collect()
    };
    assert_eq!(slots(&["--from", "5", "--to", "8192"]), ["5", "9", "8191", "8192"]);
    assert_eq!(slots(&["--from", "5", "--to", "8192", "--reverse"]), ["8192", "8191", "9", "5"]);
    assert_eq!(slots(&["--from", "6", "--limit", "2"]), ["9", "8191"]);
    assert_eq!(slots(&["--reverse", "--limit", "2"]), ["20000", "8192"]);
    assert_eq!(slots(&["--from", "20000"]), ["20000"]);
    assert_eq!(slots(&["--to", "3"]), ["3"]);
}

#[test]
fn an_empty_range_is_an_empty_answer() {
    let archive = some_roots();
    for range in [&["--from", "6", "--to", "8"][..], &["--from", "20001"], &["--limit", "0"]] {
        for (format, wanted) in [("json", &b""[..]), ("sha256", b""), ("stream", b"e2\0\0\0\0\0\0")]
        {
            let run = archive.scan("bbr", &[&["--format", format], range].concat()).exits(0);
            assert_eq!(run.stdout, wanted, "{range:?} {format}");
        }
    }
}

#[test]
fn a_first_slot_above_the_last_is_a_usage_error_of_every_verb() {
    let archive = some_roots();
    let (root, out) = (archive.arg(), archive.beside("out"));
    for verb in [
        &["scan", &root, "bbr"][..],
        &["map", &root],
        &["verify", &root, "--deep"],
        &["export", &root, "--out", &out, "--format", "stream"],
    ] {
        let run = coldstore(&[verb, &["--from", "9", "--to", "5"][..]].concat()).exits(2);
        assert!(run.stderr.contains("its first slot, 9, is above its last, 5"), "{}", run.stderr);
        assert_eq!(run.stdout, b"", "{verb:?}");
    }
    assert!(!std::path::Path::new(&out).exists(), "nothing was made");
}

#[test]
fn a_stream_cannot_go_backwards() {
    let run = some_roots().scan("bbr", &["--format", "stream", "--reverse"]).exits(2);
    assert_eq!(run.complains_of("--reverse").stdout, b"");
}

#[test]
fn a_scan_reports_a_damaged_record_and_continues_after_it() {
    let archive = some_roots();
    let data = OpenOptions::new().write(true).open(archive.path().join("bbr/data_00000")).unwrap();
    // The second record of the file: its type.
    data.write_all_at(&[9], 8 + 40).unwrap();
    for format in ["table", "json", "sha256", "stream"] {
        let run = archive.scan("bbr", &["--format", format]).exits(3);
        assert!(run.stderr.contains("data_00000 at offset 48"), "{}", run.stderr);
        assert!(run.stderr.ends_with("1 record could not be read\n"), "{}", run.stderr);
    }
    let run = archive.scan("bbr", &["--format", "sha256"]);
    assert_eq!(run.first_words(), ["3", "9", "8191", "8192", "20000"]);
    let run = archive.scan("bbr", &["--format", "sha256", "--reverse"]).exits(3);
    assert_eq!(run.first_words(), ["20000", "8192", "8191", "9", "3"]);
}

#[test]
fn a_value_that_does_not_decode_is_reported_with_its_slot() {
    let archive = blocks();
    let data = OpenOptions::new().write(true).open(archive.path().join("blk/data_00000")).unwrap();
    // Within the first record, after its header, the stream identifier and a chunk header.
    data.write_all_at(&[0xAA; 4], 8 + 8 + 10 + 4).unwrap();
    let run = archive.scan("blk", &["--format", "sha256"]).exits(3);
    assert!(run.stderr.contains("slot 1"), "{}", run.stderr);
    assert_eq!(run.first_words(), ["2", "4"]);
    let run = coldstore(&["get", &archive.arg(), "blk", "1"]).exits(3);
    assert_eq!(run.complains_of("slot 1").stdout, b"", "no half value");
}

// ------------------------------------------------------------------------ no record, and why

/// Eras 2 to 4 of the minimal chain: slots 64 to 255, the states of slots 128, 192 and 256.
fn some_eras() -> Archive {
    let archive = Archive::new();
    let directory = test_data("chain-minimal").join("era");
    let names = ["00002-68884aec", "00003-ed01c88d", "00004-a341cfbb"];
    let files = names
        .map(|name| directory.join(format!("minimal-{name}.era")).to_str().unwrap().to_owned());
    coldstore(&["import", &archive.arg(), &files[0], &files[1], &files[2]]).exits(0);
    archive
}

#[track_caller]
fn no_record(archive: &Archive, column: &str, slot: u64, why: &str) {
    let run = coldstore(&["get", &archive.arg(), column, &slot.to_string()]).exits(1);
    let wanted = format!("coldstore: {column} has no record of slot {slot}: {why}\n");
    assert_eq!((run.stdout, run.stderr), (Vec::new(), wanted));
}

#[test]
fn get_says_why_there_is_no_record() {
    let archive = some_eras();
    let beyond = "beyond the end: the archive ends with slot 255";
    let early = "not imported: the archive begins with slot 64";
    for column in ["blk", "bbr", "bsr"] {
        no_record(&archive, column, 63, early);
        no_record(&archive, column, 256, beyond);
        no_record(&archive, column, 18_446_744_073_709_551_614, beyond);
    }
    let skipped = "skipped: bbr repeats the root of the slot before, so there is no block";
    for slot in [128, 140, 191] {
        no_record(&archive, "blk", slot, skipped);
    }
    let state = |slot, why| no_record(&archive, "bss", slot, why);
    state(63, "not imported: the archive begins with slot 64; the nearest is that of slot 128");
    state(64, "none is kept of this slot; the nearest is that of slot 128");
    state(129, "none is kept of this slot; the nearest are those of slots 128 and 192");
    state(257, "beyond the end: the archive ends with slot 256; the nearest is that of slot 256");
}

#[test]
fn get_distinguishes_a_lost_block_from_a_skipped_slot() {
    let archive = some_eras();
    let roots = archive.scan("bbr", &["--format", "stream"]).exits(0).stdout;
    let blocks = archive.scan("blk", &["--format", "stream", "--to", "200"]).exits(0).stdout;
    let other = Archive::new();
    for (column, stream) in [("bbr", roots), ("blk", blocks)] {
        coldstore_fed(&["load", &other.arg(), column], &stream).exits(0);
    }
    let lost = "missing: by bbr there is a block, which was lost or never written";
    no_record(&other, "blk", 201, lost);
    no_record(&other, "blk", 255, lost);
    no_record(&other, "blk", 256, "beyond the end: the archive ends with slot 255");
    no_record(
        &other,
        "blk",
        191,
        "skipped: bbr repeats the root of the slot before, so there is no block",
    );
}

#[test]
fn get_reports_a_lost_root_and_a_column_that_is_behind() {
    let archive = Archive::new()
        .with("bsr", &roots([8, 9]))
        .with("bbr", &roots(8..20))
        .with("blk", &[(8, b"x".to_vec())]);
    let lost = "missing: there should be one for every slot from 8 to 19; it was lost or never \
                written";
    no_record(&archive, "bsr", 12, lost);
    no_record(&archive, "bsr", 7, "not imported: the archive begins with slot 8");
}

#[test]
fn get_distinguishes_a_lost_column_from_one_never_created() {
    let archive = Archive::new();
    let files = test_data("chain-minimal").join("era");
    let files = files.to_str().unwrap();
    coldstore(&["import", &archive.arg(), files]).exits(0);
    no_record(&archive, "bsd", 64, "the archive was made without this column");
    fs::remove_dir_all(archive.path().join("bbr")).unwrap();
    coldstore(&["get", &archive.arg(), "bbr", "64"]).exits(3).complains_of("bbr");
}

#[test]
fn get_reports_pruned_slots_and_the_nearest_records() {
    let archive = some_eras();
    let manifest = archive.path().join("archive.toml");
    let mut text = fs::read_to_string(&manifest).unwrap();
    assert!(!text.contains("pruned_before"), "{text}");
    let entry = |column: &str| format!("[columns.{column}]");
    for column in ["blk", "bss"] {
        text = match text.contains(&entry(column)) {
            true => {
                text.replace(&entry(column), &format!("{}\npruned_before = 150", entry(column)))
            }
            false => format!("{text}\n{}\npruned_before = 150\n", entry(column)),
        };
    }
    fs::write(&manifest, text).unwrap();
    let pruned = "pruned: everything before slot 150 was removed";
    no_record(&archive, "blk", 128, pruned);
    no_record(
        &archive,
        "blk",
        161,
        "skipped: bbr repeats the root of the slot before, so there is no block",
    );
    let nearest = format!("{pruned}; the nearest are those of slots 128 and 192");
    no_record(&archive, "bss", 129, &nearest);
}

#[test]
fn a_damaged_record_is_not_reported_as_missing() {
    let archive = some_roots();
    let data = OpenOptions::new().write(true).open(archive.path().join("bbr/data_00000")).unwrap();
    data.write_all_at(&[9], 8).unwrap();
    let run = coldstore(&["get", &archive.arg(), "bbr", "3"]).exits(3);
    assert_eq!(run.complains_of("data_00000 at offset 8").stdout, b"");
}

// --------------------------------------------------------------------------- where it goes

#[test]
fn get_out_replaces_a_file_atomically_and_keeps_its_mode_and_links() {
    let archive = blocks();
    let (file, link) = (archive.beside("value"), archive.beside("link"));
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&file, &link).unwrap();
    let mut before = fs::File::open(&file).unwrap();
    coldstore(&["get", &archive.arg(), "blk", "2", "--out", &link]).exits(0);
    assert_eq!(fs::read(&file).unwrap(), b"two");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let mut old = String::new();
    before.read_to_string(&mut old).unwrap();
    assert_eq!(old, "old", "who has the old file open still has all of it");
    let run = coldstore(&["get", &archive.arg(), "blk", "2", "--out", "/dev/stdout"]).exits(0);
    assert_eq!(run.stdout, b"two", "what is no regular file is written to");
    let directory = archive.beside("none/value");
    coldstore(&["get", &archive.arg(), "blk", "2", "--out", &directory]).exits(3);
    let left: Vec<_> = fs::read_dir(archive.path().parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_str().unwrap().ends_with(".tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn binary_data_is_not_printed_on_a_terminal() {
    let archive = blocks();
    let path = archive.arg();
    for args in [
        &["get", &path, "blk", "2"][..],
        &["get", &path, "blk", "2", "--stored", "--out", "-"],
        &["scan", &path, "blk", "--format", "stream"],
        &["export", &path, "--out", "-", "--format", "stream", "--column", "blk"],
    ] {
        on_a_terminal(80, args).exits(2).complains_of("standard output is a terminal");
    }
    on_a_terminal(80, &["get", &path, "blk", "2"]).complains_of("(--out FILE) or pipe them on");
    on_a_terminal(80, &["scan", &path, "blk"]).exits(0);
}
