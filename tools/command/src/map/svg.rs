//! Draws the map as SVG: one panel per column, side by side, with one axis.
//!
//! Adjacent cells of one shade in a row are one rectangle, and all rectangles of a shade are one path,
//! which keeps the file of a history of 1,800 files small.

use std::fmt::Write as _;

use coldstore_history::occupancy::SlotState;

use super::axis::RowLabel;
use super::{Axis, ColumnMap, Shade};
use crate::chain::Chain;

const LEFT: f64 = 252.0;
const TOP: f64 = 96.0;
const BOTTOM: f64 = 30.0;
const PANEL: f64 = 160.0;
const GAP: f64 = 26.0;
/// Target height of all rows together, within the bounds for a row.
const ROWS_HEIGHT: f64 = 1100.0;
const ROW_HEIGHTS: (f64, f64) = (0.6, 14.0);
/// Minimum distance between labels.
const LABEL_HEIGHT: f64 = 15.0;

const STYLE: &str = "\
svg{background:#fff;color:#1b1f24}\
text{font:12px ui-monospace,monospace;fill:currentColor}\
.h{font-weight:bold;font-size:14px}\
.n{fill-opacity:.65}\
.f{fill:none;stroke:currentColor;stroke-opacity:.3;stroke-width:1}\
.p0{fill:#b7e3c4}.p1{fill:#7fcb97}.p2{fill:#46ad6b}.p3{fill:#1f8a4c}\
.b0{fill:#b9dcf2}.b1{fill:#7fbde6}.b2{fill:#459bd2}.b3{fill:#1b78b5}\
.s{fill:#c9ccd1}.m{fill:#f0a202}.d{fill:#d7263d}.u{fill:#8e44ad}.r{fill:#d9cbb3}\
@media (prefers-color-scheme:dark){svg{background:#0d1117;color:#e6edf3}\
.p0{fill:#12351f}.p1{fill:#1c5a33}.p2{fill:#26834a}.p3{fill:#3fb568}\
.b0{fill:#0f2c44}.b1{fill:#174e7a}.b2{fill:#2173b0}.b3{fill:#4ba3e3}\
.s{fill:#4a5058}.r{fill:#6b5f48}}";

/// The shades in drawing order, with their classes and their texts in the legend.
const CLASSES: [(Shade, &str, &str); 13] = [
    (Shade::Present(0), "p0", ""),
    (Shade::Present(1), "p1", ""),
    (Shade::Present(2), "p2", ""),
    (Shade::Present(3), "p3", "present"),
    (Shade::Backfilled(0), "b0", ""),
    (Shade::Backfilled(1), "b1", ""),
    (Shade::Backfilled(2), "b2", ""),
    (Shade::Backfilled(3), "b3", "backfilled"),
    (Shade::Skipped, "s", "skipped"),
    (Shade::Missing, "m", "missing"),
    (Shade::Damaged, "d", "damaged"),
    (Shade::Unreadable, "u", "unreadable"),
    (Shade::Pruned, "r", "pruned"),
];

/// Draws columns that share an axis.
pub(crate) fn draw(maps: &[ColumnMap], axis: &Axis, chain: &Chain) -> String {
    let rows = axis.rows() as f64;
    let height = (ROWS_HEIGHT / rows).clamp(ROW_HEIGHTS.0, ROW_HEIGHTS.1);
    let (width, bottom) = (LEFT + maps.len() as f64 * (PANEL + GAP), TOP + rows * height + BOTTOM);
    let width = width.max(LEFT + 5.0 * (PANEL + GAP));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {bottom:.0}\" \
         width=\"{width}\" role=\"img\"><title>{}</title><style>{STYLE}</style>\n",
        title(axis, chain)
    );
    text(&mut svg, "h", (12.0, 22.0), &title(axis, chain));
    legend(&mut svg, axis);
    row_labels(&mut svg, axis, chain, height);
    for (index, map) in maps.iter().enumerate() {
        let left = LEFT + index as f64 * (PANEL + GAP);
        panel(&mut svg, map, axis, left, height);
    }
    svg += "</svg>\n";
    svg
}

fn title(axis: &Axis, chain: &Chain) -> String {
    let name = chain.config_name.as_deref().unwrap_or("archive");
    // The name may come from an untrusted file.
    let plain: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_ ".contains(*c)).collect();
    format!("{plain}, slots {} to {}", axis.first, axis.last)
}

fn text(svg: &mut String, class: &str, (x, y): (f64, f64), text: &str) {
    // Writing into a string cannot fail, here and below.
    let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x}\" y=\"{y:.1}\">{text}</text>");
}

