//! A client runs everything on one runtime: while a history sync stores its secrets, or a passphrase
//! is stretched, messages must still be answered. So a batch works on a bounded number of records
//! between two chances for other tasks, and key derivation happens on another thread.
//!
//! Counted, not timed: times depend on the machine. The longest gaps are printed
//! (`cargo test --test fairness -- --nocapture`).

mod common;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealed_store::{BackendKeyring, KdfCost, Keyring, Passphrase, RECORDS_PER_POLL, SealedBackend};
use wacore::appstate::processor::AppStateMutationMAC;
use wacore::store::InMemoryBackend;
use wacore::store::traits::{
    AppSyncStore, DeviceInfo, DeviceListRecord, DeviceStore, LidPnMappingEntry, MsgSecretEntry,
    MsgSecretStore, PendingInboundKey, PendingInboundRow, ProtocolStore, SignalStore,
};

/// Which chance the ticker waits for.
#[derive(Clone, Copy)]
enum Wants {
    /// Its turn among the tasks that are ready.
    Turn,
    /// That the runtime looks at its timers and sockets, which tokio does after 61 turns at the
    /// latest, or when no task is ready.
    Driver,
}

/// After how many turns tokio looks at timers and sockets.
const TURNS: usize = 61;

// What follows counts in slices: without a bound of its own, a slice could grow to a whole history sync.
const _: () = assert!(RECORDS_PER_POLL <= 64);

struct Ticks {
    count: usize,
    longest: Duration,
    last: Instant,
}

impl Ticks {
    fn new() -> Self {
        Self {
            count: 0,
            longest: Duration::ZERO,
            last: Instant::now(),
        }
    }

    fn gap(&mut self) {
        self.longest = self.longest.max(self.last.elapsed());
        self.last = Instant::now();
    }
}

/// Runs `work` beside a task that only counts how often it gets its turn meanwhile, both on one
/// thread.
fn beside_a_ticker<T: Send + 'static>(
    wants: Wants,
    work: impl Future<Output = T> + Send + 'static,
) -> (T, Ticks) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .event_interval(u32::try_from(TURNS).unwrap())
        .enable_all()
        .build()
        .unwrap();
    let shared = Arc::new(Mutex::new(Ticks::new()));
    let ticks = Arc::clone(&shared);
    let worker = async move {
        tokio::task::yield_now().await; // The ticker ticks by now.
        *ticks.lock().unwrap() = Ticks::new();
        let value = work.await;
        let mut ticks = ticks.lock().unwrap();
        ticks.gap();
        (value, std::mem::replace(&mut *ticks, Ticks::new()))
    };
    runtime.block_on(async {
        let ticker = tokio::spawn(async move {
            loop {
                match wants {
                    Wants::Turn => turn().await,
                    Wants::Driver => tokio::task::yield_now().await,
                }
                let mut ticks = shared.lock().unwrap();
                ticks.count += 1;
                ticks.gap();
            }
        });
        let result = tokio::spawn(worker).await.unwrap();
        ticker.abort();
        result
    })
}

