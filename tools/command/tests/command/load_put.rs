//! `load` and `put`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::support::{Archive, coldstore, coldstore_fed, command, roots, spawn, stream};

const ROOTS: [u8; 2] = [2, 0];

#[test]
fn load_makes_the_archive_and_says_what_is_committed_batch_by_batch() {
    let archive = Archive::new();
    let stream = stream(ROOTS, &roots([0, 1, 5, 6, 9]));
    let run =
        coldstore_fed(&["load", &archive.arg(), "bbr", "--batch", "2", "--raw"], &stream).exits(0);
    assert_eq!(run.text(), "COMMITTED 0 1 2\nCOMMITTED 5 6 2\nCOMMITTED 9 9 1\n");
    assert_eq!(run.stderr, "");
    let scanned = archive.scan("bbr", &["--format", "stream"]).exits(0);
    assert_eq!(scanned.stdout, stream);
}

#[test]
fn load_reads_a_file_and_standard_input() {
    let items = roots(0..10);
    let bytes = stream(ROOTS, &items);
    let archive = Archive::new();
    let file = archive.beside("stream");
    fs::write(&file, &bytes).unwrap();
    let run = coldstore(&["load", &archive.arg(), "bbr", &file]).exits(0);
    assert_eq!(run.text(), "COMMITTED 0 9 10\n");
    let run = coldstore_fed(&["load", &archive.arg(), "bbr", "-"], &bytes).exits(0);
    assert_eq!(run.text(), "COMMITTED 0 9 10\n", "records that were there count");
}

#[test]
fn a_stream_that_is_scanned_and_loaded_copies_a_column() {
    let values: Vec<(u64, Vec<u8>)> =
        (0..300).map(|n: u16| (u64::from(n) * 97, n.to_le_bytes().repeat(n.into()))).collect();
    for column in ["blk", "bss"] {
        let one = Archive::new().with(column, &values);
        let other = Archive::new();
        let scanned = one.scan(column, &["--format", "stream"]).exits(0).stdout;
        coldstore_fed(&["load", &other.arg(), column, "--raw"], &scanned).exits(0);
        let hashes = |archive: &Archive| archive.scan(column, &["--format", "sha256"]).stdout;
        assert_eq!(hashes(&one), hashes(&other));
        let file = format!("{column}/data_00000");
        let bytes = |archive: &Archive| fs::read(archive.path().join(&file)).unwrap();
        assert_eq!(bytes(&one), bytes(&other));
    }
}

#[test]
fn a_load_that_was_cut_off_resumes_from_the_whole_stream() {
    let bytes = stream(ROOTS, &roots(0..100));
    let archive = Archive::new();
    let cut = &bytes[..bytes.len() / 2];
    let run = coldstore_fed(&["load", &archive.arg(), "bbr", "--batch", "8"], cut).exits(3);
    assert!(run.stderr.contains("slot stream at byte"), "{}", run.stderr);
    let committed: u64 = run
        .text()
        .lines()
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    let there = archive.scan("bbr", &["--format", "sha256"]).text().lines().count() as u64;
    assert_eq!(there, committed, "what is acknowledged is there, and no more");
    assert!(committed >= 40);
    coldstore_fed(&["load", &archive.arg(), "bbr", "--batch", "8"], &bytes).exits(0);
    assert_eq!(archive.scan("bbr", &["--format", "stream"]).stdout, bytes);
}

