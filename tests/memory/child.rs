//! What an application does with a keyring, and a search of its memory at each step.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealed_store::{
    Account, KdfCost, KeyProvider, Keyring, KeyringOptions, Passphrase, RawKey, SealError,
    SealOptions, SealedBackend, SqliteKeyring, Suite, Table,
};
use secrecy::{SecretBox, SecretSlice};
use tokio::runtime::Runtime;
use wacore::store::InMemoryBackend;
use wacore::store::traits::Backend;
use whatsapp_rust_sqlite_storage::{SqliteStore, SqliteStoreConfig, Synchronous};
use zeroize::Zeroizing;

use crate::scan::{Hits, MASK, Needle, Scan, Scanner};
use crate::work::use_store;

/// A line that asks the parent for all needles of the documents as they are now.
pub const ASK: &str = "?needles";
/// Begins a line for the parent to show.
pub const NOTE: &str = "@";
/// How many of them there are.
pub const NOTES: usize = 11;

const ACCOUNTS: [&str; 3] = ["1", "2", "3"];

/// What the parent hands over. Secrets are masked.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Given {
    pub folder: PathBuf,
    /// 0: a current-thread runtime.
    pub workers: usize,
    pub suite: Suite,
    pub passphrase: bool,
    /// The first makes the keyring, the second is another slot's, the third opens nothing.
    pub secrets: Vec<Vec<u8>>,
}

struct World {
    given: Given,
    runtime: Runtime,
    /// Rows outlive the keyring's closing, as they do in a file.
    memory: Vec<Arc<InMemoryBackend>>,
    failures: BTreeMap<&'static str, Hits>,
}

/// An open keyring with its accounts and their stores.
struct Life {
    keyring: Keyring,
    accounts: Vec<Account>,
    stores: Vec<Arc<dyn Backend>>,
}

pub fn run() {
    // The harness has begun a line.
    println!();
    let given: Given = serde_json::from_str(&line()).expect("what to do");
    let runtime = match given.workers {
        0 => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
        workers => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_all()
            .build(),
    };
    let mut world = World {
        given,
        runtime: runtime.expect("a runtime"),
        memory: (0..ACCOUNTS.len())
            .map(|_| Arc::new(InMemoryBackend::new()))
            .collect(),
        failures: BTreeMap::new(),
    };
    world.scenario();
    for (step, hits) in &world.failures {
        for ((what, whose, place), count) in hits {
            eprintln!("{step}: {count} × {what} ({whose}) in {place}");
        }
    }
    assert!(world.failures.is_empty(), "secrets were left in memory");
}

impl World {
    fn scenario(&mut self) {
        let provider = self.provider(0);
        let life = self.on_runtime(open(self.opening(), Arc::clone(&provider)));
        self.work(&life);
        self.finds_secret("with its provider");
        drop(provider);
        self.finds_keys("open");

        life.keyring.lock();
        self.finds_nothing("locked");

        self.unlock(&life, 0);
        self.work(&life);
        self.finds_keys("unlocked");
        life.keyring.lock();
        self.finds_nothing("locked again");

        // Everything that makes, wraps and replaces keys.
        self.unlock(&life, 0);
        self.rotate(&life);
        self.work(&life);
        self.finds_keys("rotated");
        life.keyring.lock();
        self.finds_nothing("locked after rotations");

        let wrong = self.provider(2);
        let keyring = life.keyring.clone();
        let refused = self.on_runtime(async move { keyring.unlock(&*wrong).await });
        assert!(matches!(refused, Err(SealError::WrongKey)), "{refused:?}");
        self.finds_nothing("refused");

        // Without any call: the watcher's thread wipes.
        self.unlock(&life, 0);
        self.work(&life);
        let pause = Duration::from_millis(30);
        life.keyring.auto_lock(Some(pause)).expect("it watches");
        while life.keyring.is_open() {
            std::thread::sleep(pause);
        }
        life.keyring.auto_lock(None).expect("it stops");
        self.finds_nothing("locked by itself");

        self.unlock(&life, 0);
        self.work(&life);
        drop(life);
        self.finds_nothing("dropped");
    }

