//! Sizes of the states that an archive keeps, layer by layer, on a chain like mainnet's, beside what others
//! store.
//!
//! `cargo bench -p coldstore-history --bench layers -- [ERAS]` (default: 1, the span of the longest difference).
//! It prints the chain's parameters, and whether the chain is calibrated: sizes count only if
//! `zstd --patch-from -3` of its states gives what it gives for mainnet's. Sizes are exact. Without `--bench` it
//! is a quick smoke test.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench that fails must stop")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod support;

use coldstore_consensus::transition::{SyntheticChain, SyntheticParameters};
use support::reference::{Split, like_lighthouse, packed, patch};
use support::rules;

const SLOTS_PER_EPOCH: u64 = 32;
const SLOTS_PER_ERA: u64 = 8192;
/// Bytes of `zstd --patch-from -3` between two states of mainnet, by their distance in slots.
const CALIBRATION: [(u64, f64); 2] = [(SLOTS_PER_EPOCH, 3.4e6), (SLOTS_PER_ERA, 4.4e6)];
/// Deviation of a calibrated chain.
const TOLERANCE: f64 = 0.2;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = !arguments.iter().any(|argument| argument == "--bench");
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse::<u64>().ok());
    let eras = numbers.next().unwrap_or(u64::from(!quick));
    let of_size = if quick { SyntheticParameters::small() } else { SyntheticParameters::default() };
    let parameters = SyntheticParameters { true_roots: false, ..of_size };
    println!("{parameters:#?}");
    let mut chain = SyntheticChain::new(&rules(), parameters);
    let (start, first) = (chain.state().slot(), chain.state().to_ssz());
    println!("state: {} bytes, zstd 1 {}", first.len(), packed(1, &first));
    let spans = [SLOTS_PER_EPOCH, 512, 2048].into_iter().filter(|span| !quick || *span < 512);
    for span in spans.chain((1..=eras).map(|era| era * SLOTS_PER_ERA)) {
        while chain.state().slot() < start + span {
            chain.advance().unwrap();
        }
        let next = chain.state().to_ssz();
        let like = like_lighthouse(&Split::new(&first), &Split::new(&next));
        let patch = patch(3, &first, &next);
        print!("{span} slots: zstd --patch-from -3 {patch}, like Lighthouse {like}");
        match CALIBRATION.into_iter().find(|(of, _)| *of == span) {
            Some((_, wanted)) if (patch as f64 / wanted - 1.0).abs() <= TOLERANCE => {
                println!(" (calibrated: {wanted:.2e})");
            }
            Some((_, wanted)) => println!(" (NOT calibrated: {wanted:.2e})"),
            None => println!(),
        }
    }
}
