//! One account: what the client keeps in its storage, and the calls by which it does so.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use wacore::libsignal::protocol::{
    CiphertextMessage, IdentityKey, KeyPair, PreKeyBundle, PreKeyRecord, ProtocolAddress,
    SenderKeyDistributionMessage, SenderKeyName, SenderKeyRecord, SenderKeyStore, SessionRecord,
    UsePQRatchet, create_sender_key_distribution_message, message_decrypt, message_encrypt,
    process_sender_key_distribution_message,
};
use wacore::libsignal::store::record_helpers::{
    encode_pre_key_record_to, new_signed_pre_key_record,
};
use wacore::messages::{MessageUtils, decode_plaintext};
use wacore::proto_helpers::MessageBuilderExt;
use wacore::store::commands::DeviceCommand;
use wacore::store::traits::{Backend, MsgSecretEntry};
use wacore::types::jid::{JidExt, make_sender_key_name};
use whatsapp_rust::store::persistence_manager::PersistenceManager;
use whatsapp_rust::store::signal_adapter::SignalProtocolStoreAdapter;
use whatsapp_rust::store::signal_cache::SignalStoreCache;
use whatsapp_rust::waproto::{codec, whatsapp as wa};
use whatsapp_rust::{Jid, buffa::MessageField};

use super::bookkeeping::made_up;
use super::{GROUP, Letter, NOW, PADDING, PREKEYS, Secrets, rng};

/// One account: what a client builds on top of its storage.
pub struct Party {
    /// The name that its contacts see.
    pub label: String,
    /// Its address by phone number, and by hidden id; both with the device number.
    pub jid: Jid,
    pub lid: Jid,
    pub backend: Arc<dyn Backend>,
    pub manager: Arc<PersistenceManager>,
    cache: Arc<SignalStoreCache>,
    pub(super) signal: SignalProtocolStoreAdapter,
}

impl Party {
    /// Opens the account in `backend`, or makes it there.
    pub async fn open(
        label: &str,
        jid: &str,
        lid: &str,
        backend: Arc<dyn Backend>,
    ) -> Result<Self> {
        let (jid, lid): (Jid, Jid) = (jid.parse()?, lid.parse()?);
        let manager = Arc::new(PersistenceManager::new(backend.clone()).await?);
        let device = manager.get_device_snapshot();
        if device.is_registered() {
            let stored = (device.pn.as_ref(), device.lid.as_ref(), &*device.push_name);
            ensure!(
                stored == (Some(&jid), Some(&lid), label),
                "another account: {stored:?}"
            );
        } else {
            let commands = [
                DeviceCommand::SetId(Some(jid.clone())),
                DeviceCommand::SetLid(Some(lid.clone())),
                DeviceCommand::SetPushName(label.into()),
            ];
            for command in commands {
                manager.process_command(command).await;
            }
            manager.flush().await?;
        }
        let cache = Arc::new(SignalStoreCache::new());
        let signal = SignalProtocolStoreAdapter::new(manager.get_device_arc().await, cache.clone());
        let label = label.into();
        Ok(Self {
            label,
            jid,
            lid,
            backend,
            manager,
            cache,
            signal,
        })
    }

    /// Writes what only memory holds, and ends.
    pub async fn close(self) -> Result<()> {
        self.flush().await
    }

    /// The client does this every 25 ms, and before a ciphertext leaves that needs it.
    pub async fn flush(&self) -> Result<()> {
        self.cache.flush(&*self.backend).await?;
        Ok(self.manager.flush().await?)
    }

    /// Where others keep their session with this party.
    pub(super) fn address(&self) -> ProtocolAddress {
        self.lid.to_protocol_address()
    }

    pub(super) fn sender_key_name(&self) -> Result<SenderKeyName> {
        let group = GROUP.parse()?;
        Ok(make_sender_key_name(
            &group,
            &self.jid.to_protocol_address(),
        ))
    }

