//! The layers of stored states, for people and for JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::Result;
use coldstore::{Column, Manifest, Slot};
use coldstore_consensus::{KnownNetwork, Preset};
use coldstore_history::states::hierarchy::{Hierarchy, Layer};
use coldstore_history::states::kind::Values;
use serde_json::{Value, json};

use crate::chain::Chain;
use crate::output::{self, Table};

/// What the state of a slot is stored as. Exponents are those of the distance between slots of the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kept {
    /// Whole, on a slot of the first layer.
    Snapshot(u8),
    /// A diff of a layer.
    Layer { exponent: u8, is_chained: bool },
    /// Whole, and listed in the manifest as a base.
    ListedBase,
    /// Whole, and no base by the layers.
    OtherWhole,
    /// A diff of no layer, or of an earlier one.
    OtherDiff,
}

impl Kept {
    /// The word in JSON.
    fn name(self) -> &'static str {
        match self {
            Self::Snapshot(_) => "snapshot",
            Self::Layer { is_chained: false, .. } => "flat",
            Self::Layer { is_chained: true, .. } => "chained",
            Self::ListedBase => "listed-base",
            Self::OtherWhole => "other-whole",
            Self::OtherDiff => "other-diff",
        }
    }

    fn exponent(self) -> Option<u8> {
        match self {
            Self::Snapshot(exponent) | Self::Layer { exponent, .. } => Some(exponent),
            _ => None,
        }
    }

    /// Number of slots between two of the layer.
    fn distance(self) -> Option<u64> {
        self.exponent().and_then(|exponent| 1_u64.checked_shl(exponent.into()))
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Snapshot(_) => "whole",
            Self::Layer { is_chained: false, .. } => "diff",
            Self::Layer { is_chained: true, .. } => "diff, chained",
            Self::ListedBase => "whole, listed as a base",
            Self::OtherWhole => "other whole states",
            Self::OtherDiff => "other diffs",
        })
    }
}

/// Counts of one layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LayerCounts {
    pub(crate) records: u64,
    /// Bytes in data files, headers included.
    pub(crate) bytes: u64,
}

/// The stored states of an archive by layer.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    hierarchy: Hierarchy,
    seconds_per_slot: u64,
    counts: BTreeMap<Kept, LayerCounts>,
}

impl Layers {
    /// The layers of an archive with diffs of this software, or whose manifest has layers; else `None`.
    pub(crate) fn of(
        archive: &Path,
        manifest: &Manifest,
        chain: &Chain,
        preset: Option<Preset>,
    ) -> Result<Option<Self>> {
        let is_layered = manifest.state_values.as_deref() == Some(Values::Coldstore.name());
        let Some(preset) = preset.filter(|_| is_layered) else { return Ok(None) };
        let hierarchy = Hierarchy::of_manifest(archive, manifest, preset)?;
        let known = chain.genesis_validators_root.as_ref().and_then(KnownNetwork::by_root);
        let seconds_per_slot = known.map_or_else(|| seconds_of(preset), |it| it.seconds_per_slot);
        let shape = hierarchy.shape();
        let first = shape.flat().first().map(|exponent| Kept::Snapshot(*exponent));
        let layer =
            |is_chained| move |exponent: &u8| Kept::Layer { exponent: *exponent, is_chained };
        let flat = shape.flat().iter().skip(1).map(layer(false));
        let chained = shape.chained().iter().map(layer(true));
        let counts = first.into_iter().chain(flat).chain(chained);
        let counts = counts.map(|kept| (kept, LayerCounts::default())).collect();
        Ok(Some(Self { hierarchy, seconds_per_slot, counts }))
    }

