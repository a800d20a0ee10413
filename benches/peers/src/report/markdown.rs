//! The tables.

use std::fmt::Write;

use anyhow::Result;

use crate::contestant::Contestant;
use crate::operations::{GROWN, Group, Mix, Operation, Scale, Target};
use crate::report::Machine;
use crate::results::{CryptoLine, Line, Results, Spread, ratio};
use crate::worker::THREADS;

/// What precedes the tables.
const INTRODUCTION: &str = include_str!("introduction.md");
/// What follows them.
const NOTES: &str = include_str!("notes.md");

/// The whole page.
pub fn page(results: &Results) -> Result<String> {
    let mut page = String::new();
    if results.scale == Scale::Quick {
        page.push_str(
            "**A quick try with small sizes: these figures are good for nothing else.**\n\n",
        );
    }
    if results.machine.was_disturbed() {
        page.push_str(
            "**Preliminary: the machine had other work to do meanwhile, see below.**\n\n",
        );
    }
    page.push_str(INTRODUCTION);
    page.push_str(&of_targets(results)?);
    page.push_str(&of_machine(&results.machine, results.rounds)?);
    page.push_str(&tables(results)?);
    page.push_str(&of_mix(results.scale)?);
    page.push_str(NOTES);
    Ok(page)
}

/// The tables alone.
pub fn tables(results: &Results) -> Result<String> {
    let mut text = String::new();
    for group in Group::ALL {
        let lines = results.group(group)?;
        if group == Group::Growth {
            text.push_str(&of_growth(results)?);
        } else if !lines.is_empty() {
            text.push_str(&of_group(group, &lines)?);
        }
    }
    if !results.crypto.is_empty() {
        text.push_str(&of_crypto(&results.crypto)?);
    }
    Ok(text)
}

/// How many targets are met, and which are not.
fn of_targets(results: &Results) -> Result<String> {
    let (mut met, mut missed) = (0, vec![]);
    for group in Group::ALL {
        for (operation, line) in results.group(group)? {
            for target in operation.targets() {
                match line.ratio(Contestant::OursSealed, target.against) {
                    Some(ratio) if target.is_met(ratio.median) => met += 1,
                    Some(ratio) => missed.push(format!(
                        "| {} | {} | {} | {:.3} |",
                        operation.what,
                        target.against.name(),
                        limit(target),
                        ratio.median
                    )),
                    None => (),
                }
            }
        }
    }
    let all = met + missed.len();
    let mut text = format!(
        "## Targets\n\n{met} of {all} ratios are as the project set out to have them; growth is below.\n\n"
    );
    if !missed.is_empty() {
        writeln!(
            text,
            "| missed | against | target | ratio |\n| --- | --- | --- | ---: |\n{}\n",
            missed.join("\n")
        )?;
    }
    Ok(text)
}

fn of_machine(machine: &Machine, rounds: u64) -> Result<String> {
    let mut text = String::from("## Machine and versions\n\n| | |\n| --- | --- |\n");
    let crates: Vec<_> = machine
        .crates
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let rows = [
        ("date", machine.date.clone()),
        (
            "command",
            format!("`peers {}`, {rounds} rounds", machine.command),
        ),
        ("commit", machine.commit.clone()),
        (
            "processor",
            format!("{}, {} cores", machine.cpu, machine.cores),
        ),
        ("memory", format!("{:.1} GiB", machine.memory_gib)),
        ("kernel", format!("Linux {}", machine.kernel)),
        ("file system", machine.filesystem.clone()),
        ("compiler", machine.rustc.clone()),
        ("crates", crates.join(", ")),
        ("SQLite", machine.sqlite.clone()),
        (
            "SQLCipher",
            format!(
                "{}, with SQLite {}",
                machine.sqlcipher, machine.sqlite_of_sqlcipher
            ),
        ),
        (
            "runtime",
            format!("tokio, {THREADS} threads, of every contestant's own process"),
        ),
        (
            "other programs meanwhile",
            format!("{:.0} % of the processors", machine.others * 100.0),
        ),
    ];
    for (what, value) in rows {
        writeln!(text, "| {what} | {value} |")?;
    }
    text.push('\n');
    Ok(text)
}

fn of_group(group: Group, lines: &[(&Operation, &Line)]) -> Result<String> {
    let (unit, size) = group.unit();
    let mut text = format!("## {}\n\nMedians, in {unit}. ", group.title());
    text.push_str(match group {
        Group::Concurrent => "More is better.\n\n",
        _ => "Less is better.\n\n",
    });
    text.push_str("| |");
    let mut rule = String::from("| --- |");
    for contestant in Contestant::STORES {
        write!(text, " {} |", contestant.name())?;
        rule.push_str(" ---: |");
    }
    writeln!(text, "\n{rule}")?;
    for (operation, line) in lines {
        write!(text, "| {} |", operation.what)?;
        for contestant in Contestant::STORES {
            let value = line.value(contestant).map(|value| value.per(size));
            write!(
                text,
                " {} |",
                value.map_or("–".into(), |v| number(v.median))
            )?;
        }
        text.push('\n');
    }
    text.push_str("\nOurs, sealed, over upstream in the clear and over SQLCipher: the median of the rounds' ratios (lowest to highest).\n\n");
    text.push_str("| | ours, sealed ÷ upstream | target | ÷ upstream + SQLCipher | target | processor time ÷ upstream |\n");
    text.push_str("| --- | ---: | --- | ---: | --- | ---: |\n");
    for (operation, line) in lines {
        write!(text, "| {} |", operation.what)?;
        for against in [Contestant::Upstream, Contestant::Sqlcipher] {
            let ratio = line.ratio(Contestant::OursSealed, against);
            let target = operation
                .targets()
                .iter()
                .find(|target| target.against == against);
            write!(text, " {} | {} |", spread(ratio), verdict(target, ratio))?;
        }
        let cpu = line.cpu_ratio(Contestant::OursSealed, Contestant::Upstream);
        writeln!(text, " {} |", spread(cpu))?;
    }
    text.push('\n');
    Ok(text)
}

