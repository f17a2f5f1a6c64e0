//! Files that another tool cuts, replaces, removes or takes the permissions of, at every moment of a
//! reader's life.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use coldstore::Slot;

use crate::column::{SLOTS, make, open_scratch, outcome, read, run, say, told, value};
use crate::system::{give_up_root, set_mode};
use test_support::open_reader;

/// When it happens.
const BEFORE_OPENING: &str = "before opening";
/// The reader is open and has not looked at the file.
const BEFORE_FIRST_TOUCH: &str = "before the first touch";
/// The file was read in a view, another commit follows, and the next view looks at it.
const BEFORE_NEXT_VIEW: &str = "before the next view";
/// The file was read in the view that goes on.
const IN_A_VIEW: &str = "in a view";

const SIGBUS: &str = "SIGBUS";

fn harm(column: &Path, what: &str, file: &str) {
    let path = column.join(file);
    match what {
        // In the middle of the value: a page of it is left.
        "cut" => fs::File::options().write(true).open(&path).unwrap().set_len(4096).unwrap(),
        "emptied" => fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap(),
        "replaced" => {
            let other = column.join("another");
            fs::write(&other, b"something else").unwrap();
            fs::rename(other, path).unwrap();
        }
        "removed" => fs::remove_file(path).unwrap(),
        "unreadable" => set_mode(&path, 0),
        _ => unreachable!("{what}"),
    }
}

#[test]
#[ignore = "started by the tests below as a process of its own"]
fn child_that_is_abused() {
    let Some((column, case)) = told() else { return };
    let [version, what, file, when, slot] = case.split(", ").collect::<Vec<_>>()[..] else {
        panic!("{case}")
    };
    let slot = Slot(slot.parse().unwrap());
    // The writer stays: it commits what makes the next view.
    let mut writer = make(&column, version == "v3");
    let reader = || open_reader(&column, Default::default());
    if when == BEFORE_OPENING {
        harm(&column, what, file);
        give_up_root();
        say(&outcome(reader(), |reader| read(&reader.view(), slot)));
        return;
    }
    let reader = reader().unwrap();
    let view = reader.view();
    if when != BEFORE_FIRST_TOUCH {
        assert_eq!(read(&view, slot), "value");
    }
    harm(&column, what, file);
    if when == BEFORE_NEXT_VIEW {
        // Into another file than the harmed one, in whichever way this version allows.
        let next = if slot == SLOTS[2] { Slot(8_201) } else { Slot(20_001) };
        if version == "v3" || slot != SLOTS[2] {
            writer.put(next, &value(next)).unwrap();
        }
        give_up_root();
        say(&outcome(reader.refresh(), |view| read(&view, slot)));
    } else {
        give_up_root();
        say(&read(&view, slot));
    }
}

/// What the reader says, or the signal that ends it.
fn told_of(version: &str, what: &str, file: &str, when: &str, slot: Slot) -> String {
    let scratch = open_scratch();
    let column = scratch.path().join("column");
    let case = [version, what, file, when, &slot.to_string()].join(", ");
    let ended = run("removed_or_cut::child_that_is_abused", &column, &case);
    match (ended.status.signal(), &ended.said[..]) {
        (Some(libc::SIGBUS), []) => SIGBUS.to_owned(),
        (None, [said]) if ended.status.success() => said.clone(),
        _ => panic!("{case}: {}\n{}", ended.status, ended.printed),
    }
}

#[track_caller]
fn check(version: &str, file: &str, slot: Slot, expected: &[(&str, &str, &str)]) {
    for (what, when, wanted) in expected {
        let told = told_of(version, what, file, when, slot);
        // A reader that may not read says which file it is, and why.
        let fits = match *wanted {
            "io" => told.starts_with("io: ") && told.contains(file) && told.contains("ermission"),
            wanted => told == wanted,
        };
        assert!(fits, "{version}: {file} {what} {when}: wanted {wanted}, found {told}");
    }
}

#[test]
fn damage_to_a_sealed_data_file_is_an_error_wherever_it_is_detectable() {
    let expected = [
        ("cut", BEFORE_OPENING, "corrupt"),
        ("cut", BEFORE_FIRST_TOUCH, "corrupt"),
        ("cut", BEFORE_NEXT_VIEW, "corrupt"),
        // The one thing that nobody can notice: the bytes of a map that a view has handed out.
        ("cut", IN_A_VIEW, SIGBUS),
        // With backfill on, an entry behind the end may be one of a batch that is not committed.
        ("emptied", BEFORE_OPENING, "none"),
        ("emptied", BEFORE_FIRST_TOUCH, "none"),
        ("emptied", BEFORE_NEXT_VIEW, "none"),
        ("emptied", IN_A_VIEW, SIGBUS),
        ("replaced", BEFORE_OPENING, "corrupt"),
        ("replaced", BEFORE_FIRST_TOUCH, "corrupt"),
        ("replaced", BEFORE_NEXT_VIEW, "corrupt"),
        ("replaced", IN_A_VIEW, "value"),
        ("removed", BEFORE_OPENING, "corrupt"),
        ("removed", BEFORE_FIRST_TOUCH, "corrupt"),
        ("removed", BEFORE_NEXT_VIEW, "corrupt"),
        ("removed", IN_A_VIEW, "value"),
        ("unreadable", BEFORE_OPENING, "io"),
        ("unreadable", BEFORE_FIRST_TOUCH, "io"),
        ("unreadable", BEFORE_NEXT_VIEW, "value"),
        ("unreadable", IN_A_VIEW, "value"),
    ];
    check("v3", "data_00000", SLOTS[0], &expected);
}

