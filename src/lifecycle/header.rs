//! Backups of a store's header: all documents of its keyring, in one file.
//!
//! ```text
//! sealed-store header 1
//! { "keyring_id": …, "created": …, "documents": [ { "name": …, "revision": …, "document": … }, … ] }
//! sha256 <64 hex digits over every byte before this line>
//! ```
//!
//! A backup holds what the keyring holds: wrapped keys, and the slots as they were. It opens with the secrets of its
//! day for ever.

mod plan;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::LifecycleError;
use super::info::look;
use super::step::step;
use super::thread::briefly;
use crate::error::SealError;
use crate::keyring::document::{self, KEYRING, hex_array};
use crate::keyring::header::{Documents, Unverified, verify};
use crate::keyring::store::{SqliteKeyring, documents_of, lock_alone};
use crate::private_file;
use crate::provider::KeyProvider;
use crate::record::Table;

const MAGIC: &str = "sealed-store header ";
/// The version that this build writes and reads.
const VERSION: u32 = 1;
/// No backup is larger.
const MAX_BACKUP: u64 = 256 * 1024 * 1024;

const fn corrupt(what: &'static str) -> LifecycleError {
    LifecycleError::CorruptBackup { what }
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Backup {
    #[serde(with = "hex_array")]
    keyring_id: [u8; 16],
    /// Unix seconds.
    created: u64,
    documents: Vec<Entry>,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    revision: u64,
    document: String,
}

/// What [`backup_header`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackedUp {
    /// The keyring's id.
    pub keyring_id: [u8; 16],
    /// How many documents.
    pub documents: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// Writes every document of the keyring in the file `keyring` (the store's own, or the keyring's) to a new file of
/// mode `0600` at `to`, as of one moment. Needs no secret, changes nothing of the store, and may run beside programs
/// that use it.
///
/// A backup is worth what its secrets are: keep it as you keep the store. It opens with what opened the keyring
/// then, whatever is changed in the keyring later.
///
/// # Errors
/// [`LifecycleError::NotSealed`] if there is no keyring; [`SealError::CorruptKeyring`] if a document of it is
/// damaged, for such a backup would be of no use; [`LifecycleError::FileExists`].
pub fn backup_header(keyring: &Path, to: &Path) -> Result<BackedUp, LifecycleError> {
    let (peek, _) = look(keyring)?;
    let documents = match &peek {
        Some(peek) => documents_of(&peek.connection).map_err(SealError::from)?,
        None => Documents::new(),
    };
    if documents.is_empty() {
        return Err(LifecycleError::NotSealed);
    }
    drop(peek);
    let keyring_id = whole(&documents)?;
    let entries = documents.iter().map(|(name, (revision, bytes))| {
        Ok(Entry {
            name: name.clone(),
            revision: *revision,
            // A document that was read is text.
            document: String::from_utf8(bytes.clone()).map_err(|_| SealError::CorruptKeyring {
                what: "it is not text",
            })?,
        })
    });
    let backup = Backup {
        keyring_id,
        created: crate::keyring::now(),
        documents: entries.collect::<Result<_, SealError>>()?,
    };
    let json =
        serde_json::to_string_pretty(&backup).map_err(|_| corrupt("it can not be written"))?;
    let mut text = format!("{MAGIC}{VERSION}\n{json}\n");
    document::push_checksum(&mut text);
    step("read");
    private_file::write_new(to, text.as_bytes()).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => LifecycleError::FileExists,
        _ => error.into(),
    })?;
    step("written");
    Ok(BackedUp {
        keyring_id,
        documents: documents.len() as u64,
        bytes: text.len() as u64,
    })
}

/// That every document can be read and is of one keyring, whose id is the answer.
fn whole(documents: &Documents) -> Result<[u8; 16], SealError> {
    let mut ids = BTreeSet::new();
    for (name, (revision, bytes)) in documents {
        let document = Unverified::read(name, bytes)?;
        if document.revision() != *revision {
            return Err(SealError::CorruptKeyring {
                what: "its revision differs from the stored one",
            });
        }
        ids.insert(document.keyring_id());
    }
    match (documents.contains_key(KEYRING), ids.first(), ids.len()) {
        (true, Some(id), 1) => Ok(*id),
        (false, ..) => Err(SealError::CorruptKeyring {
            what: "its own document is gone",
        }),
        _ => Err(SealError::CorruptKeyring {
            what: "its documents are of several keyrings",
        }),
    }
}

/// A backup whose checksum fits. Nothing of it is believed yet.
struct Unproven {
    documents: Documents,
    keyring_id: [u8; 16],
    created: u64,
}

fn read(from: &Path) -> Result<Unproven, LifecycleError> {
    let mut text = String::new();
    // Before it is opened: opening a pipe waits for its writer.
    let about = std::fs::metadata(from)?;
    if !about.is_file() || about.len() > MAX_BACKUP {
        return Err(corrupt("it is no file, or larger than any"));
    }
    let file = File::open(from)?;
    match file.take(MAX_BACKUP).read_to_string(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            return Err(corrupt("it is not text"));
        }
        Err(error) => return Err(error.into()),
    }
    let version = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix(MAGIC))
        .ok_or(corrupt("it does not begin like one"))?;
    // The checksum first: a flipped bit in the version is damage, not another version.
    let hashed = document::without_checksum(&text)
        .map_err(|_| corrupt("its checksum does not fit, so it is damaged or cut short"))?;
    if version != VERSION.to_string() {
        let found = version
            .parse()
            .map_err(|_| corrupt("its version is no number"))?;
        return Err(SealError::UnsupportedVersion {
            found,
            supported: VERSION,
        }
        .into());
    }
    let json = hashed
        .get(MAGIC.len() + version.len() + 1..)
        .ok_or(corrupt("it is cut short"))?;
    let backup: Backup =
        serde_json::from_str(json).map_err(|_| corrupt("its body has another shape"))?;
    let count = backup.documents.len();
    let documents: Documents = backup
        .documents
        .into_iter()
        .map(|entry| (entry.name, (entry.revision, entry.document.into_bytes())))
        .collect();
    if documents.len() != count {
        return Err(corrupt("a document is in it twice"));
    }
    match whole(&documents) {
        Ok(keyring_id) if keyring_id == backup.keyring_id => Ok(Unproven {
            documents,
            keyring_id,
            created: backup.created,
        }),
        Ok(_) => Err(corrupt("it names another keyring than its documents do")),
        Err(SealError::CorruptKeyring { what }) => Err(corrupt(what)),
        Err(error) => Err(error.into()),
    }
}

