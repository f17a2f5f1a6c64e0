//! Eras of 8192 slots, each with its own sealed file: a synthetic diff for every slot.

use crate::flow::{Flow, Stream, assert_imported, import, write_file};
use crate::host::Daemon;
use crate::support::{Archive, stream};
use crate::truth::Truth;

const CHAIN: &str = "chain-mainnet-preset";
const SLOTS_PER_ERA: u64 = 8192;
const ERAS: u64 = 3;

/// From one byte to about 500: an empty diff is refused.
fn diff(slot: u64) -> Vec<u8> {
    let seed = slot.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (0..=seed >> 55).map(|n| (seed >> (n % 56)).to_le_bytes()[0]).collect()
}

fn items(slots: impl Iterator<Item = u64>) -> Vec<(u64, Vec<u8>)> {
    slots.map(|slot| (slot, diff(slot))).collect()
}

#[test]
fn four_senders_backfill_a_diff_for_every_slot_of_three_sealed_files() {
    let archive = Archive::new();
    import(&archive, CHAIN);
    let all = items(0..=ERAS * SLOTS_PER_ERA);
    let truth = Truth::of_values(all.iter().map(|(slot, value)| (*slot, value.as_slice())));
    let daemon = Daemon::start(&archive, &["--backfill"]);
    let boundaries = stream([5, 0], &items((0..=ERAS).map(|era| era * SLOTS_PER_ERA)));
    daemon.ask("POST", "/v1/bsd", &boundaries).exits_with(200);
    daemon.stop();
    // Each sender begins with another era, so several files are filled at the same time.
    let sender = |of: u64| {
        let eras = (0..ERAS).map(|era| (era + of) % ERAS);
        let streams = eras.map(|era| {
            let first = era * SLOTS_PER_ERA + of;
            let slots: Vec<u64> = (first..(era + 1) * SLOTS_PER_ERA).step_by(4).collect();
            let path = archive.beside(&format!("diffs-{era}-{of}"));
            write_file(&path, &stream([5, 0], &items(slots.iter().copied())));
            Stream { path, slots }
        });
        streams.collect::<Vec<Stream>>()
    };
    let flow = Flow {
        archive: &archive,
        column: "bsd",
        truth: &truth,
        senders: (0..4).map(sender).collect(),
        batch: "32",
        kills: 8,
    };
    assert!(flow.run() >= 2, "the daemon was killed on the way");
    assert_imported(&archive, CHAIN, &["blk", "bbr", "bsr", "bss"]);
}
