//! `import`.

use std::fs;
use std::path::Path;

use crate::hostile::make_pipe;
use test_support::{assert_imported, copy_dir, era_files};

use crate::support::{Archive, Run, coldstore, command, listing, test_data};

const MINIMAL_ROOT: &str = "0x0a08c27fe4ece2483f9e581f78c66379a06f96e9c24cd1390594ff939b26f95b";

fn era_directory(chain: &str) -> String {
    test_data(chain).join("era").to_str().unwrap().to_owned()
}

fn import(archive: &Archive, chain: &str, more: &[&str]) -> Run {
    let (archive, files) = (archive.arg(), era_directory(chain));
    coldstore(&[&["import", &archive, &files], more].concat())
}

fn sha256_lines(archive: &Archive, column: &str) -> String {
    archive.scan(column, &["--format", "sha256"]).exits(0).text().to_owned()
}

fn assert_holds(archive: &Archive, chain: &str, columns: &[&str]) {
    for column in columns {
        assert_imported(chain, column, 0..=u64::MAX, &sha256_lines(archive, column));
    }
}

#[test]
fn an_imported_chain_equals_its_files() {
    for chain in ["chain-minimal", "chain-mainnet-preset"] {
        let archive = Archive::new();
        let run = import(&archive, chain, &["--states", "all"]).exits(0);
        assert_eq!(run.text(), "", "the summary is for people");
        assert!(run.stderr.contains("eras"), "{}", run.stderr);
        assert_holds(&archive, chain, &["blk", "bsr", "bss", "bbr"]);
        let verified = coldstore(&["verify", &archive.arg(), "--deep"]).exits(0);
        assert_eq!(verified.text(), "");
    }
}

#[test]
fn the_summary_is_json_when_asked_for() {
    let archive = Archive::new();
    let summary = import(&archive, "chain-minimal", &["--json"]).exits(0).json();
    assert_eq!(summary["imported_eras"], "10");
    assert_eq!(summary["present_eras"], "0");
    assert_eq!(summary["blocks"], "516");
    assert_eq!(summary["states"], "10");
    assert_eq!(summary["last_slot"], "575");
    assert_eq!(summary["genesis_validators_root"], MINIMAL_ROOT);
    let again = import(&archive, "chain-minimal", &["--json"]).exits(0).json();
    assert_eq!((&again["imported_eras"], &again["present_eras"]), (&"0".into(), &"10".into()));
}

#[test]
fn importing_again_changes_nothing() {
    let archive = Archive::new();
    import(&archive, "chain-minimal", &[]).exits(0);
    let files = |archive: &Archive| {
        let mut files = listing(&archive.path());
        files.retain(|path, _| path.file_name().unwrap() != "lock");
        files
    };
    let before = files(&archive);
    import(&archive, "chain-minimal", &[]).exits(0);
    assert_eq!(files(&archive), before);
}

#[test]
fn a_resumed_import_equals_a_single_one() {
    let archive = Archive::new();
    let directory = archive.beside("some");
    copy_dir(Path::new(&era_directory("chain-minimal")), Path::new(&directory));
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.to_str().unwrap().contains("minimal-00005") {
            fs::rename(&path, archive.beside("fifth.era")).unwrap();
        }
    }
    let run = coldstore(&["import", &archive.arg(), &directory]).exits(3);
    assert!(run.stderr.contains("era 5"), "{}", run.stderr);
    let (fifth, archive_arg) = (archive.beside("fifth.era"), archive.arg());
    coldstore(&["import", &archive_arg, &directory, &fifth]).exits(0);
    assert_holds(&archive, "chain-minimal", &["blk", "bsr", "bss", "bbr"]);
}

#[test]
fn states_are_kept_as_chosen() {
    let slots = |archive: &Archive| -> Vec<String> {
        let run = archive.scan("bss", &["--format", "sha256"]).exits(0);
        run.first_words().into_iter().map(str::to_owned).collect()
    };
    let third = Archive::new();
    import(&third, "chain-minimal", &["--states", "every:3"]).exits(0);
    assert_eq!(slots(&third), ["0", "192", "384", "576"]);
    let none = Archive::new();
    import(&none, "chain-minimal", &["--states", "none"]).exits(0);
    assert_eq!(slots(&none), ["576"], "the newest is kept in any case");
    assert_holds(&none, "chain-minimal", &["blk", "bsr", "bbr"]);
    for wrong in ["some", "every:0", "every:", "every:x", ""] {
        import(&none, "chain-minimal", &["--states", wrong]).exits(2);
    }
}

