//! Results on standard output, messages on standard error.

use std::fmt::{self, Write as _};
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::time::Duration;

use anyhow::Result;
use coldstore::verify::Severity;
use rustix::event::{PollFd, PollFlags, Timespec};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::usage::Usage;

const BUFFER_BYTES: usize = 64 << 10;

/// Buffered standard output. Callers must [`flush`](Write::flush): dropping it may lose buffered bytes
/// without an error.
pub(crate) struct Output(BufWriter<StdoutLock<'static>>);

impl Output {
    pub(crate) fn stdout() -> Self {
        Self(BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock()))
    }

    /// Standard output for binary data; `to_file` is the hint for writing it to a file instead.
    ///
    /// # Errors
    /// [`Usage`] when it is a terminal.
    pub(crate) fn for_bytes(to_file: &str) -> Result<Self> {
        if io::stdout().is_terminal() {
            let message = format!(
                "standard output is a terminal, and these bytes are not text: write them to a file \
                 ({to_file}) or pipe them on (| xxd)"
            );
            return Err(Usage(message).into());
        }
        Ok(Self::stdout())
    }

    /// Writes a value as JSON on one line. Integers of 64 bits become decimal strings, as in the beacon
    /// API, because many JSON readers keep only 53 bits.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> Result<()> {
        let mut line = Vec::new();
        value.serialize(&mut Serializer::with_formatter(&mut line, DecimalStrings))?;
        line.push(b'\n');
        self.write_all(&line)?;
        Ok(())
    }
}

struct DecimalStrings;

impl Formatter for DecimalStrings {
    fn write_u64<W: ?Sized + Write>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        write!(writer, "\"{value}\"")
    }
}

/// Prints a value on standard output, as [`Output::json_line`] writes it.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    let mut out = Output::stdout();
    out.json_line(value)?;
    Ok(out.flush()?)
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(|error| named(&error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(|error| named(&error))
    }
}

/// An error of standard output, inside an [`io::Error`] of the same kind.
#[derive(Debug)]
struct OutputError(String);

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write to standard output: {}", self.0)
    }
}

impl std::error::Error for OutputError {}

/// Adds "standard output" to an error.
pub(crate) fn named(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), OutputError(error.to_string()))
}

/// Whether an error says that standard output has no reader. Other pipes and sockets break too.
pub(crate) fn is_closed_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
        && matches!(error.get_ref(), Some(inner) if inner.is::<OutputError>())
}

/// Whether standard output is a pipe or socket without a reader.
pub(crate) fn is_closed() -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let polled = rustix::event::poll(&mut fds, Some(&at_once));
    polled.is_ok_and(|count| count > 0)
        && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// "1 era", "2 eras"
pub(crate) fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// "5.65 MiB in 0.3 s (21.08 MiB/s)"
pub(crate) fn amount_and_rate(byte_len: u64, seconds: f64) -> String {
    let amount = format!("{} in {seconds:.1} s", bytes_for_people(byte_len));
    if seconds <= 0.0 {
        return amount;
    }
    let millis = Duration::from_secs_f64(seconds).as_millis().max(1);
    let rate = u64::try_from(u128::from(byte_len) * 1000 / millis).unwrap_or(u64::MAX);
    format!("{amount} ({}/s)", bytes_for_people(rate))
}

/// Prints a message for the operator. If standard error is closed, the message is lost.
pub(crate) fn tell(sentence: &str) {
    let _ = writeln!(io::stderr(), "coldstore: {sentence}");
}

/// The name of a severity in messages and in JSON.
pub(crate) fn name_of(severity: Severity) -> &'static str {
    match severity {
        Severity::Damage => "damage",
        Severity::Unreadable => "unreadable",
        Severity::Unfinished => "unfinished",
        Severity::Note => "note",
    }
}

/// A byte count with a binary unit.
pub(crate) fn bytes_for_people(byte_len: u64) -> String {
    indicatif::BinaryBytes(byte_len).to_string()
}

/// One of the bars of a chart whose highest bar stands for `most`.
pub(crate) fn bar(value: u64, most: u64) -> char {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let height = u128::from(value) * 7 / u128::from(most.max(1));
    BARS[usize::try_from(height).unwrap_or(7).min(7)]
}

/// Assumed width if standard output is not a terminal or its size is unknown.
const DEFAULT_WIDTH: usize = 80;

/// Width of standard output in characters.
pub(crate) fn width() -> usize {
    let stdout = io::stdout();
    let size = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout));
    match size {
        Some(Ok(size)) if size.ws_col > 0 => size.ws_col.into(),
        _ => DEFAULT_WIDTH,
    }
}

/// Breaks a line at spaces so that it fits the width of standard output, if its words do. Continuation
/// lines are indented.
pub(crate) fn wrap(line: &str) -> String {
    wrap_at(width(), line)
}

fn wrap_at(width: usize, line: &str) -> String {
    let text = line.trim_start();
    let indent = line.len() - text.len();
    let (mut wrapped, mut used) = (" ".repeat(indent), indent);
    for (index, word) in text.split(' ').enumerate() {
        let word_len = word.chars().count();
        if index > 0 && used + 1 + word_len > width {
            wrapped += "\n";
            wrapped += &" ".repeat(indent + 2);
            used = indent + 2;
        } else if index > 0 {
            wrapped += " ";
            used += 1;
        }
        wrapped += word;
        used += word_len;
    }
    wrapped
}

/// A text table: columns as wide as their widest cell, text aligned left and numbers right.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let columns = self.rows[0].len();
        let cells = |column: usize| self.rows.iter().map(move |row| &row[column]);
        let width = |cell: &String| cell.chars().count();
        let widths: Vec<usize> =
            (0..columns).map(|column| cells(column).map(width).max().unwrap_or(0)).collect();
        let is_number = |cell: &String| cell.starts_with(|first: char| first.is_ascii_digit());
        let right: Vec<bool> =
            (0..columns).map(|column| cells(column).skip(1).any(is_number)).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (index, cell) in row.iter().enumerate() {
                let width = widths[index];
                let gap = if index == 0 { "" } else { "  " };
                let _ = if right[index] {
                    write!(line, "{gap}{cell:>width$}")
                } else {
                    write!(line, "{gap}{cell:<width$}")
                };
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_64_bits_are_strings_in_json() {
        #[derive(Serialize)]
        struct Value {
            slot: u64,
            gap: Option<u64>,
            small: u32,
            seconds: f64,
        }
        let value = Value { slot: u64::MAX, gap: None, small: 7, seconds: 0.5 };
        let mut json = Vec::new();
        value.serialize(&mut Serializer::with_formatter(&mut json, DecimalStrings)).unwrap();
        let wanted = r#"{"slot":"18446744073709551615","gap":null,"small":7,"seconds":0.5}"#;
        assert_eq!(String::from_utf8(json).unwrap(), wanted);
    }

    #[test]
    fn a_line_is_wrapped_at_spaces_and_its_continuation_is_indented() {
        assert_eq!(wrap_at(9, "  one two three"), "  one two\n    three");
        assert_eq!(wrap_at(3, "a-long-word and so on"), "a-long-word\n  and\n  so\n  on");
        assert_eq!(wrap_at(20, "it fits"), "it fits");
    }

    #[test]
    fn numbers_are_right_aligned_and_text_left_aligned() {
        let mut table = Table::new(&["column", "records"]);
        table.row(vec!["blk".to_owned(), "7".to_owned()]);
        table.row(vec!["bbr".to_owned(), "12345678".to_owned()]);
        let mut out = Vec::new();
        table.print(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "column   records\nblk            7\nbbr     12345678\n");
    }
}
