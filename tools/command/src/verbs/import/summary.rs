//! The summary of an import.

use std::collections::BTreeMap;
use std::time::Duration;

use coldstore::Column;
use coldstore::era::{EraOutcome, ImportReport};
use coldstore_consensus::Root;
use serde::{Serialize, Serializer};

use super::files::LeftOut;
use super::proof::Proved;
use crate::chain::Chain;
use crate::output;

#[derive(Serialize)]
pub(super) struct Summary {
    imported_eras: u64,
    present_eras: u64,
    /// Eras that were pruned and not restored.
    pruned_eras: u64,
    /// Imported eras of which the archive already had a part.
    completed_eras: u64,
    blocks: u64,
    skipped_slots: u64,
    states: u64,
    first_slot: Option<u64>,
    last_slot: Option<u64>,
    bytes: u64,
    seconds: f64,
    /// Number of eras by encoding of their block index.
    index_encodings: BTreeMap<String, u32>,
    config_name: Option<String>,
    genesis_validators_root: Option<Root>,
    /// `null` with `--trust-files`.
    #[serde(serialize_with = "object")]
    proof: Option<Proved>,
    pub(super) left_out: Vec<LeftOut>,
}

fn object<S: Serializer>(proof: &Option<Proved>, serializer: S) -> Result<S::Ok, S::Error> {
    proof.as_ref().map(Proved::object).serialize(serializer)
}

impl Summary {
    pub(super) fn new(
        done: &ImportReport,
        chain: &Chain,
        elapsed: Duration,
        proof: Option<Proved>,
        left_out: Vec<LeftOut>,
    ) -> Self {
        let mut index_encodings = BTreeMap::new();
        for era in &done.eras {
            if let EraOutcome::Imported { index_encoding: Some(encoding), .. } = era.outcome {
                *index_encodings.entry(encoding.to_string()).or_default() += 1;
            }
        }
        Self {
            imported_eras: done.imported,
            present_eras: done.present,
            pruned_eras: done.pruned,
            completed_eras: done.completed,
            blocks: done.blocks,
            skipped_slots: done.skipped_slots,
            states: done.states,
            first_slot: done.slots.map(|slots| slots.first.0),
            last_slot: done.slots.map(|slots| slots.last.0),
            bytes: done.byte_len,
            seconds: elapsed.as_secs_f64(),
            index_encodings,
            config_name: chain.config_name.clone(),
            genesis_validators_root: chain.genesis_validators_root,
            proof,
            left_out,
        }
    }

    pub(super) fn tell(&self, done: &ImportReport) {
        output::tell(&match &self.proof {
            Some(proof) => proof.verdict(),
            None => "nothing was proved: the files were trusted".to_owned(),
        });
        let network = self.config_name.as_deref().unwrap_or("unknown network");
        let mut text = format!("{network}: {} imported", output::count(self.imported_eras, "era"));
        if let (Some(first), Some(last)) = (self.first_slot, self.last_slot) {
            text += &format!(", slots {first} to {last}");
        }
        text += &format!(
            ", {}, {}, {}; {} already there; {}",
            output::count(self.blocks, "block"),
            output::count(self.skipped_slots, "skipped slot"),
            output::count(self.states, "state"),
            output::count(self.present_eras, "era"),
            output::amount_and_rate(self.bytes, self.seconds),
        );
        output::tell(&text);
        if self.pruned_eras > 0 {
            output::tell(&format!(
                "{} left out: pruned; --backfill --refill brings back what was pruned",
                output::count(self.pruned_eras, "era")
            ));
        }
        if let Some(proof) = &self.proof {
            proof.tell_details();
        }
        if let Some(era) = done.began_at_era {
            output::tell(&format!(
                "the archive begins with era {era}: history before it cannot be added later"
            ));
        }
        for (column, eras) in completed(done) {
            let eras = output::count(eras, "era");
            output::tell(&format!("{column} lacked something of {eras}: completed"));
        }
    }
}

/// For each column, the number of eras in which it lacked something that was added.
fn completed(done: &ImportReport) -> BTreeMap<Column, u64> {
    let mut eras = BTreeMap::new();
    for column in done.eras.iter().flat_map(|era| &era.completed) {
        *eras.entry(*column).or_default() += 1;
    }
    eras
}
