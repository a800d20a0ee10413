//! Every provider keeps to the same contract, whatever is behind it. Here those that need no service, and the one of
//! `examples/custom_provider.rs`; those with a service run the same suite in their own test files.

#[path = "../examples/custom_provider.rs"]
#[allow(dead_code, reason = "its main function is not run here")]
mod custom_provider;
mod support;

use std::sync::Arc;

use async_trait::async_trait;
use custom_provider::{Agent, AgentProvider};
use sealed_store::testing::provider::{ALL, Conformance};
use sealed_store::{
    Combined, Fields, KeyProvider, NewSlot, Patience, Patient, Probe, ProviderError,
    ProviderErrorKind as Kind, Recipe, RecoveryCode, SlotContext,
};
use secrecy::SecretBox;
use support::{passphrase, raw};

async fn whole(suite: Conformance) {
    suite.run_all().await;
    println!("{} behaviours hold", ALL.len());
}

#[tokio::test]
async fn raw_key() {
    whole(Conformance::new(|| async { raw(1) }, || async { raw(2) }).one_secret()).await;
}

#[tokio::test]
async fn recovery_code() {
    let code = || {
        let code = RecoveryCode::generate().unwrap().to_text();
        move || {
            let code = RecoveryCode::parse(secrecy::ExposeSecret::expose_secret(&code)).unwrap();
            async { code }
        }
    };
    whole(Conformance::new(code(), code()).one_secret()).await;
}

#[tokio::test]
async fn passphrase_whose_recipe_is_a_salt() {
    // A derivation for each damage: all of them with SEALED_STORE_LONG=1.
    let at_most = match std::env::var_os("SEALED_STORE_LONG") {
        Some(_) => usize::MAX,
        None => 6,
    };
    let suite = Conformance::new(
        || async { passphrase("correct horse") },
        || async { passphrase("battery staple") },
    );
    whole(suite.unbound().at_most(at_most)).await;
}

/// Instances of the example's provider, for a key of one agent.
fn agents() -> impl Fn(&'static str) -> AgentProvider + Clone {
    let agent = Arc::new(Agent::default());
    move |key_name: &'static str| AgentProvider {
        agent: Arc::clone(&agent),
        key_name: key_name.to_owned(),
    }
}

#[tokio::test]
async fn provider_of_the_example() {
    let agents = agents();
    let made = |key_name: &'static str| {
        let agents = agents.clone();
        move || {
            let provider = agents(key_name);
            async { provider }
        }
    };
    whole(Conformance::new(made("production"), made("somebody-elses"))).await;
}

const AWAY: [Kind; 5] = [
    Kind::Unavailable,
    Kind::Denied,
    Kind::Disabled,
    Kind::Destroyed,
    Kind::NeedsInteraction,
];

/// The example's provider, whose agent answers each question with this.
struct Away(AgentProvider, Kind);

impl Away {
    fn error(&self) -> ProviderError {
        ProviderError::new(self.1, "the agent is away; wait for it")
    }
}

#[async_trait]
impl KeyProvider for Away {
    fn kind(&self) -> &str {
        self.0.kind()
    }
    fn reference(&self) -> Fields {
        self.0.reference()
    }
    async fn generate(&self, _: &SlotContext) -> Result<NewSlot, ProviderError> {
        Err(self.error())
    }
    async fn unwrap_secret(
        &self,
        _: &SlotContext,
        _: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        Err(self.error())
    }
    async fn probe(&self) -> Result<Probe, ProviderError> {
        Err(self.error())
    }
}

#[tokio::test]
async fn two_providers_both_needed() {
    let agents = agents();
    let made = |byte: u8, key_name: &'static str| {
        let agents = agents.clone();
        move || {
            let provider = Combined::new(raw(byte), agents(key_name));
            async { provider }
        }
    };
    for byte in [1, 2] {
        let other = made(byte, "somebody-elses");
        let mut suite = Conformance::new(made(1, "production"), other);
        // The kind of the part that fails, whichever it is.
        for kind in AWAY {
            let away = {
                let agents = agents.clone();
                move || Away(agents("production"), kind)
            };
            let second = away.clone();
            suite = suite.fails(kind, move || {
                let provider = Combined::new(raw(1), second());
                async { provider }
            });
            if byte == 2 {
                suite = suite.fails(kind, move || {
                    let provider = Combined::new(away(), raw(1));
                    async { provider }
                });
            }
        }
        whole(suite).await;
    }
}

#[tokio::test]
async fn patience_around_a_provider() {
    let agents = agents();
    let mut suite = Conformance::new(
        || async { Patient::new(raw(1)) },
        || async { Patient::new(raw(2)) },
    );
    // The kind of the last try.
    for kind in AWAY {
        let agents = agents.clone();
        suite = suite.fails(kind, move || {
            let away = Away(agents("production"), kind);
            let provider = Patient::new(away).patience(Patience::new().tries(2));
            async { provider }
        });
    }
    whole(suite.one_secret()).await;
}
