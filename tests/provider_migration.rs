//! From one key, or one provider, to another: the old one is given up only once the new one has opened, and a refusal
//! changes nothing. The provider here is a stand-in for a service, so that it can fail where real ones do not; the real ones move
//! in `cli_migrate`.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sealed_store::{
    AuditEvent, AuditSink, Fields, KeyProvider, KeyringOptions, NewSlot, Probe, ProviderError,
    ProviderErrorKind, Recipe, SealError, SlotContext,
};
use secrecy::SecretBox;
use support::{Shelf, passphrase, raw, refused};

/// A service with keys that have versions. A blob is `KEY/VERSION/INDEX OF THE SECRET`.
#[derive(Default)]
struct Service {
    secrets: Mutex<Vec<[u8; 32]>>,
    version: AtomicU32,
    oldest: AtomicU32,
    refuses_to_open: AtomicBool,
    gives_another: AtomicBool,
}

impl Service {
    fn key(self: &Arc<Self>, name: &'static str) -> Key {
        Key {
            service: Arc::clone(self),
            name,
        }
    }
}

struct Key {
    service: Arc<Service>,
    name: &'static str,
}

fn error(kind: ProviderErrorKind) -> ProviderError {
    ProviderError::new(kind, "the stand-in says no")
}

impl Key {
    fn index(&self, recipe: &Recipe) -> Result<usize, ProviderError> {
        let parts: Vec<&str> = recipe.material["blob"].split('/').collect();
        if parts[0] != self.name {
            return Err(error(ProviderErrorKind::WrongKey));
        }
        if parts[1].parse::<u32>().unwrap() < self.service.oldest.load(Ordering::SeqCst) {
            return Err(error(ProviderErrorKind::Disabled));
        }
        Ok(parts[2].parse().unwrap())
    }

    fn blob(&self, key: &str, index: usize) -> Fields {
        let version = self.service.version.load(Ordering::SeqCst);
        Fields::from([("blob".to_owned(), format!("{key}/{version}/{index}"))])
    }
}

