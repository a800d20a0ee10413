//! Sent messages and pending inbound ones.

use super::{Sealer, place};
use crate::blind::TokenColumn;
use crate::error::SealError;
use crate::record::{Nonce, Opened, Table};

impl Sealer<'_> {
    /// `T(chat)`, `T(chat, id)` of a sent message.
    pub(crate) fn sent_key(&self, chat: &str, id: &str) -> Result<[String; 2], SealError> {
        let (chat, id) = (chat.as_bytes(), id.as_bytes());
        Ok([
            self.blind().token(TokenColumn::SentChat, &[chat])?,
            self.blind().token(TokenColumn::SentId, &[chat, id])?,
        ])
    }

    pub(crate) fn seal_sent(
        &self,
        key: &[String; 2],
        chat: &str,
        id: &str,
        payload: &[u8],
        nonce: &Nonce,
    ) -> Result<Vec<u8>, SealError> {
        let key = key.each_ref().map(|part| part.as_bytes());
        self.seal(
            place(Table::SentMessage, &key),
            &[chat.as_bytes(), id.as_bytes()],
            payload,
            nonce,
        )
    }

    pub(crate) fn open_sent(
        &self,
        key: &[String; 2],
        chat: &str,
        id: &str,
        sealed: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        Ok(self
            .sent_record(key.each_ref().map(String::as_str), sealed)?
            .check_name([chat.as_bytes(), id.as_bytes()])?
            .into_value())
    }

    /// The record of the row `key`, whatever its name is.
    pub(crate) fn sent_record(&self, key: [&str; 2], sealed: &[u8]) -> Result<Opened, SealError> {
        self.open(place(Table::SentMessage, &key.map(str::as_bytes)), sealed)
    }

    /// `T(chat)`, `T(chat, sender)`, `T(chat, sender, id)` of a pending message.
    pub(crate) fn pending_key(
        &self,
        chat: &str,
        sender: &str,
        id: &str,
    ) -> Result<[String; 3], SealError> {
        let (chat, sender, id) = (chat.as_bytes(), sender.as_bytes(), id.as_bytes());
        let blind = self.blind();
        Ok([
            blind.token(TokenColumn::PendingChat, &[chat])?,
            blind.token(TokenColumn::PendingSender, &[chat, sender])?,
            blind.token(TokenColumn::PendingId, &[chat, sender, id])?,
        ])
    }

    pub(crate) fn seal_pending(
        &self,
        key: &[String; 3],
        name: [&str; 3],
        message: &[u8],
        nonce: &Nonce,
    ) -> Result<Vec<u8>, SealError> {
        let key = key.each_ref().map(|part| part.as_bytes());
        self.seal(
            place(Table::PendingInbound, &key),
            &name.map(str::as_bytes),
            message,
            nonce,
        )
    }

    pub(crate) fn open_pending(
        &self,
        key: &[String; 3],
        name: [&str; 3],
        sealed: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        Ok(self
            .pending_record(key.each_ref().map(String::as_str), sealed)?
            .check_name(name.map(str::as_bytes))?
            .into_value())
    }

    /// The record of the row `key`, whatever its name is.
    pub(crate) fn pending_record(
        &self,
        key: [&str; 3],
        sealed: &[u8],
    ) -> Result<Opened, SealError> {
        self.open(
            place(Table::PendingInbound, &key.map(str::as_bytes)),
            sealed,
        )
    }
}
