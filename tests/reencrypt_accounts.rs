//! Several accounts in one file all get new keys, each by itself: one whose row does not open holds no other up, whoever is
//! alone next ends the old keys of all, and a limit of rows a second is kept.

#[path = "common/child.rs"]
mod child;
mod common;
#[path = "common/resealing.rs"]
mod resealing;

use std::path::Path;
use std::time::Instant;

use resealing::{
    body, checks, connect, fill_accounts, is_whole_of, key, keys_of, one_key_a_table_of,
    open_account,
};
use sealed_store::Table;
use sealed_store::lifecycle::{LifecycleErrorKind, ReencryptOptions, reencrypt};

const ACCOUNTS: [i32; 3] = [1, 2, 3];

async fn are_whole(path: &Path) {
    for number in ACCOUNTS {
        let store = open_account(path, path, number).await;
        is_whole_of(&store, u8::try_from(number).unwrap()).await;
        store.inner().close().await.unwrap();
    }
}

#[tokio::test]
async fn all_accounts_get_new_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    fill_accounts(&path, &path, &ACCOUNTS).await;
    let done = reencrypt(&path, &key(), ReencryptOptions::new(), &())
        .await
        .unwrap();
    println!("{done:?}");
    assert_eq!((done.destroyed, done.retained), (60, 0));
    for number in ACCOUNTS {
        one_key_a_table_of(&path, number, 2);
    }
    checks(&path).await;
    are_whole(&path).await;
}

/// `sealed_store::open` is of account 1, and finishes for all whose rows are resealed.
#[tokio::test]
async fn who_is_alone_next_ends_the_old_keys_of_all_accounts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    fill_accounts(&path, &path, &ACCOUNTS).await;
    let user = open_account(&path, &path, 3).await;
    let done = reencrypt(&path, &key(), ReencryptOptions::new(), &())
        .await
        .unwrap();
    assert_eq!((done.destroyed, done.retained), (0, 60));
    // Somebody else has it: nothing ends.
    let store = sealed_store::open(&path, &key()).await.unwrap();
    assert_eq!(body(&path, 2)["resealing"]["walked"], true);
    store.inner().close().await.unwrap();
    drop(store);
    user.inner().close().await.unwrap();
    drop(user);
    drop(sealed_store::open(&path, &key()).await.unwrap());
    for number in ACCOUNTS {
        one_key_a_table_of(&path, number, 2);
        assert!(body(&path, number)["resealing"].is_null());
    }
    checks(&path).await;
    are_whole(&path).await;
}

#[tokio::test]
async fn a_row_that_does_not_open_holds_no_other_account_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    fill_accounts(&path, &path, &ACCOUNTS).await;
    let sql = "UPDATE sender_keys SET record = CAST(substr(record, 1, 40) || zeroblob(60) AS BLOB)
               WHERE account = 1 AND address = (SELECT min(address) FROM sender_keys WHERE account = 1)";
    assert_eq!(connect(&path).execute(sql, []).unwrap(), 1);
    let error = reencrypt(&path, &key(), ReencryptOptions::new(), &())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), LifecycleErrorKind::Corrupt, "{error}");
    for table in Table::ALL {
        let first = &keys_of(&path, 1)[&(table.name().to_owned(), 1)];
        assert_eq!(first, "retained", "{table}");
    }
    for number in [2, 3] {
        one_key_a_table_of(&path, number, 2);
        let store = open_account(&path, &path, number).await;
        is_whole_of(&store, u8::try_from(number).unwrap()).await;
        store.inner().close().await.unwrap();
    }
    // All others of account 1 are resealed: once the row is gone, nothing is left to do for them.
    let sql = "DELETE FROM sender_keys WHERE account = 1 AND address = (SELECT min(address) FROM sender_keys WHERE account = 1)";
    assert_eq!(connect(&path).execute(sql, []).unwrap(), 1);
    let done = reencrypt(
        &path,
        &key(),
        ReencryptOptions::new().tables([Table::SenderKey]),
        &(),
    )
    .await
    .unwrap();
    assert!(done.resumed, "{done:?}");
    one_key_a_table_of(&path, 1, 2);
    checks(&path).await;
}

#[tokio::test]
async fn no_more_rows_a_second_than_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    fill_accounts(&path, &path, &[1]).await;
    for rate in [100, 400] {
        let began = Instant::now();
        let options = ReencryptOptions::new().rate(rate);
        let done = reencrypt(&path, &key(), options, &()).await.unwrap();
        let least = done.seen as f64 / f64::from(rate) * 0.8;
        let took = began.elapsed().as_secs_f64();
        println!("{} rows at {rate} a second: {took:.2} s", done.seen);
        assert!(done.seen > 150 && took >= least, "{took} < {least}");
    }
}