    /// On a worker thread, if there are any.
    fn on_runtime<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        if self.given.workers == 0 {
            return self.runtime.block_on(work);
        }
        let task = self.runtime.spawn(work);
        self.runtime.block_on(task).expect("no panic")
    }

    fn opening(&self) -> Opening {
        Opening {
            folder: self.given.folder.clone(),
            suite: self.given.suite,
            memory: self.memory.clone(),
        }
    }

    /// The secret is in the clear only inside what the library takes.
    fn provider(&self, number: usize) -> Arc<dyn KeyProvider> {
        let masked = &self.given.secrets[number];
        if !self.given.passphrase {
            // The one from its file, the others as a caller has them.
            let provider = if number == 0 {
                RawKey::from_file(self.given.folder.join("key-0")).expect("a key file")
            } else {
                RawKey::new(SecretBox::init_with_mut(|key: &mut [u8; 32]| {
                    unmask(masked, key);
                }))
            };
            return Arc::new(provider);
        }
        let mut bytes = Zeroizing::new(vec![0; masked.len()]);
        unmask(masked, &mut bytes);
        let bytes = std::mem::take(&mut *bytes);
        let passphrase = if number == 0 {
            Passphrase::new(String::from_utf8(bytes).expect("text"))
        } else {
            Passphrase::from_bytes(SecretSlice::from(bytes))
        };
        Arc::new(passphrase.cost(KdfCost::FLOOR))
    }

    /// The provider lives for one call.
    fn unlock(&self, life: &Life, number: usize) {
        let (keyring, provider) = (life.keyring.clone(), self.provider(number));
        self.on_runtime(async move { keyring.unlock(&*provider).await })
            .expect("it opens");
    }

    /// A few hundred calls on every store, each store in a task of its own.
    fn work(&self, life: &Life) {
        let tasks: Vec<_> = life
            .stores
            .iter()
            .enumerate()
            .map(|(number, store)| {
                let store = Arc::clone(store);
                self.runtime
                    .spawn(async move { use_store(&*store, number as u8).await })
            })
            .collect();
        for task in tasks {
            self.runtime.block_on(task).expect("no panic");
        }
    }

    /// New data keys, another slot, another secret in it, a new root.
    fn rotate(&mut self, life: &Life) {
        let (keyring, accounts) = (life.keyring.clone(), life.accounts.clone());
        let (second, third) = (self.provider(1), self.provider(2));
        let slot = self.on_runtime(async move {
            let tables = [Table::Session, Table::MsgSecret, Table::BaseKey];
            accounts[0].rotate_data_keys(&tables).await?;
            keyring.rotate_data_keys(&[Table::Device]).await?;
            let slot = keyring.add_slot("second", &*third).await?;
            keyring.change_passphrase(slot, &*third, &*second).await
        });
        let slot = slot.expect("keys are replaced");
        // The parent must see the old root before it is gone.
        self.finds_keys("before the root is replaced");
        let (first, second) = (self.provider(0), self.provider(1));
        let keyring = life.keyring.clone();
        let rotated = self.on_runtime(async move {
            keyring
                .rotate_root(&[(1, &*first), (slot, &*second)], &[])
                .await
        });
        rotated.expect("the root is replaced");
    }

    fn scan(&self, step: &'static str) -> Scan {
        println!("{ASK}");
        let needles: Vec<Needle> = serde_json::from_str(&line()).expect("needles");
        let count = needles.len();
        let scanner = Scanner::new(needles);
        let start = Instant::now();
        let scan = scanner.scan();
        let found: usize = scan.hits.values().sum();
        println!(
            "{NOTE}{step}: {found} found of {count} pieces, in {} kB of memory and {} stacks, in {:?}",
            scan.bytes / 1024,
            scan.stacks,
            start.elapsed()
        );
        scan
    }

    fn finds_nothing(&mut self, step: &'static str) {
        let scan = self.scan(step);
        if !scan.hits.is_empty() {
            self.failures.insert(step, scan.hits);
        }
    }

    /// The control: each form of key that an open keyring has is found. And no other: what the provider
    /// gave, and what keys were derived from, is gone as soon as the keyring is open.
    fn finds_keys(&self, step: &'static str) {
        let scan = self.scan(step);
        let mut found: BTreeSet<&str> = scan.hits.keys().map(|(what, ..)| &**what).collect();
        // An HMAC comes into its box with a block buffer that nothing was written to yet. Optimised, those
        // bytes are what the stack held there: the key's pad. It is wiped with the HMAC.
        let with_hmac = "token key, HMAC pad";
        found.remove(with_hmac);
        let mut expected = BTreeSet::from([
            "root key",
            "wrap key",
            "document key",
            "record key",
            "token key, HMAC midstate",
            "SIV MAC key",
            "SIV MAC key, AES round key",
            "SIV encryption key",
            "name MAC key",
            "name MAC key, AES round key",
            "name encryption key",
        ]);
        if self.given.suite == Suite::Xaes256Gcm {
            expected.extend(["wrap key, AES round key", "record key, AES round key"]);
        }
        if !aes_instructions() {
            // Software AES keeps its round keys, and so the key, in another form.
            let other_form = |what: &&str| {
                what.contains("AES round key")
                    || what.contains("MAC key")
                    || self.given.suite == Suite::Xaes256Gcm
                        && matches!(*what, "wrap key" | "record key")
            };
            expected.retain(|what| !other_form(what));
        }
        let surplus: Vec<_> = scan
            .hits
            .keys()
            .filter(|(what, ..)| !expected.contains(&**what) && what != with_hmac)
            .collect();
        assert!(surplus.is_empty(), "{step}: {surplus:?}");
        assert_eq!(found, expected, "{step}");
    }

    /// The control for what the keyring was opened with.
    fn finds_secret(&self, step: &'static str) {
        let what = if self.given.passphrase {
            "passphrase"
        } else {
            "raw key"
        };
        let scan = self.scan(step);
        assert!(scan.hits.keys().any(|(found, ..)| found == what));
    }
}

