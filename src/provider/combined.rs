//! Two providers, both of which are needed.

use async_trait::async_trait;
use hkdf::Hkdf;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{
    Fields, KeyProvider, NewSlot, Probe, ProviderError, ProviderErrorKind, Recipe, Rights,
    SlotContext,
};
use crate::labels;
use crate::record::frame::put_frame;
use crate::secret::{self, Key};
use crate::wipe;

type Result<T> = std::result::Result<T, ProviderError>;

/// Opens a slot with two providers together: a passphrase *and* what the TPM or the keychain holds. Neither helps without
/// the other.
///
/// The slot's secret is HKDF-SHA-256 of both secrets in their order, bound to the keyring's id, the slot and both kinds. The
/// slot stores what both providers need. Each is asked once, the first one first; if it fails, the second is not asked.
/// Errors keep the kind that the failing part gave them, and their text says which part that was. Where both give a
/// secret and one of them is wrong (a mistyped passphrase), nobody can tell which: that is
/// [`SealError::WrongKey`](crate::SealError::WrongKey).
///
/// Put the one that asks a person, or keeps a count of wrong answers, second: it is left alone then where the first fails.
/// If it is [`generate`](KeyProvider::generate) of the second that fails, what the first put away stays there unused.
///
/// ```
/// use sealed_store::{BackendKeyring, Combined, Keyring, KdfCost, Passphrase, RawKey};
/// # use secrecy::SecretBox;
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let store = BackendKeyring::new(std::sync::Arc::new(wacore::store::InMemoryBackend::new()));
/// let machine = || RawKey::new(SecretBox::new(Box::new([7; 32])));
/// let words = |text: &str| Passphrase::new(text).cost(KdfCost::FLOOR);
///
/// Keyring::create(store.clone(), &Combined::new(machine(), words("correct horse"))).await?;
/// assert!(Keyring::open(store.clone(), &words("correct horse")).await.is_err());
/// assert!(Keyring::open(store.clone(), &machine()).await.is_err());
/// Keyring::open(store, &Combined::new(machine(), words("correct horse"))).await?;
/// # Ok::<(), sealed_store::SealError>(())
/// # }).unwrap();
/// ```
pub struct Combined<A, B> {
    first: A,
    second: B,
}

const FIRST: &str = "first";
const SECOND: &str = "second";
const IN_FIRST: &str = "the first of two providers";
const IN_SECOND: &str = "the second of two providers";

impl<A: KeyProvider, B: KeyProvider> Combined<A, B> {
    /// Both, in this order: a slot made in the other order is not theirs.
    pub fn new(first: A, second: B) -> Self {
        Self { first, second }
    }

    fn mixed(&self, context: &SlotContext, first: &Key, second: &Key) -> Result<Key> {
        // A secret that somebody forgot to fill would leave the other one alone.
        for (part, secret) in [(IN_FIRST, first), (IN_SECOND, second)] {
            if secret::is_zero(secret) {
                let error = ProviderError::new(
                    ProviderErrorKind::BadRequest,
                    "it gave an all-zero secret; correct the provider",
                );
                return Err(error.of_part(part));
            }
        }
        let mut kinds = Vec::new();
        for kind in [self.first.kind(), self.second.kind()] {
            put_frame(&mut kinds, kind.as_bytes()).map_err(|error| {
                ProviderError::new(
                    ProviderErrorKind::BadRequest,
                    "a provider's kind is too long; correct the provider",
                )
                .with_source(error)
            })?;
        }
        let info = [
            labels::COMBINED,
            &context.keyring_id,
            &context.slot.to_le_bytes(),
            &kinds,
        ];
        let mut out = Key::default();
        wipe::after(|| {
            let mut both = Zeroizing::new([0; 64]);
            let secrets = [first, second].map(|key| key.expose_secret());
            for (to, from) in both.iter_mut().zip(secrets.into_iter().flatten()) {
                *to = *from;
            }
            // 32 bytes are a valid length, so this does not fail; zeros would be refused.
            let _ =
                Hkdf::<Sha256>::new(None, &*both).expand_multi_info(&info, out.expose_secret_mut());
        });
        Ok(out)
    }
}

/// Both parts' fields in one map, each under its part's name.
fn joined(first: Fields, second: Fields) -> Fields {
    let under = |part: &'static str| move |(name, value)| (format!("{part}.{name}"), value);
    let first = first.into_iter().map(under(FIRST));
    first.chain(second.into_iter().map(under(SECOND))).collect()
}

/// The material of each part.
fn parted(material: &Fields) -> Result<(Fields, Fields)> {
    let (mut first, mut second) = (Fields::new(), Fields::new());
    for (name, value) in material {
        let (fields, name) = match name.split_once('.') {
            Some((FIRST, name)) => (&mut first, name),
            Some((SECOND, name)) => (&mut second, name),
            _ => {
                return Err(ProviderError::new(
                    ProviderErrorKind::Corrupt,
                    "the slot of two providers has a field of neither; restore the keyring from a backup",
                ));
            }
        };
        fields.insert(name.to_owned(), value.clone());
    }
    Ok((first, second))
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl<A: KeyProvider, B: KeyProvider> KeyProvider for Combined<A, B> {
    fn kind(&self) -> &str {
        "combined"
    }

    fn reference(&self) -> Fields {
        let mut reference = joined(self.first.reference(), self.second.reference());
        reference.insert(FIRST.to_owned(), self.first.kind().to_owned());
        reference.insert(SECOND.to_owned(), self.second.kind().to_owned());
        reference
    }

    fn may_be_lost(&self) -> bool {
        self.first.may_be_lost() || self.second.may_be_lost()
    }

    async fn generate(&self, context: &SlotContext) -> Result<NewSlot> {
        let first = self.first.generate(context).await;
        let first = first.map_err(|error| error.of_part(IN_FIRST))?;
        let second = self.second.generate(context).await;
        let second = second.map_err(|error| error.of_part(IN_SECOND))?;
        Ok(NewSlot {
            secret: self.mixed(context, &first.secret, &second.secret)?,
            material: joined(first.material, second.material),
        })
    }

    async fn unwrap_secret(
        &self,
        context: &SlotContext,
        recipe: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>> {
        let (first, second) = parted(&recipe.material)?;
        let recipe = Recipe {
            reference: self.first.reference(),
            material: first,
        };
        let first = self.first.unwrap_secret(context, &recipe).await;
        let first = first.map_err(|error| error.of_part(IN_FIRST))?;
        let recipe = Recipe {
            reference: self.second.reference(),
            material: second,
        };
        let second = self.second.unwrap_secret(context, &recipe).await;
        let second = second.map_err(|error| error.of_part(IN_SECOND))?;
        self.mixed(context, &first, &second)
    }

    async fn probe(&self) -> Result<Probe> {
        let first = self.first.probe().await;
        let first = first.map_err(|error| error.of_part(IN_FIRST))?;
        let second = self.second.probe().await;
        let second = second.map_err(|error| error.of_part(IN_SECOND))?;
        let times = [first.round_trip, second.round_trip];
        Ok(Probe {
            ready: first.ready && second.ready,
            round_trip: times.into_iter().flatten().reduce(|one, two| one + two),
            // Of two keys.
            rights: Rights::default(),
            key_version: None,
        })
    }
}
