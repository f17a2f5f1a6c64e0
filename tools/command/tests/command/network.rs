//! The stated network must match the files and the states.

use std::fs;
use std::path::Path;

use test_support::copy_dir;

use crate::support::{Archive, Run, coldstore, test_data};

const MINIMAL_ROOT: &str = "0x0a08c27fe4ece2483f9e581f78c66379a06f96e9c24cd1390594ff939b26f95b";
const GNOSIS_ROOT: &str = "0xf5dcb5564e829aab27264b9becd5dfaa017085611224cb3036f573368dbb9d47";

/// The config of the minimal chain.
const CONFIG: &str = "\
PRESET_BASE: 'minimal'
CONFIG_NAME: 'minimal'
GENESIS_FORK_VERSION: 0x00000001
ALTAIR_FORK_VERSION: 0x01000001
ALTAIR_FORK_EPOCH: 6
BELLATRIX_FORK_VERSION: 0x02000001
BELLATRIX_FORK_EPOCH: 12  # with a comment
CAPELLA_FORK_VERSION: 0x03000001
CAPELLA_FORK_EPOCH: 24
DENEB_FORK_VERSION: 0x04000001
DENEB_FORK_EPOCH: 30
ELECTRA_FORK_VERSION: 0x05000001
ELECTRA_FORK_EPOCH: 42
FULU_FORK_VERSION: 0x06000001
FULU_FORK_EPOCH: 56
GLOAS_FORK_VERSION: 0x07000001
GLOAS_FORK_EPOCH: 18446744073709551615
";

fn import(archive: &Archive, files: &str, config: &str, more: &[&str]) -> Run {
    let path = archive.beside("config.yaml");
    fs::write(&path, config).unwrap();
    coldstore(&[&["import", &archive.arg(), files, "--network", &path], more].concat())
}

fn minimal() -> String {
    test_data("chain-minimal/era").to_str().unwrap().to_owned()
}

fn imported() -> Archive {
    let archive = Archive::new();
    import(&archive, &minimal(), CONFIG, &[]).exits(0);
    archive
}

#[test]
fn a_config_that_fits_is_recorded() {
    let archive = imported();
    let recorded = fs::read_to_string(archive.path().join("archive.toml")).unwrap();
    for line in ["config_name = \"minimal\"", "preset = \"minimal\"", "slots_per_era = 64"] {
        assert!(recorded.contains(line), "{recorded}");
    }
}

#[test]
fn a_config_that_contradicts_the_chain_is_refused_before_anything_is_created() {
    for (right, wrong, told) in [
        ("CONFIG_NAME: 'minimal'", "CONFIG_NAME: 'mekong'", "its name says that it is of minimal"),
        ("PRESET_BASE: 'minimal'", "PRESET_BASE: 'mainnet'", "cannot be of the preset mainnet"),
        ("PRESET_BASE: 'minimal'", "PRESET_BASE: 'gnosis'", "cannot be of the preset gnosis"),
        ("GENESIS_FORK_VERSION: 0x00000001", "GENESIS_FORK_VERSION: 0x00000000", "minimal-00000"),
        ("DENEB_FORK_VERSION: 0x04000001", "DENEB_FORK_VERSION: 0x04000000", "minimal-00004"),
        ("ELECTRA_FORK_EPOCH: 42", "ELECTRA_FORK_EPOCH: 41", "minimal-00006"),
        ("FULU_FORK_EPOCH: 56", "FULU_FORK_EPOCH: 18446744073709551615", "minimal-00007"),
        ("GLOAS_FORK_EPOCH: 18446744073709551615", "GLOAS_FORK_EPOCH: 72", "minimal-00009"),
        ("FULU_FORK_EPOCH: 56", "FULU_FORK_EPOCH: soon", "FULU_FORK_EPOCH: wanted a number"),
    ] {
        for trust in [&[][..], &["--trust-files"]] {
            let archive = Archive::new();
            let run = import(&archive, &minimal(), &CONFIG.replace(right, wrong), trust).exits(3);
            assert!(run.stderr.contains(told), "{wrong}: {}", run.stderr);
            assert!(run.stderr.contains("config.yaml"), "{wrong}: {}", run.stderr);
            assert!(!archive.path().exists(), "{wrong}");
        }
    }
}

/// A beacon config has no genesis validators root.
#[test]
fn a_config_without_the_root_selects_its_files_by_forks() {
    let other = test_data("chain-mainnet-preset/era");
    let mixed = |config: &str| {
        let archive = Archive::new();
        let run = import(&archive, &minimal(), config, &[other.to_str().unwrap(), "--json"]);
        (archive, run)
    };
    let without_preset = CONFIG.replace("PRESET_BASE: 'minimal'\n", "");
    for config in [CONFIG, &without_preset] {
        let (_archive, run) = mixed(config);
        let run = run.exits(0);
        assert_eq!(run.json()["imported_eras"], "10");
        assert_eq!(run.json()["left_out"].as_array().unwrap().len(), 4);
    }
    // It fits neither, or a file of the chain that it fits contradicts it.
    for (right, wrong, told) in [
        ("PRESET_BASE: 'minimal'", "PRESET_BASE: 'gnosis'", "which of them"),
        ("FULU_FORK_EPOCH: 56", "FULU_FORK_EPOCH: 57", "minimal-00007"),
    ] {
        let (archive, run) = mixed(&CONFIG.replace(right, wrong));
        assert!(run.exits(3).stderr.contains(told), "{wrong}");
        assert!(!archive.path().exists(), "{wrong}");
    }
}

