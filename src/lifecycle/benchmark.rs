//! What this machine does in which time, and the settings that follow from it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::error::LifecycleError;
use crate::error::SealError;
use crate::provider::{KdfCost, KeyProvider, Passphrase, SlotContext, calibrate};
use crate::record::{DataKey, Ids, Padding, Place, Suite, Table, TableKeys, open, seal};
use crate::secret;

/// How long each cipher is tried.
const TRY: Duration = Duration::from_millis(200);
/// A session as the client writes it.
const VALUE: usize = 1200;

/// What [`benchmark`] found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Benchmark {
    /// The cost whose derivation takes about as long as was asked for.
    pub recommended: KdfCost,
    /// How long that took.
    pub recommended_took: Duration,
    /// How long a derivation at [`KdfCost::default`] took.
    pub default_took: Duration,
    /// The ciphers, with the time to seal and to open a record of 1,200 bytes.
    pub suites: Vec<SuiteSpeed>,
    /// The suite that a new keyring gets here.
    pub suite: Suite,
}

/// How fast a suite is here.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct SuiteSpeed {
    /// The suite.
    pub suite: Suite,
    /// Records of 1,200 bytes sealed in a second.
    pub seals_per_second: f64,
    /// Records of 1,200 bytes opened in a second.
    pub opens_per_second: f64,
}

/// Measures the key derivation, for a cost that takes about `target`, and each cipher, on one core. It takes twice the
/// target and a second.
///
/// # Errors
/// If there is no memory or thread for it.
pub async fn benchmark(target: Duration) -> Result<Benchmark, LifecycleError> {
    let recommended = calibrate(target).await.map_err(SealError::from)?;
    Ok(Benchmark {
        recommended,
        recommended_took: derivation(recommended).await?,
        default_took: derivation(KdfCost::default()).await?,
        suites: [Suite::Xaes256Gcm, Suite::XChaCha20Poly1305]
            .into_iter()
            .map(speed)
            .collect::<Result<_, SealError>>()?,
        suite: Suite::for_this_machine(),
    })
}

async fn derivation(cost: KdfCost) -> Result<Duration, LifecycleError> {
    let provider = Passphrase::new("benchmark").cost(cost);
    let context = SlotContext {
        keyring_id: [0; 16],
        slot: 1,
    };
    let start = Instant::now();
    provider.generate(&context).await.map_err(SealError::from)?;
    Ok(start.elapsed())
}

fn speed(suite: Suite) -> Result<SuiteSpeed, SealError> {
    let ids = Ids {
        keyring: [1; 16],
        account: [2; 16],
    };
    let key = DataKey::new(&ids, Table::Session, 1, suite, true, &secret::random_key()?)?;
    let keys = TableKeys::new(Table::Session, vec![key]);
    let place = || Place {
        table: Table::Session,
        key: &[b"benchmark"],
        clear: &[],
    };
    let value = [7; VALUE];
    let sealed = |nonce: u64| {
        // Fresh for each record, as in a store, but made without the system's generator, which is not measured.
        let mut bytes = [0; 24];
        bytes
            .iter_mut()
            .zip(nonce.to_le_bytes())
            .for_each(|(to, from)| *to = from);
        seal(
            &keys,
            place(),
            &[b"benchmark"],
            &value,
            Padding::Multiple(64),
            &bytes,
        )
    };
    let record = sealed(0)?;
    Ok(SuiteSpeed {
        suite,
        seals_per_second: rate(|round| sealed(round).map(drop))?,
        opens_per_second: rate(|_| open(&keys, place(), black_box(record.clone())).map(drop))?,
    })
}

fn rate(mut work: impl FnMut(u64) -> Result<(), SealError>) -> Result<f64, SealError> {
    let (start, mut rounds) = (Instant::now(), 0u64);
    while start.elapsed() < TRY {
        for _ in 0..64 {
            rounds += 1;
            work(rounds)?;
        }
    }
    Ok(rounds as f64 / start.elapsed().as_secs_f64())
}
