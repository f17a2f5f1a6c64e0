//! The blocks and states of the chains of `tests/data`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use coldstore::era::EraFile;
use coldstore_consensus::Root;

use crate::{data, era_files};

/// The config of the small chain.
pub const MINIMAL_CONFIG: &str = include_str!("../../data/chain-minimal/config.yaml");

/// A line of `BLOCKS.tsv` or `STATES.tsv`.
#[derive(Debug)]
pub struct Truth {
    pub fork: String,
    pub byte_len: usize,
    pub root: Root,
}

pub fn truth(name: &str) -> BTreeMap<u64, Truth> {
    let text = fs::read_to_string(data("chain-minimal").join(name)).unwrap();
    let line = |line: &str| {
        let cells: Vec<&str> = line.split('\t').collect();
        let [slot, fork, byte_len, _, root] = cells[..] else { panic!("{line}") };
        let byte_len = byte_len.parse().unwrap();
        (slot.parse().unwrap(), Truth { fork: fork.to_owned(), byte_len, root: unhex(root) })
    };
    text.lines().skip(1).map(line).collect()
}

pub fn unhex(text: &str) -> Root {
    text.parse().unwrap()
}

pub fn unframe(stored: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    snap::read::FrameDecoder::new(stored).read_to_end(&mut value).unwrap();
    value
}

/// The blocks of a chain's files, by slot, as SSZ.
pub fn blocks(chain: &str) -> BTreeMap<u64, Vec<u8>> {
    let mut blocks = BTreeMap::new();
    for path in era_files(chain) {
        let mut file = EraFile::open(&path).unwrap();
        for group in file.groups().to_vec() {
            let mut found = Vec::new();
            let mut walk = file.walk(&group).unwrap();
            while let Some(block) = walk.next_block().unwrap() {
                found.push(block);
            }
            for block in found {
                let stored = file.stored_block(&block.record).unwrap();
                blocks.insert(block.head.slot.0, unframe(&stored));
            }
        }
    }
    blocks
}

/// The states at the ends of a chain's eras, by era, as SSZ.
pub fn era_states(chain: &str) -> BTreeMap<u64, Vec<u8>> {
    let mut states = BTreeMap::new();
    for path in era_files(chain) {
        let mut file = EraFile::open(&path).unwrap();
        for group in file.groups().to_vec() {
            let head = file.state_head(&group).unwrap();
            let mut state = Vec::new();
            file.state_stream(&head.record).read_to_end(&mut state).unwrap();
            states.insert(group.era, state);
        }
    }
    states
}

/// The states of every slot of the small chain.
pub fn all_states() -> BTreeMap<u64, Vec<u8>> {
    let slot = |name: &str| name.parse().unwrap();
    let packed = packed("chain-minimal/states.tar.zst");
    packed.into_iter().map(|(name, state)| (slot(&name), state)).collect()
}

/// The files of a packed archive, by name without extension.
pub fn packed(path: &str) -> Vec<(String, Vec<u8>)> {
    let mut unpacked = zstd::Decoder::new(fs::File::open(data(path)).unwrap()).unwrap();
    unpacked.window_log_max(27).unwrap();
    let mut files = Vec::new();
    for entry in tar::Archive::new(unpacked).entries().unwrap() {
        let mut entry = entry.unwrap();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().unwrap().into_owned();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.push((name, bytes));
    }
    files
}
