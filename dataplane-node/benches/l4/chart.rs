//! The chart: a bar for each case, the limit as a mark, the floor as a line.

use std::fmt::Write as _;

use crate::{machine, measure::Row, report::Report};

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 300.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 130.0;
const ROW: f64 = 46.0;
const BAR: f64 = 14.0;
const BOTTOM: f64 = 64.0;

const INK: &str = "#1f2933";
const FAINT: &str = "#7b8794";
const GRID: &str = "#e4e7eb";
const KATRAN: &str = "#b8c2cc";
const MET: &str = "#2f7ed8";
const MISSED: &str = "#d64545";
const FLOOR: &str = "#0b7a53";

/// Draws it as SVG.
pub(crate) fn draw(report: &Report) -> String {
    let rows = report.rows.len() + report.missing.len();
    #[expect(clippy::cast_precision_loss, reason = "a handful of rows")]
    let height = TOP + ROW * rows as f64 + BOTTOM;
    let longest = report
        .rows
        .iter()
        .flat_map(|row| {
            [
                row.ours,
                report.limit(row),
                report.katran(row).unwrap_or(0.0),
            ]
        })
        .fold(100.0, f64::max);
    let mut chart = Chart {
        svg: String::new(),
        step: if longest > 400.0 { 100.0 } else { 50.0 },
        ns: (WIDTH - LEFT - RIGHT) / longest,
        y: TOP,
    };
    chart.head(report, height);
    chart.grid(longest, height);
    for row in &report.rows {
        chart.row(report, row);
    }
    for (name, ..) in report.missing {
        let y = chart.y + ROW / 2.0;
        chart.name(name);
        let x = LEFT + report.floor * chart.ns + 8.0;
        chart.text(x, y + 4.0, "start", FAINT, 13, "not there yet");
        chart.y += ROW;
    }
    // Over the bars.
    chart.floor(report.floor, height);
    chart.foot(report, height);
    chart.svg
}

struct Chart {
    svg: String,
    /// Nanoseconds between two lines of the grid.
    step: f64,
    /// The width of a nanosecond.
    ns: f64,
    /// The top of the next row.
    y: f64,
}

impl Chart {
    fn head(&mut self, report: &Report, height: f64) {
        self.add(format_args!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="Inter, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif" font-variant-numeric="tabular-nums">"#
        ));
        self.add(format_args!(
            r##"<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>"##
        ));
        self.text(
            24.0,
            40.0,
            "start",
            INK,
            22,
            "What a packet costs in the XDP program",
        );
        let what = format!(
            "ns per packet, less is better; median of {} interleaved rounds of {} packets, the loop around them subtracted",
            report.rounds, report.packets
        );
        self.text(24.0, 64.0, "start", FAINT, 13, &what);
        let mut x = 24.0;
        for (colour, label) in [
            (MET, "lbfabric, within its limit"),
            (MISSED, "lbfabric, over its limit"),
            (KATRAN, "Katran, scaled by the floor"),
        ] {
            self.add(format_args!(
                r#"<rect x="{x}" y="84" width="14" height="14" rx="2" fill="{colour}"/>"#
            ));
            self.text(x + 20.0, 96.0, "start", INK, 13, label);
            x += 212.0;
        }
        self.add(format_args!(
            r#"<rect x="{}" y="82" width="3" height="18" fill="{INK}"/>"#,
            x + 6.0
        ));
        self.text(x + 16.0, 96.0, "start", INK, 13, "limit");
    }

    fn grid(&mut self, longest: f64, height: f64) {
        let mut at = 0.0;
        while at <= longest {
            let x = LEFT + at * self.ns;
            self.add(format_args!(
                r#"<line x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{:.1}" stroke="{GRID}"/>"#,
                height - BOTTOM
            ));
            self.text(
                x,
                height - BOTTOM + 18.0,
                "middle",
                FAINT,
                12,
                &format!("{at}"),
            );
            at += self.step;
        }
    }

    fn floor(&mut self, floor: f64, height: f64) {
        let x = LEFT + floor * self.ns;
        self.add(format_args!(
            r#"<line x1="{x:.1}" y1="{:.1}" x2="{x:.1}" y2="{:.1}" stroke="{FLOOR}" stroke-width="1.5" stroke-dasharray="5 4"/>"#,
            TOP - 6.0,
            height - BOTTOM
        ));
        self.text(
            x,
            TOP - 10.0,
            "middle",
            FLOOR,
            12,
            &format!("floor {floor:.0}"),
        );
    }

    fn row(&mut self, report: &Report, row: &Row) {
        self.name(row.case.name);
        let katran = report.katran(row);
        let top = self.y
            + if katran.is_some() {
                7.0
            } else {
                (ROW - BAR) / 2.0
            };
        let is_met = report.row_is_met(row);
        let colour = if is_met { MET } else { MISSED };
        self.bar(top, row.ours, colour);
        let limit = report.limit(row);
        let x = LEFT + limit * self.ns;
        self.add(format_args!(
            r#"<rect x="{:.1}" y="{:.1}" width="3" height="{:.1}" fill="{INK}"/>"#,
            x - 1.5,
            top - 3.0,
            BAR + 6.0
        ));
        let mut label = format!("{:.0}, limit {limit:.0}", row.ours);
        if !row.is_there {
            label += ", without a flow table";
        }
        let label_x = LEFT + row.ours.max(limit) * self.ns + 8.0;
        let ink = if is_met { INK } else { MISSED };
        self.text(label_x, top + 11.5, "start", ink, 13, &label);
        if let Some(ns) = katran {
            let top = top + BAR + 4.0;
            self.bar(top, ns, KATRAN);
            let x = LEFT + ns * self.ns + 8.0;
            self.text(x, top + 11.0, "start", FAINT, 12, &format!("{ns:.0}"));
        }
        self.y += ROW;
    }

    fn name(&mut self, name: &str) {
        let y = self.y;
        self.text(LEFT - 14.0, y + ROW / 2.0 + 4.0, "end", INK, 14, name);
        self.add(format_args!(
            r#"<line x1="24" y1="{y:.1}" x2="{:.1}" y2="{y:.1}" stroke="{GRID}"/>"#,
            WIDTH - 24.0
        ));
    }

    fn foot(&mut self, report: &Report, height: f64) {
        let what = format!(
            "{}, Linux {}, load {} to {}. Limits and Katran's figures are the reference machine's times {:.2}: floor {:.1} here, 42 there.",
            machine::processor(),
            machine::kernel(),
            report.load.0,
            report.load.1,
            report.scale(),
            report.floor,
        );
        self.text(24.0, height - 18.0, "start", FAINT, 12, &what);
        self.add(format_args!("</svg>"));
    }

    fn bar(&mut self, y: f64, ns: f64, colour: &str) {
        let width = (ns * self.ns).max(1.0);
        self.add(format_args!(
            r#"<rect x="{LEFT}" y="{y:.1}" width="{width:.1}" height="{BAR}" rx="2" fill="{colour}"/>"#
        ));
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
