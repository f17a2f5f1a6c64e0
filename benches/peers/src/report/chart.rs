//! The chart: six questions, and for each a bar per store.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::table::{number, shown};
use crate::rounds::{Results, Row};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A question, the workload and case that answer it, and what the floor does.
const QUESTIONS: [(&str, &str, &str, &str); 6] = [
    ("Read a random root (32 bytes, in memory)", "W1", "get of a root, one after the other", MAPS),
    ("Read a random block (20 to 150 kB, in memory)", "W2", "get of a block, touch", MAPS),
    ("Read a random block from the disk", "W6", "cold random block, mean", "a pread"),
    ("Scan all roots, time of each", "W4", "scan of roots", MAPS),
    ("Write 8192 roots durably", "W5", "batch of 8192 roots", APPEND),
    ("Write one root durably", "W5", "single put of a root", APPEND),
];
const MAPS: &str = "plain memory maps";
const APPEND: &str = "an append and one fdatasync";

/// The subjects that have a bar, and their names.
const STORES: [(&str, &str); 6] = [
    ("coldstore", "coldstore"),
    ("lmdb", "LMDB"),
    ("mdbx", "MDBX"),
    ("redb", "redb"),
    ("fjall", "fjall"),
    ("rocksdb", "RocksDB"),
];

const COLUMNS: usize = 2;
const PANEL_WIDTH: i32 = 430;
const TOP: i32 = 56;
const HEADING: i32 = 42;
const BAR: i32 = 18;
const PANEL_HEIGHT: i32 = HEADING + STORES.len() as i32 * BAR + 22;
/// Where bars start in a panel.
const NAMES: i32 = 80;
/// The length of the longest bar of a panel.
const LONGEST: f64 = 230.0;

const OWN: RGBColor = RGBColor(200, 30, 40);
const OTHERS: RGBColor = RGBColor(120, 160, 200);
const NOTE: RGBColor = RGBColor(90, 90, 90);

/// SVG.
pub(super) fn render(results: &Results) -> Result<String, Failure> {
    let panels = QUESTIONS.len().div_ceil(COLUMNS) as i32;
    let size = (PANEL_WIDTH as u32 * COLUMNS as u32, (TOP + panels * PANEL_HEIGHT) as u32);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        let title = "Time of one operation: shorter bars are better";
        text(&area, (12, 18), title, 22, HPos::Left, &BLACK)?;
        let note = "Bars show multiples of the floor (vertical line), which checks nothing. Beside them: \
                    the multiple and the median time.";
        text(&area, (12, 40), note, 15, HPos::Left, &NOTE)?;
        for (index, question) in QUESTIONS.iter().enumerate() {
            let (column, line) = ((index % COLUMNS) as i32, (index / COLUMNS) as i32);
            panel(&area, (column * PANEL_WIDTH, TOP + line * PANEL_HEIGHT), question, results)?;
        }
        area.present()?;
    }
    Ok(svg)
}

fn panel(
    area: &Area<'_>,
    (x, y): (i32, i32),
    (question, workload, case, floor): &(&str, &str, &str, &str),
    results: &Results,
) -> Result<(), Failure> {
    let is_bar = |row: &&Row| row.workload == *workload && row.case == *case;
    let rows: Vec<&Row> = results.rows.iter().filter(is_bar).collect();
    let bars: Vec<(&str, &Row)> = STORES
        .iter()
        .filter_map(|(subject, name)| {
            Some((*name, *rows.iter().find(|row| row.subject == *subject)?))
        })
        .collect();
    let most = bars.iter().map(|(_, row)| row.ratio()[1]).fold(1.0, f64::max);
    let length = |ratio: f64| (ratio / most * LONGEST) as i32;
    text(area, (x + 12, y + 14), question, 18, HPos::Left, &BLACK)?;
    text(area, (x + 12, y + 32), &format!("floor: {floor}"), 14, HPos::Left, &NOTE)?;
    let (left, top) = (x + NAMES, y + HEADING);
    for (index, (name, row)) in bars.iter().enumerate() {
        let (line, ratio) = (top + index as i32 * BAR, row.ratio()[1]);
        let color = if *name == "coldstore" { OWN } else { OTHERS };
        let corners = [(left, line + 3), (left + length(ratio), line + BAR - 3)];
        area.draw(&Rectangle::new(corners, color.filled()))?;
        text(area, (left - 6, line + BAR / 2), name, 15, HPos::Right, &BLACK)?;
        let label = format!("{} ×, {}", number(ratio), shown(row.value()[1], row.unit));
        text(area, (left + length(ratio) + 6, line + BAR / 2), &label, 15, HPos::Left, &BLACK)?;
    }
    let at = left + length(1.0);
    let ends = [(at, top), (at, top + STORES.len() as i32 * BAR)];
    area.draw(&PathElement::new(ends, ShapeStyle::from(&BLACK).stroke_width(1)))?;
    Ok(())
}

fn text(
    area: &Area<'_>,
    at: (i32, i32),
    words: &str,
    size: u32,
    anchor: HPos,
    color: &RGBColor,
) -> Result<(), Failure> {
    let style = TextStyle::from(("sans-serif", size)).color(color);
    area.draw(&Text::new(words, at, style.pos(Pos::new(anchor, VPos::Center))))?;
    Ok(())
}
