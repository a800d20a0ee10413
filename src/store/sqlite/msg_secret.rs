//! Message secrets.
//!
//! A history sync writes many thousands of them under random ids. In a table that is ordered by them each would
//! dirty a page of its own; so rows are appended, and found by a digest of their key, whose index is a small
//! part of what an index of the keys would take. The secrets of one message, of which there is one for each id that
//! its sender is known by, share a row: the client writes and asks for them together, and so does a seal on top.

mod held;

use async_trait::async_trait;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};
use wacore::store::error::Result as StoreResult;
use wacore::store::traits::{MessageSecret, MsgSecretEntry, MsgSecretStore};
use zeroize::Zeroizing;

use super::SqliteStore;
use super::key::{pack, unpack};
use held::{Held, first_deadline, merge};

const PUT: &str = "INSERT INTO msg_secrets
        (place, place_end, account, chat, message_id, senders, first_deadline)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT (place, place_end) DO NOTHING";
const GET: &str = "SELECT senders FROM msg_secrets WHERE place = ?1 AND place_end = ?2";
const CHANGE: &str = "UPDATE msg_secrets SET senders = ?3, first_deadline = ?4
    WHERE place = ?1 AND place_end = ?2";

/// Where a message's row is found: half of the SHA-256 of its key.
type Place = [i64; 2];

/// A secret to be written.
#[derive(Clone, Copy)]
pub(crate) struct Secret<'a> {
    pub(crate) chat: &'a str,
    pub(crate) message_id: &'a str,
    pub(crate) sender: &'a str,
    pub(crate) secret: &'a [u8],
    pub(crate) expires_at: i64,
    pub(crate) message_ts: i64,
}

/// A secret that was read.
pub(crate) struct OwnedSecret {
    pub(crate) account: i32,
    pub(crate) chat: Zeroizing<String>,
    pub(crate) message_id: Zeroizing<String>,
    pub(crate) sender: Zeroizing<String>,
    pub(crate) secret: Zeroizing<Vec<u8>>,
    pub(crate) expires_at: i64,
    pub(crate) message_ts: i64,
}

fn of_entry(entry: &MsgSecretEntry) -> Secret<'_> {
    Secret {
        chat: &entry.chat,
        message_id: &entry.msg_id,
        sender: &entry.sender,
        secret: &entry.secret,
        expires_at: entry.expires_at,
        message_ts: entry.message_ts,
    }
}

impl<'a> Secret<'a> {
    fn held(&self) -> Held<'a> {
        Held {
            sender: pack(self.sender),
            secret: self.secret,
            expires_at: self.expires_at,
            message_ts: self.message_ts,
        }
    }
}

fn place(account: i32, chat: &str, message_id: &str) -> Place {
    let digest = Sha256::new()
        .chain_update(account.to_le_bytes())
        // With its length, so that no two keys run together.
        .chain_update((chat.len() as u64).to_le_bytes())
        .chain_update(chat)
        .chain_update(message_id)
        .finalize();
    let (halves, _) = digest.as_chunks();
    let half = |number| halves.get(number).copied().map_or(0, i64::from_le_bytes);
    [half(0), half(1)]
}

fn senders(bytes: &[u8]) -> rusqlite::Result<Vec<Held<'_>>> {
    held::read(bytes).ok_or_else(unreadable)
}

fn unreadable() -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(
        0,
        Type::Blob,
        "it holds no secrets that this store writes; restore the database from a backup".into(),
    )
}

fn note_damaged() {
    tracing::warn!(
        target: "sealed_store",
        "the secrets of a message are damaged; restore the database from a backup"
    );
}

/// The secrets in a row whose columns from `at` are account, chat, message id and senders. `None` where they are not
/// what is written here.
pub(crate) fn secrets_of(row: &Row<'_>, at: usize) -> Option<Vec<OwnedSecret>> {
    let account = row.get(at).ok()?;
    let text = |column| unpack(row.get_ref(column).ok()?.as_blob().ok()?).map(Zeroizing::new);
    let (chat, message_id) = (text(at + 1)?, text(at + 2)?);
    owned(
        account,
        &chat,
        &message_id,
        row.get_ref(at + 3).ok()?.as_blob().ok()?,
    )
}

