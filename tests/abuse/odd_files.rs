//! Pipes, devices, directories, sockets and links where files should be; names, lengths and paths at
//! their extremes.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use coldstore::verify::{VerifyOptions, verify_column};
use coldstore::{Slot, WriterOptions};

use crate::column::{
    SLOTS, everything, make, open, open_scratch, outcome, read, run_well, say, told,
};
use crate::system::{limit, make_pipe, make_zero_device};
use test_support::{open_reader, reader};

const KINDS: [&str; 6] = ["pipe", "device", "directory", "socket", "link", "dangling link"];

/// Puts something by the name of a file; false where that is not permitted.
fn put_there(kind: &str, path: &Path, outside: &Path) -> bool {
    let _ = fs::remove_file(path);
    match kind {
        "pipe" => make_pipe(path),
        "device" => return make_zero_device(path),
        "directory" => fs::create_dir(path).unwrap(),
        // The path of a socket is short.
        "socket" => drop(UnixListener::bind(path).unwrap()),
        "link" => symlink(outside.join("precious"), path).unwrap(),
        "dangling link" => symlink(outside.join("missing"), path).unwrap(),
        _ => unreachable!("{kind}"),
    }
    true
}

#[test]
#[ignore = "started by the tests below as a process of its own"]
fn child_that_opens_what_is_odd() {
    let Some((column, _)) = told() else { return };
    // Where an odd length is believed and memory asked for by it, none is to be had. What is mapped
    // of files does not count.
    limit(libc::RLIMIT_DATA, 1 << 30);
    say(&outcome(open_reader(&column, Default::default()), |reader| {
        SLOTS.map(|slot| read(&reader.view(), slot)).join(" ")
    }));
    say(&outcome(coldstore::inspect(&column), |_| "inspected".to_owned()));
    let options = VerifyOptions::default().deep(true);
    let verified = verify_column(&column, None, &options, &mut |_| {});
    say(&outcome(verified, |summary| format!("{} damages", summary.damages)));
    say(&outcome(open(&column, true), |mut writer| {
        let put = writer.put_batch(&[(Slot(2), "two"), (Slot(20_001), "three")]);
        drop(put);
        outcome(writer.put(Slot(2), b"two"), |_| "put".to_owned())
    }));
}

/// Each call comes to its end, says what is wrong, and leaves what lies outside alone.
#[test]
fn anything_but_a_regular_file_is_an_error_and_links_are_not_followed_out() {
    let mut tried = 0;
    for kind in KINDS {
        for name in [
            "data_00000",
            "data_00000.off",
            "data_00002",
            "data_00002.off",
            "data_00009",
            "data_00009.off",
            "column.conf",
            "column.conf.tmp",
            "lock",
        ] {
            let scratch = open_scratch();
            let [column, outside] = ["column", "outside"].map(|name| scratch.path().join(name));
            drop(make(&column, true));
            fs::create_dir(&outside).unwrap();
            fs::write(outside.join("precious"), vec![0x65; 70_000]).unwrap();
            let before = everything(&outside);
            if !put_there(kind, &column.join(name), &outside) {
                println!("no {kind} can be made here");
                continue;
            }
            let said = run_well("odd_files::child_that_opens_what_is_odd", &column, "");
            let [read, inspected, verified, wrote] = &said[..] else { panic!("{said:?}") };
            let what = format!("{kind} as {name}: {said:?}");
            assert_eq!(everything(&outside), before, "{what}");
            assert!(!read.contains("WRONG"), "{what}");
            let is_leftover = name.starts_with("data_00009") || name == "column.conf.tmp";
            let is_of_the_writer_alone = is_leftover || name == "lock";
            if is_of_the_writer_alone {
                assert_eq!(read, "value value value", "{what}");
                assert_eq!(verified, "0 damages", "{what}");
            } else {
                assert!(read != "value value value", "{what}");
                assert!(verified != "0 damages", "{what}");
            }
            // A pipe or a device can be locked like a file. All else is refused, by an error that
            // names the file.
            if name == "lock" && ["pipe", "device"].contains(&kind) {
                assert_eq!(wrote, "put", "{what}");
                continue;
            }
            assert!(wrote.starts_with("io: ") && wrote.contains(name), "{what}");
            if kind.contains("link") {
                assert!(wrote.contains("symbolic links"), "{what}");
            }
            // Healing does not look at sealed files, nor at the bytes of the lock.
            if !matches!(name, "data_00000" | "data_00000.off" | "lock") || kind.contains("link") {
                let looked = inspected.starts_with("io: ") && inspected.contains(name);
                assert!(looked || name.starts_with("data_00000"), "{what}");
            }
            tried += 1;
        }
    }
    assert!(tried >= 45, "{tried}");
}

