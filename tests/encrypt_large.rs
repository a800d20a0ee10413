//! A million rows are encrypted at 40,000 a second or more, with less than 100 MB of memory. The short form has a few thousand
//! and measures memory only: speed is a matter of release builds.
//!
//! ```text
//! SEALED_STORE_LONG=1 cargo test --release --test encrypt_large -- --nocapture
//! ```
#![cfg(target_os = "linux")]

#[path = "common/child.rs"]
mod child;
mod common;
#[path = "common/plain.rs"]
mod plain;

use std::path::Path;
use std::time::Instant;

use child::{Child, job, say};
use rusqlite::Connection;
use sealed_store::lifecycle::{
    CheckOptions, DecryptOptions, EncryptOptions, Phase, Progress, check, decrypt, encrypt,
};

fn is_long() -> bool {
    std::env::var_os("SEALED_STORE_LONG").is_some()
}

/// Rows as real traffic has them, of one account, in upstream's database: a fifth each of sessions, identities, message secrets,
/// mappings with their tokens, and the rest.
async fn make(path: &Path, rows: i64) {
    use wacore::store::traits::DeviceStore;
    common::sqlite(path).await.create().await.unwrap();
    plain::closed(path).await;
    let file = Connection::open(path).unwrap();
    file.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN")
        .unwrap();
    let fifth = rows / 5;
    for (sql, count) in [
        (
            "INSERT INTO sessions (address, record, device_id)
             SELECT (5511900000000 + value) || ':3@c.us.0', randomblob(400), 1",
            fifth,
        ),
        (
            "INSERT INTO identities (address, key, device_id)
             SELECT (5511900000000 + value) || ':3@c.us.0', randomblob(32), 1",
            fifth,
        ),
        (
            "INSERT INTO msg_secrets (chat, sender, msg_id, secret, device_id, created_at, expires_at, message_ts)
             SELECT (120363021000000000 + value / 100) || '@g.us', (5511900000000 + value % 999) || '@s.whatsapp.net',
             hex(randomblob(10)), randomblob(32), 1, 1750000000, 1760000000 + value, 1750000000",
            fifth,
        ),
        (
            "INSERT INTO lid_pn_mapping (lid, phone_number, created_at, learning_source, updated_at, device_id)
             SELECT 100000000000 + value, 5511900000000 + value, 1750000000, 'usync', 1750000000, 1",
            fifth / 2,
        ),
        (
            "INSERT INTO tc_tokens (jid, token, token_timestamp, device_id, updated_at)
             SELECT (100000000000 + value) || '@lid', randomblob(40), 1750000000, 1, 1750000000",
            fifth / 2,
        ),
        (
            "INSERT INTO sender_key_devices (group_jid, device_jid, has_key, device_id, updated_at)
             SELECT (120363021000000000 + value / 100) || '@g.us', (5511900000000 + value) || ':7@s.whatsapp.net', 1, 1, 1750000000",
            fifth / 2,
        ),
        (
            "INSERT INTO device_registry (user_id, devices_json, timestamp, phash, device_id, updated_at)
             SELECT 5511900000000 + value, '[{\"device_id\":0,\"key_index\":null,\"is_hosted\":false}]', 1750000000, '2:abc', 1, 1750000000",
            fifth / 4,
        ),
        (
            "INSERT INTO app_state_mutation_macs (name, version, index_mac, value_mac, device_id)
             SELECT 'regular', 5, randomblob(32), randomblob(32), 1",
            fifth / 4,
        ),
    ] {
        let sql = format!(
            "WITH RECURSIVE numbers (value) AS
             (SELECT 0 UNION ALL SELECT value + 1 FROM numbers WHERE value + 1 < {count}) {sql} FROM numbers"
        );
        file.execute_batch(&sql).unwrap();
    }
    file.execute_batch("COMMIT").unwrap();
}

/// Bytes of memory that this process had at most.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

struct Phases(Instant);

impl Progress for Phases {
    fn begin(&self, phase: Phase, _: Option<u64>) {
        eprintln!("{:7.2} s {}", self.0.elapsed().as_secs_f64(), phase.name());
    }
    fn rows(&self, _: u64) {}
}

/// No test of its own: does one thing with a store, and tells how long it took and what memory.
#[test]
fn measured() {
    let Some(job) = job() else { return };
    let [verb, path] = &job[..] else {
        panic!("{job:?}")
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let begun = Instant::now();
    let phases = Phases(begun);
    let key = common::raw_key();
    let rows = runtime.block_on(async {
        match verb.as_str() {
            "encrypt" => encrypt(path, &key, EncryptOptions::new(), &phases)
                .await
                .unwrap()
                .rows(),
            "embed" => {
                let options = EncryptOptions::new().embedded(true);
                encrypt(path, &key, options, &phases).await.unwrap().rows()
            }
            "decrypt" => decrypt(path, &key, DecryptOptions::new(), &phases)
                .await
                .unwrap()
                .rows(),
            _ => {
                let report = check(path, &key, CheckOptions::new(), &phases)
                    .await
                    .unwrap();
                assert!(report.is_sound(), "{:?}", report.faults);
                report.opened
            }
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    say(&format!("{rows} {seconds} {}", peak()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_store_takes_little_memory_and_little_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whatsapp.db");
    let rows = if is_long() { 1_000_000 } else { 3_000 };
    make(&path, rows).await;
    let copy = folder.path().join("copy.db");
    std::fs::copy(&path, &copy).unwrap();
    for (verb, path) in [
        ("encrypt", &path),
        ("check", &path),
        ("decrypt", &path),
        ("embed", &copy),
        ("check", &copy),
    ] {
        let said = Child::run("measured", &[verb, path.to_str().unwrap()]).finish();
        let numbers: Vec<f64> = said[0]
            .split(' ')
            .map(|number| number.parse().unwrap())
            .collect();
        let (rows_done, seconds, memory) = (numbers[0], numbers[1], numbers[2]);
        println!(
            "{verb:8} {rows_done:9} rows {seconds:7.2} s {:9.0} rows/s {:6.1} MB",
            rows_done / seconds,
            memory / 1e6
        );
        assert!(memory < 100e6, "{verb}: {memory} bytes");
    }
}