#[test]
fn states_can_be_backfilled_later_and_the_choice_is_recorded() {
    let slots = |archive: &Archive| {
        archive.scan("bss", &["--format", "sha256"]).exits(0).text().lines().count()
    };
    let archive = Archive::new();
    import(&archive, "chain-minimal", &["--states", "every:4"]).exits(0);
    assert_eq!(slots(&archive), 4);
    // Without the option nothing is lacking.
    let again = import(&archive, "chain-minimal", &["--json"]).exits(0).json();
    assert_eq!((&again["imported_eras"], &again["present_eras"]), (&"0".into(), &"10".into()));
    let files = || {
        let mut files = listing(&archive.path());
        files.retain(|path, _| path.file_name().unwrap() != "lock");
        files
    };
    let before = files();
    let refused = import(&archive, "chain-minimal", &["--states", "all"]).exits(3);
    assert!(refused.stderr.contains("--backfill"), "{}", refused.stderr);
    assert!(files() == before, "nothing has changed");
    import(&archive, "chain-minimal", &["--states", "all", "--backfill"]).exits(0);
    assert_holds(&archive, "chain-minimal", &["blk", "bsr", "bss", "bbr"]);
    coldstore(&["verify", &archive.arg(), "--deep"]).exits(0);
}

#[test]
fn a_lost_column_is_restored_and_reported() {
    for column in ["blk", "bbr", "bsr", "bss"] {
        let archive = Archive::new();
        import(&archive, "chain-minimal", &[]).exits(0);
        fs::remove_dir_all(archive.path().join(column)).unwrap();
        let run = import(&archive, "chain-minimal", &[]).exits(0);
        let said = format!("{column} lacked something of 9 eras: completed");
        assert!(run.stderr.contains(&said), "{}", run.stderr);
        assert_holds(&archive, "chain-minimal", &["blk", "bsr", "bss", "bbr"]);
        coldstore(&["verify", &archive.arg(), "--deep"]).exits(0);
    }
}

#[test]
fn a_state_other_than_the_archives_is_refused_with_both_roots() {
    let archive = Archive::new();
    import(&archive, "chain-minimal", &[]).exits(0);
    let bss = archive.path().join("bss");
    let data = fs::read(bss.join("data_00000")).unwrap();
    let state = archive.scan("bss", &["--format", "sha256"]).exits(0);
    let lengths: Vec<usize> = state
        .text()
        .lines()
        .take(2)
        .map(|line| line.split('\t').nth(1).unwrap().parse().unwrap())
        .collect();
    // A balance of the state of slot 64, which is the second record.
    let mut changed = data.clone();
    let at = 8 + 8 + lengths[0] + 8 + lengths[1] - 5000;
    changed[at] ^= 1;
    fs::write(bss.join("data_00000"), &changed).unwrap();
    let run = import(&archive, "chain-minimal", &[]).exits(3);
    assert!(run.stderr.contains("another state of slot 64"), "{}", run.stderr);
    assert!(run.stderr.matches("0x").count() >= 2, "{}", run.stderr);
}

/// Guards against "already there" for an era of which only the last roots were compared.
#[test]
fn a_wrong_trusted_root_within_an_era_is_refused_with_both_roots() {
    for (column, what) in [("bbr", "block root"), ("bsr", "state root")] {
        let archive = Archive::new();
        import(&archive, "chain-minimal", &[]).exits(0);
        let path = archive.path().join(column).join("data_00000");
        let mut data = fs::read(&path).unwrap();
        // Each root has a header of 8 bytes; the first follows the version record.
        data[8 + 300 * 40 + 8 + 31] ^= 1;
        fs::write(&path, &data).unwrap();
        let run = import(&archive, "chain-minimal", &[]).exits(3);
        assert!(run.stderr.contains(&format!("slot 300 has the {what} 0x")), "{}", run.stderr);
        assert!(run.stderr.contains("the archive has 0x"), "{}", run.stderr);
    }
}

