//! `stat`, `verify` and `heal`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};

use test_support::copy_dir;

use crate::map::{assert_snapshot, minimal};
use crate::support::{
    Archive, coldstore, coldstore_fed, coldstore_without_privileges, listing, roots, stream,
    test_data,
};

fn two_columns() -> Archive {
    let archive = Archive::new().with("bbr", &roots(0..10)).with("bss", &roots([2, 5, 9000]));
    let backfill = stream([4, 0], &roots([3]));
    coldstore_fed(&["load", &archive.arg(), "bss", "--backfill", "--raw"], &backfill).exits(0);
    archive
}

fn append(archive: &Archive, file: &str, bytes: &[u8]) {
    let path = archive.path().join(file);
    OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn stat_reports_the_content_of_each_column() {
    let archive = two_columns();
    let stat = coldstore(&["stat", &archive.arg(), "--json"]).exits(0).json();
    let columns = stat["columns"].as_array().unwrap();
    let names: Vec<_> = columns.iter().map(|column| column["column"].as_str().unwrap()).collect();
    assert_eq!(names, ["bbr", "bss"]);
    let (bbr, bss) = (&columns[0], &columns[1]);
    assert_eq!(bbr["highest_slot"], "9");
    assert_eq!(bbr["records"], "10");
    assert_eq!(bbr["gaps"], "0");
    assert_eq!(bbr["files"], "1");
    assert_eq!(bbr["data_bytes"], (8 + 10 * 40).to_string());
    assert_eq!(bbr["compression"], "none");
    assert_eq!(bbr["conf_version"], "LHSTBLK2");
    assert_eq!(bbr["backfill"]["allowed"], false);
    assert_eq!(bss["highest_slot"], "9000");
    assert_eq!(bss["lowest_slot"], "2");
    assert_eq!(bss["records"], "4");
    assert_eq!(bss["gaps"], (9000 - 2 + 1 - 4).to_string());
    assert_eq!(bss["files"], "2");
    assert_eq!(bss["conf_version"], "LHSTBLK3");
    assert_eq!(bss["backfill"]["allowed"], true);
    assert_eq!(bss["backfill"]["file_id"], "0");
}

#[test]
fn stat_prints_a_table_for_people() {
    let run = coldstore(&["stat", &two_columns().arg()]).exits(0);
    let lines: Vec<&str> = run.text().lines().collect();
    assert!(lines[0].starts_with("column"));
    assert!(lines[1].starts_with("bbr") && lines[2].starts_with("bss"), "{lines:?}");
    assert!(lines[3].starts_with("total"), "{lines:?}");
    assert!(lines[5].contains("eras of 8192 slots"), "{lines:?}");
    assert!(lines[7].starts_with("bbr") && lines[8].starts_with("bss"), "{lines:?}");
    assert!(lines[11].starts_with("bbr     block-roots"), "{lines:?}");
    assert!(lines[12].ends_with("on, file 00000  LHSTBLK3"), "{lines:?}");
    assert_eq!(lines.len(), 13);
}

#[test]
fn stat_of_a_known_archive_is_as_recorded() {
    let archive = minimal();
    let text = coldstore(&["stat", &archive.arg()]).exits(0);
    assert_snapshot("stat_minimal.txt", text.text());
    let json = coldstore(&["stat", &archive.arg(), "--json"]).exits(0).json();
    let pretty = serde_json::to_string_pretty(&json).unwrap() + "\n";
    assert_snapshot("stat_minimal.json", &pretty);
    let number = |value: &serde_json::Value| value.as_str().unwrap().parse::<u64>().unwrap();
    let columns = json["columns"].as_array().unwrap();
    for field in ["records", "files", "data_bytes", "offset_bytes"] {
        let sum: u64 = columns.iter().map(|column| number(&column[field])).sum();
        assert_eq!(number(&json["totals"][field]), sum, "{field}");
    }
    for column in columns {
        let eras = column["growth"]["eras"].as_array().unwrap();
        let sum: u64 = eras.iter().map(|era| number(&era["data_bytes"])).sum();
        let heads = 8 * number(&column["files"]);
        assert_eq!(sum + heads, number(&column["data_bytes"]), "{column}");
    }
    let blk = &columns[0];
    assert_eq!(blk["compression_sample"], "258", "every second of 516");
    assert!(blk["compression_ratio"].as_f64().unwrap() > 1.0);
    let lines = archive.scan("blk", &["--format", "json"]).json_lines();
    let largest = lines.iter().map(|line| number(&line["stored_length"])).max().unwrap();
    assert_eq!(number(&blk["largest_records"][0]["stored_length"]), largest);
    assert_eq!(columns[1]["compression_ratio"], serde_json::Value::Null);
}

#[test]
fn stat_of_an_empty_directory_is_refused() {
    let archive = Archive::new();
    fs::create_dir(archive.path()).unwrap();
    coldstore(&["stat", &archive.arg(), "--json"]).exits(3).complains_of("is not an archive");
}

#[test]
fn verify_of_an_undamaged_archive_prints_nothing_on_standard_output() {
    let archive = two_columns();
    // Its values belong to no chain, so nothing is proved.
    for (deep, code) in [(&[][..], 0), (&["--deep"], 1)] {
        let run = coldstore(&[&["verify", &archive.arg()], deep].concat()).exits(code);
        assert_eq!(run.text(), "");
        assert!(run.stderr.contains("10 records"), "{}", run.stderr);
        assert_eq!(run.stderr.contains("not proved: the preset is unknown"), code == 1);
    }
}

#[test]
fn verify_prints_one_line_per_damage_and_exits_1() {
    let archive = two_columns();
    let path = archive.path().join("bbr/data_00000");
    let data = OpenOptions::new().write(true).open(&path).unwrap();
    data.write_all_at(&[9], 8 + 3 * 40).unwrap();
    data.write_all_at(&[9], 8 + 7 * 40).unwrap();
    let before = listing(&archive.path());
    let run = coldstore(&["verify", &archive.arg()]).exits(1);
    let lines: Vec<&str> = run.text().lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, (slot, offset)) in lines.iter().zip([(3, 128), (7, 288)]) {
        for part in [
            path.to_str().unwrap(),
            &format!("offset {offset}"),
            &format!("slot {slot}"),
            "wanted",
            "found",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
    coldstore(&["verify", &archive.arg(), "bbr"]).exits(1);
    coldstore(&["verify", &archive.arg(), "bss"]).exits(0);
    assert_eq!(listing(&archive.path()), before, "nothing was changed");
}

#[test]
fn verify_json_lists_the_findings_by_column() {
    let archive = two_columns();
    let sound = coldstore(&["verify", &archive.arg(), "--json"]).exits(0).json();
    assert_eq!(sound["damages"], "0");
    assert_eq!(sound["columns"][0]["records"], "10");
    let path = archive.path().join("bbr/data_00000");
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(&[9], 8 + 3 * 40).unwrap();
    let damaged = coldstore(&["verify", &archive.arg(), "--json"]).exits(1).json();
    assert_eq!(damaged["damages"], "1");
    let finding = &damaged["columns"][0]["findings"][0];
    assert_eq!(finding["severity"], "damage");
    assert_eq!((&finding["slot"], &finding["offset"]), (&"3".into(), &"128".into()));
}

#[test]
fn verify_deep_decodes_every_value() {
    let archive = Archive::new().with("blk", &[(1, vec![7; 1000])]);
    fs::remove_file(archive.path().join("blk/data_00000.sum")).unwrap();
    let path = archive.path().join("blk/data_00000");
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(&[0xAA; 4], 30).unwrap();
    coldstore(&["verify", &archive.arg()]).exits(0);
    let run = coldstore(&["verify", &archive.arg(), "--deep"]).exits(1);
    assert!(run.text().contains("slot 1"), "{}", run.text());
}

#[test]
fn a_damaged_conf_is_reported_and_the_other_columns_are_verified() {
    let archive = two_columns();
    fs::write(archive.path().join("bbr/column.conf"), b"garbage").unwrap();
    let run = coldstore(&["verify", &archive.arg()]).exits(1);
    assert!(run.text().contains("column.conf"), "{}", run.text());
    assert!(run.stderr.contains("bss: 4 records"), "{}", run.stderr);
    let run = coldstore(&["stat", &archive.arg(), "--json"]).exits(3);
    assert_eq!(run.json()["columns"][0]["column"], "bss");
}

#[test]
fn a_missing_file_of_skipped_slots_is_a_note() {
    let archive = Archive::new().with("bss", &roots([1, 20_000]));
    let run = coldstore(&["verify", &archive.arg()]).exits(0);
    assert_eq!(run.text(), "");
    assert!(run.stderr.contains("note"), "{}", run.stderr);
}

#[test]
fn heal_does_what_its_dry_run_reports() {
    let archive = two_columns();
    append(&archive, "bbr/data_00000", b"torn tail");
    fs::write(archive.path().join("bss/column.conf.tmp"), b"half").unwrap();
    let before = listing(&archive.path());
    let dry = coldstore(&["heal", &archive.arg(), "--dry-run"]).exits(0);
    assert_eq!(listing(&archive.path()), before, "a dry run changes nothing");
    let wet = coldstore(&["heal", &archive.arg()]).exits(0);
    assert_eq!(wet.text(), dry.text());
    assert!(wet.text().contains("data_00000"), "{}", wet.text());
    assert!(wet.text().contains("column.conf.tmp"), "{}", wet.text());
    let data = fs::metadata(archive.path().join("bbr/data_00000")).unwrap();
    assert_eq!(data.len(), 8 + 10 * 40);
    let again = coldstore(&["heal", &archive.arg()]).exits(0);
    assert_eq!(again.text(), "bbr: clean\nbss: clean\n");
    let again = coldstore(&["heal", &archive.arg(), "--dry-run", "--json"]).exits(0).json();
    assert_eq!(again[0], serde_json::json!({"column": "bbr", "actions": []}));
}

#[test]
fn heal_continues_after_a_column_that_it_refuses() {
    let archive = two_columns();
    fs::remove_file(archive.path().join("bbr/column.conf")).unwrap();
    append(&archive, "bss/data_00001", b"torn tail");
    for dry_run in [true, false] {
        let more: &[&str] = if dry_run { &["--dry-run"] } else { &[] };
        let run = coldstore(&[&["heal", &archive.arg()], more].concat()).exits(3);
        assert!(run.stderr.contains("bbr"), "{}", run.stderr);
        assert!(run.text().starts_with("bss: "), "{}", run.text());
        assert!(archive.path().join("bbr/data_00000").exists());
    }
}

#[test]
fn every_crash_of_the_golden_stores_is_healed_to_what_a_reader_saw() {
    for entry in fs::read_dir(test_data("golden/crash")).unwrap() {
        let golden = entry.unwrap().path();
        let archive = Archive::new();
        copy_dir(&golden.join("bss"), &archive.path().join("bss"));
        let wanted = fs::read_to_string(golden.join("expect.tsv")).unwrap();
        let scan = || archive.scan("bss", &["--format", "sha256"]).exits(0);
        assert_eq!(scan().text(), wanted, "{} before", golden.display());
        coldstore(&["heal", &archive.arg()]).exits(0);
        assert_eq!(scan().text(), wanted, "{} after", golden.display());
        let left = coldstore(&["heal", &archive.arg(), "--dry-run"]).exits(0);
        // No witness shows that a crash left them: bytes that may hold records were put aside.
        let text = left.text();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("bss: nothing to heal"), "{}", golden.display());
        assert!(lines.all(|line| line.contains("/aside-1-data_") && line.contains("put aside")));
        coldstore(&["verify", &archive.arg()]).exits(0);
    }
}

#[test]
fn unreferenced_bytes_are_listed_and_freed_on_request() {
    let archive =
        Archive::new().with("bss", &[(1, vec![1; 50_000]), (2, vec![2; 50_000]), (3, vec![3; 5])]);
    fs::remove_file(archive.path().join("bss/data_00000.sum")).unwrap();
    let offsets = archive.path().join("bss/data_00000.off");
    OpenOptions::new().write(true).open(offsets).unwrap().write_all_at(&[0; 8], 8).unwrap();
    // No crash leaves that in a column without backfill: the slot has lost its record.
    let verified = coldstore(&["verify", &archive.arg(), "--json"]).exits(1).json();
    let finding = &verified["columns"][0]["findings"][0];
    assert_eq!((&finding["offset"], &finding["length"]), (&"8".into(), &"50008".into()));
    let data = archive.path().join("bss/data_00000").to_str().unwrap().to_owned();
    assert_eq!(finding["file"], data);

    coldstore(&["heal", &archive.arg()]).exits(0);
    let dry = coldstore(&["heal", &archive.arg(), "--reclaim", "--dry-run", "--json"]);
    let dry = dry.exits(0).json();
    let span = &dry[0]["reclaimed"][0];
    assert_eq!((&span["file"], &span["offset"]), (&data.into(), &"4096".into()));
    assert_eq!((&span["length"], &span["freed"]), (&"45056".into(), &serde_json::Value::Null));
    let wet = coldstore(&["heal", &archive.arg(), "--reclaim"]).exits(0);
    assert!(wet.text().contains("45056 bytes from 4096 on"), "{}", wet.text());
    assert!(wet.text().ends_with(" freed\n"), "{}", wet.text());
    let again = coldstore(&["heal", &archive.arg(), "--reclaim", "--json"]).exits(0).json();
    assert_eq!(again[0]["reclaimed"][0]["freed"], "0");
    let scanned = archive.scan("bss", &["--format", "json"]).exits(0).json_lines();
    assert_eq!(scanned.len(), 2);
}

fn let_everybody_in(archive: &Archive) {
    let around = archive.path().ancestors().nth(1).unwrap().to_owned();
    fs::set_permissions(around, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Without `bbr` a slot is of unknown state, and without `bss` an archive proves nothing: that must not be
/// told of columns that are there.
#[test]
fn an_unreadable_column_is_not_reported_as_missing() {
    let archive = minimal();
    let_everybody_in(&archive);
    let close = |name: &str| {
        let path = archive.path().join(name);
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
        (path, before)
    };
    let cases: [(&str, &[&[&str]]); 4] = [
        ("bbr", &[&["get", "blk", "9999999"], &["stat"], &["map", "blk"]]),
        ("bbr/column.conf", &[&["get", "blk", "9999999"], &["slot-of", ROOT]]),
        ("bss", &[&["verify", "blk", "--deep"], &["heal", "--dry-run"]]),
        ("bss/data_00000", &[&["verify", "blk", "--deep"], &["map"]]),
    ];
    for (name, runs) in cases {
        let (path, before) = close(name);
        for args in runs {
            let (verb, more) = args.split_first().unwrap();
            let run = coldstore_without_privileges(&[&[*verb, &*archive.arg()], more].concat());
            let (out, err) = (run.unwrapped(), &run.stderr);
            assert_eq!(run.code, Some(3), "{name}, {args:?}: {out}{err}");
            let wanted = path.to_str().unwrap();
            let told = |line: &str| {
                [wanted, "cannot", "Permission denied"].iter().all(|word| line.contains(word))
            };
            assert!(out.lines().chain(err.lines()).any(told), "{name}, {args:?}: {out}{err}");
        }
        fs::set_permissions(&path, before).unwrap();
    }
    coldstore_without_privileges(&["get", &archive.arg(), "blk", "9999999"]).exits(1);
    coldstore_without_privileges(&["verify", &archive.arg(), "blk", "--deep"]).exits(0);
}

const ROOT: &str = "0x0101010101010101010101010101010101010101010101010101010101010101";

/// A permission, like a bad sector, is the environment's: status 3 with the path and the call, and 1
/// where there is damage too. The rest is checked all the same.
#[test]
fn unreadable_data_is_not_damage() {
    let archive = Archive::new().with("bbr", &roots(0..10)).with("bsr", &roots(0..10));
    let file = archive.path().join("bbr/data_00000");
    let_everybody_in(&archive);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o0)).unwrap();
    let run = |verb: &str, more: &[&str]| {
        let run = coldstore_without_privileges(&[&[verb, &archive.arg()], more].concat());
        (run.code, run.text().to_owned(), run.stderr)
    };
    let (code, out, err) = run("verify", &[]);
    let wanted = format!("unreadable: {}: file: wanted a readable file", file.display());
    assert!(out.starts_with(&wanted) && out.contains("cannot open: Permission denied"), "{out}");
    assert_eq!((code, out.lines().count()), (Some(3), 1), "{err}");
    assert!(err.contains("bbr: 0 records in 1 file, no damage; 1 place cannot be read"), "{err}");
    assert!(err.contains("bsr: 10 records in 1 file, no damage"), "{err}");
    assert!(err.contains("1 place could not be read"), "{err}");
    let (code, out, _) = run("verify", &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["damages"], &json["unreadable"]), (Some(3), &"0".into(), &"1".into()));
    assert_eq!(json["columns"][0]["findings"][0]["severity"], "unreadable");
    let (code, _, err) = run("verify", &["--deep"]);
    assert!(code == Some(3) && err.contains("not proved: not all of the archive"), "{err}");

    let (code, out, err) = run("map", &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let (bbr, bsr) = (&json["columns"][0], &json["columns"][1]);
    assert_eq!((code, &bbr["unreadable"], &bbr["damaged"]), (Some(3), &"10".into(), &"0".into()));
    assert_eq!(bsr["present"], "10", "{err}");

    let other = OpenOptions::new().write(true).open(archive.path().join("bsr/data_00000")).unwrap();
    other.write_all_at(&[9], 8).unwrap();
    assert_eq!(run("verify", &[]).0, Some(1));
}

#[test]
fn verify_reports_missing_checksums() {
    let archive = Archive::new().with("bbr", &roots(0..10)).with("bsr", &roots(0..10));
    let said = coldstore(&["verify", &archive.arg()]).exits(0).stderr;
    assert!(said.contains("10 compared with their checksums"), "{said}");
    assert!(!said.contains("were not compared"), "{said}");
    fs::remove_file(archive.path().join("bbr/data_00000.sum")).unwrap();
    let said = coldstore(&["verify", &archive.arg()]).exits(0).stderr;
    let wanted = "the records of bbr were not compared: no checksums are kept";
    assert!(said.contains(wanted), "{said}");
}

#[test]
fn files_put_aside_are_listed_until_discarded() {
    let archive = Archive::new().with("bss", &[(1, vec![1; 50]), (9000, vec![2; 50])]);
    let column = archive.path().join("bss");
    // Nothing vouches for the conf, so bytes past its end may have been committed.
    fs::remove_file(column.join("column.check")).unwrap();
    append(&archive, "bss/data_00001", &fs::read(column.join("data_00001")).unwrap()[8..]);
    coldstore(&["heal", &archive.arg()]).exits(0);
    let names = |dir: &std::path::Path| -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| name.starts_with("aside"));
        names.sort();
        names
    };
    assert_eq!(names(&column), ["aside-1-data_00001.from-66", "aside-1-data_00001.off"]);
    let tail = column.join("aside-1-data_00001.from-66").to_str().unwrap().to_owned();
    let words = "58 bytes of data_00001 from byte 66 on, which healing put aside until all of it is \
                 committed again; `coldstore heal --discard` removes it";

    let verified = coldstore(&["verify", &archive.arg(), "--json"]).exits(0).json();
    let findings = verified["columns"][0]["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["file"] == tail).unwrap();
    assert_eq!((&found["severity"], &found["found"]), (&"note".into(), &words.into()));
    assert_eq!(findings.iter().filter(|f| f["wanted"] == found["wanted"]).count(), 2);
    let run = coldstore(&["verify", &archive.arg()]).exits(0);
    assert!(run.stderr.contains(words), "{}", run.stderr);

    let stat = coldstore(&["stat", &archive.arg(), "--json"]).exits(0).json();
    assert_eq!(
        stat["columns"][0]["put_aside"][1],
        serde_json::json!({"file": tail, "bytes": "58", "what": words})
    );
    assert_eq!(stat["columns"][0]["put_aside"].as_array().unwrap().len(), 2);
    let run = coldstore(&["stat", &archive.arg()]).exits(0);
    assert!(run.unwrapped().ends_with(&format!("bss: {tail}: {words}")), "{}", run.text());

    // The dry run reports removals, and removes nothing.
    let discard = ["heal", &archive.arg(), "--discard", "--reclaim"];
    let dry = coldstore(&[&discard[..], &["--dry-run"]].concat()).exits(0);
    let gone = format!("{tail}: 58 bytes that were put aside earlier removed");
    assert!(dry.text().contains(&gone), "{}", dry.text());
    assert_eq!(names(&column).len(), 2);
    // With `--reclaim` both are done.
    let wet = coldstore(&[&discard[..], &["--json"]].concat()).exits(0).json();
    assert_eq!(wet[0]["actions"].as_array().unwrap().len(), 2, "{wet}");
    assert_eq!(wet[0]["reclaimed"], serde_json::json!([]), "{wet}");
    assert!(names(&column).is_empty());
    let stat = coldstore(&["stat", &archive.arg(), "--json"]).exits(0).json();
    assert_eq!(stat["columns"][0].get("put_aside"), None);
    assert!(!coldstore(&["verify", &archive.arg()]).exits(0).stderr.contains("put aside"));
}

