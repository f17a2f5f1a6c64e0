//! `coldstore man`

use std::path::PathBuf;

use anyhow::Result;
use clap::{Arg, Args, Command};
use clap_mangen::Man as Page;
use coldstore_history::atomic_file;

use crate::disk;
use crate::failure::Answer;

/// Write the manual pages to a directory, one per verb
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The directory, created if missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Man {
    pub(crate) fn run(self, mut command: Command) -> Result<Answer> {
        atomic_file::create_dir(&self.directory)?;
        command.build();
        self.write_page(&command)?;
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            self.write_page(verb)?;
        }
        Ok(Answer::Yes)
    }

    fn write_page(&self, command: &Command) -> Result<()> {
        let page = Page::new(command.clone().override_usage(synopsis(command)));
        let mut text = Vec::new();
        page.render(&mut text)?;
        disk::write(&self.directory.join(page.get_filename()), &text)
    }
}

/// The command with its options and their value names. (The page's own synopsis has none.)
fn synopsis(command: &Command) -> String {
    let mut line = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
    let answers_itself = |option: &Arg| matches!(option.get_id().as_str(), "help" | "version");
    for option in command.get_arguments().filter(|option| !answers_itself(option)) {
        line += &match option.is_positional() || option.is_required_set() {
            true => format!(" {option}"),
            false => format!(" [{option}]"),
        };
    }
    line + if command.has_subcommands() { " <COMMAND>" } else { "" }
}
