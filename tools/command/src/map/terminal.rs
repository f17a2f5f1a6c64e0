//! Draws the map in a terminal. Each state has its own glyph; colours are optional.

use std::io::{self, Write};

use coldstore_history::occupancy::SlotState;

use super::axis::RowLabel;
use super::{Axis, ColumnMap, Shade, SlotRange};
use crate::chain::Chain;
use crate::layers::Layers;
use crate::output;

/// Maximum number of findings listed per column; `--json` has all.
const MAX_FINDINGS: usize = 8;

const PRESENT: [char; 4] = ['░', '▒', '▓', '█'];
const BACKFILLED: [char; 4] = ['▫', '▫', '▪', '■'];
const SKIPPED: char = '·';
const MISSING: char = '×';
const DAMAGED: char = '!';
const UNREADABLE: char = '?';
const PRUNED: char = '-';

impl Shade {
    fn glyph(self) -> char {
        match self {
            Shade::Empty => ' ',
            Shade::Skipped => SKIPPED,
            Shade::Present(level) => PRESENT[usize::from(level)],
            Shade::Backfilled(level) => BACKFILLED[usize::from(level)],
            Shade::Missing => MISSING,
            Shade::Damaged => DAMAGED,
            Shade::Unreadable => UNREADABLE,
            Shade::Pruned => PRUNED,
        }
    }

    /// The parameter of the terminal's colour.
    fn color(self) -> &'static str {
        match self {
            Shade::Empty => "0",
            Shade::Skipped => "90",
            Shade::Present(_) => "32",
            Shade::Backfilled(_) => "36",
            Shade::Missing => "1;33",
            Shade::Damaged => "1;31",
            Shade::Unreadable => "1;35",
            Shade::Pruned => "34",
        }
    }
}

/// Draws columns that share an axis.
pub(crate) struct Terminal<'a> {
    pub(crate) axis: &'a Axis,
    pub(crate) chain: &'a Chain,
    pub(crate) in_color: bool,
}

