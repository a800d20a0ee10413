//! Message secrets: three columns of name, and fields that merge instead of being replaced.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use wacore::store::traits::{Backend, MsgSecretEntry};

use super::behaviours;
use super::cells::{self, Batched, Cells};
use super::support::{Must, Store, array, expect_absent, expect_bytes, key, with_device};

behaviours! { "msg_secret", with_device;
    row: put_msg_secret get_msg_secret get_msg_secret_with_ts;
    batch: put_msg_secret put_msg_secrets get_msg_secret get_msg_secret_with_ts;
    chats: put_msg_secret get_msg_secret get_msg_secret_with_ts;
    senders: put_msg_secret get_msg_secret get_msg_secret_with_ts;
    ids: put_msg_secret get_msg_secret get_msg_secret_with_ts;
    scoped_by_three: put_msg_secret put_msg_secrets get_msg_secret get_msg_secret_with_ts
        delete_expired_msg_secrets;
    batch_is_counted: put_msg_secrets get_msg_secret get_msg_secret_with_ts;
    expiry: put_msg_secret put_msg_secrets get_msg_secret get_msg_secret_with_ts
        delete_expired_msg_secrets;
    later_deadline_wins: put_msg_secrets get_msg_secret get_msg_secret_with_ts
        delete_expired_msg_secrets;
    never_wins: put_msg_secret put_msg_secrets get_msg_secret get_msg_secret_with_ts
        delete_expired_msg_secrets;
    message_time_merges: put_msg_secret put_msg_secrets get_msg_secret get_msg_secret_with_ts;
    merges_within_a_batch: put_msg_secrets get_msg_secret get_msg_secret_with_ts
        delete_expired_msg_secrets;
}

const CHAT: &str = "120363021033254949@g.us";
const SENDER: &str = "5511987650001@s.whatsapp.net";
const ID: &str = "3EB0AABBCCDDEEFF0011";

/// Secrets named in one of their three columns.
enum Secrets {
    Chat,
    Sender,
    Id,
}

impl Secrets {
    fn place<'a>(&self, name: &'a str) -> [&'a str; 3] {
        match self {
            Self::Chat => [name, SENDER, ID],
            Self::Sender => [CHAT, name, ID],
            Self::Id => [CHAT, SENDER, name],
        }
    }
}

fn entry(
    [chat, sender, msg_id]: [&str; 3],
    seed: u16,
    expires_at: i64,
    message_ts: i64,
) -> MsgSecretEntry {
    MsgSecretEntry {
        chat: chat.into(),
        sender: sender.into(),
        msg_id: msg_id.into(),
        secret: key(seed),
        expires_at,
        message_ts,
    }
}

/// An entry in the usual chat.
fn secret(id: &str, seed: u16, expires_at: i64, message_ts: i64) -> MsgSecretEntry {
    entry(Secrets::Id.place(id), seed, expires_at, message_ts)
}

async fn put(store: &dyn Backend, entries: impl Into<Vec<MsgSecretEntry>>) -> usize {
    store
        .put_msg_secrets(entries.into())
        .await
        .must("put_msg_secrets")
}

/// Reads a secret and its message time, in both ways.
async fn get(store: &dyn Backend, place: [&str; 3]) -> Option<(Vec<u8>, i64)> {
    let [chat, sender, id] = place;
    let plain = store
        .get_msg_secret(chat, sender, id)
        .await
        .must("get_msg_secret");
    let timed = store
        .get_msg_secret_with_ts(chat, sender, id)
        .await
        .must("get_msg_secret_with_ts");
    assert_eq!(
        timed.as_ref().map(|(secret, _)| secret),
        plain.as_ref(),
        "a secret read with its time and without"
    );
    timed
}

async fn expect(store: &dyn Backend, id: &str, seed: u16, message_ts: i64, what: &str) {
    let want = (key(seed).to_vec(), message_ts);
    let got = get(store, Secrets::Id.place(id)).await;
    assert_eq!(got, Some(want), "{what}: secret and message time");
}