/// Without backfill a sealed file never grows, and a map of it is inherited without a look at it.
#[test]
fn damage_to_a_sealed_file_without_backfill_is_found_on_access() {
    let expected = [
        ("cut", BEFORE_OPENING, "corrupt"),
        ("cut", BEFORE_FIRST_TOUCH, "corrupt"),
        ("cut", BEFORE_NEXT_VIEW, SIGBUS),
        ("cut", IN_A_VIEW, SIGBUS),
        ("emptied", BEFORE_OPENING, "corrupt"),
        ("emptied", BEFORE_FIRST_TOUCH, "corrupt"),
        ("replaced", BEFORE_FIRST_TOUCH, "corrupt"),
        ("replaced", BEFORE_NEXT_VIEW, "value"),
        ("removed", BEFORE_FIRST_TOUCH, "corrupt"),
        ("removed", BEFORE_NEXT_VIEW, "value"),
        ("unreadable", BEFORE_FIRST_TOUCH, "io"),
        ("unreadable", BEFORE_NEXT_VIEW, "value"),
    ];
    check("v2", "data_00000", SLOTS[0], &expected);
}

#[test]
fn damage_to_the_current_data_file_is_an_error_wherever_it_is_detectable() {
    let expected = [
        ("cut", BEFORE_OPENING, "corrupt"),
        ("cut", BEFORE_NEXT_VIEW, "corrupt"),
        ("cut", IN_A_VIEW, SIGBUS),
        ("emptied", BEFORE_OPENING, "corrupt"),
        ("emptied", BEFORE_NEXT_VIEW, "corrupt"),
        ("replaced", BEFORE_OPENING, "corrupt"),
        ("replaced", BEFORE_NEXT_VIEW, "corrupt"),
        ("replaced", IN_A_VIEW, "value"),
        ("removed", BEFORE_OPENING, "corrupt"),
        ("removed", BEFORE_NEXT_VIEW, "corrupt"),
        ("removed", IN_A_VIEW, "value"),
        ("unreadable", BEFORE_OPENING, "io"),
        ("unreadable", BEFORE_NEXT_VIEW, "value"),
        ("unreadable", IN_A_VIEW, "value"),
    ];
    check("v3", "data_00002", SLOTS[2], &expected);
}

#[test]
fn damage_to_an_offset_file_is_an_error_wherever_it_is_detectable() {
    let current = [
        ("cut", BEFORE_OPENING, "corrupt"),
        ("cut", BEFORE_NEXT_VIEW, "corrupt"),
        ("emptied", BEFORE_OPENING, "corrupt"),
        ("emptied", BEFORE_NEXT_VIEW, "corrupt"),
        ("emptied", IN_A_VIEW, SIGBUS),
        ("replaced", BEFORE_OPENING, "corrupt"),
        ("replaced", BEFORE_NEXT_VIEW, "corrupt"),
        ("replaced", IN_A_VIEW, "value"),
        ("removed", BEFORE_OPENING, "corrupt"),
        ("removed", BEFORE_NEXT_VIEW, "corrupt"),
        ("removed", IN_A_VIEW, "value"),
        ("unreadable", BEFORE_OPENING, "io"),
        ("unreadable", BEFORE_NEXT_VIEW, "value"),
    ];
    check("v3", "data_00002.off", SLOTS[2], &current);
    // A sealed offset file may be short: what is missing at its end reads as no record.
    let sealed = [
        ("emptied", BEFORE_OPENING, "none"),
        ("emptied", BEFORE_FIRST_TOUCH, "none"),
        ("emptied", BEFORE_NEXT_VIEW, "none"),
        ("emptied", IN_A_VIEW, SIGBUS),
        ("removed", BEFORE_FIRST_TOUCH, "corrupt"),
        ("removed", BEFORE_NEXT_VIEW, "corrupt"),
        ("removed", IN_A_VIEW, "value"),
        ("unreadable", BEFORE_FIRST_TOUCH, "io"),
        ("unreadable", BEFORE_NEXT_VIEW, "value"),
    ];
    check("v3", "data_00000.off", SLOTS[0], &sealed);
}

/// A conf is read once and never mapped: what becomes of it later costs no view anything.
#[test]
fn damage_to_the_conf_does_not_affect_existing_views() {
    for what in ["emptied", "replaced", "removed", "unreadable"] {
        for when in [BEFORE_FIRST_TOUCH, IN_A_VIEW] {
            let wanted = match (what, when) {
                // A sealed file's bound cannot be established without the conf.
                ("emptied" | "replaced" | "removed", BEFORE_FIRST_TOUCH) => "corrupt",
                ("unreadable", BEFORE_FIRST_TOUCH) => "io",
                _ => "value",
            };
            check("v3", "column.conf", SLOTS[0], &[(what, when, wanted)]);
        }
    }
    let expected = [
        ("emptied", BEFORE_OPENING, "corrupt"),
        ("replaced", BEFORE_OPENING, "corrupt"),
        ("removed", BEFORE_OPENING, "no column"),
        ("unreadable", BEFORE_OPENING, "io"),
    ];
    check("v3", "column.conf", SLOTS[0], &expected);
}