fn owned(account: i32, chat: &str, message_id: &str, senders: &[u8]) -> Option<Vec<OwnedSecret>> {
    let held = held::read(senders)?.into_iter();
    held.map(|held| {
        Some(OwnedSecret {
            account,
            chat: Zeroizing::new(chat.to_owned()),
            message_id: Zeroizing::new(message_id.to_owned()),
            sender: Zeroizing::new(unpack(&held.sender)?),
            secret: Zeroizing::new(held.secret.to_vec()),
            expires_at: held.expires_at,
            message_ts: held.message_ts,
        })
    })
    .collect()
}

/// The secrets of a message.
pub(crate) fn secrets_at(
    connection: &Connection,
    account: i32,
    chat: &str,
    message_id: &str,
) -> rusqlite::Result<Vec<OwnedSecret>> {
    let found =
        connection
            .prepare_cached(GET)?
            .query_row(place(account, chat, message_id), |row| {
                let bytes = row.get_ref(0)?.as_blob()?;
                owned(account, chat, message_id, bytes).ok_or_else(unreadable)
            });
    Ok(found.optional()?.unwrap_or_default())
}

/// Puts `new` in the place of `old`, a secret of the same message and sender, if that is still what is held; its times
/// stay. Whether it was.
pub(crate) fn replace(
    connection: &Connection,
    account: i32,
    old: &Secret<'_>,
    new: &Secret<'_>,
) -> rusqlite::Result<bool> {
    let [place, end] = place(account, old.chat, old.message_id);
    let found: Option<Vec<u8>> = connection
        .prepare_cached(GET)?
        .query_row([place, end], |row| row.get(0))
        .optional()?;
    let Some(before) = found else {
        return Ok(false);
    };
    let sender = pack(old.sender);
    let mut held: Vec<Held<'_>> = senders(&before)?;
    let Some(changed) = held
        .iter_mut()
        .find(|held| held.sender == sender && held.secret == old.secret)
    else {
        return Ok(false);
    };
    changed.secret = new.secret;
    let mut bytes = Vec::new();
    held::write(&held, &mut bytes);
    let rows = connection
        .prepare_cached(
            "UPDATE msg_secrets SET senders = ?4
             WHERE place = ?1 AND place_end = ?2 AND senders = ?3",
        )?
        .execute(params![place, end, before, bytes])?;
    Ok(rows == 1)
}

/// Writes `rows`, of each of which `secret` gives the secret; the later one counts.
pub(crate) fn put<T>(
    connection: &Connection,
    account: i32,
    rows: &[T],
    secret: impl Fn(&T) -> Secret<'_>,
) -> rusqlite::Result<()> {
    let mut order: Vec<(Place, &T)> = Vec::with_capacity(rows.len());
    for row in rows {
        let Secret {
            chat, message_id, ..
        } = secret(row);
        let place = match order.last() {
            // The same texts, if they are the same in memory: a message's secrets come together.
            Some((place, last)) if same(&secret(last), chat, message_id) => *place,
            _ => place(account, chat, message_id),
        };
        order.push((place, row));
    }
    // So that the index is gone through once. Stable, as to which of two is the later.
    order.sort_by_key(|(place, _)| *place);
    let mut insert = connection.prepare_cached(PUT)?;
    let mut bytes = Vec::new();
    for message in order.chunk_by(|(a, _), (b, _)| a == b) {
        let Some(&([place, end], first)) = message.first() else {
            continue;
        };
        let new = || message.iter().map(|(_, row)| secret(row).held());
        let Secret {
            chat, message_id, ..
        } = secret(first);
        let mut held = Vec::with_capacity(message.len());
        new().for_each(|new| merge(&mut held, new));
        held::write(&held, &mut bytes);
        let inserted = insert.execute(params![
            place,
            end,
            account,
            &pack(chat)[..],
            &pack(message_id)[..],
            bytes,
            first_deadline(&held)
        ])?;
        if inserted == 0 {
            let old: Vec<u8> = connection
                .prepare_cached(GET)?
                .query_row([place, end], |row| row.get(0))?;
            // One that is damaged is written anew: it must not keep all others of a history sync out.
            let mut held = held::read(&old).unwrap_or_else(|| {
                note_damaged();
                Vec::new()
            });
            new().for_each(|new| merge(&mut held, new));
            held::write(&held, &mut bytes);
            connection.prepare_cached(CHANGE)?.execute(params![
                place,
                end,
                bytes,
                first_deadline(&held)
            ])?;
        }
    }
    Ok(())
}

