//! Signal addresses, whose user part must stay searchable by itself.

use super::{Blind, TOKEN_LEN, TokenColumn};
use crate::error::SealError;

impl Blind {
    /// `T(user) @ T(whole)`, or `T(whole)` alone where the address has no `@` and no `:`.
    ///
    /// The user part ends before the first `@` or `:`, so that the inner store's own prefix query
    /// (`user@…` or `user:…`) finds the sealed rows of a user too.
    pub(crate) fn signal_address(
        &self,
        whole: TokenColumn,
        address: &str,
    ) -> Result<String, SealError> {
        let mut text = String::with_capacity(2 * TOKEN_LEN + 1);
        if let Some((user, _)) = address.split_once(['@', ':']) {
            self.push_token(&mut text, TokenColumn::SignalUser, &[user.as_bytes()])?;
            text.push('@');
        }
        self.push_token(&mut text, whole, &[address.as_bytes()])?;
        Ok(text)
    }
}
