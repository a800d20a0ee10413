//! A key provider written outside the crate: here one that keeps slot secrets in a key agent.
//!
//! The agent below is a stand-in that runs in this process, because an example can't bring a service;
//! everything else is what a real provider does: it speaks in KMS words, is configured with *which*
//! key to use, binds the slot's context, and tells retryable errors from permanent ones. The suite of
//! `sealed_store::testing::provider` runs on it in `tests/provider_conformance.rs`.
//!
//! `cargo run --example custom_provider`

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use sealed_store::{
    BackendKeyring, Fields, KeyProvider, Keyring, NewSlot, Probe, ProviderError, ProviderErrorKind,
    Recipe, SealError, SlotContext,
};
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox};
use wacore::store::InMemoryBackend;

/// A secret, with the slot and the key that it was made for.
struct Kept(SlotContext, String, SecretBox<[u8; 32]>);

/// The service: it keeps a secret for each handle, and gives it back only in the same context.
#[derive(Default)]
pub struct Agent {
    secrets: Mutex<HashMap<String, Kept>>,
}

/// The provider: an agent, and the name of the key that this deployment uses.
pub struct AgentProvider {
    pub agent: Arc<Agent>,
    pub key_name: String,
}

/// A copy that is made inside its box: a move would leave another on the stack.
fn copy(secret: &SecretBox<[u8; 32]>) -> SecretBox<[u8; 32]> {
    SecretBox::init_with_mut(|copy: &mut [u8; 32]| copy.copy_from_slice(secret.expose_secret()))
}

#[async_trait]
impl KeyProvider for AgentProvider {
    fn kind(&self) -> &str {
        "example-agent"
    }

    // Compared with what a slot says, never taken from it: who can write the keyring's file could
    // otherwise name his own key.
    fn reference(&self) -> Fields {
        Fields::from([("key".to_owned(), self.key_name.clone())])
    }

    async fn generate(&self, context: &SlotContext) -> Result<NewSlot, ProviderError> {
        let no_random = |error| {
            ProviderError::new(ProviderErrorKind::Unavailable, "no random bytes; try again")
                .with_source(error)
        };
        let mut secret = SecretBox::<[u8; 32]>::default();
        getrandom::fill(secret.expose_secret_mut()).map_err(no_random)?;
        // Not made of the slot's number alone: every keyring has a slot 1.
        let handle = format!("{:016x}", getrandom::u64().map_err(no_random)?);
        let kept = copy(&secret);
        self.agent
            .secrets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(handle.clone(), Kept(*context, self.key_name.clone(), kept));
        Ok(NewSlot {
            secret,
            material: Fields::from([("handle".to_owned(), handle)]),
        })
    }

    async fn unwrap_secret(
        &self,
        context: &SlotContext,
        recipe: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        let gone = || {
            ProviderError::new(
                ProviderErrorKind::Destroyed,
                "the agent has no such key; check which agent this deployment uses",
            )
        };
        // One field, and none that this provider does not know.
        let handle = match recipe.material.get("handle") {
            Some(handle) if recipe.material.len() == 1 => handle,
            _ => {
                return Err(ProviderError::new(
                    ProviderErrorKind::Corrupt,
                    "the slot's material is damaged; restore the keyring from a backup",
                ));
            }
        };
        let secrets = self
            .agent
            .secrets
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Kept(bound_to, key_name, secret) = secrets.get(handle).ok_or_else(gone)?;
        if *key_name != self.key_name {
            return Err(ProviderError::new(
                ProviderErrorKind::WrongKey,
                "the agent made this slot's secret for another key",
            ));
        }
        if bound_to != context {
            return Err(ProviderError::new(
                ProviderErrorKind::ContextMismatch,
                "the agent's key belongs to another slot",
            ));
        }
        Ok(copy(secret))
    }

    async fn probe(&self) -> Result<Probe, ProviderError> {
        Ok(Probe::ready())
    }
}

#[tokio::main]
async fn main() -> Result<(), SealError> {
    let agent = Arc::new(Agent::default());
    let provider = |key_name: &str| AgentProvider {
        agent: Arc::clone(&agent),
        key_name: key_name.to_owned(),
    };
    let store = BackendKeyring::new(Arc::new(InMemoryBackend::new()));

    let keyring = Keyring::create(store.clone(), &provider("production")).await?;
    keyring.create_account("1").await?;
    println!("created; slots: {:?}", keyring.slots().await?);
    drop(keyring);

    let keyring = Keyring::open(store.clone(), &provider("production")).await?;
    println!("opened again; accounts: {:?}", keyring.accounts().await?);
    drop(keyring);

    match Keyring::open(store, &provider("somebody-elses")).await {
        Err(SealError::ForeignRecipe) => println!("another key is refused before it is asked for"),
        Err(error) => return Err(error),
        Ok(_) => unreachable!("the slot names another key"),
    }
    Ok(())
}
