//! A key provider written outside the crate: here one that keeps slot secrets in a key agent.
//!
//! The agent below is a stand-in that runs in this process, because an example can't bring a service;
//! everything else is what a real provider does: it speaks in KMS words, is configured with *which*
//! key to use, binds the slot's context, and tells retryable errors from permanent ones.
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

/// A secret, and the slot that it was made for.
struct Kept(SlotContext, SecretBox<[u8; 32]>);

/// The service: it keeps a secret for each handle, and gives it back only in the same context.
#[derive(Default)]
struct Agent {
    secrets: Mutex<HashMap<String, Kept>>,
}

/// The provider: an agent, and the name of the key that this deployment uses.
struct AgentProvider {
    agent: Arc<Agent>,
    key_name: String,
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
        let mut secret = SecretBox::<[u8; 32]>::default();
        getrandom::fill(secret.expose_secret_mut()).map_err(|error| {
            ProviderError::new(ProviderErrorKind::Unavailable, "no random bytes; try again")
                .with_source(error)
        })?;
        let handle = format!("{}/{}", self.key_name, context.slot);
        let kept = copy(&secret);
        self.agent
            .secrets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(handle.clone(), Kept(*context, kept));
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
        let handle = recipe.material.get("handle").ok_or_else(gone)?;
        let secrets = self
            .agent
            .secrets
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Kept(bound_to, secret) = secrets.get(handle).ok_or_else(gone)?;
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
