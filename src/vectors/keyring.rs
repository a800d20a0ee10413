//! From a passphrase to the wrapped keys: slots, the root key and documents.

use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{Fixed, Inputs, hex_of};
use crate::keyring::derive::{RootKeys, SlotKeys, WrapKind, WrapPlace};
use crate::keyring::document::{self, AccountBody, AccountsBody, Body, Envelope, KeyringBody};
use crate::labels;
use crate::provider::{
    Combined, Fields, KeyProvider, NewSlot, Passphrase, Probe, ProviderError, Recipe, RecoveryCode,
    SlotContext,
};
use crate::record::{Suite, Table};
use crate::secret::{self, Key};

impl Inputs<'_> {
    fn root(&self, number: u32, suite: Suite) -> RootKeys {
        RootKeys::new(self.0.key("root_key"), number, suite)
    }

    fn slot(&self, slot: Fixed<'_>, suite: Suite) -> SlotKeys {
        let context = SlotContext {
            keyring_id: self.ids().keyring,
            slot: slot.int("slot"),
        };
        SlotKeys::derive(&slot.key("secret"), &context, slot.text("kind"), suite).unwrap()
    }

    pub(super) fn combined(&self, given: Fixed<'_>) -> Value {
        let kinds: Vec<String> = given.read("kinds");
        let part = |at: usize, name| Given(kinds[at].clone(), given.array(name));
        let context = SlotContext {
            keyring_id: self.ids().keyring,
            slot: given.int("slot"),
        };
        let both = Combined::new(part(0, "first"), part(1, "second"));
        let secret = given_by(&both, &context, &Recipe::default());
        json!({ "secret": hex_of(secret.expose_secret()) })
    }

    pub(super) fn slot_keys(&self, suite: Suite, given: Fixed<'_>) -> Value {
        let kind = given.text("kind").as_bytes();
        let slot_key = secret::expand(
            &given.key("secret"),
            &[
                labels::SLOT,
                &self.ids().keyring,
                &given.int::<u32>("slot").to_le_bytes(),
                &u32::try_from(kind.len()).unwrap().to_le_bytes(),
                kind,
            ],
        );
        let wrap_key = secret::expand(&slot_key, &[labels::SLOT_WRAP, &[suite.number()]]);
        json!({
            "slot_key": hex_of(slot_key.expose_secret()),
            "commitment": hex_of(self.slot(given, suite).commitment()),
            "wrap_key": hex_of(wrap_key.expose_secret()),
        })
    }

    /// A wrap draws its nonce itself, so the file's bytes are unwrapped: an AEAD gives one ciphertext
    /// for one key, nonce, associated data and plaintext.
    pub(super) fn wrap(&self, suite: Suite, given: Fixed<'_>) -> Value {
        let (kind, account) = match given.text("kind") {
            "root" => (WrapKind::Root, [0; 16]),
            "previous_root" => (WrapKind::PreviousRoot, [0; 16]),
            "data" => (WrapKind::Data, self.ids().account),
            "blind" => (WrapKind::Blind, self.ids().account),
            other => panic!("an unknown kind: {other}"),
        };
        let place = WrapPlace {
            keyring: self.ids().keyring,
            account,
            table: given
                .read::<Option<Table>>("table")
                .map_or(0, Table::number),
            kind,
            generation: given.int("generation"),
            suite: given.read("wrapped_suite"),
        };
        let wrapper = match given.at("by").0.as_str() {
            Some(_) => self.root(2, suite).wrapper,
            None => self.slot(given.at("by"), suite).wrapper,
        };
        let wrapped = given.at("out").bytes("wrapped");
        let key = wrapper.unwrap(&place, &wrapped).unwrap();
        assert_eq!(key.expose_secret(), given.key("key").expose_secret());
        json!({
            "aad": hex_of(place.aad(suite).unwrap()),
            "wrapped": hex_of(wrapped),
        })
    }

    pub(super) fn root_keys(&self, suite: Suite) -> Value {
        let root = self.0.key("root_key");
        let wrap_key = secret::expand(&root, &[labels::WRAP, &[suite.number()]]);
        let document_key = secret::expand(&root, &[labels::DOCUMENT]);
        json!({
            "wrap_key": hex_of(wrap_key.expose_secret()),
            "document_key": hex_of(document_key.expose_secret()),
        })
    }

    pub(super) fn document(&self, suite: Suite, given: Fixed<'_>) -> Value {
        let (name, text) = (given.text("name"), given.at("out").text("text"));
        let root = self.root(given.int("root"), suite);
        let written = match name {
            document::KEYRING => self.rewrite::<KeyringBody>(&root, name, text),
            document::ACCOUNTS => self.rewrite::<AccountsBody>(&root, name, text),
            _ => self.rewrite::<AccountBody>(&root, name, text),
        };
        json!({ "text": String::from_utf8(written).unwrap() })
    }

    /// Reads and verifies a document, and writes what was read.
    fn rewrite<B: Body>(&self, root: &RootKeys, name: &str, text: &str) -> Vec<u8> {
        let envelope = Envelope::<B>::read(text.as_bytes()).unwrap();
        let revision = envelope.body.revision();
        let body = envelope
            .verify(root, name, &self.ids().keyring, revision)
            .unwrap();
        document::write(&body, root, name).unwrap()
    }

    pub(super) fn open_keyring(&self, given: Fixed<'_>) -> Value {
        let envelope = Envelope::<KeyringBody>::read(given.text("text").as_bytes()).unwrap();
        let body = &envelope.body;
        let slot = &body.slots[0];
        let context = SlotContext {
            keyring_id: body.keyring_id,
            slot: slot.slot,
        };
        let secret = stretched(given.text("passphrase"), &context, &slot.recipe);
        let keys = SlotKeys::derive(&secret, &context, &slot.kind, body.suite).unwrap();
        assert!(keys.commits_to(&slot.commitment));
        let place = WrapPlace::root(body.keyring_id, WrapKind::Root, body.root, body.suite);
        let root = keys.wrapper.unwrap(&place, &slot.wrapped_root).unwrap();
        let root = RootKeys::new(root, body.root, body.suite);
        let (id, revision) = (body.keyring_id, body.revision);
        let out = hex_of(root.root.expose_secret());
        envelope
            .verify(&root, document::KEYRING, &id, revision)
            .unwrap();
        json!({ "root_key": out })
    }
}