/// Goes to the end of the queue.
async fn turn() {
    let mut gone = false;
    poll_fn(|context| {
        if std::mem::replace(&mut gone, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn report(what: &str, records: usize, ticks: &Ticks) {
    println!(
        "{what}: {records} records, {} ticks, longest gap {:.1} ms",
        ticks.count,
        ticks.longest.as_secs_f64() * 1e3
    );
}

/// Runs a batch beside a task that wants its turn: at most `RECORDS_PER_POLL` records are worked on between
/// two turns. How often that task got its turn, too.
fn in_slices<T, F>(what: &str, records: usize, work: F) -> (T, usize)
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (value, ticks) = beside_a_ticker(Wants::Turn, work);
    report(&format!("{what}, other tasks"), records, &ticks);
    let slices = records.div_ceil(RECORDS_PER_POLL);
    assert!(
        ticks.count >= slices - 1,
        "{what}: {} of {slices}",
        ticks.count
    );
    (value, ticks.count)
}

/// Runs a batch beside a task that wants timers and sockets to be looked at, which happens after 61 turns at
/// the latest. A batch of fewer slices may be over before the first look, and shows nothing.
fn between_looks<T, F>(what: &str, records: usize, work: F)
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (_, ticks) = beside_a_ticker(Wants::Driver, work);
    report(&format!("{what}, timers and sockets"), records, &ticks);
    // One look may fall before the batch begins.
    let least = records.div_ceil(RECORDS_PER_POLL) / TURNS - 1;
    assert!(least > 0, "{what}: too few records to show anything");
    assert!(ticks.count >= least, "{what}: {} of {least}", ticks.count);
}

fn secrets(count: usize) -> Vec<MsgSecretEntry> {
    let entry = |i: usize| MsgSecretEntry {
        chat: "120363021033254949@g.us".into(),
        sender: "5511987650001@s.whatsapp.net".into(),
        msg_id: format!("3EB0{i:018X}").into(),
        secret: [i.to_le_bytes()[0]; 32],
        expires_at: 0,
        message_ts: 1_788_000_000,
    };
    (0..count).map(entry).collect()
}

fn mappings(count: usize) -> Vec<LidPnMappingEntry> {
    let entry = |i: usize| LidPnMappingEntry {
        lid: format!("1{i:014}"),
        phone_number: format!("44{i:010}"),
        created_at: 1,
        updated_at: 2,
        learning_source: "usync".into(),
    };
    (0..count).map(entry).collect()
}

fn prekeys(count: usize) -> Vec<(u32, Bytes)> {
    let ids = 1..=u32::try_from(count).unwrap();
    ids.map(|id| (id, Bytes::from(vec![7; 74]))).collect()
}

async fn sealed() -> SealedBackend<InMemoryBackend> {
    let store = common::seal(Arc::new(InMemoryBackend::new())).await;
    store.create().await.unwrap();
    store
}

/// Waits outside of what is measured.
fn ready<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn a_history_sync_leaves_room_for_other_tasks() {
    const RECORDS: usize = 95_000;
    // What the inner store does in its one call is its own: for comparison.
    let rows = secrets(2 * RECORDS);
    let (_, plain) = beside_a_ticker(Wants::Turn, async {
        InMemoryBackend::new().put_msg_secrets(rows).await.unwrap()
    });
    report(
        "the inner store's own call, twice as many",
        2 * RECORDS,
        &plain,
    );

    let store = ready(sealed());
    let last = secrets(RECORDS).pop().unwrap();
    let put = || {
        let (store, rows) = (store.clone(), secrets(RECORDS));
        async move { store.put_msg_secrets(rows).await.unwrap() }
    };
    between_looks("put_msg_secrets", RECORDS, put());
    let (stored, turns) = in_slices("put_msg_secrets", RECORDS, put());
    assert_eq!(stored, RECORDS);
    // Whatever the crate's own number is.
    assert!(turns >= 1_484, "only {turns} turns");
    let found = store.get_msg_secret(&last.chat, &last.sender, &last.msg_id);
    assert_eq!(ready(found).unwrap().unwrap(), last.secret);
}

#[test]
fn the_warm_up_of_the_mappings_leaves_room_for_other_tasks() {
    const RECORDS: usize = 10_000;
    let store = ready(sealed());
    let put = || {
        let (store, rows) = (store.clone(), mappings(RECORDS));
        async move { store.put_lid_mappings(&rows).await.unwrap() }
    };
    between_looks("put_lid_mappings", RECORDS, put());
    in_slices("put_lid_mappings", RECORDS, put());
    let get = || {
        let store = store.clone();
        async move { store.get_all_lid_mappings().await.unwrap() }
    };
    between_looks("get_all_lid_mappings", RECORDS, get());
    let (found, _) = in_slices("get_all_lid_mappings", RECORDS, get());
    assert_eq!(found.len(), RECORDS);
}

/// Turns alone: its 26 slices are over before the runtime has to look at timers and sockets once.
#[test]
fn the_prekeys_of_a_pairing_leave_room_for_other_tasks() {
    const RECORDS: usize = 812;
    let store = ready(sealed());
    let keys = prekeys(RECORDS);
    let ids: Vec<u32> = keys.iter().map(|key| key.0).collect();
    let writer = store.clone();
    in_slices("store_prekeys_batch", RECORDS, async move {
        writer.store_prekeys_batch(&keys, false).await.unwrap();
    });
    let (found, _) = in_slices("load_prekeys_batch", RECORDS, async move {
        store.load_prekeys_batch(&ids).await.unwrap()
    });
    assert_eq!(found.len(), RECORDS);
}

#[test]
fn a_passphrase_is_stretched_beside_the_runtime() {
    let cost = KdfCost {
        m_kib: 32 * 1024,
        passes: 3,
        lanes: 1,
    };
    let passphrase = move || Passphrase::new("correct horse battery staple").cost(cost);
    let documents = BackendKeyring::new(Arc::new(InMemoryBackend::new()));
    let (keyring, ticks) = beside_a_ticker(Wants::Driver, async move {
        Keyring::create(documents, &passphrase()).await.unwrap()
    });
    report("Argon2id, create", 1, &ticks);
    assert!(ticks.count >= 100, "{}", ticks.count);
    let (keyring, ticks) = beside_a_ticker(Wants::Driver, async move {
        keyring.lock();
        keyring.unlock(&passphrase()).await.unwrap();
        keyring
    });
    report("Argon2id, unlock", 1, &ticks);
    assert!(ticks.count >= 100, "{}", ticks.count);

    // A wrong one takes as long, and is no excuse either.
    let (_, ticks) = beside_a_ticker(Wants::Driver, async move {
        keyring.lock();
        let wrong = keyring.unlock(&Passphrase::new("wrong").cost(cost)).await;
        assert!(wrong.is_err());
    });
    assert!(ticks.count >= 100, "{}", ticks.count);
}

/// Polls until it is ready, and counts.
async fn polls<T>(future: impl Future<Output = T>) -> (T, usize) {
    let mut future = pin!(future);
    let mut count = 0;
    let value = poll_fn(|context| {
        count += 1;
        future.as_mut().poll(context)
    })
    .await;
    (value, count)
}

/// Every method that takes or gives a batch, whatever it does with a row.
#[tokio::test(flavor = "current_thread")]
async fn every_batch_is_worked_in_slices() {
    const SLICES: usize = 5;
    const RECORDS: usize = (SLICES - 1) * RECORDS_PER_POLL + 1;
    let store = sealed().await;
    let names: Vec<Arc<str>> = (0..RECORDS)
        .map(|i| format!("55119{i:08}:3@c.us.0").into())
        .collect();
    let records: Vec<(Arc<str>, Bytes)> = (names.iter())
        .map(|name| (Arc::clone(name), Bytes::from_static(b"record")))
        .collect();
    let mut short = Vec::new();
    macro_rules! sliced {
        ($method:ident($($arg:expr),*)) => {{
            let (value, polls) = polls(store.$method($($arg),*)).await;
            if polls < SLICES {
                short.push((stringify!($method), polls));
            }
            value.unwrap()
        }};
    }

    let identities: Vec<_> = names.iter().map(|name| (name.clone(), [7; 32])).collect();
    sliced!(put_identities_batch(&identities));
    sliced!(put_sessions_batch(&records));
    sliced!(put_sender_keys_batch(&records));
    sliced!(store_prekeys_batch(&prekeys(RECORDS), false));
    let ids: Vec<u32> = prekeys(RECORDS).iter().map(|key| key.0).collect();
    assert_eq!(sliced!(load_prekeys_batch(&ids)).len(), RECORDS);
    for &id in &ids {
        store.store_signed_prekey(id, b"record").await.unwrap();
    }
    assert_eq!(sliced!(load_all_signed_prekeys()).len(), RECORDS);

    let index: Vec<[u8; 32]> = (0..RECORDS)
        .map(|i| {
            let mut mac = [9; 32];
            mac[..8].copy_from_slice(&i.to_le_bytes());
            mac
        })
        .collect();
    let macs: Vec<_> = (index.iter())
        .map(|mac| AppStateMutationMAC {
            index_mac: mac.to_vec(),
            value_mac: vec![8; 32],
        })
        .collect();
    sliced!(put_mutation_macs("regular", 1, &macs));
    assert_eq!(sliced!(get_mutation_macs("regular", &index)).len(), RECORDS);
    let index: Vec<Vec<u8>> = index.iter().map(|mac| mac.to_vec()).collect();
    sliced!(delete_mutation_macs("regular", &index));

    let devices: Vec<(&str, bool)> = names.iter().map(|name| (&**name, true)).collect();
    sliced!(set_sender_key_status("1@g.us", &devices));
    assert_eq!(sliced!(get_sender_key_devices("1@g.us")).len(), RECORDS);
    let devices: Vec<&str> = devices.iter().map(|device| device.0).collect();
    sliced!(delete_sender_key_device_rows(&devices));

    sliced!(put_lid_mappings(&mappings(RECORDS)));
    assert_eq!(sliced!(get_all_lid_mappings()).len(), RECORDS);
    let lists = (names.iter()).map(|name| DeviceListRecord {
        user: name.to_string(),
        devices: vec![DeviceInfo::new(0, None)],
        timestamp: 1,
        phash: None,
        raw_id: None,
    });
    sliced!(update_device_lists(lists.collect()));
    for name in &names {
        let token = store.store_received_tc_token(name, b"token", 1);
        token.await.unwrap();
    }
    assert_eq!(sliced!(get_all_tc_token_jids()).len(), RECORDS);

    let pending: Vec<_> = (names.iter())
        .map(|name| PendingInboundRow {
            chat: "1@lid",
            sender: name,
            id: "3EB0",
            message: b"message",
        })
        .collect();
    sliced!(store_pending_inbound_batch(&pending));
    let keys: Vec<_> = (names.iter())
        .map(|name| PendingInboundKey {
            chat: "1@lid",
            sender: name,
            id: "3EB0",
        })
        .collect();
    sliced!(delete_pending_inbound_batch(&keys));
    assert_eq!(sliced!(put_msg_secrets(secrets(RECORDS))), RECORDS);
    assert!(short.is_empty(), "worked in too few polls: {short:?}");
}
