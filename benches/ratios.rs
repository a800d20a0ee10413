//! What sealing costs, as ratios: the same work plain (A) and sealed (B), interleaved in one loop.
//!
//! `cargo bench` prints, for each line, the median of the rounds' ratios B ÷ A, their lowest and
//! highest, the medians of A and B, and the limit that the project set itself. Each round times both,
//! in alternating order, with a different value every call (SQLite skips an identical overwrite).
//! `cargo bench -- 41` runs 41 rounds instead of 21. Nothing fails here: a bench reports.

use std::future::Future;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use bytes::Bytes;
use hmac::{Hmac, Mac};
use sealed_store::testing::{Primitives, full_device};
use sealed_store::{Account, Keyring, RawKey, SealedBackend, SqliteKeyring};
use secrecy::SecretBox;
use sha2::Sha256;
use tokio::runtime::Runtime;
use wacore::appstate::hash::HashState;
use wacore::appstate::processor::AppStateMutationMAC;
use wacore::store::traits::*;
use whatsapp_rust_sqlite_storage::SqliteStore;

/// One line of the report: what, its limit, calls a round, and rows a call.
struct Line(&'static str, &'static str, u64, u64);

struct Bench {
    rounds: usize,
    runtime: Runtime,
}

/// The middle, the lowest and the highest.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (
        values[values.len() / 2],
        values[0],
        values[values.len() - 1],
    )
}

impl Bench {
    /// Times `a` and `b`, each given a number that never repeats, and prints a line.
    fn compare(&self, line: Line, mut a: impl FnMut(u64), mut b: impl FnMut(u64)) {
        let Line(what, limit, calls, per) = line;
        let mut next = 0;
        let mut time = |work: &mut dyn FnMut(u64)| {
            let start = Instant::now();
            for _ in 0..calls {
                next += 1;
                work(next);
            }
            start.elapsed().as_nanos() as f64 / (calls * per) as f64
        };
        let (mut plain, mut sealed, mut ratios) = (vec![], vec![], vec![]);
        for round in 0..=self.rounds {
            let (x, y) = if round % 2 == 0 {
                let x = time(&mut a);
                (x, time(&mut b))
            } else {
                let y = time(&mut b);
                (time(&mut a), y)
            };
            // The first round warms up.
            if round > 0 {
                plain.push(x);
                sealed.push(y);
                ratios.push(y / x);
            }
        }
        let (ratio, low, high) = spread(ratios);
        let (x, y) = (spread(plain).0 / 1000.0, spread(sealed).0 / 1000.0);
        println!(
            "{what:<44} {ratio:>6.2} ({low:.2}-{high:.2}) {x:>9.2} {y:>9.2} {:>+8.2}   {limit}",
            y - x
        );
    }

    /// As [`Self::compare`] for a method of a store: `work` is called with the store and a number.
    fn method<'a, F, G>(
        &self,
        line: Line,
        stores: &'a Stores,
        work_a: impl Fn(&'a SqliteStore, u64) -> F,
        work_b: impl Fn(&'a SealedBackend<SqliteStore>, u64) -> G,
    ) where
        F: Future<Output = ()>,
        G: Future<Output = ()>,
    {
        self.compare(
            line,
            |n| self.runtime.block_on(work_a(&stores.plain, n)),
            |n| self.runtime.block_on(work_b(&stores.sealed, n)),
        );
    }
}

struct Stores {
    plain: Arc<SqliteStore>,
    sealed: SealedBackend<SqliteStore>,
}

/// Measures one method on both stores with the same code.
macro_rules! method {
    ($bench:expr, $stores:expr, $what:expr, $limit:expr, $calls:expr, $per:expr, |$store:ident, $n:ident| $body:expr) => {
        $bench.method(
            Line($what, $limit, $calls, $per),
            $stores,
            |$store, $n| async move {
                black_box($body);
            },
            |$store, $n| async move {
                black_box($body);
            },
        )
    };
}

fn key() -> RawKey {
    RawKey::new(SecretBox::new(Box::new([9; 32])))
}

async fn account(path: &Path) -> Account {
    let keyring = Keyring::open_or_create(SqliteKeyring::at(path), &key())
        .await
        .expect("a keyring");
    keyring.account_or_create("1").await.expect("an account")
}

async fn upstream(path: &Path) -> Arc<SqliteStore> {
    let path = path.to_str().expect("a UTF-8 path");
    Arc::new(SqliteStore::new(path).await.expect("upstream's store"))
}

fn address(n: u64) -> String {
    format!("55119876{:05}:{}@c.us.0", n % 50_000, n % 4)
}

/// Bytes that differ from call to call.
fn value(n: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0x5a; len];
    let head = n.to_le_bytes();
    for (to, from) in bytes.iter_mut().zip(head) {
        *to = from;
    }
    bytes
}

