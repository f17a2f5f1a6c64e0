//! `coldstore reconstruct`

mod sink;
mod summary;
mod watch;

use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use coldstore::{
    ArchivePipeline, ArchiveWriter, ArchiveWriterOptions, Checksums, Column, Error, MappedArchive,
    PipelineOptions, Slot,
};
use coldstore_history::reconstruct::{
    Chosen, Ended, Keep, PipelineSink, Plan, ReconstructOptions, Reconstruction, of_eras,
};
use coldstore_history::replay::{Check, Source};
use coldstore_history::states::claim;

use self::sink::{DaemonSink, Sink};
use self::summary::Summary;
use self::watch::Watch;
use crate::arguments::{parse_eras, parse_slot};
use crate::failure::{self, Answer, Usage};
use crate::networks::Network;
use crate::notes;
use crate::open;
use crate::output::{self, count};

/// Rebuild the states between era boundaries from the archive's own blocks, and prove them
///
/// Replays each era from the stored state at its beginning. The state reached must be equal to the next
/// stored one, byte for byte; a state is stored only after its root was compared with bsr. Run the same
/// command again to resume: it starts with the first chosen state of an era that is missing, and skips
/// eras that lack none. With --check epoch or slot it replays each era with a chosen state from its
/// beginning. An era that cannot be replayed is reported, and the exit status is 3 after all others are
/// done. Without --keep, --every and --slots nothing is stored: the archive's blocks are proved against
/// its states.
///
/// --keep stores states as diffs in bsd, which only coldstore reads: a mainnet epoch takes about
/// 45 KB, a slot 2 KB. Those of an era are stored when its end agrees, and nothing of an era that fails.
/// What the layers of the archive need besides is stored as well. Layers may be added later.
#[derive(Debug, Args)]
pub(crate) struct Reconstruct {
    /// The archive's directory
    archive: PathBuf,
    /// The eras, both ends included (default: all).
    #[arg(long = "era", value_name = "A[..B]", value_parser = parse_eras)]
    eras: Option<RangeInclusive<u64>>,
    /// Keep states as diffs: of the first slot of every epoch, of all slots, or of the multiples
    /// of N
    #[arg(long, value_name = "epochs|slots|every:N", conflicts_with_all = ["every", "slots"])]
    keep: Option<Keep>,
    /// Store the whole states of all slots that are multiples of N
    #[arg(long, value_name = "N", conflicts_with = "slots")]
    every: Option<NonZeroU64>,
    /// Store the whole states of these slots
    #[arg(long, value_name = "SLOT,...", value_delimiter = ',', value_parser = parse_slot)]
    slots: Vec<Slot>,
    /// Number of eras replayed at the same time (default: one for each core)
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Where the roots of states that are not stored are compared too: at every epoch or slot, or only at
    /// the end of an era
    #[arg(long, value_name = "boundary|epoch|slot", default_value = "boundary")]
    check: Check,
    /// The network: a known name, or a config file with its forks (default: the known network with the
    /// archive's genesis validators root)
    #[arg(long, value_name = "NAME|FILE")]
    network: Option<String>,
    /// Send the states to the daemon that listens here, and open the archive read-only
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// If the daemon is unreachable, retry for this long
    #[arg(long, value_name = "SECONDS", default_value = "0", requires = "socket")]
    retry: u64,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

impl Reconstruct {
    pub(crate) fn run(self) -> Result<Answer> {
        let network = self.network.as_deref().map(Network::named).transpose()?;
        let chosen = self.chosen();
        let column = chosen.column();
        notes::tell_lacking(&self.archive)?;
        // Opening heals, so the columns are read afterwards.
        let ours = column.filter(|_| self.socket.is_none());
        let writer = ours.map(|column| self.open_writer(column)).transpose()?;
        let archive = open::archive(&self.archive)?;
        let (_, rules) = Source::with_rules(&archive, network.as_deref())
            .with_context(|| self.archive.display().to_string())?;
        notes::tell_of_preset(rules.preset());
        let slots_per_era = rules.preset().slots_per_era();
        let options = ReconstructOptions { eras: self.eras.clone(), chosen, check: self.check };
        let reconstruction = Reconstruction::new(&archive, rules, options)?;
        let plan = reconstruction.plan();
        self.check_slots(slots_per_era)?;
        self.check_reach(&archive, plan, slots_per_era)?;
        self.check_backfill(&reconstruction)?;
        if ours == Some(Column::StateDiffs) {
            // Durable before the first diff.
            claim(&self.archive, reconstruction.preset())?;
        }
        let jobs = self.jobs.or_else(|| thread::available_parallelism().ok());
        let jobs = jobs.map_or(1, NonZeroUsize::get).min(plan.stretches.len());
        self.tell_plan(&reconstruction, jobs);
        let start = |writer| ArchivePipeline::start(writer, |_| PipelineOptions::default());
        let pipeline = writer.filter(|_| jobs > 0).map(start).transpose()?;
        let sinks = self.sinks(column, pipeline.as_ref(), jobs)?;
        let watch = Watch::start(plan)?;
        let started = Instant::now();
        let run = reconstruction.run(sinks, &watch);
        // The end of the pipeline updates the manifest.
        drop((watch, pipeline));
        let (done, ended) = match run {
            Ok(done) => (done, None),
            Err(early) => (early.done, Some(early.why)),
        };
        let summary = Summary::new(&done, started.elapsed());
        summary.tell(column);
        let printed = if self.json { output::print_json(&summary) } else { Ok(()) };
        match ended {
            Some(Ended::Stopped) => bail!("stopped; run the same command again to resume"),
            Some(why) => Err(why.into()),
            None => {
                printed?;
                // Each was reported.
                failure::none_failed(done.failed.len() as u64, "era", "replayed")
            }
        }
    }

