//! A passphrase, stretched with Argon2id (RFC 9106, version 0x13).

use std::sync::Arc;
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use async_trait::async_trait;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox, SecretSlice, SecretString};
use zeroize::{Zeroize, Zeroizing};

use super::{
    Fields, KeyProvider, NewSlot, Probe, ProviderError, ProviderErrorKind, Recipe, SlotContext,
};
use crate::secret;
use crate::thread::off_thread;

/// What an opener allows a slot to cost unless told otherwise: 4 GiB passes, in KiB passes.
pub const DEFAULT_KDF_CEILING: u64 = 4 * 1024 * 1024;

const MIN_M_KIB: u32 = 19 * 1024;
const MAX_M_KIB: u32 = 1024 * 1024;
const MIN_PASSES: u32 = 2;
const MAX_PASSES: u32 = 64;
const MAX_LANES: u32 = 16;
const SALT_LEN: usize = 16;

/// The cost of one key derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfCost {
    /// Memory in KiB: at least 19,456 (19 MiB) to create, at most 1,048,576 (1 GiB).
    pub m_kib: u32,
    /// Passes over the memory: at least 2 to create, at most 64.
    pub passes: u32,
    /// Lanes: 1 to 16. They are computed one after the other, so 1 is best here.
    pub lanes: u32,
}

impl Default for KdfCost {
    /// 64 MiB, 3 passes, 1 lane: a fraction of a second on a server core.
    fn default() -> Self {
        Self {
            m_kib: 64 * 1024,
            passes: 3,
            lanes: 1,
        }
    }
}

impl KdfCost {
    /// The least that a new slot may cost: 19 MiB and 2 passes.
    pub const FLOOR: Self = Self {
        m_kib: MIN_M_KIB,
        passes: MIN_PASSES,
        lanes: 1,
    };

    /// Memory in KiB times passes: what the ceiling is compared with.
    #[must_use]
    pub fn kib_passes(&self) -> u64 {
        u64::from(self.m_kib) * u64::from(self.passes)
    }

    fn check(&self, floor: Self, ceiling: u64) -> Result<(), ProviderError> {
        let bounds = [
            ("m_kib", self.m_kib, floor.m_kib, MAX_M_KIB),
            ("passes", self.passes, floor.passes, MAX_PASSES),
            ("lanes", self.lanes, 1, MAX_LANES),
        ];
        for (parameter, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                return Err(out_of_bounds(parameter));
            }
        }
        if self.kib_passes() > ceiling {
            return Err(ProviderError::new(
                ProviderErrorKind::ExcessiveCost {
                    needed: self.kib_passes(),
                    allowed: ceiling,
                },
                "the slot asks for more key-derivation work than allowed; raise the ceiling only if you trust the keyring",
            ));
        }
        Ok(())
    }

    fn params(&self) -> Result<Params, ProviderError> {
        Params::new(self.m_kib, self.passes, self.lanes, Some(32))
            .map_err(|_| out_of_bounds("m_kib"))
    }
}

fn out_of_bounds(parameter: &'static str) -> ProviderError {
    ProviderError::new(
        ProviderErrorKind::CostOutOfBounds { parameter },
        "a key-derivation parameter is out of bounds; the keyring was altered or the setting is too weak",
    )
}

/// Opens a slot with a passphrase.
///
/// Any bytes are a passphrase, NUL and quotes included; an empty one is refused. Unicode is taken as
/// typed, with no normalisation: the same letters entered in another form are another passphrase.
/// The derivation runs on a thread of its own, so that no runtime thread waits for it, and its
/// memory is wiped afterwards.
///
/// ```
/// use sealed_store::{KdfCost, Passphrase};
///
/// let provider = Passphrase::new("correct horse battery staple")
///     .cost(KdfCost { m_kib: 128 * 1024, passes: 3, lanes: 1 });
/// # let _ = provider;
/// ```
pub struct Passphrase {
    secret: Arc<SecretSlice<u8>>,
    cost: KdfCost,
    ceiling: u64,
}

impl Passphrase {
    /// The kind of its slots.
    pub(crate) const KIND: &str = "passphrase";

