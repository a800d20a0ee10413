//! How long opening takes, and what it asks.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sealed_store::secrecy::SecretBox;
use sealed_store::{
    Fields, KeyProvider, Keyring, KeyringOptions, NewSlot, Probe, ProviderError, Recipe,
    SlotContext, SqliteKeyring,
};

use crate::ways::{Way, World};

/// Counts what a provider is asked while a keyring is opened.
struct Counting {
    inner: Arc<dyn KeyProvider>,
    calls: AtomicUsize,
}

#[async_trait]
impl KeyProvider for Counting {
    fn kind(&self) -> &str {
        self.inner.kind()
    }

    fn reference(&self) -> Fields {
        self.inner.reference()
    }

    async fn generate(&self, context: &SlotContext) -> Result<NewSlot, ProviderError> {
        self.inner.generate(context).await
    }

    async fn unwrap_secret(
        &self,
        context: &SlotContext,
        recipe: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.inner.unwrap_secret(context, recipe).await
    }

    async fn probe(&self) -> Result<Probe, ProviderError> {
        self.inner.probe().await
    }
}

async fn open(path: &Path, provider: &dyn KeyProvider) -> Duration {
    let begun = Instant::now();
    let opened = Keyring::open(SqliteKeyring::at(path), provider).await;
    let took = begun.elapsed();
    opened.map(drop).expect("it opens");
    took
}

async fn made(path: &Path, provider: &dyn KeyProvider) {
    let options = KeyringOptions::new().allow_lone_slot(true);
    let keyring = options.create(SqliteKeyring::at(path), provider).await;
    // With an account, as a store has one.
    let account = keyring.expect("it is made").create_account("1").await;
    account.map(drop).expect("an account");
}

/// The value below which this part of them is.
pub fn quantile(values: &mut [Duration], part: f64) -> Duration {
    values.sort();
    let last = values.len() - 1;
    values[((last as f64) * part).round() as usize]
}

fn ms(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1000.0)
}

pub async fn table(world: &World, rounds: usize) {
    println!("Opening a keyring, {rounds} rounds, in milliseconds:\n");
    println!("| provider | calls | requests | median | 95th percentile | of raw-key, median |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let ways = world.ways().await;
    let folder = tempfile::tempdir().expect("a folder");
    let base_path = folder.path().join("base.db");
    made(&base_path, &ways[0].provider).await;
    for (number, way) in ways.iter().enumerate() {
        let path = folder.path().join(format!("{number}.db"));
        made(&path, &way.provider).await;
        let (mut times, mut ratios) = (Vec::new(), Vec::new());
        // The first one is a warm-up.
        for round in 0..=rounds {
            let base = open(&base_path, &ways[0].provider).await;
            let time = open(&path, &way.provider).await;
            if round > 0 {
                times.push(time);
                ratios.push(time.as_secs_f64() / base.as_secs_f64());
            }
        }
        ratios.sort_by(f64::total_cmp);
        let (calls, requests) = counts(&path, way).await;
        println!(
            "| {} | {calls} | {requests} | {} | {} | {:.1} |",
            way.name,
            ms(quantile(&mut times, 0.5)),
            ms(quantile(&mut times, 0.95)),
            ratios[ratios.len() / 2],
        );
    }
}

/// What one opening asks of the provider, and what that asks over its wire.
async fn counts(path: &Path, way: &Way) -> (usize, String) {
    let counting = Counting {
        inner: Arc::clone(&way.provider),
        calls: AtomicUsize::new(0),
    };
    open(path, &counting).await;
    let requests = match &way.wire {
        None => "-".to_owned(),
        Some(wire) => {
            (wire.requests)();
            open(path, &wire.provider).await;
            (wire.requests)().to_string()
        }
    };
    (counting.calls.into_inner(), requests)
}
