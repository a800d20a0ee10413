//! What becomes of the old file when everything is made new: it is overwritten, unless it is kept, and it must be kept where
//! it holds keys that are needed elsewhere.

#[path = "common/child.rs"]
mod child;
mod common;
#[path = "common/resealing.rs"]
mod resealing;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use common::support::raw;
use resealing::{fill_accounts, is_whole_of, key, open_account};
use sealed_store::lifecycle::{FullOptions, LifecycleErrorKind, NewSlotOf, reencrypt_fully};
use sealed_store::store::sqlite::SqliteStore;
use sealed_store::{KeyProvider, Keyring, SealedBackend, SqliteKeyring};

async fn is_whole_with(path: &Path, provider: &dyn KeyProvider) {
    let keyring = Keyring::open(SqliteKeyring::at(path), provider)
        .await
        .unwrap();
    let account = keyring.account("1").await.unwrap();
    let store = SqliteStore::open(path).await.unwrap();
    let store = SealedBackend::open(std::sync::Arc::new(store), account)
        .await
        .unwrap();
    is_whole_of(&store, 1).await;
    store.inner().close().await.unwrap();
}

#[tokio::test]
async fn the_old_file_is_overwritten_unless_it_is_kept() {
    for keep in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (path, kept) = (folder.path().join("w.db"), folder.path().join("kept.db"));
        fill_accounts(&path, &path, &[1]).await;
        // Held until the end: closing it earlier would take SQLite's hold of the file away.
        let mut held = File::open(&path).unwrap();
        let new = raw(9);
        let slots: [NewSlotOf<'_>; 1] = [("new", &new)];
        let options = FullOptions::new().keep_old(keep.then(|| kept.clone()));
        let done = reencrypt_fully(&path, &key(), &slots, options, &())
            .await
            .unwrap();
        assert_eq!(done.kept, keep);
        let mut bytes = Vec::new();
        held.read_to_end(&mut bytes).unwrap();
        assert!(bytes.len() > 50_000);
        let overwritten = bytes.iter().all(|byte| *byte == 0);
        assert_eq!(overwritten, !keep);
        drop(held);
        is_whole_with(&path, &new).await;
        assert!(
            Keyring::open(SqliteKeyring::at(&path), &key())
                .await
                .is_err()
        );
        if keep {
            is_whole_with(&kept, &key()).await;
        }
    }
}

/// An account of the keyring whose rows are in another file would lose its keys with the old file.
#[tokio::test]
async fn an_account_whose_rows_are_elsewhere_keeps_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("w.db"), folder.path().join("other.db"));
    fill_accounts(&path, &path, &[1]).await;
    fill_accounts(&other, &path, &[2]).await;
    let new = raw(9);
    let slots: [NewSlotOf<'_>; 1] = [("new", &new)];
    let refused = reencrypt_fully(&path, &key(), &slots, FullOptions::new(), &()).await;
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), LifecycleErrorKind::Other, "{error}");
    is_whole_with(&path, &key()).await;
    let store = open_account(&other, &path, 2).await;
    is_whole_of(&store, 2).await;
    store.inner().close().await.unwrap();
    drop(store);
    let kept = folder.path().join("kept.db");
    let options = FullOptions::new().keep_old(Some(kept.clone()));
    reencrypt_fully(&path, &key(), &slots, options, &())
        .await
        .unwrap();
    is_whole_with(&path, &new).await;
    let store = open_account(&other, &kept, 2).await;
    is_whole_of(&store, 2).await;
}
