//! What a year of kept states comes to, by layer.

const SLOTS_PER_YEAR: f64 = 365.0 * 7200.0;

/// Mean sizes of the layers' records in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Layers {
    pub snapshot: f64,
    /// Mean of the eras between two snapshots.
    pub era: f64,
    pub keyframe_11: f64,
    pub keyframe_9: f64,
    pub epoch: f64,
    pub slot: f64,
}

/// The figures of the prototype, in the same order.
const PROTOTYPE: Layers = Layers {
    snapshot: 282.6e6,
    era: 6.4e6,
    keyframe_11: 2.2e6,
    keyframe_9: 0.79e6,
    epoch: 45_300.0,
    slot: 2_164.0,
};
/// Bytes of an entry in a column's offsets, which a slot record has to itself.
const OFFSET: f64 = 8.0;

/// Gigabytes a year, and how they come about.
pub fn print(layers: Layers, calibrated: bool) {
    println!();
    println!("| layer | slots | records a year | bytes each | GB a year | prototype |");
    println!("|---|--:|--:|--:|--:|--:|");
    let all = |of: Layers| {
        [of.snapshot, of.era, of.keyframe_11, of.keyframe_9, of.epoch, of.slot + OFFSET]
    };
    let names = ["snapshot", "era", "keyframe", "keyframe", "epoch", "slot"];
    let exponents = [18, 13, 11, 9, 5, 0];
    let mut coarser = 0.0;
    let (mut sums, mut totals) = ([0.0; 2], Vec::new());
    for (place, exponent) in exponents.into_iter().enumerate() {
        let states = SLOTS_PER_YEAR / f64::from(1u32 << exponent);
        let records = states - coarser;
        coarser = states;
        let each = [layers, PROTOTYPE].map(|of| all(of)[place]);
        let [ours, prototype] = each.map(|bytes| bytes * records / 1e9);
        println!(
            "| {} | 2^{exponent} | {records:.0} | {:.0} | {ours:.2} | {prototype:.2} |",
            names[place], each[0]
        );
        sums = [sums[0] + ours, sums[1] + prototype];
        totals.push(sums);
    }
    println!();
    println!("| a year of | GB | target | prototype | others |");
    println!("|---|--:|--:|--:|--:|");
    let rows = [
        ("boundary states", 1, "5", "91 raw"),
        ("a state every epoch", 4, "14", "72 (Lighthouse, published)"),
        ("a state every slot", 5, "20", "not offered; epochs 72"),
    ];
    for (what, last, target, others) in rows {
        let [ours, prototype]: [f64; 2] = totals[last];
        println!("| {what} | {ours:.1} | {target} | {prototype:.1} | {others} |");
    }
    if !calibrated {
        println!("The chain is NOT calibrated, so these sizes do not count.");
    }
}