/// Sparse files as long as the file system has them.
#[test]
fn an_enormous_length_reserves_no_memory() {
    for name in
        ["data_00000", "data_00000.off", "data_00002", "data_00002.off", "column.conf", "lock"]
    {
        let scratch = open_scratch();
        let column = scratch.path().join("column");
        drop(make(&column, true));
        let file = fs::File::options().write(true).open(column.join(name)).unwrap();
        let longest = (30..63).rev().find(|bits| file.set_len(1 << bits).is_ok());
        println!("{name}: 2^{} bytes", longest.unwrap());
        if let Some(62) = longest {
            file.set_len(i64::MAX as u64).unwrap();
        }
        let said = run_well("odd_files::child_that_opens_what_is_odd", &column, "");
        let what = format!("{name}: {said:?}");
        match name {
            "lock" => {
                assert_eq!(said[0], "value value value", "{what}");
                assert_eq!(said[3], "put", "{what}");
            }
            // What lies behind the committed length is cut, as after a crash.
            "data_00002" => {
                assert_eq!(said[0], "value value value", "{what}");
                assert_eq!(said[3], "put", "{what}");
            }
            "data_00000.off" => assert_eq!(said[0], "corrupt value value", "{what}"),
            // Of a sealed file the length counts, as far as there are addresses for it.
            "data_00000" => {
                let fits = longest < Some(46) && said[0] == "value value value";
                assert!(fits || said[0].contains("cannot map"), "{what}");
            }
            _ => assert_eq!(said[0], "corrupt", "{what}"),
        }
    }
}

#[test]
fn files_with_foreign_names_are_kept() {
    let odd: [&[u8]; 12] = [
        b"data_",
        b"data_0",
        b"data_000009",
        b"data_-0001",
        b"data_00009 ",
        b"data_00009\n",
        b"data_00009.OFF",
        b"data_99999999999999999999999",
        b"data_18446744073709551615",
        b"\xff\xfe\xfd",
        b"..data_00009",
        &[b'x'; 255],
    ];
    let scratch = open_scratch();
    let column = scratch.path().join("column");
    drop(make(&column, true));
    for name in odd {
        fs::write(column.join(std::ffi::OsStr::from_bytes(name)), b"somebody's").unwrap();
    }
    let before = everything(&column);
    let mut writer = open(&column, true).unwrap();
    assert!(writer.heal_report().is_clean(), "{:?}", writer.heal_report());
    assert_eq!(everything(&column), before);
    writer.put(Slot(20_001), b"on").unwrap();
    let view = reader(&column).view();
    assert_eq!(view.range(..).map(Result::unwrap).count(), 4);
    for name in odd {
        assert!(column.join(std::ffi::OsStr::from_bytes(name)).exists());
    }
}

#[test]
fn a_column_may_have_any_path_the_system_allows() {
    let scratch = open_scratch();
    let odd: [&[u8]; 4] = [b"a\nb", b"\xff\xfe", b"-rf *", " \u{202e}".as_bytes()];
    for name in odd {
        let column = scratch.path().join(std::ffi::OsStr::from_bytes(name));
        drop(make(&column, true));
        assert_eq!(read(&reader(&column).view(), SLOTS[0]), "value");
        assert!(coldstore::inspect(&column).unwrap().is_clean());
    }
    // The longest path that still has room for the names of the files.
    let mut long: PathBuf = scratch.path().to_owned();
    while long.as_os_str().len() < 3_800 {
        long.push("x".repeat(200));
    }
    drop(make(&long, true));
    assert_eq!(read(&reader(&long).view(), SLOTS[2]), "value");
    while long.as_os_str().len() < 4_200 {
        long.push("x".repeat(200));
    }
    for said in [
        outcome(open_reader(&long, Default::default()), |_| "opened".to_owned()),
        outcome(open(&long, true), |_| "opened".to_owned()),
        outcome(coldstore::Writer::open(&long, WriterOptions::default()), |_| "opened".to_owned()),
        outcome(coldstore::inspect(&long), |_| "inspected".to_owned()),
    ] {
        assert!(said.starts_with("io: ") && said.contains("too long"), "{said}");
    }
    let component = scratch.path().join("x".repeat(256));
    let said = outcome(open(&component, true), |_| "opened".to_owned());
    assert!(said.contains("too long"), "{said}");
}
