//! `map`, and snapshots of `map` and `stat` for known archives (`tests/snapshots`).

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::path::Path;

use crate::support::{
    Archive, Run, coldstore, coldstore_fed, command, on_a_terminal, roots, stream, test_data,
};

/// Compares with the snapshot, or rewrites it if `UPDATE_SNAPSHOTS` is set.
#[track_caller]
pub(crate) fn assert_snapshot(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, found).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap();
    assert!(found == wanted, "{name} differs; found:\n{found}");
}

/// The minimal chain, with some states backfilled.
pub(crate) fn minimal() -> Archive {
    let archive = Archive::new();
    let config = archive.beside("config.toml");
    fs::write(&config, "config_name = \"minimal\"\n").unwrap();
    let files = test_data("chain-minimal").join("era");
    let (path, files) = (archive.arg(), files.to_str().unwrap().to_owned());
    coldstore(&["import", &path, &files, "--network", &config, "--backfill"]).exits(0);
    let between: Vec<_> = (65..100).map(|slot| (slot, vec![7; 1000])).collect();
    coldstore_fed(&["load", &path, "bss", "--backfill", "--raw"], &stream([4, 0], &between))
        .exits(0);
    archive
}

/// Three files of the mainnet preset; the second lacks blocks and has truncated block roots. The
/// archive claims to be mainnet's, so that it has dates.
fn damaged() -> Archive {
    let archive = Archive::new();
    let files = test_data("chain-mainnet-preset").join("era");
    let files = files.to_str().unwrap();
    coldstore(&["import", &archive.arg(), files, "--states", "all"]).exits(0);
    let remove = |file: &str| fs::remove_file(archive.path().join(file)).unwrap();
    remove("blk/data_00001");
    let bsr = archive.path().join("bsr/data_00001");
    OpenOptions::new().write(true).open(bsr).unwrap().set_len(8 + 40 * 5000 + 3).unwrap();
    let root = "0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95";
    let known = format!(
        "config_name = \"mainnet\"\ngenesis_validators_root = \"{root}\"\nslots_per_era = 8192\n"
    );
    fs::write(archive.path().join("archive.toml"), known).unwrap();
    archive
}

/// The output, with relative paths.
fn map(archive: &Archive, more: &[&str]) -> String {
    let mut command = command(&[&["map", "archive"], more].concat());
    let output = command.current_dir(archive.path().parent().unwrap()).output().unwrap();
    let run = Run::from(output).exits(0);
    assert_eq!(run.stderr, "");
    run.text().to_owned()
}

#[test]
fn the_map_of_the_minimal_chain_is_as_recorded() {
    let archive = minimal();
    assert_snapshot("map_minimal.txt", &map(&archive, &[]));
    assert_snapshot("map_minimal.svg", &map(&archive, &["--svg", "-"]));
}

#[test]
fn the_map_shows_missing_and_damaged_slots() {
    let archive = damaged();
    let text = map(&archive, &[]);
    assert_snapshot("map_damaged.txt", &text);
    assert_snapshot("map_damaged.svg", &map(&archive, &["--svg", "-"]));
    assert!(text.contains("missing: slots 8192 to 16383, era 2: "), "{text}");
    assert!(text.contains("blk/data_00001: "), "{text}");
    assert!(text.contains("damaged: slots 13192 to 16383, era 2"), "{text}");
}

/// Asserts that no line is longer, but for a path that cannot be broken.
#[track_caller]
fn assert_fits(width: usize, text: &str) {
    for line in text.lines().filter(|line| line.trim().contains(' ')) {
        assert!(line.chars().count() <= width, "{} characters: {line}", line.chars().count());
    }
}

/// Slots with as many digits as there are.
fn very_high() -> Archive {
    Archive::new().with("bbr", &roots([0, 1, u64::MAX - 1]))
}

#[test]
fn map_and_stat_fit_eighty_columns_on_a_terminal_and_without_one() {
    for archive in [minimal(), damaged()] {
        for verb in ["map", "stat"] {
            let args = [verb, &archive.arg()];
            let run = coldstore(&args);
            assert_fits(80, run.text());
            assert!(!run.text().contains('\u{1B}'));
            let mut command = command(&args);
            let no_color = Run::from(command.env("CLICOLOR_FORCE", "1").output().unwrap());
            assert_eq!(no_color.text(), run.text());
            let shown = on_a_terminal(80, &args).without_color();
            assert_eq!(shown.text(), run.text());
        }
        let narrow = on_a_terminal(60, &["map", &archive.arg()]).without_color();
        assert_fits(60, narrow.text().split("\neach row").next().unwrap());
    }
    assert_fits(80, &map(&very_high(), &[]));
}