    fn chosen(&self) -> Chosen {
        let mut slots = self.slots.clone();
        slots.sort_unstable();
        slots.dedup();
        match (self.keep, self.every) {
            (Some(keep), _) => Chosen::Kept(keep),
            (None, Some(every)) => Chosen::Every(every),
            (None, None) if slots.is_empty() => Chosen::Nothing,
            (None, None) => Chosen::Slots(slots),
        }
    }

    fn open_writer(&self, column: Column) -> Result<ArchiveWriter> {
        let mut options = ArchiveWriterOptions::default().checksums(Checksums::On).deferred(true);
        if column == Column::StateDiffs && self.has_no_diffs()? {
            options = options.backfill(column);
        }
        match ArchiveWriter::open(&self.archive, options.columns(Column::ALL)) {
            Err(error @ Error::AlreadyOpen { .. }) => {
                bail!("{error}; if that is the daemon, pass its socket: --socket PATH")
            }
            opened => Ok(opened?),
        }
    }

    /// Whether `bsd` is new or empty: no other program has used it.
    fn has_no_diffs(&self) -> Result<bool> {
        let archive = open::archive(&self.archive)?;
        let column = archive.column_if_there(Column::StateDiffs)?;
        Ok(column.is_none_or(|column| column.view().highest_written_slot().is_none()))
    }

    /// Refuses slots outside the eras.
    fn check_slots(&self, slots_per_era: u64) -> Result<()> {
        let Some(eras) = &self.eras else { return Ok(()) };
        let outside = |slot: &&Slot| !eras.contains(&slot.0.div_ceil(slots_per_era));
        if let Some(slot) = self.slots.iter().find(outside) {
            let era = slot.0.div_ceil(slots_per_era);
            return Err(Usage(format!("slot {slot} is in era {era}, outside --era")).into());
        }
        Ok(())
    }

    /// Refuses eras before the first that can be replayed, and slots that cannot be. Eras above the last
    /// one hold nothing.
    fn check_reach(&self, archive: &MappedArchive, plan: &Plan, slots_per_era: u64) -> Result<()> {
        let root = self.archive.display();
        let Some((first, last)) = plan.reach else {
            bail!(
                "{root}: nothing can be replayed: bss has no state at the end of an era with blocks \
                 and roots after it"
            );
        };
        let reach = format!(
            "slots {first} to {last} can be replayed: those after the oldest state at an era's end \
             in bss, with roots in bbr and bsr"
        );
        if let Some(eras) = &self.eras {
            let first_era = first.0.div_ceil(slots_per_era);
            // Era 0 is the genesis state.
            let wanted = (*eras.start()).max(1);
            ensure!(
                wanted >= first_era,
                "{root}: era {wanted} cannot be replayed; era {first_era} is the first after the oldest \
                 state at an era's end in bss"
            );
        }
        let states = archive.column(Column::StateSnapshots)?.view();
        for slot in &self.slots {
            ensure!(
                (first..=last).contains(slot) || states.contains(*slot)?,
                "{root}: slot {slot} cannot be replayed; {reach}"
            );
        }
        Ok(())
    }

    fn check_backfill(&self, reconstruction: &Reconstruction) -> Result<()> {
        let Some(column) = reconstruction.lacks_backfill() else { return Ok(()) };
        bail!(
            "{} is not open for backfill: import its .era files again with --backfill (what is stored \
             is skipped), or start the daemon with --backfill",
            self.archive.join(column.dir_name()).display()
        )
    }

    fn tell_plan(&self, reconstruction: &Reconstruction, jobs: usize) {
        let plan = reconstruction.plan();
        if let Some(eras) = &plan.pruned_eras {
            output::tell(&format!(
                "{} left out: bss has states to start from, but the archive lacks blocks or roots",
                of_eras(eras)
            ));
        }
        if jobs > 0 {
            // A state is encoded before it is sent.
            let times = if self.socket.is_some() { 2 } else { 1 };
            let memory = reconstruction.worker_bytes().map_or_else(String::new, |bytes| {
                format!(", about {} of memory each", output::bytes_for_people(bytes * times))
            });
            output::tell(&format!(
                "{} to replay with {}{memory}",
                count(plan.slots(), "slot"),
                count(jobs as u64, "worker"),
            ));
        }
    }

    /// Where each worker's states go.
    fn sinks(
        &self,
        column: Option<Column>,
        pipeline: Option<&ArchivePipeline>,
        jobs: usize,
    ) -> Result<Vec<Sink>> {
        let sink = || match (column, &self.socket, pipeline) {
            (Some(_), Some(socket), _) => {
                let retry = Duration::from_secs(self.retry);
                DaemonSink::connect(socket, &self.archive, retry).map(Sink::Daemon)
            }
            (Some(column), None, Some(pipeline)) => {
                Ok(Sink::Archive(PipelineSink::new(pipeline.column(column).clone())))
            }
            _ => Ok(Sink::Nowhere),
        };
        (0..jobs).map(|_| sink()).collect()
    }
}