#[test]
fn heal_allows_backfill_into_a_file_without_an_offset_file() {
    let archive = Archive::new().with("bbr", &roots([1, 20_000]));
    let more = stream([2, 0], &roots([2]));
    coldstore_fed(&["load", &archive.arg(), "bbr", "--backfill", "--raw"], &more).exits(0);
    let left = [&[0x65, 0x32, 0, 0, 0, 0, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0][..], &[7; 32]].concat();
    fs::write(archive.path().join("bbr/data_00001"), &left).unwrap();
    let more = stream([2, 0], &roots([9000]));
    let load = || coldstore_fed(&["load", &archive.arg(), "bbr", "--backfill", "--raw"], &more);
    load().exits(3).complains_of("coldstore heal");
    let dry = coldstore(&["heal", &archive.arg(), "--dry-run"]).exits(0);
    assert!(dry.text().contains("renamed to aside-1-data_00001"), "{}", dry.text());
    coldstore(&["heal", &archive.arg()]).exits(0);
    load().exits(0);
    assert_eq!(fs::read(archive.path().join("bbr/aside-1-data_00001")).unwrap(), left);
    let found = coldstore(&["get", &archive.arg(), "bbr", "9000"]).exits(0);
    assert_eq!(found.stdout, roots([9000])[0].1);
}