    /// What a record of `bss` or `bsd` is.
    pub(crate) fn kept(&self, column: Column, slot: Slot) -> Kept {
        let (shape, is_whole) = (self.hierarchy.shape(), column == Column::StateSnapshots);
        match (shape.layer(slot), is_whole) {
            (Layer::Raw, true) => Kept::Snapshot(shape.flat().first().copied().unwrap_or_default()),
            (_, true) if self.hierarchy.listed_bases().contains(&slot) => Kept::ListedBase,
            (_, true) => Kept::OtherWhole,
            (Layer::Flat(exponent), false) => Kept::Layer { exponent, is_chained: false },
            (Layer::Chained(exponent), false) => Kept::Layer { exponent, is_chained: true },
            (Layer::Raw | Layer::None, false) => Kept::OtherDiff,
        }
    }

    pub(crate) fn count(&mut self, column: Column, slot: Slot, bytes: u64) {
        let counts = self.counts.entry(self.kept(column, slot)).or_default();
        counts.records += 1;
        counts.bytes += bytes;
    }

    /// The layers in order: coarsest first, then what is beside them.
    fn rows(&self) -> Vec<(Kept, LayerCounts)> {
        let mut rows: Vec<_> = self.counts.iter().map(|(kept, counts)| (*kept, *counts)).collect();
        rows.sort_by_key(|(kept, _)| {
            (kept.exponent().is_none(), std::cmp::Reverse(kept.exponent()))
        });
        rows
    }

    /// Bytes of a year of the layer at the average length of its records; `None` without records or beside the
    /// layers.
    fn bytes_a_year(&self, kept: Kept, counts: LayerCounts) -> Option<u64> {
        const SECONDS: u64 = 31_557_600;
        let slots = u128::from(SECONDS / self.seconds_per_slot.max(1));
        let records = slots.checked_div(kept.distance()?.into())?;
        let rows = self.rows();
        let coarser = rows.iter().filter_map(|(other, _)| other.distance());
        let coarser = coarser.filter(|distance| Some(*distance) > kept.distance()).min();
        // A slot of a coarser layer is not of this one.
        let records = records - coarser.map_or(0, |distance| slots / u128::from(distance));
        let bytes = u128::from(counts.bytes) * records;
        bytes.checked_div(counts.records.into()).and_then(|bytes| u64::try_from(bytes).ok())
    }

    pub(crate) fn table(&self) -> Table {
        let mut table =
            Table::new(&["states", "every", "records", "bytes", "average", "bytes a year"]);
        let none = || "-".to_owned();
        let mut total = 0;
        for (kept, counts) in self.rows() {
            let average = counts.bytes.checked_div(counts.records);
            let a_year = self.bytes_a_year(kept, counts);
            total += a_year.unwrap_or(0);
            table.row(vec![
                kept.to_string(),
                kept.distance().map_or_else(none, |slots| output::count(slots, "slot")),
                counts.records.to_string(),
                output::bytes_for_people(counts.bytes),
                average.map_or_else(none, output::bytes_for_people),
                a_year.map_or_else(none, output::bytes_for_people),
            ]);
        }
        let total = output::bytes_for_people(total);
        let cells = ["layers with records", "", "", "", "", &total];
        table.row(cells.map(str::to_owned).to_vec());
        table
    }

    /// As text: "2 whole every 2048 slots; 7 diffs, chained, every 8 slots".
    pub(crate) fn line(&self) -> String {
        let rows = self.rows().into_iter().filter(|(_, counts)| counts.records > 0);
        let parts = rows.map(|(kept, LayerCounts { records, .. })| {
            let what = match kept {
                Kept::Layer { is_chained: false, .. } => output::count(records, "diff"),
                Kept::Layer { is_chained: true, .. } => {
                    format!("{}, chained,", output::count(records, "diff"))
                }
                Kept::OtherDiff => output::count(records, "other diff"),
                Kept::OtherWhole => output::count(records, "other whole state"),
                Kept::Snapshot(_) | Kept::ListedBase => format!("{records} {kept}"),
            };
            match kept.distance() {
                Some(slots) => format!("{what} every {}", output::count(slots, "slot")),
                None => what,
            }
        });
        parts.collect::<Vec<_>>().join("; ")
    }

