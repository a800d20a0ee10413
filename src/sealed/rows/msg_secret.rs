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
/// Length of a sealed secret: header, tag, 32 bytes.
const SEALED_LEN: usize = HEADER_LEN + 16 + 32;
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
            TABLE,
            &name.map(str::as_bytes),
            secret,
        )?;
        let [first_half, second_half] = halves(&sealed).ok_or(SealError::TooLarge)?;
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
        let (zeros, sealed) = whole(first, second).ok_or(corrupt(TABLE, Fault::Length))?;
        let mut secret = record::siv_open(
            self.keys.table(TABLE)?,
            TABLE,
            &name.map(str::as_bytes),
            &sealed,
        )?;
        if zeros != ZEROS {
            return Err(corrupt(TABLE, Fault::Padding));
        }
        Ok(std::mem::take(&mut *secret))
    }
}

/// The sealed secret, with zeros after its header, in two halves.
fn halves(sealed: &[u8]) -> Option<[MessageSecret; 2]> {
    let (header, siv) = <&[u8; SEALED_LEN]>::try_from(sealed)
        .ok()?
        .split_first_chunk::<HEADER_LEN>()?;
    let mut halves = [[0; 32]; 2];
    let (start, end) = halves
        .as_flattened_mut()
        .split_at_mut(HEADER_LEN + ZEROS.len());
    start.first_chunk_mut()?.clone_from(header);
    end.clone_from_slice(siv);
    Some(halves)
}

/// Two halves as what [`halves`] was given, and the bytes between.
fn whole(first: &[u8], second: &[u8]) -> Option<([u8; ZEROS.len()], [u8; SEALED_LEN])> {
    let first = <&[u8; 32]>::try_from(first).ok()?;
    let second = <&[u8; 32]>::try_from(second).ok()?;
    let (header, rest) = first.split_first_chunk::<HEADER_LEN>()?;
    let (zeros, start) = rest.split_first_chunk()?;
    let mut sealed = [0; SEALED_LEN];
    let (head, siv) = sealed.split_first_chunk_mut::<HEADER_LEN>()?;
    head.clone_from(header);
    let (head, tail) = siv.split_at_mut_checked(start.len())?;
    head.clone_from_slice(start);
    tail.clone_from_slice(second);
    Some((*zeros, sealed))
}
