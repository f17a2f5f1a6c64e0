//! Every verb reports what the archive as a whole lacks.

use std::fs;
use std::path::Path;

use test_support::copy_dir;

use crate::support::{Archive, Run, coldstore, test_data};

fn minimal() -> String {
    test_data("chain-minimal").join("era").to_str().unwrap().to_owned()
}

fn mainnet_preset() -> String {
    test_data("chain-mainnet-preset").join("era").to_str().unwrap().to_owned()
}

fn imported() -> Archive {
    let archive = Archive::new();
    coldstore(&["import", &archive.arg(), &minimal()]).exits(0);
    archive
}

fn lose(archive: &Archive, column: &str) {
    fs::remove_dir_all(archive.path().join(column)).unwrap();
}

/// Guards against "no damage" for a column whose directory is gone or an empty mount point.
#[test]
fn every_verb_reports_a_missing_column_as_damage_with_its_slots() {
    for (column, last) in [("blk", 575), ("bbr", 575), ("bsr", 575), ("bss", 576)] {
        let archive = imported();
        for mount_point in [false, true] {
            lose(&archive, column);
            if mount_point {
                fs::create_dir(archive.path().join(column)).unwrap();
            }
            let said = format!("{column}, slots 0 to {last}: is missing, but was committed up to");
            for deep in [&["--deep"][..], &[]] {
                let run = coldstore(&[&["verify", &archive.arg()], deep].concat()).exits(1);
                assert!(run.text().contains(&said), "{}", run.text());
            }
            let json = coldstore(&["verify", &archive.arg(), "--json"]).exits(1).json();
            assert_eq!(json["lacking"][0]["severity"], "damage");
            assert_eq!(json["lacking"][0]["last_slot"], last.to_string());
            let out = archive.beside("out");
            let verbs: [&[&str]; 4] =
                [&["stat"], &["map"], &["heal", "--dry-run"], &["export", "--out", &out]];
            for verb in verbs {
                let run = coldstore(&[&[verb[0], &archive.arg()], &verb[1..]].concat());
                assert!(run.stderr.contains(&format!("damage: {said}")), "{verb:?} {}", run.stderr);
            }
            if mount_point {
                fs::remove_dir(archive.path().join(column)).unwrap();
            }
            fs::create_dir(archive.path().join(column)).unwrap();
        }
        let run = coldstore(&["import", &archive.arg(), &minimal()]).exits(0);
        assert!(run.stderr.contains("damage: "), "{}", run.stderr);
        coldstore(&["verify", &archive.arg(), "--deep"]).exits(0);
    }
}

/// The columns alone show it, since blocks and roots are written together.
#[test]
fn a_missing_column_is_damage_even_without_a_manifest() {
    for column in ["blk", "bbr", "bsr"] {
        let archive = imported();
        fs::remove_file(archive.path().join("archive.toml")).unwrap();
        lose(&archive, column);
        let run = coldstore(&["verify", &archive.arg()]).exits(1);
        assert!(run.text().contains(&format!("{column}, slots 0 to 57")), "{}", run.text());
        assert!(run.text().contains("is missing beside b"), "{}", run.text());
    }
}

