//! Who is measured, and how each is opened: every store with its own default options.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use diesel::connection::SimpleConnection;
use sealed_store::secrecy::SecretBox;
use sealed_store::store::sqlite::SqliteStore as Ours;
use sealed_store::{Keyring, RawKey, SealedBackend, SqliteKeyring};
use serde::{Deserialize, Serialize};
use wacore::store::traits::Backend;
use whatsapp_rust_sqlite_storage::{SqliteStore as Upstream, SqliteStoreConfig};

/// The key of every store that has one. All are given it raw, so that nobody pays for a passphrase.
const KEY: [u8; 32] = [9; 32];

/// One store under test.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Contestant {
    /// whatsapp-rust's own store, in the clear: what all others are compared with.
    Upstream,
    /// The same, with SQLCipher under it.
    Sqlcipher,
    /// The same, with this crate's seal around it.
    SealedUpstream,
    /// This crate's own store, in the clear.
    OursPlain,
    /// This crate's own store, sealed: `sealed_store::open`.
    OursSealed,
    /// This crate's own store, in the clear, given addresses as random as a seal makes them.
    OursKeyedAlike,
}

impl Contestant {
    /// Those of every comparison.
    pub const STORES: [Self; 5] = [
        Self::Upstream,
        Self::Sqlcipher,
        Self::SealedUpstream,
        Self::OursPlain,
        Self::OursSealed,
    ];

    /// Those of the growth to a million rows.
    pub const GROWTH: [Self; 6] = [
        Self::Upstream,
        Self::Sqlcipher,
        Self::SealedUpstream,
        Self::OursPlain,
        Self::OursKeyedAlike,
        Self::OursSealed,
    ];

    /// As the reader sees it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Upstream => "upstream, plain",
            Self::Sqlcipher => "upstream + SQLCipher",
            Self::SealedUpstream => "sealed(upstream)",
            Self::OursPlain => "ours, plain",
            Self::OursSealed => "ours, sealed",
            Self::OursKeyedAlike => "ours, plain, keyed alike",
        }
    }

    /// As the command line takes it.
    pub fn id(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether nothing of a record may be found in its files.
    pub fn encrypts(self) -> bool {
        matches!(
            self,
            Self::Sqlcipher | Self::SealedUpstream | Self::OursSealed
        )
    }

    /// Opens the store in the file at `path`, or makes it.
    pub async fn open(self, path: &Path) -> Result<Arc<dyn Backend>> {
        let name = path.to_str().context("the folder's path is not UTF-8")?;
        let cipher = Linked::find()?.sqlcipher.is_some();
        ensure!(
            cipher == (self == Self::Sqlcipher),
            "{} is linked to the wrong SQLite: build with{} the feature `sqlcipher`",
            self.name(),
            if cipher { "out" } else { "" }
        );
        Ok(match self {
            Self::Upstream => Arc::new(Upstream::new(name).await?),
            Self::Sqlcipher => Arc::new(Upstream::with_config(name, keyed()).await?),
            Self::SealedUpstream => {
                let inner = Upstream::new(name).await?;
                let keyring = Keyring::open_or_create(SqliteKeyring::at(path), &raw_key()).await?;
                let account = keyring.account_or_create("1").await?;
                Arc::new(SealedBackend::open(Arc::new(inner), account).await?)
            }
            Self::OursPlain | Self::OursKeyedAlike => Arc::new(Ours::open(path).await?),
            Self::OursSealed => Arc::new(sealed_store::open(path, &raw_key()).await?),
        })
    }
}

/// A raw key for this crate's keyring.
pub fn raw_key() -> RawKey {
    RawKey::new(SecretBox::new(Box::new(KEY)))
}

/// Upstream's defaults and its hook, with SQLCipher's raw key: 64 digits, taken as they are.
fn keyed() -> SqliteStoreConfig {
    let digits: String = KEY.iter().map(|byte| format!("{byte:02x}")).collect();
    let pragma = format!("PRAGMA key = \"x'{digits}'\";");
    SqliteStoreConfig::default().with_connection_init(move |connection| {
        connection.batch_execute(&pragma)?;
        Ok(())
    })
}

/// The SQLite that this program is linked to, as the library itself says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Linked {
    /// SQLite's version.
    pub sqlite: String,
    /// SQLCipher's version and its provider of ciphers, if it is that.
    pub sqlcipher: Option<String>,
}

impl Linked {
    /// Asks the library.
    pub fn find() -> Result<Self> {
        let connection = rusqlite::Connection::open_in_memory()?;
        let ask = |pragma: &str| -> Result<Option<String>> {
            let mut statement = connection.prepare(pragma)?;
            let mut rows = statement.query([])?;
            Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
        };
        let sqlcipher = match ask("PRAGMA cipher_version")? {
            None => None,
            Some(version) => {
                // A connection without a key has no provider yet.
                connection.execute_batch("PRAGMA key = 'none'")?;
                let provider = ask("PRAGMA cipher_provider_version")?.unwrap_or_default();
                Some(format!("{version}, {provider}"))
            }
        };
        Ok(Self {
            sqlite: rusqlite::version().to_owned(),
            sqlcipher,
        })
    }
}