#[test]
fn backfill_opens_the_columns_of_states_for_it() {
    let archive = Archive::new();
    import(&archive, "chain-minimal", &["--backfill"]).exits(0);
    let stat = coldstore(&["stat", &archive.arg(), "--json"]).exits(0).json();
    for column in stat["columns"].as_array().unwrap() {
        let wanted = ["bss", "bsd"].contains(&column["column"].as_str().unwrap());
        assert_eq!(column["backfill"]["allowed"], wanted, "{column}");
    }
    assert_eq!(stat["columns"].as_array().unwrap().len(), 5);
}

#[test]
fn the_network_is_recorded_and_shown() {
    let archive = Archive::new();
    import(&archive, "chain-minimal", &[]).exits(0);
    let known = fs::read_to_string(archive.path().join("archive.toml")).unwrap();
    assert!(known.contains(MINIMAL_ROOT) && known.contains("slots_per_era = 64"), "{known}");
    assert!(known.contains("config_name = \"minimal\""), "as the files are called: {known}");
    assert!(known.contains("states = \"all\"") && known.contains("first_slot = 0"), "{known}");
    let config = archive.beside("config.yaml");
    fs::write(&config, "PRESET_BASE: 'minimal'\nCONFIG_NAME: 'minimal'\n").unwrap();
    import(&archive, "chain-minimal", &["--network", &config]).exits(0);
    let stat = coldstore(&["stat", &archive.arg(), "--json"]).exits(0).json();
    assert_eq!(stat["config_name"], "minimal");
    assert_eq!(stat["slots_per_era"], "64");
    assert_eq!(stat["genesis_validators_root"], MINIMAL_ROOT);
    import(&archive, "chain-minimal", &[]).exits(0);
    let known = fs::read_to_string(archive.path().join("archive.toml")).unwrap();
    assert!(known.contains("config_name = \"minimal\""), "a later import forgets it: {known}");
}

#[test]
fn a_network_other_than_the_one_named_is_refused_before_anything_is_created() {
    let archive = Archive::new();
    let run = import(&archive, "chain-minimal", &["--network", "mainnet"]).exits(3);
    run.complains_of(MINIMAL_ROOT);
    let config = archive.beside("network.toml");
    let root = format!("0x{}", "11".repeat(32));
    let text = format!("config_name = \"x\"\ngenesis_validators_root = \"{root}\"\n");
    fs::write(&config, text).unwrap();
    import(&archive, "chain-minimal", &["--network", &config]).exits(3).complains_of(&root);
    import(&archive, "chain-minimal", &["--network", "atlantis"]).exits(2).complains_of("atlantis");
    assert!(!archive.path().exists());
}

#[test]
fn files_of_another_chain_are_refused() {
    let archive = Archive::new();
    import(&archive, "chain-minimal", &["--states", "none"]).exits(0);
    let before = listing(&archive.path());
    let run = import(&archive, "chain-mainnet-preset", &[]).exits(3);
    run.complains_of(MINIMAL_ROOT);
    assert_eq!(listing(&archive.path()), before);
}

#[test]
fn a_damaged_file_is_refused_by_name_and_nothing_of_it_is_stored() {
    let archive = Archive::new();
    let directory = archive.beside("damaged");
    copy_dir(Path::new(&era_directory("chain-minimal")), Path::new(&directory));
    let damaged = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_str().unwrap().contains("minimal-00003"))
        .unwrap();
    let mut bytes = fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&damaged, bytes).unwrap();
    let run = coldstore(&["import", &archive.arg(), &directory]).exits(3);
    assert!(run.stderr.contains("minimal-00003"), "{}", run.stderr);
    let stat = coldstore(&["stat", &archive.arg(), "--json"]).exits(0).json();
    assert_eq!(stat["columns"][1]["highest_slot"], "127", "eras before it are there: {stat}");
}

#[test]
fn paths_without_era_files_are_an_error() {
    let archive = Archive::new();
    let empty = archive.beside("empty");
    fs::create_dir(&empty).unwrap();
    coldstore(&["import", &archive.arg(), &empty]).exits(3).complains_of(".era");
    coldstore(&["import", &archive.arg(), &archive.beside("none.era")]).exits(3);
    assert!(!archive.path().exists());
}