#[test]
fn a_column_below_its_recorded_highest_slot_is_damage_and_refuses_writes() {
    let archive = imported();
    let old = Archive::new();
    let files = fs::read_dir(minimal()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<String> = files.map(|path| path.to_str().unwrap().to_owned()).collect();
    files.sort();
    let first: Vec<&str> = files[..=4].iter().map(String::as_str).collect();
    let arg = old.arg();
    coldstore(&[&["import", arg.as_str()], &first[..]].concat()).exits(0);
    lose(&archive, "bsr");
    copy_dir(&old.path().join("bsr"), &archive.path().join("bsr"));
    let run = coldstore(&["verify", &archive.arg()]).exits(1);
    let said = "bsr, slots 256 to 575: ends with slot 255, but was committed up to slot 575";
    assert!(run.text().contains(said), "{}", run.text());
    let value = archive.beside("value");
    fs::write(&value, [7; 32]).unwrap();
    let run = coldstore(&["put", &archive.arg(), "bsr", "256", &value]).exits(3);
    assert!(run.stderr.contains("records up to slot 575 were committed here"), "{}", run.stderr);
    coldstore(&["import", &archive.arg(), &minimal()]).exits(0);
    coldstore(&["verify", &archive.arg(), "--deep"]).exits(0);
}

/// Guards against a lost column that is begun afresh: what is put there then hides the loss.
#[test]
fn a_lost_column_is_not_created_again() {
    let archive = imported();
    lose(&archive, "bss");
    let value = archive.beside("value");
    fs::write(&value, b"state").unwrap();
    for verb in [
        &["put", &archive.arg(), "bss", "640", &value][..],
        &["load", &archive.arg(), "bss", "/dev/null"],
        &["write", &archive.arg(), "--socket", &archive.beside("socket")],
    ] {
        let run = coldstore(verb).exits(3);
        assert!(
            run.stderr.contains("records up to slot 576 were committed here"),
            "{}",
            run.stderr
        );
        assert!(!archive.path().join("bss").exists(), "{verb:?}");
    }
}

/// `bbr` is committed last, so the leftovers of a killed import are not a loss.
#[test]
fn an_interrupted_import_is_unfinished_and_not_damage() {
    let archive = imported();
    let old = Archive::new();
    let files = fs::read_dir(minimal()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<String> = files.map(|path| path.to_str().unwrap().to_owned()).collect();
    files.sort();
    let first: Vec<&str> = files[..=8].iter().map(String::as_str).collect();
    let arg = old.arg();
    coldstore(&[&["import", arg.as_str()], &first[..]].concat()).exits(0);
    // The older manifest, without the era being imported.
    for column in ["blk", "bsr", "bss"] {
        lose(&old, column);
        copy_dir(&archive.path().join(column), &old.path().join(column));
    }
    let run = coldstore(&["verify", &old.arg()]).exits(0);
    assert_eq!(run.text(), "", "no damage");
    let said = "unfinished: bbr, slots 512 to 57";
    assert!(run.stderr.contains(said), "{}", run.stderr);
    assert!(run.stderr.contains("import the same files again"), "{}", run.stderr);
    coldstore(&["import", &old.arg(), &minimal()]).exits(0);
    let run = coldstore(&["verify", &old.arg(), "--deep"]).exits(0);
    assert!(!run.stderr.contains("unfinished"), "{}", run.stderr);
}

#[test]
fn a_writing_verb_rebuilds_a_missing_manifest_and_says_so() {
    let archive = imported();
    let path = archive.path().join("archive.toml");
    fs::remove_file(&path).unwrap();
    for verb in ["verify", "stat"] {
        let run = coldstore(&[verb, &archive.arg()]).exits(0);
        assert!(run.stderr.contains("note: archive.toml is missing"), "{}", run.stderr);
    }
    assert!(!path.exists(), "a verb that reads makes nothing");
    let run = coldstore(&["load", &archive.arg(), "blk", "/dev/null"]);
    assert!(run.stderr.contains("archive.toml is missing; rebuilt it"), "{}", run.stderr);
    assert!(run.stderr.contains("blk up to slot 575"), "{}", run.stderr);
    let text = fs::read_to_string(&path).unwrap();
    for part in
        ["states = \"unknown\"", "rebuilt = true", "first_slot = 0", "0x0a08c27f", "highest = 576"]
    {
        assert!(text.contains(part), "{part} {text}");
    }
    let again = coldstore(&["load", &archive.arg(), "blk", "/dev/null"]);
    assert!(!again.stderr.contains("rebuilt it"), "{}", again.stderr);
    for verb in ["verify", "stat"] {
        let run = coldstore(&[verb, &archive.arg()]).exits(0);
        assert!(run.stderr.contains("note: archive.toml was lost and rebuilt"), "{}", run.stderr);
    }
    lose(&archive, "bss");
    coldstore(&["verify", &archive.arg()]).exits(1);
}

#[test]
fn an_invalid_manifest_is_an_error_for_every_verb() {
    let archive = imported();
    for (text, advice) in
        [("", "remove it to rebuild it"), ("[package]\n", "belongs to other software")]
    {
        fs::write(archive.path().join("archive.toml"), text).unwrap();
        for verb in ["verify", "stat", "map"] {
            let run = coldstore(&[verb, &archive.arg()]).exits(3);
            assert!(run.stderr.contains("archive.toml"), "{}", run.stderr);
            assert!(run.stderr.contains(advice), "{}", run.stderr);
        }
        let run: Run = coldstore(&["import", &archive.arg(), &minimal()]).exits(3);
        assert!(run.stderr.contains(advice), "{}", run.stderr);
        assert_eq!(fs::read_to_string(archive.path().join("archive.toml")).unwrap(), text);
    }
}

#[test]
fn a_directory_that_is_not_an_archive_is_refused() {
    let archive = imported();
    let empty = archive.beside("empty");
    fs::create_dir(&empty).unwrap();
    let column = archive.path().join("blk").to_str().unwrap().to_owned();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).to_str().unwrap().to_owned();
    for (directory, what) in [
        (&empty, "it is empty"),
        (&column, "it is a column"),
        (&minimal(), "it holds .era files"),
        (&source, "it holds neither a column nor archive.toml"),
    ] {
        let out = archive.beside("out");
        let verbs: [&[&str]; 5] =
            [&["verify"], &["stat"], &["heal"], &["map"], &["export", "--out", &out]];
        for verb in verbs {
            let run = coldstore(&[&[verb[0], directory.as_str()], &verb[1..]].concat()).exits(3);
            assert!(run.stderr.contains(what), "{verb:?} {}", run.stderr);
        }
    }
}

/// Three eras of 8192 slots: a column has a file for each.
fn three_files() -> Archive {
    let archive = Archive::new();
    coldstore(&["import", &archive.arg(), &mainnet_preset(), "--states", "all"]).exits(0);
    archive
}

fn lose_file(archive: &Archive, column: &str, file_id: u64) {
    for end in ["", ".off", ".sum"] {
        fs::remove_file(archive.path().join(column).join(format!("data_0000{file_id}{end}")))
            .unwrap();
    }
}

/// Guards against files of roots that are deleted: no slot is without a root, so they were not skipped.
#[test]
fn a_missing_file_of_roots_is_damage_at_any_position() {
    for (column, file_id, said) in [
        ("bbr", 0, "bbr, slots 0 to 8191: begins with slot 8192, the archive with slot 0"),
        ("bsr", 0, "bsr, slots 0 to 8191: begins with slot 8192, the archive with slot 0"),
        ("blk", 0, "blk, slots 0 to 8191: begins with slot 8192, the archive with slot 0"),
        ("bbr", 1, "wanted a root of every slot from 8192, found none up to slot 16383"),
        ("bsr", 1, "wanted a root of every slot from 8192, found none up to slot 16383"),
    ] {
        let archive = three_files();
        lose_file(&archive, column, file_id);
        for more in [&[][..], &["--deep"]] {
            let run = coldstore(&[&["verify", &archive.arg()], more].concat()).exits(1);
            assert!(run.text().contains(said), "{column} {more:?}: {}", run.text());
        }
        let run = coldstore(&["map", &archive.arg(), column, "--json"]).exits(0);
        let lost = if column == "blk" { 7973 } else { 8192 };
        let missing = format!("\"missing\":\"{lost}\"");
        assert!(run.text().contains(&missing), "{column} {file_id}: {}", run.text());
        let files = mainnet_preset();
        let run = coldstore(&["import", &archive.arg(), &files]).exits(3);
        assert!(run.stderr.contains("import with --backfill"), "{}", run.stderr);
        coldstore(&["import", &archive.arg(), &files, "--backfill"]).exits(0);
        coldstore(&["verify", &archive.arg(), "--deep"]).exits(0);
    }
}

/// The manifest has an intent that this version cannot finish, so nothing is promised.
#[test]
fn an_unfinished_operation_on_an_unknown_column_is_reported() {
    let archive = imported();
    let path = archive.path().join("archive.toml");
    let text = fs::read_to_string(&path).unwrap();
    for (intent, said) in [
        ("kind = \"prune\"\ncolumns = [\"blk\"]\nslot = 0", "finishes it"),
        ("kind = \"fold\"\ncolumns = [\"blk\"]", "in the version that did"),
        ("kind = \"fold\"", "in the version that did"),
        ("kind = \"fold\"\ncolumns = [\"new\"]", "in the version that did"),
    ] {
        fs::write(&path, format!("{text}\n[[intents]]\n{intent}\n")).unwrap();
        for verb in ["verify", "stat", "map"] {
            let run = coldstore(&[verb, &archive.arg()]).exits(0);
            assert!(run.stderr.contains("unfinished: blk: a "), "{verb} {intent}: {}", run.stderr);
            assert!(run.stderr.contains(said), "{verb} {intent}: {}", run.stderr);
        }
    }
}
