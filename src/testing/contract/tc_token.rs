//! Trusted-contact tokens: two writers, each with its own field, and an expiry by two clocks.

use async_trait::async_trait;
use wacore::store::traits::{Backend, TcTokenEntry};

use super::behaviours;
use super::cells::{self, Cells, Erasable};
use super::support::{Must, Store, both, expect_same_items, with_device};

behaviours! { "tc_token", with_device;
    row: put_tc_token get_tc_token;
    delete: put_tc_token get_tc_token delete_tc_token;
    names: put_tc_token get_tc_token;
    keeps_every_field: put_tc_token get_tc_token;
    jids: put_tc_token delete_tc_token touch_tc_token_sender_timestamp store_received_tc_token
        get_all_tc_token_jids;
    expiry_needs_both_to_be_stale: put_tc_token get_tc_token delete_expired_tc_tokens
        get_all_tc_token_jids;
    received_newer_wins: store_received_tc_token get_tc_token;
    received_keeps_sender_time: put_tc_token store_received_tc_token get_tc_token;
    placeholder_never_blocks: touch_tc_token_sender_timestamp put_tc_token store_received_tc_token
        get_tc_token;
    touch_makes_a_placeholder: touch_tc_token_sender_timestamp get_tc_token;
    touch_only_advances: put_tc_token touch_tc_token_sender_timestamp get_tc_token;
    touch_and_received_at_once: touch_tc_token_sender_timestamp store_received_tc_token get_tc_token;
}

const JID: &str = "100000012345678@lid";

/// Token, its time, and the sender's time.
type Fields = (Vec<u8>, i64, Option<i64>);

fn entry(token: &[u8], token_timestamp: i64, sender_timestamp: Option<i64>) -> TcTokenEntry {
    TcTokenEntry {
        token: token.to_vec(),
        token_timestamp,
        sender_timestamp,
    }
}

async fn put(store: &dyn Backend, jid: &str, entry: &TcTokenEntry) {
    store.put_tc_token(jid, entry).await.must("put_tc_token");
}

async fn get(store: &dyn Backend, jid: &str) -> Option<Fields> {
    let found = store.get_tc_token(jid).await.must("get_tc_token");
    found.map(|entry| {
        let TcTokenEntry {
            token,
            token_timestamp,
            sender_timestamp,
        } = entry;
        (token, token_timestamp, sender_timestamp)
    })
}

async fn expect(
    store: &dyn Backend,
    token: &[u8],
    token_timestamp: i64,
    sender_timestamp: Option<i64>,
    what: &str,
) {
    let want = (token.to_vec(), token_timestamp, sender_timestamp);
    assert_eq!(get(store, JID).await, Some(want), "{what}");
}

async fn receive(store: &dyn Backend, jid: &str, token: &[u8], token_timestamp: i64) {
    store
        .store_received_tc_token(jid, token, token_timestamp)
        .await
        .must("store_received_tc_token");
}

async fn touch(store: &dyn Backend, jid: &str, sender_timestamp: i64) {
    store
        .touch_tc_token_sender_timestamp(jid, sender_timestamp)
        .await
        .must("touch_tc_token_sender_timestamp");
}

