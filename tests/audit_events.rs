//! The events of a key's whole life, in order, and nothing in them that tells whose it is: an audit
//! log is read by more people than the store, and a log that holds a label or a path has leaked it.

#[path = "common/collecting.rs"]
mod collecting;
mod support;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use collecting::Collecting;
use sealed_store::{
    AuditEvent, AuditSink, JsonLinesSink, KeyProvider, Keyring, KeyringOptions, NewSlot, Probe,
    ProviderError, ProviderErrorKind, RawRow, Recipe, SealError, SealedBackend, SlotContext,
    SqliteKeyring, Table, TracingSink,
};
use secrecy::SecretBox;
use serde_json::Value;
use support::{Events, Remote, Shelf, Store, eventually, passphrase, raw, refused};
use wacore::store::traits::{DeviceStore, SignalStore};
use whatsapp_rust_sqlite_storage::SqliteStore;

/// Planted in everything that a caller names.
const CANARY: &str = "canary";

/// A key's life, on a file under a path with a canary in it.
async fn whole_life(sink: Arc<dyn AuditSink>) -> [String; 2] {
    let folder = tempfile::Builder::new().prefix(CANARY).tempdir().unwrap();
    let file = folder.path().join(format!("{CANARY}.db"));
    let store = || Store(Arc::new(SqliteKeyring::at(&file)));
    let options = || {
        KeyringOptions::new()
            .label(format!("{CANARY} one"))
            .audit(Arc::clone(&sink))
    };
    let first = passphrase("canary-passphrase");
    let second = passphrase("canary-passphrase-2");

    let keyring = options().create(store(), &first).await.unwrap();
    let account = keyring.create_account("canary-account").await.unwrap();
    keyring.account_or_create("canary-account").await.unwrap();
    keyring
        .add_slot(&format!("{CANARY} two"), &raw(2))
        .await
        .unwrap();
    let slot = keyring.change_passphrase(1, &first, &second).await.unwrap();
    keyring.remove_slot(2).await.unwrap();
    account
        .rotate_data_keys(&[Table::Session, Table::Device, Table::Session])
        .await
        .unwrap();
    keyring.lock();
    keyring.lock();
    refused(keyring.unlock(&first).await);
    keyring.unlock(&second).await.unwrap();
    keyring.rotate_root(&[(slot, &second)], &[]).await.unwrap();
    let ids = [hex::encode(keyring.id()), hex::encode(account.uid())];
    drop((keyring, account));

    refused(options().open(store(), &first).await);
    refused(options().open(store(), &Remote::new(CANARY, [1; 32])).await);
    let keyring = options().open(store(), &second).await.unwrap();
    keyring.account("canary-account").await.unwrap();
    keyring.auto_lock(Some(std::time::Duration::ZERO)).unwrap();
    eventually("closed", || !keyring.is_open()).await;
    ids
}

#[tokio::test]
async fn the_events_of_a_whole_life_come_in_order() {
    let events = Events::default();
    let [keyring, account] = whole_life(Arc::new(events.clone())).await;
    eventually("the last event", || {
        matches!(
            events.seen().last(),
            Some(AuditEvent::KeysWiped { idle: true, .. })
        )
    })
    .await;
    let reason = SealError::WrongKey.to_string();
    let generation = |table| AuditEvent::GenerationCreated {
        account: account.clone(),
        table,
        generation: 2,
    };
    let opened = |slot| AuditEvent::KeyringOpened {
        keyring: keyring.clone(),
        slot,
    };
    let refused = |provider: &str| AuditEvent::OpenRefused {
        keyring: keyring.clone(),
        provider: provider.into(),
        reason: reason.clone(),
    };
    let wiped = |idle| AuditEvent::KeysWiped {
        keyring: keyring.clone(),
        idle,
    };
    let account_opened = AuditEvent::AccountOpened {
        keyring: keyring.clone(),
        account: account.clone(),
    };
    assert_eq!(
        events.seen(),
        [
            AuditEvent::KeyringCreated {
                keyring: keyring.clone()
            },
            AuditEvent::AccountCreated {
                keyring: keyring.clone(),
                account: account.clone()
            },
            account_opened.clone(),
            AuditEvent::SlotAdded {
                keyring: keyring.clone(),
                slot: 2,
                provider: "raw-key".into()
            },
            AuditEvent::SlotChanged {
                keyring: keyring.clone(),
                slot: 3
            },
            AuditEvent::SlotRemoved {
                keyring: keyring.clone(),
                slot: 2
            },
            generation(Table::Session),
            generation(Table::Device),
            wiped(false),
            refused("passphrase"),
            opened(3),
            AuditEvent::RootRotationStarted {
                keyring: keyring.clone(),
                root: 2
            },
            AuditEvent::RootRotationFinished {
                keyring: keyring.clone(),
                root: 2
            },
            // With its last handle.
            wiped(false),
            refused("passphrase"),
            refused("remote"),
            opened(4),
            account_opened,
            wiped(true),
        ]
    );
}

