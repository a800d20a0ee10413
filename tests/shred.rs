//! What is shredded is gone: no row opens, with no key that is left, and the keyring's files hold none of the wrapped
//! keys. What is not shredded stays.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::samples::{Sample, TABLES};
use common::support::{bytes_of, raw, split};
use rusqlite::{Connection, OpenFlags};
use sealed_store::lifecycle::{
    CheckOptions, DecryptOptions, LifecycleErrorKind, ReencryptOptions, Shred, ShredOptions, check,
    decrypt, reencrypt, shred,
};
use sealed_store::store::sqlite::SqliteStore;
use sealed_store::{Keyring, SealError, SealedBackend, SqliteKeyring, Table};
use wacore::store::traits::DeviceStore;

fn samples(owner: u8) -> impl Iterator<Item = Sample> {
    TABLES
        .into_iter()
        .flat_map(move |table| (0..3).map(move |row| Sample { table, row, owner }))
}

async fn open(path: &Path, account: i32) -> Result<SealedBackend<SqliteStore>, SealError> {
    let keyring = Keyring::open_or_create(SqliteKeyring::at(path), &raw(1)).await?;
    let of = keyring.account_or_create(&account.to_string()).await?;
    let store = SqliteStore::open(path).await.unwrap().for_account(account);
    SealedBackend::open(Arc::new(store), of).await
}

async fn fill(path: &Path) {
    for account in [1, 2] {
        let store = open(path, account).await.unwrap();
        store.create().await.unwrap();
        for sample in samples(u8::try_from(account).unwrap()) {
            sample.put(&store).await.unwrap();
        }
        store.inner().close().await.unwrap();
    }
}

/// The wrapped keys in an account's document, as pieces that are found nowhere by chance.
fn wrapped(path: &Path, account: i32, of: impl Fn(&serde_json::Value) -> bool) -> Vec<String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let file = Connection::open_with_flags(path, flags).unwrap();
    let query = "SELECT document FROM sealed_store_keyring WHERE name = ?1";
    let name = format!("account:{account}");
    let document: Vec<u8> = file.query_row(query, [name], |row| row.get(0)).unwrap();
    let body: serde_json::Value =
        serde_json::from_str(split(&String::from_utf8(document).unwrap()).1).unwrap();
    let keys = body["keys"].as_array().unwrap();
    keys.iter()
        .filter(|key| of(key))
        .filter_map(|key| key["wrapped"].as_str())
        .flat_map(|wrapped| wrapped.as_bytes().chunks_exact(16))
        .map(|piece| String::from_utf8(piece.to_vec()).unwrap())
        .collect()
}

/// How many of the pieces are in the file or in what lies beside it.
fn found(path: &Path, pieces: &[String]) -> usize {
    let mut bytes = Vec::new();
    for suffix in ["", "-wal", "-journal"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        bytes.extend(bytes_of(file.as_ref()));
    }
    let shows = |piece: &&String| {
        bytes
            .windows(piece.len())
            .any(|window| window == piece.as_bytes())
    };
    pieces.iter().filter(shows).count()
}

#[tokio::test]
async fn a_shredded_account_is_gone_and_another_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    fill(&path).await;
    let keys = wrapped(&path, 1, |_| true);
    let others = wrapped(&path, 2, |_| true);
    // All but the few that lie across two pages of the file.
    let visible = found(&path, &keys);
    assert!(10 * visible > 9 * keys.len(), "{visible} of {}", keys.len());
    let visible_others = found(&path, &others);
    let what = Shred::Account("1".into());
    let done = shred(&path, &raw(1), &what, ShredOptions::new(), &())
        .await
        .unwrap();
    println!("{done:?}");
    assert_eq!(done.keys, Table::ALL.len() as u64 + 1);
    assert!(done.rows > 50, "{done:?}");
    assert_eq!(found(&path, &keys), 0);
    assert!(found(&path, &others) >= visible_others - 2);
    assert!(matches!(open(&path, 1).await, Err(SealError::Shredded)));
    let store = open(&path, 2).await.unwrap();
    for sample in samples(2) {
        let found = sample.get(&store).await.unwrap();
        assert_eq!(found, Some(sample.expected()), "{sample:?}");
    }
    store.inner().close().await.unwrap();
    drop(store);
    // Again: nothing is left to destroy, and that is shown once more.
    let again = shred(&path, &raw(1), &what, ShredOptions::new(), &())
        .await
        .unwrap();
    assert_eq!((again.keys, again.rows), (0, done.rows));
}

#[tokio::test]
async fn a_shredded_table_is_gone_and_the_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    fill(&path).await;
    let is_secret = |key: &serde_json::Value| key["table"] == "msg_secret";
    let keys = [wrapped(&path, 1, is_secret), wrapped(&path, 2, is_secret)].concat();
    assert!(found(&path, &keys) > 8);
    let what = Shred::Tables(vec![Table::MsgSecret]);
    let done = shred(&path, &raw(1), &what, ShredOptions::new(), &())
        .await
        .unwrap();
    assert_eq!(
        (done.keys, done.rows),
        (2, 6),
        "two accounts, three secrets each"
    );
    assert_eq!(found(&path, &keys), 0);
    for account in [1, 2] {
        let store = open(&path, account).await.unwrap();
        for sample in samples(u8::try_from(account).unwrap()) {
            let found = sample.get(&store).await;
            if sample.table == Table::MsgSecret {
                let error = found.unwrap_err();
                assert!(
                    matches!(SealError::of(&error), Some(SealError::Shredded)),
                    "{error:?}"
                );
            } else {
                assert_eq!(found.unwrap(), Some(sample.expected()), "{sample:?}");
            }
        }
    }
}

