//! `coldstore import`

mod config;
mod files;
mod known;
mod looks;
mod proof;
mod summary;
mod watch;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use coldstore::archive::held::is_there;
use coldstore::era::{self, EraFile, ImportOptions, ImportPlan, ImportProgress};
use coldstore::{
    ArchiveWriter, ArchiveWriterOptions, Checksums, Column, Manifest, SLOTS_PER_FILE, StatesPolicy,
};
use coldstore_consensus::{KnownNetwork, Root};
use coldstore_history::import::TrustedRoot;
use coldstore_history::lacking;
use coldstore_history::states::boundary::BoundaryStates;
use coldstore_history::states::hierarchy::{BadShape, Shape};
use coldstore_history::states::kind::Foreign;

use self::known::Known;
use self::proof::{Proof, Proved};
use self::summary::Summary;
use self::watch::Watch;
use crate::chain::Chain;
use crate::failure::Answer;
use crate::networks::Network;
use crate::notes;
use crate::open;
use crate::output;
use crate::progress::Progress;
use crate::signals;

/// Import .era files in slot order, each era durable before the next
///
/// Each era is proved before anything of its file is committed: blocks and states must hash to the
/// roots in the states of their era and of later eras. Records already stored are skipped, so run the
/// same command again to resume. A file that is not an .era file is reported and left out; after all
/// others are imported, the exit status is then 3.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The archive's directory, created if missing
    archive: PathBuf,
    /// Files, or directories of files
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Turn backfill on for states and state diffs, and for other columns that lack slots below
    /// their highest
    #[arg(long)]
    backfill: bool,
    /// Also restore what was pruned; needs --backfill
    #[arg(long, requires = "backfill")]
    refill: bool,
    /// Which boundary states to keep: layered (all, most of them as small diffs in bsd, which only
    /// coldstore reads), all, none, or every:N (each Nth era). The newest is always kept (default: as in
    /// the last import, else layered where eras have 8192 slots, else all). layered:18,13,11,9+5,0 gives
    /// the layers: distances as powers of two, coarsest first, after the + those whose states refer to
    /// one another
    #[arg(long, value_name = "layered|all|none|every:N", value_parser = parse_states)]
    states: Option<States>,
    /// Import only the files of this network: a known name, or a config file. If the file has no
    /// genesis validators root, its preset and forks select the files
    #[arg(long, value_name = "NAME|FILE")]
    network: Option<String>,
    /// The state root of a slot, from a source you trust. It proves every era up to that state, if
    /// these files or the archive have it; a state within an era is compared with it
    #[arg(long, value_name = "SLOT:0xROOT", conflicts_with = "trust_files")]
    trusted_state_root: Vec<TrustedRoot>,
    /// Skip the proof: check only that the files agree with themselves at fixed places
    #[arg(long)]
    trust_files: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// Which boundary states to keep, and by which layers if they are given.
#[derive(Clone, Debug)]
struct States {
    policy: StatesPolicy,
    shape: Option<Shape>,
}

fn parse_states(text: &str) -> Result<States, String> {
    let policy = match (text, text.strip_prefix("every:").map(str::parse)) {
        ("all", _) => StatesPolicy::All,
        ("none", _) => StatesPolicy::None,
        ("layered", _) => StatesPolicy::Layered,
        (_, Some(Ok(eras))) => StatesPolicy::Every(eras),
        _ => {
            let Some(layers) = text.strip_prefix("layered:") else {
                return Err("layered, all, none, or every:N with N above 0".to_owned());
            };
            let shape = layers.parse().map_err(|bad: BadShape| bad.to_string())?;
            return Ok(States { policy: StatesPolicy::Layered, shape: Some(shape) });
        }
    };
    Ok(States { policy, shape: None })
}