struct TcTokens;

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Cells for TcTokens {
    async fn put(&self, store: &dyn Backend, name: &str, value: &[u8]) {
        put(store, name, &entry(value, 1_700_000_000, None)).await;
    }

    async fn get(&self, store: &dyn Backend, name: &str) -> Option<Vec<u8>> {
        get(store, name).await.map(|(token, ..)| token)
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Erasable for TcTokens {
    async fn delete(&self, store: &dyn Backend, name: &str) {
        store.delete_tc_token(name).await.must("delete_tc_token");
    }
}

async fn row(store: Store) {
    cells::put_get_overwrite(TcTokens, &*store).await;
}

async fn delete(store: Store) {
    cells::delete(TcTokens, &*store).await;
}

async fn names(store: Store) {
    cells::names(TcTokens, &*store).await;
}

/// Token and both times come back, whatever was there before: a plain put compares nothing.
async fn keeps_every_field(store: Store) {
    let store = &*store;
    for (token, token_timestamp, sender_timestamp) in [
        (&b"token"[..], 1 << 40, Some((1 << 40) + 1)),
        (b"older", 5, None),
        (b"", 7, Some(0)),
        (b"\0", 0, Some(9)),
    ] {
        put(store, JID, &entry(token, token_timestamp, sender_timestamp)).await;
        expect(
            store,
            token,
            token_timestamp,
            sender_timestamp,
            "the entry just put",
        )
        .await;
    }
}

/// The list of JIDs holds each one once, placeholders included, and none that was deleted.
async fn jids(store: Store) {
    let store = &*store;
    let all = async || {
        store
            .get_all_tc_token_jids()
            .await
            .must("get_all_tc_token_jids")
    };
    assert!(all().await.is_empty(), "an empty store has no tokens");
    for jid in ["1@lid", "2@lid", "3@lid", "1@lid"] {
        put(store, jid, &entry(b"token", 1, None)).await;
    }
    touch(store, "4@lid", 1).await;
    receive(store, "5@lid", b"token", 1).await;
    TcTokens.delete(store, "2@lid").await;
    let want = ["1@lid", "3@lid", "4@lid", "5@lid"].map(str::to_owned);
    expect_same_items(all().await, want, "the JIDs with a token");
}

/// A row goes only when its token is empty or older than its cutoff *and* its sender time is unset or older
/// than the other cutoff. A time at its cutoff is not older.
async fn expiry_needs_both_to_be_stale(store: Store) {
    let store = &*store;
    let (token_cutoff, sender_cutoff) = (1000, 2000);
    let tokens: [(&[u8], i64, bool); 5] = [
        (b"token", 999, false),
        (b"token", 1000, true),
        (b"token", 5000, true),
        (b"", 999, false),
        (b"", 5000, false),
    ];
    let senders = [
        (None, false),
        (Some(1999), false),
        (Some(2000), true),
        (Some(9000), true),
    ];
    let (mut kept, mut gone) = (Vec::new(), 0);
    for (token, token_timestamp, token_lives) in tokens {
        for (sender_timestamp, sender_lives) in senders {
            let jid = format!("{} {token_timestamp} {sender_timestamp:?}", token.len());
            put(
                store,
                &jid,
                &entry(token, token_timestamp, sender_timestamp),
            )
            .await;
            if token_lives || sender_lives {
                kept.push((jid, (token.to_vec(), token_timestamp, sender_timestamp)));
            } else {
                gone += 1;
            }
        }
    }
    let expire = async || {
        store
            .delete_expired_tc_tokens(token_cutoff, sender_cutoff)
            .await
            .must("delete_expired_tc_tokens")
    };
    assert_eq!(expire().await, gone, "rows deleted");
    let left = store
        .get_all_tc_token_jids()
        .await
        .must("get_all_tc_token_jids");
    let names = kept.iter().map(|(jid, _)| jid.clone());
    expect_same_items(
        left,
        names,
        "rows left, as token length, token time, sender time",
    );
    for (jid, fields) in kept {
        assert_eq!(
            get(store, &jid).await,
            Some(fields),
            "a row left, unchanged"
        );
    }
    assert_eq!(expire().await, 0, "rows deleted the second time");
}

/// A received token replaces a real one only if it is at least as new.
async fn received_newer_wins(store: Store) {
    let store = &*store;
    receive(store, JID, b"first", 5000).await;
    expect(store, b"first", 5000, None, "the first token").await;
    receive(store, JID, b"stale", 4999).await;
    expect(store, b"first", 5000, None, "a stale token came").await;
    receive(store, JID, b"equal", 5000).await;
    expect(store, b"equal", 5000, None, "a token of the same time came").await;
    receive(store, JID, b"newer", 5001).await;
    expect(store, b"newer", 5001, None, "a newer token came").await;
    assert_eq!(get(store, "other@lid").await, None, "another contact");
}

/// A received token leaves the sender's time alone.
async fn received_keeps_sender_time(store: Store) {
    let store = &*store;
    put(store, JID, &entry(b"first", 5000, Some(77))).await;
    receive(store, JID, b"newer", 6000).await;
    expect(store, b"newer", 6000, Some(77), "a newer token came").await;
    receive(store, JID, b"stale", 1).await;
    expect(store, b"newer", 6000, Some(77), "a stale token came").await;
}

/// A row without a token gives way to the first real one, even to one with an older time.
async fn placeholder_never_blocks(store: Store) {
    let store = &*store;
    touch(store, JID, 9000).await;
    receive(store, JID, b"real", 6000).await;
    expect(store, b"real", 6000, Some(9000), "after a touch").await;
    put(store, JID, &entry(b"", 9000, None)).await;
    receive(store, JID, b"real", 10).await;
    expect(store, b"real", 10, None, "after an empty token").await;
}

/// Touching an unknown contact leaves a row with an empty token and both times set.
async fn touch_makes_a_placeholder(store: Store) {
    let store = &*store;
    touch(store, JID, 1000).await;
    expect(store, b"", 1000, Some(1000), "the placeholder").await;
    touch(store, JID, 3000).await;
    expect(
        store,
        b"",
        1000,
        Some(3000),
        "the placeholder, touched again",
    )
    .await;
}

/// A touch moves the sender's time forward, never back, and keeps token and token time.
async fn touch_only_advances(store: Store) {
    let store = &*store;
    put(store, JID, &entry(b"token", 2000, None)).await;
    touch(store, JID, 10).await;
    expect(store, b"token", 2000, Some(10), "a first touch").await;
    touch(store, JID, 5000).await;
    expect(store, b"token", 2000, Some(5000), "a later touch").await;
    touch(store, JID, 3000).await;
    expect(store, b"token", 2000, Some(5000), "an earlier touch").await;
}

/// When both writers come at once, neither loses what the other wrote.
async fn touch_and_received_at_once(store: Store) {
    let store = &*store;
    for round in 1..=20 {
        both(
            touch(store, JID, round),
            receive(store, JID, b"token", round),
        )
        .await;
        expect(store, b"token", round, Some(round), "both writers came").await;
    }
}
