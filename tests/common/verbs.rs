//! Every verb that writes, over a small store of two accounts: what is there before, how it is run, what must hold wherever
//! it was cut short, and how it is run again.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};

use sealed_store::lifecycle::{
    CheckOptions, DecryptOptions, EncryptOptions, FullOptions, InitOptions, LifecycleError,
    ReencryptOptions, RestoreOptions, Shred, ShredOptions, add_recovery_slot, backup_header, check,
    check_header, decrypt, encrypt, init, reencrypt, reencrypt_fully, restore_header, shred,
};
use sealed_store::secrecy::ExposeSecret;
use sealed_store::{KeyProvider, Keyring, RawKey, RecoveryCode, SealError, SqliteKeyring, Table};

use crate::child::say;
use crate::common::samples::{Sample, TABLES};
use crate::common::support::{raw, split};
use crate::kept::{self, ACCOUNTS, Layout, Seen};

/// The secret of the first slot.
const FIRST: u8 = 1;
/// The secret of a second slot.
const SECOND: u8 = 2;
/// The secret that takes the first one's place.
const CHANGED: u8 = 4;
/// The secret of the new keyring, where everything is new.
const NEW: u8 = 9;

/// What is shredded of the tables.
const SHREDDED: [Table; 2] = [Table::MsgSecret, Table::Session];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Init,
    /// With the keyring in a file of its own.
    InitApart,
    Encrypt,
    Decrypt,
    Reencrypt,
    Full,
    Root,
    AddSlot,
    Recovery,
    ChangeSecret,
    RemoveSlot,
    Backup,
    /// Over a keyring whose secret was changed since.
    Restore,
    /// Over a keyring that is damaged.
    Repair,
    ShredAccount,
    ShredTables,
    ShredAll,
}

impl Verb {
    pub const ALL: [Self; 17] = [
        Self::Init,
        Self::InitApart,
        Self::Encrypt,
        Self::Decrypt,
        Self::Reencrypt,
        Self::Full,
        Self::Root,
        Self::AddSlot,
        Self::Recovery,
        Self::ChangeSecret,
        Self::RemoveSlot,
        Self::Backup,
        Self::Restore,
        Self::Repair,
        Self::ShredAccount,
        Self::ShredTables,
        Self::ShredAll,
    ];

    pub fn of(name: &str) -> Self {
        let found = Self::ALL
            .into_iter()
            .find(|verb| format!("{verb:?}") == name);
        found.unwrap_or_else(|| panic!("no verb {name}"))
    }

    fn begins_without(self) -> bool {
        matches!(self, Self::Init | Self::InitApart)
    }

    /// Makes in `folder` what is there before.
    pub async fn prepare(self, folder: &Path, layout: Layout) {
        let path = folder.join("w.db");
        match self {
            Self::Init | Self::InitApart => return,
            Self::Encrypt => return kept::fill_plain(&path, layout).await,
            _ => kept::fill_sealed(&path, layout, &raw(FIRST)).await,
        }
        match self {
            Self::Root | Self::RemoveSlot => {
                let keyring = opened(&path, FIRST).await.unwrap();
                keyring.add_slot("second", &raw(SECOND)).await.unwrap();
            }
            Self::Restore => {
                backup_header(&path, &folder.join("header")).unwrap();
                let keyring = opened(&path, FIRST).await.unwrap();
                let number = keyring.slots().await.unwrap()[0].slot;
                keyring
                    .change_passphrase(number, &raw(FIRST), &raw(CHANGED))
                    .await
                    .unwrap();
            }
            Self::Repair => {
                backup_header(&path, &folder.join("header")).unwrap();
                let file = rusqlite::Connection::open(&path).unwrap();
                let damage = "UPDATE sealed_store_keyring SET document = substr(document, 1, 200)";
                assert!(file.execute(damage, []).unwrap() > 2);
            }
            _ => {}
        }
        kept::closed(&path).await;
    }

    /// Runs the verb on the store in `folder`.
    pub async fn run(self, folder: &Path) -> Result<(), LifecycleError> {
        self.run_with(folder, FIRST).await
    }