/// A directory with the first eras of the minimal chain.
fn first_eras(archive: &Archive, count: usize) -> String {
    let directory = archive.beside("files");
    fs::create_dir(&directory).unwrap();
    for path in era_files("chain-minimal").into_iter().take(count) {
        fs::copy(&path, Path::new(&directory).join(path.file_name().unwrap())).unwrap();
    }
    directory
}

#[test]
fn bad_files_are_listed_and_good_ones_imported() {
    let archive = Archive::new();
    let directory = first_eras(&archive, 4);
    let good = fs::read(&era_files("chain-minimal")[4]).unwrap();
    let bad = [
        ("a.era", &b"<html>Not found"[..], "an HTML page"),
        ("b.era", b"", "empty"),
        ("c.era", b"\x1f\x8b\x08", "gzip"),
        ("d.era", &good[..60_000], "truncated: 60.0 of at least 6"),
        ("e.era", &[0; 9000], "zeros"),
    ];
    for (name, bytes, _) in bad {
        fs::write(Path::new(&directory).join(name), bytes).unwrap();
    }
    let run = coldstore(&["import", &archive.arg(), &directory, "--json"]).exits(3);
    for (name, _, looks) in bad {
        let line = format!("left out: {directory}/{name}: {looks}");
        assert!(run.stderr.contains(&line), "{line} is not in: {}", run.stderr);
    }
    assert!(
        run.stderr
            .trim_end()
            .ends_with("5 files were left out because they are not valid .era files: see above")
    );
    let summary = run.json();
    assert_eq!(summary["imported_eras"], "4");
    assert_eq!(summary["left_out"].as_array().unwrap().len(), bad.len());
    assert_eq!(summary["left_out"][0]["file"], format!("{directory}/a.era"));
    let last = archive.scan("bbr", &["--reverse", "--limit", "1", "--format", "sha256"]);
    assert_eq!(last.first_words(), ["191"]);
    for (name, ..) in bad {
        fs::remove_file(Path::new(&directory).join(name)).unwrap();
    }
    coldstore(&["import", &archive.arg(), &directory]).exits(0);
}

#[test]
fn an_archive_does_not_begin_after_a_bad_file() {
    let archive = Archive::new();
    let directory = first_eras(&archive, 5);
    let second = Path::new(&directory).join("minimal-00002-68884aec.era");
    let first = Path::new(&directory).join("minimal-00001-c3b5fb85.era");
    for path in [&first, &second] {
        fs::write(path, "<html>").unwrap();
    }
    let import = ["import", &archive.arg(), &directory];
    let run = coldstore(&import).exits(3);
    let wanted = format!("begin with era 3, but {} may be an earlier era", first.display());
    assert!(run.stderr.contains(&wanted), "{}", run.stderr);
    assert!(!archive.path().exists());
    // With the first one present the archive begins where it should, and the other one keeps later eras
    // out.
    fs::copy(&era_files("chain-minimal")[1], &first).unwrap();
    let run = coldstore(&import).exits(3);
    assert!(run.stderr.contains("era 2 is missing"), "{}", run.stderr);
    let last = archive.scan("bbr", &["--reverse", "--limit", "1", "--format", "sha256"]);
    assert_eq!(last.first_words(), ["63"]);
}

#[test]
fn bad_files_alone_create_no_archive() {
    let archive = Archive::new();
    let page = archive.beside("minimal-00001-c3b5fb85.era");
    fs::write(&page, "<html>Not found").unwrap();
    coldstore(&["import", &archive.arg(), &page])
        .exits(3)
        .complains_of("minimal-00001-c3b5fb85.era: an HTML page");
    assert!(!archive.path().exists());
}

#[test]
fn the_same_file_twice_and_a_copy_are_imported_once() {
    let archive = Archive::new();
    let directory = first_eras(&archive, 4);
    let copy = Path::new(&directory).join("copy.era");
    let second = &era_files("chain-minimal")[2];
    fs::copy(second, &copy).unwrap();
    let run =
        coldstore(&["import", &archive.arg(), &directory, second.to_str().unwrap(), "--json"])
            .exits(0);
    assert_eq!(run.json()["imported_eras"], "4");
    assert_eq!(run.stderr.matches("another file has the same bytes").count(), 2, "{}", run.stderr);
}

