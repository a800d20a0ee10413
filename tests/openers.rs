//! Two processes share one keyring: what they make at once must exist once, and work that nobody may
//! run beside must not start. Two devices made for one account, or a root key replaced under another
//! process, lose what was sealed in between.

mod support;

use std::sync::Arc;

use sealed_store::{BackendKeyring, Keyring, SealError, Table};
use support::{Shelf, account_body, raw, refused};
use wacore::store::InMemoryBackend;

const ROUNDS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_creators_of_a_keyring_one_is_told_that_it_exists() {
    for _ in 0..ROUNDS {
        for shelf in Shelf::both() {
            let create = |store| tokio::spawn(async move { Keyring::create(store, &raw(1)).await });
            let (a, b) = tokio::join!(create(shelf.store()), create(shelf.store()));
            let (made, error) = match (a.unwrap(), b.unwrap()) {
                (Ok(made), Err(error)) | (Err(error), Ok(made)) => (made, error),
                (Ok(_), Ok(_)) => panic!("made twice"),
                (Err(a), Err(b)) => panic!("{a:?} {b:?}"),
            };
            assert!(matches!(error, SealError::KeyringExists), "{error:?}");
            assert_eq!(shelf.open(&raw(1)).await.unwrap().id(), made.id());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_first_runs_share_one_keyring() {
    for _ in 0..ROUNDS {
        for shelf in Shelf::both() {
            let run =
                |store| tokio::spawn(async move { Keyring::open_or_create(store, &raw(1)).await });
            let (a, b) = tokio::join!(run(shelf.store()), run(shelf.store()));
            let (a, b) = (a.unwrap().unwrap(), b.unwrap().unwrap());
            assert_eq!(a.id(), b.id());
            assert!(a.slots().await.is_ok() && b.slots().await.is_ok());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_creators_of_an_account_one_is_told_that_it_exists() {
    let shelf = Shelf::sqlite();
    drop(shelf.create(&raw(1)).await.unwrap());
    let one = shelf.open(&raw(1)).await.unwrap();
    let other = shelf.open(&raw(1)).await.unwrap();
    for round in 0..ROUNDS {
        let create = |keyring: Keyring| {
            tokio::spawn(async move { keyring.create_account(&format!("{round}")).await })
        };
        let (a, b) = tokio::join!(create(one.clone()), create(other.clone()));
        let (made, error) = match (a.unwrap(), b.unwrap()) {
            (Ok(made), Err(error)) | (Err(error), Ok(made)) => (made, error),
            (Ok(_), Ok(_)) => panic!("made twice"),
            (Err(a), Err(b)) => panic!("{a:?} {b:?}"),
        };
        assert!(matches!(error, SealError::AccountExists), "{error:?}");
        for keyring in [&one, &other] {
            let opened = keyring.account(&format!("{round}")).await.unwrap();
            assert_eq!(opened.uid(), made.uid());
        }
    }
    assert_eq!(one.accounts().await.unwrap().len(), ROUNDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_first_runs_share_one_account() {
    let shelf = Shelf::sqlite();
    drop(shelf.create(&raw(1)).await.unwrap());
    let one = shelf.open(&raw(1)).await.unwrap();
    let other = shelf.open(&raw(1)).await.unwrap();
    for round in 0..ROUNDS {
        let run = |keyring: Keyring| {
            tokio::spawn(async move { keyring.account_or_create(&format!("{round}")).await })
        };
        let (a, b) = tokio::join!(run(one.clone()), run(other.clone()));
        let (a, b) = (a.unwrap().unwrap(), b.unwrap().unwrap());
        assert_eq!(a.uid(), b.uid());
        // And both can change it.
        a.rotate_data_keys(&[Table::Session]).await.unwrap();
        b.rotate_data_keys(&[Table::Session]).await.unwrap();
    }
}

/// A generation is never given twice: what one process sealed under it the other could not open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generations_made_at_once_have_numbers_of_their_own() {
    let shelf = Shelf::sqlite();
    let one = shelf.create(&raw(1)).await.unwrap();
    one.create_account("1").await.unwrap();
    let other = shelf.open(&raw(1)).await.unwrap();
    let rotate = async |keyring: Keyring| {
        let account = keyring.account("1").await.unwrap();
        let mut done = 0;
        while done < 4 {
            match account.rotate_data_keys(&[Table::Session]).await {
                Ok(()) => done += 1,
                Err(SealError::Conflict) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    let (a, b) = tokio::join!(tokio::spawn(rotate(one)), tokio::spawn(rotate(other)));
    a.unwrap();
    b.unwrap();
    let body = account_body(&shelf, "1").await;
    let sessions: Vec<_> = body["keys"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|key| key["table"] == "session")
        .map(|key| (key["generation"].as_u64().unwrap(), key["state"].clone()))
        .collect();
    let numbers: Vec<u64> = sessions.iter().map(|(generation, _)| *generation).collect();
    assert_eq!(numbers, (1..=9).collect::<Vec<_>>());
    let active: Vec<u64> = sessions
        .iter()
        .filter(|(_, state)| state == "active")
        .map(|(generation, _)| *generation)
        .collect();
    assert_eq!(active, [9], "one key seals, all others only open");
}

#[tokio::test]
async fn an_account_name_is_plain_and_short() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&raw(1)).await.unwrap();
        let long = "a".repeat(65);
        for name in [
            "", " ", "a b", "a/b", "../a", "a:b", "a\0", "a\n", "ä", "a@b", "%", "é", &long,
        ] {
            for result in [
                keyring.account(name).await,
                keyring.create_account(name).await,
                keyring.account_or_create(name).await,
            ] {
                let error = refused(result);
                assert!(
                    matches!(error, SealError::Invalid { .. }),
                    "{name:?}: {error:?}"
                );
            }
        }
        assert_eq!(keyring.accounts().await.unwrap(), [""; 0]);
        let longest = "a".repeat(64);
        // Names that differ only where stores fold or split are different accounts.
        let names = [
            "A", "a", "a.b", "a_b", "a-b", "1", "01", ".", "..", "accounts", "keyring", &longest,
        ];
        let mut uids = Vec::new();
        for name in names {
            uids.push(keyring.create_account(name).await.unwrap().uid());
        }
        drop(keyring);
        let keyring = shelf.open(&raw(1)).await.unwrap();
        for (name, uid) in names.into_iter().zip(uids) {
            assert_eq!(keyring.account(name).await.unwrap().uid(), uid, "{name}");
        }
        let mut sorted = names.map(str::to_owned).to_vec();
        sorted.sort();
        assert_eq!(keyring.accounts().await.unwrap(), sorted);
    }
}

#[tokio::test]
async fn an_unknown_account_is_not_made_by_opening_it() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&raw(1)).await.unwrap();
        keyring.create_account("1").await.unwrap();
        for name in ["2", "11", "one"] {
            assert!(matches!(
                refused(keyring.account(name).await),
                SealError::UnknownAccount
            ));
            assert!(shelf.get(&format!("account:{name}")).await.is_none());
        }
        assert!(matches!(
            refused(keyring.create_account("1").await),
            SealError::AccountExists
        ));
        assert_eq!(keyring.accounts().await.unwrap(), ["1"]);
    }
}

#[tokio::test]
async fn a_root_is_not_rotated_beside_another_opener() {
    for shelf in Shelf::both() {
        let one = shelf.create(&raw(1)).await.unwrap();
        let account = one.create_account("1").await.unwrap();
        let other = shelf.open(&raw(1)).await.unwrap();
        let before = shelf.document("keyring").await;
        for keyring in [&one, &other] {
            let error = refused(keyring.rotate_root(&[(1, &raw(1))], &[]).await);
            assert!(matches!(error, SealError::InUse), "{error:?}");
            assert!(error.is_retryable());
        }
        assert_eq!(shelf.document("keyring").await, before);
        // Both go on as before, and still hold the keyring.
        account.rotate_data_keys(&[Table::Session]).await.unwrap();
        other.create_account("2").await.unwrap();
        let error = refused(one.rotate_root(&[(1, &raw(1))], &[]).await);
        assert!(matches!(error, SealError::InUse), "{error:?}");

        // A closed keyring still holds it: its accounts go on after unlock.
        other.lock();
        let error = refused(one.rotate_root(&[(1, &raw(1))], &[]).await);
        assert!(matches!(error, SealError::InUse), "{error:?}");

        drop(other);
        one.rotate_root(&[(1, &raw(1))], &[]).await.unwrap();
        assert_eq!(one.account("2").await.unwrap().name(), "2");
        // And afterwards it is shared again.
        let other = shelf.open(&raw(1)).await.unwrap();
        assert_eq!(other.account("1").await.unwrap().uid(), account.uid());
        let error = refused(one.rotate_root(&[(2, &raw(1))], &[]).await);
        assert!(matches!(error, SealError::InUse), "{error:?}");
    }
}

/// An account counts as an opener even when its keyring's handle is gone.
#[tokio::test]
async fn an_account_keeps_its_keyring_in_use() {
    for shelf in Shelf::both() {
        let one = shelf.create(&raw(1)).await.unwrap();
        let other = shelf.open(&raw(1)).await.unwrap();
        let account = other.account_or_create("1").await.unwrap();
        drop(other);
        let error = refused(one.rotate_root(&[(1, &raw(1))], &[]).await);
        assert!(matches!(error, SealError::InUse), "{error:?}");
        account.rotate_data_keys(&[Table::Session]).await.unwrap();
        drop(account);
        one.rotate_root(&[(1, &raw(1))], &[]).await.unwrap();
    }
}

/// Where a lock can't tell (two handles of one store that do not share it), the number of the root
/// does: a process that meets another root says so and rewrites nothing.
#[tokio::test]
async fn a_root_that_was_rotated_elsewhere_is_met_with_an_error() {
    let inner = Arc::new(InMemoryBackend::new());
    let [one, other] = [(); 2].map(|()| BackendKeyring::new(Arc::clone(&inner)));
    let one = Keyring::create(one, &raw(1)).await.unwrap();
    let account = one.create_account("1").await.unwrap();
    let other = Keyring::open(other, &raw(1)).await.unwrap();
    other.rotate_root(&[(1, &raw(1))], &[]).await.unwrap();

    let revisions = other.revisions().await.unwrap();
    for result in [
        one.accounts().await.map(drop),
        one.account("1").await.map(drop),
        one.account_or_create("1").await.map(drop),
        one.create_account("2").await.map(drop),
        one.slots().await.map(drop),
        one.add_slot("more", &raw(2)).await.map(drop),
        one.remove_slot(2).await,
        one.change_passphrase(2, &raw(1), &raw(2)).await.map(drop),
        one.rotate_root(&[(2, &raw(1))], &[]).await,
        account.rotate_data_keys(&[Table::Session]).await,
        one.rotate_data_keys(&[Table::Session]).await,
    ] {
        let error = refused(result);
        assert!(matches!(error, SealError::RootChanged), "{error:?}");
    }
    assert_eq!(other.revisions().await.unwrap(), revisions);
    assert_eq!(other.accounts().await.unwrap(), ["1"]);
    // Opening it again, or closing and unlocking it, is all it takes.
    one.lock();
    one.unlock(&raw(1)).await.unwrap();
    account.rotate_data_keys(&[Table::Session]).await.unwrap();
}
