//! `rewind` and `prune`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use test_support::copy_dir;

use crate::import::some_eras;
use crate::map::minimal;
use crate::support::{
    Archive, Run, coldstore, coldstore_fed, coldstore_without_privileges, listing, roots, stream,
    test_data,
};

fn two_columns() -> Archive {
    Archive::new().with("bbr", &roots(0..17_000)).with("bsr", &roots(0..17_000))
}

/// Guards against an undo that leaves something of what was written, or that cannot be followed by
/// other records of the same slots.
#[test]
fn rewind_removes_what_was_written_above_a_slot() {
    let archive = two_columns();
    let arg = archive.arg();
    let before = listing(&archive.path());
    let dry = coldstore(&["rewind", &arg, "--to", "8999", "--dry-run"]).exits(0);
    assert!(dry.text().starts_with("bbr: 8000 records, 1 data file, "), "{}", dry.text());
    assert!(dry.text().contains("would be removed; highest slot 8999"), "{}", dry.text());
    assert_eq!(listing(&archive.path()), before);

    let removed = coldstore(&["rewind", &arg, "--to", "8999", "--json"]).exits(0).json();
    for (column, removed) in ["bbr", "bsr"].iter().zip(removed.as_array().unwrap()) {
        assert_eq!(removed["column"], *column);
        assert_eq!(removed["records"], "8000");
        assert_eq!(removed["files"], "1");
        assert_eq!(removed["highest_slot"], "8999");
        assert!(removed["pruned_before"].is_null());
    }
    let gone = coldstore(&["get", &arg, "bbr", "9000"]).exits(1);
    assert!(gone.stderr.contains("beyond the end"), "{}", gone.stderr);
    coldstore(&["verify", &arg]).exits(0);

    // Again: there is nothing to do. Then others come in their place.
    let again = coldstore(&["rewind", &arg, "--to", "8999"]).exits(0);
    assert_eq!(again.text(), "bbr: nothing to remove\nbsr: nothing to remove\n");
    let other = vec![(9000, vec![7; 32])];
    coldstore_fed(&["load", &arg, "bbr"], &stream([2, 0], &other)).exits(0);
    assert_eq!(archive.scan("bbr", &["--from", "9000"]).exits(0).first_words(), ["slot", "9000"]);

    coldstore(&["rewind", &arg, "bbr", "--to", "nothing"]).exits(0);
    assert!(archive.scan("bbr", &["--format", "sha256"]).exits(0).text().is_empty());
    assert!(!archive.scan("bsr", &["--format", "sha256"]).exits(0).text().is_empty());
}

/// Guards against a prune that is taken for skipped slots or for damage afterwards.
#[test]
fn prune_removes_whole_files_and_records_it() {
    let archive = two_columns();
    let arg = archive.arg();
    let dry = coldstore(&["prune", &arg, "--before", "9000", "--dry-run"]).exits(0);
    assert!(dry.text().contains("pruned before slot 8192"), "{}", dry.text());
    let pruned = coldstore(&["prune", &arg, "bbr", "--before", "9000"]).exits(0);
    assert!(pruned.text().starts_with("bbr: 8192 records, 1 data file, "), "{}", pruned.text());
    assert!(pruned.stderr.contains("freed"), "{}", pruned.stderr);
    let gone = coldstore(&["get", &arg, "bbr", "5"]).exits(1);
    assert!(gone.stderr.contains("pruned"), "{}", gone.stderr);
    coldstore(&["get", &arg, "bsr", "5", "--out", "-"]).exits(0);
    let verified = coldstore(&["verify", &arg, "--json"]).exits(0);
    assert!(verified.text().contains("slots 0 to 8191 were pruned"), "{}", verified.text());
    coldstore(&["import", &arg, &arg, "--refill"]).exits(2);
}