    async fn run_with(self, folder: &Path, byte: u8) -> Result<(), LifecycleError> {
        let path = folder.join("w.db");
        let key = raw(byte);
        let second = raw(SECOND);
        match self {
            Self::Init | Self::InitApart => {
                let keyring = folder.join("keys.db");
                let apart = (self == Self::InitApart).then_some(keyring.as_path());
                init(&path, apart, &key, InitOptions::new()).await?;
            }
            Self::Encrypt => drop(encrypt(&path, &key, EncryptOptions::new(), &()).await?),
            Self::Decrypt => drop(decrypt(&path, &key, DecryptOptions::new(), &()).await?),
            Self::Reencrypt => {
                let done = reencrypt(&path, &key, ReencryptOptions::new(), &()).await?;
                assert_eq!(done.retained, 0, "nobody else has it open");
            }
            Self::Full => {
                let new = raw(NEW);
                let slots: [(&str, &dyn KeyProvider); 1] = [("new", &new)];
                reencrypt_fully(&path, &key, &slots, FullOptions::new(), &()).await?;
            }
            Self::Root => {
                let keyring = Keyring::open(SqliteKeyring::at(&path), &key).await?;
                let (keep, others) = slots(&keyring).await?;
                keyring.rotate_root(&[(keep, &key)], &others).await?;
            }
            Self::AddSlot => {
                let keyring = Keyring::open(SqliteKeyring::at(&path), &key).await?;
                keyring.add_slot("second", &second).await?;
            }
            Self::Recovery => {
                let keyring = Keyring::open(SqliteKeyring::at(&path), &key).await?;
                add_recovery_slot(&keyring, "recovery", |code| {
                    say(&format!("code {}", code.to_text().expose_secret()));
                    Ok(())
                })
                .await?;
            }
            Self::ChangeSecret => {
                let keyring = Keyring::open(SqliteKeyring::at(&path), &key).await?;
                let (slot, _) = slots(&keyring).await?;
                keyring.change_passphrase(slot, &key, &raw(CHANGED)).await?;
            }
            Self::RemoveSlot => {
                let keyring = Keyring::open(SqliteKeyring::at(&path), &key).await?;
                for other in slots(&keyring).await?.1 {
                    keyring.remove_slot(other).await?;
                }
            }
            Self::Backup => drop(backup_header(&path, &folder.join("header"))?),
            Self::Restore | Self::Repair => {
                let options = RestoreOptions::new().allow_older();
                restore_header(&path, None, &folder.join("header"), &key, options).await?;
            }
            Self::ShredAccount | Self::ShredTables | Self::ShredAll => {
                let what = match self {
                    Self::ShredAccount => Shred::Account("1".into()),
                    Self::ShredTables => Shred::Tables(SHREDDED.to_vec()),
                    _ => Shred::All,
                };
                shred(&path, &key, &what, ShredOptions::new(), &()).await?;
            }
        }
        Ok(())
    }

    /// What must hold of the store in `folder` after a run that said `said`, and `done` if it came to its end: nothing that was
    /// there is lost, and nothing that was acknowledged.
    pub async fn holds(self, folder: &Path, layout: Layout, done: bool, said: &[String]) {
        let path = folder.join("w.db");
        match self {
            Self::Init | Self::InitApart => {
                if done {
                    self.is_usable(folder).await;
                }
            }
            Self::Encrypt | Self::Decrypt => {
                assert_eq!(crate::common::integrity(&path), "ok");
                let is_sealed = kept::is_sealed(&path);
                assert!(!done || is_sealed == (self == Self::Encrypt));
                match is_sealed {
                    true => kept::is_whole(&path, layout, &raw(FIRST)).await,
                    false => kept::is_whole_in_the_clear(&path, layout).await,
                }
            }
            Self::Reencrypt | Self::Backup => kept::is_whole(&path, layout, &raw(FIRST)).await,
            Self::Full => {
                let (old, new) = (opens(&path, FIRST).await, opens(&path, NEW).await);
                assert!(old != new, "the old keyring or the new one: {old} {new}");
                assert!(new || !done);
                let key = if new { NEW } else { FIRST };
                kept::is_whole(&path, layout, &raw(key)).await;
            }
            Self::Root | Self::RemoveSlot => {
                kept::is_whole(&path, layout, &raw(FIRST)).await;
                assert!(!(opens(&path, SECOND).await && done), "it was removed");
            }
            Self::AddSlot => {
                kept::is_whole(&path, layout, &raw(FIRST)).await;
                assert!(opens(&path, SECOND).await || !done, "it was added");
            }
            Self::Recovery => {
                kept::is_whole(&path, layout, &raw(FIRST)).await;
                for code in said.iter().filter_map(|said| said.strip_prefix("code ")) {
                    let code = RecoveryCode::parse(code).unwrap();
                    let keyring = Keyring::open(SqliteKeyring::at(&path), &code).await;
                    assert!(keyring.is_ok(), "the code was shown");
                }
            }
            Self::ChangeSecret | Self::Restore => {
                let (old, new) = match self {
                    Self::Restore => (CHANGED, FIRST),
                    _ => (FIRST, CHANGED),
                };
                let opened = (opens(&path, old).await, opens(&path, new).await);
                assert!(
                    opened.0 != opened.1,
                    "the old secret or the new: {opened:?}"
                );
                assert!(opened.1 || !done, "it was changed");
                let key = if opened.1 { new } else { old };
                kept::is_whole(&path, layout, &raw(key)).await;
            }
            Self::Repair => match opened(&path, FIRST).await {
                Ok(keyring) => {
                    drop(keyring);
                    kept::is_whole(&path, layout, &raw(FIRST)).await;
                }
                Err(SealError::CorruptKeyring { .. }) => assert!(!done, "it was restored"),
                Err(error) => panic!("{error:?}"),
            },
            Self::ShredAccount | Self::ShredTables | Self::ShredAll => {
                self.is_readable_or_shredded(&path, layout, done).await;
            }
        }
        if self == Self::Backup && done {
            check_header(&folder.join("header")).unwrap();
        }
        if !self.begins_without() {
            kept::closed(&path).await;
        }
    }