impl Import {
    pub(crate) fn run(self) -> Result<Answer> {
        let network = self.network.as_deref().map(Network::named).transpose()?;
        let (plan, left_out) = files::choose(&self.paths, network.as_ref())?;
        files::check_beginning(&plan, &self.archive)?;
        if is_there(&self.archive)? && lacking::is_archive(&self.archive)? {
            notes::tell_lacking(&self.archive)?;
        }
        let manifest = Manifest::read(&self.archive)?;
        let kept = manifest.as_ref().map(Chain::recorded);
        if let Some(kept) = &kept {
            kept.check_states(&self.archive)?;
        }
        let mut chain = Self::chain_of(&plan, network.as_ref(), kept)?;
        if let Some(network) = &network {
            config::check(&plan, chain.slots_per_era, network)?;
        }
        if chain.config_name.is_none() {
            chain.config_name = config::config_name(&plan);
        }
        let kept = manifest.as_ref().and_then(|manifest| manifest.states);
        let kept = kept.filter(|states| *states != StatesPolicy::Unknown);
        let (states, mut store) = self.store(&plan, &chain, kept)?;
        let mut options = ImportOptions::from(states).backfill(self.backfill);
        match &manifest {
            Some(manifest) if self.refill => {
                options = options.first_slot(Some(manifest.first_slot.unwrap_or_default()));
            }
            Some(manifest) => {
                for column in Column::ALL {
                    let pruned = manifest.column(column).pruned_before;
                    options = options.pruned_before(column, pruned);
                }
            }
            None => {}
        }
        let proof = match self.trust_files {
            true => None,
            false => {
                proof::check_once(&plan)?;
                let named = chain.preset.as_deref();
                let preset = config::preset_of(&plan, chain.slots_per_era, named)?;
                chain.preset = Some(preset.to_string());
                let trusted = &self.trusted_state_root;
                Some(Proof::prepare(&plan, &self.archive, preset, trusted)?)
            }
        };
        let mut columns = ArchiveWriterOptions::default()
            .columns(era::COLUMNS)
            .refill(true)
            .checksums(Checksums::On)
            .deferred(true);
        let is_layered = states == StatesPolicy::Layered;
        if self.backfill || is_layered {
            columns = columns.backfill(Column::StateDiffs);
        }
        let mut archive = ArchiveWriter::open(&self.archive, columns)?;
        let mut watch = Watch {
            archive: &self.archive,
            to_keep: Some((&chain, states)),
            recorded_at: Instant::now(),
            failed: None,
            stop: signals::stop_flag()?,
            bar: Progress::of_bytes("import", Some(plan.byte_len())),
            eras_done: 0,
        };
        let mut observe = |progress: &ImportProgress<'_>| watch.progress(progress);
        if let Some(store) = &mut store {
            options = options.store(store);
        }
        let started = Instant::now();
        let (imported, proved) = match &proof {
            Some(proof) => {
                // Opening recorded what was written by other commands or by an unfinished import.
                let manifest = Manifest::read(&self.archive)?;
                let unproved = manifest.and_then(|manifest| manifest.unproved_state);
                let mut prover = proof.prover(&plan, unproved);
                let options = options.prover(&mut prover);
                let imported = era::import(&plan, &mut archive, options, &mut observe);
                (imported, Some(Proved::new(prover.into_report(), &chain, proof.preset())))
            }
            None => (era::import(&plan, &mut archive, options, &mut observe), None),
        };
        let Watch { failed, bar, .. } = watch;
        drop(bar);
        let (done, stopped) = match imported {
            Ok(done) => (done, None),
            Err(failure) => (failure.done, Some(failure.error)),
        };
        if stopped.is_none() {
            archive.settle()?;
            // Backfill also applies to later imports into this column.
            if self.backfill || is_layered {
                archive.writer(Column::StateSnapshots)?.allow_backfill()?;
            }
        }
        if !done.eras.is_empty() {
            let refilled = self.refill.then_some((states, chain.slots_per_era));
            Known { done: &done, proof: proof.as_ref(), refilled }.record(&self.archive)?;
        }
        let summary = Summary::new(&done, &chain, started.elapsed(), proved, left_out);
        if stopped.is_none() || !done.eras.is_empty() {
            summary.tell(&done);
        }
        for (slot, why) in store.iter().flat_map(BoundaryStates::stored_whole) {
            output::tell(&format!("the state of slot {slot} was stored whole: {why}"));
        }
        let printed = if self.json { output::print_json(&summary) } else { Ok(()) };
        // A failed import matters more than failed output.
        match (failed, stopped) {
            (Some(error), _) => Err(error),
            (None, Some(error)) => Err(error.into()),
            (None, None) => {
                printed?;
                files::check_left_out(&summary.left_out).map(|()| Answer::Yes)
            }
        }
    }

    /// Which states are kept, and who stores and reads those that are not whole; `kept` is the policy of the last
    /// import. Without a known preset all are whole.
    fn store(
        &self,
        plan: &ImportPlan,
        chain: &Chain,
        kept: Option<StatesPolicy>,
    ) -> Result<(StatesPolicy, Option<BoundaryStates>)> {
        let preset = config::preset_of(plan, chain.slots_per_era, chain.preset.as_deref());
        let of = |preset| BoundaryStates::new(&self.archive, preset, open::archive);
        let asked = self.states.as_ref().map(|states| states.policy).or(kept);
        if asked.is_some_and(|asked| asked != StatesPolicy::Layered) {
            return Ok((asked.unwrap_or_default(), preset.ok().map(of)));
        }
        let shape = self.states.as_ref().and_then(|states| states.shape.clone());
        match asked {
            Some(asked) => Ok((asked, Some(of(preset?).layered(shape)?))),
            // An archive of another's values stays one.
            None if chain.slots_per_era == Some(SLOTS_PER_FILE) => match preset {
                Ok(preset) => Ok(match of(preset).layered(None) {
                    Ok(layered) => (StatesPolicy::Layered, Some(layered)),
                    Err(Foreign::Storage(error)) => return Err(error.into()),
                    Err(_) => (StatesPolicy::All, Some(of(preset))),
                }),
                Err(_) => Ok((StatesPolicy::All, None)),
            },
            None => Ok((StatesPolicy::All, preset.ok().map(of))),
        }
    }

    /// The chain according to the files, where neither the operator nor the archive's manifest (`kept`)
    /// specifies it.
    fn chain_of(
        plan: &ImportPlan,
        network: Option<&Network>,
        kept: Option<Chain>,
    ) -> Result<Chain> {
        let nothing = "there is no era in these files";
        let (first, last) = plan.files().first().zip(plan.files().last()).context(nothing)?;
        let mut file = EraFile::open(&first.path)?;
        let group = *file.groups().first().context(nothing)?;
        let root = Root(file.state_head(&group)?.head.genesis_validators_root);
        if let Some(network) = network {
            network.check_root(root).with_context(|| first.path.display().to_string())?;
        }
        // Era 0 has no slots, so the first file may not give the length of an era.
        let last = EraFile::open(&last.path)?;
        let slots = last.groups().last().and_then(|group| group.slots);
        let known = KnownNetwork::by_root(&root);
        let found = Chain {
            config_name: network
                .map(|network| network.config_name.clone())
                .or_else(|| known.map(|known| known.name.to_owned())),
            genesis_validators_root: Some(root),
            slots_per_era: slots.map(|slots| slots.count()),
            preset: network
                .and_then(|network| network.preset.clone())
                .or_else(|| known.map(|known| known.preset.to_string())),
        };
        kept.map_or(Ok(found.clone()), |kept| kept.merged(found))
            .with_context(|| first.path.display().to_string())
    }
}
