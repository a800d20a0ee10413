//! Every provider keeps to the same contract, whatever is behind it. Here those that need no service, and the one of
//! `examples/custom_provider.rs`; those with a service run the same suite in their own test files.

#[path = "../examples/custom_provider.rs"]
#[allow(dead_code, reason = "its main function is not run here")]
mod custom_provider;
mod support;

use std::sync::Arc;

use custom_provider::{Agent, AgentProvider};
use sealed_store::testing::provider::{ALL, Conformance};
use sealed_store::{Combined, Patient, RecoveryCode};
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
        whole(Conformance::new(made(1, "production"), other)).await;
    }
}

#[tokio::test]
async fn patience_around_a_provider() {
    let suite = Conformance::new(
        || async { Patient::new(raw(1)) },
        || async { Patient::new(raw(2)) },
    );
    whole(suite.one_secret()).await;
}