#[test]
fn acknowledgements_are_flushed_while_the_stream_is_open() {
    let archive = Archive::new();
    let mut child =
        spawn(&["load", &archive.arg(), "bbr", "--batch", "1", "--raw"], Stdio::piped());
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    stdin.write_all(&stream(ROOTS, &[])).unwrap();
    for item in roots([4, 7]) {
        stdin.write_all(&stream(ROOTS, std::slice::from_ref(&item))[8..]).unwrap();
        let wanted = format!("COMMITTED {0} {0} 1", item.0);
        assert_eq!(lines.next().unwrap().unwrap(), wanted);
        // Durable, and visible to another process while the writer continues.
        let run = coldstore(&["get", &archive.arg(), "bbr", &item.0.to_string()]).exits(0);
        assert_eq!(run.stdout, item.1);
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_load_goes_on_when_nobody_reads_its_acknowledgements() {
    let archive = Archive::new();
    let mut child = spawn(&["load", &archive.arg(), "bbr", "--batch", "1"], Stdio::piped());
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(&stream(ROOTS, &roots(0..50))).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    assert_eq!(archive.scan("bbr", &["--format", "sha256"]).text().lines().count(), 50);
}

#[test]
fn another_value_for_a_slot_is_refused_with_the_slot() {
    let archive = Archive::new().with("bbr", &roots(0..10));
    let mut items = roots(0..10);
    items[7].1[0] ^= 1;
    let bytes = stream(ROOTS, &items);
    let run = coldstore_fed(&["load", &archive.arg(), "bbr", "--batch", "4"], &bytes).exits(3);
    assert_eq!(run.complains_of("slot 7").text(), "COMMITTED 0 3 4\n");
}

#[test]
fn gaps_are_filled_only_with_backfill_and_one_file_at_a_time() {
    let archive = Archive::new().with("bss", &roots([0, 8192, 30_000]));
    let bytes = stream([4, 0], &roots([5, 6, 8193, 16_384, 29_999, 30_001]));
    let run = coldstore_fed(&["load", &archive.arg(), "bss", "--raw"], &bytes).exits(3);
    assert_eq!(run.complains_of("backfill").stdout, b"");
    let run =
        coldstore_fed(&["load", &archive.arg(), "bss", "--raw", "--backfill"], &bytes).exits(0);
    assert_eq!(
        run.text(),
        "COMMITTED 5 6 2\nCOMMITTED 8193 8193 1\nCOMMITTED 16384 16384 1\n\
         COMMITTED 29999 29999 1\nCOMMITTED 30001 30001 1\n"
    );
    let run = archive.scan("bss", &["--format", "sha256"]).exits(0);
    let slots = ["0", "5", "6", "8192", "8193", "16384", "29999", "30000", "30001"];
    assert_eq!(run.first_words(), slots);
}

#[test]
fn large_values_are_loaded_in_commits_of_their_own() {
    let archive = Archive::new();
    let large = vec![0x5A; 9 << 20];
    let items = [(1, b"a".to_vec()), (2, large), (3, b"b".to_vec())];
    let bytes = stream([4, 0], &items);
    let run = coldstore_fed(&["load", &archive.arg(), "bss", "--raw"], &bytes).exits(0);
    assert_eq!(run.text(), "COMMITTED 1 1 1\nCOMMITTED 2 2 1\nCOMMITTED 3 3 1\n");
    assert_eq!(archive.scan("bss", &["--format", "stream"]).stdout, bytes);
}

#[test]
fn a_batch_is_bounded_in_bytes_as_well() {
    let archive = Archive::new();
    let items: Vec<(u64, Vec<u8>)> = (0..18).map(|slot| (slot, vec![1; 7 << 20])).collect();
    let run =
        coldstore_fed(&["load", &archive.arg(), "bss", "--raw"], &stream([4, 0], &items)).exits(0);
    assert_eq!(run.text(), "COMMITTED 0 8 9\nCOMMITTED 9 17 9\n");
}

#[test]
fn a_stream_of_another_column_or_none_at_all_is_refused() {
    let archive = Archive::new();
    let blocks = stream([1, 0], &roots([1]));
    let run = coldstore_fed(&["load", &archive.arg(), "bbr"], &blocks).exits(3);
    run.complains_of("type 02 00");
    for bytes in [&b""[..], b"e2", b"not a slot stream at all"] {
        coldstore_fed(&["load", &archive.arg(), "bbr"], bytes).exits(3).complains_of("slot stream");
    }
    let too_large = stream(ROOTS, &[(8, vec![0; 65])]);
    coldstore_fed(&["load", &archive.arg(), "bbr"], &too_large).exits(3).complains_of("slot 8");
    let descending = stream(ROOTS, &roots([8, 7]));
    coldstore_fed(&["load", &archive.arg(), "bbr"], &descending).exits(3).complains_of("7 follows");
}

#[test]
fn a_missing_file_is_an_error_before_anything_is_made() {
    let archive = Archive::new();
    let missing = archive.beside("missing");
    coldstore(&["load", &archive.arg(), "bbr", &missing]).exits(3).complains_of("missing");
    coldstore(&["put", &archive.arg(), "bbr", "1", &missing]).exits(3).complains_of("missing");
    assert!(!archive.path().exists());
}

#[test]
fn a_locked_column_names_the_process_that_holds_it() {
    let archive = Archive::new();
    let mut child = spawn(&["load", &archive.arg(), "bbr", "--batch", "1"], Stdio::piped());
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&stream(ROOTS, &roots([1]))).unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let holder = format!("process {}", child.id());
    coldstore_fed(&["put", &archive.arg(), "bbr", "2"], b"x").exits(3).complains_of(&holder);
    coldstore_fed(&["load", &archive.arg(), "bbr"], b"").exits(3).complains_of(&holder);
    let heal = coldstore(&["heal", &archive.arg()]).exits(3);
    assert!(heal.stderr.contains(&holder), "{}", heal.stderr);
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn put_writes_a_value_from_a_file_or_standard_input() {
    let archive = Archive::new();
    let file = archive.beside("value");
    fs::write(&file, b"from a file").unwrap();
    coldstore(&["put", &archive.arg(), "bsd", "1", &file]).exits(0);
    coldstore_fed(&["put", &archive.arg(), "bsd", "2"], b"from a pipe").exits(0);
    coldstore_fed(&["put", &archive.arg(), "state-diffs", "3", "-", "--raw"], b"").exits(0);
    let redirected = fs::File::open(&file).unwrap();
    let put = command(&["put", &archive.arg(), "bsd", "4"]).stdin(redirected).status();
    assert!(put.unwrap().success());
    let get = |slot| coldstore(&["get", &archive.arg(), "bsd", slot]).exits(0).stdout;
    assert_eq!(get("1"), b"from a file");
    assert_eq!(get("2"), b"from a pipe");
    assert_eq!(get("3"), b"");
    assert_eq!(get("4"), b"from a file");
}

#[test]
fn put_again_is_fine_and_put_of_another_value_is_not() {
    let archive = Archive::new();
    let put = |value: &[u8]| coldstore_fed(&["put", &archive.arg(), "bbr", "5", "--raw"], value);
    put(b"one").exits(0);
    put(b"one").exits(0).complains_of("already");
    put(b"two").exits(3).complains_of("slot 5");
    put(&[0; 65]).exits(3).complains_of("slot 5");
}

#[test]
fn put_fills_a_gap_where_the_column_was_once_opened_for_backfill() {
    let archive = Archive::new().with("bss", &roots([1, 9]));
    let put = |slot| coldstore_fed(&["put", &archive.arg(), "bss", slot, "--raw"], b"x");
    put("5").exits(3).complains_of("backfill");
    let empty = stream([4, 0], &[]);
    coldstore_fed(&["load", &archive.arg(), "bss", "--raw", "--backfill"], &empty).exits(0);
    put("5").exits(0);
}

/// The start of a state and of a signed block, built from the consensus specification alone.
fn state(slot: u64) -> Vec<u8> {
    [&[0; 40][..], &slot.to_le_bytes(), &[9; 500]].concat()
}

fn block(slot: u64) -> Vec<u8> {
    [&100u32.to_le_bytes()[..], &[3; 96], &slot.to_le_bytes(), &[5; 200]].concat()
}

/// Guards against one slip that is acknowledged for ever and that no later import gets past.
#[test]
fn what_does_not_belong_into_a_column_is_refused_unless_it_is_meant() {
    let archive = Archive::new().with("blk", &[(5, block(5))]).with("bbr", &roots([5]));
    let put = |column: &str, slot: &str, value: &[u8], more: &[&str]| {
        let archive = archive.arg();
        coldstore_fed(&[&["put", archive.as_str(), column, slot], more].concat(), value)
    };
    for (column, slot, value, what) in [
        ("blk", "6", &b""[..], "0 bytes"),
        ("blk", "6", b"no block", "the SSZ of the signed block of slot 6"),
        ("blk", "6", &block(7), "that of slot 7"),
        ("blk", "1000000", &block(1_000_000), "pass `far`"),
        ("bbr", "6", b"abc", "a root of 32 bytes"),
        ("bbr", "7", &[1; 32], "slot 6 next"),
        ("bss", "6", &state(7), "that of slot 7"),
        ("bsd", "6", b"", "0 bytes"),
    ] {
        put(column, slot, value, &[]).exits(3).complains_of(what);
    }
    let gap = stream(ROOTS, &roots([6, 8]));
    coldstore_fed(&["load", &archive.arg(), "bbr"], &gap).exits(3).complains_of("slot 7 next");
    let wrong = stream([4, 0], &[(6, state(6)), (7, state(8))]);
    coldstore_fed(&["load", &archive.arg(), "bss"], &wrong).exits(3).complains_of("slot 8");
    let count = |column: &str| archive.scan(column, &["--format", "sha256"]).text().lines().count();
    assert_eq!((count("blk"), count("bbr"), count("bss"), count("bsd")), (1, 1, 0, 0));

    put("blk", "1000000", &block(1_000_000), &["--far"]).exits(0);
    put("bss", "6", b"another encoding", &["--raw"]).exits(0);
    coldstore_fed(&["load", &archive.arg(), "bbr", "--raw"], &gap).exits(0);
}

/// Guards against a column whose checksums end where somebody put a value by hand.
#[test]
fn put_and_load_keep_checksums_and_open_for_backfill() {
    let archive = Archive::new();
    coldstore_fed(&["put", &archive.arg(), "bss", "9"], &state(9)).exits(0);
    coldstore_fed(&["put", &archive.arg(), "bss", "5", "--backfill"], &state(5)).exits(0);
    coldstore_fed(&["load", &archive.arg(), "bbr"], &stream(ROOTS, &roots(0..10))).exits(0);
    for column in ["bss", "bbr"] {
        assert!(archive.path().join(column).join("data_00000.sum").exists(), "{column}");
    }
    let get = coldstore(&["get", &archive.arg(), "bss", "5"]).exits(0);
    assert_eq!(get.stdout, state(5));
}

/// Guards against a state of another chain among those of the archive's.
#[test]
fn a_state_of_another_chain_is_refused() {
    let archive = Archive::new().with("bss", &[(8, state(8))]);
    let root = format!("genesis_validators_root = \"0x{}\"\n", "00".repeat(32));
    fs::write(archive.path().join("archive.toml"), root).unwrap();
    coldstore_fed(&["put", &archive.arg(), "bss", "9"], &state(9)).exits(0);
    let mut other = state(10);
    other[8] = 1;
    let run = coldstore_fed(&["put", &archive.arg(), "bss", "10"], &other).exits(3);
    run.complains_of("genesis validators root 0x00");
}

#[test]
fn a_batch_of_none_is_a_usage_error() {
    let run = command(&["load", "a", "bbr", "--batch", "0"]).output().unwrap();
    assert_eq!(run.status.code(), Some(2));
}