impl Terminal<'_> {
    pub(crate) fn draw(&self, maps: &[ColumnMap], out: &mut impl Write) -> io::Result<()> {
        let labels: Vec<RowLabel> = (0..self.axis.rows())
            .map(|row| RowLabel::of(self.axis.row_start(row), self.chain))
            .collect();
        for map in maps {
            self.draw_column(map, &labels, out)?;
            writeln!(out)?;
        }
        self.legend(out)
    }

    fn draw_column(
        &self,
        map: &ColumnMap,
        labels: &[RowLabel],
        out: &mut impl Write,
    ) -> io::Result<()> {
        let counts: Vec<String> = SlotState::ALL
            .into_iter()
            .filter(|state| *state != SlotState::Empty && map.totals.of(*state) > 0)
            .map(|state| format!("{} {state}", map.totals.of(state)))
            .collect();
        let counts = if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
        let heading = format!("{} {}: {counts}", map.column, map.column.long_name());
        writeln!(out, "{}", output::wrap(&heading))?;
        let by_layer = map.layers.as_ref().map(Layers::line).filter(|line| !line.is_empty());
        if let Some(line) = by_layer {
            writeln!(out, "{}", output::wrap(&format!("  {line}")))?;
        }
        if map.totals.of(SlotState::Empty) == map.totals.total() {
            return Ok(());
        }
        let widths = Widths::of(labels);
        writeln!(out, "{} {}", widths.heading(), self.ticks())?;
        for (row, label) in (0..).zip(labels) {
            write!(out, "{} │", widths.line(label))?;
            self.draw_cells(self.axis.cells_of(row, &map.cells), out)?;
            writeln!(out, "│")?;
        }
        for finding in map.findings.iter().take(MAX_FINDINGS) {
            writeln!(out, "{}", output::wrap(&self.finding(finding)))?;
        }
        let more = map.findings.len().saturating_sub(MAX_FINDINGS);
        if more > 0 {
            writeln!(out, "  and {more} more ranges: --json has all of them")?;
        }
        Ok(())
    }

    fn draw_cells(&self, cells: &[super::Counts], out: &mut impl Write) -> io::Result<()> {
        let mut color = "0";
        for shade in cells.iter().map(Shade::of) {
            if self.in_color && shade.color() != color {
                color = shade.color();
                write!(out, "\x1b[0;{color}m")?;
            }
            write!(out, "{}", shade.glyph())?;
        }
        if color == "0" { Ok(()) } else { write!(out, "\x1b[0m") }
    }

    /// The slot offsets at each quarter of a row, if they fit.
    fn ticks(&self) -> String {
        let quarter = self.axis.cells_per_row / 4;
        let width = usize::try_from(quarter).unwrap_or_default();
        let mut line = String::new();
        for tick in 0..4 {
            let label = format!("├{}", tick * quarter * self.axis.slots_per_cell());
            let label = if label.chars().count() < width { &label } else { "├" };
            line += &format!("{label:<width$}");
        }
        line.trim_end().to_owned()
    }

    fn finding(&self, finding: &SlotRange) -> String {
        let SlotRange { state, first, last, why } = finding;
        let mut text = if first == last {
            format!("  {state}: slot {first}")
        } else {
            format!("  {state}: slots {first} to {last}")
        };
        if let Some(slots) = self.chain.slots_per_era {
            let (first, last) = (first.0 / slots + 1, last.0 / slots + 1);
            text += &if first == last {
                format!(", era {first}")
            } else {
                format!(", eras {first} to {last}")
            };
        }
        if let Some(why) = why {
            text += &format!(": {why}");
        }
        text
    }

    fn legend(&self, out: &mut impl Write) -> io::Result<()> {
        let per_cell = self.axis.slots_per_cell();
        let slots = if per_cell == 1 { "slot" } else { "slots" };
        let sizes = format!(
            "each row {} slots, each cell {per_cell} {slots}; a cell shows the worst in it",
            self.axis.slots_per_row
        );
        writeln!(out, "{}", output::wrap(&sizes))?;
        let entries = [
            (Shade::Present(3), "█▓▒░", "present (7/8, 1/2, 1/8, less)"),
            (Shade::Backfilled(3), "■▪▫", "backfilled behind later slots"),
            (Shade::Skipped, "·", "skipped, proved by bbr"),
            (Shade::Missing, "×", "missing"),
            (Shade::Damaged, "!", "damaged"),
            (Shade::Unreadable, "?", "unreadable"),
            (Shade::Pruned, "-", "pruned"),
            (Shade::Empty, "' '", "no record, nothing says there should be one"),
        ];
        for pair in entries.chunks(2) {
            let mut gap = "";
            for (shade, glyphs, meaning) in pair {
                if self.in_color {
                    write!(out, "{gap}\x1b[{}m{glyphs}\x1b[0m {meaning}", shade.color())?;
                } else {
                    write!(out, "{gap}{glyphs} {meaning}")?;
                }
                gap = "  ";
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// Widths of the rows' labels.
struct Widths {
    file: usize,
    slot: usize,
    era: Option<usize>,
    day: Option<usize>,
}

impl Widths {
    fn of(labels: &[RowLabel]) -> Self {
        let widest = |of: &dyn Fn(&RowLabel) -> Option<usize>, heading: usize| {
            let widest = labels.iter().filter_map(of).max();
            widest.map(|width| width.max(heading))
        };
        Self {
            file: widest(&|label| Some(label.file.len()), 4).unwrap_or(4),
            slot: widest(&|label| Some(label.slot.len()), 4).unwrap_or(4),
            era: widest(&|label| label.era.as_ref().map(String::len), 3),
            day: widest(&|label| label.day.as_ref().map(String::len), 4),
        }
    }

    fn heading(&self) -> String {
        let heading = RowLabel {
            file: "file".to_owned(),
            slot: "slot".to_owned(),
            era: Some("era".to_owned()),
            day: Some("date".to_owned()),
        };
        self.line(&heading)
    }

    fn line(&self, label: &RowLabel) -> String {
        let mut line = format!("{:>2$} {:>3$}", label.file, label.slot, self.file, self.slot);
        if let Some(width) = self.era {
            line += &format!(" {:>width$}", label.era.as_deref().unwrap_or_default());
        }
        if let Some(width) = self.day {
            line += &format!(" {:<width$}", label.day.as_deref().unwrap_or_default());
        }
        line
    }
}
