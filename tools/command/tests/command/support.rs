//! Running the command, and the bytes to feed it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
pub(crate) use test_support::data as test_data;
use test_support::scratch;

/// Timeout with a wide margin, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Run {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stderr: {}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// The text on one line, for messages that are wrapped.
    pub(crate) fn unwrapped(&self) -> String {
        self.text().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Removes the sequences that set a terminal's colours.
    pub(crate) fn without_color(mut self) -> Self {
        let mut parts = self.text().split("\x1b[");
        let first = parts.next().unwrap_or_default().to_owned();
        let rest = parts.map(|part| part.split_once('m').map_or("", |(_, text)| text));
        self.stdout = rest.fold(first, |plain, text| plain + text).into_bytes();
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap()
    }

    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The first word of each line.
    pub(crate) fn first_words(&self) -> Vec<&str> {
        self.text().lines().filter_map(|line| line.split_whitespace().next()).collect()
    }

    /// Asserts that the error is one sentence that names the command and contains `what`.
    #[track_caller]
    pub(crate) fn complains_of(self, what: &str) -> Self {
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert!(matches!(lines[..], [line] if line.starts_with("coldstore: ")), "{lines:?}");
        assert!(self.stderr.contains(what), "{}", self.stderr);
        self
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coldstore"));
    command.args(args).stdin(Stdio::null()).env_remove("COLDSTORE_LOG");
    command
}

pub(crate) fn coldstore(args: &[&str]) -> Run {
    command(args).output().unwrap().into()
}

/// Runs the command as a user without permission, because root may read everything.
pub(crate) fn coldstore_without_privileges(args: &[&str]) -> Run {
    let mut command = command(args);
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    command.output().unwrap().into()
}

/// Runs the command with these bytes on its standard input.
pub(crate) fn coldstore_fed(args: &[&str], stdin: &[u8]) -> Run {
    let mut child = spawn(args, Stdio::piped());
    // A command that stops reading closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap().into()
}

pub(crate) fn spawn(args: &[&str], stdin: Stdio) -> Child {
    let mut command = command(args);
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Runs the command with a terminal of this width as standard output; returns what it shows too.
pub(crate) fn on_a_terminal(columns: u16, args: &[&str]) -> Run {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let size = Winsize { ws_col: columns, ws_row: 24, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&terminal, size).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let slave = fs::OpenOptions::new().write(true).open(name.to_str().unwrap()).unwrap();
    let child = command(args).stdout(slave).stderr(Stdio::piped()).spawn().unwrap();
    // Ends with an error when the command has closed the terminal.
    let mut shown = Vec::new();
    let _ = fs::File::from(terminal).read_to_end(&mut shown);
    let mut run = Run::from(child.wait_with_output().unwrap());
    run.stdout = String::from_utf8(shown).unwrap().replace("\r\n", "\n").into_bytes();
    run
}

/// A directory for one archive, not created yet.
pub(crate) struct Archive {
    directory: TempDir,
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self { directory: scratch() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("archive")
    }

    /// The archive's path as an argument.
    pub(crate) fn arg(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }

    /// A path beside the archive, as an argument.
    pub(crate) fn beside(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// Loads these items into a column, unchecked.
    pub(crate) fn with(self, column: &str, items: &[(u64, Vec<u8>)]) -> Self {
        let stream = stream(record_type(column), items);
        coldstore_fed(&["load", &self.arg(), column, "--raw", "--far"], &stream).exits(0);
        self
    }

    pub(crate) fn scan(&self, column: &str, more: &[&str]) -> Run {
        let archive = self.arg();
        coldstore(&[&["scan", archive.as_str(), column], more].concat())
    }
}

pub(crate) fn record_type(column: &str) -> [u8; 2] {
    let columns = ["blk", "bbr", "bsr", "bss", "bsd"];
    let index = columns.iter().position(|name| *name == column).unwrap();
    [u8::try_from(index).unwrap() + 1, 0]
}

fn record(record_type: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    [&record_type[..], &length.to_le_bytes(), &[0, 0], payload].concat()
}

/// A slot stream, built from its specification alone.
pub(crate) fn stream(record_type: [u8; 2], items: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = record(*b"e2", &[]);
    for (slot, value) in items {
        bytes.extend(record(*b"sl", &slot.to_le_bytes()));
        bytes.extend(record(record_type, value));
    }
    bytes
}

/// A root for each of the slots.
pub(crate) fn roots(slots: impl IntoIterator<Item = u64>) -> Vec<(u64, Vec<u8>)> {
    slots.into_iter().map(|slot| (slot, slot.to_be_bytes().repeat(4))).collect()
}

/// Every file and directory, with attributes that show a change.
pub(crate) fn listing(directory: &Path) -> BTreeMap<PathBuf, (SystemTime, String)> {
    let mut all = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        let metadata = fs::metadata(&path).unwrap();
        let content = if metadata.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            "directory".to_owned()
        } else {
            format!("{:x?}", Sha256::digest(fs::read(&path).unwrap()).as_slice())
        };
        all.insert(path, (metadata.modified().unwrap(), content));
    }
    all
}