/// Guards against a file of a directory that is left out without a word.
#[test]
fn a_dangling_link_and_a_pipe_are_listed() {
    let archive = Archive::new();
    let directory = first_eras(&archive, 2);
    std::os::unix::fs::symlink("nowhere", format!("{directory}/a.era")).unwrap();
    make_pipe(Path::new(&format!("{directory}/b.era")));
    fs::create_dir(format!("{directory}/c.era")).unwrap();
    let run = coldstore(&["import", &archive.arg(), &directory, "--json"]).exits(3);
    for (name, why) in [("a.era", "cannot open: No such file"), ("b.era", "cannot")] {
        let line = format!("left out: {directory}/{name}: {why}");
        assert!(run.stderr.contains(&line), "{line} is not in: {}", run.stderr);
    }
    assert_eq!(run.json()["left_out"].as_array().unwrap().len(), 2);
    assert_eq!(run.json()["imported_eras"], "2");
}

#[test]
fn network_selects_its_files_among_others() {
    let archive = Archive::new();
    let directories = ["chain-minimal", "chain-mainnet-preset"].map(era_directory);
    let mixed = ["import", &archive.arg(), &directories[0], &directories[1]];
    coldstore(&mixed).exits(3).complains_of("--network NAME|FILE says which of them to import");
    assert!(!archive.path().exists());
    let config = archive.beside("network.toml");
    fs::write(
        &config,
        format!("config_name = \"minimal\"\ngenesis_validators_root = \"{MINIMAL_ROOT}\"\n"),
    )
    .unwrap();
    let run = coldstore(&[&mixed[..], &["--network", &config, "--json"]].concat()).exits(0);
    for path in era_files("chain-mainnet-preset") {
        let line = format!("left out: {}: of the network with the genesis", path.display());
        assert!(run.stderr.contains(&line), "{line} is not in: {}", run.stderr);
    }
    assert_eq!(run.json()["imported_eras"], "10");
    assert_holds(&archive, "chain-minimal", &["blk", "bsr", "bss", "bbr"]);
}

#[test]
fn a_file_of_another_chain_than_the_archive_is_named() {
    let archive = Archive::new();
    import(&archive, "chain-minimal", &[]).exits(0);
    let other = &era_files("chain-mainnet-preset")[1];
    coldstore(&["import", &archive.arg(), other.to_str().unwrap()])
        .exits(3)
        .complains_of(other.file_name().unwrap().to_str().unwrap());
}

/// Every file of the archive except the text of the lock.
fn tree(
    archive: &Archive,
) -> std::collections::BTreeMap<std::path::PathBuf, impl PartialEq + std::fmt::Debug> {
    if !archive.path().exists() {
        return std::collections::BTreeMap::new();
    }
    let mut tree = listing(&archive.path());
    tree.retain(|path, _| path.file_name().unwrap() != "lock");
    tree
}

/// A directory with these eras of a chain.
pub(crate) fn some_eras(archive: &Archive, name: &str, chain: &str, eras: &[usize]) -> String {
    let directory = archive.beside(name);
    fs::create_dir(&directory).unwrap();
    for entry in fs::read_dir(era_directory(chain)).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        let era: usize = file.rsplit('-').nth(1).unwrap().parse().unwrap();
        if eras.contains(&era) {
            fs::copy(&path, Path::new(&directory).join(file)).unwrap();
        }
    }
    directory
}

