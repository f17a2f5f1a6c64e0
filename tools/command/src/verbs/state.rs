//! `coldstore state`

mod origin;

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use coldstore::{Slot, View};
use coldstore_consensus::{FieldJson, Fork, StateFields, StateJson};
use coldstore_history::replay::ReplayError;
use coldstore_history::states::{StateView, States};
use serde::Serialize;

use crate::absence;
use crate::arguments::parse_slot;
use crate::disk;
use crate::failure::{Answer, Usage};
use crate::networks::Network;
use crate::open;
use crate::output::{self, Output};
use crate::progress::Progress;

/// Print the state of any slot, or one of its fields, as SSZ or as JSON
///
/// The state is stored, or rebuilt: from the nearest stored state and the diffs that lead to the
/// slot, or by a replay of the blocks after it. Standard error says which. The state has the block of
/// the slot applied; without a block it is the state after the slot was processed. If the archive cannot
/// give the state, the exit status is 1 and standard error says why.
#[derive(Debug, Args)]
pub(crate) struct State {
    /// The archive's directory
    archive: PathBuf,
    /// The slot
    #[arg(value_parser = parse_slot)]
    slot: Slot,
    /// Write the SSZ to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only this field, by its name in the specification: `balances`
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// Hash the state, and compare its root with the one in bsr, before anything is written
    #[arg(long)]
    prove: bool,
    /// The network, if the archive's is not known: a known name, or a config file
    #[arg(long, value_name = "NAME|FILE")]
    network: Option<String>,
    /// Print JSON on standard output: the state or the field in the encoding of the beacon API, or with
    /// --out a summary
    #[arg(long)]
    json: bool,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Summary {
    slot: u64,
    fork: &'static str,
    /// "stored", "diffs" or "replayed".
    how: &'static str,
    /// The slot of the stored state from which it was rebuilt.
    base: u64,
    /// The slots of the diffs that were applied to a stored state, ascending.
    diffs: Vec<u64>,
    /// The slot of a nearer stored state, which is wrong.
    wrong_base: Option<u64>,
    replayed_slots: u64,
    /// The only field written.
    field: Option<String>,
    /// Length of what was written as SSZ.
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
        let to_stdout = match (file, self.json) {
            (Some(_), _) => None,
            (None, true) => Some(Output::stdout()),
            (None, false) => Some(Output::for_bytes("--out FILE, or --json")?),
        };
        let network = self.network.as_deref().map(Network::named).transpose()?;
        let archive = open::archive(&self.archive)?;
        let states = States::open(&archive, network.as_deref())
            .with_context(|| self.archive.display().to_string())?;
        let started = Instant::now();
        let state = match self.rebuilt(&states) {
            Ok(state) => state,
            Err(error) => {
                let why = absence::of_state(&self.archive, &archive, self.slot, error)?;
                output::tell(&why);
                return Ok(Answer::No);
            }
        };
        // Read before anything is written: an error is a failed operation without output.
        let root = states.source().state_root(self.slot)?;
        let content = Content::of(&state, self.field.as_deref())?;
        match (file, to_stdout) {
            (Some(path), _) => disk::write_by(path, |file| content.write_ssz(file))?,
            (None, Some(mut out)) => {
                match self.json {
                    true => content.write_json(&mut out)?,
                    false => content.write_ssz(&mut out)?,
                }
                out.flush()?;
            }
            (None, None) => {}
        }
        let summary = Summary {
            slot: self.slot.0,
            fork: state.fork().map_or("unknown", Fork::name),
            how: origin::name(state.how()),
            base: state.base().0,
            diffs: origin::diffs(state.how()).iter().map(|slot| slot.0).collect(),
            wrong_base: state.wrong_base().map(|wrong| wrong.0),
            replayed_slots: state.replayed_slots(),
            field: self.field.clone(),
            byte_len: content.byte_len(),
            root: root.map(|root| root.to_string()),
            proved: self.prove,
            seconds: started.elapsed().as_secs_f64(),
        };
        summary.tell(&origin::words(state.how(), states.layers(), state.replayed_slots()));
        if let Some(line) = origin::unread(state.how()) {
            output::tell(&line);
        }
        if self.json && file.is_some() {
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
}

/// What is printed of a state.
enum Content<'s> {
    State(&'s StateView<'s, View>),
    Field { fields: StateFields, name: String, ssz: Cow<'s, [u8]> },
}

impl<'s> Content<'s> {
    fn of(state: &'s StateView<'s, View>, field: Option<&str>) -> Result<Self> {
        let Some(name) = field else { return Ok(Self::State(state)) };
        let slot = state.slot();
        let Some(fork) = state.fork() else {
            bail!("slot {slot}: the state is of a fork whose fields are not known here");
        };
        let fields = StateFields::of(state.preset(), fork);
        let Some(ssz) = state.field(name) else {
            let names: Vec<_> = fields.iter().map(|field| field.name).collect();
            let (fork, names) = (fields.fork(), names.join(", "));
            let wrong = format!("a {fork} state has no field '{name}'; its fields are {names}");
            return Err(Usage(wrong).into());
        };
        Ok(Self::Field { fields, name: name.to_owned(), ssz })
    }

    fn byte_len(&self) -> u64 {
        match self {
            Self::State(state) => state.ssz_len(),
            Self::Field { ssz, .. } => ssz.len() as u64,
        }
    }

    fn write_ssz(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::State(state) => state.write_ssz(out),
            Self::Field { ssz, .. } => out.write_all(ssz),
        }
    }

    /// Writes the JSON, and the end of its line.
    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let out = match self {
            Self::State(state) => {
                let mut json = StateJson::new(state.preset(), out);
                state.write_ssz(&mut json)?;
                json.finish()?
            }
            Self::Field { fields, name, ssz } => {
                let json = FieldJson::new(fields.preset(), fields.fork(), name, out);
                let mut json = json.ok_or(io::ErrorKind::InvalidInput)?;
                json.write_all(ssz)?;
                json.finish()?
            }
        };
        out.write_all(b"\n")
    }
}

impl Summary {
    fn tell(&self, how: &str) {
        let slot = self.slot;
        let root = match (&self.root, self.proved) {
            (Some(root), true) => format!("root {root} (proved against bsr)"),
            (Some(root), false) => format!("root {root} in bsr (not compared: --prove)"),
            (None, _) => "no root in bsr".to_owned(),
        };
        let what = self.field.as_ref().map_or_else(String::new, |name| format!("{name} of the "));
        output::tell(&format!("{what}state at slot {slot}: {how}, {root}"));
        if let Some(wrong) = self.wrong_base {
            output::tell(&format!(
                "the state in bss of slot {wrong} is nearer, but wrong; `coldstore verify --deep` names it"
            ));
        }
    }
}
