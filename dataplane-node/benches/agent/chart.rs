//! The chart: how much of its limit each thing takes, as a bar; the limit is a line.

use std::fmt::Write as _;

use crate::{
    facts,
    report::{Report, Row},
};

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 400.0;
/// The limit's distance from the bars' beginning; a bar may be one and a half times as long.
const LIMIT: f64 = 300.0;
const LONGEST: f64 = 1.5;
const TOP: f64 = 110.0;
const ROW: f64 = 34.0;
const BAR: f64 = 14.0;
const BOTTOM: f64 = 50.0;

const INK: &str = "#1f2933";
const FAINT: &str = "#7b8794";
const GRID: &str = "#e4e7eb";
const MET: &str = "#2f7ed8";
const MISSED: &str = "#d64545";

/// Draws it as SVG.
pub(crate) fn draw(report: &Report) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a handful of rows")]
    let height = TOP + ROW * limited(report).count() as f64 + BOTTOM;
    let mut chart = Chart {
        svg: String::new(),
        y: TOP,
    };
    chart.add(format_args!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="Inter, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif" font-variant-numeric="tabular-nums">"#
    ));
    chart.add(format_args!(
        r##"<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>"##
    ));
    let title = "From an input to the last word in the programs' maps";
    chart.text(24.0, 40.0, "start", INK, 22, title);
    let what = format!(
        "share of its limit, less is better; medians of {} rounds, of {} loads",
        report.rounds, report.loads
    );
    chart.text(24.0, 64.0, "start", FAINT, 13, &what);
    for (row, limit) in limited(report) {
        chart.row(row, limit);
    }
    let x = LEFT + LIMIT;
    chart.add(format_args!(
        r#"<line x1="{x:.1}" y1="{:.1}" x2="{x:.1}" y2="{:.1}" stroke="{INK}" stroke-width="1.5" stroke-dasharray="5 4"/>"#,
        TOP - 6.0,
        height - BOTTOM
    ));
    chart.text(x, TOP - 10.0, "middle", INK, 12, "limit");
    let foot = format!(
        "{}, Linux {}, load {} to {}",
        facts::processor(),
        facts::kernel(),
        report.load.0,
        report.load.1
    );
    chart.text(24.0, height - 18.0, "start", FAINT, 12, &foot);
    chart.add(format_args!("</svg>"));
    chart.svg
}

/// The rows that have a limit, with that in milliseconds.
fn limited(report: &Report) -> impl Iterator<Item = (&Row, f64)> {
    report
        .rows
        .iter()
        .filter_map(|row| Some((row, row.limit()?)))
}

struct Chart {
    svg: String,
    /// The top of the next row.
    y: f64,
}

impl Chart {
    fn row(&mut self, row: &Row, limit: f64) {
        let y = self.y;
        self.add(format_args!(
            r#"<line x1="24" y1="{y:.1}" x2="{:.1}" y2="{y:.1}" stroke="{GRID}"/>"#,
            WIDTH - 24.0
        ));
        self.text(LEFT - 14.0, y + ROW / 2.0 + 4.0, "end", INK, 13, &row.what);
        let of_limit = row.median() / limit;
        let width = (of_limit.min(LONGEST) * LIMIT).max(1.0);
        let (colour, ink) = if row.is_met() {
            (MET, INK)
        } else {
            (MISSED, MISSED)
        };
        self.add(format_args!(
            r#"<rect x="{LEFT}" y="{:.1}" width="{width:.1}" height="{BAR}" rx="2" fill="{colour}"/>"#,
            y + (ROW - BAR) / 2.0
        ));
        let label = format!("{:.1} of {limit:.0} ms", row.median());
        let x = LEFT + width + 8.0;
        self.text(x, y + ROW / 2.0 + 4.0, "start", ink, 13, &label);
        self.y += ROW;
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, colour: &str, size: u32, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        self.add(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{text}</text>"#
        ));
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.svg, "{element}").expect("a string takes what is written");
    }
}