#[test]
fn a_refused_import_changes_nothing() {
    // Eras present, and eras to import.
    type Case = (&'static str, &'static [usize], &'static [usize]);
    let cases: [Case; 5] = [
        ("the first file is damaged, there is no archive", &[], &[1, 2]),
        ("the first file is damaged", &[0, 1], &[2, 3]),
        ("eras are missing in between", &[1, 2], &[4]),
        ("the genesis state would fit, the era after it does not", &[1, 2], &[0, 4]),
        ("a column is open elsewhere", &[0, 1], &[2]),
    ];
    for (case, held, files) in cases {
        let archive = Archive::new();
        if !held.is_empty() {
            let held = some_eras(&archive, "held", "chain-minimal", held);
            coldstore(&["import", &archive.arg(), &held]).exits(0);
        }
        let files = some_eras(&archive, "files", "chain-minimal", files);
        if case.contains("damaged") {
            let first = fs::read_dir(&files).unwrap().map(|entry| entry.unwrap().path()).min();
            let first = first.unwrap();
            let mut bytes = fs::read(&first).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            fs::write(&first, bytes).unwrap();
        }
        let elsewhere = case.contains("elsewhere").then(|| {
            let options = coldstore::WriterOptions::default();
            coldstore::Writer::open(archive.path().join("bsr"), options).unwrap()
        });
        let before = tree(&archive);
        for more in [&[][..], &["--backfill"], &["--states", "every:2", "--backfill"]] {
            coldstore(&[&["import", &archive.arg(), &files], more].concat()).exits(3);
            assert_eq!(tree(&archive), before, "{case}, {more:?}");
        }
        drop(elsewhere);
        assert_eq!(archive.path().exists(), !held.is_empty(), "{case}");
    }
}

/// Asserts that the archive of the mainnet preset's chain has its boundary states in layers, and gives them back.
#[track_caller]
fn assert_layered(archive: &Archive) {
    for (column, slots) in [("bss", &["0"][..]), ("bsd", &["8192", "16384", "24576"])] {
        assert_eq!(archive.scan(column, &["--format", "sha256"]).first_words(), slots, "{column}");
    }
    assert_holds(archive, "chain-mainnet-preset", &["blk", "bsr", "bbr"]);
    let known = fs::read_to_string(archive.path().join("archive.toml")).unwrap();
    for line in [
        "states = \"layered\"",
        "state_layers = [\"18,13,11,9+5,0\"]",
        "state_values = \"coldstore\"",
    ] {
        assert!(known.contains(line), "{line}: {known}");
    }
    let out = archive.beside("exported");
    coldstore(&["export", &archive.arg(), "--out", &out]).exits(0);
    for file in era_files("chain-mainnet-preset") {
        let exported = fs::read(Path::new(&out).join(file.file_name().unwrap())).unwrap();
        assert!(exported == fs::read(&file).unwrap(), "{}", file.display());
    }
}

#[test]
fn boundary_states_of_eras_of_8192_slots_are_layered_unless_told_otherwise() {
    let archive = Archive::new();
    import(&archive, "chain-mainnet-preset", &[]).exits(0);
    assert_layered(&archive);
    coldstore(&["verify", &archive.arg()]).exits(0);
    for more in [&[][..], &["--states", "layered"], &["--states", "all"]] {
        let again = import(&archive, "chain-mainnet-preset", &[more, &["--json"]].concat());
        let again = again.exits(0).json();
        assert_eq!((&again["present_eras"], &again["states"]), (&"4".into(), &"0".into()));
    }
    // The state of slot 24576 refers to that of slot 0.
    let before = archive.scan("bsd", &["--format", "sha256"]).stdout;
    coldstore(&["prune", &archive.arg(), "--before", "24576"]).exits(0);
    assert_eq!(archive.scan("bsd", &["--format", "sha256"]).stdout, before);
    coldstore(&["get", &archive.arg(), "bss", "0", "--out", &archive.beside("state")]).exits(0);
    let wrong = import(&archive, "chain-mainnet-preset", &["--states", "layered:13,18"]).exits(2);
    assert!(wrong.stderr.contains("exponent 18 after 13"), "{}", wrong.stderr);
}

/// Whenever the kill comes, the next import completes the archive.
#[test]
fn a_killed_import_of_layered_states_is_resumed() {
    for milliseconds in [10, 40, 80, 160, 320, 640] {
        let archive = Archive::new();
        let files = era_directory("chain-mainnet-preset");
        let mut killed = command(&["import", &archive.arg(), &files])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        killed.kill().unwrap();
        killed.wait().unwrap();
        import(&archive, "chain-mainnet-preset", &[]).exits(0);
        assert_layered(&archive);
    }
}
