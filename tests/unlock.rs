//! Three causes, three errors, and nothing is ever made anew. Stores that answered a wrong key, a
//! damaged file and a missing one alike, or recreated a keyring on any error, lost their users' data
//! for good; a keyring that opens with documents from elsewhere gives its data to whoever put them
//! there.

mod support;

use sealed_store::{KeyringOptions, ProviderErrorKind, SealError, StoreFaultKind, Table};
use support::{Remote, Shelf, account_body, join, passphrase, raw, refused, split};

#[tokio::test]
async fn a_wrong_passphrase_is_wrong_key_and_changes_nothing() {
    for shelf in Shelf::both() {
        drop(shelf.create(&passphrase("right")).await.unwrap());
        let before = shelf.document("keyring").await;
        for wrong in ["wrong", "Right", "right ", "righ"] {
            let error = refused(shelf.open(&passphrase(wrong)).await);
            assert!(matches!(error, SealError::WrongKey), "{error:?}");
        }
        // A provider of another kind opens no slot either, and is told so without a derivation.
        assert!(matches!(
            refused(shelf.open(&raw(1)).await),
            SealError::WrongKey
        ));
        assert_eq!(shelf.document("keyring").await, before);
        shelf.open(&passphrase("right")).await.unwrap();
    }
}

#[tokio::test]
async fn where_no_keyring_is_none_is_found_and_nothing_is_left_behind() {
    let shelf = Shelf::sqlite();
    assert!(matches!(
        refused(shelf.open(&raw(1)).await),
        SealError::NoKeyring
    ));
    assert_eq!(shelf.files(), Vec::<String>::new());

    // Another store's file is not touched, and no lock file appears beside it.
    shelf
        .raw_connection()
        .execute_batch("CREATE TABLE device (id INTEGER)")
        .unwrap();
    let before = std::fs::read(shelf.path()).unwrap();
    assert!(matches!(
        refused(shelf.open(&raw(1)).await),
        SealError::NoKeyring
    ));
    assert_eq!(shelf.files(), ["keyring.db"]);
    assert_eq!(std::fs::read(shelf.path()).unwrap(), before);

    let shelf = Shelf::backend();
    assert!(matches!(
        refused(shelf.open(&raw(1)).await),
        SealError::NoKeyring
    ));
    assert!(shelf.get("keyring").await.is_none());
}

#[tokio::test]
async fn a_keyring_that_is_gone_is_said_to_be_gone() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&raw(1)).await.unwrap();
        keyring.create_account("1").await.unwrap();
        drop(keyring);
        shelf.remove("keyring").await;
        assert!(matches!(
            refused(shelf.open(&raw(1)).await),
            SealError::NoKeyring
        ));
        assert!(shelf.get("keyring").await.is_none());
    }
}

/// The accounts of a keyring outlive its document only by accident or attack: a new keyring over
/// them would make that final.
#[tokio::test]
async fn no_keyring_is_made_over_the_accounts_of_another() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&raw(1)).await.unwrap();
        keyring.create_account("1").await.unwrap();
        drop(keyring);
        shelf.remove("keyring").await;

        let made = KeyringOptions::new()
            .open_or_create(shelf.store(), &raw(1))
            .await;
        let error = refused(made);
        assert!(
            matches!(error, SealError::CorruptKeyring { .. }),
            "{error:?}"
        );
        assert!(matches!(
            refused(shelf.create(&raw(1)).await),
            SealError::CorruptKeyring { .. }
        ));
        assert!(shelf.get("keyring").await.is_none());
    }
}

