//! What the queue keeps to.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use super::*;

fn open(path: &std::path::Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
        .unwrap();
    connection.busy_timeout(Duration::ZERO).unwrap();
    connection
}

fn files(path: &std::path::Path) -> Arc<Files> {
    Arc::new(Files::opened(path, None).unwrap())
}

fn writer(path: &std::path::Path) -> Writer {
    Writer::new(open(path), Some(files(path)), true, Duration::from_secs(60))
}

fn insert(connection: &Connection) -> rusqlite::Result<usize> {
    connection.execute("INSERT INTO t VALUES (1)", [])
}

/// Callers that give up must not make room for more than the queue holds.
#[tokio::test]
async fn a_dropped_write_keeps_its_place_until_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let other = open(&path);
    other.execute_batch("CREATE TABLE t (n)").unwrap();
    let writer = writer(&path);
    // Somebody else writes, so nothing is made for now.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..2 * QUEUED {
        let write = pin!(writer.write(usize::MAX, insert));
        assert!(write.poll(&mut context).is_pending());
    }
    other.execute_batch("COMMIT").unwrap();
    writer.close().await.unwrap();
    let rows: u32 = other
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows as usize, QUEUED);
}

/// Whoever waits is told, and so is whoever comes later.
#[tokio::test]
async fn a_panic_on_the_thread_closes_the_store_and_leaves_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    open(&path).execute_batch("CREATE TABLE t (n)").unwrap();
    let writer = writer(&path);
    let failed = writer.write(usize::MAX, |_| -> rusqlite::Result<()> {
        panic!("a mistake of ours")
    });
    assert!(failed.await.is_err());
    assert!(writer.write(usize::MAX, insert).await.is_err());
    assert!(writer.write(1, insert).await.is_err());
}

/// A write of several rows that fails in the middle leaves none of them, alone and beside others.
#[tokio::test]
async fn a_failed_write_leaves_no_part_of_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let other = open(&path);
    other.execute_batch("CREATE TABLE t (n)").unwrap();
    let writer = writer(&path);
    let half = |connection: &Connection| {
        insert(connection)?;
        connection.execute("INSERT INTO missing VALUES (1)", [])
    };
    // On this thread, and alone on the writer's.
    assert!(writer.write(1, half).await.is_err());
    assert!(writer.write(usize::MAX, half).await.is_err());
    // Beside others: all are queued before the first is made.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut first = pin!(writer.write(usize::MAX, insert));
    let mut failing = pin!(writer.write(usize::MAX, half));
    let mut last = pin!(writer.write(usize::MAX, insert));
    let mut context = Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(&mut context).is_pending());
    assert!(failing.as_mut().poll(&mut context).is_pending());
    assert!(last.as_mut().poll(&mut context).is_pending());
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(first.await.unwrap(), 1);
    assert!(failing.await.is_err());
    assert_eq!(last.await.unwrap(), 1);
    let rows: u32 = other
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 2);
}