/// Guards against a column that was lost or damaged and cannot be had from a copy of the archive, and
/// against one of another chain that takes its place.
#[test]
fn heal_replaces_a_column_by_a_copy_that_agrees_with_the_others() {
    let archive = minimal();
    let (arg, copy) = (archive.arg(), archive.beside("copy"));
    copy_dir(&archive.path(), copy.as_ref());
    let held = |column| archive.scan(column, &["--format", "sha256"]).exits(0).stdout;
    let before = ["blk", "bsr"].map(held);
    // Lost, and damaged so that it does not open.
    fs::remove_dir_all(archive.path().join("blk")).unwrap();
    fs::write(archive.path().join("bsr/column.conf"), b"LHSTBLK2").unwrap();
    let healed = coldstore(&["heal", &arg, "bsr", "--from", &copy]).exits(0);
    let agree = "576 records and 585 roots agree with the other columns";
    assert!(healed.stderr.contains(agree), "{}", healed.stderr);
    let directory = format!("{copy}/blk");
    let healed = coldstore(&["heal", &arg, "blk", "--from", &directory, "--json"]).exits(0).json();
    assert_eq!(healed["column"], "blk");
    assert_ne!(healed["compared_roots"], "0");
    assert_eq!(["blk", "bsr"].map(held), before);
    coldstore(&["verify", &arg]).exits(0);

    // Of another chain.
    let other = Archive::new().with("bsr", &roots(0..576));
    let refused = coldstore(&["heal", &arg, "bsr", "--from", &other.arg()]).exits(3);
    refused.complains_of("as in the block of slot");
    assert_eq!(["blk", "bsr"].map(held), before);
    assert!(!archive.path().join(".bsr.new").exists());
    coldstore(&["heal", &arg, "--from", &copy]).exits(2);
}

#[test]
fn removals_that_cannot_be_done_are_refused() {
    let archive = two_columns();
    let arg = archive.arg();
    coldstore(&["rewind", &arg, "blk", "--to", "5"]).exits(3).complains_of("no column blk");
    coldstore(&["rewind", &archive.beside("nowhere"), "--to", "5"]).exits(3);
    coldstore(&["rewind", &arg]).exits(2);
    coldstore(&["prune", &arg, "--before", "now"]).exits(2);
    let empty = archive.beside("empty");
    fs::create_dir(&empty).unwrap();
    coldstore(&["prune", &empty, "--before", "5"]).exits(3).complains_of("no column");
}

