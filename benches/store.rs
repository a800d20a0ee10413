//! One store at a time, by criterion: for whoever changes the store and wants to see whether it helped.
//!
//! `cargo bench --bench store`, and with `-- --quick` in a minute. Criterion compares with the run before, but it
//! measures one store after the other: for ratios that can be trusted, `benches/ratios.rs` and `benches/peers`
//! interleave what they compare.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sealed_store::RawKey;
use sealed_store::store::sqlite::SqliteStore as Ours;
use secrecy::SecretBox;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use wacore::store::traits::Backend;
use whatsapp_rust_sqlite_storage::SqliteStore as Upstream;

const STORES: [&str; 3] = ["upstream plain", "ours plain", "ours sealed"];
/// Sessions in a store.
const ROWS: u64 = 2_000;
/// Bytes of a session.
const RECORD: usize = 1_200;
/// Rows of a batch.
const BATCH: u64 = 64;

/// A number that no call had before: SQLite skips an identical overwrite.
fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn address(n: u64) -> String {
    format!("55119876{:05}:3@c.us.0", n.wrapping_mul(7_919) % ROWS)
}

fn record(n: u64) -> Bytes {
    let mut bytes = vec![0x5a; RECORD];
    for (to, from) in bytes.iter_mut().zip(n.to_le_bytes()) {
        *to = from;
    }
    bytes.into()
}

fn fresh_row() -> (Arc<str>, Bytes) {
    let n = fresh();
    (address(n).into(), record(n))
}

async fn open(store: &str, path: &Path) -> Arc<dyn Backend> {
    match store {
        "upstream plain" => {
            let path = path.to_str().expect("a UTF-8 path");
            Arc::new(Upstream::new(path).await.expect("upstream's store"))
        }
        "ours plain" => Arc::new(Ours::open(path).await.expect("our store")),
        _ => {
            let key = RawKey::new(SecretBox::new(Box::new([9; 32])));
            let opened = sealed_store::open(path, &key).await;
            Arc::new(opened.expect("our sealed store"))
        }
    }
}

/// A store that holds sessions.
fn filled(runtime: &Runtime, store: &str, folder: &TempDir) -> Arc<dyn Backend> {
    runtime.block_on(async {
        let store = open(store, &folder.path().join("store.db")).await;
        store.create().await.expect("a device");
        let rows: Vec<(Arc<str>, Bytes)> = (0..ROWS)
            .map(|n| (address(n).into(), record(fresh())))
            .collect();
        store.put_sessions_batch(&rows).await.expect("rows");
        store
    })
}

fn calls(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let stores: Vec<_> = STORES
        .iter()
        .map(|name| {
            let folder = tempfile::tempdir().expect("a folder");
            (*name, filled(&runtime, name, &folder), folder)
        })
        .collect();

    let mut group = criterion.benchmark_group("one-row write");
    group.throughput(Throughput::Elements(1));
    for (name, store, _) in &stores {
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.to_async(&runtime).iter_batched(
                fresh_row,
                async |(address, record)| {
                    let put = store.put_session(&address, &record).await;
                    put.expect("written");
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("one-row read");
    group.throughput(Throughput::Elements(1));
    for (name, store, _) in &stores {
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.to_async(&runtime).iter_batched(
                || address(fresh()),
                async |address| {
                    let read = store.get_session(&address).await.expect("read");
                    read.expect("a session")
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("batch of 64");
    group.throughput(Throughput::Elements(BATCH));
    for (name, store, _) in &stores {
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.to_async(&runtime).iter_batched(
                || (0..BATCH).map(|_| fresh_row()).collect::<Vec<_>>(),
                async |batch| {
                    let put = store.put_sessions_batch(&batch).await;
                    put.expect("written");
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn opening(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("open");
    group.throughput(Throughput::Elements(1));
    for name in STORES {
        let folder = tempfile::tempdir().expect("a folder");
        drop(filled(&runtime, name, &folder));
        let path = folder.path().join("store.db");
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.to_async(&runtime).iter(|| async {
                let store = open(name, &path).await;
                let read = store.get_session(&address(0)).await.expect("read");
                read.expect("a session")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, calls, opening);
criterion_main!(benches);