/// A write whose future is dropped is made, and before those that come after it: it must not undo them.
#[test]
fn a_dropped_write_does_not_come_after_a_later_one() {
    for _ in 0..200 {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(folder.path().join("w.db")).unwrap();
        connection
            .execute_batch(
                "PRAGMA synchronous = OFF; CREATE TABLE t (v INTEGER); INSERT INTO t VALUES (0)",
            )
            .unwrap();
        let writer = Writer::new(connection, None, true, Duration::from_secs(9));
        let put = |value: i64| {
            move |connection: &Connection| {
                connection.execute("UPDATE t SET v = ?1", [value]).map(drop)
            }
        };
        {
            // It can't be made at once, so it is queued; then nobody waits for it.
            let held = lock(&writer.shared.connection);
            let mut first = Box::pin(writer.write(1, put(1)));
            let waker = std::task::Waker::noop();
            let mut context = std::task::Context::from_waker(waker);
            assert!(first.as_mut().poll(&mut context).is_pending());
            drop(first);
            while !lock(&writer.shared.queue).jobs.is_empty() {
                std::thread::yield_now();
            }
            drop(held);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(writer.write(1, put(2))).unwrap();
        runtime.block_on(writer.close()).unwrap();
        let connection = lock(&writer.shared.connection);
        let last: i64 = connection
            .query_row("SELECT v FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(last, 2, "the later write was acknowledged");
    }
}

/// On which thread a write is made.
async fn thread_of(writer: &Writer) -> Option<String> {
    let write = writer.write(1, |connection| {
        insert(connection)?;
        Ok(std::thread::current().name().map(str::to_owned))
    });
    write.await.unwrap()
}

const WRITERS: &str = "sealed-store-writer";

/// Once the writer's thread has nothing more to do, which may be a moment after its write was acknowledged.
async fn goes_on_with_the_caller(writer: &Writer) {
    let begun = std::time::Instant::now();
    while thread_of(writer).await.as_deref() == Some(WRITERS) {
        assert!(begun.elapsed() < std::time::Duration::from_secs(30));
        std::thread::yield_now();
    }
}

/// A commit that begins the log waits for the disk to have its first page: no caller's thread does that, neither
/// when the store was opened nor after a checkpoint.
#[tokio::test]
async fn a_commit_that_waits_for_the_disk_is_made_on_the_writers_thread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    open(&path).execute_batch("CREATE TABLE t (n)").unwrap();
    let writer = writer(&path);
    assert_eq!(thread_of(&writer).await.as_deref(), Some(WRITERS));
    goes_on_with_the_caller(&writer).await;
    writer.shared.note_log(Some(2 * CHECKPOINT_PAGES), false);
    writer.shared.checkpoint_if_due();
    while lock(&writer.shared.queue).checkpointing {
        std::thread::yield_now();
    }
    assert_eq!(thread_of(&writer).await.as_deref(), Some(WRITERS));
    goes_on_with_the_caller(&writer).await;
}

/// Writes that wait share one transaction, and so one wait for the disk.
#[tokio::test]
async fn writes_that_come_together_share_a_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let other = open(&path);
    other.execute_batch("CREATE TABLE t (n)").unwrap();
    let connection = open(&path);
    let commits = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&commits);
    connection
        .commit_hook(Some(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            false
        }))
        .unwrap();
    let writer = Writer::new(
        connection,
        Some(files(&path)),
        true,
        Duration::from_secs(60),
    );
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut writes: Vec<_> = (0..SHARED + 1)
        .map(|_| Box::pin(writer.write(1, insert)))
        .collect();
    for write in &mut writes {
        assert!(write.as_mut().poll(&mut context).is_pending());
    }
    other.execute_batch("COMMIT").unwrap();
    for write in writes {
        assert_eq!(write.await.unwrap(), 1);
    }
    // The thread may have taken the first ones before the others were there.
    let commits = commits.load(std::sync::atomic::Ordering::Relaxed);
    assert!((2..=3).contains(&commits), "{commits} commits");
}

/// Whoever closes a store that is being closed waits for the same end, so that a close whose future was dropped can be
/// waited for again.
#[tokio::test]
async fn a_dropped_close_can_be_waited_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let other = open(&path);
    other.execute_batch("CREATE TABLE t (n)").unwrap();
    let writer = writer(&path);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut write = Box::pin(writer.write(1, insert));
    assert!(write.as_mut().poll(&mut context).is_pending());
    let mut first = Box::pin(writer.close());
    assert!(first.as_mut().poll(&mut context).is_pending());
    drop(first);
    assert!(writer.write(1, insert).await.is_err(), "it takes no more");
    other.execute_batch("COMMIT").unwrap();
    writer.close().await.unwrap();
    assert_eq!(write.await.unwrap(), 1, "what waited was made");
    assert!(writer.close().await.is_err(), "it is closed");
}
