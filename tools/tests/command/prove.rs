//! `import` and `verify --deep` prove history, and say what that rests on.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Archive, Run, coldstore, copy_dir, test_data};

fn minimal() -> String {
    test_data("chain-minimal/era").to_str().unwrap().to_owned()
}

/// `SLOT:0x…` of a state of the minimal chain.
fn trusted(slot: u64) -> String {
    let text = fs::read_to_string(test_data("chain-minimal/STATES.tsv")).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{slot}\t"))).unwrap();
    format!("{slot}:0x{}", line.rsplit('\t').next().unwrap())
}

fn import(archive: &Archive, more: &[&str]) -> Run {
    let (archive, files) = (archive.arg(), minimal());
    coldstore(&[&["import", &archive, &files], more].concat())
}

fn imported() -> Archive {
    let archive = Archive::new();
    import(&archive, &["--trust-files"]).exits(0);
    archive
}

fn verify(archive: &Archive, more: &[&str]) -> Run {
    let archive = archive.arg();
    coldstore(&[&["verify", &archive], more].concat())
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn data(archive: &Archive, column: &str) -> PathBuf {
    archive.path().join(column).join("data_00000")
}

#[test]
fn an_import_says_what_its_proof_rests_on() {
    let archive = Archive::new();
    let run = import(&archive, &["--json"]).exits(0);
    let proof = &run.json()["proof"];
    assert_eq!(proof["rests_on"], "nothing");
    assert_eq!((&proof["blocks"], &proof["states"]), (&"516".into(), &"9".into()));
    assert_eq!(proof["lone_states"][0], "576");
    for words in ["rests on nothing but the files", "the state of slot 576", "signatures"] {
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
    let archive = Archive::new();
    let run = import(&archive, &["--json", "--trusted-state-root", &trusted(576)]).exits(0);
    let proof = &run.json()["proof"];
    assert_eq!(
        (&proof["rests_on"], &proof["states"]),
        (&"trusted-state-root".into(), &"10".into())
    );
    assert_eq!(proof["trusted_slot"], "576");
    assert!(run.stderr.contains("proved by the trusted state root of slot 576"), "{}", run.stderr);
    let archive = Archive::new();
    let run = import(&archive, &["--json", "--trust-files"]).exits(0);
    assert!(run.json()["proof"].is_null());
    assert!(run.stderr.contains("nothing was proved"), "{}", run.stderr);
}

#[test]
fn another_trusted_root_is_refused_before_anything_is_made() {
    let archive = Archive::new();
    let wrong = format!("64:0x{}", "07".repeat(32));
    let run = import(&archive, &["--trusted-state-root", &wrong]).exits(3);
    run.complains_of("era 1, slot 64: the trusted state root 0x0707");
    assert!(!archive.path().exists());
    let nowhere = format!("9999:0x{}", "07".repeat(32));
    import(&archive, &["--trusted-state-root", &nowhere]).exits(2).complains_of("slot 9999");
    import(&archive, &["--trusted-state-root", "64"]).exits(2);
    import(&archive, &["--trust-files", "--trusted-state-root", &wrong]).exits(2);
}

#[test]
fn an_era_in_two_files_that_differ_and_one_of_another_name_are_refused_unless_files_are_trusted() {
    let archive = Archive::new();
    let directory = archive.beside("files");
    copy_dir(Path::new(&minimal()), Path::new(&directory));
    let third = Path::new(&directory).join("minimal-00003-ed01c88d.era");
    let again = Path::new(&directory).join("again.era");
    fs::copy(&third, &again).unwrap();
    flip(&again, 5000);
    let arguments = ["import", &archive.arg(), &directory];
    let run = coldstore(&arguments).exits(3).complains_of("era 3 is in");
    assert!(run.stderr.contains("again.era") && run.stderr.contains("minimal-00003"));
    fs::remove_file(&again).unwrap();
    fs::rename(&third, third.with_file_name("minimal-00003-ed01c88e.era")).unwrap();
    let run = coldstore(&arguments).exits(3);
    assert!(run.stderr.contains("minimal-00003-ed01c88e.era: corrupt file name"), "{}", run.stderr);
    let highest = archive.scan("bbr", &["--reverse", "--limit", "1", "--format", "sha256"]);
    assert_eq!(highest.first_words(), ["127"], "the eras before it stay");
    coldstore(&[&arguments[..], &["--trust-files"]].concat()).exits(0);
}

#[test]
fn verify_deep_proves_an_archive_and_says_what_that_rests_on() {
    let archive = imported();
    let run = verify(&archive, &["--deep", "--json"]).exits(0);
    let proof = &run.json()["proof"];
    assert_eq!((&proof["rests_on"], &proof["agreeing_eras"]), (&"itself".into(), &"9".into()));
    assert_eq!((&proof["blocks"], &proof["skipped_slots"]), (&"516".into(), &"60".into()));
    assert_eq!(proof["last_unproved_state"], "576");
    let run = verify(&archive, &["--deep", "--trusted-state-root", &trusted(576)]).exits(0);
    assert_eq!(run.text(), "");
    assert!(run.stderr.contains("the trusted state root of slot 576"), "{}", run.stderr);
    assert!(verify(&archive, &["--json"]).exits(0).json().get("proof").is_none());
    for needs_deep in [&["--from", "1"][..], &["--to", "1"], &["--resume", "x"]] {
        verify(&archive, needs_deep).exits(2);
    }
}

#[test]
fn verify_deep_names_what_nothing_but_a_proof_finds() {
    let archive = imported();
    // The last bytes of a column without compression are in the value of its last slot.
    for (column, slot) in [("bbr", "575"), ("bsr", "575")] {
        let path = data(&archive, column);
        let last = fs::read(&path).unwrap().len() - 1;
        // The checksums that an import keeps would tell; an archive of others has none.
        let sums = path.with_extension("sum");
        let kept = fs::read(&sums).ok();
        let _ = fs::remove_file(&sums);
        flip(&path, last);
        verify(&archive, &[column]).exits(0);
        let run = verify(&archive, &["--deep"]).exits(1);
        let named = format!("{column}/data_00000, slot {slot}: ");
        assert!(run.text().contains(&named), "{}", run.text());
        let damages = run.text().lines().count().to_string();
        let run = verify(&archive, &["--deep", "--json"]).exits(1);
        assert_eq!(run.json()["damages"], damages);
        flip(&path, last);
        if let Some(kept) = kept {
            fs::write(&sums, kept).unwrap();
        }
    }
    verify(&archive, &["--deep"]).exits(0);
}

#[test]
fn a_proof_goes_on_where_it_was_and_never_writes_into_the_archive() {
    let archive = imported();
    let file = archive.beside("proof.json");
    let proof = ["--deep", "--json", "--resume", &file];
    let first = verify(&archive, &proof).exits(0);
    let again = verify(&archive, &proof).exits(0);
    assert!(again.stderr.contains("the proof goes on with era 10"), "{}", again.stderr);
    assert_eq!(first.json()["proof"], again.json()["proof"]);
    let other = [&proof[..], &["--from", "64"]].concat();
    verify(&archive, &other).exits(2).complains_of("it is of another proof");
    fs::write(&file, "{}").unwrap();
    verify(&archive, &proof).exits(3).complains_of("it is no checkpoint");
    let inside = archive.path().join("proof.json");
    let run = verify(&archive, &["--deep", "--resume", inside.to_str().unwrap()]);
    run.exits(2).complains_of("must not be in the archive");
    assert!(!inside.exists());
}

#[test]
fn a_range_of_slots_is_proved_by_whole_eras() {
    let archive = imported();
    let range = ["blk", "--deep", "--json", "--from", "100", "--to", "200"];
    let proof = verify(&archive, &range).exits(0).json()["proof"].clone();
    assert_eq!((&proof["agreeing_eras"], &proof["blocks"]), (&"3".into(), &"173".into()));
    let none = ["blk", "--deep", "--json", "--from", "200", "--to", "100"];
    verify(&archive, &none).exits(2);
    let beyond = ["blk", "--deep", "--json", "--from", "100000"];
    assert_eq!(verify(&archive, &beyond).exits(0).json()["proof"]["blocks"], "0");
    assert_eq!(verify(&archive, &["bsd", "--deep"]).code, Some(3), "there is no such column");
}