fn legend(svg: &mut String, axis: &Axis) {
    let mut x = 12.0;
    for (_, class, name) in CLASSES.iter().filter(|(_, _, name)| !name.is_empty()) {
        let (shades, name) = match *class {
            "p3" => (vec!["p0", "p1", "p2", "p3"], *name),
            "b3" => (vec!["b0", "b1", "b2", "b3"], *name),
            class => (vec![class], *name),
        };
        for shade in shades {
            let _ = write!(
                svg,
                "<rect class=\"{shade}\" x=\"{x}\" y=\"34\" width=\"12\" height=\"12\"/>"
            );
            x += 12.0;
        }
        text(svg, "", (x + 5.0, 44.0), name);
        x += 5.0 + 7.4 * name.len() as f64 + 16.0;
    }
    let per_cell = axis.slots_per_cell();
    let note =
        format!("row: {} slots, cell: {per_cell}; the worst in a cell shows", axis.slots_per_row);
    text(svg, "n", (x, 44.0), &note);
}

fn row_labels(svg: &mut String, axis: &Axis, chain: &Chain, height: f64) {
    let mut step = 1;
    while step as f64 * height < LABEL_HEIGHT {
        step *= 2;
    }
    let heading = |svg: &mut String, label: &RowLabel, y: f64| {
        for (x, part) in
            [(60.0, Some(&label.file)), (130.0, Some(&label.slot)), (168.0, label.era.as_ref())]
        {
            if let Some(part) = part {
                let _ = writeln!(
                    svg,
                    "<text class=\"n\" text-anchor=\"end\" x=\"{}\" y=\"{y:.1}\">{part}</text>",
                    x - 8.0
                );
            }
        }
        if let Some(day) = &label.day {
            text(svg, "n", (164.0, y), day);
        }
    };
    let names = RowLabel {
        file: "file".to_owned(),
        slot: "slot".to_owned(),
        era: chain.slots_per_era.map(|_| "era".to_owned()),
        day: chain.time_of(axis.first).map(|_| "date".to_owned()),
    };
    heading(svg, &names, TOP - 8.0);
    for row in (0..axis.rows()).step_by(step) {
        let y = TOP + row as f64 * height + (height.min(LABEL_HEIGHT) / 2.0 + 4.0).max(9.0);
        heading(svg, &RowLabel::of(axis.row_start(row), chain), y);
    }
}

fn panel(svg: &mut String, map: &ColumnMap, axis: &Axis, left: f64, height: f64) {
    let shades: Vec<Shade> = map.cells.iter().map(Shade::of).collect();
    let rows_height = axis.rows() as f64 * height;
    let records = map.totals.records();
    text(svg, "h", (left, TOP - 24.0), &format!("{} {}", map.column, map.column.long_name()));
    text(svg, "n", (left, TOP - 8.0), &format!("{records} records"));
    let cell = PANEL / axis.cells_per_row as f64;
    let _ = writeln!(
        svg,
        "<g transform=\"translate({left},{TOP}) scale({cell},{height:.4})\" \
         shape-rendering=\"crispEdges\">"
    );
    for (shade, class, _) in CLASSES {
        let path = path_of(&shades, axis, shade);
        if !path.is_empty() {
            let _ = writeln!(svg, "<path class=\"{class}\" d=\"{path}\"/>");
        }
    }
    *svg += "</g>\n";
    let _ = writeln!(
        svg,
        "<rect class=\"f\" x=\"{left}\" y=\"{TOP}\" width=\"{PANEL}\" height=\"{rows_height:.1}\"/>"
    );
    marks(svg, map, axis, left + PANEL + 2.0, height);
}

/// The rectangles of one shade: runs of cells in a row.
fn path_of(shades: &[Shade], axis: &Axis, wanted: Shade) -> String {
    let mut path = String::new();
    for row in 0..axis.rows() {
        let mut at = 0;
        for run in axis.cells_of(row, shades).chunk_by(|a, b| a == b) {
            if run.first() == Some(&wanted) {
                let _ = write!(path, "M{at} {row}h{0}v1h-{0}z", run.len());
            }
            at += run.len();
        }
    }
    path
}

/// Marks bad rows beside the panel, since a thin row may be invisible.
fn marks(svg: &mut String, map: &ColumnMap, axis: &Axis, x: f64, height: f64) {
    for (state, class) in
        [(SlotState::Missing, "m"), (SlotState::Damaged, "d"), (SlotState::Unreadable, "u")]
    {
        let is_bad =
            |row: &u64| axis.cells_of(*row, &map.cells).iter().any(|counts| counts.of(state) > 0);
        let rows: Vec<u64> = (0..axis.rows()).filter(is_bad).collect();
        for run in rows.chunk_by(|a, b| a + 1 == *b) {
            let (y, run_height) = (TOP + run[0] as f64 * height, run.len() as f64 * height);
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{y:.1}\" width=\"4\" height=\"{:.1}\"/>",
                run_height.max(3.0)
            );
        }
    }
}