    /// The layers with records and their numbers, in JSON.
    pub(crate) fn records(&self) -> Value {
        let rows = self.rows().into_iter().filter(|(_, counts)| counts.records > 0);
        let row = |(kept, counts): (Kept, LayerCounts)| {
            json!({
                "layer": kept.name(),
                "distance": kept.distance(),
                "records": counts.records,
            })
        };
        rows.map(row).collect()
    }

    pub(crate) fn object(&self) -> Value {
        let row = |(kept, counts): (Kept, LayerCounts)| {
            json!({
                "layer": kept.name(),
                "distance": kept.distance(),
                "records": counts.records,
                "bytes": counts.bytes,
                "bytes_a_year": self.bytes_a_year(kept, counts),
            })
        };
        json!({
            "layers": self.hierarchy.shape().to_string(),
            "kept": self.rows().into_iter().map(row).collect::<Vec<_>>(),
        })
    }
}

/// `SECONDS_PER_SLOT` of the networks for which a preset was made.
fn seconds_of(preset: Preset) -> u64 {
    match preset {
        Preset::Mainnet => 12,
        Preset::Minimal => 6,
        Preset::Gnosis => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(bases: &[u64]) -> Layers {
        let mut manifest = Manifest::default();
        manifest.state_values = Some("coldstore".to_owned());
        manifest.state_layers = vec!["18,13,11,9+5,0".to_owned()];
        manifest.state_bases = bases.iter().copied().map(Slot).collect();
        let layers = Layers::of(Path::new(""), &manifest, &Chain::default(), Some(Preset::Mainnet));
        layers.unwrap().unwrap()
    }

    #[test]
    fn a_record_belongs_to_the_layer_of_its_slot_and_column() {
        let layers = layers(&[8192]);
        let flat = |exponent| Kept::Layer { exponent, is_chained: false };
        let chained = |exponent| Kept::Layer { exponent, is_chained: true };
        for (column, slot, wanted) in [
            (Column::StateSnapshots, 1 << 18, Kept::Snapshot(18)),
            (Column::StateSnapshots, 8192, Kept::ListedBase),
            (Column::StateSnapshots, 16_384, Kept::OtherWhole),
            (Column::StateDiffs, 16_384, flat(13)),
            (Column::StateDiffs, 512, flat(9)),
            (Column::StateDiffs, 544, chained(5)),
            (Column::StateDiffs, 545, chained(0)),
            (Column::StateDiffs, 1 << 18, Kept::OtherDiff),
        ] {
            assert_eq!(layers.kept(column, Slot(slot)), wanted, "{column} {slot}");
        }
    }

    #[test]
    fn a_year_is_extrapolated_from_the_average_of_each_layer() {
        let mut layers = layers(&[]);
        for era in 1..=4 {
            layers.count(Column::StateDiffs, Slot(era << 13), 3_000_000 + era);
        }
        layers.count(Column::StateDiffs, Slot(33), 2000);
        layers.count(Column::StateSnapshots, Slot(16_384), 7);
        let object = layers.object();
        let kept = object["kept"].as_array().unwrap();
        let of = |layer: &str, distance: Option<u64>| {
            let is_it =
                |row: &&Value| row["layer"] == layer && row["distance"].as_u64() == distance;
            kept.iter().find(is_it).unwrap()
        };
        // 2,629,800 slots: 321 eras, 10 of them snapshots.
        let eras = of("flat", Some(8192));
        assert_eq!((&eras["records"], &eras["bytes_a_year"]), (&json!(4), &json!(933_000_777)));
        assert_eq!(of("chained", Some(1))["bytes_a_year"], 2000 * (2_629_800_u64 - 82_181));
        assert_eq!(of("chained", Some(32))["bytes_a_year"], Value::Null);
        assert_eq!(of("other-whole", None)["bytes_a_year"], Value::Null);
        assert_eq!(kept.len(), 7);
        assert!(layers.line().starts_with("4 diffs every 8192 slots; 1 diff, chained, "));
    }
}
