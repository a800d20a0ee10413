use clap::{Args, ValueEnum};
use sealed_store::lifecycle::{self, InitOptions};
use sealed_store::{SealError, Suite};
use serde_json::json;

use crate::cli::args::{FirstArgs, StoreArgs};
use crate::cli::failure::{At, Failure, shown};
use crate::cli::output::Output;
use crate::cli::{secret, text};

/// Makes a new sealed store
///
/// There must be no file at DB yet. A database that holds rows already is sealed with `encrypt` instead.
#[derive(Args)]
pub struct Init {
    #[command(flatten)]
    store: StoreArgs,
    /// A name for the first slot, stored in the clear
    #[arg(long, default_value = "first")]
    label: String,
    /// The cipher; by default the one that is best here
    #[arg(long, value_name = "SUITE")]
    suite: Option<SuiteName>,
    #[command(flatten)]
    secret: FirstArgs,
}

/// The store as another verb is told of it.
fn hinted(store: &StoreArgs) -> String {
    let db = text::word(&store.db);
    match &store.keyring {
        Some(keyring) => format!("--keyring {} {db}", text::word(keyring)),
        None => db,
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum SuiteName {
    #[value(name = "xaes-256-gcm")]
    Xaes256Gcm,
    #[value(name = "xchacha20-poly1305")]
    XChaCha20Poly1305,
}

impl Init {
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let db = &self.store.db;
        lifecycle::check_new(db, self.store.keyring.as_deref()).at(db)?;
        let provider = secret::first(&self.secret, output)?.provider().await?;
        let mut options = InitOptions::new()
            .label(self.label)
            .allow_lone_slot(self.secret.i_understand);
        if let Some(suite) = self.suite {
            options = options.suite(match suite {
                SuiteName::Xaes256Gcm => Suite::Xaes256Gcm,
                SuiteName::XChaCha20Poly1305 => Suite::XChaCha20Poly1305,
            });
        }
        let made = lifecycle::init(db, self.store.keyring.as_deref(), &*provider, options)
            .await
            .at(db)?;
        let suite = serde_json::to_value(made.suite).map_err(|_| SealError::TooLarge)?;
        output.done(
            "init",
            json!({
                "db": shown(db),
                "keyring_id": text::hex(&made.keyring_id),
                "account": made.account,
                "suite": suite,
            }),
            &format!(
                "Made {}, sealed. Its secret can't be recovered: make a recovery code now \
                 (`sealed-store key recovery {word}`), and keep a backup of the header \
                 (`sealed-store header backup {word} FILE`).",
                text::plain(&shown(db)),
                word = hinted(&self.store),
            ),
        )
    }
}
