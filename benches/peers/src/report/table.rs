//! The table: one section for each workload, one line for each subject, in the order of cost.

use std::fmt::Write;
use std::time::Duration;

use crate::rounds::{Results, Row, Unit};
use crate::scale::Scale;
use crate::system::Machine;

/// Markdown.
pub(super) fn render(
    results: &Results,
    scale: &Scale,
    machine: &Machine,
    elapsed: Duration,
) -> String {
    let mut text = String::new();
    let minutes = elapsed.as_secs_f64() / 60.0;
    let mode = scale.mode;
    let _ = writeln!(text, "Mode `{mode}`, {minutes:.1} minutes. {machine}.\n");
    let _ = writeln!(
        text,
        "Less is better everywhere. A ratio is the median of the ratios of all rounds, followed by \
         the quartiles; the floor is the line with 1.00.\n"
    );
    let _ = writeln!(text, "| | subject | median | ratio to the floor | rounds |");
    let _ = writeln!(text, "|---|---|---:|---:|---:|");
    let mut rows: Vec<&Row> = results.rows.iter().collect();
    let mut begin = 0;
    while begin < rows.len() {
        let case = (&rows[begin].workload, &rows[begin].case);
        let length = rows[begin..].iter().take_while(|row| (&row.workload, &row.case) == case);
        let end = begin + length.count();
        rows[begin..end].sort_by(|a, b| a.cost().total_cmp(&b.cost()));
        for (index, row) in rows[begin..end].iter().enumerate() {
            let what = if index == 0 {
                format!("**{}** {}", row.workload, row.case)
            } else {
                String::new()
            };
            let [_, value, _] = row.value();
            let (value, rounds) = (shown(value, row.unit), row.values.len());
            let name = if row.subject.starts_with("coldstore") {
                format!("**{}**", row.subject)
            } else {
                row.subject.clone()
            };
            let _ = writeln!(text, "| {what} | {name} | {value} | {} | {rounds} |", ratio(row));
        }
        begin = end;
    }
    text
}

impl Row {
    /// What lines are ordered by.
    fn cost(&self) -> f64 {
        let [_, ratio, _] = self.ratio();
        if ratio.is_nan() { self.value()[1] } else { ratio }
    }
}

fn ratio(row: &Row) -> String {
    let [low, middle, high] = row.ratio();
    if row.ratios.is_empty() || row.unit == Unit::BytesPerByte {
        return "–".to_owned();
    }
    if row.is_floor {
        return "1.00".to_owned();
    }
    if row.unit == Unit::TimesAlone {
        return format!("({low:.2}–{high:.2})");
    }
    let number =
        |ratio: f64| if ratio < 20.0 { format!("{ratio:.2}") } else { format!("{ratio:.0}") };
    format!("{} ({}–{})", number(middle), number(low), number(high))
}

/// A value in a unit that suits it.
pub(super) fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::BytesPerByte => format!("{} ×", number(value)),
        Unit::TimesAlone => format!("{} × alone", number(value)),
        Unit::Nanoseconds if value < 1e3 => format!("{} ns", number(value)),
        Unit::Nanoseconds if value < 1e6 => format!("{} µs", number(value / 1e3)),
        Unit::Nanoseconds => format!("{} ms", number(value / 1e6)),
    }
}

/// Three digits or more.
pub(super) fn number(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}
