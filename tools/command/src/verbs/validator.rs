//! `coldstore validator`

mod rows;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use coldstore::{Slot, View};
use coldstore_history::pubkeys::{self, Pubkey, Registry};
use coldstore_history::states::{StateView, States};
use serde_json::{Value, json};

use self::rows::{CSV_HEADING, Row};
use crate::absence;
use crate::arguments::{parse_slot, slot_range};
use crate::failure::{Answer, Usage};
use crate::networks::Network;
use crate::open;
use crate::output::{self, Output};
use crate::progress::Progress;

/// Print a validator in the state of one slot, or its history over epochs
///
/// The history has a row for the first slot of every epoch: the balances in ETH, the status, and the
/// participation flags of the previous and the current epoch (s, t, h: a timely source, target, head).
/// CSV and JSON have balances in Gwei and flags as numbers. States that are not stored are rebuilt, which
/// may take long: see `coldstore state`. A public key is found fast with the archive's index (see
/// `coldstore index`).
#[derive(Debug, Args)]
pub(crate) struct Validator {
    /// The archive's directory
    archive: PathBuf,
    /// The validator's index, or its public key as 96 hex digits
    #[arg(value_name = "INDEX|PUBKEY", value_parser = parse_name)]
    validator: Name,
    /// The slot of the state (default: the newest stored one)
    #[arg(long, value_name = "SLOT", value_parser = parse_slot, conflicts_with_all = ["from", "to"])]
    at: Option<Slot>,
    /// The first slot of the history
    #[arg(long, value_name = "SLOT", value_parser = parse_slot)]
    from: Option<Slot>,
    /// The last slot of the history (default: the archive's last)
    #[arg(long, value_name = "SLOT", value_parser = parse_slot, requires = "from")]
    to: Option<Slot>,
    /// The network, if the archive's is not known: a known name, or a config file
    #[arg(long, value_name = "NAME|FILE")]
    network: Option<String>,
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV
    #[arg(long)]
    csv: bool,
}

/// How a validator is named.
#[derive(Clone, Debug)]
enum Name {
    Index(u64),
    Pubkey(Box<Pubkey>),
}

fn parse_name(text: &str) -> Result<Name, String> {
    if !text.starts_with("0x")
        && let Ok(index) = text.parse()
    {
        return Ok(Name::Index(index));
    }
    let pubkey = const_hex::decode_to_array(text);
    pubkey.map(|pubkey| Name::Pubkey(Box::new(pubkey))).map_err(|_| {
        format!("an index, or a public key of 96 hex digits, found {} characters", text.len())
    })
}

impl Validator {
    pub(crate) fn run(self) -> Result<Answer> {
        slot_range(self.from, self.to).map_err(Usage)?;
        let network = self.network.as_deref().map(Network::named).transpose()?;
        let archive = open::archive(&self.archive)?;
        let states = States::open(&archive, network.as_deref())
            .with_context(|| self.archive.display().to_string())?;
        let Some((first, last)) = self.slots(&states)? else {
            output::tell("the archive holds no state");
            return Ok(Answer::No);
        };
        let progress = Progress::waiting("rebuild");
        let state_at = |slot| {
            states.at_watched(slot, &mut |replayed| {
                progress.set_message(format!("replay slot {replayed} up to {slot}"));
            })
        };
        let unable = |slot, error| {
            output::tell(&absence::of_state(&self.archive, &archive, slot, error)?);
            Ok(Answer::No)
        };
        // The registry only grows: the last state has every validator of the others.
        let newest = match state_at(last) {
            Ok(newest) => newest,
            Err(error) => return unable(last, error),
        };
        let Some(index) = progress.suspend(|| self.index_in(&newest))? else {
            return Ok(Answer::No);
        };
        if self.from.is_none() {
            drop(progress);
            return self.print_details(&newest, index);
        }
        let mut history = History::begin(&self);
        let slots_per_epoch = newest.preset().slots_per_epoch();
        let epochs = first.0.div_ceil(slots_per_epoch)..=last.0 / slots_per_epoch;
        let rows = states.history(index..index + 1, epochs.clone());
        for (epoch, found) in epochs.zip(rows) {
            let slot = Slot(epoch * slots_per_epoch);
            progress.set_message(format!("read slot {slot} up to {last}"));
            match found {
                Ok(found) => {
                    for validator in &found.validators {
                        let row = Row::at(slot, validator);
                        progress.suspend(|| history.add(row))?;
                    }
                }
                Err(error) => {
                    history.end(index)?;
                    return unable(slot, error);
                }
            }
        }
        drop(progress);
        history.end(index)?;
        Ok(Answer::Yes)
    }