#[tokio::test]
async fn open_or_create_makes_one_only_where_there_is_none() {
    for shelf in Shelf::both() {
        let options = KeyringOptions::new;
        // Pinned, and absent: it must have been there.
        for pinned in [
            options().pin_id([7; 16]),
            options().pin_revision("keyring", 1),
            options().pin_revision("account:1", 1),
        ] {
            let error = refused(pinned.open_or_create(shelf.store(), &raw(1)).await);
            assert!(matches!(error, SealError::NoKeyring), "{error:?}");
        }
        assert_eq!(shelf.files(), Vec::<String>::new());

        let made = options()
            .open_or_create(shelf.store(), &raw(1))
            .await
            .unwrap();
        let id = made.id();
        drop(made);
        let again = options()
            .open_or_create(shelf.store(), &raw(1))
            .await
            .unwrap();
        assert_eq!(again.id(), id);
        drop(again);
        let (revision, good) = shelf.document("keyring").await;

        let error = refused(options().open_or_create(shelf.store(), &raw(2)).await);
        assert!(matches!(error, SealError::WrongKey), "{error:?}");
        let elsewhere = options().pin_id([7; 16]);
        let error = refused(elsewhere.open_or_create(shelf.store(), &raw(1)).await);
        assert!(matches!(error, SealError::WrongKeyring), "{error:?}");
        assert_eq!(
            shelf.document("keyring").await,
            (revision, good.clone()),
            "nothing was rewritten"
        );

        for damaged in [
            &good[..good.len() - 1],
            b"",
            b"not a document",
            &good[1..],
            &[0xff; 600],
        ] {
            shelf.set("keyring", revision, damaged).await;
            let error = refused(options().open_or_create(shelf.store(), &raw(1)).await);
            assert!(
                matches!(error, SealError::CorruptKeyring { .. }),
                "{error:?}"
            );
            assert_eq!(shelf.document("keyring").await.1, damaged);
        }
        // Putting the good one back is all it takes.
        shelf.set("keyring", revision, &good).await;
        let keyring = options()
            .pin_id(id)
            .open_or_create(shelf.store(), &raw(1))
            .await
            .unwrap();
        assert_eq!(keyring.id(), id);
    }
}

#[tokio::test]
async fn a_data_file_that_holds_rows_gets_no_new_keyring() {
    let shelf = Shelf::sqlite();
    shelf
        .raw_connection()
        .execute_batch("CREATE TABLE device (id INTEGER); INSERT INTO device VALUES (1)")
        .unwrap();
    assert!(matches!(
        refused(shelf.create(&raw(1)).await),
        SealError::Occupied
    ));
    assert_eq!(shelf.files(), ["keyring.db"]);
    shelf
        .raw_connection()
        .execute_batch("DELETE FROM device")
        .unwrap();
    shelf.create(&raw(1)).await.unwrap();
}

/// A file that is no database is damage, not a wrong key and not a missing keyring.
#[tokio::test]
async fn a_file_that_is_no_database_is_damage() {
    let shelf = Shelf::sqlite();
    std::fs::write(shelf.path(), [0x5a; 8192]).unwrap();
    for result in [
        shelf.open(&raw(1)).await,
        KeyringOptions::new()
            .open_or_create(shelf.store(), &raw(1))
            .await,
    ] {
        let error = refused(result);
        assert!(
            matches!(&error, SealError::Keyring(fault) if fault.kind() == StoreFaultKind::Corrupt),
            "{error:?}"
        );
    }
    assert_eq!(std::fs::read(shelf.path()).unwrap(), [0x5a; 8192]);
}