/// Guards against a rewind that was interrupted and is forgotten.
#[test]
fn heal_finishes_an_interrupted_rewind() {
    let archive = two_columns();
    let arg = archive.arg();
    coldstore(&["rewind", &arg, "--to", "16990"]).exits(0);
    // The state after a process died between the intent and the end, with one column exchanged.
    let manifest = archive.path().join("archive.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let intent = "\n[[intents]]\nkind = \"rewind\"\ncolumns = [\"bbr\", \"bsr\"]\nslot = 100\n";
    fs::write(&manifest, text + intent).unwrap();
    let leftover = archive.path().join(".bbr.new");
    copy_dir(&archive.path().join("bbr"), &leftover);
    fs::remove_file(leftover.join("lock")).unwrap();
    fs::hard_link(archive.path().join("bbr/lock"), leftover.join("lock")).unwrap();
    let dry = coldstore(&["heal", &arg, "--dry-run"]).exits(0);
    assert!(dry.stderr.contains("rewind of bbr bsr would be finished"), "{}", dry.stderr);
    assert!(dry.text().contains(".bbr.new: removed"), "{}", dry.text());
    assert!(leftover.exists());
    let healed = coldstore(&["heal", &arg]).exits(0);
    assert!(healed.stderr.contains("rewind of bbr bsr finished"), "{}", healed.stderr);
    assert!(!leftover.exists());
    for column in ["bbr", "bsr"] {
        let gone = coldstore(&["get", &arg, column, "101"]).exits(1);
        assert!(gone.stderr.contains("beyond the end"), "{}", gone.stderr);
        coldstore(&["get", &arg, column, "100", "--out", "-"]).exits(0);
    }
    assert!(!fs::read_to_string(&manifest).unwrap().contains("intents"));
}

/// The mainnet preset: three eras of as many slots as a file has.
fn three_eras() -> Archive {
    let archive = Archive::new();
    let files = test_data("chain-mainnet-preset/era");
    let files = files.to_str().unwrap();
    coldstore(&["import", &archive.arg(), files, "--states", "all"]).exits(0);
    archive
}

/// The counts of `map` for a column: pruned, skipped, missing, damaged.
fn counts(archive: &Archive, column: &str) -> [String; 4] {
    let map = coldstore(&["map", &archive.arg(), column, "--json"]).exits(0).json();
    let of = &map["columns"][0];
    ["pruned", "skipped", "missing", "damaged"].map(|key| of[key].as_str().unwrap().to_owned())
}

/// Guards against slots that were pruned and are taken for skipped, lost or never imported ones.
#[test]
fn map_stat_and_export_report_pruned_slots() {
    let archive = three_eras();
    let (arg, out) = (archive.arg(), archive.beside("out"));
    assert_eq!(counts(&archive, "blk")[0], "0");
    coldstore(&["prune", &arg, "blk", "--before", "8192"]).exits(0);
    let of_blocks = counts(&archive, "blk");
    assert_eq!((&*of_blocks[0], &*of_blocks[2], &*of_blocks[3]), ("8192", "0", "0"));
    assert_eq!(counts(&archive, "bbr"), ["0", "0", "0", "0"]);
    let map = coldstore(&["map", &arg]).exits(0);
    assert!(map.text().contains("blk blocks: ") && map.text().contains(" 8192 pruned"));
    assert!(map.text().contains("- pruned"), "the legend: {}", map.text());
    assert!(!map.text().contains("missing: "), "{}", map.text());
    let svg = coldstore(&["map", &arg, "--svg", "-"]).exits(0);
    assert!(svg.text().contains(">pruned</text>"), "{}", svg.text());
    let stat = coldstore(&["stat", &arg]).exits(0);
    let line = "blk: pruned: everything before slot 8192 was removed";
    assert!(stat.text().contains(line), "{}", stat.text());
    let stat = coldstore(&["stat", &arg, "--json"]).exits(0).json();
    assert_eq!(stat["columns"][0]["pruned_before"], "8192");
    assert!(stat["columns"][1]["pruned_before"].is_null());

    let refused = coldstore(&["export", &arg, "--era", "1", "--out", &out]).exits(3);
    let what = "era 1 cannot be exported: blk was pruned: everything before slot 8192 was removed";
    refused.complains_of(what);
    let exported = coldstore(&["export", &arg, "--out", &out, "--json"]).exits(0);
    assert_eq!(exported.json()["exported_eras"], "3", "eras 0, 2 and 3");
    let left_out = "era 1 is left out: pruned";
    assert!(exported.stderr.contains(left_out), "{}", exported.stderr);

    // All columns: the map still begins at the archive's first slot.
    coldstore(&["prune", &arg, "--before", "16384"]).exits(0);
    for column in ["blk", "bbr", "bsr", "bss"] {
        assert_eq!(counts(&archive, column)[0], "16384", "{column}");
        assert_eq!(counts(&archive, column)[2..], ["0", "0"], "{column}");
    }
    for era in ["0", "1", "2"] {
        let refused = coldstore(&["export", &arg, "--era", era, "--out", &out]).exits(3);
        refused.complains_of("was pruned: everything before slot 16384 was removed");
    }
    coldstore(&["export", &arg, "--era", "3", "--out", &out]).exits(0);
    let streams = archive.beside("streams");
    let stream = ["export", &arg, "--format", "stream", "--column", "bbr", "--out", &streams];
    let exported = coldstore(&stream).exits(0);
    let said = "bbr: everything before slot 16384 was pruned";
    assert!(exported.stderr.contains(said), "{}", exported.stderr);
    coldstore(&["verify", &arg]).exits(0);
}

/// Guards against a refill of some eras after which the others count as lost.
#[test]
fn a_refill_lowers_the_pruned_mark_only_as_far_as_records_are_back() {
    let archive = three_eras();
    let arg = archive.arg();
    let held = |column| archive.scan(column, &["--format", "sha256"]).exits(0).stdout;
    let columns = ["blk", "bbr", "bsr", "bss"];
    let before = columns.map(held);
    coldstore(&["prune", &arg, "--before", "16384"]).exits(0);
    let files = test_data("chain-mainnet-preset/era");
    coldstore(&["import", &arg, files.to_str().unwrap()]).exits(0);
    let pruned = || {
        let stat = coldstore(&["stat", &arg, "--json"]).exits(0).json();
        let of = |at: usize| stat["columns"][at]["pruned_before"].as_str().map(str::to_owned);
        [of(0), of(1), of(2), of(3)].map(|slot| slot.unwrap_or_else(|| "-".to_owned()))
    };
    assert_eq!(pruned(), ["16384"; 4], "an import alone brings nothing back");
    // The state of slot 8192 is in the file of era 1, that of slot 0 in the file of era 0.
    for (era, wanted) in [
        (2, ["8192", "8192", "8192", "8193"]),
        (1, ["-", "-", "-", "1"]),
        (0, ["-", "-", "-", "-"]),
    ] {
        let name = format!("files-{era}");
        let files = some_eras(&archive, &name, "chain-mainnet-preset", &[era]);
        coldstore(&["import", &arg, &files, "--backfill", "--refill"]).exits(0);
        assert_eq!(pruned(), wanted, "after era {era}");
        coldstore(&["verify", &arg]).exits(0);
    }
    assert!(columns.map(held) == before);
}

/// Guards against a replacement that was compared with nothing because nothing could be looked at.
#[test]
fn a_copy_is_refused_while_another_column_is_unreadable() {
    let archive = Archive::new();
    let (files, copy) = (test_data("chain-minimal/era"), archive.beside("copy"));
    coldstore(&["import", &archive.arg(), files.to_str().unwrap()]).exits(0);
    copy_dir(&archive.path(), copy.as_ref());
    let above = archive.path().parent().unwrap().to_owned();
    fs::set_permissions(&above, fs::Permissions::from_mode(0o777)).unwrap();
    let columns = ["blk", "bbr", "bsr", "bss"].map(|column| archive.path().join(column));
    if rustix::process::geteuid().is_root() {
        chown(archive.path(), Some(65_534), Some(65_534)).unwrap();
        for column in &columns {
            chown(column, Some(65_534), Some(65_534)).unwrap();
            for entry in fs::read_dir(column).unwrap() {
                chown(entry.unwrap().path(), Some(65_534), Some(65_534)).unwrap();
            }
        }
        chown(archive.path().join("archive.toml"), Some(65_534), Some(65_534)).unwrap();
    }
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    let before = inode(&columns[0]);
    let heal = ["heal", &archive.arg(), "blk", "--from", &copy];
    for column in &columns[1..] {
        let data = column.join("data_00000");
        let permissions = fs::metadata(&data).unwrap().permissions();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o0)).unwrap();
        let run = coldstore_without_privileges(&heal).exits(3);
        assert!(run.stderr.contains(&data.display().to_string()), "{}", run.stderr);
        assert_eq!(inode(&columns[0]), before, "{}: blk was not replaced", data.display());
        fs::set_permissions(&data, permissions).unwrap();
    }
    coldstore_without_privileges(&heal).exits(0);
    assert_ne!(inode(&columns[0]), before);
}