/// The growth's target for reads and writes of one row.
const GROWTH_LIMIT: f64 = 1.5;

fn of_growth(results: &Results) -> Result<String> {
    let sizes: Vec<u64> = GROWN.iter().map(|c| c.at(results.scale)).collect();
    let (Some(least), Some(most)) = (sizes.first(), sizes.last()) else {
        return Ok(String::new());
    };
    let mut text = String::new();
    for (id, what) in [
        ("growth_read", "get_session"),
        ("growth_write", "put_session, 400 B"),
        ("growth_batch", "put_sessions_batch of 64, 400 B each"),
    ] {
        let lines: Option<Vec<_>> = sizes.iter().map(|n| results.grown(id, *n)).collect();
        let Some(lines) = lines else { continue };
        write!(text, "### {what}, at random\n\n| |")?;
        for size in &sizes {
            write!(text, " {} |", thousands(*size))?;
        }
        writeln!(
            text,
            " {} ÷ {} | target |",
            thousands(*most),
            thousands(*least)
        )?;
        writeln!(
            text,
            "| --- |{} ---: | --- |",
            " ---: |".repeat(sizes.len())
        )?;
        let growth = |who| {
            let values = |line: &Line| -> Option<Vec<f64>> {
                Some(line.rounds.get(&who)?.iter().map(|m| m.value).collect())
            };
            ratio(&values(lines.last()?)?, &values(lines.first()?)?)
        };
        for contestant in Contestant::GROWTH {
            write!(text, "| {} |", contestant.name())?;
            for line in &lines {
                let value = line.value(contestant).map(|value| value.per(1e3));
                write!(
                    text,
                    " {} |",
                    value.map_or("–".into(), |v| number(v.median))
                )?;
            }
            let grew = growth(contestant);
            let target = match (contestant, id) {
                (Contestant::OursSealed, "growth_batch") => {
                    let alike = growth(Contestant::OursKeyedAlike);
                    alike.map_or(String::new(), |alike| {
                        judged(
                            grew,
                            &format!("≤ {:.2}, as keyed alike", alike.median),
                            |r| r <= alike.median,
                        )
                    })
                }
                (Contestant::OursSealed, _) => {
                    judged(grew, &format!("≤ {GROWTH_LIMIT:.2}"), |r| {
                        r <= GROWTH_LIMIT
                    })
                }
                _ => String::new(),
            };
            writeln!(text, " {} | {target} |", spread(grew))?;
        }
        text.push('\n');
    }
    if !text.is_empty() {
        text.insert_str(0, "## Growth\n\nA store of sessions of 400 B. Medians, in µs a call, by rows in the store.\n\n");
    }
    Ok(text)
}

fn of_crypto(lines: &[CryptoLine]) -> Result<String> {
    let Some(first) = lines.first() else {
        return Ok(String::new());
    };
    let mut text = String::from(
        "## The cryptography alone\n\nMedians, in ns a call, and ours over it (lowest to highest).\n\n| |",
    );
    for (name, _) in &first.rounds {
        write!(text, " {name} |")?;
    }
    writeln!(text, "\n| --- |{}", " ---: |".repeat(first.rounds.len()))?;
    for line in lines {
        write!(text, "| {} |", line.what)?;
        for (name, _) in &first.rounds {
            let found = line.rounds.iter().find(|(other, _)| other == name);
            let median = found.and_then(|(_, values)| Spread::of(values.clone()));
            let ours = line.rounds.first().filter(|(ours, _)| ours != name);
            let cell = match (median, found, ours) {
                (Some(median), Some((_, values)), Some((_, ours))) => {
                    format!("{:.0}; {}", median.median, spread(ratio(ours, values)))
                }
                (Some(median), ..) => format!("{:.0}", median.median),
                (None, ..) => "–".into(),
            };
            write!(text, " {cell} |")?;
        }
        text.push('\n');
    }
    text.push('\n');
    Ok(text)
}

fn of_mix(scale: Scale) -> Result<String> {
    let mut text = String::from(
        "## The mix\n\nWhat the store holds in every line but history sync and growth, and whose size on disk is measured:\n",
    );
    let mix = serde_json::to_value(Mix::at(scale))?;
    let rows: Vec<String> = mix
        .as_object()
        .into_iter()
        .flatten()
        .map(|(what, count)| {
            let count = count.as_u64().unwrap_or_default();
            format!("{} {}", thousands(count), what.replace('_', " "))
        })
        .collect();
    writeln!(text, "one device, {}.\n", rows.join(", "))?;
    Ok(text)
}

fn verdict(target: Option<&Target>, ratio: Option<Spread>) -> String {
    let Some(target) = target else {
        return String::new();
    };
    judged(ratio, &limit(target), |ratio| target.is_met(ratio))
}

fn limit(target: &Target) -> String {
    let sign = if target.at_least { '≥' } else { '≤' };
    format!("{sign} {:.2}", target.limit)
}

fn judged(ratio: Option<Spread>, limit: &str, is_met: impl Fn(f64) -> bool) -> String {
    match ratio {
        Some(ratio) if is_met(ratio.median) => format!("{limit}: met"),
        Some(_) => format!("{limit}: **missed**"),
        None => String::new(),
    }
}

fn spread(spread: Option<Spread>) -> String {
    spread.map_or(
        "–".into(),
        |Spread {
             median, low, high, ..
         }| { format!("{median:.2} ({low:.2}–{high:.2})") },
    )
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// With commas.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
