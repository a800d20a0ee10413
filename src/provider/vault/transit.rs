//! What is asked of the Transit engine, and what is made of its answers.

use std::collections::HashMap;
use std::time::Instant;

use data_encoding::{BASE64, HEXLOWER};
use secrecy::ExposeSecretMut;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::credentials::Token;
use super::failure::{Refusal, Task, failure, misconfigured, not_vault};
use super::{Inner, Result, VaultReport, wire};
use crate::provider::{Fields, NewSlot, ProviderError, ProviderErrorKind, Recipe, SlotContext};
use crate::secret::Key;

/// The one field of a slot's material.
const CIPHERTEXT: &str = "ciphertext";
/// No ciphertext at all, for a probe: it is refused for its form after the right to decrypt, the key's being there and its state
/// were checked. It names no version of the key, which may be too old.
const NOTHING: &str = "nothing";

/// What Transit is asked about a key.
#[derive(Serialize)]
struct Question<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bits: Option<u32>,
}

impl<'a> Question<'a> {
    fn of(context: &'a str, ciphertext: Option<&'a str>) -> Self {
        Self {
            context: Some(context),
            ciphertext,
            bits: None,
        }
    }
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

// Borrowed, so that the one copy of a secret is in the answer's buffer, which is wiped. Base64 has nothing that JSON escapes.
#[derive(Deserialize)]
struct DataKey<'a> {
    ciphertext: &'a str,
    plaintext: &'a str,
}

#[derive(Deserialize)]
struct Decrypted<'a> {
    plaintext: &'a str,
}

#[derive(Deserialize)]
struct Encrypted<'a> {
    ciphertext: &'a str,
}

#[derive(Deserialize)]
struct KeyState {
    derived: bool,
    #[serde(default)]
    soft_deleted: bool,
    latest_version: u32,
    min_decryption_version: u32,
}

impl Inner {
    pub(super) fn rewrap(
        &self,
        context: &str,
        ciphertext: &str,
        deadline: Instant,
    ) -> Result<Fields> {
        let question = Question::of(context, Some(ciphertext));
        let answer = self.key("rewrap", &question, deadline)?;
        let answer: Answer<Encrypted> = answer.json()?;
        made(answer.data.ciphertext)
    }

    pub(super) fn generate(&self, context: &str, deadline: Instant) -> Result<NewSlot> {
        let question = Question {
            bits: Some(256),
            ..Question::of(context, None)
        };
        let answer = self.key("datakey/plaintext", &question, deadline)?;
        let answer: Answer<DataKey> = answer.json()?;
        let secret = decoded(answer.data.plaintext)?;
        let material = made(answer.data.ciphertext)?;
        let ciphertext = answer.data.ciphertext;
        // A key that is not derived takes a context and ignores it.
        match self.decrypt(None, ciphertext, deadline) {
            Err(error) if error.kind() == ProviderErrorKind::ContextMismatch => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(not_derived()),
        }
        Ok(NewSlot { secret, material })
    }

    pub(super) fn decrypt(
        &self,
        context: Option<&str>,
        ciphertext: &str,
        deadline: Instant,
    ) -> Result<Key> {
        let question = Question {
            context,
            ciphertext: Some(ciphertext),
            bits: None,
        };
        let answer = self.key("decrypt", &question, deadline)?;
        let answer: Answer<Decrypted> = answer.json()?;
        decoded(answer.data.plaintext)
    }

    pub(super) fn inspect(&self, deadline: Instant) -> Result<VaultReport> {
        let begun = Instant::now();
        let question = Question::of("c2VhbGVk", Some(NOTHING));
        match self.key("decrypt", &question, deadline) {
            Err(error) if error.kind() == ProviderErrorKind::Corrupt => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(not_vault()),
        }
        let mut report = VaultReport {
            round_trip: begun.elapsed(),
            may_generate: None,
            may_rewrap: None,
            latest_version: None,
            min_decryption_version: None,
        };
        let [datakey, rewrap, key] = [
            self.place.path("datakey/plaintext"),
            self.place.path("rewrap"),
            self.place.path("keys"),
        ];
        let paths = HashMap::from([("paths", [&datakey, &rewrap, &key])]);
        if let Some(answer) =
            self.permitted("POST", "sys/capabilities-self", Some(&paths), deadline)?
        {
            let rights: Answer<HashMap<String, Vec<String>>> = answer.json()?;
            let may = |path: &str| {
                let rights = rights.data.get(path)?;
                Some(
                    rights
                        .iter()
                        .any(|right| right == "update" || right == "root"),
                )
            };
            report.may_generate = may(&datakey);
            report.may_rewrap = may(&rewrap);
        }
        if let Some(answer) = self.permitted("GET", &key, None::<&()>, deadline)? {
            let state: Answer<KeyState> = answer.json()?;
            if !state.data.derived {
                return Err(not_derived());
            }
            if state.data.soft_deleted {
                return Err(failure(Task::Key, Refusal::soft_deleted()));
            }
            report.latest_version = Some(state.data.latest_version);
            report.min_decryption_version = Some(state.data.min_decryption_version);
        }
        Ok(report)
    }