/// A provider of this kind that has this secret.
struct Given(String, [u8; 32]);

#[async_trait::async_trait]
impl KeyProvider for Given {
    fn kind(&self) -> &str {
        &self.0
    }

    async fn generate(&self, _: &SlotContext) -> Result<NewSlot, ProviderError> {
        unreachable!("vectors are opened")
    }

    async fn unwrap_secret(&self, _: &SlotContext, _: &Recipe) -> Result<Key, ProviderError> {
        Ok(Key::new(Box::new(self.1)))
    }

    async fn probe(&self) -> Result<Probe, ProviderError> {
        Ok(Probe::ready())
    }
}

pub(super) fn recovery(given: Fixed<'_>) -> Value {
    let code = RecoveryCode::of(given.array("code"));
    let context = SlotContext {
        keyring_id: [0; 16],
        slot: 0,
    };
    let secret = given_by(&code, &context, &Recipe::default());
    json!({
        "text": code.to_text().expose_secret(),
        "secret": hex_of(secret.expose_secret()),
    })
}

/// A split draws its polynomials itself, so the file's shares are read, joined and written again.
#[cfg(feature = "shares")]
pub(super) fn shares(given: Fixed<'_>) -> Value {
    use crate::provider::{Share, SharesProvider};
    let texts: Vec<String> = given.at("out").read("shares");
    let share = |text: &String| Share::parse(text).unwrap();
    let threshold = given.list("coefficients").len() + 1;
    for some in texts.windows(threshold) {
        let some: Vec<_> = some.iter().map(share).collect();
        let provider = SharesProvider::join(&some).unwrap();
        let context = SlotContext {
            keyring_id: [0; 16],
            slot: 0,
        };
        let secret = given_by(&provider, &context, &Recipe::default());
        assert_eq!(secret.expose_secret(), given.key("secret").expose_secret());
    }
    let mut again = Vec::new();
    for (number, text) in (1..).zip(&texts) {
        let share = share(text);
        assert_eq!(share.number(), number);
        assert_eq!(usize::from(share.threshold()), threshold);
        assert_eq!(share.count(), given.int::<u8>("count"));
        assert_eq!(share.set(), hex::encode(given.bytes("set")));
        again.push(share.to_text().expose_secret().to_owned());
    }
    json!({ "shares": again })
}

pub(super) fn argon2id(given: Fixed<'_>) -> Value {
    let mut material = Fields::from([
        ("algorithm".into(), "argon2id".into()),
        ("version".into(), "19".into()),
        ("salt".into(), hex::encode(given.bytes("salt"))),
    ]);
    for name in ["m_kib", "passes", "lanes"] {
        material.insert(name.into(), given.int::<u32>(name).to_string());
    }
    let recipe = Recipe {
        reference: Fields::new(),
        material,
    };
    let context = SlotContext {
        keyring_id: [0; 16],
        slot: 0,
    };
    let secret = stretched(given.text("passphrase"), &context, &recipe);
    json!({ "secret": hex_of(secret.expose_secret()) })
}

fn stretched(passphrase: &str, context: &SlotContext, recipe: &Recipe) -> Key {
    given_by(&Passphrase::new(passphrase), context, recipe)
}

fn given_by(provider: &dyn KeyProvider, context: &SlotContext, recipe: &Recipe) -> Key {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(provider.unwrap_secret(context, recipe))
        .unwrap()
}
