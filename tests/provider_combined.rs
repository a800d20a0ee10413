//! A slot of two providers opens with both of them and with nothing less, asks each of them once, and says which of them
//! failed. One that opened with either would be as strong as the weaker.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use sealed_store::{
    Combined, Fields, KeyProvider, Keyring, NewSlot, Probe, ProviderError, ProviderErrorKind,
    Recipe, SealError, SlotContext,
};
use secrecy::{ExposeSecret, SecretBox};
use support::{Remote, Shelf, dropped_after, passphrase, raw, refused};

/// Fails as it is told, and counts how often it is asked.
struct Failing(Option<ProviderErrorKind>, AtomicUsize);

impl Failing {
    fn with(kind: ProviderErrorKind) -> Self {
        Self(Some(kind), AtomicUsize::new(0))
    }

    fn never() -> Self {
        Self(None, AtomicUsize::new(0))
    }

    fn asked(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }

    fn answer(&self) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        match self.0 {
            Some(kind) => Err(ProviderError::new(kind, "look at the token")),
            None => Ok(SecretBox::new(Box::new([3; 32]))),
        }
    }
}

#[async_trait]
impl KeyProvider for Failing {
    fn kind(&self) -> &str {
        "failing"
    }
    async fn generate(&self, _: &SlotContext) -> Result<NewSlot, ProviderError> {
        Ok(NewSlot {
            secret: self.answer()?,
            material: Fields::new(),
        })
    }
    async fn unwrap_secret(
        &self,
        _: &SlotContext,
        _: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        tokio::task::yield_now().await;
        self.answer()
    }
    async fn probe(&self) -> Result<Probe, ProviderError> {
        self.answer().map(|_| Probe::ready())
    }
}

fn remote(byte: u8) -> Remote {
    Remote::new("one", [byte; 32])
}

#[tokio::test]
async fn both_are_needed_and_in_their_order() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&raw(9)).await.unwrap();
        let both = Combined::new(remote(1), passphrase("words"));
        let slot = keyring.add_slot("both", &both).await.unwrap();
        drop(keyring);
        let keyring = shelf.open(&both).await.unwrap();
        assert_eq!(keyring.slots().await.unwrap()[1].kind, "combined");
        drop(keyring);

        for other in [
            Box::new(remote(1)) as Box<dyn KeyProvider>,
            Box::new(passphrase("words")),
            Box::new(Combined::new(remote(2), passphrase("words"))),
            Box::new(Combined::new(remote(1), passphrase("other words"))),
        ] {
            let error = refused(shelf.open(&*other).await);
            assert!(matches!(error, SealError::WrongKey), "{error:?}");
        }
        for foreign in [
            Box::new(Combined::new(passphrase("words"), remote(1))) as Box<dyn KeyProvider>,
            Box::new(Combined::new(remote(1), raw(1))),
            Box::new(Combined::new(
                Remote::new("two", [1; 32]),
                passphrase("words"),
            )),
        ] {
            let error = refused(shelf.open(&*foreign).await);
            assert!(matches!(error, SealError::ForeignRecipe), "{error:?}");
        }

        let keyring = shelf.open(&raw(9)).await.unwrap();
        keyring.remove_slot(slot).await.unwrap();
        drop(keyring);
        assert!(shelf.open(&both).await.is_err());
    }
}

/// Two equal parts, and a pair inside a pair.
#[tokio::test]
async fn parts_of_one_kind_do_not_mix_up_their_fields() {
    let shelf = Shelf::backend();
    let nested = |words: &str| {
        let inner = Combined::new(passphrase(words), remote(1));
        Combined::new(passphrase("outer"), inner)
    };
    drop(shelf.create(&nested("inner")).await.unwrap());
    drop(shelf.open(&nested("inner")).await.unwrap());
    assert!(matches!(
        refused(shelf.open(&nested("other")).await),
        SealError::WrongKey
    ));
    shelf
        .edit("keyring", |body| {
            let material = body["slots"][0]["recipe"]["material"].as_object().unwrap();
            assert!(material.contains_key("first.salt"));
            assert!(material.contains_key("second.first.salt"));
            assert!(material.contains_key("second.second.blob"));
            assert_ne!(material["first.salt"], material["second.first.salt"]);
        })
        .await;
}

#[tokio::test]
async fn an_opening_asks_each_part_once() {
    let shelf = Shelf::backend();
    let both = Combined::new(Arc::new(remote(1)), Arc::new(remote(2)));
    drop(shelf.create(&both).await.unwrap());

    let (first, second) = (Arc::new(remote(1)), Arc::new(remote(2)));
    let both = Combined::new(Arc::clone(&first), Arc::clone(&second));
    let keyring = shelf.open(&both).await.unwrap();
    assert_eq!((first.unwrapped(), second.unwrapped()), (1, 1));
    keyring.create_account("1").await.unwrap();
    assert_eq!((first.unwrapped(), second.unwrapped()), (1, 1));
    assert_eq!(first.generated.load(Ordering::SeqCst), 0);

    // A recipe of another key costs no question.
    let (first, second) = (Arc::new(remote(1)), Arc::new(Remote::new("two", [2; 32])));
    let both = Combined::new(Arc::clone(&first), Arc::clone(&second));
    assert!(matches!(
        refused(shelf.open(&both).await),
        SealError::ForeignRecipe
    ));
    assert_eq!((first.unwrapped(), second.unwrapped()), (0, 0));
}

