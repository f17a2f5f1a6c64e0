//! `coldstore state`

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use coldstore::{Column, MappedArchive, Slot, View};
use coldstore_history::replay::ReplayError;
use coldstore_history::states::{StateView, States};
use serde::Serialize;

use crate::absence::Absence;
use crate::arguments::parse_slot;
use crate::disk;
use crate::failure::Answer;
use crate::networks::Network;
use crate::open;
use crate::output::{self, Output, count};
use crate::progress::Progress;

/// Print the state of any slot as SSZ, rebuilt from the blocks if it is not stored
///
/// It is the nearest stored state at or before the slot, and a replay of the blocks after that. The
/// state has the block of the slot applied; without a block it is the state after the slot was
/// processed. If the archive cannot give the state, the exit status is 1 and standard error says why.
#[derive(Debug, Args)]
pub(crate) struct State {
    /// The archive's directory
    archive: PathBuf,
    /// The slot
    #[arg(value_parser = parse_slot)]
    slot: Slot,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Hash the state, and compare its root with the one in bsr, before anything is written
    #[arg(long)]
    prove: bool,
    /// The network, if the archive's is not known: a known name, or a config file
    #[arg(long, value_name = "NAME|FILE")]
    network: Option<String>,
    /// Print the summary as JSON on standard output; needs --out
    #[arg(long, requires = "out")]
    json: bool,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Summary {
    slot: u64,
    fork: String,
    /// The slot of the stored state from which it was rebuilt.
    base: u64,
    /// The slot of a nearer stored state, which is wrong.
    wrong_base: Option<u64>,
    replayed_slots: u64,
    byte_len: u64,
    /// The root in `bsr`.
    root: Option<String>,
    /// Whether the state has that root; without `--prove` nobody has looked.
    proved: bool,
    seconds: f64,
}

impl State {
    pub(crate) fn run(self) -> Result<Answer> {
        let file = self.out.as_deref().filter(|path| path.as_os_str() != "-");
        let to_stdout = match file {
            None => Some(Output::for_bytes("--out FILE")?),
            Some(_) => None,
        };
        let network = self.network.as_deref().map(Network::named).transpose()?;
        let archive = open::archive(&self.archive)?;
        let states = States::open(&archive, network.as_deref())
            .with_context(|| self.archive.display().to_string())?;
        let started = Instant::now();
        let state = match self.rebuilt(&states) {
            Ok(state) => state,
            Err(error) => return self.explain(&archive, error),
        };
        // Read before anything is written: an error is a failed operation without output.
        let root = states.source().state_root(self.slot)?;
        match file {
            Some(path) => disk::write_by(path, |file| state.write_ssz(file))?,
            None => {
                if let Some(mut out) = to_stdout {
                    state.write_ssz(&mut out)?;
                    out.flush()?;
                }
            }
        }
        let summary = Summary {
            slot: self.slot.0,
            fork: state.fork().map_or_else(|| "unknown".to_owned(), |fork| fork.to_string()),
            base: state.base().0,
            wrong_base: state.wrong_base().map(|wrong| wrong.0),
            replayed_slots: state.replayed_slots(),
            byte_len: state.ssz_len(),
            root: root.map(|root| root.to_string()),
            proved: self.prove,
            seconds: started.elapsed().as_secs_f64(),
        };
        summary.tell();
        if self.json {
            output::print_json(&summary)?;
        }
        Ok(Answer::Yes)
    }

    fn rebuilt<'s>(&self, states: &'s States<View>) -> Result<StateView<'s, View>, ReplayError> {
        let progress = Progress::waiting("rebuild");
        let mut state = states.at_watched(self.slot, &mut |slot| {
            progress.set_message(format!("replay slot {slot} up to {}", self.slot));
        })?;
        if self.prove {
            progress.set_message(format!("hash the state of slot {}", self.slot));
            state.prove()?;
        }
        Ok(state)
    }

    /// Answers why the archive cannot give the state; damage is an error.
    fn explain(&self, archive: &MappedArchive, error: ReplayError) -> Result<Answer> {
        let told = match error {
            ReplayError::MissingBlock { slot, .. } => {
                let absence = Absence::of(&self.archive, archive, Column::Blocks, slot)?;
                format!("{absence}; the state of slot {} cannot be rebuilt without it", self.slot)
            }
            ReplayError::NoState { .. }
            | ReplayError::BeyondEnd { .. }
            | ReplayError::NoBlockRoot { .. }
            | ReplayError::NoStateRoot { .. } => error.to_string(),
            error => return Err(error.into()),
        };
        output::tell(&told);
        Ok(Answer::No)
    }
}

impl Summary {
    fn tell(&self) {
        let Self { slot, base, replayed_slots, .. } = self;
        let how = match replayed_slots {
            0 => "stored".to_owned(),
            slots => format!("replayed {} from slot {base}", count(*slots, "slot")),
        };
        let root = match (&self.root, self.proved) {
            (Some(root), true) => format!("root {root} (proved against bsr)"),
            (Some(root), false) => format!("root {root} in bsr (not compared: --prove)"),
            (None, _) => "no root in bsr".to_owned(),
        };
        output::tell(&format!("state at slot {slot}: {how}, {root}"));
        if let Some(wrong) = self.wrong_base {
            output::tell(&format!(
                "the state in bss of slot {wrong} is nearer, but wrong; `coldstore verify --deep` names it"
            ));
        }
    }
}
