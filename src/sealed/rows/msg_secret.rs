//! Message secrets: 64 sealed bytes in two inner rows, because an inner row has room for 32.
//!
//! ```text
//! header[8] ‖ 8 zero bytes ‖ SIV of the secret[48] = 64 bytes
//! first row   (T(N), R(N), "")   the first 32 bytes         N = (chat, sender, id)
//! second row  (T(N), "1",  "")   the last 32 bytes
//! ```

use std::sync::Arc;

use wacore::store::traits::{MessageSecret, MsgSecretEntry};

use super::{Sealer, corrupt};
use crate::blind::{NameColumn, TokenColumn};
use crate::error::{Fault, SealError};
use crate::record::{self, HEADER_LEN, Table};

const TABLE: Table = Table::MsgSecret;
/// The second row's sender. The first row's is a name, which is never this short.
pub(crate) const SECOND_HALF: &str = "1";
/// Fills the 56 sealed bytes up to two times 32.
const ZEROS: [u8; 8] = [0; 8];

/// `T(N)` and `R(N)`.
pub(crate) struct SecretKey {
    pub(crate) token: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl Sealer<'_> {
    pub(crate) fn secret_key(&self, name: [&str; 3]) -> Result<SecretKey, SealError> {
        let parts = name.map(str::as_bytes);
        Ok(SecretKey {
            token: self.blind().token(TokenColumn::MsgSecret, &parts)?.into(),
            name: self.blind().name(NameColumn::MsgSecretName, &parts)?.into(),
        })
    }

    /// The name of a secret whose first row is `(token, name)`; it must give that token again.
    pub(crate) fn read_secret_name(
        &self,
        token: &str,
        name: &str,
    ) -> Result<[String; 3], SealError> {
        let parts = self.blind().read_name(NameColumn::MsgSecretName, name)?;
        let key = self.secret_key(parts.each_ref().map(String::as_str))?;
        if *key.token != *token {
            return Err(corrupt(TABLE, Fault::Name));
        }
        Ok(parts)
    }

    /// The two rows of an entry. Deterministic, so that a repeated put changes nothing and a torn
    /// pair heals.
    pub(crate) fn seal_secret(
        &self,
        entry: &MsgSecretEntry,
        second: &Arc<str>,
        empty: &Arc<str>,
    ) -> Result<[MsgSecretEntry; 2], SealError> {
        let MsgSecretEntry {
            chat,
            sender,
            msg_id,
            secret,
            expires_at,
            message_ts,
        } = entry;
        let name: [&str; 3] = [chat, sender, msg_id];
        let key = self.secret_key(name)?;
        let sealed = record::siv_seal(
            self.keys.table(TABLE)?.newest()?,
            &self.keys.ids,
            TABLE,
            &name.map(str::as_bytes),
            secret,
        )?;
        let (header, siv) = sealed
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(SealError::TooLarge)?;
        let mut whole = [0u8; 64];
        for (to, from) in whole.iter_mut().zip(header.iter().chain(&ZEROS).chain(siv)) {
            *to = *from;
        }
        let (first_half, second_half) = halves(&whole);
        let row = |sender: &Arc<str>, half: MessageSecret| MsgSecretEntry {
            chat: Arc::clone(&key.token),
            sender: Arc::clone(sender),
            msg_id: Arc::clone(empty),
            secret: half,
            expires_at: *expires_at,
            message_ts: *message_ts,
        };
        Ok([row(&key.name, first_half), row(second, second_half)])
    }

    /// The secret of two halves.
    pub(crate) fn open_secret(
        &self,
        name: [&str; 3],
        first: &[u8],
        second: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        if first.len() != 32 || second.len() != 32 {
            return Err(corrupt(TABLE, Fault::Length));
        }
        let whole = [first, second].concat();
        let (header, rest) = whole
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(corrupt(TABLE, Fault::Length))?;
        let (zeros, siv) = rest
            .split_first_chunk::<8>()
            .ok_or(corrupt(TABLE, Fault::Length))?;
        let sealed = [&header[..], siv].concat();
        let mut secret = record::siv_open(
            self.keys.table(TABLE)?,
            &self.keys.ids,
            TABLE,
            &name.map(str::as_bytes),
            &sealed,
        )?;
        if *zeros != ZEROS {
            return Err(corrupt(TABLE, Fault::Padding));
        }
        Ok(std::mem::take(&mut *secret))
    }
}

fn halves(whole: &[u8; 64]) -> (MessageSecret, MessageSecret) {
    let mut halves = [[0u8; 32]; 2];
    for (to, from) in halves.as_flattened_mut().iter_mut().zip(whole) {
        *to = *from;
    }
    let [first, second] = halves;
    (first, second)
}
