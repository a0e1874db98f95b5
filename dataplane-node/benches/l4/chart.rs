//! The chart: a bar for each case, the limit as a mark, the floor as a line.

use crate::{
    drawing::{self, Drawing, FAINT, GRID, INK, MET, MISSED},
    machine,
    measure::Row,
    report::Report,
};

const LEFT: f64 = 300.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 130.0;
const ROW: f64 = 46.0;
const BAR: f64 = 14.0;
const BOTTOM: f64 = 64.0;

const KATRAN: &str = "#b8c2cc";
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
    let what = format!(
        "ns per packet, less is better; median of {} interleaved rounds of {} packets, the loop around them subtracted",
        report.rounds, report.packets
    );
    let title = "What a packet costs in the XDP program";
    let mut chart = Chart {
        drawing: Drawing::new(height, title, &what),
        step: if longest > 400.0 { 100.0 } else { 50.0 },
        ns: (drawing::WIDTH - LEFT - RIGHT) / longest,
        y: TOP,
    };
    chart.legend();
    chart.grid(longest, height);
    for row in &report.rows {
        chart.row(report, row);
    }
    for (name, ..) in report.missing {
        let y = chart.y + ROW / 2.0;
        chart.name(name);
        let x = LEFT + report.floor * chart.ns + 8.0;
        chart
            .drawing
            .text(x, y + 4.0, "start", FAINT, 13, "not there yet");
        chart.y += ROW;
    }
    // Over the bars.
    let floor = format!("floor {:.0}", report.floor);
    let x = LEFT + report.floor * chart.ns;
    chart.drawing.mark(x, (TOP, height - BOTTOM), FLOOR, &floor);
    chart.drawing.finish(height, &foot(report))
}

struct Chart {
    drawing: Drawing,
    /// Nanoseconds between two lines of the grid.
    step: f64,
    /// The width of a nanosecond.
    ns: f64,
    /// The top of the next row.
    y: f64,
}

impl Chart {
    fn legend(&mut self) {
        let mut x = 24.0;
        for (colour, label) in [
            (MET, "lbfabric, within its limit"),
            (MISSED, "lbfabric, over its limit"),
            (KATRAN, "Katran, scaled by the floor"),
        ] {
            self.drawing.add(format_args!(
                r#"<rect x="{x}" y="84" width="14" height="14" rx="2" fill="{colour}"/>"#
            ));
            self.drawing.text(x + 20.0, 96.0, "start", INK, 13, label);
            x += 212.0;
        }
        self.drawing.add(format_args!(
            r#"<rect x="{}" y="82" width="3" height="18" fill="{INK}"/>"#,
            x + 6.0
        ));
        self.drawing.text(x + 16.0, 96.0, "start", INK, 13, "limit");
    }

    fn grid(&mut self, longest: f64, height: f64) {
        let mut at = 0.0;
        while at <= longest {
            let x = LEFT + at * self.ns;
            self.drawing.add(format_args!(
                r#"<line x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{:.1}" stroke="{GRID}"/>"#,
                height - BOTTOM
            ));
            self.drawing.text(
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
        self.drawing.add(format_args!(
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
        self.drawing
            .text(label_x, top + 11.5, "start", ink, 13, &label);
        if let Some(ns) = katran {
            let top = top + BAR + 4.0;
            self.bar(top, ns, KATRAN);
            let x = LEFT + ns * self.ns + 8.0;
            self.drawing
                .text(x, top + 11.0, "start", FAINT, 12, &format!("{ns:.0}"));
        }
        self.y += ROW;
    }

    fn name(&mut self, name: &str) {
        let middle = self.y + ROW / 2.0 + 4.0;
        self.drawing.row(self.y, LEFT, middle, 14, name);
    }

    fn bar(&mut self, y: f64, ns: f64, colour: &str) {
        self.drawing.bar(LEFT, y, ns * self.ns, BAR, colour);
    }
}

fn foot(report: &Report) -> String {
    format!(
        "{}, Linux {}, load {} to {}. Limits and Katran's figures are the reference machine's times {:.2}: floor {:.1} here, 42 there.",
        machine::processor(),
        machine::kernel(),
        report.load.0,
        report.load.1,
        report.scale(),
        report.floor,
    )
}
