//! Horizontal bars in groups.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::plots::colour;
use crate::contestant::Contestant;
use crate::results::Spread;

const WIDTH: u32 = 1000;
const LEFT: i32 = 300;
const RIGHT: i32 = 80;
const TOP: i32 = 84;
const BOTTOM: i32 = 56;
const BAR: i32 = 14;
const GAP: i32 = 16;
const FONT: &str = "sans-serif";

/// One group: its name, and a bar for each contestant.
pub type Category<'a> = (&'a str, Vec<(Contestant, Spread)>);

/// Draws `categories` to the file at `path`.
pub fn draw(path: &Path, title: &str, axis: &str, categories: &[Category<'_>]) -> Result<()> {
    let bars: i32 = categories.iter().map(|(_, bars)| bars.len() as i32).sum();
    let inner = bars * BAR + categories.len() as i32 * GAP;
    let height = TOP + inner + BOTTOM;
    // Thin lines that go far out would press the bars together: what leaves the plot is cut.
    let most = categories
        .iter()
        .flat_map(|(_, bars)| bars.iter().map(|(_, spread)| spread.median))
        .fold(0.0, f64::max);
    let step = step(most);
    let end = (most / step).ceil().max(1.0) * step;
    let x = |value: f64| {
        let share = (value / end).clamp(0.0, 1.0);
        LEFT + (share * f64::from(WIDTH as i32 - LEFT - RIGHT)) as i32
    };

    let root = SVGBackend::new(path, (WIDTH, height as u32)).into_drawing_area();
    let failed = |error| anyhow!("{}: {error}", path.display());
    root.fill(&WHITE).map_err(failed)?;
    let text = |size: i32, h: HPos| {
        TextStyle::from((FONT, size).into_font())
            .color(&BLACK)
            .pos(Pos::new(h, VPos::Center))
    };
    let write = |words: &str, style: TextStyle<'static>, at: (i32, i32)| {
        root.draw(&Text::new(words.to_owned(), at, style))
            .map_err(failed)
    };
    write(title, text(24, HPos::Left), (20, 26))?;
    legend(
        &Contestant::STORES,
        20,
        56,
        |rectangle, colour, words, at| {
            root.draw(&Rectangle::new(rectangle, colour.filled()))
                .map_err(failed)?;
            write(words, text(15, HPos::Left), at)
        },
    )?;

    let bottom = TOP + inner;
    let mut tick = 0.0;
    while tick <= end * 1.0001 {
        let line = vec![(x(tick), TOP), (x(tick), bottom)];
        root.draw(&PathElement::new(line, RGBColor(220, 220, 220)))
            .map_err(failed)?;
        write(
            &label(tick, step),
            text(14, HPos::Center),
            (x(tick), bottom + 14),
        )?;
        tick += step;
    }
    let middle = (LEFT + WIDTH as i32 - RIGHT) / 2;
    write(axis, text(14, HPos::Center), (middle, bottom + 38))?;

    let mut y = TOP + GAP / 2;
    for (name, bars) in categories {
        let centre = y + bars.len() as i32 * BAR / 2;
        write(name, text(15, HPos::Right), (LEFT - 10, centre))?;
        for (contestant, spread) in bars {
            let bar = [(LEFT, y + 1), (x(spread.median), y + BAR - 1)];
            root.draw(&Rectangle::new(bar, colour(*contestant).filled()))
                .map_err(failed)?;
            let row = y + BAR / 2;
            let [from, to] = spread.quarters;
            let whisker = vec![(x(from), row), (x(to), row)];
            root.draw(&PathElement::new(whisker, RGBColor(60, 60, 60)))
                .map_err(failed)?;
            let at = x(to) + 6;
            write(&figure(spread.median), text(13, HPos::Left), (at, row))?;
            y += BAR;
        }
        y += GAP;
    }
    root.present().map_err(failed)
}

/// A line of names with their colours.
pub fn legend(
    contestants: &[Contestant],
    left: i32,
    y: i32,
    mut draw: impl FnMut([(i32, i32); 2], RGBColor, &str, (i32, i32)) -> Result<()>,
) -> Result<()> {
    let mut x = left;
    for contestant in contestants {
        let name = contestant.name();
        let square = [(x, y - 7), (x + 14, y + 7)];
        draw(square, colour(*contestant), name, (x + 20, y))?;
        x += 44 + name.chars().count() as i32 * 7;
    }
    Ok(())
}

/// A round number that divides `most` into about eight.
fn step(most: f64) -> f64 {
    let rough = (most / 8.0).max(f64::MIN_POSITIVE);
    let ten = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let found = steps.into_iter().find(|step| step * ten >= rough);
    found.unwrap_or(10.0) * ten
}

fn label(tick: f64, step: f64) -> String {
    let digits = (-step.log10().floor()).max(0.0) as usize;
    format!("{tick:.digits$}")
}

fn figure(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}