fn same(last: &Secret<'_>, chat: &str, message_id: &str) -> bool {
    std::ptr::eq(last.chat, chat) && std::ptr::eq(last.message_id, message_id)
}

/// Rows that are looked at in one transaction where expired secrets go.
const SWEPT: usize = 1000;

/// Where there are secrets that expired by `cutoff`.
fn due(connection: &Connection, account: i32, cutoff: i64) -> rusqlite::Result<Vec<Place>> {
    connection
        .prepare_cached(
            "SELECT place, place_end FROM msg_secrets
             WHERE account = ?1 AND first_deadline <> 0 AND first_deadline <= ?2",
        )?
        .query_map(params![account, cutoff], |row| {
            Ok([row.get(0)?, row.get(1)?])
        })?
        .collect()
}

/// Removes what expired by `cutoff` at these places, and says how many secrets went.
fn sweep(connection: &Connection, places: &[Place], cutoff: i64) -> rusqlite::Result<usize> {
    let mut get = connection.prepare_cached(GET)?;
    let mut remove =
        connection.prepare_cached("DELETE FROM msg_secrets WHERE place = ?1 AND place_end = ?2")?;
    let mut change = connection.prepare_cached(CHANGE)?;
    let (mut gone, mut left) = (0, Vec::new());
    for place in places {
        let found: Option<Vec<u8>> = get.query_row(*place, |row| row.get(0)).optional()?;
        let Some(bytes) = found else { continue };
        // One that is damaged stays, and keeps no other one from going.
        let Some(mut held) = held::read(&bytes) else {
            note_damaged();
            continue;
        };
        let before = held.len();
        held.retain(|held| !held.expired(cutoff));
        if held.len() == before {
            continue;
        }
        gone += before - held.len();
        if held.is_empty() {
            remove.execute(*place)?;
        } else {
            held::write(&held, &mut left);
            change.execute(params![place[0], place[1], left, first_deadline(&held)])?;
        }
    }
    Ok(gone)
}

#[deny(clippy::missing_trait_methods)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl MsgSecretStore for SqliteStore {
    async fn put_msg_secret(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
        secret: &MessageSecret,
    ) -> StoreResult<()> {
        let entry = MsgSecretEntry {
            chat: chat.into(),
            sender: sender.into(),
            msg_id: msg_id.into(),
            secret: *secret,
            expires_at: 0,
            message_ts: 0,
        };
        self.put_msg_secrets(vec![entry]).await.map(drop)
    }

    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> StoreResult<usize> {
        if entries.is_empty() {
            return Ok(0);
        }
        let account = self.account;
        self.write(entries.len(), move |connection| {
            put(connection, account, &entries, of_entry)?;
            Ok(entries.len())
        })
        .await
    }

    async fn get_msg_secret(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> StoreResult<Option<Vec<u8>>> {
        let found = self.get_msg_secret_with_ts(chat, sender, msg_id).await?;
        Ok(found.map(|(secret, _)| secret))
    }

    async fn get_msg_secret_with_ts(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> StoreResult<Option<(Vec<u8>, i64)>> {
        let (place, sender) = (place(self.account, chat, msg_id), pack(sender));
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(GET)?;
            let found = statement.query_row(place, |row| {
                let held = senders(row.get_ref(0)?.as_blob()?)?;
                let found = held.into_iter().find(|held| held.sender == sender);
                Ok(found.map(|held| (held.secret.to_vec(), held.message_ts)))
            });
            Ok(found.optional()?.flatten())
        })
        .await
    }

    async fn delete_expired_msg_secrets(&self, cutoff_timestamp: i64) -> StoreResult<u32> {
        let account = self.account;
        // All are looked at, for there is no index by deadline: beside those who write.
        let places = self
            .read_many(move |connection| due(connection, account, cutoff_timestamp))
            .await?;
        let mut gone = 0;
        for some in places.chunks(SWEPT) {
            let some = some.to_vec();
            gone += self
                .write(some.len(), move |connection| {
                    sweep(connection, &some, cutoff_timestamp)
                })
                .await?;
        }
        Ok(u32::try_from(gone).unwrap_or(u32::MAX))
    }
}
