//! The whole point of a decorator is the client on top: `whatsapp-rust` itself must run on a sealed
//! store, find its account after a restart, and come to no harm where people make the two likely
//! mistakes: a plain client on the sealed file, and `lock` under a running client.

mod common;
#[path = "../examples/quickstart/conversation.rs"]
mod conversation;
#[path = "../examples/quickstart/offline.rs"]
mod offline;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{file_keyring, raw_key, sqlite, sqlite_device};
use conversation::{GROUP, Party, Secrets, bookkeeping, exchange, group, introduce};
use offline::offline_bot;
use sealed_store::testing::{FaultyBackend, RUNTIME_ONLY, assert_same_device};
use sealed_store::{BackendKeyring, Keyring, SealError, SealedBackend, Table};
use wacore::runtime::ShutdownNotifier;
use wacore::store::error::StoreError;
use wacore::store::traits::{
    Backend, DeviceStore, LidPnMappingEntry, ProtocolStore, SignalStore, TcTokenEntry,
};
use wacore::store::{Device, InMemoryBackend};
use whatsapp_rust::TokioRuntime;
use whatsapp_rust::bot::BotBuilderError;
use whatsapp_rust::store::persistence_manager::PersistenceManager;

const ALICE: [&str; 3] = [
    "Alice Example",
    "5511987650001:3@s.whatsapp.net",
    "161803398874989:3@lid",
];
const BOB: [&str; 3] = [
    "Bob Example",
    "447700900123:7@s.whatsapp.net",
    "200000087654321:7@lid",
];

async fn party([label, jid, lid]: [&str; 3], backend: Arc<dyn Backend>) -> Party {
    Party::open(label, jid, lid, backend).await.unwrap()
}

/// Both parties in one file, each an account of the keyring that is in it too.
async fn parties(path: &Path) -> (Keyring, Party, Party) {
    let keyring = file_keyring(path).await;
    let mut parties = Vec::new();
    for (device, who) in [(1, ALICE), (2, BOB)] {
        let account = keyring
            .account_or_create(&device.to_string())
            .await
            .unwrap();
        let inner = sqlite_device(path, device).await;
        let backend = SealedBackend::open(inner, account).await.unwrap();
        parties.push(party(who, Arc::new(backend)).await);
    }
    let bob = parties.pop().unwrap();
    (keyring, parties.pop().unwrap(), bob)
}

async fn devices(parties: [&Party; 2]) -> [Device; 2] {
    let [one, two] = parties.map(|party| Arc::clone(&party.backend));
    [one.load().await, two.load().await].map(|device| device.unwrap().unwrap())
}

