//! What is destroyed stays destroyed, and nothing is that must not be.

use std::sync::Arc;

use secrecy::SecretBox;
use wacore::store::InMemoryBackend;

use super::super::document::{Resealing, ResealingTarget};
use super::super::resealing::Generation;
use super::*;
use crate::keyring::Keyring;
use crate::keyring::store::BackendKeyring;
use crate::provider::RawKey;

fn raw() -> RawKey {
    RawKey::new(SecretBox::new(Box::new([7; 32])))
}

fn store() -> BackendKeyring<InMemoryBackend> {
    BackendKeyring::new(Arc::new(InMemoryBackend::new()))
}

fn opens(account: &Account, table: Table) -> Vec<u32> {
    account
        .with_keys(|keys| {
            let all = keys.table(table)?.all();
            Ok(all.map(|key| key.generation).collect())
        })
        .unwrap()
}

const OLD: &[Generation] = &[(Table::Session, 1)];

#[tokio::test]
async fn an_old_generation_goes_in_two_durable_steps_and_no_other_goes() {
    let store = store();
    let keyring = Keyring::create(store.clone(), &raw()).await.unwrap();
    let account = keyring.create_account("1").await.unwrap();
    let refused = |result: Result<(), SealError>| {
        assert!(
            matches!(result, Err(SealError::Invalid { .. })),
            "{result:?}"
        );
    };
    // The one that seals.
    refused(account.mark_destroying(OLD).await);
    refused(account.erase_generations(OLD).await);
    account.rotate_data_keys(&[Table::Session]).await.unwrap();
    // Not marked yet.
    refused(account.erase_generations(OLD).await);
    assert_eq!(account.old_generations().await.unwrap(), OLD);
    account.mark_destroying(OLD).await.unwrap();
    assert_eq!(
        opens(&account, Table::Session),
        [2, 1],
        "it opens until then"
    );
    account.keep_generations(OLD).await.unwrap();
    refused(account.erase_generations(OLD).await);
    account.mark_destroying(OLD).await.unwrap();
    account.erase_generations(OLD).await.unwrap();
    assert_eq!(opens(&account, Table::Session), [2]);
    assert_eq!(opens(&account, Table::Identity), [1]);
    assert_eq!(account.old_generations().await.unwrap(), []);
    // Done again, after a kill: nothing is left to do.
    account.erase_generations(OLD).await.unwrap();
    drop((account, keyring));
    let keyring = Keyring::open(store, &raw()).await.unwrap();
    let account = keyring.account("1").await.unwrap();
    assert_eq!(opens(&account, Table::Session), [2], "it is durable");
    // The number is not used again.
    account.rotate_data_keys(&[Table::Session]).await.unwrap();
    assert_eq!(opens(&account, Table::Session), [3, 2]);
}

#[tokio::test]
async fn a_shredded_table_opens_under_no_generation_until_it_has_a_new_key() {
    let store = store();
    let keyring = Keyring::create(store.clone(), &raw()).await.unwrap();
    let account = keyring.create_account("1").await.unwrap();
    account.rotate_data_keys(&[Table::Session]).await.unwrap();
    let destroyed = account.shred_tables(&[Table::Session]).await.unwrap();
    assert_eq!(destroyed, 2);
    assert_eq!(opens(&account, Table::Session), Vec::<u32>::new());
    assert_eq!(opens(&account, Table::Identity), [1]);
    assert_eq!(account.shred_tables(&[Table::Session]).await.unwrap(), 0);
    account.rotate_data_keys(&[Table::Session]).await.unwrap();
    assert_eq!(opens(&account, Table::Session), [3]);
}

#[tokio::test]
async fn a_shredded_account_keeps_no_key_and_the_others_keep_theirs() {
    let store = store();
    let keyring = Keyring::create(store.clone(), &raw()).await.unwrap();
    let doomed = keyring.create_account("1").await.unwrap();
    let other = keyring.create_account("2").await.unwrap();
    assert_eq!(doomed.shred().await.unwrap(), Table::ALL.len() + 1);
    assert_eq!(doomed.shred().await.unwrap(), 0);
    assert!(matches!(
        doomed.with_keys(|_| Ok(())),
        Err(SealError::Shredded)
    ));
    assert_eq!(opens(&other, Table::Session), [1]);
    let (_, body) = super::super::account::read(&keyring.core, "1")
        .await
        .unwrap();
    assert!(body.keys.iter().all(|entry| entry.wrapped.is_none()));
    drop((doomed, other, keyring));
    let keyring = Keyring::open(store, &raw()).await.unwrap();
    let doomed = keyring.account("1").await.unwrap();
    assert!(matches!(
        doomed.with_keys(|_| Ok(())),
        Err(SealError::Shredded)
    ));
}

#[tokio::test]
async fn nothing_is_shredded_while_another_opener_is_there() {
    let store = store();
    let keyring = Keyring::create(store.clone(), &raw()).await.unwrap();
    let account = keyring.create_account("1").await.unwrap();
    let other = Keyring::open(store, &raw()).await.unwrap();
    assert!(matches!(account.shred().await, Err(SealError::InUse)));
    let tables = account.shred_tables(&[Table::Session]).await;
    assert!(matches!(tables, Err(SealError::InUse)));
    assert_eq!(opens(&account, Table::Session), [1]);
    drop(other);
    account.shred().await.unwrap();
}

#[tokio::test]
async fn how_far_a_resealing_is_survives_a_new_root() {
    let keyring = Keyring::create(store(), &raw()).await.unwrap();
    let account = keyring.create_account("1").await.unwrap();
    assert_eq!(account.resealing().await.unwrap(), None);
    account.begin_resealing(&[Table::Session]).await.unwrap();
    let at = Resealing {
        targets: vec![ResealingTarget {
            table: Table::Session,
            generation: 2,
        }],
        place: "sessions".into(),
        after: vec![0, 255],
        walked: false,
    };
    account.note_resealing(&at).await.unwrap();
    keyring.rotate_root(&[(1, &raw())], &[]).await.unwrap();
    assert_eq!(account.resealing().await.unwrap(), Some(at.clone()));
    account.end_resealing(&at).await.unwrap();
    assert_eq!(account.resealing().await.unwrap(), None);
}
