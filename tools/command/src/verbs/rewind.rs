//! `coldstore rewind`

use anyhow::Result;
use clap::Args;
use coldstore::Slot;
use coldstore::removal::Removal;

use super::removal::Scope;
use crate::arguments::parse_slot;
use crate::failure::Answer;

/// Remove every record above a slot
///
/// Each column is replaced as a whole: if a crash interrupts the command, the next command that writes
/// finishes it. Programs that have the archive open for reading get an error and must open it again.
/// Stop the daemon first.
#[derive(Debug, Args)]
pub(crate) struct Rewind {
    #[command(flatten)]
    scope: Scope,
    /// The last slot to keep, or `nothing`
    #[arg(long, value_name = "SLOT|nothing", value_parser = parse_to)]
    to: To,
}

#[derive(Clone, Copy, Debug)]
struct To(Option<Slot>);

impl Rewind {
    pub(crate) fn run(self) -> Result<Answer> {
        self.scope.remove(Removal::Rewind(self.to.0))
    }
}

fn parse_to(text: &str) -> Result<To, String> {
    if text == "nothing" { Ok(To(None)) } else { parse_slot(text).map(|slot| To(Some(slot))) }
}