    /// Of an account, or a table of one, either all is there or nothing, and then because it was shredded.
    async fn is_readable_or_shredded(self, path: &Path, layout: Layout, done: bool) {
        for account in ACCOUNTS {
            let doomed: Vec<Table> = match self {
                Self::ShredTables => SHREDDED.to_vec(),
                Self::ShredAccount if account != 1 => Vec::new(),
                _ => TABLES.to_vec(),
            };
            let seen = kept::look(path, layout, account, &raw(FIRST)).await;
            let are_gone: Vec<Table> = TABLES
                .into_iter()
                .filter(|table| seen[table] == Seen::Shredded)
                .collect();
            let all_are_there = are_gone.is_empty() && (!done || doomed.is_empty());
            let all_are_gone = TABLES
                .into_iter()
                .all(|table| doomed.contains(&table) == are_gone.contains(&table));
            assert!(all_are_there || all_are_gone, "{account}: {are_gone:?}");
        }
    }

    /// A store that was made works.
    async fn is_usable(self, folder: &Path) {
        let path = folder.join("w.db");
        let sample = Sample {
            table: Table::Session,
            row: 1,
            owner: 1,
        };
        let file = if self == Self::Init {
            "w.db"
        } else {
            "keys.db"
        };
        let keyring = opened(&folder.join(file), FIRST).await.unwrap();
        for _ in 0..2 {
            let opened = kept::open_in(&keyring, &path, Layout::Ours, 1)
                .await
                .unwrap();
            if !opened.store.exists().await.unwrap() {
                opened.store.create().await.unwrap();
            }
            sample.put(&*opened.store).await.unwrap();
            let found = sample.get(&*opened.store).await.unwrap();
            assert_eq!(found, Some(sample.expected()));
            opened.close().await;
        }
    }

    /// Runs the verb again, as who met the end of the first run would.
    pub async fn again(self, folder: &Path) {
        let path = folder.join("w.db");
        let (byte, is_needed) = match self {
            Self::Full if opens(&path, NEW).await => (NEW, true),
            Self::Root | Self::RemoveSlot => (FIRST, opens(&path, SECOND).await),
            Self::AddSlot => (FIRST, !opens(&path, SECOND).await),
            Self::ChangeSecret => (FIRST, opens(&path, FIRST).await),
            _ => (FIRST, true),
        };
        if !is_needed {
            return;
        }
        match (self, self.run_with(folder, byte).await) {
            (_, Ok(())) => {}
            // It had come to its end.
            (Self::Encrypt, Err(LifecycleError::AlreadySealed))
            | (Self::Decrypt, Err(LifecycleError::NotSealed))
            | (Self::Backup, Err(LifecycleError::FileExists)) => {}
            // There is a keyring. Whoever opens a store makes what is missing besides, as `sealed_store::open` does.
            (Self::Init | Self::InitApart, Err(LifecycleError::AlreadySealed)) => {
                let keyring = opened(&self.keyring_of(folder), FIRST).await.unwrap();
                keyring.account_or_create("1").await.unwrap();
            }
            (_, Err(error)) => panic!("{self:?} again: {error:?}"),
        }
    }

    /// The file that the keyring is in.
    fn keyring_of(self, folder: &Path) -> PathBuf {
        folder.join(match self {
            Self::InitApart => "keys.db",
            _ => "w.db",
        })
    }

