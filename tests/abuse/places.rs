//! Read-only mounts, archives of other users, and symbolic links.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use coldstore::{Archive, ArchiveWriter, ArchiveWriterOptions, Column, ReaderOptions, Slot};

use crate::column::{
    CASE, COLUMN, SLOTS, make, open, open_scratch, outcome, read, run_well, say, told, value,
};
use crate::system::{give_to, give_up_root, is_root, set_mode};
use test_support::{Arrival, HANG, open_reader, reader, wait_for};

const OTHER_USER: u32 = 12_345;

#[test]
#[ignore = "started by the tests below as a process of its own"]
fn child_that_reads_elsewhere() {
    let Some((column, case)) = told() else { return };
    if case == "as nobody" {
        give_up_root();
    }
    let opened = open_reader(&column, ReaderOptions::default());
    let Ok(reader) = opened else {
        say(&outcome(opened, |_| unreachable!()));
        return;
    };
    let view = reader.view();
    for slot in SLOTS {
        assert_eq!(read(&view, slot), "value");
    }
    assert_eq!(view.range(..).filter_map(Result::ok).count(), 3);
    // One who waits has nothing to write, either.
    let waited = wait_for(&reader, 30_000, Some(Duration::from_millis(1)));
    assert_eq!(waited, Arrival::TimedOut);
    let inspected = coldstore::inspect(&column);
    say(&outcome(inspected, |report| format!("healing would do {} things", report.actions.len())));
    say(&outcome(open(&column, true), |_| "the writer opened".to_owned()));
    // The writer, in another process, goes on.
    if let Some(go_on) = std::env::var_os("COLDSTORE_TEST_GO_ON") {
        fs::write(go_on, b"").unwrap();
        let waited = wait_for(&reader, 30_000, Some(HANG));
        assert_eq!(waited, Arrival::Record);
    }
}

/// The same directory, mounted read-only elsewhere, and this test as a reader there.
fn on_a_read_only_mount(column: &Path, mount: &Path, go_on: &Path) -> Command {
    let script = r#"mount --bind "$0" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
    command.args([column, mount]).arg(std::env::current_exe().unwrap());
    command.args(["places::child_that_reads_elsewhere", "--exact", "--ignored", "--nocapture"]);
    command.env(COLUMN, mount).env(CASE, "as it is").env("COLDSTORE_TEST_GO_ON", go_on);
    command
}

#[test]
fn a_reader_on_a_read_only_mount_follows_a_writer_elsewhere() {
    let scratch = open_scratch();
    let [column, mount, go_on] = ["column", "mount", "go-on"].map(|name| scratch.path().join(name));
    let mut writer = make(&column, true);
    fs::create_dir(&mount).unwrap();
    let probe = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "mount", "--bind"])
        .args([&column, &mount])
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        println!("this system lets nobody mount: nothing was tested");
        return;
    }
    let child = on_a_read_only_mount(&column, &mount, &go_on)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let start = std::time::Instant::now();
    while !go_on.exists() && start.elapsed() < test_support::HANG {
        std::thread::sleep(Duration::from_millis(2));
    }
    // Not in order, so that nothing but the commit can have told the reader.
    writer.put(Slot(30_000), b"from elsewhere").unwrap();
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("the lock") || printed.contains("AlreadyOpen"), "{printed}");
    assert!(printed.contains("Read-only file system"), "{printed}");
}

#[test]
fn a_reader_needs_no_ownership() {
    if !is_root() {
        println!("only root can give files away: nothing was tested");
        return;
    }
    let scratch = open_scratch();
    let column = scratch.path().join("column");
    drop(make(&column, true));
    give_to(&column, OTHER_USER);
    for entry in fs::read_dir(&column).unwrap() {
        give_to(&entry.unwrap().path(), OTHER_USER);
    }
    let child = "places::child_that_reads_elsewhere";
    let said = run_well(child, &column, "as nobody");
    assert_eq!(said[0], "healing would do 0 things");
    assert!(said[1].starts_with("io: ") && said[1].contains("ermission denied"), "{said:?}");

    // Whom the owner keeps out is told so, and of what.
    set_mode(&column.join("column.conf"), 0o600);
    let said = run_well(child, &column, "as nobody");
    assert!(said[0].contains("column.conf") && said[0].contains("ermission denied"), "{said:?}");
    set_mode(&column.join("column.conf"), 0o644);
    set_mode(&column, 0o700);
    let said = run_well(child, &column, "as nobody");
    assert!(said[0].contains("column") && said[0].contains("ermission denied"), "{said:?}");
}

#[test]
#[ignore = "started by the tests below as a process of its own"]
fn child_that_opens_for_writing() {
    let Some((column, case)) = told() else { return };
    let column = match &*case {
        "below" => column.join("a/b/bss"),
        "in a removed directory" => {
            fs::create_dir(&column).unwrap();
            std::env::set_current_dir(&column).unwrap();
            fs::remove_dir(&column).unwrap();
            "a/bss".into()
        }
        _ => {
            give_up_root();
            column
        }
    };
    match open(&column, true) {
        Err(error) => say(&outcome::<()>(Err(error), |()| unreachable!())),
        Ok(mut writer) => {
            for slot in SLOTS {
                let again = writer.put(slot, &value(slot));
                say(&outcome(again, |done| format!("{} unchanged", done.unchanged)));
            }
        }
    }
}