#[tokio::test]
async fn an_error_keeps_its_kind_and_says_which_part_it_was() {
    const KINDS: [ProviderErrorKind; 10] = [
        ProviderErrorKind::Throttled { retry_after: None },
        ProviderErrorKind::Unavailable,
        ProviderErrorKind::Denied,
        ProviderErrorKind::Disabled,
        ProviderErrorKind::Destroyed,
        ProviderErrorKind::WrongKey,
        ProviderErrorKind::ContextMismatch,
        ProviderErrorKind::Corrupt,
        ProviderErrorKind::BadRequest,
        ProviderErrorKind::NeedsInteraction,
    ];
    let shelf = Shelf::backend();
    let both = Combined::new(Failing::never(), Failing::never());
    drop(shelf.create(&both).await.unwrap());
    drop(shelf.open(&both).await.unwrap());

    for kind in KINDS {
        let (first, second) = (Arc::new(Failing::with(kind)), Arc::new(Failing::never()));
        let both = Combined::new(Arc::clone(&first), Arc::clone(&second));
        says(&shelf, &both, kind, "the first of two providers: ").await;
        // Opening, creating and probing.
        assert_eq!((first.asked(), second.asked()), (3, 0));

        let (first, second) = (Arc::new(Failing::never()), Arc::new(Failing::with(kind)));
        let both = Combined::new(Arc::clone(&first), Arc::clone(&second));
        says(&shelf, &both, kind, "the second of two providers: ").await;
        assert_eq!((first.asked(), second.asked()), (3, 3));

        let inner = Combined::new(Failing::with(kind), Failing::never());
        let nested = Combined::new(Failing::never(), inner);
        let error = nested.probe().await.unwrap_err().to_string();
        assert_eq!(
            error,
            "the second of two providers: the first of two providers: look at the token"
        );
    }
}

async fn says(shelf: &Shelf, both: &dyn KeyProvider, kind: ProviderErrorKind, part: &str) {
    let opening = refused(shelf.open(both).await);
    let creating = refused(Shelf::backend().create(both).await);
    for error in [opening, creating] {
        let SealError::Provider(error) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error.kind(), kind);
        assert_eq!(error.to_string(), format!("{part}look at the token"));
    }
    assert_eq!(both.probe().await.unwrap_err().kind(), kind);
}

