//! Line charts as SVG that takes its colours from the page around it.

use plotters::prelude::*;

/// Colours that the page's style sheet replaces by those of light or dark: axes and letters, grid, lines.
const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);

/// So many lines have a colour of their own.
pub(super) const LINES: usize = 9;

/// The colour of the n-th line, which the style sheet calls `--s{n}`.
fn line_color(n: usize) -> RGBColor {
    // LINES is small.
    RGBColor(3, 3, u8::try_from(n % LINES).unwrap_or(0))
}

/// A line of a chart.
pub(super) struct Line {
    /// In the order of x.
    pub(super) points: Vec<(f64, f64)>,
    /// Which colour.
    pub(super) color: usize,
    /// Whether it is drawn bolder than the others.
    pub(super) bold: bool,
}

/// A chart over a logarithmic axis of seeds. `about` is what a reader who does not see it is told.
pub(super) fn over_seeds(about: &str, what: &str, lines: &[Line]) -> Result<String, String> {
    let mut text = String::new();
    draw(what, lines, &mut text).map_err(|error| error.to_string())?;
    // The name space is an address, which a page that loads nothing need not hold; within a page it is not needed.
    let text = text.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1);
    let label = format!("<svg role=\"img\" aria-label=\"{}\" ", super::escape(about));
    Ok(text.replacen("<svg ", &label, 1))
}

fn draw(what: &str, lines: &[Line], text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let most_seeds = points().map(|point| point.0).fold(2.0, f64::max);
    let most = points().map(|point| point.1).fold(1.0, f64::max);
    let area = SVGBackend::with_string(text, (520, 300)).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(8)
        .x_label_area_size(38)
        .y_label_area_size(56)
        .build_cartesian_2d((1.0..most_seeds).log_scale(), 0.0..most * 1.05)?;
    let letters = || ("sans-serif", 13).into_font().color(&INK);
    chart
        .configure_mesh()
        .x_desc("seeds run")
        .y_desc(what)
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .label_style(letters())
        .axis_desc_style(letters())
        .x_label_formatter(&|seeds| format!("{seeds:.0}"))
        .y_label_formatter(&|count| {
            if *count < 10.0 && most > 9.0 || count.fract() == 0.0 || most > 20.0 {
                format!("{count:.0}")
            } else {
                format!("{count:.1}")
            }
        })
        .draw()?;
    // The bold one lies over the others.
    for bold in [false, true] {
        for line in lines.iter().filter(|line| line.bold == bold) {
            let style = line_color(line.color).stroke_width(if bold { 3 } else { 2 });
            chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
        }
    }
    area.present()?;
    Ok(())
}