/// What nobody can read keeps nobody from the rest: new keys, a check, and the way back go on without it.
#[tokio::test]
async fn what_is_left_after_a_shred_is_used_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    fill(&path).await;
    let what = Shred::Account("2".into());
    shred(&path, &raw(1), &what, ShredOptions::new(), &())
        .await
        .unwrap();
    let what = Shred::Tables(vec![Table::MsgSecret]);
    shred(&path, &raw(1), &what, ShredOptions::new(), &())
        .await
        .unwrap();
    for _ in 0..2 {
        // Twice: the second time the table has a new key, and its rows are still of the old one.
        let done = reencrypt(&path, &raw(1), ReencryptOptions::new(), &())
            .await
            .unwrap();
        assert!(done.resealed > 40 && done.retained == 0, "{done:?}");
        let report = check(&path, &raw(1), CheckOptions::new(), &())
            .await
            .unwrap();
        assert!(report.is_sound() && report.shredded > 50, "{report:?}");
    }
    let store = open(&path, 1).await.unwrap();
    for sample in samples(1) {
        let found = sample.get(&store).await;
        if sample.table == Table::MsgSecret {
            let error = found.unwrap_err();
            let ours = SealError::of(&error);
            assert!(matches!(ours, Some(SealError::Shredded)), "{error:?}");
        } else {
            assert_eq!(found.unwrap(), Some(sample.expected()), "{sample:?}");
        }
    }
    store.inner().close().await.unwrap();
    drop(store);
    let done = decrypt(&path, &raw(1), DecryptOptions::new(), &())
        .await
        .unwrap();
    assert!(done.left_out > 50, "{done:?}");
    let plain = SqliteStore::open(&path).await.unwrap();
    for sample in samples(1).filter(|sample| sample.table != Table::MsgSecret) {
        let found = sample.get(&plain).await.unwrap();
        assert_eq!(found, Some(sample.expected()), "{sample:?}");
    }
}

#[tokio::test]
async fn everything_can_be_shredded_and_a_store_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    fill(&path).await;
    let user = open(&path, 1).await.unwrap();
    let refused = shred(&path, &raw(1), &Shred::All, ShredOptions::new(), &()).await;
    assert_eq!(refused.unwrap_err().kind(), LifecycleErrorKind::InUse);
    assert!(
        samples(1)
            .next()
            .unwrap()
            .get(&user)
            .await
            .unwrap()
            .is_some()
    );
    user.inner().close().await.unwrap();
    drop(user);
    let unknown = Shred::Account("3".into());
    let refused = shred(&path, &raw(1), &unknown, ShredOptions::new(), &()).await;
    assert!(refused.is_err());
    let done = shred(&path, &raw(1), &Shred::All, ShredOptions::new(), &())
        .await
        .unwrap();
    assert_eq!(done.keys, 2 * (Table::ALL.len() as u64 + 1));
    for account in [1, 2] {
        assert!(matches!(
            open(&path, account).await,
            Err(SealError::Shredded)
        ));
    }
}

/// Whoever reads the file keeps its log, and with it the erased keys: that is said, and the next run is rid of them.
#[tokio::test]
async fn a_log_that_is_kept_by_a_reader_is_told_and_goes_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    fill(&path).await;
    let keys = wrapped(&path, 1, |_| true);
    let reader = Connection::open(&path).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema;")
        .unwrap();
    let what = Shred::Account("1".into());
    let shredded = async || {
        shred(&path, &raw(1), &what, ShredOptions::new(), &())
            .await
            .unwrap()
    };
    let done = shredded().await;
    assert!(done.log_left && done.keys > 0, "{done:?}");
    assert!(found(&path, &keys) > 0, "nothing was kept");
    drop(reader);
    let again = shredded().await;
    assert!(!again.log_left && again.vacuumed, "{again:?}");
    assert_eq!((again.keys, again.rows), (0, done.rows));
    assert_eq!(found(&path, &keys), 0);
}

/// What some other program left in free pages is gone too.
#[tokio::test]
async fn free_pages_are_swept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    fill(&path).await;
    let keys = wrapped(&path, 1, |_| true);
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch(
            "PRAGMA secure_delete = OFF; CREATE TABLE copy AS SELECT * FROM sealed_store_keyring;
             DROP TABLE copy;",
        )
        .unwrap();
    other.close().unwrap();
    let what = Shred::Account("1".into());
    let done = shred(&path, &raw(1), &what, ShredOptions::new(), &()).await;
    assert!(done.unwrap().vacuumed);
    assert_eq!(found(&path, &keys), 0);
}