/// The error of ours behind any error, however the client wrapped it.
#[track_caller]
fn ours<'a>(error: &'a (dyn Error + 'static)) -> &'a SealError {
    let mut layer = Some(error);
    while let Some(current) = layer {
        // The client tries again where it finds one of these words.
        let text = current.to_string().to_lowercase();
        assert!(!text.contains("locked") && !text.contains("busy"), "{text}");
        if let Some(found) = current.downcast_ref() {
            return found;
        }
        layer = current.source();
    }
    panic!("not an error of ours: {error:?}")
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_bot_is_built_on_a_sealed_store_and_finds_its_account() {
    let folder = tempfile::tempdir().unwrap();
    let in_memory: Arc<dyn Backend> = Arc::new(InMemoryBackend::new());
    let stores: [Arc<dyn Backend>; 2] = [
        // The inner store as a trait object, as a client has it.
        Arc::new(common::seal(in_memory).await),
        Arc::new(common::sealed_file(&folder.path().join("wa.db")).await),
    ];
    for store in stores {
        // A first run makes a device, and a second one finds the same.
        assert!(!store.exists().await.unwrap());
        let bot = offline_bot(Arc::clone(&store)).await.unwrap();
        assert!(bot.client().pn().is_none(), "not paired yet");
        drop(bot);
        assert!(store.exists().await.unwrap());
        let made = store.load().await.unwrap().unwrap();

        let alice = party(ALICE, Arc::clone(&store)).await;
        alice.close().await.unwrap();
        let bot = offline_bot(Arc::clone(&store)).await.unwrap();
        let client = bot.client();
        assert_eq!(client.push_name(), ALICE[0]);
        assert_eq!(client.pn().unwrap().to_string(), ALICE[1]);
        assert_eq!(client.lid().unwrap().to_string(), ALICE[2]);
        let found = client.persistence_manager().get_device_snapshot();
        for (a, b) in [
            (&found.identity_key, &made.identity_key),
            (&found.noise_key, &made.noise_key),
        ] {
            assert_eq!(a.private_key.serialize(), b.private_key.serialize());
        }
    }
}

#[tokio::test]
async fn what_a_client_keeps_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wa.db");
    let mut secrets = Secrets::default();

    let (keyring, alice, bob) = parties(&path).await;
    introduce(&alice, &bob, &mut secrets).await.unwrap();
    exchange(&alice, &bob, 12, &mut secrets).await.unwrap();
    group(&alice, &bob, 6, &mut secrets).await.unwrap();
    for party in [&alice, &bob] {
        bookkeeping(party, &mut secrets).await.unwrap();
    }
    let before = devices([&alice, &bob]).await;
    alice.close().await.unwrap();
    bob.close().await.unwrap();
    drop(keyring);

    for _ in 0..2 {
        let (keyring, alice, bob) = parties(&path).await;
        let after = devices([&alice, &bob]).await;
        for (after, before) in after.iter().zip(&before) {
            assert_same_device(after, before, RUNTIME_ONLY);
        }
        for (party, who) in [(&alice, ALICE), (&bob, BOB)] {
            let device = party.manager.get_device_snapshot();
            assert_eq!(device.push_name, who[0]);
            conversation::verify_bookkeeping(party).await.unwrap();
        }
        // Each checks that no new handshake was needed and that no sender key was forgotten.
        exchange(&alice, &bob, 6, &mut secrets).await.unwrap();
        group(&alice, &bob, 4, &mut secrets).await.unwrap();
        alice.close().await.unwrap();
        bob.close().await.unwrap();
        drop(keyring);
    }
}

/// Somebody forgets the seal and starts a plain client on the sealed file.
#[tokio::test]
async fn a_plain_client_on_the_sealed_file_leaves_the_account_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wa.db");
    let mut secrets = Secrets::default();
    let (keyring, alice, bob) = parties(&path).await;
    introduce(&alice, &bob, &mut secrets).await.unwrap();
    exchange(&alice, &bob, 4, &mut secrets).await.unwrap();
    group(&alice, &bob, 4, &mut secrets).await.unwrap();
    bookkeeping(&alice, &mut secrets).await.unwrap();
    let before = devices([&alice, &bob]).await;
    let addresses = [
        BOB[1],
        BOB[2],
        "200000087654321.7",
        "200000087654321:7@lid.0",
    ];
    alice.close().await.unwrap();
    bob.close().await.unwrap();
    drop(keyring);

    for round in ["once", "twice"] {
        let inner = sqlite(&path).await;
        let plain = PersistenceManager::new(inner.clone()).await.unwrap();
        let device = plain.get_device_snapshot();
        assert!(!device.is_registered() || round == "twice", "not Alice's");
        let theirs = device.identity_key.private_key.serialize();
        assert_ne!(theirs, before[0].identity_key.private_key.serialize());
        let full = sealed_store::testing::full_device();
        plain
            .modify_device(|device| {
                device.push_name = format!("Mallory {round}");
                (device.pn, device.lid) = (full.pn, full.lid);
                device.server_has_prekeys = true;
            })
            .await;
        plain.flush().await.unwrap();
        // What it writes about the same contacts lands in rows of its own, and hides nothing.
        for address in addresses {
            inner.put_session(address, b"plain").await.unwrap();
            inner.put_identity(address, [1; 32]).await.unwrap();
            inner.put_sender_key(address, b"plain").await.unwrap();
            inner.delete_session(address).await.unwrap();
            inner.delete_identity(address).await.unwrap();
            let key = &b"plain"[..];
            inner.save_base_key(address, "3EB0", key).await.unwrap();
            inner
                .store_sent_message(address, "3EB0", key)
                .await
                .unwrap();
        }
        let rows = [("1:1@s.whatsapp.net", true)];
        inner
            .set_sender_key_status("other@g.us", &rows)
            .await
            .unwrap();
        offline_bot(inner).await.unwrap();

        let (keyring, alice, bob) = parties(&path).await;
        let after = devices([&alice, &bob]).await;
        for (after, before) in after.iter().zip(&before) {
            assert_same_device(after, before, RUNTIME_ONLY);
        }
        assert_eq!(alice.manager.get_device_snapshot().push_name, ALICE[0]);
        conversation::verify_bookkeeping(&alice).await.unwrap();
        exchange(&alice, &bob, 6, &mut secrets).await.unwrap();
        group(&alice, &bob, 4, &mut secrets).await.unwrap();
        alice.close().await.unwrap();
        bob.close().await.unwrap();
        drop(keyring);
    }
}

