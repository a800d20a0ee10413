//! Which plots there are.

use std::path::Path;

use anyhow::Result;
use plotters::style::RGBColor;

use super::{bars, growth};
use crate::contestant::Contestant;
use crate::operations::Group;
use crate::results::Results;

/// Draws all of them into `folder`.
pub fn draw(results: &Results, folder: &Path) -> Result<()> {
    let plots: [(&str, &str, &[Group]); 5] = [
        ("writes.svg", "Writes of one row", &[Group::Write]),
        ("reads.svg", "Reads of one row", &[Group::Read]),
        (
            "batches.svg",
            "Many rows in one call",
            &[Group::Batch, Group::BatchRead],
        ),
        ("concurrency.svg", "64 tasks at once", &[Group::Concurrent]),
        ("size.svg", "Size on disk of the mix", &[Group::Size]),
    ];
    for (file, title, groups) in plots {
        let mut categories = vec![];
        for group in groups {
            let (_, size) = group.unit();
            for (operation, line) in results.group(*group)? {
                let values = Contestant::STORES
                    .iter()
                    .filter_map(|who| Some((*who, line.value(*who)?.per(size))))
                    .collect();
                categories.push((operation.what, values));
            }
        }
        let (unit, better) = match groups {
            [Group::Concurrent] => (groups[0].unit().0, "more is better"),
            _ => (groups[0].unit().0, "less is better"),
        };
        let axis = format!("{unit}, median ({better}; half of the rounds lie on the thin line)");
        bars::draw(&folder.join(file), title, &axis, &categories)?;
    }
    growth::draw(results, &folder.join("growth.svg"))
}

/// Ours in the accent colour, all others quiet.
pub fn colour(contestant: Contestant) -> RGBColor {
    match contestant {
        Contestant::Upstream => RGBColor(120, 120, 120),
        Contestant::Sqlcipher => RGBColor(222, 170, 60),
        Contestant::SealedUpstream => RGBColor(110, 160, 200),
        Contestant::OursPlain => RGBColor(150, 190, 140),
        Contestant::OursSealed => RGBColor(200, 30, 60),
        Contestant::OursKeyedAlike => RGBColor(70, 130, 90),
    }
}