/// What a passphrase slot is refused for is still typed when it is a part.
#[tokio::test]
async fn the_cost_of_a_part_is_bounded() {
    let shelf = Shelf::backend();
    let both = Combined::new(remote(1), passphrase("words"));
    drop(shelf.create(&both).await.unwrap());
    shelf
        .edit("keyring", |body| {
            let material = &mut body["slots"][0]["recipe"]["material"];
            material["second.m_kib"] = "1048576".into();
            material["second.passes"] = "64".into();
        })
        .await;
    let error = refused(shelf.open(&both).await);
    assert!(
        matches!(error, SealError::ExcessiveKdfCost { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_moved_or_altered_recipe_opens_nothing() {
    let both = || Combined::new(remote(1), passphrase("words"));
    // Two slots of the same providers, whose recipes are exchanged; then the numbers too.
    for whole in [false, true] {
        let shelf = Shelf::backend();
        let keyring = shelf.create(&both()).await.unwrap();
        keyring.add_slot("second", &both()).await.unwrap();
        drop(keyring);
        shelf
            .edit("keyring", |body| {
                let slots = body["slots"].as_array_mut().unwrap();
                let (one, two) = slots.split_at_mut(1);
                std::mem::swap(&mut one[0]["recipe"], &mut two[0]["recipe"]);
                if whole {
                    for field in ["commitment", "wrapped_root"] {
                        std::mem::swap(&mut one[0][field], &mut two[0][field]);
                    }
                }
            })
            .await;
        let error = refused(shelf.open(&both()).await);
        assert!(matches!(error, SealError::WrongKey), "{error:?}");
    }
    // A slot of one keyring in another.
    let (one, two) = (Shelf::backend(), Shelf::backend());
    drop(one.create(&both()).await.unwrap());
    drop(two.create(&both()).await.unwrap());
    let mut slots = serde_json::Value::Null;
    one.edit("keyring", |body| slots = body["slots"].clone())
        .await;
    two.edit("keyring", |body| body["slots"] = slots).await;
    assert!(matches!(
        refused(two.open(&both()).await),
        SealError::WrongKey
    ));

    type Change = fn(&mut serde_json::Value);
    let changes: [(Change, &str); 7] = [
        (
            |recipe| recipe["material"]["third.blob"] = "".into(),
            "Corrupt",
        ),
        (|recipe| recipe["material"]["blob"] = "".into(), "Corrupt"),
        (
            |recipe| recipe["material"]["firstblob"] = "".into(),
            "Corrupt",
        ),
        (
            |recipe| recipe["material"]["second.more"] = "".into(),
            "KdfOutOfBounds",
        ),
        (
            |recipe| recipe["reference"]["second"] = "raw-key".into(),
            "ForeignRecipe",
        ),
        (
            |recipe| recipe["reference"]["first.key_id"] = "two".into(),
            "ForeignRecipe",
        ),
        (
            |recipe| recipe["reference"]["first.more"] = "".into(),
            "ForeignRecipe",
        ),
    ];
    for (change, expected) in changes {
        let shelf = Shelf::backend();
        drop(shelf.create(&both()).await.unwrap());
        shelf
            .edit("keyring", |body| change(&mut body["slots"][0]["recipe"]))
            .await;
        let error = refused(shelf.open(&both()).await);
        assert!(format!("{error:?}").contains(expected), "{error:?}");
    }
}

/// Every bit of the salt counts: it is the passphrase's part.
#[tokio::test]
async fn any_bit_of_the_material_counts() {
    let both = Combined::new(remote(1), passphrase("words"));
    let context = KeyringContext::of(&both).await;
    let right = context.secret(&both, &context.material).await;
    for at in [0, 7, 15] {
        for bit in [0, 4, 7] {
            let mut material = context.material.clone();
            let mut salt = hex::decode(&material["second.salt"]).unwrap();
            salt[at] ^= 1 << bit;
            material.insert("second.salt".into(), hex::encode(salt));
            assert_ne!(context.secret(&both, &material).await, right);
        }
    }
}

/// What a slot of a keyring was made with.
struct KeyringContext {
    slot: std::sync::Mutex<Option<SlotContext>>,
    material: Fields,
}

impl KeyringContext {
    /// A context can only be had from a keyring.
    async fn of(provider: &dyn KeyProvider) -> Self {
        struct Spy<'a>(
            &'a dyn KeyProvider,
            &'a std::sync::Mutex<Option<SlotContext>>,
        );
        #[async_trait]
        impl KeyProvider for Spy<'_> {
            fn kind(&self) -> &str {
                self.0.kind()
            }
            fn reference(&self) -> Fields {
                self.0.reference()
            }
            async fn generate(&self, context: &SlotContext) -> Result<NewSlot, ProviderError> {
                *self.1.lock().unwrap() = Some(*context);
                self.0.generate(context).await
            }
            async fn unwrap_secret(
                &self,
                context: &SlotContext,
                recipe: &Recipe,
            ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
                self.0.unwrap_secret(context, recipe).await
            }
            async fn probe(&self) -> Result<Probe, ProviderError> {
                self.0.probe().await
            }
        }
        let slot = std::sync::Mutex::new(None);
        let shelf = Shelf::backend();
        drop(shelf.create(&Spy(provider, &slot)).await.unwrap());
        let mut material = Fields::new();
        shelf
            .edit("keyring", |body| {
                let recipe = body["slots"][0]["recipe"].clone();
                material = serde_json::from_value(recipe["material"].clone()).unwrap();
            })
            .await;
        Self { slot, material }
    }

    async fn secret(&self, provider: &dyn KeyProvider, material: &Fields) -> [u8; 32] {
        let context = self.slot.lock().unwrap().unwrap();
        let recipe = Recipe {
            reference: provider.reference(),
            material: material.clone(),
        };
        let secret = provider.unwrap_secret(&context, &recipe).await.unwrap();
        *secret.expose_secret()
    }
}

#[tokio::test]
async fn a_part_that_gives_zeros_is_refused_and_named() {
    for (first, second, part) in [(0, 1, "the first"), (1, 0, "the second")] {
        let both = Combined::new(remote(first), remote(second));
        let error = refused(Shelf::backend().create(&both).await);
        let SealError::Provider(error) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error.kind(), ProviderErrorKind::BadRequest);
        assert!(error.to_string().starts_with(part), "{error}");
    }
}

#[tokio::test]
async fn openings_at_once_and_dropped_ones_leave_nothing_behind() {
    let both = Arc::new(Combined::new(Failing::never(), Failing::never()));
    let context = KeyringContext::of(&both).await;
    for pauses in 0..2 {
        let opening = context.secret(&both, &context.material);
        assert!(dropped_after(pauses, opening).await.is_none(), "{pauses}");
    }
    let shelf = Shelf::sqlite();
    drop(shelf.create(&both).await.unwrap());
    let openings: Vec<_> = (0..8)
        .map(|_| {
            let (store, both) = (shelf.store(), Arc::clone(&both));
            tokio::spawn(async move { Keyring::open(store, &both).await })
        })
        .collect();
    for opening in openings {
        assert!(opening.await.unwrap().unwrap().is_open());
    }
}
