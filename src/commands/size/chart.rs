//! The plot: failures and slots in use over the size of the pool.

use plotters::prelude::*;

use super::report::Sized;

/// Draws it as SVG.
pub(super) fn draw(sized: &Sized) -> Result<String, String> {
    let mut text = String::new();
    picture(sized, &mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

fn picture(sized: &Sized, text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let points: Vec<(f64, f64, f64)> = sized
        .by_size
        .iter()
        .map(|line| {
            let failed = line.outcome.full as f64 * 100.0 / line.outcome.maps.max(1) as f64;
            (f64::from(line.size.nslabs), failed, line.outcome.hiwater as f64)
        })
        .collect();
    let least = points.first().map_or(512.0, |point| point.0);
    let most = points.last().map_or(1024.0, |point| point.0).max(least * 2.0);
    let worst = points.iter().map(|point| point.1).fold(1.0, f64::max);
    let highest = points.iter().map(|point| point.2).fold(1.0, f64::max);
    let area = SVGBackend::with_string(text, (900, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(&sized.about, ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .right_y_label_area_size(64)
        .build_cartesian_2d((least..most).log_scale(), 0.0..worst * 1.05)?
        .set_secondary_coord((least..most).log_scale(), 0.0..highest * 1.05);
    chart
        .configure_mesh()
        .x_desc("slots of 2 KiB")
        .y_desc("mappings without a place, %")
        .x_label_formatter(&|slots| format!("{slots:.0}"))
        .draw()?;
    chart.configure_secondary_axes().y_desc("slots in use at most").draw()?;
    let failures = points.iter().map(|&(slots, failed, _)| (slots, failed));
    chart
        .draw_series(LineSeries::new(failures, RED.stroke_width(2)))?
        .label("without a place")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], RED.stroke_width(2)));
    let used = points.iter().map(|&(slots, _, used)| (slots, used));
    chart
        .draw_secondary_series(LineSeries::new(used, BLUE.stroke_width(2)))?
        .label("in use at most")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], BLUE.stroke_width(2)));
    if let Some(best) = &sized.recommended {
        let slots = f64::from(best.size.nslabs);
        let mark = [(slots, 0.0), (slots, worst * 1.05)];
        chart
            .draw_series(LineSeries::new(mark, GREEN.stroke_width(1)))?
            .label("recommended")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], GREEN.stroke_width(1)));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}