/// Guards against a copy that takes a column's place though a byte of it is not that of the chain.
#[test]
fn a_wrong_copy_is_refused_with_the_first_wrong_slot() {
    let archive = Archive::new();
    let (arg, value) = (archive.arg(), archive.beside("value"));
    let files = test_data("chain-minimal/era");
    coldstore(&["import", &arg, files.to_str().unwrap()]).exits(0);
    let held = |column| archive.scan(column, &["--format", "sha256"]).exits(0).stdout;
    let before = ["blk", "bbr", "bsr", "bss"].map(held);
    let good = archive.beside("good");
    copy_dir(&archive.path(), good.as_ref());
    // Slot 576 has no root yet.
    for (column, compared, not_compared) in
        [("blk", "516", "0"), ("bbr", "576", "0"), ("bsr", "576", "0"), ("bss", "9", "1")]
    {
        let healed = coldstore(&["heal", &arg, column, "--from", &good, "--json"]).exits(0);
        assert_eq!(healed.json()["compared_records"], compared, "{column}");
        assert_eq!(healed.json()["not_compared_records"], not_compared, "{column}");
        assert_eq!(healed.stderr.contains("not compared: 1 record without"), column == "bss");
    }
    assert!(["blk", "bbr", "bsr", "bss"].map(held) == before);

    // A byte of the graffiti of a block, of the genesis time in a state, and of the root of a slot
    // without a block.
    let blocks = archive.scan("blk", &["--format", "sha256"]).exits(0);
    let blocks: Vec<u64> = blocks.first_words().iter().map(|slot| slot.parse().unwrap()).collect();
    let skipped = (100..500).find(|slot| !blocks.contains(slot)).unwrap();
    let skipped_era = format!("era {}, slots {} to", skipped / 64 + 1, skipped / 64 * 64);
    for (column, slot, at, complaint) in [
        ("blk", 571, 352, "slot 571: 0x"),
        ("bss", 320, 0, "slot 320: 0x"),
        ("bsr", skipped, 7, skipped_era.as_str()),
    ] {
        let copy = archive.beside(column);
        copy_dir(&archive.path(), copy.as_ref());
        let (text, next) = (slot.to_string(), (slot + 1).to_string());
        coldstore(&["get", &copy, column, &text, "--out", &value]).exits(0);
        let rest = archive.beside("rest");
        let export = ["export", &copy, "--format", "stream", "--column", column, "--from", &next];
        coldstore(&[&export[..], &["--out", &rest]].concat()).exits(0);
        coldstore(&["rewind", &copy, column, "--to", &(slot - 1).to_string()]).exits(0);
        let mut bytes = fs::read(&value).unwrap();
        bytes[at] ^= 1;
        fs::write(&value, bytes).unwrap();
        coldstore(&["put", &copy, column, &text, &value]).exits(0);
        coldstore(&["load", &copy, column, &format!("{rest}/{column}.e2s")]).exits(0);
        let refused = coldstore(&["heal", &arg, column, "--from", &copy]).exits(3);
        refused.complains_of(complaint);
        fs::remove_dir_all(&rest).unwrap();
        fs::remove_file(&value).unwrap();
    }
    assert!(["blk", "bbr", "bsr", "bss"].map(held) == before);
}

