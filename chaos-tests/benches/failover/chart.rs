//! The chart: how long each thing takes for each system, on a scale on which ten times as long is one step.

use crate::{
    drawing::{Drawing, FAINT, INK, MET, MISSED},
    facts,
    report::{Report, Row},
};

const LEFT: f64 = 400.0;
/// A step of the scale, which begins at a millisecond.
const DECADE: f64 = 120.0;
const TOP: f64 = 110.0;
const ROW: f64 = 30.0;
const BAR: f64 = 14.0;
const BOTTOM: f64 = 50.0;

/// Draws it as SVG.
pub(crate) fn draw(report: &Report) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a handful of rows")]
    let height = TOP + ROW * report.rows.len() as f64 + BOTTOM;
    let what = format!(
        "milliseconds, less is better; medians of {} rounds ({} of the peers'), the line is the worst",
        report.rounds[0], report.rounds[1]
    );
    let mut drawing = Drawing::new(height, "From an event to a VIP that is served again", &what);
    for (power, label) in [
        (0, "1 ms"),
        (1, "10 ms"),
        (2, "100 ms"),
        (3, "1 s"),
        (4, "10 s"),
    ] {
        let x = LEFT + DECADE * f64::from(power);
        drawing.mark(x, (TOP, height - BOTTOM), FAINT, label);
    }
    let mut y = TOP;
    for row in &report.rows {
        draw_row(&mut drawing, y, row);
        y += ROW;
    }
    let foot = format!(
        "{}, Linux {}, load {} to {}",
        facts::processor(),
        facts::kernel(),
        report.load.0,
        report.load.1
    );
    drawing.finish(height, &foot)
}

fn draw_row(drawing: &mut Drawing, y: f64, row: &Row) {
    let middle = y + ROW / 2.0 + 4.0;
    drawing.row(y, LEFT, middle, 13, &row.name());
    let colour = match (row.limit_ms(), row.is_met()) {
        (None, _) => FAINT,
        (Some(_), true) => MET,
        (Some(_), false) => MISSED,
    };
    let ink = if row.is_met() { INK } else { MISSED };
    let width = |ms: f64| ms.max(1.0).log10() * DECADE;
    let top = y + (ROW - BAR) / 2.0;
    drawing.bar(LEFT, top + BAR / 2.0 - 1.0, width(row.worst()), 2.0, colour);
    drawing.bar(LEFT, top, width(row.median()), BAR, colour);
    let label = match row.limit_ms() {
        None => format!("{:.0}", row.median()),
        Some(limit) => format!("{:.0} of {limit:.0}", row.median()),
    };
    drawing.text(
        LEFT + width(row.worst()) + 8.0,
        middle,
        "start",
        ink,
        13,
        &label,
    );
}