/// What a plain client that went on to pair would write over, or between, sealed rows: numbers are
/// clear, and lists show every row. It is told as what it is, and no plain value is ever answered.
#[tokio::test]
async fn a_plain_row_among_sealed_ones_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wa.db");
    let sealed = common::sealed_file(&path).await;
    sealed.create().await.unwrap();
    let inner = Arc::clone(sealed.inner());
    for id in [1, 2] {
        sealed.store_prekey(id, b"sealed", false).await.unwrap();
    }
    inner.store_prekey(1, b"plain", false).await.unwrap();
    let told = |error: StoreError, expected| {
        assert!(!error.is_database_busy_or_locked());
        let error = ours(&error);
        assert!(
            matches!(error, SealError::Unsealed { table: Some(table) } if *table == expected),
            "{error:?}"
        );
    };
    told(sealed.load_prekey(1).await.unwrap_err(), Table::PreKey);
    let both = sealed.load_prekeys_batch(&[1, 2]).await;
    told(both.unwrap_err(), Table::PreKey);
    assert_eq!(
        &sealed.load_prekey(2).await.unwrap().unwrap()[..],
        b"sealed"
    );

    let mapping = |lid: &str| LidPnMappingEntry {
        lid: lid.into(),
        phone_number: format!("4477{lid}"),
        created_at: 1,
        updated_at: 1,
        learning_source: "usync".into(),
    };
    sealed.put_lid_mapping(&mapping("1")).await.unwrap();
    inner.put_lid_mapping(&mapping("2")).await.unwrap();
    told(
        sealed.get_all_lid_mappings().await.unwrap_err(),
        Table::LidMapping,
    );
    assert!(sealed.get_lid_mapping("1").await.unwrap().is_some());
    assert!(sealed.get_lid_mapping("2").await.unwrap().is_none());

    let token = TcTokenEntry {
        token: b"plain".to_vec(),
        token_timestamp: 1,
        sender_timestamp: None,
    };
    sealed.put_tc_token("1@lid", &token).await.unwrap();
    inner.put_tc_token("2@lid", &token).await.unwrap();
    let error = sealed.get_all_tc_token_jids().await.unwrap_err();
    assert!(
        matches!(ours(&error), SealError::Corrupt { .. }),
        "{error:?}"
    );
    assert!(sealed.get_tc_token("1@lid").await.unwrap().is_some());
    assert!(sealed.get_tc_token("2@lid").await.unwrap().is_none());
}

