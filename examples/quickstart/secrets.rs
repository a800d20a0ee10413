//! What a conversation put into its stores, so that a search knows what must not be readable there.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use anyhow::{Context, Result};
use wacore::libsignal::protocol::KeyPair;
use wacore::types::jid::JidExt;

use super::{GROUP, Party};

/// Everything worth hiding: who talks to whom, with which keys, and what they say.
///
/// What is shorter than eight bytes is left out: a byte search would find it by chance.
#[derive(Default)]
pub struct Secrets {
    /// Store keys in all their forms: users, JIDs, Signal addresses, chats, message ids, names.
    pub addresses: Vec<String>,
    /// Key material: what it is, and its bytes.
    pub keys: Vec<(String, Vec<u8>)>,
    /// The distinctive first sentence of each message.
    pub messages: Vec<Vec<u8>>,
    seen: HashSet<Vec<u8>>,
}

/// How long an entry must be.
const SHORTEST: usize = 8;

impl Secrets {
    pub fn address(&mut self, address: impl Into<String>) {
        let address = address.into();
        if self.is_new(address.as_bytes()) {
            self.addresses.push(address);
        }
    }

    pub fn key(&mut self, what: impl Into<String>, bytes: &[u8]) {
        if self.is_new(bytes) {
            self.keys.push((what.into(), bytes.to_vec()));
        }
    }

    fn is_new(&mut self, bytes: &[u8]) -> bool {
        bytes.len() >= SHORTEST && self.seen.insert(bytes.to_vec())
    }

    /// Adds what `party` holds now, its session with `peer` included.
    pub async fn collect(&mut self, party: &Party, peer: &Party) -> Result<()> {
        self.address(party.label.as_str());
        for jid in [&party.jid, &party.lid] {
            self.address(jid.user.as_str());
            self.address(jid.to_string());
            self.address(jid.to_non_ad_string());
            self.address(jid.to_protocol_address().as_str());
        }
        let (me, them) = (&party.label, &peer.label);
        let device = party.manager.get_device_snapshot();
        let private = |pair: &KeyPair| *pair.private_key.serialize();
        let public = device.identity_key.public_key.public_key_bytes();
        self.key(format!("{me}, identity key"), public);
        self.key(
            format!("{me}, private identity key"),
            &private(&device.identity_key),
        );
        self.key(
            format!("{me}, private noise key"),
            &private(&device.noise_key),
        );
        self.key(
            format!("{me}, private signed prekey"),
            &private(&device.signed_pre_key),
        );
        self.key(format!("{me}, adv secret"), &device.adv_secret_key);

        let session = party.session(peer).await?;
        let state = session.session_state().context("no session state")?;
        let root = state.root_key().ok().context("no root key")?;
        let chain = state.get_sender_chain_key().ok().context("no chain key")?;
        let ratchet = state
            .sender_ratchet_private_key()
            .ok()
            .context("no ratchet key")?;
        self.key(format!("{me} to {them}, root key"), root.key());
        self.key(format!("{me} to {them}, chain key"), chain.key());
        self.key(
            format!("{me} to {them}, private ratchet key"),
            ratchet.serialize(),
        );

        if let Some(record) = party.sender_key().await? {
            let state = record
                .sender_key_state()
                .ok()
                .context("no sender key state")?;
            let chain = state.sender_chain_key().context("no sender chain")?;
            let signing = state.signing_key_private().ok().context("no signing key")?;
            self.address(GROUP);
            self.address(party.sender_key_name()?.cache_key());
            self.key(format!("{me} to all, sender chain key"), chain.seed());
            self.key(
                format!("{me} to all, private signing key"),
                signing.serialize(),
            );
        }
        Ok(())
    }

    /// All of it, with a label for each.
    pub fn needles(&self) -> impl Iterator<Item = (String, &[u8])> {
        let addresses = self.addresses.iter();
        let addresses = addresses.map(|a| (format!("address {a}"), a.as_bytes()));
        let keys = self.keys.iter();
        let keys = keys.map(|(what, key)| (what.clone(), key.as_slice()));
        let messages = self.messages.iter().map(|text| {
            let label = format!("message {}", String::from_utf8_lossy(text));
            (label, text.as_slice())
        });
        addresses.chain(keys).chain(messages)
    }

    /// The labels of what `haystack` contains as it is, found in one pass over it.
    pub fn found_in(&self, haystack: &[u8]) -> BTreeSet<String> {
        let mut by_start: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (label, needle) in self.needles() {
            let start = &needle[..SHORTEST];
            by_start.entry(start).or_default().push((label, needle));
        }
        let mut found = BTreeSet::new();
        for (at, start) in haystack.windows(SHORTEST).enumerate() {
            for (label, needle) in by_start.get(start).into_iter().flatten() {
                if haystack[at..].starts_with(needle) {
                    found.insert(label.clone());
                }
            }
        }
        found
    }
}