/// A buffer that can be read while a sink holds it.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_line_is_one_object_and_names_nobody() {
    let written = Shared::default();
    let sink = Arc::new(JsonLinesSink::new(written.clone()));
    let before = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let [keyring, account] = whole_life(sink.clone()).await;
    let text = || String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    eventually("the last event", || text().contains("\"idle\":true")).await;
    let text = text();
    assert!(text.ends_with('\n'));
    assert_eq!(text.lines().count(), 19);
    for line in text.lines() {
        let Value::Object(fields) = serde_json::from_str(line).unwrap() else {
            panic!("{line}");
        };
        assert!(fields["time"].as_u64().unwrap() >= before);
        let event = fields["event"].as_str().unwrap();
        assert!(!event.is_empty() && event.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        for (field, id) in [("keyring", &keyring), ("account", &account)] {
            assert!(fields.get(field).is_none_or(|found| found == id), "{line}");
        }
        assert!(fields.contains_key("keyring") || fields.contains_key("account"));
    }
    let lower = text.to_lowercase();
    for canary in [
        CANARY,
        "passphrase-2",
        &hex::encode(CANARY),
        "one\"",
        "/tmp",
    ] {
        assert!(!lower.contains(canary), "{canary} is in the events");
    }
    assert_eq!(sink.failures(), 0);
}

