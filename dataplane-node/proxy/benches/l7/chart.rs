//! The chart: how much of its limit each case reaches, as a bar, with nginx's beside it; the limit is a line.

use crate::{
    cases::Limit,
    drawing::{Drawing, FAINT, INK, MET, MISSED},
    facts,
    measure::Row,
    report::{Report, short},
};

const LEFT: f64 = 330.0;
/// The limit's distance from the bars' beginning; a bar may be twice as long.
const LIMIT: f64 = 220.0;
const LONGEST: f64 = 2.0;
const TOP: f64 = 110.0;
const ROW: f64 = 46.0;
const BAR: f64 = 14.0;
const BOTTOM: f64 = 50.0;

const NGINX: &str = "#b8c2cc";

/// Draws it as SVG.
pub(crate) fn draw(report: &Report) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a handful of rows")]
    let height = TOP + ROW * report.rows.len() as f64 + BOTTOM;
    let what = format!(
        "share of the limit that is reached, more is better; nginx in grey; medians of {} interleaved rounds of {} s",
        report.rounds, report.seconds
    );
    let title = "The layer-7 engine against HAProxy, one core each";
    let mut drawing = Drawing::new(height, title, &what);
    let mut y = TOP;
    for row in &report.rows {
        draw_row(&mut drawing, y, row);
        y += ROW;
    }
    drawing.mark(LEFT + LIMIT, (TOP, height - BOTTOM), INK, "limit");
    let foot = format!(
        "{}, Linux {}, load {} to {}. Figures are ratios to HAProxy's, or to ours with one, in the same run, or bytes.",
        facts::processor(),
        facts::kernel(),
        report.load.0,
        report.load.1
    );
    drawing.finish(height, &foot)
}

fn draw_row(drawing: &mut Drawing, y: f64, row: &Row) {
    drawing.row(y, LEFT, y + ROW / 2.0 + 4.0, 13, row.case.name);
    let (colour, ink) = if row.is_met() {
        (MET, INK)
    } else {
        (MISSED, MISSED)
    };
    let ours = row.ours();
    let label = format!("{}, limit {}", short(ours), short(row.limit()));
    bar(drawing, y + 7.0, reached(row, ours), colour, ink, &label);
    let Some((haproxy, nginx)) = row.haproxy().zip(row.nginx()) else {
        return;
    };
    let nginx = match row.case.limit {
        Limit::AtLeast(_) | Limit::AtMost(_) => nginx,
        Limit::Bytes(_) => nginx * haproxy,
    };
    let top = y + 11.0 + BAR;
    bar(
        drawing,
        top,
        reached(row, nginx),
        NGINX,
        FAINT,
        &short(nginx),
    );
}

/// How much of the limit that is, as a bar's length.
fn reached(row: &Row, figure: f64) -> f64 {
    let share = match row.case.limit {
        Limit::AtLeast(limit) => figure / limit,
        Limit::AtMost(limit) | Limit::Bytes(limit) => limit / figure,
    };
    share.min(LONGEST) * LIMIT
}

fn bar(drawing: &mut Drawing, top: f64, width: f64, colour: &str, ink: &str, label: &str) {
    drawing.bar(LEFT, top, width, BAR, colour);
    let x = LEFT + width.max(1.0) + 8.0;
    drawing.text(x, top + 11.5, "start", ink, 12, label);
}
