//! What a restore puts where: which documents of the backup, and which of those that are there.

use std::collections::{BTreeMap, BTreeSet};

use super::{HeaderRestored, Unproven};
use crate::error::SealError;
use crate::keyring::KeyState;
use crate::keyring::document::{
    ACCOUNTS, AccountBody, AccountState, Envelope, KeyEntry, account_name,
};
use crate::keyring::header::{Documents, Unverified, Verified};
use crate::lifecycle::LifecycleError;

pub(super) struct Plan {
    pub(super) documents: Documents,
    pub(super) told: HeaderRestored,
}

pub(super) fn plan(
    verified: &Verified,
    unproven: &Unproven,
    present: &Documents,
) -> Result<Plan, LifecycleError> {
    let backup = &unproven.documents;
    let mut plan = Plan {
        documents: backup.clone(),
        told: HeaderRestored {
            keyring_id: verified.keyring.keyring_id,
            replaced: Vec::new(),
            kept: Vec::new(),
            removed: Vec::new(),
            not_compared: Vec::new(),
            older: false,
            lost: Vec::new(),
            revived: Vec::new(),
        },
    };
    let mut accounts: BTreeMap<String, AccountBody> = verified.accounts.clone();
    let names: BTreeSet<&String> = backup.keys().chain(present.keys()).collect();
    for name in names {
        let there = present.get(name);
        if there.is_some() && there == backup.get(name) {
            continue;
        }
        let Some((revision, bytes)) = there else {
            plan.told.not_compared.push(name.clone());
            continue;
        };
        let revision = *revision;
        let document = match Unverified::read(name, bytes) {
            Ok(document) if document.keyring_id() == verified.keyring.keyring_id => document,
            // Another keyring's, which was allowed to go.
            Ok(_) if backup.contains_key(name) => continue,
            Ok(_) => {
                plan.told.removed.push(name.clone());
                continue;
            }
            Err(_) if backup.contains_key(name) => {
                plan.told.not_compared.push(name.clone());
                continue;
            }
            // Damaged, and made since: another backup may have it.
            Err(_) => {
                plan.told.removed.push(name.clone());
                let account = account_name(name).map(|account| (account.to_owned(), None));
                plan.told.lost.extend(account);
                continue;
            }
        };
        match document {
            Unverified::Keyring(envelope) => {
                let there = &envelope.body;
                // After an older backup was put back, revisions say less than times.
                plan.told.older |= there.revision >= verified.keyring.revision
                    || there
                        .slots
                        .iter()
                        .any(|slot| slot.created > unproven.created);
            }
            // Made below. Whether it is newer is told by the accounts.
            Unverified::Accounts(_) => {}
            Unverified::Account(envelope) => {
                let document = (revision, bytes.clone());
                account(verified, &mut plan, &mut accounts, name, document, envelope);
            }
        }
    }
    index(verified, &mut plan, backup, present, &accounts)?;
    for (name, document) in &plan.documents {
        if present.get(name) != Some(document) {
            plan.told.replaced.push(name.clone());
        }
    }
    Ok(plan)
}

/// Of an account's document that is there and differs from the backup's.
fn account(
    verified: &Verified,
    plan: &mut Plan,
    accounts: &mut BTreeMap<String, AccountBody>,
    name: &str,
    document: (u64, Vec<u8>),
    envelope: Envelope<AccountBody>,
) {
    let claimed = envelope.body.clone();
    let revision = document.0;
    let old = verified.accounts.get(name);
    let newer = old.is_none_or(|old| revision > old.revision);
    if let Some(body) = verified.account_of(Unverified::Account(envelope), name, revision)
        && newer
    {
        plan.told.kept.push(name.to_owned());
        plan.documents.insert(name.to_owned(), document);
        accounts.insert(name.to_owned(), body);
        return;
    }
    // Older, of another branch, or of a root key that the backup has not: believed as far as to warn.
    let Some(old) = old else {
        plan.told.removed.push(name.to_owned());
        plan.told.lost.push((claimed.name, None));
        return;
    };
    // Under one root a key is wrapped once: another wrap is another key, of the same number.
    let same_root = claimed.root == old.root;
    let has = |there: &KeyEntry| {
        old.keys.iter().any(|key| {
            (key.table, key.generation) == (there.table, there.generation)
                && key.wrapped.is_some()
                && (there.wrapped.is_none() || !same_root || key.wrapped == there.wrapped)
        })
    };
    let mut lost: Vec<_> = claimed
        .keys
        .iter()
        .filter(|key| key.wrapped.is_some() && !has(key))
        .map(|key| (claimed.name.clone(), key.table))
        .collect();
    lost.dedup();
    plan.told.lost.append(&mut lost);
    let destroyed =
        |key: &&KeyEntry| key.state == KeyState::Destroyed || key.state == KeyState::Destroying;
    let shredded = claimed.state == AccountState::Shredded && old.state != AccountState::Shredded;
    let revived = claimed.keys.iter().filter(destroyed).any(has);
    if shredded || revived {
        plan.told.revived.push(claimed.name);
    }
}

/// The index that lists every account that there is then.
fn index(
    verified: &Verified,
    plan: &mut Plan,
    backup: &Documents,
    present: &Documents,
    accounts: &BTreeMap<String, AccountBody>,
) -> Result<(), LifecycleError> {
    let there = present.get(ACCOUNTS).and_then(|(revision, bytes)| {
        let document = Unverified::read(ACCOUNTS, bytes).ok()?;
        verified
            .index_of(document, *revision)
            .map(|body| (*revision, body))
    });
    let old = verified
        .index
        .as_ref()
        .map(|body| (body.revision, body.clone()));
    // The newer of the two that verify.
    let (mut revision, mut names, mut from) = (0, Vec::new(), None);
    for (candidate, source) in [(old, backup), (there, present)] {
        if let Some((found, body)) = candidate
            && found > revision
        {
            (revision, names, from) = (found, body.names, source.get(ACCOUNTS).cloned());
        }
    }
    let missing: Vec<_> = accounts
        .values()
        .map(|body| body.name.clone())
        .filter(|name| !names.contains(name))
        .collect();
    match from {
        Some(document) if missing.is_empty() => {
            plan.documents.insert(ACCOUNTS.to_owned(), document);
        }
        _ if missing.is_empty() => {}
        _ => {
            names.extend(missing);
            let revision = revision.checked_add(1).ok_or(SealError::Conflict)?;
            let document = verified.sign_index(names, revision)?;
            plan.documents
                .insert(ACCOUNTS.to_owned(), (revision, document));
        }
    }
    Ok(())
}