#[tokio::test]
async fn documents_of_another_keyring_do_not_open() {
    for [one, other] in [Shelf::sqlite, Shelf::backend].map(|make| [make(), make()]) {
        for (shelf, key) in [(&one, raw(1)), (&other, raw(2))] {
            let keyring = shelf.create(&key).await.unwrap();
            keyring.create_account("1").await.unwrap();
        }
        let own = one.open(&raw(1)).await.unwrap().id();

        // The other's account and index, at the same revision and under the same name.
        for name in ["account:1", "accounts"] {
            let (revision, mine) = one.document(name).await;
            let (_, theirs) = other.document(name).await;
            one.set(name, revision, &theirs).await;
            let keyring = one.open(&raw(1)).await.unwrap();
            let error = match name {
                "accounts" => refused(keyring.accounts().await),
                _ => refused(keyring.account("1").await),
            };
            assert!(
                matches!(error, SealError::CorruptKeyring { .. }),
                "{error:?}"
            );
            drop(keyring);
            one.set(name, revision, &mine).await;
        }

        // The other's keyring document.
        let (revision, theirs) = other.document("keyring").await;
        one.set("keyring", revision, &theirs).await;
        assert!(matches!(
            refused(one.open(&raw(1)).await),
            SealError::WrongKey
        ));
        let pinned = KeyringOptions::new().pin_id(own);
        assert!(matches!(
            refused(one.open_with(pinned, &raw(2)).await),
            SealError::WrongKeyring
        ));
        let keyring = one.open(&raw(2)).await.unwrap();
        for error in [
            refused(keyring.accounts().await),
            refused(keyring.account("1").await),
        ] {
            assert!(
                matches!(error, SealError::CorruptKeyring { .. }),
                "{error:?}"
            );
        }
    }
}

/// The same secret in two keyrings: the slot of one must not open the root of the other.
#[tokio::test]
async fn a_slot_belongs_to_its_keyring_even_with_the_same_secret() {
    for [one, other] in [Shelf::sqlite, Shelf::backend].map(|make| [make(), make()]) {
        drop(one.create(&raw(1)).await.unwrap());
        drop(other.create(&raw(1)).await.unwrap());
        let (_, theirs) = other.document("keyring").await;
        let theirs = String::from_utf8(theirs).unwrap();
        let theirs: serde_json::Value = serde_json::from_str(split(&theirs).1).unwrap();
        one.edit("keyring", |body| body["slots"] = theirs["slots"].clone())
            .await;
        assert!(matches!(
            refused(one.open(&raw(1)).await),
            SealError::WrongKey
        ));
    }
}

#[tokio::test]
async fn documents_that_changed_places_do_not_open() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&raw(1)).await.unwrap();
        keyring.create_account("1").await.unwrap();
        keyring.create_account("2").await.unwrap();
        drop(keyring);
        let names = ["keyring", "accounts", "account:1", "account:2"];
        let mut good = Vec::new();
        for name in names {
            good.push(shelf.document(name).await);
        }
        for (to, name) in names.into_iter().enumerate() {
            for from in (0..names.len()).filter(|from| *from != to) {
                let (revision, bytes) = &good[from];
                shelf.set(name, *revision, bytes).await;
                let opened = shelf.open(&raw(1)).await;
                let error = match (name, &opened) {
                    ("keyring", _) => refused(opened.map(drop)),
                    ("accounts", Ok(keyring)) => refused(keyring.accounts().await),
                    ("account:1", Ok(keyring)) => refused(keyring.account("1").await),
                    (_, Ok(keyring)) => refused(keyring.account("2").await),
                    (_, Err(error)) => panic!("{name} damaged the keyring: {error:?}"),
                };
                assert!(
                    matches!(error, SealError::CorruptKeyring { .. }),
                    "{} in the place of {name}: {error:?}",
                    names[from]
                );
                let (revision, bytes) = &good[to];
                shelf.set(name, *revision, bytes).await;
            }
        }
        // An account of one name is not an account of another: each other's document, exchanged.
        shelf.set("account:1", good[3].0, &good[3].1).await;
        shelf.set("account:2", good[2].0, &good[2].1).await;
        let keyring = shelf.open(&raw(1)).await.unwrap();
        for name in ["1", "2"] {
            assert!(matches!(
                refused(keyring.account_or_create(name).await),
                SealError::CorruptKeyring { .. }
            ));
        }
    }
}

