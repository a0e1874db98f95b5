//! What the benchmarks' charts are drawn with, as SVG.

use std::fmt::Write as _;

/// A chart's width.
pub(crate) const WIDTH: f64 = 1000.0;

pub(crate) const INK: &str = "#1f2933";
pub(crate) const FAINT: &str = "#7b8794";
pub(crate) const GRID: &str = "#e4e7eb";
/// Of what is within its limit, and of what is not.
pub(crate) const MET: &str = "#2f7ed8";
pub(crate) const MISSED: &str = "#d64545";

/// A chart that grows.
pub(crate) struct Drawing(String);

impl Drawing {
    /// An empty one, with its title and what its figures are.
    pub(crate) fn new(height: f64, title: &str, what: &str) -> Self {
        let mut drawing = Self(String::new());
        drawing.add(format_args!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="Inter, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif" font-variant-numeric="tabular-nums">"#
        ));
        drawing.add(format_args!(
            r##"<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>"##
        ));
        drawing.text(24.0, 40.0, "start", INK, 22, title);
        drawing.text(24.0, 64.0, "start", FAINT, 13, what);
        drawing
    }

    /// The whole, with a last line.
    pub(crate) fn finish(mut self, height: f64, foot: &str) -> String {
        self.text(24.0, height - 18.0, "start", FAINT, 12, foot);
        self.add(format_args!("</svg>"));
        self.0
    }

    /// A line over a row's top, and the row's name before `left`.
    pub(crate) fn row(&mut self, y: f64, left: f64, middle: f64, size: u32, name: &str) {
        self.text(left - 14.0, middle, "end", INK, size, name);
        self.add(format_args!(
            r#"<line x1="24" y1="{y:.1}" x2="{:.1}" y2="{y:.1}" stroke="{GRID}"/>"#,
            WIDTH - 24.0
        ));
    }

    /// A bar; one that would not be seen is as wide as a point.
    pub(crate) fn bar(&mut self, x: f64, y: f64, width: f64, height: f64, colour: &str) {
        let width = width.max(1.0);
        self.add(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="2" fill="{colour}"/>"#
        ));
    }

    /// A dashed line from `top` down, with what it is.
    pub(crate) fn mark(&mut self, x: f64, (top, bottom): (f64, f64), colour: &str, label: &str) {
        self.add(format_args!(
            r#"<line x1="{x:.1}" y1="{:.1}" x2="{x:.1}" y2="{bottom:.1}" stroke="{colour}" stroke-width="1.5" stroke-dasharray="5 4"/>"#,
            top - 6.0,
        ));
        self.text(x, top - 10.0, "middle", colour, 12, label);
    }

    pub(crate) fn text(
        &mut self,
        x: f64,
        y: f64,
        anchor: &str,
        colour: &str,
        size: u32,
        text: &str,
    ) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        self.add(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{text}</text>"#
        ));
    }

    pub(crate) fn add(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{element}").expect("a string takes what is written");
    }
}