    /// A passphrase given as text.
    #[must_use]
    pub fn new(passphrase: impl Into<SecretString>) -> Self {
        let passphrase: SecretString = passphrase.into();
        Self::from_bytes(SecretSlice::from(
            passphrase.expose_secret().as_bytes().to_vec(),
        ))
    }

    /// A passphrase given as bytes.
    #[must_use]
    pub fn from_bytes(passphrase: SecretSlice<u8>) -> Self {
        Self {
            secret: Arc::new(passphrase),
            cost: KdfCost::default(),
            ceiling: DEFAULT_KDF_CEILING,
        }
    }

    /// The cost of slots made with this provider. Existing slots keep theirs.
    #[must_use]
    pub fn cost(mut self, cost: KdfCost) -> Self {
        self.cost = cost;
        self
    }

    /// The most that opening one slot may cost, in KiB of memory times passes. Checked before
    /// anything is allocated. Default: [`DEFAULT_KDF_CEILING`].
    #[must_use]
    pub fn ceiling(mut self, kib_passes: u64) -> Self {
        self.ceiling = kib_passes;
        self
    }

    fn check_not_empty(&self) -> Result<(), ProviderError> {
        if self.secret.expose_secret().is_empty() {
            return Err(ProviderError::new(
                ProviderErrorKind::BadRequest,
                "the passphrase is empty; an empty passphrase protects nothing",
            ));
        }
        Ok(())
    }

    async fn derive(
        &self,
        cost: KdfCost,
        salt: [u8; SALT_LEN],
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        let params = cost.params()?;
        let passphrase = Arc::clone(&self.secret);
        beside(move || stretch(passphrase.expose_secret(), &salt, params)).await
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl KeyProvider for Passphrase {
    fn kind(&self) -> &str {
        Self::KIND
    }

    async fn generate(&self, _context: &SlotContext) -> Result<NewSlot, ProviderError> {
        self.check_not_empty()?;
        self.cost.check(KdfCost::FLOOR, self.ceiling)?;
        let mut salt = [0; SALT_LEN];
        secret::random(&mut salt).map_err(|error| {
            ProviderError::new(
                ProviderErrorKind::Unavailable,
                "the operating system gave no random bytes; try again",
            )
            .with_source(error)
        })?;
        let secret = self.derive(self.cost, salt).await?;
        Ok(NewSlot {
            secret,
            material: to_material(self.cost, &salt),
        })
    }

    async fn unwrap_secret(
        &self,
        _context: &SlotContext,
        recipe: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        self.check_not_empty()?;
        let (cost, salt) = of_material(&recipe.material)?;
        // Argon2's own minimum is 8 KiB a lane; an opener may meet slots of an older floor.
        let least = KdfCost {
            m_kib: 8 * cost.lanes.clamp(1, MAX_LANES),
            passes: 1,
            lanes: 1,
        };
        cost.check(least, self.ceiling)?;
        self.derive(cost, salt).await
    }

    async fn probe(&self) -> Result<Probe, ProviderError> {
        self.check_not_empty()?;
        Ok(Probe::ready())
    }
}

fn to_material(cost: KdfCost, salt: &[u8; SALT_LEN]) -> Fields {
    let KdfCost {
        m_kib,
        passes,
        lanes,
    } = cost;
    Fields::from([
        ("algorithm".into(), "argon2id".into()),
        ("version".into(), "19".into()),
        ("m_kib".into(), m_kib.to_string()),
        ("passes".into(), passes.to_string()),
        ("lanes".into(), lanes.to_string()),
        ("salt".into(), data_encoding::HEXLOWER.encode(salt)),
    ])
}

/// What a passphrase's slot costs, if its material is whole.
pub(crate) fn cost_of(material: &Fields) -> Option<KdfCost> {
    of_material(material).ok().map(|(cost, _)| cost)
}

fn of_material(material: &Fields) -> Result<(KdfCost, [u8; SALT_LEN]), ProviderError> {
    let field = |name: &'static str| {
        material
            .get(name)
            .map(String::as_str)
            .ok_or_else(|| out_of_bounds(name))
    };
    let number = |name: &'static str| {
        let text = field(name)?;
        // One spelling: digits with no sign and no leading zero.
        text.parse::<u32>()
            .ok()
            .filter(|n| n.to_string() == text)
            .ok_or_else(|| out_of_bounds(name))
    };
    if material.len() != 6 || field("algorithm")? != "argon2id" || field("version")? != "19" {
        return Err(out_of_bounds("version"));
    }
    let cost = KdfCost {
        m_kib: number("m_kib")?,
        passes: number("passes")?,
        lanes: number("lanes")?,
    };
    let salt = data_encoding::HEXLOWER
        .decode(field("salt")?.as_bytes())
        .ok()
        .and_then(|salt| salt.try_into().ok())
        .ok_or_else(|| out_of_bounds("salt"))?;
    Ok((cost, salt))
}

