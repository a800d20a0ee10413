//! What a file is, as anybody can tell who has no key. Nothing of it is verified, and nothing is written.

use std::path::Path;

use super::error::LifecycleError;
use super::peek::{self, CanaryIds, Found, Layout, Log, Peek};
use crate::error::SealError;
use crate::keyring::document::{ACCOUNTS, AccountState, KEYRING, account_document, account_name};
use crate::keyring::header::{Documents, Unverified};
use crate::keyring::store::documents_of;
use crate::keyring::{KeyState, SlotInfo};
use crate::record::Suite;
use crate::rows::{self, Store};

/// Whether what a file holds is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protection {
    /// It holds no row.
    Empty,
    /// It holds rows, and they belong to a keyring.
    Sealed,
    /// It holds rows, and they are in the clear.
    Clear,
}

impl Protection {
    /// Its name in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Sealed => "sealed",
            Self::Clear => "clear",
        }
    }
}

/// How a schema compares with those that this code works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaAge {
    /// It is one of them, or there is none.
    Known,
    /// It is older: open the store once with whatsapp-rust 0.7, or with this library's `open`, which bring it up to date.
    Older,
    /// It is newer than this code.
    Newer,
    /// It has columns, tables or migrations that no version has.
    Other,
}

impl SchemaAge {
    /// Its name in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Older => "older",
            Self::Newer => "newer",
            Self::Other => "other",
        }
    }
}

/// What a file is. The keyring's part is as its documents say; only opening it verifies that.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Info {
    /// Whose tables it holds.
    pub layout: Layout,
    /// The version of its schema: a number of ours, or the name of upstream's newest migration.
    pub schema: Option<String>,
    /// Whether that is a version that this code works on.
    pub schema_age: SchemaAge,
    /// Whether its rows are sealed.
    pub protection: Protection,
    /// Ids of the keyrings that its rows belong to, by what they say in the clear.
    pub keyring_ids: Vec<[u8; 16]>,
    /// The keyring in it, or in the file that was named.
    pub keyring: Option<KeyringNote>,
    /// What became of the write-ahead log of the store's file.
    pub log: Log,
    /// Whether others than the owner may read the store's file or the keyring's.
    pub open_to_others: bool,
}

/// What a keyring says of itself in the clear.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KeyringNote {
    /// Its id, if its own document can be read.
    pub id: Option<[u8; 16]>,
    /// The revision of its own document.
    pub revision: Option<u64>,
    /// The number of its root key.
    pub root: Option<u32>,
    /// The suite of wraps and new data keys.
    pub suite: Option<Suite>,
    /// Whether a root rotation was cut short or is under way.
    pub rotating: bool,
    /// Its slots, in number order.
    pub slots: Vec<SlotInfo>,
    /// Its accounts, by name.
    pub accounts: Vec<AccountNote>,
    /// How many documents it has.
    pub documents: u64,
    /// The kinds of documents that are damaged or missing: `keyring`, `accounts`, `account`.
    pub damaged: Vec<&'static str>,
    /// Set if a document is of a version that this code does not read.
    pub newer: Option<u32>,
}

/// What an account's document says in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountNote {
    /// Its name.
    pub name: String,
    /// How far it is; none where it is listed and has no document, or a damaged one.
    pub state: Option<AccountState>,
    /// How many generations of data keys were made, over all tables.
    pub generations: u64,
    /// How many of those are retained.
    pub retained: u64,
    /// How many are destroyed.
    pub destroyed: u64,
}

