//! Who may read and write what a writer makes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use coldstore::Slot;
use coldstore::verify::{VerifyOptions, verify_column};

use crate::column::{make, open, open_scratch, outcome, read, run_well, say, told, value};
use crate::system::{NOBODY, give_to, give_up_root, is_root, mode_of, set_mode, set_umask};
use test_support::reader;

#[test]
#[ignore = "started by the tests below as a process of its own"]
fn child_that_makes_a_column() {
    let Some((column, umask)) = told() else { return };
    set_umask(u32::from_str_radix(&umask, 8).unwrap());
    let mut writer = make(&column, true);
    writer.put(coldstore::Slot(2), b"in a sealed file").unwrap();
    // Of a commit that was cut off in the middle, this is left.
    drop(writer);
}

/// History is public: everybody may read what the umask lets them, and nobody but the owner may ever
/// write, whatever the umask says.
#[test]
fn only_the_owner_may_write_under_any_umask() {
    for (umask, file_mode, directory_mode) in
        [("000", 0o644, 0o755), ("022", 0o644, 0o755), ("027", 0o640, 0o750), ("077", 0o600, 0o700)]
    {
        let scratch = open_scratch();
        let archive = scratch.path().join("archive");
        let column = archive.join("column");
        run_well("modes::child_that_makes_a_column", &column, umask);
        for directory in [&archive, &column] {
            assert_eq!(mode_of(directory), directory_mode, "umask {umask}");
        }
        let mut files = 0;
        for entry in std::fs::read_dir(&column).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode_of(&path), file_mode, "umask {umask}: {}", path.display());
            files += 1;
        }
        assert_eq!(files, 9, "three data files, their offsets, the conf, its witness and the lock");
    }
}

#[test]
#[ignore = "started by the tests below as a process of its own"]
fn child_that_writes_to_a_column_of_others() {
    let Some((column, _)) = told() else { return };
    set_umask(0o077);
    // In the current file, in a new one, and in a sealed one that it has to make.
    let mut writer = open(&column, true).unwrap();
    for slot in [Slot(20_001), Slot(40_000), Slot(30_000)] {
        writer.put(slot, &value(slot)).unwrap();
    }
}

#[test]
#[ignore = "started by the tests below as a process of its own"]
fn child_that_serves_a_column() {
    let Some((column, case)) = told() else { return };
    give_up_root();
    if case == "write" {
        let mut writer = open(&column, true).unwrap();
        writer.put(Slot(50_000), &value(Slot(50_000))).unwrap();
    }
    let view = reader(&column).view();
    let slots = [Slot(20_001), Slot(40_000), Slot(30_000)];
    say(if slots.iter().all(|slot| read(&view, *slot) == "value") { "reads" } else { "does not" });
}

fn files_of(column: &Path) -> Vec<std::path::PathBuf> {
    let listed = std::fs::read_dir(column).unwrap();
    listed.map(|entry| entry.unwrap().path()).collect()
}

/// A put under a tight umask replaced the conf by one that nobody else could read.
#[test]
fn later_files_have_the_mode_of_the_conf_under_any_umask() {
    for mode in [0o644, 0o640, 0o664] {
        let scratch = open_scratch();
        let column = scratch.path().join("column");
        drop(make(&column, true));
        std::fs::remove_file(column.join("lock")).unwrap();
        files_of(&column).iter().for_each(|path| set_mode(path, mode));
        run_well("modes::child_that_writes_to_a_column_of_others", &column, "");
        let files = files_of(&column);
        assert_eq!(files.len(), 13, "two more data files, their offsets; conf, witness and lock");
        for path in &files {
            assert_eq!(mode_of(path), mode, "{}", path.display());
        }
    }
}

/// What root made belonged to root: the service could not write its own column any more.
#[test]
fn files_made_by_root_belong_to_the_owner_of_the_column() {
    if !is_root() {
        println!("needs to be root: not tested");
        return;
    }
    let scratch = open_scratch();
    let archive = scratch.path().join("archive");
    let column = archive.join("column");
    drop(make(&column, true));
    std::fs::remove_file(column.join("lock")).unwrap();
    files_of(&column).iter().chain([&archive, &column]).for_each(|path| give_to(path, NOBODY));
    run_well("modes::child_that_writes_to_a_column_of_others", &column, "");
    for case in ["read", "write"] {
        assert_eq!(run_well("modes::child_that_serves_a_column", &column, case), ["reads"]);
    }
    let another = archive.join("another");
    run_well("modes::child_that_makes_a_column", &another, "077");
    let made = files_of(&another);
    assert_eq!(made.len(), 9);
    for path in files_of(&column).iter().chain(&made).chain([&column, &another]) {
        let found = std::fs::symlink_metadata(path).unwrap();
        assert_eq!((found.uid(), found.gid()), (NOBODY, NOBODY), "{}", path.display());
        let wanted = if found.is_dir() { 0o755 } else { 0o644 };
        assert_eq!(mode_of(path), wanted, "{}", path.display());
    }
}

#[test]
#[ignore = "started by the tests below as a process of its own"]
fn child_that_verifies_what_it_may_not_read() {
    let Some((column, _)) = told() else { return };
    give_up_root();
    let verified = verify_column(&column, None, &VerifyOptions::default(), &mut |finding| {
        say(&format!("{:?}: {}: {}", finding.severity, finding.file.display(), finding.found));
    });
    say(&outcome(verified, |summary| {
        format!("{} records, {} damages", summary.records, summary.damages)
    }));
}

/// A permission is the environment's, and no damage; the other files are checked all the same.
#[test]
fn a_file_that_may_not_be_read_is_unreadable_and_not_damaged() {
    let scratch = open_scratch();
    let column = scratch.path().join("column");
    drop(make(&column, true));
    for name in ["data_00000", "data_00001.off"] {
        set_mode(&column.join(name), 0);
    }
    let said = run_well("modes::child_that_verifies_what_it_may_not_read", &column, "");
    let wanted = ["data_00000", "data_00001.off"].map(|name| {
        let path = column.join(name);
        format!("Unreadable: {}: cannot open: Permission denied (os error 13)", path.display())
    });
    assert_eq!(said[..2], wanted);
    assert_eq!(said[2], "1 records, 0 damages");
}