#[test]
fn an_unknown_preset_is_not_reported_as_damage() {
    let archive = Archive::new();
    let config = CONFIG.replace("PRESET_BASE: 'minimal'", "PRESET_BASE: 'giant'");
    let run = import(&archive, &minimal(), &config, &[]).exits(3);
    assert!(run.stderr.contains("preset 'giant' is unknown; known are mainnet, minimal, gnosis"));
    assert!(!run.stderr.contains("corrupt"), "{}", run.stderr);
    import(&archive, &minimal(), &config, &["--trust-files"]).exits(0);
    let run = coldstore(&["verify", &archive.arg(), "--deep"]).exits(1);
    assert!(run.stderr.contains("not proved: preset 'giant' is unknown"), "{}", run.stderr);
    assert_eq!(run.text(), "", "that is no damage");
}

/// Two presets have eras of 8192 slots. The config chooses, and the roots show which is right.
#[test]
fn eras_of_8192_slots_are_of_the_preset_that_the_config_names() {
    let files = test_data("chain-mainnet-preset/era");
    let first = files.join("mainnet-00000-6d57622b.era").to_str().unwrap().to_owned();
    let config = |preset| format!("PRESET_BASE: {preset}\nCONFIG_NAME: mainnet\n");
    let archive = Archive::new();
    let run = import(&archive, &first, &config("gnosis"), &[]).exits(0);
    assert!(run.stderr.contains("never tested with files"), "{}", run.stderr);
    let run = coldstore(&["import", &archive.arg(), &first]).exits(0);
    assert!(!run.stderr.contains("is assumed to be"), "archive.toml tells: {}", run.stderr);
    let archive = Archive::new();
    let run = coldstore(&["import", &archive.arg(), &first]).exits(0);
    assert!(run.stderr.contains("its preset is assumed to be mainnet: if it is gnosis"));
    // With its blocks the chain is not one of gnosis: their withdrawals would hash otherwise.
    let archive = Archive::new();
    let run = import(&archive, files.to_str().unwrap(), &config("gnosis"), &[]).exits(3);
    assert!(run.stderr.contains("era 0, slot 0"), "{}", run.stderr);
}

#[test]
fn an_archive_toml_of_another_network_is_a_contradiction() {
    let archive = imported();
    let toml = archive.path().join("archive.toml");
    let text = fs::read_to_string(&toml).unwrap();
    for (right, wrong, what) in [
        (MINIMAL_ROOT, GNOSIS_ROOT, "genesis validators root"),
        ("slots_per_era = 64", "slots_per_era = 8192", "number of slots per era"),
        ("preset = \"minimal\"", "preset = \"mainnet\"", "preset"),
    ] {
        fs::write(&toml, text.replace(right, wrong)).unwrap();
        for deep in [&[][..], &["--deep"]] {
            let run = coldstore(&[&["verify", &archive.arg()], deep].concat()).exits(1);
            assert!(run.text().contains("archive.toml"), "{}", run.text());
            assert!(run.text().contains(what), "{}", run.text());
        }
        let json = coldstore(&["verify", &archive.arg(), "--json"]).exits(1).json();
        assert_eq!((&json["damages"], &json["findings"][0]["what"]), (&"1".into(), &what.into()));
        let out = archive.beside("out");
        let run = coldstore(&["export", &archive.arg(), "--out", &out]).exits(3);
        assert!(run.stderr.contains("archive.toml") && run.stderr.contains(what), "{}", run.stderr);
        let run = coldstore(&["import", &archive.arg(), &minimal()]).exits(3);
        assert!(run.stderr.contains("archive.toml") && run.stderr.contains(what), "{}", run.stderr);
    }
    fs::write(&toml, text).unwrap();
    assert_eq!(coldstore(&["verify", &archive.arg(), "--deep"]).exits(0).text(), "");
}

/// The archive begins with era 6, whose first slots, 320 to 322, were skipped.
#[test]
fn import_verify_map_and_export_agree_on_a_skipped_first_slot() {
    let archive = Archive::new();
    let files = archive.beside("files");
    copy_dir(Path::new(&minimal()), Path::new(&files));
    let mut eras: Vec<_> = fs::read_dir(&files).unwrap().map(|file| file.unwrap().path()).collect();
    eras.sort();
    eras[..6].iter().for_each(|file| fs::remove_file(file).unwrap());
    let run = coldstore(&["import", &archive.arg(), &files, "--json"]).exits(0);
    assert_eq!(run.json()["skipped_slots"], "16");
    let proof = coldstore(&["verify", &archive.arg(), "--deep", "--json"]).exits(0).json();
    assert_eq!(proof["proof"]["skipped_slots"], "16");
    assert_eq!(proof["proof"]["unknown_slots"], "0");
    let map = coldstore(&["map", &archive.arg(), "blk", "--json"]).exits(0).json();
    assert_eq!(map["columns"][0]["skipped"], "16", "{map}");
    let out = archive.beside("out");
    let run = coldstore(&["export", &archive.arg(), "--out", &out, "--json"]).exits(0);
    assert_eq!(run.json()["skipped_slots"], "16");
}