/// Guards against eras that were pruned and are called "there already", or not mentioned at all; and
/// against a rewind that makes a part of what was pruned come back unasked.
#[test]
fn import_and_export_report_pruned_eras() {
    let archive = three_eras();
    let (arg, out) = (archive.arg(), archive.beside("out"));
    let files = test_data("chain-mainnet-preset/era");
    let import = ["import", &arg, files.to_str().unwrap(), "--json"];
    coldstore(&["prune", &arg, "--before", "16384"]).exits(0);
    let exported = coldstore(&["export", &arg, "--out", &out, "--json"]).exits(0);
    assert_eq!(exported.json()["exported_eras"], "1");
    assert!(exported.stderr.contains("eras 0 to 2 are left out: pruned"), "{}", exported.stderr);

    let imported = coldstore(&import).exits(0);
    let counts = |run: &Run| {
        let summary = run.json();
        ["imported_eras", "present_eras", "pruned_eras"].map(|key| summary[key].to_string())
    };
    assert_eq!(counts(&imported), ["\"0\"", "\"1\"", "\"3\""]);
    let told = "3 eras left out: pruned; --backfill --refill brings back what was pruned";
    assert!(imported.stderr.contains(told), "{}", imported.stderr);

    // Nothing is left, and the next import begins where the prune ended.
    coldstore(&["rewind", &arg, "--to", "10000"]).exits(0);
    let imported = coldstore(&import).exits(0);
    assert_eq!(imported.json()["pruned_eras"], "2", "{}", imported.stderr);
    assert!(!imported.stderr.contains("cannot be added later"), "{}", imported.stderr);
    for (column, first) in [("blk", "16384"), ("bbr", "16384"), ("bsr", "16384"), ("bss", "16384")]
    {
        let lowest = archive.scan(column, &["--limit", "1", "--format", "sha256"]);
        assert_eq!(lowest.first_words(), [first], "{column}");
        let gone = coldstore(&["get", &arg, column, "9000"]).exits(1);
        assert!(gone.stderr.contains("pruned: everything before slot 16384"), "{}", gone.stderr);
    }
    coldstore(&["verify", &arg]).exits(0);
    let files = files.to_str().unwrap();
    coldstore(&["import", &arg, files, "--backfill", "--refill"]).exits(0);
    let stat = coldstore(&["stat", &arg, "--json"]).exits(0).json();
    assert_eq!(stat["columns"][0]["records"], "23871");
    assert!(stat["columns"][0]["pruned_before"].is_null());
}
