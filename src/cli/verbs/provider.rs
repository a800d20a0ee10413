use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use sealed_store::{ProviderError, ProviderErrorKind, Recipe, SealError, SlotContext};
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::secret;

/// Looks at what else can open a store: a KMS, a token, a keychain, a TPM
#[derive(Args)]
pub struct Provider {
    #[command(subcommand)]
    verb: ProviderVerb,
}

#[derive(Subcommand)]
enum ProviderVerb {
    Probe(Probe),
}

impl Provider {
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        match self.verb {
            ProviderVerb::Probe(verb) => verb.run(output).await,
        }
    }
}

/// Tells whether a provider can be reached and used, and how fast it is
///
/// Needs no store. By itself it asks what costs nothing; with --try it makes a secret, opens it again and forgets it, which is
/// what a slot needs (a keychain keeps an entry of that).
#[derive(Args)]
pub struct Probe {
    /// The provider: awskms:…, keychain:…, pkcs11:…, tpm2: or vault:…
    #[arg(value_name = "URI")]
    uri: String,
    /// Reads the PIN of a token from a file, mode 0600; one newline at its end is left out
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// Makes a secret and opens it again
    #[arg(long = "try")]
    try_it: bool,
}

/// What was found out, as far as it was.
#[derive(Default)]
struct Found {
    probe: Option<Duration>,
    generate: Option<Duration>,
    unwrap: Option<Duration>,
    error: Option<ProviderError>,
}

impl Found {
    /// Runs one step, unless one before it failed.
    async fn step<T>(
        &mut self,
        call: impl Future<Output = Result<T, ProviderError>>,
    ) -> Option<(T, Duration)> {
        if self.error.is_some() {
            return None;
        }
        let began = Instant::now();
        match call.await {
            Ok(answer) => Some((answer, began.elapsed())),
            Err(error) => {
                self.error = Some(error);
                None
            }
        }
    }

    fn kind(&self) -> Option<ProviderErrorKind> {
        self.error.as_ref().map(ProviderError::kind)
    }

    /// Whether it answered at all; `None` if it was not asked.
    fn reachable(&self) -> Option<bool> {
        match self.kind() {
            None | Some(ProviderErrorKind::Throttled { .. }) => Some(true),
            Some(ProviderErrorKind::Unavailable) => Some(false),
            Some(ProviderErrorKind::BadRequest) => None,
            Some(_) => Some(true),
        }
    }

    /// What these credentials may do.
    fn rights(&self) -> &'static str {
        match self.kind() {
            Some(ProviderErrorKind::Denied) => "denied",
            None if self.unwrap.is_some() => "make_and_open",
            _ if self.generate.is_some() => "make",
            None => "not_refused",
            _ => "unknown",
        }
    }

    /// What became of the key.
    fn key(&self) -> &'static str {
        match self.kind() {
            None => "usable",
            Some(ProviderErrorKind::Disabled) => "disabled",
            Some(ProviderErrorKind::Destroyed) => "gone",
            Some(ProviderErrorKind::NeedsInteraction) => "needs_interaction",
            _ => "unknown",
        }
    }
}

fn milliseconds(time: Option<Duration>) -> Option<f64> {
    time.map(|time| (time.as_secs_f64() * 10_000.0).round() / 10.0)
}

impl Probe {
    async fn run(self, output: &Output) -> Result<(), Failure> {
        let provider = secret::by_uri(&self.uri, self.pin_file.as_deref())?;
        let mut found = Found::default();
        if let Some((probe, took)) = found.step(provider.probe()).await {
            found.probe = Some(probe.round_trip.unwrap_or(took));
            if !probe.ready {
                found.error = Some(ProviderError::new(
                    ProviderErrorKind::NeedsInteraction,
                    "the provider says that it is not ready; do what it needs first, then try again",
                ));
            }
        }
        if self.try_it {
            let mut keyring_id = [0; 16];
            getrandom::fill(&mut keyring_id).map_err(|_| SealError::NoEntropy)?;
            let mut context = SlotContext::default();
            context.keyring_id = keyring_id;
            context.slot = 1;
            if let Some((new, took)) = found.step(provider.generate(&context)).await {
                found.generate = Some(took);
                let recipe = Recipe {
                    reference: provider.reference(),
                    material: new.material,
                };
                let unwrap = provider.unwrap_secret(&context, &recipe);
                found.unwrap = found.step(unwrap).await.map(|(_, took)| took);
            }
        }
        let times = [
            ("probe", found.probe),
            ("make", found.generate),
            ("open", found.unwrap),
        ];
        let mut text = format!(
            "kind       {}\nreachable  {}\nrights     {}\nkey        {}\n",
            provider.kind(),
            match found.reachable() {
                Some(true) => "yes",
                Some(false) => "no",
                None => "not asked",
            },
            found.rights(),
            found.key(),
        );
        for (name, time) in times {
            if let Some(time) = milliseconds(time) {
                text.push_str(&format!("{name:<10} {time} ms\n"));
            }
        }
        output.result(
            "provider probe",
            json!({
                "kind": provider.kind(),
                "reachable": found.reachable(),
                "rights": found.rights(),
                "key": found.key(),
                "probe_ms": milliseconds(found.probe),
                "make_ms": milliseconds(found.generate),
                "open_ms": milliseconds(found.unwrap),
            }),
            &text,
        )?;
        match found.error {
            None => Ok(()),
            Some(error) if error.kind() == ProviderErrorKind::BadRequest => {
                Err(Failure::usage(error.to_string()))
            }
            Some(error) => Err(SealError::from(error).into()),
        }
    }
}
