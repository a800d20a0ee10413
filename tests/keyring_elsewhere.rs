//! A keyring in a file of its own: new keys, a check and a shred work on it as on one in the store's file, and nothing of it
//! comes to be in the store's file.

#[path = "common/child.rs"]
mod child;
mod cli;
mod common;
#[path = "common/resealing.rs"]
mod resealing;

use cli::Desk;
use resealing::{fill_accounts, is_whole_of, key, one_key_a_table, open_account, state};
use rusqlite::Connection;
use sealed_store::Table;
use sealed_store::lifecycle::{
    CheckOptions, ReencryptOptions, Shred, ShredOptions, check, reencrypt, shred,
};
use std::path::Path;

fn has_keyring(path: &Path) -> bool {
    let query = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'sealed_store_keyring')";
    Connection::open(path)
        .unwrap()
        .query_row(query, [], |row| row.get(0))
        .unwrap()
}

#[tokio::test]
async fn the_library_works_on_a_keyring_in_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, keys) = (folder.path().join("w.db"), folder.path().join("keys.db"));
    fill_accounts(&path, &keys, &[1]).await;
    // Without it nothing is changed.
    assert!(
        reencrypt(&path, &key(), ReencryptOptions::new(), &())
            .await
            .is_err()
    );
    assert!(
        check(&path, &key(), CheckOptions::new(), &())
            .await
            .is_err()
    );
    one_key_a_table(&keys, 1);
    let options = ReencryptOptions::new().keyring_file(&keys);
    let done = reencrypt(&path, &key(), options, &()).await.unwrap();
    assert_eq!((done.destroyed, done.retained), (20, 0));
    one_key_a_table(&keys, 2);
    let options = || CheckOptions::new().keyring_file(&keys);
    let report = check(&path, &key(), options(), &()).await.unwrap();
    assert!(
        report.is_sound() && report.opened > 150 && report.shredded == 0,
        "{report:?}"
    );
    let store = open_account(&path, &keys, 1).await;
    is_whole_of(&store, 1).await;
    store.inner().close().await.unwrap();
    drop(store);
    let what = Shred::Tables(vec![Table::Session]);
    let done = shred(
        &path,
        &key(),
        &what,
        ShredOptions::new().keyring_file(&keys),
        &(),
    )
    .await
    .unwrap();
    assert!(done.keys > 0 && done.rows == 10, "{done:?}");
    assert_eq!(state(&keys, Table::Session, 2), "destroyed");
    let report = check(&path, &key(), options(), &()).await.unwrap();
    assert!(report.is_sound() && report.shredded == 10, "{report:?}");
    assert!(!has_keyring(&path));
}

#[test]
fn the_program_works_on_a_keyring_in_another_file() {
    let desk = Desk::new();
    let (path, keys) = (desk.path("w.db"), desk.path("keys.db"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(fill_accounts(&path, &keys, &[1]));
    drop(runtime);
    desk.file("key", &[7; 32]);
    let run = |arguments: &[&str]| {
        let more = ["--keyring", "keys.db", "--key-file", "key", "--json"];
        desk.run(&[arguments, &more].concat())
    };
    let done = run(&["reencrypt", "w.db"]).ends(0).summary();
    assert_eq!(
        (done["destroyed"].as_u64(), done["retained"].as_u64()),
        (Some(20), Some(0))
    );
    one_key_a_table(&keys, 2);
    let done = run(&["check", "w.db"]).ends(0).summary();
    assert_eq!(done["sound"], true);
    assert!(done["opened"].as_u64().unwrap() > 150, "{done}");
    let done = run(&["shred", "w.db", "--account", "1", "--yes"])
        .ends(0)
        .summary();
    assert_eq!(done["keys"], 21);
    let done = run(&["check", "w.db"]).ends(0).summary();
    assert_eq!(done["opened"], 0, "{done}");
    assert!(!has_keyring(&path));
}
