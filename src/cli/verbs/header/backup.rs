use std::path::PathBuf;

use clap::Args;
use sealed_store::lifecycle;
use serde_json::json;

use crate::cli::args::StoreArgs;
use crate::cli::failure::{At, Failure, shown};
use crate::cli::output::Output;
use crate::cli::{store, text};

/// Writes the header to a new file; needs no secret
///
/// The header is small and all that stands between a damaged keyring and the loss of everything. It opens with the
/// secrets of today for ever: keep it as you keep the store, and make a new one after each change of slots or keys.
#[derive(Args)]
pub struct Backup {
    #[command(flatten)]
    store: StoreArgs,
    /// The new file; none is written over
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Backup {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        // Told here with its own code, and before anything is made.
        store::look(&self.store)?;
        let made = match lifecycle::backup_header(store::keyring_file(&self.store), &self.file) {
            Err(error @ lifecycle::LifecycleError::FileExists) => Err(error).at(&self.file),
            other => other.at(&self.store.db),
        }?;
        output.done(
            "header backup",
            json!({
                "db": shown(&self.store.db),
                "file": shown(&self.file),
                "keyring_id": text::hex(&made.keyring_id),
                "documents": made.documents,
                "bytes": made.bytes,
            }),
            &format!(
                "Wrote {} documents to {}. It opens with the secrets of today, whatever is changed later: keep it safe, and \
                 make a new one after each change.",
                made.documents,
                text::plain(&shown(&self.file))
            ),
        )
    }
}
