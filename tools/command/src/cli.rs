//! The command line for clap. Each verb's arguments are defined in the verb's file.

use anyhow::Result;
use clap::{ArgAction, CommandFactory, Parser, Subcommand};

use crate::failure::Answer;
use crate::verbs;

/// Import, read, verify and heal archives of finalized Ethereum consensus history.
#[derive(Debug, Parser)]
#[command(
    name = "coldstore",
    version,
    disable_help_subcommand = true,
    after_long_help = "\
ARCHIVE is the archive's directory. COLUMN is one of blk bbr bsr bss bsd, or the long name: blocks, \
block-roots, state-roots, state-snapshots, state-diffs.

Results go to standard output; progress, summaries and errors to standard error.

Exit status: 0 done; 1 the answer is no (no record, or damage found); 2 usage; 3 the operation failed.

Files are mapped into memory while they are read. Meanwhile, programs other than writers of this \
format must not change or shorten the files of an archive."
)]
pub(crate) struct Cli {
    /// More log output on standard error (-v, -vv, -vvv); `COLDSTORE_LOG` sets levels by module
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Import(verbs::import::Import),
    Export(verbs::export::Export),
    Reconstruct(verbs::reconstruct::Reconstruct),
    Copy(verbs::copy::Copy),
    Get(verbs::get::Get),
    State(verbs::state::State),
    Validator(verbs::validator::Validator),
    Scan(verbs::scan::Scan),
    Put(verbs::put::Put),
    Load(verbs::load::Load),
    Stat(verbs::stat::Stat),
    Verify(verbs::verify::Verify),
    Heal(verbs::heal::Heal),
    Rewind(verbs::rewind::Rewind),
    Prune(verbs::prune::Prune),
    Map(verbs::map::Map),
    SlotOf(verbs::slot_of::SlotOf),
    Index(verbs::index::Index),
    Follow(verbs::follow::Follow),
    Write(verbs::write::WriterDaemon),
    Send(verbs::send::SendStream),
    Completions(verbs::completions::Completions),
    Man(verbs::man::Man),
}

impl Verb {
    /// A daemon runs unattended, so it logs without `-v`.
    pub(crate) fn is_daemon(&self) -> bool {
        matches!(self, Verb::Write(_))
    }

    pub(crate) fn run(self) -> Result<Answer> {
        match self {
            Verb::Import(verb) => verb.run(),
            Verb::Export(verb) => verb.run(),
            Verb::Reconstruct(verb) => verb.run(),
            Verb::Copy(verb) => verb.run(),
            Verb::Get(verb) => verb.run(),
            Verb::State(verb) => verb.run(),
            Verb::Validator(verb) => verb.run(),
            Verb::Scan(verb) => verb.run(),
            Verb::Put(verb) => verb.run(),
            Verb::Load(verb) => verb.run(),
            Verb::Stat(verb) => verb.run(),
            Verb::Verify(verb) => verb.run(),
            Verb::Heal(verb) => verb.run(),
            Verb::Rewind(verb) => verb.run(),
            Verb::Prune(verb) => verb.run(),
            Verb::Map(verb) => verb.run(),
            Verb::SlotOf(verb) => verb.run(),
            Verb::Index(verb) => verb.run(),
            Verb::Follow(verb) => verb.run(),
            Verb::Write(verb) => verb.run(),
            Verb::Send(verb) => verb.run(),
            Verb::Completions(verb) => verb.run(Cli::command()),
            Verb::Man(verb) => verb.run(Cli::command()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_and_argument_has_a_short_help_without_a_full_stop() {
        let mut command = Cli::command();
        command.build();
        for verb in command.get_subcommands() {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            assert_short_help(verb.get_name(), &about);
            for argument in verb.get_arguments() {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                assert_short_help(&format!("{} {argument}", verb.get_name()), &help);
            }
        }
    }

    fn assert_short_help(name: &str, help: &str) {
        assert!(!help.is_empty(), "{name} has no help text");
        assert!(!help.ends_with('.'), "{name}: {help}");
    }
}
