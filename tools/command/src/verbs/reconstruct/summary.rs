//! The summary of a reconstruction.

use std::time::Duration;

use coldstore::Column;
use coldstore_history::reconstruct::{ReconstructReport, StoredDiffs};
use coldstore_history::states::hierarchy::Layer;
use serde::Serialize;

use crate::output::{self, bytes_for_people, count};

#[derive(Serialize)]
pub(super) struct Summary {
    slots: u64,
    /// States that were stored; whole ones have the root in `bsr`.
    stored_states: u64,
    /// The diffs by layer, coarsest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers: Vec<OfLayer>,
    /// States whose roots `--check` compared.
    checked_states: u64,
    /// Eras replayed to their end.
    eras: u64,
    /// Eras that were left out, as none of their chosen states was missing.
    done_eras: u64,
    /// Replays whose last state is equal to the stored one, byte for byte.
    equal_ends: u64,
    /// Replays whose last state has the root in `bsr`: they reach no stored state.
    ends_by_root: u64,
    failed: Vec<Failed>,
    seconds: f64,
}

#[derive(Serialize)]
struct OfLayer {
    layer: String,
    records: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Failed {
    first_era: u64,
    last_era: u64,
    error: String,
}

impl Summary {
    pub(super) fn new(done: &ReconstructReport, elapsed: Duration) -> Self {
        let failed = done.failed.iter().map(|failed| Failed {
            first_era: *failed.eras.start(),
            last_era: *failed.eras.end(),
            error: failed.error.to_string(),
        });
        let mut layers: Vec<_> = done.diffs.iter().collect();
        layers.sort_by_key(|(layer, _)| std::cmp::Reverse(exponent(**layer)));
        let layers = layers.into_iter().map(|(layer, StoredDiffs { records, bytes })| OfLayer {
            layer: name_of(*layer),
            records: *records,
            bytes: *bytes,
        });
        Self {
            slots: done.slots,
            stored_states: done.stored_states,
            layers: layers.collect(),
            checked_states: done.checked_states,
            eras: done.eras,
            done_eras: done.done_eras,
            equal_ends: done.equal_ends,
            ends_by_root: done.ends_by_root,
            failed: failed.collect(),
            seconds: elapsed.as_secs_f64(),
        }
    }

    pub(super) fn tell(&self, column: Option<Column>) {
        let mut text = format!(
            "{} replayed in {:.1} s ({:.0} slots/s), {}; {} left out, with no chosen state missing",
            count(self.slots, "slot"),
            self.seconds,
            self.rate(),
            count(self.eras, "era"),
            count(self.done_eras, "era"),
        );
        if column.is_none() {
            text += "; no state stored: --every or --slots chooses some, --keep stores diffs";
        }
        output::tell(&text);
        if self.slots == 0 {
            return;
        }
        for OfLayer { layer, records, bytes } in &self.layers {
            let (records, bytes) = (count(*records, "diff"), bytes_for_people(*bytes));
            output::tell(&format!("{layer}: {records}, {bytes}"));
        }
        let how = match column {
            Some(Column::StateDiffs) => "by the end of their eras",
            _ => "by their roots in bsr",
        };
        output::tell(&format!(
            "proved: {} {how}, before they were stored; {} by the stored state at \
             the end, byte for byte; {} by the root of the last slot in bsr, where no stored state is reached; {} by --check",
            count(self.stored_states, "state"),
            count(self.equal_ends, "replay"),
            self.ends_by_root,
            count(self.checked_states, "state"),
        ));
    }

    fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let slots = self.slots as f64;
        slots / self.seconds.max(0.001)
    }
}

fn exponent(layer: Layer) -> Option<u8> {
    match layer {
        Layer::Raw | Layer::None => None,
        Layer::Flat(exponent) | Layer::Chained(exponent) => Some(exponent),
    }
}

/// "every 512 slots"
fn name_of(layer: Layer) -> String {
    match exponent(layer) {
        Some(0) => "every slot".to_owned(),
        Some(exponent) => format!("every {} slots", 1u64 << exponent),
        None => "other slots".to_owned(),
    }
}
