//! How a state was made, in words.

use coldstore::Slot;
use coldstore_history::states::How;
use coldstore_history::states::hierarchy::{Hierarchy, Layer};

use crate::output::count;

/// The word in JSON.
pub(super) fn name(how: &How) -> &'static str {
    match how {
        How::Stored => "stored",
        How::Diffs { .. } => "diffs",
        How::Replayed { .. } => "replayed",
        _ => "unknown",
    }
}

/// The slots of the diffs that were applied.
pub(super) fn diffs(how: &How) -> &[Slot] {
    match how {
        How::Diffs { records, .. } | How::Replayed { records, .. } => records,
        _ => &[],
    }
}

/// "rebuilt from 3 diffs (1 of 8192 slots, 2 of 32 slots) on the state of slot 0"
pub(super) fn words(how: &How, layers: &Hierarchy, replayed_slots: u64) -> String {
    let of = |records: &[Slot]| {
        format!("{} ({})", count(records.len() as u64, "diff"), by_layer(records, layers))
    };
    match how {
        How::Stored => "stored".to_owned(),
        How::Diffs { base, records } => {
            format!("rebuilt from {} on the state of slot {base}", of(records))
        }
        How::Replayed { base, records, .. } => {
            let slots = count(replayed_slots, "slot");
            let from = match &records[..] {
                [] => String::new(),
                records => format!(", rebuilt from {}", of(records)),
            };
            format!("replayed {slots} from slot {base}{from}")
        }
        other => other.to_string(),
    }
}

/// Why a state was replayed though it is stored.
pub(super) fn unread(how: &How) -> Option<String> {
    match how {
        How::Replayed { instead_of: Some(fault), .. } => {
            Some(format!("the state is stored, but cannot be read: {fault}"))
        }
        _ => None,
    }
}

fn by_layer(records: &[Slot], layers: &Hierarchy) -> String {
    let mut groups: Vec<(String, u64)> = Vec::new();
    for slot in records {
        let layer = match layers.layer(*slot) {
            Layer::Flat(exponent) | Layer::Chained(exponent) => {
                let slots = 1_u64.checked_shl(exponent.into()).unwrap_or(0);
                format!("of {}", count(slots, "slot"))
            }
            Layer::Raw | Layer::None => "of no layer".to_owned(),
        };
        match groups.last_mut() {
            Some((last, records)) if *last == layer => *records += 1,
            _ => groups.push((layer, 1)),
        }
    }
    let parts = groups.into_iter().map(|(layer, records)| format!("{records} {layer}"));
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use coldstore_consensus::Preset;
    use coldstore_history::states::hierarchy::Shape;

    use super::*;

    #[test]
    fn the_layers_of_a_path_are_counted_from_the_stored_state_on() {
        let layers = Hierarchy::new(Shape::of_preset(Preset::Mainnet));
        let records = [8192, 8192 + 512, 8192 + 544, 8192 + 576, 8192 + 577].map(Slot).to_vec();
        let how = How::Diffs { base: Slot(0), records };
        assert_eq!(
            words(&how, &layers, 0),
            "rebuilt from 5 diffs (1 of 8192 slots, 1 of 512 slots, 2 of 32 slots, 1 of 1 slot) on the \
             state of slot 0"
        );
        assert_eq!((name(&how), diffs(&how).len()), ("diffs", 5));
        let how = How::Replayed { base: Slot(64), records: Vec::new(), instead_of: None };
        assert_eq!(words(&how, &layers, 36), "replayed 36 slots from slot 64");
        assert_eq!(unread(&how), None);
    }
}