fn mapping(n: u64) -> LidPnMappingEntry {
    LidPnMappingEntry {
        lid: format!("1618033988{:05}", n % 10_000),
        phone_number: format!("55119876{:05}", n % 10_000),
        created_at: 1_788_000_000,
        updated_at: 1_788_000_000 + n as i64,
        learning_source: "usync".into(),
    }
}

fn device_list(n: u64) -> DeviceListRecord {
    DeviceListRecord {
        user: format!("55119876{:05}", n % 500),
        devices: (0..4).map(|id| DeviceInfo::new(id, Some(id))).collect(),
        timestamp: n as i64,
        phash: Some("2:abcdefgh".into()),
        raw_id: Some(7),
    }
}

fn secret(n: u64, id: u64) -> MsgSecretEntry {
    MsgSecretEntry {
        chat: "120363021033254949@g.us".into(),
        sender: "5511987650001@c.us".into(),
        msg_id: format!("3EB0{id:016X}").into(),
        secret: value(n, 32).try_into().expect("32 bytes"),
        expires_at: 1_999_000_000,
        message_ts: 1_788_000_000,
    }
}

fn main() {
    let rounds = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .next()
        .unwrap_or(21);
    let bench = Bench {
        rounds,
        runtime: Runtime::new().expect("a runtime"),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let stores = bench.runtime.block_on(async {
        let (plain, sealed) = (folder.path().join("a.db"), folder.path().join("b.db"));
        let plain = upstream(&plain).await;
        plain.create().await.expect("a device");
        let inner = upstream(&sealed).await;
        let sealed = SealedBackend::open(inner, account(&sealed).await)
            .await
            .expect("a sealed store");
        sealed.create().await.expect("a device");
        Stores { plain, sealed }
    });
    println!(
        "{rounds} rounds; ratio is the median (lowest-highest) of B/A; times in microseconds\n\n{:<44} {:>6} {:>11} {:>10} {:>9} {:>8}   limit",
        "", "B/A", "", "A", "B", "B-A"
    );
    primitives(&bench, folder.path());
    rows(&bench, &stores);
    other_rows(&bench, &stores);
    device(&bench, &stores);
    batches(&bench, &stores);
    opening(&bench, folder.path());
}

fn primitives(bench: &Bench, folder: &Path) {
    let account = bench
        .runtime
        .block_on(account(&folder.join("primitives.db")));
    let ours = Primitives::new(account);
    let record = value(1, 1200);
    let raw = Aes256Gcm::new((&[3u8; 32]).into());
    let aad = [7u8; 48];
    bench.compare(
        Line("seal 1,200 bytes / raw AES-256-GCM", "1.4", 4000, 1),
        |_| {
            let mut nonce = [0u8; 12];
            getrandom::fill(&mut nonce).expect("randomness");
            let payload = Payload {
                msg: &record,
                aad: &aad,
            };
            black_box(raw.encrypt((&nonce).into(), payload).expect("sealed"));
        },
        |_| {
            black_box(ours.seal("token", "5511987650001:3@c.us.0", &record)).expect("sealed");
        },
    );
    let mac = Hmac::<Sha256>::new_from_slice(&[3; 32]).expect("a key");
    let parts: Vec<String> = (0..1000).map(address).collect();
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    bench.compare(
        Line(
            "one-part token, of 1,000 / one HMAC-SHA-256",
            "1.5",
            4,
            1000,
        ),
        |_| {
            for part in &parts {
                let mut mac = mac.clone();
                mac.update(part);
                black_box(mac.finalize().into_bytes());
            }
        },
        |_| {
            black_box(ours.tokens(&parts)).expect("tokens");
        },
    );
    // As a single method makes it: with the keys' lock taken and the stack wiped each time.
    bench.compare(
        Line("one-part token, alone / one HMAC-SHA-256", "", 4, 1000),
        |_| {
            for part in &parts {
                let mut mac = mac.clone();
                mac.update(part);
                black_box(mac.finalize().into_bytes());
            }
        },
        |_| {
            for part in parts.chunks(1) {
                black_box(ours.tokens(part)).expect("tokens");
            }
        },
    );
}

fn rows(bench: &Bench, stores: &Stores) {
    const ONE: &str = "1.25 or +8";
    method!(bench, stores, "put_session 1,200 B", ONE, 200, 1, |s, n| s
        .put_session(&address(n % 200), &value(n, 1200))
        .await
        .expect("put"));
    method!(bench, stores, "get_session", ONE, 200, 1, |s, n| s
        .get_session(&address(n % 200))
        .await
        .expect("get"));
    method!(bench, stores, "has_session", ONE, 200, 1, |s, n| s
        .has_session(&address(n % 200))
        .await
        .expect("has"));
    method!(bench, stores, "put_identity", ONE, 200, 1, |s, n| s
        .put_identity(&address(n % 200), value(n, 32).try_into().expect("32"))
        .await
        .expect("put"));
    method!(bench, stores, "load_identity", ONE, 200, 1, |s, n| s
        .load_identity(&address(n % 200))
        .await
        .expect("load"));
    method!(bench, stores, "store_prekey", ONE, 200, 1, |s, n| s
        .store_prekey(n as u32 % 800, &value(n, 74), false)
        .await
        .expect("put"));
    method!(bench, stores, "load_prekey", ONE, 200, 1, |s, n| s
        .load_prekey(n as u32 % 800)
        .await
        .expect("get"));
    method!(bench, stores, "put_sender_key", ONE, 200, 1, |s, n| s
        .put_sender_key(&address(n % 200), &value(n, 120))
        .await
        .expect("put"));
    method!(bench, stores, "get_sender_key", ONE, 200, 1, |s, n| s
        .get_sender_key(&address(n % 200))
        .await
        .expect("get"));
    method!(bench, stores, "set_sync_key", ONE, 200, 1, |s, n| s
        .set_sync_key(
            &(n % 8).to_be_bytes(),
            AppStateSyncKey {
                key_data: value(n, 32),
                fingerprint: value(n, 20),
                timestamp: n as i64
            }
        )
        .await
        .expect("put"));
    method!(bench, stores, "get_sync_key", ONE, 200, 1, |s, n| s
        .get_sync_key(&(n % 8).to_be_bytes())
        .await
        .expect("get"));
    method!(bench, stores, "set_version", ONE, 200, 1, |s, n| s
        .set_version(
            "regular",
            HashState {
                version: n,
                ..HashState::default()
            }
        )
        .await
        .expect("put"));
    method!(bench, stores, "get_version", ONE, 200, 1, |s, _n| s
        .get_version("regular")
        .await
        .expect("get"));
    method!(
        bench,
        stores,
        "put_mutation_macs, one",
        ONE,
        200,
        1,
        |s, n| s
            .put_mutation_macs(
                "regular",
                n,
                &[AppStateMutationMAC {
                    index_mac: value(n % 200, 32),
                    value_mac: value(n, 32)
                }]
            )
            .await
            .expect("put")
    );
    method!(bench, stores, "get_mutation_mac", ONE, 200, 1, |s, n| s
        .get_mutation_mac("regular", &value(n % 200, 32))
        .await
        .expect("get"));
    method!(bench, stores, "put_lid_mapping", ONE, 200, 1, |s, n| s
        .put_lid_mapping(&mapping(n))
        .await
        .expect("put"));
    method!(bench, stores, "get_lid_mapping", ONE, 200, 1, |s, n| s
        .get_lid_mapping(&mapping(n).lid)
        .await
        .expect("get"));
    method!(bench, stores, "get_pn_mapping", ONE, 200, 1, |s, n| s
        .get_pn_mapping(&mapping(n).phone_number)
        .await
        .expect("get"));
    method!(bench, stores, "save_base_key", ONE, 200, 1, |s, n| s
        .save_base_key(&address(n % 200), "3EB0AABB", &value(n, 33))
        .await
        .expect("put"));
    method!(bench, stores, "has_same_base_key", ONE, 200, 1, |s, n| s
        .has_same_base_key(&address(n % 200), "3EB0AABB", &value(n, 33))
        .await
        .expect("same"));
    method!(bench, stores, "update_device_list", ONE, 200, 1, |s, n| s
        .update_device_list(device_list(n))
        .await
        .expect("put"));
    method!(bench, stores, "get_devices", ONE, 200, 1, |s, n| s
        .get_devices(&device_list(n).user)
        .await
        .expect("get"));
    method!(
        bench,
        stores,
        "put_group_metadata 2 kB",
        ONE,
        200,
        1,
        |s, n| s
            .put_group_metadata(&address(n % 50), &value(n, 2000))
            .await
            .expect("put")
    );
    method!(bench, stores, "get_group_metadata", ONE, 200, 1, |s, n| s
        .get_group_metadata(&address(n % 50))
        .await
        .expect("get"));
    method!(
        bench,
        stores,
        "store_received_tc_token",
        ONE,
        200,
        1,
        |s, n| s
            .store_received_tc_token(&address(n % 200), &value(n, 32), n as i64)
            .await
            .expect("put")
    );
    method!(bench, stores, "get_tc_token", ONE, 200, 1, |s, n| s
        .get_tc_token(&address(n % 200))
        .await
        .expect("get"));
    method!(
        bench,
        stores,
        "store_sent_message 300 B",
        ONE,
        200,
        1,
        |s, n| s
            .store_sent_message(
                "5511987650001@c.us",
                &format!("3EB0{n:08X}"),
                &value(n, 300)
            )
            .await
            .expect("put")
    );
    method!(
        bench,
        stores,
        "store + take_sent_message",
        ONE,
        100,
        1,
        |s, n| {
            let id = format!("3EB1{n:08X}");
            s.store_sent_message("5511987650001@c.us", &id, &value(n, 300))
                .await
                .expect("put");
            s.take_sent_message("5511987650001@c.us", &id)
                .await
                .expect("take")
        }
    );
    method!(
        bench,
        stores,
        "store_pending_inbound 300 B",
        ONE,
        200,
        1,
        |s, n| s
            .store_pending_inbound(
                "5511987650001@c.us",
                "5511987650002@c.us",
                &format!("3EB0{:08X}", n % 300),
                &value(n, 300)
            )
            .await
            .expect("put")
    );
    method!(bench, stores, "get_pending_inbound", ONE, 200, 1, |s, n| s
        .get_pending_inbound(
            "5511987650001@c.us",
            "5511987650002@c.us",
            &format!("3EB0{:08X}", n % 300)
        )
        .await
        .expect("get"));
    // A secret is two rows in the inner store, as in the batches below: their limit holds. The second line
    // shows what of it is the inner store's own cost of two rows.
    method!(
        bench,
        stores,
        "put_msg_secrets, one (two inner rows)",
        "2.6",
        200,
        1,
        |s, n| s
            .put_msg_secrets(vec![secret(n, n % 300)])
            .await
            .expect("put")
    );
    bench.method(
        Line("put_msg_secrets, one / two plain ones", "", 200, 1),
        stores,
        |s, n| async move {
            let two = vec![secret(n, n % 300), secret(n, 300 + n % 300)];
            s.put_msg_secrets(two).await.expect("put");
        },
        |s, n| async move {
            s.put_msg_secrets(vec![secret(n, n % 300)])
                .await
                .expect("put");
        },
    );
    method!(bench, stores, "get_msg_secret", "2.6", 200, 1, |s, n| s
        .get_msg_secret(
            "120363021033254949@g.us",
            "5511987650001@c.us",
            &format!("3EB0{:016X}", n % 300)
        )
        .await
        .expect("get"));
    method!(
        bench,
        stores,
        "has_signal_state_for_user",
        "2",
        200,
        1,
        |s, n| s
            .has_signal_state_for_user(&format!("55119876{:05}", n % 400))
            .await
            .expect("has")
    );
}

/// The other methods of one row. What is deleted is mostly gone already.
fn other_rows(bench: &Bench, stores: &Stores) {
    macro_rules! one {
        ($what:expr, |$store:ident, $n:ident| $body:expr) => {
            method!(bench, stores, $what, "1.25 or +8", 100, 1, |$store, $n| {
                $body.await.expect($what)
            });
        };
    }
    one!("store_signed_prekey", |s, n| s
        .store_signed_prekey(n as u32 % 4, &value(n, 100)));
    one!("load_signed_prekey", |s, n| s
        .load_signed_prekey(n as u32 % 4));
    one!("mark_prekeys_uploaded, one", |s, n| s
        .mark_prekeys_uploaded(&[n as u32 % 800]));
    one!("set_sender_key_status, one", |s, n| s
        .set_sender_key_status(
            "120363021033254949@g.us",
            &[(&address(n % 200), n % 3 == 0)]
        ));
    one!("put_tc_token", |s, n| s.put_tc_token(
        &address(n % 200),
        &TcTokenEntry {
            token: value(n, 32),
            token_timestamp: n as i64,
            sender_timestamp: None,
        }
    ));
    one!("touch_tc_token_sender_timestamp", |s, n| s
        .touch_tc_token_sender_timestamp(&address(n % 200), n as i64));
    one!("exists (two reads)", |s, _n| s.exists());
    one!("delete_session", |s, n| s.delete_session(&address(n % 200)));
    one!("delete_identity", |s, n| s
        .delete_identity(&address(n % 200)));
    one!("remove_prekey", |s, n| s.remove_prekey(n as u32 % 800));
    one!("delete_sender_key", |s, n| s
        .delete_sender_key(&address(n % 200)));
    one!("delete_base_key", |s, n| s
        .delete_base_key(&address(n % 200), "3EB0AABB"));
    one!("delete_devices", |s, n| s
        .delete_devices(&device_list(n).user));
    one!("delete_group_metadata", |s, n| s
        .delete_group_metadata(&address(n % 50)));
    one!("delete_tc_token", |s, n| s
        .delete_tc_token(&address(n % 200)));
    one!("delete_pending_inbound", |s, n| s.delete_pending_inbound(
        "5511987650001@c.us",
        "5511987650002@c.us",
        &format!("3EB0{:08X}", n % 300)
    ));
}

fn device(bench: &Bench, stores: &Stores) {
    let device = Arc::new(full_device());
    let changed = |n: u64| {
        let mut device = (*device).clone();
        device.login_counter = n as i32;
        device
    };
    bench.method(
        Line("device save", "1.0", 100, 1),
        stores,
        |s, n| {
            let device = changed(n);
            async move { s.save(&device).await.expect("saved") }
        },
        |s, n| {
            let device = changed(n);
            async move { s.save(&device).await.expect("saved") }
        },
    );
    method!(bench, stores, "device load", "1.35", 100, 1, |s, _n| s
        .load()
        .await
        .expect("loaded"));
}

fn batches(bench: &Bench, stores: &Stores) {
    // 1,200 bytes alone is the worst size: a page of SQLite holds three plain rows of it and two sealed ones.
    for (what, least, most) in [
        ("put_sessions_batch of 64, 400 to 2,000 B", 400, 2000),
        ("put_sessions_batch of 64, 1,200 B", 1200, 1200),
    ] {
        method!(bench, stores, what, "1.4", 8, 64, |s, n| {
            let len = |i: u64| least + (i as usize * 37) % (most - least + 1);
            let batch: Vec<(Arc<str>, Bytes)> = (0..64)
                .map(|i| (address(i).into(), value(n * 64 + i, len(i)).into()))
                .collect();
            s.put_sessions_batch(&batch).await.expect("put")
        });
    }
    method!(
        bench,
        stores,
        "store_prekeys_batch of 812, per row",
        "1.8",
        1,
        812,
        |s, n| {
            let batch: Vec<(u32, Bytes)> = (0..812)
                .map(|i| (i as u32, value(n * 812 + i, 74).into()))
                .collect();
            s.store_prekeys_batch(&batch, false).await.expect("put")
        }
    );
    method!(
        bench,
        stores,
        "load_prekeys_batch of 812, per row",
        "1.8; 3.3 as a bulk read",
        1,
        812,
        |s, _n| {
            let ids: Vec<u32> = (0..812).collect();
            s.load_prekeys_batch(&ids).await.expect("get")
        }
    );
    method!(
        bench,
        stores,
        "put_lid_mappings of 500, per row",
        "1.8",
        1,
        500,
        |s, n| {
            let batch: Vec<_> = (0..500).map(|i| mapping(n * 500 + i)).collect();
            s.put_lid_mappings(&batch).await.expect("put")
        }
    );
    method!(
        bench,
        stores,
        "put_msg_secrets of 2,000, per row",
        "2.6",
        1,
        2000,
        |s, n| {
            let batch: Vec<_> = (0..2000).map(|i| secret(n * 2000 + i, i)).collect();
            s.put_msg_secrets(batch).await.expect("put")
        }
    );
    method!(
        bench,
        stores,
        "get_all_lid_mappings of 10,000, per row",
        "3.3",
        1,
        10_000,
        |s, _n| s.get_all_lid_mappings().await.expect("all")
    );
    let group = "120363021033254949@g.us";
    let fill = |store: &dyn ProtocolStore| {
        let devices: Vec<String> = (0..1000).map(address).collect();
        let rows: Vec<(&str, bool)> = devices.iter().map(|d| (d.as_str(), true)).collect();
        bench
            .runtime
            .block_on(store.set_sender_key_status(group, &rows))
            .expect("set");
    };
    fill(&*stores.plain);
    fill(&stores.sealed);
    method!(
        bench,
        stores,
        "get_sender_key_devices of 1,000, per row",
        "3.3",
        1,
        1000,
        |s, _n| s.get_sender_key_devices(group).await.expect("all")
    );
}

fn opening(bench: &Bench, folder: &Path) {
    let path = folder.join("opening.db");
    let time = |work: &dyn Fn() -> Duration| {
        let runs = (0..bench.rounds).map(|_| work().as_secs_f64() * 1000.0);
        spread(runs.collect())
    };
    bench.runtime.block_on(async {
        let inner = upstream(&path).await;
        let sealed = SealedBackend::open(inner, account(&path).await)
            .await
            .expect("a sealed store");
        sealed.create().await.expect("a device");
    });
    let (median, low, high) = time(&|| {
        bench.runtime.block_on(async {
            let inner = upstream(&path).await;
            let start = Instant::now();
            let account = account(&path).await;
            black_box(SealedBackend::open(inner, account).await.expect("open"));
            start.elapsed()
        })
    });
    println!(
        "\nopen an account with a raw key, beyond the inner store's open: {median:.2} ms ({low:.2}-{high:.2})   limit 10 ms"
    );

    const ACCOUNTS: usize = 500;
    let held = bench.runtime.block_on(async {
        let keyring = Keyring::open_or_create(SqliteKeyring::at(folder.join("many.db")), &key())
            .await
            .expect("a keyring");
        for number in 0..ACCOUNTS {
            keyring
                .create_account(&number.to_string())
                .await
                .expect("an account");
        }
        // Creating leaves the allocator with free memory: measure opening them again.
        let before = resident();
        let mut held = Vec::new();
        for number in 0..ACCOUNTS {
            let account = keyring.account(&number.to_string()).await.expect("open");
            let inner = Arc::new(wacore::store::InMemoryBackend::new());
            held.push(SealedBackend::open(inner, account).await.expect("sealed"));
        }
        println!(
            "memory of an open account, with its in-memory inner store: {:.1} kB   limit 64 kB beyond the inner store",
            (resident().saturating_sub(before)) as f64 / ACCOUNTS as f64 / 1000.0
        );
        held
    });
    black_box(held);
}

/// Resident bytes of this process.
fn resident() -> usize {
    std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split(' ').nth(1)?.parse::<usize>().ok())
        .map_or(0, |pages| pages * 4096)
}