/// A client that runs on while its keyring is closed: it fails at once and with the right error,
/// gives up its saver, does not hammer the store, and nothing is lost.
#[tokio::test]
async fn a_running_client_under_lock_fails_whole_and_a_rebuilt_one_goes_on() {
    let inner = Arc::new(FaultyBackend::new(Arc::new(InMemoryBackend::new())));
    let documents = BackendKeyring::new(Arc::new(InMemoryBackend::new()));
    let keyring = Keyring::create(documents, &raw_key()).await.unwrap();
    let account = keyring.create_account("1").await.unwrap();
    let sealed = SealedBackend::open(Arc::clone(&inner), account)
        .await
        .unwrap();
    // Counts what the client asks for, as `inner` counts what arrives.
    let asked = Arc::new(FaultyBackend::new(Arc::new(sealed)));
    let saves = || asked.log().iter().filter(|name| **name == "save").count();

    let mut secrets = Secrets::default();
    let alice = party(ALICE, asked.clone()).await;
    let bob = party(BOB, Arc::new(InMemoryBackend::new())).await;
    introduce(&alice, &bob, &mut secrets).await.unwrap();
    exchange(&alice, &bob, 4, &mut secrets).await.unwrap();
    let before = asked.load().await.unwrap().unwrap();

    keyring.lock();
    asked.clear();
    inner.clear();
    let manager = Arc::clone(&alice.manager);
    let closed = |error: &StoreError| {
        assert!(
            !error.is_database_busy_or_locked(),
            "it would be tried again"
        );
        assert!(matches!(SealError::of(error), Some(SealError::NotOpen)));
        assert!(matches!(ours(error), SealError::NotOpen));
    };
    manager
        .modify_device(|device| device.login_counter += 1)
        .await;
    closed(&manager.flush().await.unwrap_err());
    closed(&manager.get_sender_key_devices(GROUP).await.unwrap_err());
    let status = [(BOB[1], true)];
    let set = manager.set_sender_key_status(GROUP, &status).await;
    closed(&set.unwrap_err());
    let error = exchange(&alice, &bob, 1, &mut Secrets::default()).await;
    assert!(matches!(
        ours(error.unwrap_err().as_ref()),
        SealError::NotOpen
    ));
    // No new client is made of it, and above all no new device.
    closed(&asked.exists().await.unwrap_err());
    closed(&asked.load().await.err().unwrap());
    closed(&PersistenceManager::new(asked.clone()).await.err().unwrap());
    match offline_bot(asked.clone()).await.err().unwrap() {
        BotBuilderError::Store(error) => closed(&error),
        other => panic!("{other:?}"),
    }
    assert_eq!(inner.log(), [""; 0], "nothing went through");

    // The saver gives up after ten failures, none of which reached the store.
    asked.clear();
    let runtime = Arc::new(TokioRuntime);
    let shutdown = ShutdownNotifier::new();
    let saver = manager.clone().run_background_saver(
        runtime.clone(),
        Duration::from_millis(1),
        shutdown.subscribe(),
    );
    manager
        .modify_device(|device| device.login_counter += 1)
        .await;
    eventually("halted", async || manager.is_saver_halted()).await;
    eventually("its task has ended", async || {
        Arc::strong_count(&runtime) == 1
    })
    .await;
    assert_eq!(saves(), 10);
    assert_eq!(inner.log(), [""; 0], "nothing went through");

    // Unlocked, the old client's saver stays down; asked to, it saves what it still has.
    keyring.unlock(&raw_key()).await.unwrap();
    assert!(manager.is_saver_halted());
    let stored = asked.load().await.unwrap().unwrap();
    assert_same_device(&stored, &before, RUNTIME_ONLY);
    manager
        .modify_device(|device| device.login_counter += 1)
        .await;
    manager.flush().await.unwrap();
    assert!(manager.is_saver_halted(), "for good");
    let stored = asked.load().await.unwrap().unwrap();
    assert_eq!(stored.login_counter, before.login_counter + 3);
    drop((saver, manager));
    alice.close().await.unwrap();

    // A rebuilt one works, saver and conversation.
    let alice = party(ALICE, asked.clone()).await;
    let manager = Arc::clone(&alice.manager);
    assert!(!manager.is_saver_halted());
    let _saver = manager.clone().run_background_saver(
        runtime.clone(),
        Duration::from_millis(1),
        shutdown.subscribe(),
    );
    manager
        .modify_device(|device| device.login_counter = 77)
        .await;
    eventually("saved by itself", async || {
        let stored = asked.load().await.unwrap().unwrap();
        stored.login_counter == 77
    })
    .await;
    exchange(&alice, &bob, 4, &mut secrets).await.unwrap();
    group(&alice, &bob, 4, &mut secrets).await.unwrap();
    assert!(!manager.is_saver_halted());
}