/// Tells what the file at `path` is, with its keyring in `keyring` if that is a file of its own. Needs no key,
/// changes no file and makes none.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("whatsapp.db");
/// use sealed_store::lifecycle::{self, Protection};
/// # use sealed_store::{KdfCost, Passphrase};
///
/// # let passphrase = Passphrase::new(String::from("correct horse battery staple")).cost(KdfCost::FLOOR);
/// drop(sealed_store::open(&path, &passphrase).await?);
/// let info = lifecycle::info(&path, None)?;
/// assert_eq!(info.protection, Protection::Sealed);
/// assert_eq!(info.keyring.unwrap().slots[0].kind, "passphrase");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # Errors
/// [`LifecycleError::NoStore`], [`LifecycleError::Foreign`], [`LifecycleError::Damaged`], and where a file can't be
/// read. A damaged keyring is no error here: [`KeyringNote::damaged`] tells.
pub fn info(path: &Path, keyring: Option<&Path>) -> Result<Info, LifecycleError> {
    let (peek, layout) = look(path)?;
    let beside = match keyring {
        Some(path) => look(path)?.0,
        None => None,
    };
    let documents = match (&beside, &peek, keyring) {
        (Some(beside), _, _) => documents_of(&beside.connection),
        (None, Some(peek), None) => documents_of(&peek.connection),
        _ => Ok(Documents::new()),
    };
    let documents = documents.map_err(SealError::from)?;
    let canaries = match &peek {
        Some(peek) => peek.canaries(layout)?,
        None => Vec::new(),
    };
    let holds_rows = match &peek {
        Some(peek) => peek.holds_rows(layout)?,
        None => false,
    };
    Ok(Info {
        layout,
        schema: match &peek {
            Some(peek) => peek.schema(layout)?,
            None => None,
        },
        schema_age: match (&peek, layout) {
            (Some(peek), Layout::Ours | Layout::Upstream) => match rows::look(&peek.connection)? {
                Store::Known(_) => SchemaAge::Known,
                Store::Older | Store::OlderOurs => SchemaAge::Older,
                Store::Newer(_) => SchemaAge::Newer,
                Store::Unknown | Store::Foreign => SchemaAge::Other,
            },
            _ => SchemaAge::Known,
        },
        protection: match (holds_rows, canaries.is_empty() && documents.is_empty()) {
            (false, _) => Protection::Empty,
            (true, false) => Protection::Sealed,
            (true, true) => Protection::Clear,
        },
        keyring_ids: ids(&canaries),
        keyring: (!documents.is_empty()).then(|| note(&documents)),
        log: peek.map_or(Log::None, |peek| peek.log),
        open_to_others: [Some(path), keyring]
            .into_iter()
            .flatten()
            .any(crate::private_file::others_can_read),
    })
}

pub(super) fn look(path: &Path) -> Result<(Option<Box<Peek>>, Layout), LifecycleError> {
    Ok(match peek::open(path)? {
        Found::Empty => (None, Layout::Empty),
        Found::Database(peek) => {
            let layout = peek.layout()?;
            (Some(peek), layout)
        }
    })
}

pub(super) fn ids(canaries: &[CanaryIds]) -> Vec<[u8; 16]> {
    let mut ids: Vec<_> = canaries.iter().map(|canary| canary.keyring).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn note(documents: &Documents) -> KeyringNote {
    let mut note = KeyringNote {
        id: None,
        revision: None,
        root: None,
        suite: None,
        rotating: false,
        slots: Vec::new(),
        accounts: Vec::new(),
        documents: documents.len() as u64,
        damaged: Vec::new(),
        newer: None,
    };
    let mut names: Vec<String> = Vec::new();
    let mut read = |name: &str| match documents.get(name) {
        Some((_, bytes)) => match Unverified::read(name, bytes) {
            Ok(document) => Some(document),
            Err(SealError::UnsupportedVersion { found, .. }) => {
                note.newer = Some(found);
                None
            }
            Err(_) => {
                note.damaged.push(crate::keyring::document::kind(name));
                None
            }
        },
        None => None,
    };
    let keyring = read(KEYRING);
    let index = read(ACCOUNTS);
    let mut accounts: Vec<_> = documents
        .keys()
        .filter(|name| *name != KEYRING && *name != ACCOUNTS)
        .filter_map(|name| {
            let document = read(name);
            account_name(name).map(|name| (name.to_owned(), document))
        })
        .collect();
    if !documents.contains_key(KEYRING) {
        note.damaged.push("keyring");
    }
    if let Some(Unverified::Keyring(envelope)) = keyring {
        let body = envelope.body;
        note.id = Some(body.keyring_id);
        note.revision = Some(body.revision);
        note.root = Some(body.root);
        note.suite = Some(body.suite);
        note.rotating = body.previous_root.is_some();
        note.slots = body.slots.iter().map(|entry| entry.info(None)).collect();
        note.slots.sort_by_key(|slot| slot.slot);
    }
    if let Some(Unverified::Accounts(envelope)) = index {
        names = envelope.body.names;
    }
    for name in names {
        if !documents.contains_key(&account_document(&name)) {
            accounts.push((name, None));
        }
    }
    accounts.sort_by(|one, two| one.0.cmp(&two.0));
    note.accounts = accounts
        .into_iter()
        .map(|(name, document)| account(name, document))
        .collect();
    note
}

fn account(name: String, document: Option<Unverified>) -> AccountNote {
    let body = match document {
        Some(Unverified::Account(envelope)) => Some(envelope.body),
        _ => None,
    };
    let keys = body.as_ref().map_or(&[][..], |body| &body.keys);
    let data = || keys.iter().filter(|key| key.table.is_some());
    let of = |state| data().filter(|key| key.state == state).count() as u64;
    AccountNote {
        name,
        state: body.as_ref().map(|body| body.state),
        generations: data().count() as u64,
        retained: of(KeyState::Retained),
        destroyed: of(KeyState::Destroyed),
    }
}