    /// The first and the last slot that are asked for; `None` in an archive without a state.
    fn slots(&self, states: &States<View>) -> Result<Option<(Slot, Slot)>> {
        let source = states.source();
        let Some(end) = source.end() else { return Ok(None) };
        Ok(match (self.from, self.at) {
            (Some(from), _) => Some((from, self.to.unwrap_or(end).min(end))),
            (None, Some(at)) => Some((at, at)),
            (None, None) => source.stored().last_to(end)?.map(|newest| (newest, newest)),
        })
    }

    /// The validator's index; `None`, and a message, if the state has no such validator.
    fn index_in(&self, state: &StateView<'_, View>) -> Result<Option<usize>> {
        let (slot, count) = (state.slot(), state.validator_count());
        match &self.validator {
            Name::Index(index) => {
                let found = usize::try_from(*index).ok().filter(|index| *index < count);
                if found.is_none() {
                    let registry = output::count(count as u64, "validator");
                    output::tell(&format!(
                        "no validator {index}: the state of slot {slot} has {registry}"
                    ));
                }
                Ok(found)
            }
            Name::Pubkey(pubkey) => {
                let found = pubkeys::find(&self.archive, &Keys(state), pubkey)?;
                if found.is_none() {
                    let pubkey = const_hex::encode_prefixed(&pubkey[..]);
                    output::tell(&format!(
                        "no validator {pubkey}: the state of slot {slot} has none with this key"
                    ));
                }
                Ok(found.and_then(|index| usize::try_from(index).ok()))
            }
        }
    }

    fn print_details(&self, state: &StateView<'_, View>, index: usize) -> Result<Answer> {
        let (Some(row), Some(validator)) = (Row::of(state, index), state.validator(index)) else {
            return Ok(Answer::No);
        };
        let mut out = Output::stdout();
        if self.json {
            out.json_line(&rows::details_object(index, &validator, &row))?;
        } else if self.csv {
            write!(out, "{CSV_HEADING}\n{}\n", row.csv())?;
        } else {
            let lines = rows::details(index, &validator, &row);
            let width = lines.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
            for (what, value) in lines {
                writeln!(out, "{what:<width$}  {value}")?;
            }
        }
        out.flush()?;
        output::tell(&format!("state at slot {}: {}", state.slot(), state.how()));
        Ok(Answer::Yes)
    }
}

/// Prints rows: CSV as they come, so that a long history can be watched, the others at the end.
struct History<'v> {
    of: &'v Validator,
    rows: Vec<Row>,
    out: Output,
    is_first: bool,
}

impl<'v> History<'v> {
    fn begin(of: &'v Validator) -> Self {
        Self { of, rows: Vec::new(), out: Output::stdout(), is_first: true }
    }

    fn add(&mut self, row: Row) -> Result<()> {
        if !self.of.csv {
            self.rows.push(row);
            return Ok(());
        }
        if std::mem::take(&mut self.is_first) {
            writeln!(self.out, "{CSV_HEADING}")?;
        }
        writeln!(self.out, "{}", row.csv())?;
        Ok(self.out.flush()?)
    }

    fn end(mut self, index: usize) -> Result<()> {
        if self.of.json {
            let rows: Vec<Value> = self.rows.iter().map(Row::object).collect();
            self.out.json_line(&json!({ "index": index as u64, "history": rows }))?;
        } else if self.of.csv && self.is_first {
            writeln!(self.out, "{CSV_HEADING}")?;
        } else if !self.of.csv && !self.rows.is_empty() {
            rows::table(&self.rows).print(&mut self.out)?;
            if io::stdout().is_terminal() {
                writeln!(self.out, "{}", rows::sparkline(&self.rows, output::width() / 2))?;
            }
        }
        Ok(self.out.flush()?)
    }
}

/// The public keys of a state.
struct Keys<'s>(&'s StateView<'s, View>);

impl Registry for Keys<'_> {
    type Error = coldstore::Error;

    fn count(&self) -> u64 {
        self.0.validator_count() as u64
    }

    fn pubkey(&self, index: u64) -> coldstore::Result<Pubkey> {
        let validator = usize::try_from(index).ok().and_then(|index| self.0.validator(index));
        Ok(validator.map_or([0; 48], |validator| validator.pubkey))
    }
}
