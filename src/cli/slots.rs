//! Which slots go along where a keyring gets a new root, or is made anew.

use clap::Args;
use sealed_store::{KeyProvider, SlotInfo};

use super::failure::Failure;
use super::secret::{self, Provider};
use super::text;

/// The slots that stay, and those that go.
#[derive(Args)]
pub struct SlotsArgs {
    /// Keeps a slot besides the one that opens; its secret is asked for, or read: NUMBER=key-file:FILE and so on
    #[arg(long, value_name = "NUMBER[=SOURCE]")]
    keep: Vec<String>,
    /// Gives a slot up
    #[arg(long, value_name = "NUMBER")]
    drop: Vec<u32>,
}

/// The slots that stay, each with its label and what opens it; and the numbers of those that go.
pub struct Slots {
    kept: Vec<(u32, String, Provider)>,
    pub dropped: Vec<u32>,
}

impl Slots {
    /// As [`Keyring::rotate_root`](sealed_store::Keyring::rotate_root) takes them.
    pub fn numbered(&self) -> Vec<(u32, &dyn KeyProvider)> {
        self.kept
            .iter()
            .map(|(slot, _, provider)| (*slot, &**provider as &dyn KeyProvider))
            .collect()
    }

    /// As [`reencrypt_fully`](sealed_store::lifecycle::reencrypt_fully) takes them.
    pub fn labelled(&self) -> Vec<(&str, &dyn KeyProvider)> {
        self.kept
            .iter()
            .map(|(_, label, provider)| (label.as_str(), &**provider as &dyn KeyProvider))
            .collect()
    }
}

impl SlotsArgs {
    pub fn is_empty(&self) -> bool {
        self.keep.is_empty() && self.drop.is_empty()
    }

    /// Every slot is kept or given up in so many words: none is lost by omission. `opening` opened one of them; `replaced` goes
    /// for another that takes its place.
    pub fn resolve(
        self,
        slots: &[SlotInfo],
        opening: Provider,
        replaced: Option<u32>,
    ) -> Result<Slots, Failure> {
        let mut wanted = Vec::with_capacity(self.keep.len());
        for keep in &self.keep {
            let (number, source) = match keep.split_once('=') {
                Some((number, source)) => (number, Some(source)),
                None => (keep.as_str(), None),
            };
            let number: u32 = number.parse().map_err(|_| {
                Failure::usage("a slot is a number, as `key list` shows it").about("--keep")
            })?;
            wanted.push((number, source));
        }
        let there = |number: u32| slots.iter().any(|slot| slot.slot == number);
        let named = wanted.iter().map(|(number, _)| *number);
        let mut named = named.chain(self.drop.iter().copied());
        if let Some(unknown) = replaced
            .into_iter()
            .chain(named.clone())
            .find(|n| !there(*n))
        {
            return Err(Failure::usage(format!("there is no slot {unknown}")));
        }
        if let Some(replaced) = replaced
            && named.any(|number| number == replaced)
        {
            return Err(Failure::usage(format!(
                "slot {replaced} is the one that is replaced; neither keep nor drop it"
            )));
        }
        let mut opening = Some(opening);
        let (mut kept, mut unnamed) = (Vec::new(), Vec::new());
        for slot in slots.iter().filter(|slot| Some(slot.slot) != replaced) {
            let keep = wanted.iter().find(|(number, _)| *number == slot.slot);
            let drop = self.drop.contains(&slot.slot);
            let provider = match (keep, drop, slot.opened) {
                (Some(_), true, _) => {
                    return Err(Failure::usage(format!(
                        "slot {} is both kept and dropped",
                        slot.slot
                    )));
                }
                (_, true, _) => continue,
                (Some((_, Some(source))), ..) => {
                    secret::kept(Some(source), slot.slot, &slot.label)?
                }
                (_, _, true) => match opening.take() {
                    Some(opening) => opening,
                    None => continue,
                },
                (Some((_, None)), ..) => secret::kept(None, slot.slot, &slot.label)?,
                (None, false, false) => {
                    unnamed.push(format!("{} ({})", slot.slot, text::plain(&slot.label)));
                    continue;
                }
            };
            kept.push((slot.slot, slot.label.clone(), provider));
        }
        if !unnamed.is_empty() {
            return Err(Failure::usage(format!(
                "say of every slot whether it stays (--keep NUMBER[=SOURCE]) or goes (--drop NUMBER); not named: {}",
                unnamed.join(", ")
            )));
        }
        if kept.is_empty() && replaced.is_none() {
            return Err(Failure::usage("one slot at least must stay"));
        }
        Ok(Slots {
            kept,
            dropped: self.drop,
        })
    }
}
