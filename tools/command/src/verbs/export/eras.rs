//! Exports `.era` files.

use std::ops::{ControlFlow, RangeInclusive};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use coldstore::era::{EraExport, ExportError, Exported, StateStore};
use coldstore::{Column, Manifest, MappedArchive, Slot, View};
use coldstore_consensus::Root;
use coldstore_history::atomic_file;
use coldstore_history::states::boundary::BoundaryStates;
use serde::Serialize;
use serde_json::{Value, json};

use super::name;
use crate::chain::{Chain, preset_of};
use crate::failure::{Answer, Usage};
use crate::networks::Network;
use crate::notes;
use crate::open;
use crate::out_file::{OutFile, Outcome};
use crate::output;
use crate::progress::Progress;
use crate::signals;

#[derive(Default, Serialize)]
struct Summary {
    exported_eras: u64,
    present_eras: u64,
    blocks: u64,
    skipped_slots: u64,
    bytes: u64,
    seconds: f64,
    /// Blocks of an unknown fork or preset, which may be blinded.
    unknown_layouts: u64,
    config_name: String,
    genesis_validators_root: Option<Root>,
    files: Vec<Value>,
}

pub(super) fn export(
    root: &Path,
    out: &Path,
    asked: Option<RangeInclusive<u64>>,
    network: Option<&str>,
    json: bool,
) -> Result<Answer> {
    let network = network.map(Network::named).transpose()?;
    notes::tell_lacking(root)?;
    let archive = open::archive(root)?;
    let chain = Chain::of(root)?;
    chain.check_states(root)?;
    let views = views(&archive)?;
    let slots_per_era = chain.slots_per_era.context(
        "the length of an era is unknown: neither archive.toml nor a state in bss has it",
    )?;
    let config_name = config_name(&chain, network.as_ref())?;
    // Without a known preset, states that are not whole cannot be read.
    let preset = preset_of(&chain, &archive)?.ok();
    let kept = preset.map(|preset| BoundaryStates::new(root, preset, open::archive));
    let pruned = Pruned { manifest: Manifest::read(root)?.unwrap_or_default(), slots_per_era };
    // Pruned eras are left out, unless requested.
    let (eras, left_out) = match asked {
        Some(eras) => (eras, None),
        None => {
            let eras = eras_of(&views, slots_per_era)?;
            (eras.clone(), pruned.within(&eras))
        }
    };
    if let Some((first, last)) = left_out {
        let eras = if first == last {
            format!("era {first} is")
        } else {
            format!("eras {first} to {last} are")
        };
        output::tell(&format!("{eras} left out: pruned"));
    }
    let is_exported =
        |era: &u64| left_out.is_none_or(|(first, last)| !(first..=last).contains(era));
    let mut run = Run {
        out,
        views: &views,
        kept: kept.as_ref(),
        slots_per_era,
        pruned,
        chain: &chain,
        stop: &*signals::stop_flag()?,
        progress: Progress::of_bytes("export", None),
        summary: Summary {
            config_name,
            genesis_validators_root: chain.genesis_validators_root,
            ..Summary::default()
        },
    };
    let started = Instant::now();
    let exported = run.export_all(eras.filter(is_exported));
    let Run { progress, mut summary, .. } = run;
    drop(progress);
    summary.seconds = started.elapsed().as_secs_f64();
    if exported.is_ok() || !summary.files.is_empty() {
        summary.tell();
    }
    let printed = if json { output::print_json(&summary) } else { Ok(()) };
    // A failed export matters more than failed output.
    exported?;
    printed.map(|()| Answer::Yes)
}

fn config_name(chain: &Chain, network: Option<&Network>) -> Result<String> {
    let name = match (network, &chain.config_name) {
        (Some(network), kept) => {
            if let Some(root) = chain.genesis_validators_root {
                network.check_root(root)?;
            }
            let name = &network.config_name;
            if let Some(kept) = kept {
                ensure!(kept == name, "the archive's network is {kept}, not {name}");
            }
            name
        }
        (None, Some(kept)) => kept,
        (None, None) => {
            let message = "the archive does not name its network: give --network, a known name \
                           or a config file";
            return Err(Usage(message.to_owned()).into());
        }
    };
    name::check_config(name)?;
    Ok(name.clone())
}

/// Views of the [`EraExport::COLUMNS`]. That of the block roots is taken first, so the others have every era
/// whose roots are in it.
fn views(archive: &MappedArchive) -> Result<[View; 3]> {
    let block_roots = archive.column(Column::BlockRoots)?.view();
    let blocks = archive.column(Column::Blocks)?.view();
    Ok([blocks, block_roots, archive.column(Column::StateSnapshots)?.view()])
}

/// The eras whose slots are all within the two ends of `bbr`, and era 0 if its state is stored.
fn eras_of(
    [_, block_roots, state_snapshots]: &[View; 3],
    slots_per_era: u64,
) -> Result<RangeInclusive<u64>> {
    let has_genesis = state_snapshots.contains(Slot(0))?;
    let first = block_roots.at_or_after(Slot(0))?.map(|record| record.slot().0);
    let (Some(first), Some(highest)) = (first, block_roots.highest_written_slot()) else {
        return Ok(if has_genesis { 0..=0 } else { RangeInclusive::new(1, 0) });
    };
    let first_era = first.div_ceil(slots_per_era) + 1;
    let last_era = (highest.0 + 1) / slots_per_era;
    Ok(if has_genesis && first_era == 1 { 0..=last_era } else { first_era..=last_era })
}