    /// Makes the one-time prekeys, as at pairing, and marks them as sent to the server.
    pub(super) async fn make_prekeys(&self, secrets: &mut Secrets) -> Result<()> {
        let ids: Vec<u32> = (1..=PREKEYS).collect();
        let mut batch = Vec::new();
        for &id in &ids {
            let pair = KeyPair::generate(&mut rng());
            let mut record = Vec::new();
            encode_pre_key_record_to(id, &pair, &mut record);
            batch.push((id, record.into()));
            let what = format!("{}, private prekey {id}", self.label);
            secrets.key(what, pair.private_key.serialize());
        }
        self.backend.store_prekeys_batch(&batch, false).await?;
        let watermarks = DeviceCommand::SetPreKeyWatermarks {
            next_pre_key_id: PREKEYS + 1,
            first_unupload_pre_key_id: PREKEYS + 1,
        };
        self.manager.process_command(watermarks).await;
        self.manager.flush().await?;
        self.backend.mark_prekeys_uploaded(&ids).await?;
        self.manager
            .modify_device(|device| device.server_has_prekeys = true)
            .await;
        ensure!(self.backend.get_max_prekey_id().await? == PREKEYS);
        Ok(())
    }

    /// What the server would answer to someone who wants to write to this party, with the id of the
    /// one-time prekey that it gives away.
    pub(super) async fn bundle(&self) -> Result<(u32, PreKeyBundle)> {
        let device = self.manager.get_device_snapshot();
        let ids: Vec<u32> = (1..=PREKEYS).collect();
        let stored = self.backend.load_prekeys_batch(&ids).await?;
        let (id, record) = stored
            .iter()
            .min_by_key(|row| row.0)
            .context("no prekey left")?;
        let bundle = PreKeyBundle::new(
            device.registration_id,
            u32::from(self.lid.device).into(),
            Some((
                (*id).into(),
                PreKeyRecord::deserialize(record)?.public_key()?,
            )),
            device.signed_pre_key_id.into(),
            device.signed_pre_key.public_key,
            device.signed_pre_key_signature.to_vec(),
            IdentityKey::new(device.identity_key.public_key),
        )?;
        Ok((*id, bundle))
    }

    /// Replaces the signed prekey; the old one stays in the store for messages on their way.
    pub(super) async fn rotate_signed_prekey(&self, secrets: &mut Secrets) -> Result<()> {
        let device = self.manager.get_device_snapshot();
        let (old, id) = (device.signed_pre_key_id, device.signed_pre_key_id + 1);
        let key_pair = KeyPair::generate(&mut rng());
        let public = key_pair.public_key.serialize();
        let private = &device.identity_key.private_key;
        let signature = private.calculate_signature(&public, &mut rng())?;
        let rows = [
            (id, &key_pair, signature),
            (old, &device.signed_pre_key, device.signed_pre_key_signature),
        ];
        for (id, pair, signature) in rows {
            let record = new_signed_pre_key_record(id, pair, signature, wacore::time::now_utc());
            let record = codec::signed_pre_key_record_to_vec(&record);
            self.backend.store_signed_prekey(id, &record).await?;
            let what = format!("{}, private signed prekey {id}", self.label);
            secrets.key(what, pair.private_key.serialize());
        }
        let rotation_ms = wacore::time::now_millis();
        let command = DeviceCommand::SetSignedPreKey {
            key_pair,
            id,
            signature,
            rotation_ms,
        };
        self.manager.process_command(command).await;
        Ok(self.manager.flush().await?)
    }

    pub(super) async fn encrypt(
        &self,
        to: &Party,
        message: &wa::Message,
    ) -> Result<CiphertextMessage> {
        let mut signal = self.signal.clone();
        let plaintext = MessageUtils::encode_and_pad(message);
        let (sessions, identities) = (&mut signal.session_store, &mut signal.identity_store);
        let ciphertext = message_encrypt(&plaintext, &to.address(), sessions, identities).await?;
        if self.cache.needs_pre_wire_flush().await {
            self.flush().await?;
        }
        Ok(ciphertext)
    }