#[tokio::test]
async fn an_old_keyring_is_refused_under_a_pinned_revision() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&raw(1)).await.unwrap();
        let (old_revision, old) = shelf.document("keyring").await;
        keyring.add_slot("second", &raw(2)).await.unwrap();
        let pinned = keyring.revisions().await.unwrap()["keyring"];
        assert!(pinned > old_revision);
        drop(keyring);

        let options = || KeyringOptions::new().pin_revision("keyring", pinned);
        shelf.open_with(options(), &raw(1)).await.unwrap();
        shelf.set("keyring", old_revision, &old).await;
        let error = refused(shelf.open_with(options(), &raw(1)).await);
        assert!(
            matches!(error, SealError::RolledBack { pinned: p, found } if p == pinned && found == old_revision),
            "{error:?}"
        );
        // A column that claims the pinned revision does not help: the document says its own.
        shelf.set("keyring", pinned, &old).await;
        let error = refused(shelf.open_with(options(), &raw(1)).await);
        assert!(
            matches!(error, SealError::CorruptKeyring { .. }),
            "{error:?}"
        );

        // As it is, without a pin: an old copy opens. The threat model says so.
        shelf.set("keyring", old_revision, &old).await;
        let keyring = shelf.open(&raw(1)).await.unwrap();
        assert_eq!(keyring.slots().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn an_old_account_or_index_is_refused_under_a_pinned_revision() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&raw(1)).await.unwrap();
        let account = keyring.create_account("1").await.unwrap();
        let (_, old_account) = shelf.document("account:1").await;
        let (_, old_index) = shelf.document("accounts").await;
        account.rotate_data_keys(&[Table::Session]).await.unwrap();
        keyring.create_account("2").await.unwrap();
        let revisions = keyring.revisions().await.unwrap();
        assert_eq!(revisions["account:1"], 2);
        assert_eq!(revisions["accounts"], 2);
        let uid = account.uid();
        drop((keyring, account));

        shelf.set("account:1", 1, &old_account).await;
        shelf.set("accounts", 1, &old_index).await;
        let mut options = KeyringOptions::new();
        for (name, revision) in &revisions {
            options = options.pin_revision(name, *revision);
        }
        let keyring = shelf.open_with(options, &raw(1)).await.unwrap();
        for error in [
            refused(keyring.account("1").await),
            refused(keyring.account_or_create("1").await),
            refused(keyring.accounts().await),
            refused(keyring.create_account("3").await),
        ] {
            assert!(
                matches!(
                    error,
                    SealError::RolledBack {
                        pinned: 2,
                        found: 1
                    }
                ),
                "{error:?}"
            );
        }
        drop(keyring);

        // As it is, without a pin: both open, and account 2 is out of sight.
        let keyring = shelf.open(&raw(1)).await.unwrap();
        assert_eq!(keyring.accounts().await.unwrap(), ["1"]);
        assert_eq!(keyring.account("1").await.unwrap().uid(), uid);
        assert_eq!(keyring.account("2").await.unwrap().name(), "2");
    }
}

/// Deleting a pinned document is the furthest that it can be rolled back.
#[tokio::test]
async fn a_pinned_account_that_is_gone_is_never_made_anew() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&raw(1)).await.unwrap();
        keyring.create_account("1").await.unwrap();
        drop(keyring);
        shelf.remove("account:1").await;
        let options = KeyringOptions::new().pin_revision("account:1", 1);
        let keyring = shelf.open_with(options, &raw(1)).await.unwrap();
        for error in [
            refused(keyring.account("1").await),
            refused(keyring.account_or_create("1").await),
            refused(keyring.create_account("1").await),
        ] {
            assert!(
                matches!(
                    error,
                    SealError::RolledBack {
                        pinned: 1,
                        found: 0
                    }
                ),
                "{error:?}"
            );
        }
        assert!(shelf.get("account:1").await.is_none());
    }
}

#[tokio::test]
async fn a_revision_column_that_differs_from_the_one_inside_is_damage() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&raw(1)).await.unwrap();
        keyring.create_account("1").await.unwrap();
        drop(keyring);
        for name in ["keyring", "accounts", "account:1"] {
            let (revision, bytes) = shelf.document(name).await;
            shelf.set(name, revision + 1, &bytes).await;
            let error = match (name, shelf.open(&raw(1)).await) {
                (_, Err(error)) => error,
                ("accounts", Ok(keyring)) => refused(keyring.accounts().await),
                (_, Ok(keyring)) => refused(keyring.account("1").await),
            };
            assert!(
                matches!(error, SealError::CorruptKeyring { .. }),
                "{name}: {error:?}"
            );
            shelf.set(name, revision, &bytes).await;
        }
        shelf
            .open(&raw(1))
            .await
            .unwrap()
            .account("1")
            .await
            .unwrap();
    }
}