#[cfg(target_arch = "x86_64")]
fn aes_instructions() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn aes_instructions() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn aes_instructions() -> bool {
    false
}

fn unmask(masked: &[u8], clear: &mut [u8]) {
    for (clear, masked) in clear.iter_mut().zip(masked) {
        *clear = masked ^ MASK;
    }
}

/// One line from the parent.
fn line() -> String {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .expect("a line from the parent");
    line
}

struct Opening {
    folder: PathBuf,
    suite: Suite,
    memory: Vec<Arc<InMemoryBackend>>,
}

/// Each account seals a device of one SQLite file, and three more seal memory stores.
async fn open(opening: Opening, provider: Arc<dyn KeyProvider>) -> Life {
    let Opening {
        folder,
        suite,
        memory,
    } = opening;
    let keyring = KeyringOptions::new()
        .seal(SealOptions::new().suite(suite))
        .open_or_create(SqliteKeyring::at(folder.join("keyring.db")), &*provider)
        .await
        .expect("the keyring opens");
    let mut life = Life {
        keyring,
        accounts: Vec::new(),
        stores: Vec::new(),
    };
    for (number, (name, memory)) in ACCOUNTS.iter().zip(memory).enumerate() {
        let account = life.keyring.account_or_create(name).await.expect("made");
        let config = SqliteStoreConfig {
            synchronous: Synchronous::Off,
            ..SqliteStoreConfig::default()
        };
        let path = folder.join("data.db");
        let path = path.to_str().expect("a UTF-8 path");
        let inner = SqliteStore::with_config_for_device(path, number as i32 + 1, config)
            .await
            .expect("upstream's store opens");
        let store = SealedBackend::open(Arc::new(inner), account.clone()).await;
        life.stores.push(Arc::new(store.expect("it opens")));
        let in_memory = format!("memory-{name}");
        let other = life.keyring.account_or_create(&in_memory).await;
        let other = other.expect("made");
        let store = SealedBackend::open(memory, other.clone()).await;
        life.stores.push(Arc::new(store.expect("it opens")));
        life.accounts.extend([account, other]);
    }
    for store in &life.stores {
        store.create().await.expect("a device is made");
    }
    life
}