    pub(super) async fn decrypt(
        &self,
        from: &Party,
        message: &CiphertextMessage,
    ) -> Result<wa::Message> {
        let mut signal = self.signal.clone();
        let decrypted = message_decrypt(
            message,
            &from.address(),
            &mut signal.session_store,
            &mut signal.identity_store,
            &mut signal.pre_key_store,
            &signal.signed_pre_key_store,
            &mut rng(),
            UsePQRatchet::No,
        )
        .await?;
        if let Some(id) = decrypted.consumed_prekey_id {
            // It goes with the next flush, when the session that it made is durable.
            signal
                .pre_key_store
                .buffer_consumed_prekey(id, &from.address())
                .await;
        }
        decode_plaintext(&decrypted.plaintext, PADDING)
    }

    /// Gives `to` the key of what this party writes to the group, unless `to` has it.
    pub(super) async fn share_sender_key(&self, to: &Party) -> Result<()> {
        let (name, device) = (self.sender_key_name()?, to.jid.to_string());
        let known = self.manager.get_sender_key_devices(GROUP).await?;
        if known.contains(&(device.clone(), true)) {
            return Ok(());
        }
        let fresh = self.sender_key().await?.is_none();
        ensure!(
            fresh || !known.is_empty(),
            "it was forgotten who has this sender key"
        );
        let keys = &mut self.signal.clone().sender_key_store;
        let lock = keys.sender_key_lock(&name).await;
        let guard = lock.lock().await;
        let share = create_sender_key_distribution_message(&name, keys, &mut rng()).await?;
        drop(guard);
        let share = wa::message::SenderKeyDistributionMessage {
            group_id: Some(GROUP.into()),
            axolotl_sender_key_distribution_message: Some(share.serialized().to_vec()),
        };
        let message = wa::Message {
            sender_key_distribution_message: MessageField::some(share),
            ..Default::default()
        };
        let ciphertext = self.encrypt(to, &message).await?;

        let message = to.decrypt(self, &ciphertext).await?;
        let share = message
            .sender_key_distribution_message
            .as_option()
            .context("no share")?;
        let share = share.axolotl_sender_key_distribution_message.as_deref();
        let share = SenderKeyDistributionMessage::try_from(share.context("no key")?)?;
        let keys = &mut to.signal.clone().sender_key_store;
        let lock = keys.sender_key_lock(&name).await;
        let _guard = lock.lock().await;
        process_sender_key_distribution_message(&name, &share, keys).await?;
        to.flush().await?;
        Ok(self
            .manager
            .set_sender_key_status(GROUP, &[(device.as_str(), true)])
            .await?)
    }

    /// Writes the next message and records what the client records for one that it sent.
    pub(super) async fn compose(
        &self,
        chat: &Jid,
        me: &Jid,
        secrets: &mut Secrets,
    ) -> Result<Letter> {
        let number = secrets.messages.len();
        let label = &self.label;
        let place = ["the harbour", "the old mill", "gate 14", "Café Zürich"][number % 4];
        let sentence = format!("{label}, message {number}: meet me at {place} at {number} past.");
        let text = sentence.clone() + &" And so on, and so forth.".repeat(number * number % 89);
        let secret: [u8; 32] = made_up(&format!("{label}, secret of message {number}"));
        let id = made_up::<9>(&format!("{label}, id of message {number}"));
        let id = id
            .iter()
            .fold("3EB0".to_string(), |id, byte| format!("{id}{byte:02X}"));
        let mut message = wa::Message::text(text);
        message.message_context_info = MessageField::some(wa::MessageContextInfo {
            message_secret: Some(secret.to_vec()),
            ..Default::default()
        });

        let payload = codec::message_to_vec(&message);
        self.backend
            .store_sent_message(&chat.to_non_ad_string(), &id, &payload)
            .await?;
        self.remember_secret(chat, me, &id, &message).await?;
        secrets.messages.push(sentence.into_bytes());
        secrets.address(id.clone());
        secrets.key(format!("{label}, secret of message {number}"), &secret);
        Ok(Letter { id, message })
    }