/// Whoever can write the file could otherwise have his own KMS key asked, or the caller's asked for
/// something else.
#[tokio::test]
async fn a_recipe_that_points_elsewhere_is_refused_before_the_provider_is_asked() {
    for shelf in Shelf::both() {
        let ours = Remote::new("ours", [5; 32]);
        drop(shelf.create(&ours).await.unwrap());
        // When it was made, too.
        drop(shelf.open(&ours).await.unwrap());
        assert_eq!(ours.unwrapped(), 2);

        let configured_otherwise = Remote::new("another", [5; 32]);
        let error = refused(shelf.open(&configured_otherwise).await);
        assert!(matches!(error, SealError::ForeignRecipe), "{error:?}");
        assert_eq!(configured_otherwise.unwrapped(), 0);

        let (revision, good) = shelf.document("keyring").await;
        let edits: [fn(&mut serde_json::Value); 3] = [
            |fields| fields["key_id"] = "theirs".into(),
            |fields| fields["endpoint"] = "https://example.invalid".into(),
            |fields| *fields = serde_json::json!({}),
        ];
        for edit in edits {
            shelf
                .edit("keyring", |body| {
                    edit(&mut body["slots"][0]["recipe"]["reference"]);
                })
                .await;
            let error = refused(shelf.open(&ours).await);
            assert!(matches!(error, SealError::ForeignRecipe), "{error:?}");
            assert_eq!(ours.unwrapped(), 2, "the provider was asked");
            shelf.set("keyring", revision, &good).await;
        }
        shelf.open(&ours).await.unwrap();
    }
}