#[async_trait]
impl KeyProvider for Key {
    fn kind(&self) -> &str {
        "stand-in"
    }
    fn reference(&self) -> Fields {
        Fields::from([("key".to_owned(), self.name.to_owned())])
    }
    async fn generate(&self, _: &SlotContext) -> Result<NewSlot, ProviderError> {
        let mut secrets = self.service.secrets.lock().unwrap();
        let secret: [u8; 32] = rand::random();
        secrets.push(secret);
        Ok(NewSlot {
            secret: SecretBox::new(Box::new(secret)),
            material: self.blob(self.name, secrets.len() - 1),
        })
    }
    async fn unwrap_secret(
        &self,
        _: &SlotContext,
        recipe: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        if self.service.refuses_to_open.load(Ordering::SeqCst) {
            return Err(error(ProviderErrorKind::Denied));
        }
        let mut secret = self.service.secrets.lock().unwrap()[self.index(recipe)?];
        if self.service.gives_another.load(Ordering::SeqCst) {
            secret[0] ^= 1;
        }
        Ok(SecretBox::new(Box::new(secret)))
    }
    async fn rewrap(
        &self,
        _: &SlotContext,
        recipe: &Recipe,
        to: &Fields,
    ) -> Result<Fields, ProviderError> {
        Ok(self.blob(&to["key"], self.index(recipe)?))
    }
    async fn probe(&self) -> Result<Probe, ProviderError> {
        Ok(Probe::ready())
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<AuditEvent>>);

impl AuditSink for Heard {
    fn record(&self, event: &AuditEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

#[tokio::test]
async fn a_rewrapped_slot_is_the_same_slot_under_the_newest_key() {
    for shelf in Shelf::both() {
        let service = Arc::new(Service::default());
        let key = service.key("a");
        let heard = Arc::new(Heard::default());
        let options = KeyringOptions::new()
            .label("cloud")
            .audit(Arc::clone(&heard) as Arc<dyn AuditSink>);
        let keyring = options.create(shelf.store(), &key).await.unwrap();
        let uid = keyring.account_or_create("1").await.unwrap().uid();
        let before = keyring.slots().await.unwrap();

        service.version.store(2, Ordering::SeqCst);
        keyring.rewrap_slot(1, &key, &key).await.unwrap();
        service.oldest.store(2, Ordering::SeqCst);
        assert_eq!(keyring.slots().await.unwrap(), before);
        let last = heard.0.lock().unwrap().last().cloned().unwrap();
        assert!(
            matches!(&last, AuditEvent::SlotRewrapped { slot: 1, provider, .. } if provider == "stand-in"),
            "{last:?}"
        );
        // Open handles go on through it, too.
        keyring.lock();
        keyring.unlock(&key).await.unwrap();
        drop(keyring);
        let keyring = shelf.open(&key).await.unwrap();
        assert_eq!(keyring.account("1").await.unwrap().uid(), uid);

        let other = service.key("b");
        keyring.rewrap_slot(1, &key, &other).await.unwrap();
        drop(keyring);
        refused(shelf.open(&key).await);
        let keyring = shelf.open(&other).await.unwrap();
        assert_eq!(keyring.account("1").await.unwrap().uid(), uid);
    }
}

#[tokio::test]
async fn a_rewrap_that_does_not_open_is_not_stored() {
    for shelf in Shelf::both() {
        let service = Arc::new(Service::default());
        let (key, other) = (service.key("a"), service.key("b"));
        let keyring = shelf.create(&key).await.unwrap();
        keyring.add_slot("words", &raw(1)).await.unwrap();
        let before = shelf.document("keyring").await;

        service.refuses_to_open.store(true, Ordering::SeqCst);
        let denied = refused(keyring.rewrap_slot(1, &key, &other).await);
        assert!(
            matches!(&denied, SealError::Provider(error) if error.kind() == ProviderErrorKind::Denied),
            "{denied:?}"
        );
        service.refuses_to_open.store(false, Ordering::SeqCst);
        service.gives_another.store(true, Ordering::SeqCst);
        let wrong = refused(keyring.rewrap_slot(1, &key, &key).await);
        assert!(matches!(wrong, SealError::WrongKey), "{wrong:?}");
        service.gives_another.store(false, Ordering::SeqCst);

        let unknown = refused(keyring.rewrap_slot(3, &key, &key).await);
        assert!(matches!(unknown, SealError::UnknownSlot), "{unknown:?}");
        for (slot, from) in [(1, &other), (2, &key)] {
            let foreign = refused(keyring.rewrap_slot(slot, from, &key).await);
            assert!(matches!(foreign, SealError::WrongKey), "{foreign:?}");
        }
        // One that has no service to do it.
        let not_able = refused(keyring.rewrap_slot(2, &raw(1), &raw(1)).await);
        assert!(
            matches!(&not_able, SealError::Provider(error) if error.kind() == ProviderErrorKind::BadRequest),
            "{not_able:?}"
        );
        assert_eq!(shelf.document("keyring").await, before);
        drop(keyring);
        shelf.open(&key).await.unwrap();
    }
}

#[tokio::test]
async fn replacing_a_slot_ends_the_old_provider_and_the_old_root_at_once() {
    for shelf in Shelf::both() {
        let service = Arc::new(Service::default());
        let (old, new, words) = (service.key("a"), service.key("b"), passphrase("words"));
        let options = KeyringOptions::new().label("production");
        let keyring = options.create(shelf.store(), &old).await.unwrap();
        let uid = keyring.account_or_create("1").await.unwrap().uid();
        keyring.add_slot("words", &words).await.unwrap();
        keyring.add_slot("gone", &raw(3)).await.unwrap();
        let slot = keyring
            .replace_slot(1, &new, &[(2, &words)], &[3])
            .await
            .unwrap();
        let slots = keyring.slots().await.unwrap();
        let there: Vec<_> = slots
            .iter()
            .map(|slot| (slot.slot, slot.label.as_str(), slot.opened))
            .collect();
        assert_eq!(there.len(), 2, "{there:?}");
        assert!(there.contains(&(slot, "production", true)), "{there:?}");
        drop(keyring);
        for gone in [&old as &dyn KeyProvider, &raw(3)] {
            refused(shelf.open(gone).await);
        }
        for stays in [&new as &dyn KeyProvider, &words] {
            let keyring = shelf.open(stays).await.unwrap();
            assert_eq!(keyring.account("1").await.unwrap().uid(), uid);
        }
    }
}

#[tokio::test]
async fn a_provider_that_is_gone_can_be_replaced() {
    let shelf = Shelf::sqlite();
    let service = Arc::new(Service::default());
    let keyring = shelf.create(&service.key("a")).await.unwrap();
    keyring.add_slot("paper", &raw(1)).await.unwrap();
    drop(keyring);
    service.refuses_to_open.store(true, Ordering::SeqCst);
    let elsewhere = Arc::new(Service::default()).key("c");
    let keyring = shelf.open(&raw(1)).await.unwrap();
    keyring
        .replace_slot(1, &elsewhere, &[(2, &raw(1))], &[])
        .await
        .unwrap();
    drop(keyring);
    shelf.open(&elsewhere).await.unwrap();
}

#[tokio::test]
async fn a_slot_that_its_provider_can_not_open_is_never_made() {
    for another in [false, true] {
        for shelf in Shelf::both() {
            let service = Arc::new(Service::default());
            let key = service.key("a");
            let broken = match another {
                true => &service.gives_another,
                false => &service.refuses_to_open,
            };
            broken.store(true, Ordering::SeqCst);
            refused(shelf.create(&key).await);
            assert_eq!(shelf.get_if_made("keyring").await, None);

            let keyring = shelf.create(&raw(1)).await.unwrap();
            refused(keyring.add_slot("cloud", &key).await);
            refused(keyring.change_passphrase(1, &raw(1), &key).await);
            refused(keyring.replace_slot(1, &key, &[], &[]).await);
            assert_eq!(keyring.slots().await.unwrap().len(), 1);
            drop(keyring);
            shelf.open(&raw(1)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn every_other_slot_is_named_when_one_is_replaced() {
    let shelf = Shelf::sqlite();
    let keyring = shelf.create(&raw(1)).await.unwrap();
    keyring.add_slot("two", &raw(2)).await.unwrap();
    let before = shelf.document("keyring").await;
    let two = raw(2);
    let wrong: [(u32, &[u32], &[u32]); 5] = [
        (1, &[], &[]),
        (1, &[2], &[2]),
        (1, &[2], &[1]),
        (3, &[2], &[1]),
        (1, &[2, 1], &[]),
    ];
    for (slot, keep, drop) in wrong {
        let keep: Vec<_> = keep
            .iter()
            .map(|slot| (*slot, &two as &dyn KeyProvider))
            .collect();
        let error = refused(keyring.replace_slot(slot, &raw(9), &keep, drop).await);
        assert!(matches!(error, SealError::Invalid { .. }), "{error:?}");
    }
    let error = refused(keyring.replace_slot(1, &raw(9), &[(2, &raw(8))], &[]).await);
    assert!(matches!(error, SealError::WrongKey), "{error:?}");
    assert_eq!(shelf.document("keyring").await, before);
}

/// Keeps the secret of each slot itself, as a keychain does, and gives none a second one.
#[derive(Default)]
struct Keeper(Mutex<std::collections::BTreeMap<u32, [u8; 32]>>);

#[async_trait]
impl KeyProvider for Keeper {
    fn kind(&self) -> &str {
        "keeper"
    }
    async fn generate(&self, context: &SlotContext) -> Result<NewSlot, ProviderError> {
        let secret: [u8; 32] = rand::random();
        let mut kept = self.0.lock().unwrap();
        if kept.contains_key(&context.slot) {
            return Err(error(ProviderErrorKind::BadRequest));
        }
        kept.insert(context.slot, secret);
        Ok(NewSlot {
            secret: SecretBox::new(Box::new(secret)),
            material: Fields::new(),
        })
    }
    async fn unwrap_secret(
        &self,
        context: &SlotContext,
        _: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        let kept = self.0.lock().unwrap();
        let secret = kept.get(&context.slot);
        let secret = secret.ok_or_else(|| error(ProviderErrorKind::Destroyed))?;
        Ok(SecretBox::new(Box::new(*secret)))
    }
    async fn probe(&self) -> Result<Probe, ProviderError> {
        Ok(Probe::ready())
    }
}

#[tokio::test]
async fn a_migration_that_failed_half_way_can_be_tried_again() {
    let shelf = Shelf::sqlite();
    let (keeper, service) = (Keeper::default(), Arc::new(Service::default()));
    let new = service.key("a");
    let keyring = shelf.create(&raw(1)).await.unwrap();
    let slot = keyring.add_slot("kept", &keeper).await.unwrap();
    for _ in 0..2 {
        // What is kept got its new secret by then.
        service.refuses_to_open.store(true, Ordering::SeqCst);
        refused(keyring.replace_slot(1, &new, &[(slot, &keeper)], &[]).await);
    }
    service.refuses_to_open.store(false, Ordering::SeqCst);
    keyring
        .replace_slot(1, &new, &[(slot, &keeper)], &[])
        .await
        .unwrap();
    drop(keyring);
    shelf.open(&keeper).await.unwrap();
    shelf.open(&new).await.unwrap();
}
