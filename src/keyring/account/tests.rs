//! What an account's document and its keys in memory must never do.

use std::sync::Arc;

use secrecy::SecretBox;
use wacore::store::InMemoryBackend;

use super::*;
use crate::keyring::Keyring;
use crate::keyring::store::BackendKeyring;
use crate::provider::RawKey;

fn raw() -> RawKey {
    RawKey::new(SecretBox::new(Box::new([7; 32])))
}

async fn keyring() -> Keyring {
    let store = BackendKeyring::new(Arc::new(InMemoryBackend::new()));
    Keyring::create(store, &raw()).await.unwrap()
}

/// A token, as a stand-in for all keys.
fn token(account: &Account) -> Result<String, SealError> {
    account.with_keys(|keys| keys.blind.token(crate::blind::TokenColumn::Device, &[b"x"]))
}

fn newest(account: &Account, table: Table) -> u32 {
    account
        .with_keys(|keys| Ok(keys.table(table)?.newest()?.generation))
        .unwrap()
}

#[tokio::test]
async fn closing_takes_the_keys_of_open_accounts_and_unlock_brings_them_back() {
    let keyring = keyring().await;
    let account = keyring.create_account("1").await.unwrap();
    let again = keyring.account("1").await.unwrap();
    let before = token(&account).unwrap();
    keyring.lock();
    for handle in [&account, &again] {
        assert!(matches!(token(handle), Err(SealError::NotOpen)));
    }
    keyring.unlock(&raw()).await.unwrap();
    for handle in [&account, &again] {
        assert_eq!(token(handle).unwrap(), before, "the same keys");
    }
}

#[tokio::test]
async fn a_new_root_changes_no_key_of_an_account() {
    let keyring = keyring().await;
    let account = keyring.create_account("1").await.unwrap();
    account.rotate_data_keys(&[Table::Session]).await.unwrap();
    let before = token(&account).unwrap();
    keyring.rotate_root(&[(1, &raw())], &[]).await.unwrap();
    account.reload().await.unwrap();
    assert_eq!(token(&account).unwrap(), before);
    assert_eq!(newest(&account, Table::Session), 2);
    assert_eq!(newest(&account, Table::Identity), 1);
}

#[tokio::test]
async fn accounts_share_no_key() {
    let keyring = keyring().await;
    let one = keyring.create_account("1").await.unwrap();
    let two = keyring.create_account("2").await.unwrap();
    assert_ne!(token(&one).unwrap(), token(&two).unwrap());
}

#[tokio::test]
async fn a_new_generation_seals_and_every_older_one_opens() {
    let keyring = keyring().await;
    let account = keyring.create_account("1").await.unwrap();
    for generation in 2..=4 {
        account.rotate_data_keys(&[Table::Session]).await.unwrap();
        assert_eq!(newest(&account, Table::Session), generation);
    }
    let all: Vec<u32> = account
        .with_keys(|keys| {
            let all = keys.table(Table::Session)?.all();
            Ok(all.map(|key| key.generation).collect())
        })
        .unwrap();
    assert_eq!(all, [4, 3, 2, 1]);
    assert_eq!(newest(&account, Table::Device), 1);
}

#[tokio::test]
async fn a_store_is_bound_once_and_a_state_never_goes_back() {
    let store = BackendKeyring::new(Arc::new(InMemoryBackend::new()));
    let keyring = Keyring::create(store.clone(), &raw()).await.unwrap();
    let account = keyring.create_account("1").await.unwrap();
    assert_eq!(account.store_id(), None);
    // Another process: the first one wins for both.
    let other = Keyring::open(store, &raw()).await.unwrap();
    let theirs = other.account("1").await.unwrap();
    let bound = account.bind_store().await.unwrap();
    assert_eq!(theirs.bind_store().await.unwrap(), bound);
    assert_eq!(account.bind_store().await.unwrap(), bound);
    assert_eq!(theirs.store_id(), Some(bound));

    account.advance(AccountState::Live).await.unwrap();
    theirs.advance(AccountState::Initialising).await.unwrap();
    assert_eq!(theirs.state(), AccountState::Live);
    theirs.advance(AccountState::Shredded).await.unwrap();
    account.advance(AccountState::New).await.unwrap();
    assert_eq!(account.state(), AccountState::Shredded);
    for handle in [&account, &theirs] {
        assert!(matches!(token(handle), Err(SealError::Shredded)));
    }
}

/// Rows of an unknown generation, in a flood, must not keep the keyring's store at work; a
/// generation that another opener just made is found at once all the same.
#[tokio::test]
async fn a_refresh_finds_a_new_generation_and_is_made_a_few_times_in_a_pause() {
    let store = BackendKeyring::new(Arc::new(InMemoryBackend::new()));
    let keyring = Keyring::create(store.clone(), &raw()).await.unwrap();
    let account = keyring.create_account("1").await.unwrap();
    let other = Keyring::open(store, &raw()).await.unwrap();
    let start = Instant::now();
    for generation in 2..=4 {
        other.rotate_data_keys(&[Table::Session]).await.unwrap();
        account.refresh().await.unwrap();
        assert_eq!(newest(&account, Table::Session), generation);
    }
    for _ in 0..REFRESHES {
        account.refresh().await.unwrap();
    }
    other.rotate_data_keys(&[Table::Session]).await.unwrap();
    account.refresh().await.unwrap();
    if start.elapsed() < REFRESH_PAUSE {
        assert_eq!(newest(&account, Table::Session), 4);
    }
}

/// A read of the document that a change overtook must not bring the older keys back.
#[tokio::test]
async fn an_overtaken_read_changes_nothing() {
    let keyring = keyring().await;
    let account = keyring.create_account("1").await.unwrap();
    let (_, old) = read(&keyring.core, "1").await.unwrap();
    account.rotate_data_keys(&[Table::Session]).await.unwrap();
    account.shared.take(&old).unwrap();
    assert_eq!(newest(&account, Table::Session), 2);
}
