//! Exported files as the `e2store` crate reads them, which has a parser and SSZ types of its own.

#[path = "../../support/src/e2store.rs"]
#[allow(dead_code, reason = "only a part is used here")]
mod parts;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2store::era::Era;
use ssz::Encode;

use parts::{BLOCK, Encoding, Parts, Record};

const SLOTS_PER_ERA: u64 = 8192;
/// Mainnet's first era of deneb. `e2store` tells the fork by mainnet's slots and knows no block
/// before bellatrix; the bundled chain is in mainnet's shape, with deneb from slot 0.
const FIRST_ERA: u64 = 1053;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Eras 1 to 3 of the bundled chain, moved to slots where mainnet has deneb.
fn moved() -> Vec<Parts> {
    let files = sorted(&root().join("tests/data/chain-mainnet-preset/era"));
    files[1..].iter().map(|path| move_to_deneb(Parts::read(path))).collect()
}

fn move_to_deneb(mut parts: Parts) -> Parts {
    parts.era += FIRST_ERA;
    for at in 0..parts.records.len() {
        let slot_at = if parts.records[at].kind == BLOCK { 100 } else { 40 };
        parts.change(at, |value| {
            let bytes = &mut value[slot_at..slot_at + 8];
            let slot = u64::from_le_bytes(bytes.try_into().unwrap());
            bytes.copy_from_slice(&(slot + FIRST_ERA * SLOTS_PER_ERA).to_le_bytes());
        });
    }
    parts
}

fn coldstore(args: &[&Path]) {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "-p", "coldstore-tools", "--bin", "coldstore", "--"]);
    let status = command.args(args).current_dir(root()).status().unwrap();
    assert!(status.success(), "{args:?}");
}

/// The files that are exported of an archive that these were imported into.
fn exported(parts: &[Parts]) -> Vec<Vec<u8>> {
    let scratch = tempfile::tempdir().unwrap();
    let [files, archive, out, network] =
        ["files", "archive", "out", "network.toml"].map(|name| scratch.path().join(name));
    fs::create_dir(&files).unwrap();
    for parts in parts {
        let bytes = parts.build(Encoding::Payload);
        fs::write(files.join(format!("{:05}.era", parts.era)), bytes).unwrap();
    }
    fs::write(&network, "config_name = \"moved\"\n").unwrap();
    let [import, export, trust, to, of] =
        ["import", "export", "--trust-files", "--out", "--network"].map(Path::new);
    // The slots of its blocks are not those that were hashed.
    coldstore(&[import, &archive, &files, trust]);
    coldstore(&[export, &archive, to, &out, of, &network]);
    sorted(&out).iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn every_block_and_state_of_an_exported_file_is_read_and_nothing_at_skipped_slots() {
    let parts = moved();
    let files = exported(&parts);
    assert_eq!(files.len(), parts.len());
    let mut skipped = 0;
    for (parts, file) in parts.iter().zip(files) {
        let era = Era::deserialize(&file).unwrap();
        assert_eq!(era.epoch_index(), parts.era);
        let blocks: Vec<Vec<u8>> =
            era.blocks.iter().map(|block| block.block.as_ssz_bytes()).collect();
        let records = parts.records.iter().filter(|record| record.kind == BLOCK);
        let wanted: Vec<Vec<u8>> = records.map(Record::value).collect();
        assert_eq!(blocks.len(), wanted.len(), "era {}", parts.era);
        assert!(blocks == wanted, "era {}", parts.era);
        let state = parts.records[parts.state()].value();
        assert!(era.era_state.state.as_ssz_bytes() == state, "era {}", parts.era);
        skipped += SLOTS_PER_ERA - blocks.len() as u64;
    }
    assert!(skipped > 0, "a chain with skipped slots");
}

/// What the test above would say of files with the text's 0 for a skipped slot.
#[test]
fn the_same_files_with_0_for_a_skipped_slot_are_refused() {
    for parts in moved() {
        let error = Era::deserialize(&parts.build(Encoding::Rule)).unwrap_err().to_string();
        assert!(error.contains("invalid slot index block"), "{error}");
    }
}