#[tokio::test]
async fn another_format_version_is_told_from_damage() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&raw(1)).await.unwrap();
        keyring.create_account("1").await.unwrap();
        drop(keyring);
        for name in ["keyring", "accounts", "account:1"] {
            let (revision, good) = shelf.document(name).await;
            let text = String::from_utf8(good.clone()).unwrap();
            let (magic, json, mac) = split(&text);
            assert_eq!(magic, "sealed-store document 1");
            let opened = async |bytes: &[u8]| {
                shelf.set(name, revision, bytes).await;
                let error = match (name, shelf.open(&raw(1)).await) {
                    (_, Err(error)) => error,
                    ("accounts", Ok(keyring)) => refused(keyring.accounts().await),
                    (_, Ok(keyring)) => refused(keyring.account("1").await),
                };
                shelf.set(name, revision, &good).await;
                error
            };

            for version in [0, 2, u32::MAX] {
                let head = format!("sealed-store document {version}");
                let error = opened(join(&head, json, mac).as_bytes()).await;
                assert!(
                    matches!(error, SealError::UnsupportedVersion { found, supported: 1 } if found == version),
                    "{name}, version {version}: {error:?}"
                );
            }
            // A newer body may have any shape: it is not looked at.
            let error = opened(join("sealed-store document 2", "[]", mac).as_bytes()).await;
            assert!(matches!(
                error,
                SealError::UnsupportedVersion { found: 2, .. }
            ));

            // One flipped bit makes a 3 of the 1; the checksum tells that it is damage.
            let mut flipped = good.clone();
            flipped[magic.len() - 1] ^= 2;
            assert!(flipped.starts_with(b"sealed-store document 3\n"));
            for damaged in [
                flipped,
                join("sealed-store document", json, mac).into_bytes(),
                join("sealed-store document 1.0", json, mac).into_bytes(),
                join("sealed-store document 99999999999999999999", json, mac).into_bytes(),
                join("Sealed-store document 1", json, mac).into_bytes(),
                join("sealed-store document +1", json, mac).into_bytes(),
                join("sealed-store document 01", json, mac).into_bytes(),
            ] {
                let error = opened(&damaged).await;
                assert!(
                    matches!(error, SealError::CorruptKeyring { .. }),
                    "{name}: {error:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_newer_schema_of_the_file_is_told_from_damage() {
    let shelf = Shelf::sqlite();
    drop(shelf.create(&raw(1)).await.unwrap());
    shelf
        .raw_connection()
        .execute_batch("INSERT INTO sealed_store_keyring_schema VALUES (2)")
        .unwrap();
    let error = refused(shelf.open(&raw(1)).await);
    assert!(
        matches!(&error, SealError::Keyring(fault) if fault.kind() == StoreFaultKind::NewerSchema),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_empty_passphrase_is_refused_on_every_way() {
    for shelf in Shelf::both() {
        let empty = |error: SealError| {
            assert!(
                matches!(&error, SealError::Provider(p) if p.kind() == ProviderErrorKind::BadRequest),
                "{error:?}"
            );
        };
        empty(refused(shelf.create(&passphrase("")).await));
        assert!(shelf.files().is_empty(), "{:?}", shelf.files());
        let keyring = shelf.create(&passphrase("a")).await.unwrap();
        empty(refused(shelf.open(&passphrase("")).await));
        empty(refused(keyring.add_slot("more", &passphrase("")).await));
        empty(refused(
            keyring
                .change_passphrase(1, &passphrase("a"), &passphrase(""))
                .await,
        ));
        empty(refused(
            keyring.rotate_root(&[(1, &passphrase(""))], &[]).await,
        ));
        keyring.lock();
        empty(refused(keyring.unlock(&passphrase("")).await));
        assert!(!keyring.is_open());
        keyring.unlock(&passphrase("a")).await.unwrap();
        assert_eq!(keyring.slots().await.unwrap().len(), 1);
    }
}

/// A key of zeros is a key that somebody forgot to fill.
#[tokio::test]
async fn a_key_of_zeros_is_refused() {
    for shelf in Shelf::both() {
        let error = refused(shelf.create(&raw(0)).await);
        assert!(
            matches!(&error, SealError::Provider(p) if p.kind() == ProviderErrorKind::BadRequest),
            "{error:?}"
        );
        let error = refused(shelf.create(&Remote::new("k", [0; 32])).await);
        assert!(matches!(error, SealError::Invalid { .. }), "{error:?}");
        assert!(shelf.get_if_made("keyring").await.is_none());

        drop(shelf.create(&Remote::new("k", [1; 32])).await.unwrap());
        let error = refused(shelf.open(&Remote::new("k", [0; 32])).await);
        assert!(matches!(error, SealError::Invalid { .. }), "{error:?}");
        let error = refused(shelf.open(&raw(0)).await);
        assert!(matches!(error, SealError::WrongKey), "{error:?}");
    }
}

/// A key inside a document that was replaced by another key of the same document: each wrap is bound
/// to its whole place. (The MAC stops an outsider; this is what stops a slip of ours.)
#[tokio::test]
async fn the_first_account_document_has_one_key_a_table_and_a_blind_key() {
    let shelf = Shelf::sqlite();
    let keyring = shelf.create(&raw(1)).await.unwrap();
    keyring.create_account("1").await.unwrap();
    drop(keyring);
    let body = account_body(&shelf, "1").await;
    let keys = body["keys"].as_array().unwrap();
    assert_eq!(keys.len(), Table::ALL.len() + 1);
    assert_eq!(body["state"], "new");
    assert!(body["store_id"].is_null());
    let mut wrapped: Vec<_> = keys
        .iter()
        .map(|key| key["wrapped"].as_str().unwrap())
        .collect();
    wrapped.sort_unstable();
    wrapped.dedup();
    assert_eq!(wrapped.len(), keys.len());
    for table in Table::ALL {
        assert_eq!(
            keys.iter()
                .filter(|key| key["table"] == table.name())
                .count(),
            1
        );
    }
}
