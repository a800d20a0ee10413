//! Who has a keyring open is never taken for gone: not while it tries to be alone, and not after a future was dropped
//! half-way. Somebody else, who believed to be alone, would destroy keys under which rows are on their way.

mod support;

use sealed_store::{Keyring, SealError, SqliteKeyring, Table};
use support::{dropped_after, raw, refused};

#[tokio::test]
async fn a_dropped_future_keeps_the_hold() {
    let mut pauses = 0;
    for pause in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k.db");
        let one = Keyring::create(SqliteKeyring::at(&path), &raw(1))
            .await
            .unwrap();
        let account = one.create_account("a").await.unwrap();
        let slot = one.slots().await.unwrap()[0].slot;
        let ended = dropped_after(pause, one.rotate_root(&[(slot, &raw(1))], &[])).await;
        let other = Keyring::open(SqliteKeyring::at(&path), &raw(1))
            .await
            .unwrap_or_else(|error| panic!("pause {pause}: {error:?}"));
        let theirs = other.account("a").await.unwrap();
        // Also what was on its way when the future was dropped is over by then, or comes in between.
        let alone = theirs.shred_tables(&[Table::Session]).await;
        assert!(
            matches!(alone, Err(SealError::InUse)),
            "pause {pause}: {alone:?}"
        );
        assert!(one.is_open(), "pause {pause}");
        drop((theirs, other));
        account.rotate_data_keys(&[Table::Session]).await.unwrap();
        if ended.is_some() {
            break;
        }
        pauses += 1;
    }
    assert!(pauses > 4, "{pauses}");
}

/// Two who want to be alone, at the same time, again and again: neither is, for the other has it open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_alone_while_another_tries_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k.db");
    let one = Keyring::create(SqliteKeyring::at(&path), &raw(1))
        .await
        .unwrap();
    let mine = one.create_account("a").await.unwrap();
    let other = Keyring::open(SqliteKeyring::at(&path), &raw(1))
        .await
        .unwrap();
    let theirs = other.account("a").await.unwrap();
    let tables = [Table::Session];
    for _ in 0..8 {
        let (a, b) = tokio::join!(mine.shred_tables(&tables), theirs.shred_tables(&tables));
        for answer in [refused(a), refused(b)] {
            assert!(matches!(answer, SealError::InUse), "{answer:?}");
        }
    }
    assert!(one.is_open() && other.is_open());
}
