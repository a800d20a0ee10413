//! Times against the number of rows, on a logarithmic axis.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::bars::legend;
use super::markdown::thousands;
use super::plots::colour;
use crate::contestant::Contestant;
use crate::operations::GROWN;
use crate::results::Results;

const SIZE: (u32, u32) = (1200, 430);
const FONT: &str = "sans-serif";

/// Draws three panels: reads, writes and batches.
pub fn draw(results: &Results, path: &Path) -> Result<()> {
    let failed = |error| anyhow!("{}: {error}", path.display());
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let text = TextStyle::from((FONT, 16).into_font())
        .color(&BLACK)
        .pos(Pos::new(HPos::Left, VPos::Center));
    legend(&Contestant::GROWTH, 20, 22, |square, colour, words, at| {
        root.draw(&Rectangle::new(square, colour.filled()))
            .map_err(failed)?;
        root.draw(&Text::new(words.to_owned(), at, text.clone()))
            .map_err(failed)
    })?;
    let (_, body) = root.split_vertically(40);
    let panels = body.split_evenly((1, 3));
    let plots = [
        ("growth_read", "get_session"),
        ("growth_write", "put_session, 400 B"),
        ("growth_batch", "put_sessions_batch of 64"),
    ];
    for (panel, (id, title)) in panels.iter().zip(plots) {
        let sizes: Vec<u64> = GROWN.iter().map(|c| c.at(results.scale)).collect();
        let lines: Vec<(Contestant, Vec<(f64, f64)>)> = Contestant::GROWTH
            .iter()
            .map(|who| {
                let points = sizes
                    .iter()
                    .filter_map(|size| {
                        let value = results.grown(id, *size)?.value(*who)?;
                        Some((*size as f64, value.median / 1e3))
                    })
                    .collect();
                (*who, points)
            })
            .collect();
        let most = lines
            .iter()
            .flat_map(|(_, points)| points.iter().map(|point| point.1))
            .fold(1.0, f64::max);
        let (first, last) = (sizes[0] as f64, sizes[sizes.len() - 1] as f64);
        let mut chart = ChartBuilder::on(panel)
            .caption(title, (FONT, 20))
            .margin(12)
            .margin_right(36)
            .x_label_area_size(44)
            .y_label_area_size(58)
            .build_cartesian_2d((first..last).log_scale(), 0.0..most * 1.1)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc("sessions in the store")
            .y_desc("µs a call, median")
            .x_labels(4)
            .x_label_formatter(&|rows| thousands(*rows as u64))
            .y_label_formatter(&|value| format!("{value:.0}"))
            .label_style((FONT, 14))
            .axis_desc_style((FONT, 15))
            .draw()
            .map_err(failed)?;
        for (contestant, points) in lines {
            let style = colour(contestant).stroke_width(match contestant {
                Contestant::OursSealed => 4,
                _ => 2,
            });
            chart
                .draw_series(LineSeries::new(points.iter().copied(), style))
                .map_err(failed)?;
            let dots = points
                .iter()
                .map(|point| Circle::new(*point, 4, colour(contestant).filled()));
            chart.draw_series(dots).map_err(failed)?;
        }
    }
    root.present().map_err(failed)
}