/// Checks the backup at `from` as far as that goes without a secret, and gives its keyring's id.
///
/// # Errors
/// [`LifecycleError::CorruptBackup`], and where it can't be read.
pub fn check_header(from: &Path) -> Result<[u8; 16], LifecycleError> {
    read(from).map(|backup| backup.keyring_id)
}

/// What a restore may do that is refused by default.
#[derive(Debug, Clone, Copy, Default)]
#[must_use]
pub struct RestoreOptions {
    older: bool,
    lose_rows: bool,
    other_keyring: bool,
}

impl RestoreOptions {
    /// All of it is refused.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on where the keyring that is there is newer than the backup: slots that were removed or changed since
    /// are back, with their secrets of then, and so are keys that were destroyed since.
    pub fn allow_older(mut self) -> Self {
        self.older = true;
        self
    }

    /// Goes on where the backup lacks keys of rows: they never open again. Without [`Self::allow_older`] it does nothing.
    pub fn allow_lost_rows(mut self) -> Self {
        self.lose_rows = true;
        self
    }

    /// Goes on where the store, or the keyring that is there, belongs to another keyring.
    pub fn allow_other_keyring(mut self) -> Self {
        self.other_keyring = true;
        self
    }
}

/// What [`restore_header`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeaderRestored {
    /// The keyring's id.
    pub keyring_id: [u8; 16],
    /// Documents that were put back, by name.
    pub replaced: Vec<String>,
    /// Documents that were kept: they are newer than the backup's and verify with its root key.
    pub kept: Vec<String>,
    /// Documents that were removed: they verify under no root key of the backup.
    pub removed: Vec<String>,
    /// Documents that were damaged or missing, so that it could not be told whether they were newer than the backup's.
    pub not_compared: Vec<String>,
    /// Whether the keyring document that was there was newer: slots of then are back.
    pub older: bool,
    /// Accounts and tables with rows that may never open again; no table for an account that is lost whole.
    pub lost: Vec<(String, Option<Table>)>,
    /// Accounts some of whose destroyed keys are back.
    pub revived: Vec<String>,
}

/// Puts the documents of the backup at `from` into the keyring's file `keyring`, over damaged ones, in one
/// transaction, while nobody has the keyring open. `data` is the store's file, where the keyring is in another.
///
/// The backup is opened with `provider`, and each of its documents verified, before anything is changed. Documents that
/// are there and newer, and verify with the backup's root key, are kept: accounts then keep the generations that
/// were made since. The keyring document itself, with its slots, is always the backup's.
///
/// # Errors
/// [`LifecycleError::CorruptBackup`], [`SealError::WrongKey`], [`SealError::CorruptKeyring`] if the backup does not verify,
/// [`SealError::InUse`], and unless `options` allow it [`LifecycleError::OtherKeyring`] and
/// [`LifecycleError::OlderBackup`]. Nothing was changed then.
pub async fn restore_header(
    keyring: &Path,
    data: Option<&Path>,
    from: &Path,
    provider: &dyn KeyProvider,
    options: RestoreOptions,
) -> Result<HeaderRestored, LifecycleError> {
    let (from, data) = (from.to_owned(), data.unwrap_or(keyring).to_owned());
    // Only the keyring's own file may be missing.
    let (backup, mut owners) = briefly(move || Ok((read(&from)?, owners(&data)?))).await?;
    let verified = verify(&backup.documents, provider).await?;
    let store = SqliteKeyring::at(keyring);
    let alone = lock_alone(&store).await.map_err(SealError::from)?;
    step("held");
    let present = store.documents().await.map_err(SealError::from)?;
    owners.extend(
        present
            .iter()
            .filter_map(|(name, (_, bytes))| Unverified::read(name, bytes).ok())
            .map(|document| document.keyring_id()),
    );
    if owners.iter().any(|owner| *owner != backup.keyring_id) && !options.other_keyring {
        return Err(LifecycleError::OtherKeyring);
    }
    let plan = plan::plan(&verified, &backup, &present)?;
    let (loses, revives) = (!plan.told.lost.is_empty(), !plan.told.revived.is_empty());
    let refused = (loses && !options.lose_rows) || !options.older;
    if (plan.told.older || loses || revives) && refused {
        return Err(LifecycleError::OlderBackup { loses, revives });
    }
    step("planned");
    store
        .replace(plan.documents, alone)
        .await
        .map_err(SealError::from)?;
    step("replaced");
    Ok(plan.told)
}

/// The keyrings whose rows the file at `path` holds.
fn owners(path: &Path) -> Result<BTreeSet<[u8; 16]>, LifecycleError> {
    let (peek, layout) = look(path)?;
    let canaries = match &peek {
        Some(peek) => peek.canaries(layout)?,
        None => Vec::new(),
    };
    Ok(canaries.iter().map(|canary| canary.keyring).collect())
}
