//! The real chain: every state between the boundaries of its eras, in one sealed-or-current file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;

use crate::flow::{Flow, Stream, assert_imported, import, write_file};
use crate::support::{Archive, stream, test_data};
use crate::truth::Truth;

pub(crate) const CHAIN: &str = "chain-minimal";
const SLOTS_PER_ERA: u64 = 64;

/// The state at every slot, checked against `STATES.tsv`.
pub(crate) fn states() -> (BTreeMap<u64, Vec<u8>>, Truth) {
    let table = fs::read_to_string(test_data(CHAIN).join("STATES.tsv")).unwrap();
    let lines = table.lines().skip(1).map(|line| {
        let cells: Vec<&str> = line.split('\t').collect();
        [cells[0], cells[2], cells[3]].join("\t")
    });
    let truth = Truth::of_lines(&lines.collect::<Vec<_>>().join("\n"));
    let archived = File::open(test_data(CHAIN).join("states.tar.zst")).unwrap();
    let mut archived = tar::Archive::new(zstd::Decoder::new(archived).unwrap());
    let mut states = BTreeMap::new();
    for entry in archived.entries().unwrap() {
        let mut entry = entry.unwrap();
        let slot = entry.path().unwrap().file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let mut state = Vec::new();
        entry.read_to_end(&mut state).unwrap();
        states.insert(slot, state);
    }
    let found = Truth::of_values(states.iter().map(|(slot, state)| (*slot, state.as_slice())));
    assert!(found == truth, "the states are those of the table");
    (states, truth)
}

#[test]
fn four_senders_backfill_every_state_of_a_chain() {
    let archive = Archive::new();
    import(&archive, CHAIN);
    let (states, truth) = states();
    assert_eq!(truth.len(), 577);
    let sender = |of: u64| {
        let eras = states.iter().filter(|(slot, _)| *slot / SLOTS_PER_ERA % 4 == of);
        let items: Vec<(u64, Vec<u8>)> = eras.map(|(slot, state)| (*slot, state.clone())).collect();
        let path = archive.beside(&format!("states-{of}"));
        write_file(&path, &stream([4, 0], &items));
        vec![Stream { path, slots: items.into_iter().map(|(slot, _)| slot).collect() }]
    };
    let flow = Flow {
        archive: &archive,
        column: "bss",
        truth: &truth,
        senders: (0..4).map(sender).collect(),
        batch: "2",
        kills: 8,
    };
    assert!(flow.run() >= 2, "the daemon was killed on the way");
    assert_imported(&archive, CHAIN, &["blk", "bbr", "bsr"]);
}