/// The pruned slots.
struct Pruned {
    manifest: Manifest,
    slots_per_era: u64,
}

impl Pruned {
    /// A pruned column with slots that an era needs, and the slot below which it was pruned.
    fn of(&self, era: u64) -> Option<(Column, Slot)> {
        let state = era.saturating_mul(self.slots_per_era);
        let first = era.checked_sub(1).map(|before| before.saturating_mul(self.slots_per_era));
        let needed = [
            (Column::Blocks, first),
            (Column::BlockRoots, first),
            (Column::StateSnapshots, Some(state)),
        ];
        needed.into_iter().find_map(|(column, slot)| {
            let before = self.manifest.column(column).pruned_before?;
            (slot? < before.0).then_some((column, before))
        })
    }

    /// The first and the last pruned era, among `eras` and those before it that the archive once had.
    fn within(&self, eras: &RangeInclusive<u64>) -> Option<(u64, u64)> {
        let begun = self.manifest.first_slot.map(|first| match first.0 {
            0 => 0,
            first => first.div_ceil(self.slots_per_era) + 1,
        });
        let first = begun.map_or(*eras.start(), |begun| begun.min(*eras.start()));
        let mut pruned = (first..=*eras.end()).filter(|era| self.of(*era).is_some());
        let first = pruned.next()?;
        Some((first, pruned.next_back().unwrap_or(first)))
    }

    /// Explains a missing block, root or state by pruning, if that is the reason.
    fn explain(&self, era: u64, error: ExportError) -> anyhow::Error {
        let is_absence = matches!(error, ExportError::Missing { .. });
        match self.of(era).filter(|_| is_absence) {
            Some((column, before)) => anyhow!(
                "era {era} cannot be exported: {column} was pruned: everything before slot {before} \
                 was removed"
            ),
            None => error.into(),
        }
    }
}

struct Run<'a> {
    out: &'a Path,
    views: &'a [View; 3],
    kept: Option<&'a BoundaryStates>,
    slots_per_era: u64,
    pruned: Pruned,
    chain: &'a Chain,
    stop: &'a AtomicBool,
    progress: Progress,
    summary: Summary,
}

impl Run<'_> {
    fn export_all(&mut self, eras: impl Iterator<Item = u64>) -> Result<()> {
        let mut eras = eras.peekable();
        if eras.peek().is_some() {
            atomic_file::create_dir(self.out)?;
        }
        for era in eras {
            self.export_era(era)?;
        }
        Ok(())
    }

    fn export_era(&mut self, era: u64) -> Result<()> {
        let kept = self.kept.map(|kept| kept as &dyn StateStore);
        let export = EraExport::prepare_kept(self.views, self.slots_per_era, era, kept);
        let export = export.map_err(|error| self.pruned.explain(era, error))?;
        self.chain.check_root(Root(export.state_head().genesis_validators_root))?;
        let path = self.out.join(name::of(&self.summary.config_name, &export));
        self.progress.set_message(format!("export era {era}"));
        let before = self.summary.bytes;
        let mut file = OutFile::begin(&path)?;
        let (progress, stop) = (&self.progress, self.stop);
        let done = export.write_to(&mut file, &mut |bytes| {
            progress.set_position(before + bytes);
            if stop.load(Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        let outcome = file.finish()?;
        self.summary.add(&export, &path, done, outcome);
        Ok(())
    }
}

impl Summary {
    fn add(&mut self, export: &EraExport<'_>, path: &Path, done: Exported, outcome: Outcome) {
        let slots = export.slots();
        let outcome = match outcome {
            Outcome::Written => {
                self.exported_eras += 1;
                "written"
            }
            Outcome::Present => {
                self.present_eras += 1;
                "present"
            }
        };
        self.blocks += done.blocks;
        self.skipped_slots += done.skipped_slots;
        self.bytes += done.byte_len;
        self.unknown_layouts += done.unknown_layouts;
        self.files.push(json!({
            "era": export.era(),
            "file": path.display().to_string(),
            "outcome": outcome,
            "first_slot": slots.map(|slots| slots.first.0),
            "last_slot": slots.map(|slots| slots.last.0),
            "state_slot": export.state_head().slot.0,
            "blocks": done.blocks,
            "skipped_slots": done.skipped_slots,
            "bytes": done.byte_len,
        }));
    }

    fn tell(&self) {
        let text = format!(
            "{}: {} written, {} already there; {}, {}; {}",
            self.config_name,
            output::count(self.exported_eras, "era"),
            self.present_eras,
            output::count(self.blocks, "block"),
            output::count(self.skipped_slots, "skipped slot"),
            output::amount_and_rate(self.bytes, self.seconds),
        );
        output::tell(&text);
        if self.unknown_layouts > 0 {
            output::tell(&format!(
                "{} blocks are of an unknown fork or preset, and may be blinded",
                self.unknown_layouts
            ));
        }
    }
}
