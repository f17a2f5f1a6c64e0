//! `slot-of`, `get --root` and `index`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;

use crate::support::{Archive, Run, coldstore, listing, test_data};

/// Slot and root of each line of a table, by the name of its last column.
fn table(file: &str) -> Vec<(u64, String)> {
    let text = fs::read_to_string(test_data("chain-minimal").join(file)).unwrap();
    let row = |line: &str| {
        let mut cells = line.split('\t');
        Some((cells.next()?.parse().ok()?, format!("0x{}", cells.next_back()?)))
    };
    text.lines().filter_map(row).collect()
}

fn imported() -> Archive {
    let archive = Archive::new();
    let eras = test_data("chain-minimal/era");
    coldstore(&["import", &archive.arg(), eras.to_str().unwrap()]).exits(0);
    archive
}

fn slot_of(archive: &Archive, root: &str) -> String {
    coldstore(&["slot-of", &archive.arg(), root]).exits(0).text().trim().to_owned()
}

/// Guards against an index that the archive's own service cannot read.
#[test]
fn an_index_has_the_owner_of_the_archive() {
    const NOBODY: u32 = 65_534;
    let archive = imported();
    fs::set_permissions(archive.path(), fs::Permissions::from_mode(0o750)).unwrap();
    // Only root may change the owner of a file.
    if chown(archive.path(), Some(NOBODY), Some(NOBODY)).is_err() {
        return;
    }
    let mut run = Command::new("sh");
    run.args(["-c", r#"umask 077; exec "$0" "$@""#, env!("CARGO_BIN_EXE_coldstore")]);
    run.args(["index", &archive.arg()]);
    Run::from(run.output().unwrap()).exits(0);
    let facts = |name: &str| {
        let metadata = fs::metadata(archive.path().join(name)).unwrap();
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o777)
    };
    assert_eq!(facts("index"), (NOBODY, NOBODY, 0o750));
    assert_eq!(facts("index/bbr_00000.roots"), (NOBODY, NOBODY, 0o640));
}

/// Every fifteenth block and state of the chain, and all around the slots without a block.
fn check(archive: &Archive) {
    for (slot, root) in table("BLOCKS.tsv").iter().filter(|(slot, _)| *slot < 576).step_by(15) {
        assert_eq!(slot_of(archive, root), slot.to_string());
        let by_root = coldstore(&["get", &archive.arg(), "blk", "--root", root]).exits(0);
        let by_slot = coldstore(&["get", &archive.arg(), "blk", &slot.to_string()]).exits(0);
        assert_eq!(by_root.stdout, by_slot.stdout);
    }
    // The last slot with a block in front of a run of twelve without.
    let blocks: BTreeMap<u64, String> = table("BLOCKS.tsv").into_iter().collect();
    assert!(!blocks.contains_key(&265) && !blocks.contains_key(&276));
    assert_eq!(slot_of(archive, &blocks[&264]), "264");
    for (slot, root) in table("STATES.tsv").iter().take(576).step_by(50) {
        assert_eq!(slot_of(archive, root), slot.to_string());
    }
    let run = coldstore(&["slot-of", &archive.arg(), &"ab".repeat(32)]).exits(1);
    assert_eq!(run.complains_of("no block and no state").text(), "");
    let run = coldstore(&["get", &archive.arg(), "bss", "--root", &"ab".repeat(32)]).exits(1);
    assert_eq!(run.complains_of("no block and no state").text(), "");
}

#[test]
fn the_slot_of_a_root_is_found_with_and_without_an_index() {
    let archive = imported();
    let before = listing(&archive.path());
    check(&archive);
    assert_eq!(listing(&archive.path()), before, "looking for a root writes nothing");

    let index = || coldstore(&["index", &archive.arg(), "--json"]).exits(0).json();
    let made = index();
    assert_eq!(made[0]["kind"], "block_root");
    let blocks = table("BLOCKS.tsv").iter().filter(|(slot, _)| *slot < 576).count();
    assert_eq!(made[0]["roots"], blocks.to_string());
    assert_eq!((&made[1]["roots"], &made[1]["written"]), (&"576".into(), &"1".into()));
    assert_eq!(index()[1]["written"], "0", "what is complete stays");
    check(&archive);

    // Damage to the index does not change the answers.
    let file = archive.path().join("index/bbr_00000.roots");
    let whole = fs::read(&file).unwrap();
    for cut in [0, 30, 48, whole.len() - 5] {
        fs::write(&file, &whole[..cut]).unwrap();
        check(&archive);
    }
    let mut garbled = whole.clone();
    garbled[48..].reverse();
    fs::write(&file, &garbled).unwrap();
    check(&archive);
    let run = coldstore(&["index", &archive.arg(), "--anew"]).exits(0);
    assert!(run.text().contains("in 1 files, 1 written"), "{}", run.text());
    assert_eq!(fs::read(&file).unwrap(), whole);
}

#[test]
fn an_outdated_index_is_extended() {
    let archive = Archive::new();
    let era = |number: usize| {
        let mut eras: Vec<_> = fs::read_dir(test_data("chain-minimal/era"))
            .unwrap()
            .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
            .collect();
        eras.sort();
        eras.swap_remove(number)
    };
    for number in 0..3 {
        coldstore(&["import", &archive.arg(), &era(number)]).exits(0);
        coldstore(&["index", &archive.arg()]).exits(0);
    }
    coldstore(&["import", &archive.arg(), &era(3)]).exits(0);
    for (slot, root) in table("BLOCKS.tsv").iter().filter(|(slot, _)| *slot < 192).step_by(11) {
        assert_eq!(slot_of(&archive, root), slot.to_string());
    }
}

#[test]
fn slot_of_prints_json_and_refuses_text_that_is_not_a_root() {
    let archive = imported();
    let (slot, root) = table("STATES.tsv").swap_remove(100);
    let found = coldstore(&["slot-of", &archive.arg(), &root[2..], "--json"]).exits(0).json();
    assert_eq!((&found["slot"], &found["kind"]), (&slot.to_string().into(), &"state_root".into()));
    coldstore(&["slot-of", &archive.arg(), "0x12"]).exits(2);
    coldstore(&["get", &archive.arg(), "blk"]).exits(2);
    coldstore(&["get", &archive.arg(), "blk", "3", "--root", &root]).exits(2);
}
