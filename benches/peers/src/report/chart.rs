//! The chart: for each case the ratios to the floor on a logarithmic axis, a dot for the median
//! and a line from the first quartile to the third.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::rounds::{Results, Row};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

const WIDTH: u32 = 1080;
const LEFT: i32 = 340;
const RIGHT: i32 = 1050;
const TOP: i32 = 76;
const LINE: i32 = 26;
const HEADING: i32 = 24;
/// The largest ratio that has a place of its own; what is larger stands at the edge.
const MOST: f64 = 1000.0;
/// The smallest one.
const LEAST: f64 = 0.2;

/// SVG.
pub(super) fn render(results: &Results) -> Result<String, Failure> {
    let rows: Vec<&Row> =
        results.rows.iter().filter(|row| row.charted && !row.ratios.is_empty()).collect();
    let mut cases: Vec<(&str, &str)> = Vec::new();
    let mut subjects: Vec<&str> = Vec::new();
    for row in &rows {
        let case = (row.workload.as_str(), row.case.as_str());
        if !cases.contains(&case) {
            cases.push(case);
        }
        if !row.is_floor && !subjects.contains(&row.subject.as_str()) {
            subjects.push(&row.subject);
        }
    }
    let mut headings: Vec<&str> = cases.iter().map(|case| case.0).collect();
    headings.dedup();
    let height = TOP + cases.len() as i32 * LINE + headings.len() as i32 * HEADING + 44;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height as u32)).into_drawing_area();
        area.fill(&WHITE)?;
        let bottom = height - 36;
        axis(&area, bottom)?;
        legend(&area, &subjects)?;
        let mut y = TOP;
        let mut heading = "";
        for (workload, case) in &cases {
            if *workload != heading {
                heading = workload;
                text(&area, (12, y + HEADING / 2), title(workload), 14, HPos::Left, &BLACK)?;
                area.draw(&line((12, y + HEADING - 2), (RIGHT, y + HEADING - 2), &grey(200)))?;
                y += HEADING;
            }
            let middle = y + LINE / 2;
            text(&area, (LEFT - 12, middle), case, 12, HPos::Right, &BLACK)?;
            area.draw(&line((LEFT, middle), (RIGHT, middle), &grey(235)))?;
            let of_case =
                rows.iter().filter(|row| (&*row.workload, &*row.case) == (*workload, *case));
            // This library comes last and lies on top.
            let mut of_case: Vec<_> = of_case.filter(|row| !row.is_floor).collect();
            of_case.sort_by_key(|row| row.subject.starts_with("coldstore"));
            for row in of_case {
                dot(&area, row, middle, color(&row.subject))?;
            }
            y += LINE;
        }
        area.present()?;
    }
    Ok(svg)
}

/// Where a ratio stands.
fn place(ratio: f64) -> i32 {
    let part = (ratio.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    LEFT + (part * f64::from(RIGHT - LEFT)) as i32
}

fn axis(area: &Area<'_>, bottom: i32) -> Result<(), Failure> {
    for (ratio, label) in [
        (0.2, "0.2×"),
        (0.5, "0.5×"),
        (1.0, "floor"),
        (2.0, "2×"),
        (5.0, "5×"),
        (10.0, "10×"),
        (20.0, "20×"),
        (50.0, "50×"),
        (100.0, "100×"),
        (200.0, "200×"),
        (1000.0, "1,000×"),
    ] {
        let x = place(ratio);
        let shade = if (ratio - 1.0).abs() < f64::EPSILON { BLACK } else { grey(215) };
        area.draw(&line((x, TOP), (x, bottom), &shade))?;
        text(area, (x, bottom + 12), label, 12, HPos::Center, &BLACK)?;
    }
    let what = "cost as a multiple of the floor, medians and quartiles; less is better";
    text(area, ((LEFT + RIGHT) / 2, bottom + 27), what, 12, HPos::Center, &grey(90))
}

fn legend(area: &Area<'_>, subjects: &[&str]) -> Result<(), Failure> {
    text(area, (12, 18), "coldstore and its peers beside the floor", 17, HPos::Left, &BLACK)?;
    let (mut x, mut y) = (16, 42);
    for subject in subjects {
        let width = 30 + subject.chars().count() as i32 * 8;
        if x + width > WIDTH as i32 {
            (x, y) = (16, y + 18);
        }
        area.draw(&Circle::new((x, y), 5, color(subject).filled()))?;
        text(area, (x + 10, y), subject, 12, HPos::Left, &BLACK)?;
        x += width;
    }
    Ok(())
}

fn dot(area: &Area<'_>, row: &Row, y: i32, shade: RGBColor) -> Result<(), Failure> {
    let [low, middle, high] = row.ratio();
    let style = ShapeStyle::from(&shade).stroke_width(2);
    area.draw(&PathElement::new([(place(low), y), (place(high), y)], style))?;
    let radius = if row.subject.starts_with("coldstore") { 6 } else { 5 };
    area.draw(&Circle::new((place(middle), y), radius, shade.filled()))?;
    if middle > MOST {
        text(area, (RIGHT - 10, y - 9), &format!("{middle:.0}×"), 10, HPos::Right, &grey(90))?;
    }
    Ok(())
}

/// The same subject has the same color in every chart.
fn color(subject: &str) -> RGBColor {
    match subject {
        "coldstore" => RGBColor(214, 39, 40),
        "coldstore, random" => RGBColor(240, 140, 140),
        "coldstore-read-into" => RGBColor(255, 127, 14),
        "lmdb" => RGBColor(31, 119, 180),
        "lmdb, readahead" => RGBColor(140, 190, 230),
        "mdbx" => RGBColor(23, 190, 207),
        "redb" => RGBColor(140, 86, 75),
        "fjall" => RGBColor(227, 119, 194),
        "rocksdb" => RGBColor(188, 189, 34),
        "open-per-get" => RGBColor(44, 160, 44),
        "pread" => RGBColor(148, 103, 189),
        _ => RGBColor(127, 127, 127),
    }
}

fn title(workload: &str) -> &'static str {
    match workload {
        "W1" => "W1  roots, in memory",
        "W2" => "W2  blocks, in memory",
        "W3" => "W3  states, in memory",
        "W4" => "W4  full scans, in memory",
        "W5" => "W5  durable writes",
        "W6" => "W6  blocks, from the disk",
        "W7" => "W7  opening",
        "W8" => "W8  import of .era files",
        _ => "W9  reading beside a writer (the floor is the same reader alone)",
    }
}

fn grey(level: u8) -> RGBColor {
    RGBColor(level, level, level)
}

fn line(from: (i32, i32), to: (i32, i32), shade: &RGBColor) -> PathElement<(i32, i32)> {
    PathElement::new([from, to], ShapeStyle::from(shade).stroke_width(1))
}

fn text(
    area: &Area<'_>,
    at: (i32, i32),
    words: &str,
    size: u32,
    anchor: HPos,
    shade: &RGBColor,
) -> Result<(), Failure> {
    let style = TextStyle::from(("sans-serif", size)).color(shade);
    area.draw(&Text::new(words, at, style.pos(Pos::new(anchor, VPos::Center))))?;
    Ok(())
}
