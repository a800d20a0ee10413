//! New data keys for rows that are there already: how far their resealing is, and how old generations end.
//!
//! An old generation is destroyed in the order prove, mark, prove, erase: whoever walks the store proves, and the two
//! steps here are durable before the next.

use super::destroy::erase;
use super::document::{AccountBody, KeyEntry, KeyState, Resealing, ResealingTarget};
use super::{Account, Keyring, account};
use crate::error::SealError;
use crate::record::Table;

/// A data key, by its table and number.
pub(crate) type Generation = (Table, u32);

fn data_keys<'a>(
    body: &'a mut AccountBody,
    doomed: &'a [Generation],
) -> impl Iterator<Item = &'a mut KeyEntry> {
    body.keys.iter_mut().filter(|entry| {
        let generation = entry.table.map(|table| (table, entry.generation));
        generation.is_some_and(|generation| doomed.contains(&generation))
    })
}

fn in_use() -> SealError {
    SealError::Invalid {
        what: "a data key that is not marked for destruction is kept",
    }
}

impl Account {
    /// The generations that open and do not seal, oldest first: what their tables' rows may still be under.
    pub(crate) async fn old_generations(&self) -> Result<Vec<Generation>, SealError> {
        self.generations(|state| matches!(state, KeyState::Retained | KeyState::Destroying))
            .await
    }

    /// The generations that seal, one a table.
    pub(crate) async fn active_generations(&self) -> Result<Vec<Generation>, SealError> {
        self.generations(|state| state == KeyState::Active).await
    }

    async fn generations(
        &self,
        wanted: impl Fn(KeyState) -> bool,
    ) -> Result<Vec<Generation>, SealError> {
        let mut found = Vec::new();
        self.shared
            .change(|body, _| {
                found = body
                    .keys
                    .iter()
                    .filter(|entry| wanted(entry.state))
                    .filter_map(|entry| entry.table.map(|table| (table, entry.generation)))
                    .collect();
                Ok(false)
            })
            .await?;
        found.sort_unstable();
        Ok(found)
    }

    /// Marks old generations for destruction, durably. They open until they are erased.
    pub(crate) async fn mark_destroying(&self, doomed: &[Generation]) -> Result<(), SealError> {
        self.shared
            .change(|body, _| {
                let mut changed = false;
                for entry in data_keys(body, doomed) {
                    match entry.state {
                        KeyState::Retained => {
                            entry.state = KeyState::Destroying;
                            changed = true;
                        }
                        KeyState::Active => return Err(in_use()),
                        KeyState::Destroying | KeyState::Destroyed => {}
                    }
                }
                Ok(changed)
            })
            .await
    }

    /// Takes the mark back: rows under these generations were found after all.
    pub(crate) async fn keep_generations(&self, kept: &[Generation]) -> Result<(), SealError> {
        self.shared
            .change(|body, _| {
                let mut changed = false;
                for entry in data_keys(body, kept) {
                    if entry.state == KeyState::Destroying {
                        entry.state = KeyState::Retained;
                        changed = true;
                    }
                }
                Ok(changed)
            })
            .await
    }

    /// Erases generations that are marked, durably. The caller has proved that no row is under them, and holds the
    /// keyring alone.
    pub(crate) async fn erase_generations(&self, doomed: &[Generation]) -> Result<(), SealError> {
        let mut erased = Vec::new();
        self.shared
            .change(|body, _| {
                erased.clear();
                for entry in data_keys(body, doomed) {
                    match entry.state {
                        KeyState::Destroying => {
                            erase(entry);
                            erased.extend(entry.table.map(|table| (table, entry.generation)));
                        }
                        KeyState::Destroyed => {}
                        KeyState::Active | KeyState::Retained => return Err(in_use()),
                    }
                }
                Ok(!erased.is_empty())
            })
            .await?;
        self.note_destroyed(&erased);
        Ok(())
    }

    /// Gives `tables` new data keys and begins to reseal their rows, in one durable step: a kill in between would leave
    /// new keys behind at every try.
    pub(crate) async fn begin_resealing(&self, tables: &[Table]) -> Result<(), SealError> {
        self.rotate_and(tables, |body, made| {
            let mut targets: Vec<ResealingTarget> = made
                .iter()
                .map(|(table, generation)| ResealingTarget {
                    table: *table,
                    generation: *generation,
                })
                .collect();
            // Those of an earlier one whose old keys are still there.
            for target in body.resealing.iter().flat_map(|before| &before.targets) {
                if !targets.iter().any(|new| new.table == target.table) {
                    targets.push(*target);
                }
            }
            body.resealing = Some(Resealing {
                targets,
                place: String::new(),
                after: Vec::new(),
                walked: false,
            });
        })
        .await
    }

    /// How far a resealing is that was begun and not finished.
    pub(crate) async fn resealing(&self) -> Result<Option<Resealing>, SealError> {
        let mut found = None;
        self.shared
            .change(|body, _| {
                found = body.resealing.clone();
                Ok(false)
            })
            .await?;
        Ok(found)
    }

    /// Notes durably how far a resealing is. What somebody else began meanwhile is of more tables or of newer keys: its
    /// place stands.
    pub(crate) async fn note_resealing(&self, at: &Resealing) -> Result<(), SealError> {
        self.shared
            .change(|body, _| match &mut body.resealing {
                Some(there) if there.targets == at.targets => {
                    let changed = there != at;
                    there.clone_from(at);
                    Ok(changed)
                }
                _ => Ok(false),
            })
            .await
    }

    /// Notes durably that a resealing is done. The caller holds the keyring alone.
    pub(crate) async fn end_resealing(&self, done: &Resealing) -> Result<(), SealError> {
        self.shared
            .change(|body, _| {
                let is_it = |there: &Resealing| there.targets == done.targets;
                let ended = body.resealing.as_ref().is_some_and(is_it);
                if ended {
                    body.resealing = None;
                }
                Ok(ended)
            })
            .await
    }
}

impl AccountBody {
    /// Whether all rows are resealed and old keys wait for somebody who is alone.
    pub(super) fn is_resealed(&self) -> bool {
        self.resealing.as_ref().is_some_and(|at| at.walked)
    }
}

impl Keyring {
    /// Runs `work` while nobody else has the keyring open.
    pub(crate) async fn exclusively<T>(
        &self,
        work: impl Future<Output = Result<T, SealError>>,
    ) -> Result<T, SealError> {
        self.core.exclusively(work).await
    }

    /// Whether there is such an account. `opened` was read just now; only others are read for it.
    pub(crate) async fn has_resealed(&self, opened: &Account) -> Result<bool, SealError> {
        if opened.is_resealed() {
            return Ok(true);
        }
        for name in self.accounts().await? {
            if name == opened.name() {
                continue;
            }
            match account::read(&self.core, &name).await {
                Ok((_, body)) if body.is_resealed() => return Ok(true),
                // Listed before its document was written.
                Ok(_) | Err(SealError::UnknownAccount) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}