/// A writer that fails as often as told, and then takes only a part of each line at a time.
struct Failing {
    left: usize,
    flushes: bool,
    taken: Vec<u8>,
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left > 0 && !self.flushes {
            self.left -= 1;
            return Err(io::Error::other("the disk is full"));
        }
        let part = bytes.len().min(7);
        self.taken.extend_from_slice(&bytes[..part]);
        Ok(part)
    }
    fn flush(&mut self) -> io::Result<()> {
        if self.left > 0 && self.flushes {
            self.left -= 1;
            return Err(io::Error::other("the disk is full"));
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_writer_that_fails_is_counted_and_fails_nothing_else() {
    for flushes in [false, true] {
        let shelf = Shelf::backend();
        let sink = Arc::new(JsonLinesSink::new(Failing {
            left: 3,
            flushes,
            taken: Vec::new(),
        }));
        let keyring = KeyringOptions::new()
            .audit(sink.clone())
            .create(shelf.store(), &raw(1))
            .await
            .unwrap();
        keyring.create_account("1").await.unwrap();
        assert_eq!(sink.failures(), 3);
        keyring.add_slot("two", &raw(2)).await.unwrap();
        keyring.remove_slot(2).await.unwrap();
        assert_eq!(sink.failures(), 3);
        drop(keyring);
        let Ok(sink) = Arc::try_unwrap(sink) else {
            panic!("the keyring keeps its sink");
        };
        let text = String::from_utf8(sink.into_inner().taken).unwrap();
        let expected = if flushes { 6 } else { 3 };
        assert_eq!(text.lines().count(), expected, "{text}");
        for line in text.lines() {
            serde_json::from_str::<Value>(line).unwrap();
        }
    }
}

/// A refusal is what an auditor looks for first: a keyring that is gone, one that was put back, and an account
/// document that is gone, damaged or put back are events, each with the error's own words.
#[tokio::test]
async fn every_refusal_to_open_is_an_event() {
    for shelf in Shelf::both() {
        let events = Events::default();
        let options = || KeyringOptions::new().audit(Arc::new(events.clone()));
        let open_refused = |keyring: &str, error: &SealError| AuditEvent::OpenRefused {
            keyring: keyring.to_owned(),
            provider: "raw-key".into(),
            reason: error.to_string(),
        };
        let error = refused(options().open(shelf.store(), &raw(1)).await);
        assert_eq!(events.take(), [open_refused("unknown", &error)]);
        let pinned = options().pin_id([7; 16]);
        let error = refused(pinned.open_or_create(shelf.store(), &raw(1)).await);
        assert_eq!(events.take(), [open_refused("unknown", &error)]);

        // A first run is no refusal.
        let made = options().open_or_create(shelf.store(), &raw(1)).await;
        let keyring = made.unwrap();
        keyring.account_or_create("1").await.unwrap();
        let id = hex::encode(keyring.id());
        drop(keyring);
        let refusals = |seen: Vec<AuditEvent>| {
            let refusal = |event: &AuditEvent| {
                matches!(
                    event,
                    AuditEvent::OpenRefused { .. } | AuditEvent::DocumentRefused { .. }
                )
            };
            seen.into_iter().filter(refusal).collect::<Vec<_>>()
        };
        assert_eq!(refusals(events.take()), []);

        let error = refused(options().pin_id([7; 16]).open(shelf.store(), &raw(1)).await);
        assert_eq!(events.take(), [open_refused(&id, &error)]);
        let pinned = options().pin_revision("keyring", 1000);
        let error = refused(pinned.open(shelf.store(), &raw(1)).await);
        assert!(matches!(error, SealError::RolledBack { .. }));
        assert_eq!(events.take(), [open_refused(&id, &error)]);

        let account_refused = |error: &SealError| AuditEvent::DocumentRefused {
            keyring: id.clone(),
            document: "account".into(),
            reason: error.to_string(),
        };
        let pinned = options().pin_revision("account:1", 1000);
        let keyring = pinned.open(shelf.store(), &raw(1)).await.unwrap();
        let error = refused(keyring.account("1").await);
        assert!(matches!(error, SealError::RolledBack { .. }));
        assert_eq!(refusals(events.take()), [account_refused(&error)]);
        drop(keyring);
        let keyring = options().open(shelf.store(), &raw(1)).await.unwrap();
        refused(keyring.account("nobody").await);
        assert_eq!(refusals(events.take()), []);
    }
}

/// Whoever tries secrets through a change of slots is seen, as at the door.
#[tokio::test]
async fn a_slot_that_was_not_opened_is_an_event() {
    let events = Events::default();
    let shelf = Shelf::backend();
    let options = KeyringOptions::new().audit(Arc::new(events.clone()));
    let keyring = options.create(shelf.store(), &raw(1)).await.unwrap();
    events.take();
    let keyring_id = hex::encode(keyring.id());
    let refusal = |provider: &str, error: &SealError| AuditEvent::SlotRefused {
        keyring: keyring_id.clone(),
        slot: 1,
        provider: provider.into(),
        reason: error.to_string(),
    };
    let error = refused(keyring.change_passphrase(1, &raw(2), &raw(3)).await);
    assert!(matches!(error, SealError::WrongKey));
    assert_eq!(events.take(), [refusal("raw-key", &error)]);
    let words = passphrase("words");
    let error = refused(keyring.rotate_root(&[(1, &words)], &[]).await);
    assert!(matches!(error, SealError::WrongKey));
    assert_eq!(events.take(), [refusal("passphrase", &error)]);
}

/// What a provider says about its failure is in the log: denied is not unreachable.
#[tokio::test]
async fn a_refusal_says_what_the_provider_said() {
    let events = Events::default();
    let shelf = Shelf::backend();
    drop(Keyring::create(shelf.store(), &raw(1)).await.unwrap());
    let options = KeyringOptions::new().audit(Arc::new(events.clone()));
    let error = refused(options.open(shelf.store(), &Away).await);
    let SealError::Provider(said) = &error else {
        panic!("{error:?}");
    };
    let seen = events.take();
    let [AuditEvent::OpenRefused { reason, .. }] = &seen[..] else {
        panic!("{seen:?}");
    };
    assert_eq!(*reason, format!("{error}: {said}"));
    assert!(reason.contains("start the key service"), "{reason}");
    // The service's own words may name anything.
    assert!(!reason.contains(CANARY), "{reason}");
}

/// A provider whose service does not answer.
struct Away;

#[async_trait]
impl KeyProvider for Away {
    fn kind(&self) -> &str {
        "raw-key"
    }

    async fn generate(&self, _: &SlotContext) -> Result<NewSlot, ProviderError> {
        panic!("no slot is made with it");
    }

    async fn unwrap_secret(
        &self,
        _: &SlotContext,
        _: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        let kind = ProviderErrorKind::Unavailable;
        Err(ProviderError::new(kind, "start the key service, then try again").with_source(CANARY))
    }

    async fn probe(&self) -> Result<Probe, ProviderError> {
        panic!("it is not probed");
    }
}

/// A store's events, from its binding to rows that do not open, each once and in order.
#[tokio::test]
async fn the_events_of_a_store_come_in_order() {
    let events = Events::default();
    let shelf = Shelf::backend();
    let options = KeyringOptions::new().audit(Arc::new(events.clone()));
    let keyring = options.create(shelf.store(), &raw(1)).await.unwrap();
    let account = keyring.create_account("1").await.unwrap();
    let other = keyring.create_account("2").await.unwrap();
    events.take();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.db");
    let inner = Arc::new(SqliteStore::new(path.to_str().unwrap()).await.unwrap());
    let store = SealedBackend::open(Arc::clone(&inner), account.clone())
        .await
        .unwrap();
    store.create().await.unwrap();
    let id = hex::encode(account.uid());
    let state = |state: &str| AuditEvent::AccountState {
        account: id.clone(),
        state: state.into(),
    };
    let seen = events.take();
    let Some(AuditEvent::StoreBound {
        account: bound,
        store: store_id,
    }) = seen.first()
    else {
        panic!("{seen:?}");
    };
    assert_eq!((bound, store_id.len()), (&id, 32));
    assert_eq!(seen[1..], [state("initialising"), state("live")]);

    let of_other = hex::encode(other.uid());
    let error = refused(
        SealedBackend::open(Arc::clone(&inner), other)
            .await
            .map(drop),
    );
    assert!(matches!(error, SealError::WrongKeyring));
    let store_refused = |account: &str, error: &SealError| AuditEvent::StoreRefused {
        account: account.to_owned(),
        reason: error.to_string(),
    };
    assert_eq!(events.take(), [store_refused(&of_other, &error)]);

    // A row that is not ours, in the store and by itself.
    inner.store_prekey(7, b"in the clear", false).await.unwrap();
    let error = store.load_prekey(7).await.unwrap_err();
    let row_refused = |error: &SealError| AuditEvent::RowRefused {
        account: id.clone(),
        table: Table::PreKey,
        reason: error.to_string(),
        treated_as_missing: false,
    };
    let error = SealError::of(&error).unwrap();
    assert_eq!(events.take(), [row_refused(error)]);
    let record = b"in the clear";
    let error = refused(account.restore(RawRow::PreKey { id: 7, record }));
    assert_eq!(events.take(), [row_refused(&error)]);

    // The store is emptied while it is open.
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute("DELETE FROM sessions", []).unwrap();
    let error = store.load().await.map(drop).unwrap_err();
    let error = SealError::of(&error).unwrap();
    assert!(matches!(error, SealError::StoreEmptied));
    assert_eq!(events.take(), [store_refused(&id, error)]);
}

/// The default sink. On a runtime of one thread, so that the subscriber of this thread sees all but
/// what the idle watcher says.
#[test]
fn the_tracing_sink_emits_each_event() {
    let collected = Collecting::default();
    let subscriber = collected.clone();
    tracing::subscriber::with_default(subscriber, || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(async {
                whole_life(Arc::new(TracingSink)).await;
                // And it is what a keyring that was not told otherwise uses.
                let shelf = Shelf::backend();
                drop(Keyring::create(shelf.store(), &raw(1)).await.unwrap());
            });
    });
    let collected = collected.0.lock().unwrap();
    let events: Vec<_> = collected
        .iter()
        .filter(|(target, ..)| target == "sealed_store::audit")
        .collect();
    assert_eq!(events.len(), 18 + 2);
    for (_, level, text) in &events {
        let refused = text.contains("OpenRefused");
        let expected = if refused {
            tracing::Level::WARN
        } else {
            tracing::Level::INFO
        };
        assert_eq!(*level, expected, "{text}");
    }
    // Nothing that any part of the library emits names anybody.
    for (_, _, text) in collected.iter() {
        assert!(!text.to_lowercase().contains(CANARY), "{text}");
    }
}