/// Argon2id on memory that is wiped: the crate frees its own matrix as it is.
fn stretch(
    passphrase: &[u8],
    salt: &[u8; SALT_LEN],
    params: Params,
) -> Result<SecretBox<[u8; 32]>, ProviderError> {
    let no_memory = || {
        ProviderError::new(
            ProviderErrorKind::Unavailable,
            "not enough memory for the key derivation; free some, or lower the slot's cost",
        )
    };
    let mut memory = Zeroizing::new(Vec::new());
    memory
        .try_reserve_exact(params.block_count())
        .map_err(|_| no_memory())?;
    memory.resize(params.block_count(), Block::new());
    let mut out = SecretBox::<[u8; 32]>::default();
    let result = run_argon2(
        passphrase,
        salt,
        params,
        out.expose_secret_mut(),
        &mut memory,
    );
    // Blake2b leaves the passphrase and its hash in its stack frame.
    zeroize::zeroize_stack::<{ 64 * 1024 }>();
    result.map_err(|error| {
        ProviderError::new(
            ProviderErrorKind::Corrupt,
            "the key derivation refused its input; check the passphrase's length (at most 4 GiB)",
        )
        .with_source(error.to_string())
    })?;
    Ok(out)
}

#[inline(never)]
fn run_argon2(
    passphrase: &[u8],
    salt: &[u8],
    params: Params,
    out: &mut [u8; 32],
    memory: &mut [Block],
) -> Result<(), argon2::Error> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(passphrase, salt, out, memory)
}

/// Runs a derivation beside the runtime.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ProviderError> + Send + 'static,
) -> Result<T, ProviderError> {
    off_thread("sealed-store-kdf", work)
        .await
        .unwrap_or_else(|| {
            Err(ProviderError::new(
                ProviderErrorKind::Unavailable,
                "the key derivation could not run on a thread of its own; try again",
            ))
        })
}

/// Measures this machine and returns a cost whose derivation takes about `target` here: one lane, as
/// much memory as fits (19 MiB to 1 GiB, and under [`DEFAULT_KDF_CEILING`]), then more passes.
///
/// It runs Argon2id once over 64 MiB, so it takes some tens of milliseconds itself.
///
/// # Errors
/// [`ProviderErrorKind::Unavailable`] if there is no thread or memory for the measurement.
pub async fn calibrate(target: Duration) -> Result<KdfCost, ProviderError> {
    const SAMPLE: KdfCost = KdfCost {
        m_kib: 64 * 1024,
        passes: 2,
        lanes: 1,
    };
    let params = SAMPLE.params()?;
    let took = beside(move || {
        let start = Instant::now();
        let mut key = stretch(b"calibration", &[0; SALT_LEN], params)?;
        key.zeroize();
        Ok(start.elapsed())
    })
    .await?;
    Ok(cost_for(SAMPLE.kib_passes(), took, target))
}

/// The cost that takes `target`, given that `sample` KiB passes took `took`.
fn cost_for(sample: u64, took: Duration, target: Duration) -> KdfCost {
    let budget = u128::from(sample) * target.as_micros() / took.as_micros().max(1);
    let budget = u64::try_from(budget)
        .unwrap_or(u64::MAX)
        .min(DEFAULT_KDF_CEILING);
    let m_kib = u32::try_from(budget / 3)
        .unwrap_or(u32::MAX)
        .clamp(MIN_M_KIB, MAX_M_KIB);
    let passes = u32::try_from(budget / u64::from(m_kib))
        .unwrap_or(u32::MAX)
        .clamp(MIN_PASSES, MAX_PASSES);
    KdfCost {
        m_kib,
        passes,
        lanes: 1,
    }
}

#[cfg(test)]
mod tests;
