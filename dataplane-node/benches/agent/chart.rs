//! The chart: how much of its limit each thing takes, as a bar; the limit is a line.

use crate::{
    drawing::{Drawing, INK, MET, MISSED},
    facts,
    report::{Report, Row},
};

const LEFT: f64 = 400.0;
/// The limit's distance from the bars' beginning; a bar may be one and a half times as long.
const LIMIT: f64 = 300.0;
const LONGEST: f64 = 1.5;
const TOP: f64 = 110.0;
const ROW: f64 = 34.0;
const BAR: f64 = 14.0;
const BOTTOM: f64 = 50.0;

/// Draws it as SVG.
pub(crate) fn draw(report: &Report) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a handful of rows")]
    let height = TOP + ROW * limited(report).count() as f64 + BOTTOM;
    let title = "From an input to the last word in the programs' maps";
    let what = format!(
        "share of its limit, less is better; medians of {} rounds, of {} loads",
        report.rounds, report.loads
    );
    let mut drawing = Drawing::new(height, title, &what);
    let mut y = TOP;
    for (row, limit) in limited(report) {
        draw_row(&mut drawing, y, row, limit);
        y += ROW;
    }
    drawing.mark(LEFT + LIMIT, (TOP, height - BOTTOM), INK, "limit");
    let foot = format!(
        "{}, Linux {}, load {} to {}",
        facts::processor(),
        facts::kernel(),
        report.load.0,
        report.load.1
    );
    drawing.finish(height, &foot)
}

/// The rows that have a limit, with that in milliseconds.
fn limited(report: &Report) -> impl Iterator<Item = (&Row, f64)> {
    report
        .rows
        .iter()
        .filter_map(|row| Some((row, row.limit()?)))
}

fn draw_row(drawing: &mut Drawing, y: f64, row: &Row, limit: f64) {
    let middle = y + ROW / 2.0 + 4.0;
    drawing.row(y, LEFT, middle, 13, &row.what);
    let width = (row.median() / limit).min(LONGEST) * LIMIT;
    let (colour, ink) = if row.is_met() {
        (MET, INK)
    } else {
        (MISSED, MISSED)
    };
    drawing.bar(LEFT, y + (ROW - BAR) / 2.0, width, BAR, colour);
    let label = format!("{:.1} of {limit:.0} ms", row.median());
    drawing.text(
        LEFT + width.max(1.0) + 8.0,
        middle,
        "start",
        ink,
        13,
        &label,
    );
}