    /// A question that the token need not be allowed to ask.
    fn permitted(
        &self,
        method: &str,
        path: &str,
        question: Option<&impl Serialize>,
        deadline: Instant,
    ) -> Result<Option<wire::Body>> {
        let question = question.map(wire::body).transpose()?;
        let (token, _) = self.present(deadline)?;
        // No login again: a secret id may have a number of uses.
        match self
            .client
            .send(method, path, Some(&token), question.as_ref(), deadline)
        {
            Ok(answer) => Ok(Some(answer)),
            Err(refusal) if refusal.status() == Some(403) => Ok(None),
            Err(refusal) => Err(failure(Task::Key, refusal)),
        }
    }

    /// One request about the key, with a login before it if there is no session, and once more with a new one if the service
    /// does not know the session any more.
    fn key(&self, verb: &str, question: &Question, deadline: Instant) -> Result<wire::Body> {
        let path = self.place.path(verb);
        let question = wire::body(question)?;
        let send = |token: &Token| {
            self.client
                .send("POST", &path, Some(token), Some(&question), deadline)
        };
        let refused = |refusal| failure(Task::Key, refusal);
        let (token, old) = self.present(deadline)?;
        match send(&token) {
            Err(refusal) if old && refusal.status() == Some(403) => {
                self.forget(&token);
                let (token, _) = self.present(deadline)?;
                send(&token).map_err(refused)
            }
            answer => answer.map_err(refused),
        }
    }
}

/// What is put into the derivation: printable, for it is base64 on the wire and hashed in the service's audit log.
pub(super) fn derivation(context: &SlotContext) -> String {
    let keyring = HEXLOWER.encode(&context.keyring_id);
    BASE64.encode(format!("sealed-store keyring {keyring} slot {}", context.slot).as_bytes())
}

/// The ciphertext of a recipe, whose form was checked.
pub(super) fn stored(recipe: &Recipe) -> Result<String> {
    recipe
        .material
        .get(CIPHERTEXT)
        .filter(|ciphertext| recipe.material.len() == 1 && is_ciphertext(ciphertext))
        .cloned()
        .ok_or_else(|| {
            ProviderError::new(
                ProviderErrorKind::Corrupt,
                "what the slot stored for Vault is damaged; use another slot, or a copy of the keyring",
            )
        })
}

/// The material of a ciphertext that the service made.
fn made(ciphertext: &str) -> Result<Fields> {
    if !is_ciphertext(ciphertext) {
        return Err(not_vault());
    }
    Ok(Fields::from([(
        CIPHERTEXT.to_owned(),
        ciphertext.to_owned(),
    )]))
}

/// `vault:vN:` and base64 of a nonce, 32 bytes and a tag, in the one spelling that the service writes: it would read others.
pub(super) fn is_ciphertext(text: &str) -> bool {
    let parts = text
        .strip_prefix("vault:v")
        .filter(|_| text.len() <= 512)
        .and_then(|rest| rest.split_once(':'));
    parts.is_some_and(|(version, blob)| {
        version
            .parse::<u32>()
            .is_ok_and(|number| number > 0 && number.to_string() == version)
            && BASE64
                .decode(blob.as_bytes())
                .is_ok_and(|blob| (60..=256).contains(&blob.len()))
    })
}

fn decoded(plaintext: &str) -> Result<Key> {
    // 32 bytes are 43 characters and one of padding; the decoder wants room for 33.
    let mut buffer = Zeroizing::new([0; 33]);
    let length = Some(plaintext)
        .filter(|text| text.len() == 44)
        .and_then(|text| BASE64.decode_mut(text.as_bytes(), &mut *buffer).ok());
    let (Some(32), Some(bytes)) = (length, buffer.first_chunk::<32>()) else {
        return Err(not_vault());
    };
    let mut secret = Key::default();
    secret.expose_secret_mut().copy_from_slice(bytes);
    Ok(secret)
}

fn not_derived() -> ProviderError {
    misconfigured(
        "the Transit key is not derived, so it would not bind a slot's context; make one with derived=true",
    )
}