    /// What is there once it came to its end.
    pub async fn ended(self, folder: &Path, layout: Layout) {
        self.holds(folder, layout, true, &[]).await;
        let path = folder.join("w.db");
        // Whoever only reads beside a store that is just being closed would be the last one, and leave its empty log.
        for file in [&path, &self.keyring_of(folder)] {
            kept::closed(file).await;
        }
        if self != Self::Decrypt {
            let key = raw(match self {
                Self::Full => NEW,
                Self::ChangeSecret => CHANGED,
                _ => FIRST,
            });
            let options = CheckOptions::new().keyring_file(self.keyring_of(folder));
            let report = check(&path, &key, options, &()).await.unwrap();
            assert!(report.is_sound(), "{report:?}");
            assert_eq!(report.shredded > 0, self.shreds(), "{report:?}");
            self.nothing_is_half_done(folder);
        }
        for file in [&path, &self.keyring_of(folder)] {
            kept::closed(file).await;
        }
        let mut left = kept::entries(folder);
        left.retain(|name| !["w.db", "keys.db", "header"].contains(&name.as_str()));
        left.retain(|name| !name.ends_with(".db.keyring-lock"));
        assert!(left.is_empty(), "left: {left:?}");
    }

    fn shreds(self) -> bool {
        matches!(
            self,
            Self::ShredAccount | Self::ShredTables | Self::ShredAll
        )
    }

    /// No document says that something is under way.
    fn nothing_is_half_done(self, folder: &Path) {
        for (name, text) in kept::documents(&self.keyring_of(folder)) {
            let body: serde_json::Value = serde_json::from_str(split(&text).1).unwrap();
            assert!(body["previous_root"].is_null(), "{name}");
            assert!(body["resealing"].is_null(), "{name}");
            for key in body["keys"].as_array().into_iter().flatten() {
                let state = key["state"].as_str().unwrap_or("active");
                assert!(["active", "destroyed"].contains(&state), "{name}: {state}");
            }
        }
    }
}

/// The verbs in both layouts; those which make a store make it in ours.
pub fn scenes() -> impl Iterator<Item = (Verb, Layout)> {
    let all = Layout::BOTH
        .into_iter()
        .flat_map(|layout| Verb::ALL.map(|verb| (verb, layout)));
    all.filter(|(verb, layout)| {
        *layout == Layout::Ours || !matches!(verb, Verb::Init | Verb::InitApart)
    })
}

async fn opened(path: &Path, byte: u8) -> Result<Keyring, SealError> {
    let key: RawKey = raw(byte);
    Keyring::open(SqliteKeyring::at(path), &key).await
}

/// Whether a raw key of this byte opens the keyring in the file; nothing but a wrong key may keep it from that.
async fn opens(path: &Path, byte: u8) -> bool {
    match opened(path, byte).await {
        Ok(_) => true,
        Err(SealError::WrongKey) => false,
        Err(error) => panic!("raw key {byte}: {error:?}"),
    }
}

/// The slot that opened, and the others.
async fn slots(keyring: &Keyring) -> Result<(u32, Vec<u32>), SealError> {
    let slots = keyring.slots().await?;
    let opened = slots.iter().find(|slot| slot.opened);
    let others = slots.iter().filter(|slot| !slot.opened);
    Ok((
        opened.ok_or(SealError::UnknownSlot)?.slot,
        others.map(|slot| slot.slot).collect(),
    ))
}

/// What verbs are run on: one folder for each verb and layout, of which copies are made.
pub struct Scene {
    pub verb: Verb,
    pub layout: Layout,
    folder: PathBuf,
    _made: Option<tempfile::TempDir>,
}

impl Scene {
    pub async fn of(verb: Verb, layout: Layout) -> Self {
        let folder = tempfile::tempdir().unwrap();
        verb.prepare(folder.path(), layout).await;
        Self {
            verb,
            layout,
            folder: folder.path().to_owned(),
            _made: Some(folder),
        }
    }

    /// One that another process made.
    pub fn in_folder(verb: Verb, layout: Layout, folder: &Path) -> Self {
        Self {
            verb,
            layout,
            folder: folder.to_owned(),
            _made: None,
        }
    }

    /// A folder of its own to work in.
    pub fn fresh(&self) -> tempfile::TempDir {
        let fresh = tempfile::tempdir().unwrap();
        kept::copy(&self.folder, fresh.path());
        fresh
    }

    pub fn path(&self) -> PathBuf {
        self.folder.clone()
    }

    /// After a run that was cut short: looks at what it left, runs the verb again, and looks once more.
    pub async fn converges(&self, folder: &Path, done: bool, said: &[String], in_place: bool) {
        // What a look mends must not be what the next run relies on: mostly a copy is looked at.
        if in_place {
            self.verb.holds(folder, self.layout, done, said).await;
        } else {
            let copy = tempfile::tempdir().unwrap();
            kept::copy(folder, copy.path());
            self.verb.holds(copy.path(), self.layout, done, said).await;
        }
        self.verb.again(folder).await;
        self.verb.ended(folder, self.layout).await;
    }
}