#[test]
fn every_slot_is_counted_once_in_json() {
    let archive = damaged();
    let map = coldstore(&["map", &archive.arg(), "--json"]).exits(0).json();
    let number = |value: &serde_json::Value| value.as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!((&map["first_slot"], &map["last_slot"]), (&"0".into(), &"24576".into()));
    let states = ["present", "backfilled", "skipped", "missing", "damaged", "empty"];
    for column in map["columns"].as_array().unwrap() {
        let total: u64 = states.iter().map(|state| number(&column[*state])).sum();
        assert_eq!(total, 24577, "{}", column["column"]);
        for file in column["files"].as_array().unwrap() {
            let total: u64 = states.iter().map(|state| number(&file[*state])).sum();
            let last = number(&file["last_slot"]).min(24576);
            assert_eq!(total, last - number(&file["first_slot"]) + 1);
        }
    }
    let blk = &map["columns"][0];
    let stat = coldstore(&["scan", &archive.arg(), "blk", "--format", "json"]);
    assert_eq!(number(&blk["present"]), stat.json_lines().len() as u64);
    assert_eq!(blk["findings"][0]["state"], "missing");
    assert_eq!(blk["findings"][0]["first_slot"], "8192");
    assert_eq!(blk["findings"].as_array().unwrap().len(), 1, "{}", blk["findings"]);
    let bsr = &map["columns"][2];
    assert_eq!(
        (&bsr["damaged"], &bsr["missing"]),
        (&(16384 - 13192).to_string().into(), &"0".into())
    );
}

#[test]
fn the_map_can_be_limited_to_a_column_and_a_range() {
    let archive = minimal();
    let text = map(&archive, &["blk", "--from", "256", "--to", "287"]);
    assert!(text.contains("00000  256   5 │███·███·█············███████████│"), "{text}");
    assert_eq!(text.matches('│').count(), 2, "{text}");
    let none = map(&archive, &["bss", "--from", "577"]);
    assert_eq!(none, "there is no slot to show\n");
    coldstore(&["map", &archive.arg(), "xyz"]).exits(2);
    coldstore(&["map", &archive.arg(), "--json", "--svg", "x"]).exits(2);
}

#[test]
fn a_column_that_cannot_be_read_is_an_error_beside_the_others() {
    let archive = Archive::new().with("bbr", &roots(0..10)).with("bsr", &roots(0..10));
    fs::write(archive.path().join("bsr/column.conf"), "no conf").unwrap();
    let run = coldstore(&["map", &archive.arg()]).exits(3);
    assert!(run.stderr.contains("bsr") && run.stderr.contains("column.conf"), "{}", run.stderr);
    assert!(run.text().starts_with("bbr block-roots: 10 present\n"), "{}", run.text());
    fs::write(archive.path().join("bbr/column.conf"), "no conf").unwrap();
    coldstore(&["map", &archive.arg()]).exits(3);
}

/// The conf's highest slot may be huge; files that do not exist are not examined.
#[test]
fn a_column_with_a_very_high_slot_is_drawn_at_once() {
    let far = u64::MAX - 1;
    let archive = Archive::new().with("bbr", &roots([0, 1, far])).with("bss", &roots([5, far]));
    let text = map(&archive, &[]);
    let missing = format!("missing: slots 2 to {}", far - 1);
    assert!(text.contains(&missing), "{text}");
    let svg = map(&archive, &["--svg", "-"]);
    assert!(svg.len() < 100_000, "{}", svg.len());
}

#[test]
fn an_svg_replaces_a_file_atomically() {
    let archive = minimal();
    let file = archive.beside("map.svg");
    fs::write(&file, "an older and, for all we know, longer picture").unwrap();
    let mut before = fs::File::open(&file).unwrap();
    coldstore(&["map", &archive.arg(), "--svg", &file]).exits(0);
    assert_eq!(fs::read_to_string(&file).unwrap(), map(&archive, &["--svg", "-"]));
    let mut old = String::new();
    before.read_to_string(&mut old).unwrap();
    assert!(old.starts_with("an older"), "who has the old file open still has all of it");
    assert_eq!(map(&archive, &["--svg", "/dev/stdout"]), map(&archive, &["--svg", "-"]));
}