/// Guards against a search for the first directory that is there that never ends: a name is taken, and
/// nothing can be made below it.
#[test]
fn a_directory_that_cannot_be_created_is_an_error() {
    let scratch = open_scratch();
    let link = scratch.path().join("link");
    symlink(scratch.path().join("missing"), &link).unwrap();
    let child = "places::child_that_opens_for_writing";
    for place in [link.as_path(), Path::new("/proc"), Path::new("/proc/self")] {
        let said = run_well(child, place, "below");
        let named = said[0].contains(place.to_str().unwrap());
        assert!(said[0].starts_with("io: ") && named, "{}: {said:?}", place.display());
        assert!(said[0].contains("cannot create the directory"), "{said:?}");
    }
    let said = run_well(child, &scratch.path().join("removed"), "in a removed directory");
    assert!(said[0].contains("a: cannot create the directory: No such file"), "{said:?}");
    assert!(!scratch.path().join("missing").exists());
}

/// Guards against permissions that are asked for without need: a directory above may be one to pass
/// through only, and a value that is there already is compared and flushed, not written.
#[test]
fn an_identical_put_succeeds_without_write_permission() {
    if !is_root() {
        println!("only root can give files away: nothing was tested");
        return;
    }
    const NOBODY: u32 = 65_534;
    let scratch = open_scratch();
    let column = scratch.path().join("column");
    drop(make(&column, true));
    give_to(&column, NOBODY);
    for entry in fs::read_dir(&column).unwrap() {
        let path = entry.unwrap().path();
        // Sealed files stay root's.
        if !["data_00000", "data_00001"].iter().any(|sealed| path.ends_with(sealed)) {
            give_to(&path, NOBODY);
        }
    }
    for sealed in ["data_00000", "data_00001"] {
        set_mode(&column.join(sealed), 0o444);
    }
    set_mode(scratch.path(), 0o711);
    let said = run_well("places::child_that_opens_for_writing", &column, "as nobody");
    assert_eq!(said, ["1 unchanged"; 3]);
}

#[test]
fn an_archive_and_its_columns_may_lie_behind_symbolic_links() {
    let scratch = open_scratch();
    let [archive, elsewhere, link] =
        ["archive", "elsewhere", "link"].map(|name| scratch.path().join(name));
    fs::create_dir_all(&archive).unwrap();
    fs::create_dir_all(&elsewhere).unwrap();
    symlink(&archive, &link).unwrap();
    symlink(&elsewhere, archive.join("bss")).unwrap();
    let options = ArchiveWriterOptions::default().raw(true).far(true);
    let options = options.backfill(Column::StateSnapshots).backfill(Column::BlockRoots);
    let mut writer = ArchiveWriter::open(&link, options).unwrap();
    for slot in SLOTS {
        writer.writer(Column::StateSnapshots).unwrap().put(slot, &value(slot)).unwrap();
        writer.writer(Column::BlockRoots).unwrap().put(slot, &[7; 32]).unwrap();
    }
    assert!(elsewhere.join("column.conf").exists() && archive.join("bbr/column.conf").exists());
    // SAFETY: nobody but the writer above changes the files.
    let read_back = unsafe { Archive::open_mapped(&link, ReaderOptions::default()) }.unwrap();
    let view = read_back.column(Column::StateSnapshots).unwrap().view();
    assert!(SLOTS.iter().all(|slot| read(&view, *slot) == "value"));
    // The lock is the same one by every name.
    let refused = open(&elsewhere, true).unwrap_err();
    assert!(matches!(refused, coldstore::Error::AlreadyOpen { .. }), "{refused:?}");
    drop(writer);
    assert!(coldstore::inspect(archive.join("bss")).unwrap().is_clean());
}

/// Old files may be moved to another disk: readers follow links, and the writer refuses to write
/// through one.
#[test]
fn a_file_behind_a_symbolic_link_is_read_and_not_written() {
    let scratch = open_scratch();
    let column = scratch.path().join("column");
    drop(make(&column, true));
    let moved = scratch.path().join("moved");
    fs::rename(column.join("data_00000"), &moved).unwrap();
    symlink(&moved, column.join("data_00000")).unwrap();
    let before = fs::read(&moved).unwrap();
    assert_eq!(read(&reader(&column).view(), SLOTS[0]), "value");
    let mut writer = open(&column, true).unwrap();
    writer.put(Slot(20_001), b"the current file").unwrap();
    let refused = outcome(writer.put(Slot(2), b"through the link"), |_| "put".to_owned());
    assert!(refused.starts_with("io: ") && refused.contains("data_00000"), "{refused}");
    assert!(fs::read(&moved).unwrap() == before);
    assert!(!writer.is_poisoned(), "nothing was changed yet");
    assert_eq!(read(&reader(&column).view(), SLOTS[0]), "value");
}
