//! A walk over many rows that is killed goes on in the middle of the table where it was, and yet no row keeps an old key,
//! also one that was written before that place meanwhile.

#[path = "common/child.rs"]
mod child;
mod common;
#[path = "common/resealing.rs"]
mod resealing;

use std::path::Path;
use std::sync::Arc;

use child::{Child, hear, job, say};
use resealing::{
    LAYOUTS, Walk, body, checks, copy, is_whole, key, one_key_a_table, open, walking as child_walks,
};
use sealed_store::lifecycle::{ReencryptOptions, ReencryptSummary, reencrypt};
use wacore::store::traits::Backend;

/// More than the rows after which a place is noted, and no whole number of pages.
const ROWS: u32 = 8_400;
/// A page of rows.
const PAGE: u64 = 256;

fn address(row: u32) -> String {
    format!("5511{row:07}:1@c.us.0")
}

fn value(row: u32) -> [u8; 4] {
    row.to_le_bytes()
}

/// Many rows in a table that is walked by its rowid, and in one that (in our layout) is walked by its key.
async fn fill(path: &Path, layout: &str) {
    let store = resealing::fill(path, layout).await;
    let sessions: Vec<_> = (0..ROWS)
        .map(|row| (address(row).into(), value(row).to_vec().into()))
        .collect();
    store.put_sessions_batch(&sessions).await.unwrap();
    let prekeys: Vec<_> = (0..ROWS)
        .map(|row| (1000 + row, value(row).to_vec().into()))
        .collect();
    store.store_prekeys_batch(&prekeys, false).await.unwrap();
}

async fn is_all_there(path: &Path, layout: &str, late: &[u32]) {
    let store = open(path, layout).await;
    is_whole(&*store).await;
    for row in 0..ROWS {
        let found = store.get_session(&address(row)).await.unwrap().unwrap();
        if late.contains(&row) {
            assert_eq!(found[..], b"late"[..], "{row}");
        } else {
            assert_eq!(found[..], value(row), "{row}");
        }
    }
    let ids: Vec<_> = (1000..1000 + ROWS).collect();
    let found = store.load_prekeys_batch(&ids).await.unwrap();
    assert_eq!(found.len(), ROWS as usize);
    for (id, record) in found {
        assert_eq!(record[..], value(id - 1000));
    }
}

async fn run(path: &Path) -> ReencryptSummary {
    reencrypt(path, &key(), ReencryptOptions::new(), &())
        .await
        .unwrap()
}

/// Kills a walk when its place is noted in the middle of this table. How many rows are before that place.
fn kill_in(path: &Path, table: &str) -> u64 {
    let mut walk = Walk::start(path, &[]);
    loop {
        walk.until("noted");
        let at = &body(path, 1)["resealing"];
        if at["place"] == table && at["after"] != "" {
            assert_eq!(at["walked"], false);
            // All of a page in the middle of a table; those before it were told.
            let rows = walk.rows + PAGE;
            walk.kill();
            return rows;
        }
        walk.go_on();
    }
}

#[tokio::test]
async fn a_killed_walk_goes_on_in_the_middle_of_a_table() {
    for layout in LAYOUTS {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole.db");
        fill(&whole, layout).await;
        let path = folder.path().join("all.db");
        copy(&whole, &path);
        let all = run(&path).await.seen;
        assert!(all > 2 * u64::from(ROWS));
        for table in ["sessions", "prekeys"] {
            let path = folder.path().join(format!("{table}.db"));
            copy(&whole, &path);
            let before = kill_in(&path, table);
            let done = run(&path).await;
            println!("{layout}: killed in {table} after {before} of {all} rows: {done:?}");
            // How far it came until its place was noted is a matter of time.
            assert!(before >= PAGE && done.resumed);
            assert_eq!(done.seen, all - before, "none of those before it");
            one_key_a_table(&path, 2);
            checks(&path).await;
            is_all_there(&path, layout, &[]).await;
        }
    }
}

/// Somebody with the old keys in memory writes rows that the walk has passed already: they are found by the proof, and
/// all is walked again.
#[tokio::test]
async fn rows_that_are_written_before_the_place_are_resealed_too() {
    for layout in LAYOUTS {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole.db");
        fill(&whole, layout).await;
        let path = folder.path().join("all.db");
        copy(&whole, &path);
        let all = run(&path).await.seen;
        let path = folder.path().join("w.db");
        copy(&whole, &path);
        let mut stale = Child::run("stale", &[path.to_str().unwrap(), layout]);
        assert_eq!(stale.next().as_deref(), Some("open"));
        let before = kill_in(&path, "prekeys");
        stale.tell("write");
        assert_eq!(stale.next().as_deref(), Some("written"));
        stale.kill();
        let done = run(&path).await;
        println!("{layout}: {done:?}");
        assert_eq!(done.seen, all - before + all, "the rest, and all again");
        one_key_a_table(&path, 2);
        checks(&path).await;
        is_all_there(&path, layout, &LATE).await;
    }
}

const LATE: [u32; 3] = [0, 5, 77];

/// No test of its own: opens the store, and writes when it is told to, with the keys that it read then.
#[test]
fn stale() {
    let Some(job) = job() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store: Arc<dyn Backend> = open(Path::new(&job[0]), &job[1]).await;
        say("open");
        assert_eq!(hear(), "write");
        for row in LATE {
            store.put_session(&address(row), b"late").await.unwrap();
        }
        say("written");
        hear();
    });
}

/// No test of its own: the child of a walk.
#[test]
fn walking() {
    child_walks();
}