    /// Both ends keep the secret of a message, for the votes, edits and reactions that refer to it.
    pub(super) async fn remember_secret(
        &self,
        chat: &Jid,
        from: &Jid,
        id: &str,
        m: &wa::Message,
    ) -> Result<()> {
        let secret = m
            .message_context_info
            .as_option()
            .and_then(|c| c.message_secret.clone());
        let secret: [u8; 32] = secret
            .unwrap_or_default()
            .try_into()
            .ok()
            .context("no secret")?;
        let entry = MsgSecretEntry::new(chat, from, id, secret, NOW + 30 * 86_400, NOW);
        self.backend.put_msg_secrets(vec![entry.clone()]).await?;
        let (chat, from) = (&entry.chat, &entry.sender);
        let stored = self.backend.get_msg_secret_with_ts(chat, from, id).await?;
        ensure!(
            stored == Some((secret.to_vec(), NOW)),
            "the secret of {id} changed"
        );
        Ok(())
    }

    /// A recipient asks for a message again: it is taken out, and stored again when it is resent.
    pub(super) async fn resend(&self, chat: &Jid, letter: &Letter) -> Result<()> {
        let chat = chat.to_non_ad_string();
        let payload = codec::message_to_vec(&letter.message);
        let taken = self.backend.take_sent_message(&chat, &letter.id).await?;
        ensure!(
            taken.as_ref() == Some(&payload),
            "{} was not kept as sent",
            letter.id
        );
        let again = self.backend.take_sent_message(&chat, &letter.id).await?;
        ensure!(again.is_none(), "{} was taken twice", letter.id);
        Ok(self
            .backend
            .store_sent_message(&chat, &letter.id, &payload)
            .await?)
    }

    /// Flushes, and forgets what it holds in memory, as after a batch of offline messages: the next
    /// message has to get on with what the store gives back.
    pub(super) async fn settle(&self, peer: &Party, secrets: &mut Secrets) -> Result<()> {
        self.flush().await?;
        self.cache.clear_after_flush().await;
        secrets.collect(self, peer).await
    }

    /// Checks that the store still has the identities that the session with `peer` is built on. To be
    /// called before a message, which would write the identity of `peer` again.
    pub(super) async fn knows(&self, peer: &Party) -> Result<()> {
        let [mine, theirs] =
            [self, peer].map(|party| party.manager.get_device_snapshot().identity_key.public_key);
        let session = self.session(peer).await?;
        let state = session.session_state().context("no session state")?;
        let local = state
            .local_identity_key_bytes()
            .ok()
            .context("no identity")?;
        ensure!(local == mine.serialize(), "{} has changed", self.label);
        let known = self.backend.load_identity(peer.address().as_str()).await?;
        let known = known.as_ref().map(|key| &key[..]);
        ensure!(
            known == Some(theirs.public_key_bytes()),
            "{} has changed",
            peer.label
        );
        Ok(())
    }

    pub(super) async fn session(&self, peer: &Party) -> Result<Arc<SessionRecord>> {
        let session = self
            .cache
            .peek_session(&peer.address(), &*self.backend)
            .await?;
        session.with_context(|| format!("no session with {}", peer.label))
    }

    /// The key of what this party writes to the group, once it has one.
    pub(super) async fn sender_key(&self) -> Result<Option<Arc<SenderKeyRecord>>> {
        let name = self.sender_key_name()?;
        self.cache.get_sender_key(&name, &*self.backend).await
    }
}