async fn expire(store: &dyn Backend, cutoff: i64) -> u32 {
    store
        .delete_expired_msg_secrets(cutoff)
        .await
        .must("delete_expired_msg_secrets")
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Cells for Secrets {
    async fn put(&self, store: &dyn Backend, name: &str, value: &[u8]) {
        let [chat, sender, id] = self.place(name);
        store
            .put_msg_secret(chat, sender, id, &array(value))
            .await
            .must("put_msg_secret");
    }

    async fn get(&self, store: &dyn Backend, name: &str) -> Option<Vec<u8>> {
        let (secret, message_ts) = get(store, self.place(name)).await?;
        assert_eq!(message_ts, 0, "an unknown message time reads as 0");
        Some(secret)
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Batched for Secrets {
    async fn put_batch(&self, store: &dyn Backend, rows: &[(Arc<str>, Bytes)]) {
        let entries: Vec<_> = rows
            .iter()
            .map(|(name, value)| MsgSecretEntry {
                secret: array(value),
                ..entry(self.place(name), 0, 0, 0)
            })
            .collect();
        put(store, entries).await;
    }
}

async fn row(store: Store) {
    cells::put_get_overwrite(Secrets::Id, &*store).await;
}

async fn batch(store: Store) {
    cells::batch(Secrets::Id, &*store).await;
}

async fn chats(store: Store) {
    cells::names(Secrets::Chat, &*store).await;
}

async fn senders(store: Store) {
    cells::names(Secrets::Sender, &*store).await;
}

async fn ids(store: Store) {
    cells::names(Secrets::Id, &*store).await;
}

/// Chat, sender and id together are the key: secrets that share two of them are different ones, for
/// reading and for expiry.
async fn scoped_by_three(store: Store) {
    let store = &*store;
    let places = [
        [CHAT, SENDER, ID],
        [SENDER, SENDER, ID],
        [CHAT, CHAT, ID],
        [CHAT, SENDER, "other"],
        [SENDER, CHAT, ID],
    ];
    for (place, seed) in places.into_iter().zip(0..) {
        put(
            store,
            [entry(place, seed, 100 + i64::from(seed), i64::from(seed))],
        )
        .await;
    }
    let expect_from = async |first: u16| {
        for (place, seed) in places.into_iter().zip(0..) {
            let want = (seed >= first).then(|| (key(seed).to_vec(), i64::from(seed)));
            assert_eq!(get(store, place).await, want, "the secret of {place:?}");
        }
    };
    expect_from(0).await;
    assert_eq!(expire(store, 101).await, 2, "the two earliest deadlines");
    expect_from(2).await;
    expect_absent(get(store, [ID, SENDER, CHAT]).await, "columns exchanged");
    Secrets::Id.put(store, "third", &key(9)).await;
    expect(store, "third", 9, 0, "a secret put singly").await;
}

/// A batch of new secrets is counted by its rows; an empty one is 0.
async fn batch_is_counted(store: Store) {
    let store = &*store;
    assert_eq!(put(store, []).await, 0, "an empty batch");
    let entries: Vec<_> = (0..250)
        .map(|i| secret(&i.to_string(), i, 0, i.into()))
        .collect();
    assert_eq!(put(store, entries).await, 250, "250 new secrets");
    for i in [0, 99, 100, 101, 249] {
        expect(store, &i.to_string(), i, i.into(), "one of 250").await;
    }
}

/// Secrets whose deadline is at or before the cutoff are deleted and counted; a deadline of 0, and with
/// it every secret put singly, is never.
async fn expiry(store: Store) {
    let store = &*store;
    assert_eq!(
        expire(store, i64::MAX).await,
        0,
        "an empty store has nothing to expire"
    );
    put(
        store,
        [
            secret("before", 1, 999, 0),
            secret("at", 2, 1000, 0),
            secret("after", 3, 1001, 0),
            secret("never", 4, 0, 0),
        ],
    )
    .await;
    Secrets::Id.put(store, "single", &key(5)).await;
    assert_eq!(expire(store, 998).await, 0, "no deadline has passed");
    assert_eq!(expire(store, 1000).await, 2, "two deadlines have passed");
    for gone in ["before", "at"] {
        expect_absent(Secrets::Id.get(store, gone).await, gone);
    }
    assert_eq!(expire(store, 1000).await, 0, "nothing expires twice");
    assert_eq!(expire(store, i64::MAX).await, 1, "one deadline was left");
    expect_absent(Secrets::Id.get(store, "after").await, "after");
    expect_bytes(Secrets::Id.get(store, "never").await, &key(4), "never");
    expect_bytes(Secrets::Id.get(store, "single").await, &key(5), "single");
}

/// A second put replaces the secret, but its deadline only if it is later.
async fn later_deadline_wins(store: Store) {
    let store = &*store;
    put(
        store,
        [secret("longer", 1, 500, 0), secret("shorter", 2, 900, 0)],
    )
    .await;
    put(
        store,
        [secret("longer", 3, 900, 0), secret("shorter", 4, 500, 0)],
    )
    .await;
    assert_eq!(
        expire(store, 899).await,
        0,
        "both deadlines are the later one"
    );
    expect(store, "longer", 3, 0, "the deadline was moved").await;
    expect(store, "shorter", 4, 0, "the deadline was kept").await;
    assert_eq!(expire(store, 900).await, 2, "both end there");
}

/// A deadline of 0 wins over any other, whichever comes first and whichever way it is put.
async fn never_wins(store: Store) {
    let store = &*store;
    put(
        store,
        [
            secret("first", 1, 0, 0),
            secret("second", 2, 500, 0),
            secret("single", 3, 500, 0),
        ],
    )
    .await;
    put(
        store,
        [secret("first", 4, 500, 0), secret("second", 5, 0, 0)],
    )
    .await;
    Secrets::Id.put(store, "single", &key(6)).await;
    assert_eq!(expire(store, i64::MAX).await, 0, "none of them expires");
    expect(store, "first", 4, 0, "never, then a deadline").await;
    expect(store, "second", 5, 0, "a deadline, then never").await;
    expect(store, "single", 6, 0, "a deadline, then a single put").await;
}

/// The later message time wins, and an unknown one (0) never hides a known one.
async fn message_time_merges(store: Store) {
    let store = &*store;
    for (seed, message_ts, want) in [
        (1, 0, 0),
        (2, 700, 700),
        (3, 0, 700),
        (4, 600, 700),
        (5, 800, 800),
    ] {
        put(store, [secret(ID, seed, 0, message_ts)]).await;
        expect(
            store,
            ID,
            seed,
            want,
            &format!("after a message time of {message_ts}"),
        )
        .await;
    }
    let [chat, sender, id] = Secrets::Id.place(ID);
    store
        .put_msg_secret(chat, sender, id, &key(6))
        .await
        .must("put_msg_secret");
    expect(store, ID, 6, 800, "after a single put").await;
}

/// Entries for the same secret merge within a batch as they do across batches.
async fn merges_within_a_batch(store: Store) {
    let store = &*store;
    put(
        store,
        [
            secret("A", 1, 900, 700),
            secret("B", 2, 500, 0),
            secret("A", 3, 500, 0),
            secret("B", 4, 0, 300),
        ],
    )
    .await;
    expect(store, "A", 3, 700, "the first secret").await;
    expect(store, "B", 4, 300, "the second secret").await;
    assert_eq!(expire(store, 899).await, 0, "the later deadline counts");
    assert_eq!(expire(store, 900).await, 1, "and never is never");
    expect_absent(get(store, Secrets::Id.place("A")).await, "the first secret");
    expect(store, "B", 4, 300, "the second secret, after expiry").await;
}
