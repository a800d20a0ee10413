//! How things look in text.

use std::fmt::Write;
use std::path::Path;

use chrono::{DateTime, Utc};
use sealed_store::{KdfCost, SlotInfo, Table};
use serde_json::{Value, json};

use super::failure::{Failure, shown};

/// Text from a file, which must not control the terminal.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => ' ',
            _ if character.is_control() => '\u{fffd}',
            // These reorder what is beside them.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            _ => character,
        })
        .collect()
}

/// A path as a shell takes it, for commands to be copied.
pub fn word(path: &Path) -> String {
    let shown = shown(path);
    plain(&shlex::try_quote(&shown).map_or(shown.clone(), |quoted| quoted.into_owned()))
}

/// An id as hexadecimal digits.
pub fn hex(id: &[u8]) -> String {
    id.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Unix seconds as a date and a time, UTC.
pub fn time(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0))
        .map_or_else(
            || "an impossible time".to_owned(),
            |time| time.format("%Y-%m-%d %H:%M UTC").to_string(),
        )
}

/// What a key derivation costs.
pub fn cost(cost: KdfCost) -> String {
    let lanes = match cost.lanes {
        1 => String::new(),
        lanes => format!(", {lanes} lanes"),
    };
    format!("{} MiB, {} passes{lanes}", cost.m_kib / 1024, cost.passes)
}

/// As [`cost`], for programs.
pub fn cost_json(cost: KdfCost) -> Value {
    json!({ "m_kib": cost.m_kib, "passes": cost.passes, "lanes": cost.lanes })
}

/// One line a slot.
pub fn slot(slot: &SlotInfo) -> String {
    let mut line = format!(
        "  {:>3}  {:<10}  {:<20}  {}",
        slot.slot,
        plain(&slot.kind),
        time(slot.created),
        plain(&slot.label)
    );
    if let Some(kdf) = slot.kdf {
        let _ = write!(line, "  [{}]", cost(kdf));
    }
    if slot.opened {
        line.push_str("  <- opened");
    }
    line
}

/// As [`slot`], for programs.
pub fn slot_json(slot: &SlotInfo) -> Value {
    json!({
        "slot": slot.slot,
        "label": slot.label,
        "kind": slot.kind,
        "created": slot.created,
        "kdf": slot.kdf.map(cost_json),
        "opened": slot.opened,
    })
}

/// A table, by its name.
pub fn table(name: &str) -> Result<Table, String> {
    Table::ALL
        .into_iter()
        .find(|table| table.name() == name)
        .ok_or_else(|| {
            let names: Vec<_> = Table::ALL.iter().map(|table| table.name()).collect();
            format!("the tables are {}", names.join(", "))
        })
}

/// Another number each time.
pub fn any_number() -> Result<u64, Failure> {
    getrandom::u64()
        .map_err(|error| Failure::other("the system gives no random numbers").because(error))
}
