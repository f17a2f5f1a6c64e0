//! `import` and `verify --deep` prove history, and name the anchor of the proof.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use test_support::copy_dir;

use crate::import::some_eras;
use crate::support::{
    Archive, PATIENCE, Run, coldstore, coldstore_without_privileges, spawn, test_data,
};

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
fn an_import_names_the_anchor_of_its_proof() {
    let archive = Archive::new();
    let run = import(&archive, &["--json"]).exits(0);
    let proof = &run.json()["proof"];
    assert_eq!(proof["rests_on"], "nothing");
    assert_eq!((&proof["blocks"], &proof["states"]), (&"516".into(), &"9".into()));
    assert_eq!(proof["lone_states"][0], "576");
    let verdict = "coldstore: proof: 516 blocks and 9 states hash to the roots that the eras around \
                   them have; that rests only on the files themselves: a trusted state root \
                   would prove it";
    assert_eq!(run.stderr.lines().next(), Some(verdict));
    for words in ["rests only on the files", "the state of slot 576", "signatures"] {
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
fn a_wrong_trusted_root_is_refused_before_anything_is_created() {
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
fn an_ambiguous_era_and_a_wrong_file_name_are_refused_unless_files_are_trusted() {
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
fn verify_deep_proves_an_archive_and_names_the_anchor() {
    let archive = imported();
    let run = verify(&archive, &["--deep", "--json"]).exits(0);
    let proof = &run.json()["proof"];
    assert_eq!((&proof["rests_on"], &proof["agreeing_eras"]), (&"itself".into(), &"9".into()));
    assert_eq!((&proof["blocks"], &proof["skipped_slots"]), (&"516".into(), &"60".into()));
    assert_eq!(proof["last_unproved_state"], "576");
    let run = verify(&archive, &["--deep", "--trusted-state-root", &trusted(576)]).exits(0);
    assert_eq!(run.text(), "");
    let verdict = "coldstore: proof: 516 blocks, 60 skipped slots and 10 states fit the roots of 9 \
                   eras; they rest on the trusted state root of slot 576";
    assert_eq!(run.stderr.lines().next(), Some(verdict));
    let run = verify(&archive, &["--deep", "--trusted-state-root", &trusted(128)]).exits(0);
    let verdict = "coldstore: proof: 516 blocks, 60 skipped slots and 9 states fit the roots of 9 \
                   eras; they rest on the trusted state root of slot 128 (2 eras) and the archive's \
                   own state of slot 576, which nothing proves (7 eras)";
    assert_eq!(run.stderr.lines().next(), Some(verdict));
    assert!(verify(&archive, &["--json"]).exits(0).json().get("proof").is_none());
    for needs_deep in [&["--from", "1"][..], &["--to", "1"], &["--resume", "x"]] {
        verify(&archive, needs_deep).exits(2);
    }
}

#[test]
fn verify_deep_finds_damage_that_only_a_proof_can_find() {
    let archive = imported();
    // The last bytes of a column without compression are in the value of its last slot.
    for (column, slot) in [("bbr", "575"), ("bsr", "575")] {
        let path = data(&archive, column);
        let last = fs::read(&path).unwrap().len() - 1;
        // Checksums kept by an import would show it; an archive of other software has none.
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
fn a_proof_resumes_from_its_checkpoint_outside_the_archive() {
    let archive = imported();
    let file = archive.beside("proof.json");
    let proof = ["--deep", "--json", "--resume", &file];
    let first = verify(&archive, &proof).exits(0);
    let again = verify(&archive, &proof).exits(0);
    let (mut first, mut again) = (first.json()["proof"].clone(), again.json()["proof"].clone());
    for (count, taken) in [("taken_eras", "9"), ("taken_blocks", "516"), ("taken_states", "9")] {
        assert_eq!((&first[count], &again[count]), (&"0".into(), &taken.into()));
        first[count] = again[count].take();
        again[count] = first[count].clone();
    }
    assert_eq!(first, again);
    let run = verify(&archive, &proof[..1]).exits(0);
    assert!(!run.stderr.contains("taken from"), "{}", run.stderr);
    let run = verify(&archive, &["--deep", "--resume", &file]).exits(0);
    let told = format!("taken from {file}: 9 eras with 516 blocks and 9 states");
    assert!(run.stderr.contains(&told), "{}", run.stderr);
    let other = [&proof[..], &["--from", "64"]].concat();
    verify(&archive, &other).exits(2).complains_of("it is of another proof");
    fs::write(&file, "{}").unwrap();
    verify(&archive, &proof).exits(3).complains_of("not a checkpoint");
    let inside = archive.path().join("proof.json");
    let run = verify(&archive, &["--deep", "--resume", inside.to_str().unwrap()]);
    run.exits(2).complains_of("must not be in the archive");
    assert!(!inside.exists());
}

/// Half of the archive's files, in a separate archive.
fn first_half() -> Archive {
    let archive = Archive::new();
    let mut files: Vec<_> =
        fs::read_dir(minimal()).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let files: Vec<&str> = files[..5].iter().map(|file| file.to_str().unwrap()).collect();
    coldstore(&[&["import", &archive.arg()], &files[..]].concat()).exits(0);
    archive
}

#[test]
fn a_checkpoint_of_another_archive_or_a_changed_copy_is_rejected() {
    let archive = imported();
    let file = archive.beside("proof.json");
    let proof = ["--deep", "--json", "--resume", &file];
    verify(&archive, &proof).exits(0);
    let kept = fs::read(&file).unwrap();
    let half = verify(&first_half(), &proof).exits(0).json()["proof"].clone();
    assert_eq!((&half["blocks"], &half["agreeing_eras"]), (&"231".into(), &"4".into()));

    // A copy without checksums, with a block root and then with a block changed.
    let forged = Archive::new();
    copy_dir(&archive.path(), &forged.path());
    for column in ["blk", "bbr", "bsr", "bss"] {
        fs::remove_file(data(&forged, column).with_extension("sum")).unwrap();
    }
    fs::write(&file, &kept).unwrap();
    let unchanged = verify(&forged, &proof).exits(0).json()["proof"].clone();
    assert_eq!((&unchanged["taken_eras"], &unchanged["blocks"]), (&"0".into(), &"516".into()));
    for (column, at) in [("bbr", 4000), ("bsr", 4000), ("blk", 9000), ("bss", 9000)] {
        flip(&data(&forged, column), at);
        fs::write(&file, &kept).unwrap();
        verify(&forged, &proof).exits(1);
        flip(&data(&forged, column), at);
    }
    // With checksums the change is detected, and nothing is taken.
    flip(&data(&archive, "blk"), 9000);
    fs::write(&file, &kept).unwrap();
    let damaged = verify(&archive, &proof).exits(1).json()["proof"].clone();
    assert_eq!((&damaged["taken_eras"], &damaged["verdict"]), (&"0".into(), &"damaged".into()));
}

#[test]
fn without_an_anchor_nothing_counts_as_proved() {
    // Without a state, only archive.toml identifies the chain.
    let archive = imported();
    fs::remove_dir_all(archive.path().join("bss")).unwrap();
    let toml = archive.path().join("archive.toml");
    fs::write(&toml, "slots_per_era = 64\n").unwrap();
    let run = verify(&archive, &["--deep"]).exits(1);
    let verdict = "coldstore: not proved: no state in bss anchors the roots";
    assert_eq!(run.stderr.lines().next(), Some(verdict));
    let loose = "not proved: 516 blocks and 1152 roots of 9 eras, slots 0 to 575";
    assert!(run.stderr.contains(loose), "{}", run.stderr);
    let proof = verify(&archive, &["--deep", "--json"]).exits(1).json()["proof"].clone();
    assert_eq!((&proof["verdict"], &proof["rests_on"]), (&"not-proved".into(), &"nothing".into()));
    assert_eq!((&proof["blocks"], &proof["loose_blocks"]), (&"0".into(), &"516".into()));

    // The preset is unknown.
    fs::remove_file(&toml).unwrap();
    let run = verify(&archive, &["--deep"]).exits(1);
    assert!(run.stderr.contains("not proved: the preset is unknown"), "{}", run.stderr);
    fs::write(&toml, "slots_per_era = 32\n").unwrap();
    let run = verify(&archive, &["--deep"]).exits(1);
    let unknown = "not proved: the preset of eras of 32 slots is unknown";
    assert!(run.stderr.contains(unknown), "{}", run.stderr);
    assert_eq!(verify(&archive, &["blk"]).exits(0).text(), "", "the column itself is whole");
}

/// Garbage as the newest state, written by another program.
#[test]
fn a_newest_state_that_cannot_be_hashed_does_not_prevent_the_proof() {
    let archive = imported();
    let path = data(&archive, "bss");
    let bytes = fs::read(&path).unwrap();
    // The record of slot 576 is the last one: its value gets the fixed part of no fork.
    let view = archive.scan("bss", &["--reverse", "--limit", "1", "--format", "sha256"]);
    let byte_len: usize = view.text().split('\t').nth(1).unwrap().parse().unwrap();
    let mut garbage = bytes.clone();
    let start = bytes.len() - byte_len;
    garbage[start + 4272..start + 4276].copy_from_slice(&9_u32.to_le_bytes());
    fs::write(&path, &garbage).unwrap();
    fs::remove_file(path.with_extension("sum")).unwrap();
    let run = verify(&archive, &["--deep", "--json"]).exits(1);
    let proof = &run.json()["proof"];
    assert_eq!((&proof["verdict"], &proof["own_state"]), (&"damaged".into(), &"512".into()));
    assert_eq!((&proof["blocks"], &proof["agreeing_eras"]), (&"454".into(), &"8".into()));
    assert_eq!((&proof["loose_blocks"], &proof["passed_over_states"]), (&"62".into(), &"1".into()));
    assert_eq!(proof["findings"][0]["slot"], "576");
    // A longer fixed part is that of a later fork: that is no damage, and the rest is proved.
    garbage[start + 4272..start + 4276].copy_from_slice(&999_999_u32.to_le_bytes());
    fs::write(&path, &garbage).unwrap();
    let run = verify(&archive, &["--deep"]).exits(0);
    let verdict = "coldstore: proof: 454 blocks, 58 skipped slots and 8 states fit the roots of 8 eras; \
                   they rest on the archive's own state of slot 512, which nothing proves: a trusted \
                   state root would; not proved: 62 blocks of 1 era";
    assert_eq!(run.stderr.lines().next(), Some(verdict));
    assert!(run.stderr.contains("1 state of a later fork than is known here"), "{}", run.stderr);
    // The older states still show the preset.
    fs::remove_file(archive.path().join("archive.toml")).unwrap();
    let run = verify(&archive, &["--deep"]).exits(0);
    assert_eq!(run.stderr.lines().next(), Some(verdict));
}

#[test]
fn a_range_of_slots_is_proved_in_whole_eras() {
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

fn manifest(archive: &Archive) -> String {
    fs::read_to_string(archive.path().join("archive.toml")).unwrap()
}

/// An .era file of era 4 of the minimal chain whose state has another genesis time: nothing within
/// the era is tied to that.
fn forged_fourth_era(directory: &str) {
    let archive = Archive::new();
    let (arg, state) = (archive.arg(), archive.beside("state"));
    let held = some_eras(&archive, "held", "chain-minimal", &[0, 1, 2, 3, 4]);
    coldstore(&["import", &arg, &held]).exits(0);
    coldstore(&["get", &arg, "bss", "256", "--out", &state]).exits(0);
    flip(Path::new(&state), 0);
    coldstore(&["rewind", &arg, "bss", "--to", "255"]).exits(0);
    coldstore(&["put", &arg, "bss", "256", &state]).exits(0);
    coldstore(&["export", &arg, "--era", "4", "--out", directory]).exits(0);
}

/// Guards against a forged newest state for which the next, genuine file is blamed, with no way to
/// go on.
#[test]
fn a_contradicted_unproved_state_is_reported_with_the_remedy() {
    let archive = Archive::new();
    let arg = archive.arg();
    let held = some_eras(&archive, "held", "chain-minimal", &[0, 1, 2, 3]);
    forged_fourth_era(&held);
    coldstore(&["import", &arg, &held]).exits(0);
    let known = manifest(&archive);
    assert!(known.contains("unproved_state = 256\n"), "{known}");
    assert!(known.contains("preset = \"minimal\"\n"), "{known}");
    let line = "the state of slot 256 is not proved yet: the next era proves it";
    let stat = coldstore(&["stat", &arg]).exits(0);
    assert!(stat.text().contains(line), "{}", stat.text());
    assert_eq!(coldstore(&["stat", &arg, "--json"]).exits(0).json()["unproved_state"], "256");
    let verified = verify(&archive, &[]).exits(0);
    assert!(verified.stderr.contains(line), "{}", verified.stderr);
    assert_eq!(verify(&archive, &["--json"]).exits(0).json()["unproved_state"], "256");

    let next = some_eras(&archive, "next", "chain-minimal", &[5]);
    let refused = coldstore(&["import", &arg, &next]).exits(3);
    let (_, root) =
        trusted(256).split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    for part in [
        format!("{arg}/bss: corrupt state snapshot"),
        format!("slot 256: a state with the state root {root}, as era 5 has it"),
        "minimal-00005-7f74b8ae.era".to_owned(),
        format!("coldstore rewind {arg} --to 255 bss, then import era 4 and those after it again"),
    ] {
        assert!(refused.stderr.contains(&part), "{part}: {}", refused.stderr);
    }
    let highest = || archive.scan("bbr", &["--reverse", "--limit", "1", "--format", "sha256"]);
    assert_eq!(highest().first_words(), ["255"], "nothing of the era was committed");

    coldstore(&["rewind", &arg, "--to", "255", "bss"]).exits(0);
    assert!(!manifest(&archive).contains("unproved_state"), "the era after it has its root");
    let again = some_eras(&archive, "again", "chain-minimal", &[4, 5]);
    coldstore(&["import", &arg, &again]).exits(0);
    assert!(manifest(&archive).contains("unproved_state = 320\n"), "{}", manifest(&archive));
    assert_eq!(highest().first_words(), ["319"]);
    verify(&archive, &["--deep", "--trusted-state-root", &trusted(320)]).exits(0);
    // A trusted root proves the state.
    coldstore(&["import", &arg, &again, "--trusted-state-root", &trusted(320)]).exits(0);
    assert!(!manifest(&archive).contains("unproved_state"), "{}", manifest(&archive));
    // It is recorded beside a rewind of other columns, and advances with the next era.
    import(&archive, &[]).exits(0);
    coldstore(&["rewind", &arg, "--to", "500", "bsr"]).exits(0);
    assert!(manifest(&archive).contains("unproved_state = 576\n"), "{}", manifest(&archive));
}

/// Era 5 is refused because of the state of slot 256, and nothing of it is committed.
#[track_caller]
fn assert_state_is_named_by_the_fifth_era(archive: &Archive) {
    let (arg, next) = (archive.arg(), some_eras(archive, "next", "chain-minimal", &[5]));
    let refused = coldstore(&["import", &arg, &next]).exits(3);
    for part in [
        format!("{arg}/bss: corrupt state snapshot"),
        format!("coldstore rewind {arg} --to 255 bss, then import era 4 and those after it again"),
    ] {
        assert!(refused.stderr.contains(&part), "{part}: {}", refused.stderr);
    }
    let highest = archive.scan("bbr", &["--reverse", "--limit", "1", "--format", "sha256"]);
    assert_eq!(highest.first_words(), ["255"]);
    assert!(manifest(archive).contains("unproved_state = 256\n"), "{}", manifest(archive));
}

/// An import records its knowledge of the newest state at its end; a killed import does not get there.
#[test]
fn a_contradicted_state_of_a_killed_import_is_reported() {
    let archive = Archive::new();
    let (arg, before) = (archive.arg(), PathBuf::from(archive.beside("before")));
    let held = some_eras(&archive, "held", "chain-minimal", &[0, 1, 2, 3]);
    coldstore(&["import", &arg, &held]).exits(0);
    forged_fourth_era(&held);
    copy_dir(&archive.path(), &before);
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "no kill hits an import");
        let conf = archive.path().join("bss/column.conf");
        let inode = || fs::metadata(&conf).map(|conf| conf.ino()).ok();
        let old = inode();
        let mut child = spawn(&["import", &arg, &held], Stdio::null());
        while inode() == old && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let newest = archive.scan("bss", &["--reverse", "--limit", "1", "--format", "sha256"]);
        if newest.first_words() == ["256"] && !manifest(&archive).contains("unproved_state = 256") {
            break;
        }
        // The state was not committed yet, or the import had ended.
        fs::remove_dir_all(archive.path()).unwrap();
        copy_dir(&before, &archive.path());
    }
    // Another import imports the rest.
    coldstore(&["import", &arg, &held]).exits(0);
    assert_state_is_named_by_the_fifth_era(&archive);
}

#[test]
fn a_contradicted_state_that_was_put_is_reported() {
    let archive = Archive::new();
    let (arg, state) = (archive.arg(), archive.beside("state"));
    let held = some_eras(&archive, "held", "chain-minimal", &[0, 1, 2, 3, 4]);
    // A trusted root proves the state.
    coldstore(&["import", &arg, &held, "--trusted-state-root", &trusted(256)]).exits(0);
    assert!(!manifest(&archive).contains("unproved_state"), "{}", manifest(&archive));
    coldstore(&["get", &arg, "bss", "256", "--out", &state]).exits(0);
    flip(Path::new(&state), 0);
    coldstore(&["rewind", &arg, "bss", "--to", "255"]).exits(0);
    coldstore(&["put", &arg, "bss", "256", &state]).exits(0);
    assert!(manifest(&archive).contains("unproved_state = 256\n"), "{}", manifest(&archive));
    let line = "the state of slot 256 is not proved yet: the next era proves it";
    let verified = verify(&archive, &[]).exits(0);
    assert!(verified.stderr.contains(line), "{}", verified.stderr);
    assert_state_is_named_by_the_fifth_era(&archive);
    // The named remedy works.
    coldstore(&["rewind", &arg, "--to", "255", "bss"]).exits(0);
    coldstore(&["import", &arg, &minimal()]).exits(0);
    verify(&archive, &["--deep", "--trusted-state-root", &trusted(576)]).exits(0);
}

/// The proof maps the columns and hashes the newest state first: a bad sector there would end the
/// process. Everything is therefore read with `pread` before, and every readable value is decoded.
#[test]
fn unreadable_places_are_listed_before_a_state_is_mapped() {
    let archive = imported();
    let (state, blocks) = (data(&archive, "bss"), data(&archive, "blk"));
    fs::set_permissions(archive.path().parent().unwrap(), fs::Permissions::from_mode(0o755))
        .unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o0)).unwrap();
    let path = archive.arg();
    let root = trusted(576);
    let deep = ["verify", &path, "--deep", "--trusted-state-root", &root];
    let run = coldstore_without_privileges(&deep).exits(3);
    let unreadable = format!("unreadable: {}: ", state.display());
    assert!(run.text().starts_with(&unreadable), "{}", run.text());
    assert_eq!(run.text().lines().count(), 1, "{}", run.text());
    for told in ["not proved: not all of the archive can be read", "blk: 516 records in 1 file"] {
        assert!(run.stderr.contains(told), "{}", run.stderr);
    }
    // The last bytes are in the last block, and without checksums only decoding finds them.
    fs::remove_file(blocks.with_extension("sum")).unwrap();
    let last = fs::read(&blocks).unwrap().len() - 1;
    flip(&blocks, last);
    let run = coldstore_without_privileges(&deep).exits(1);
    let damaged = format!("{} at offset ", blocks.display());
    assert!(run.text().starts_with(&damaged), "{}", run.text());
    assert!(run.text().contains(", slot 575: payload"), "{}", run.text());
    // Invalid arguments are refused before anything is read.
    let nowhere = format!("9999:0x{}", "07".repeat(32));
    let deep = ["verify", &path, "--deep", "--trusted-state-root", &nowhere];
    fs::set_permissions(&state, fs::Permissions::from_mode(0o644)).unwrap();
    let run = coldstore(&deep).exits(2);
    assert_eq!(run.text(), "");
    run.complains_of("trusted state root of slot 9999: it is not in the archive");
}

/// The proof of one column maps the others, too.
#[test]
fn unreadable_places_of_other_columns_are_listed_and_the_proof_is_skipped() {
    let archive = imported();
    let roots = data(&archive, "bsr");
    fs::set_permissions(archive.path().parent().unwrap(), fs::Permissions::from_mode(0o755))
        .unwrap();
    fs::set_permissions(&roots, fs::Permissions::from_mode(0o0)).unwrap();
    let deep = ["verify", &archive.arg(), "blk", "--deep"];
    let run = coldstore_without_privileges(&deep).exits(3);
    let unreadable = format!("unreadable: {}: ", roots.display());
    assert!(run.text().starts_with(&unreadable), "{}", run.text());
    assert_eq!(run.text().lines().count(), 1, "{}", run.text());
    for told in ["not proved: not all of the archive can be read", "blk: 516 records in 1 file"] {
        assert!(run.stderr.contains(told), "{}", run.stderr);
    }
    assert!(!run.stderr.contains("bsr:"), "{}", run.stderr);
    fs::set_permissions(&roots, fs::Permissions::from_mode(0o644)).unwrap();
    coldstore_without_privileges(&deep).exits(0);
}
