use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use sealed_store::{ProviderError, ProviderErrorKind, Recipe, Rights, SealError, SlotContext};
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
    rights: Rights,
    key_version: Option<u32>,
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
            // Denied may be its answer, or that of credentials that were never sent.
            Some(ProviderErrorKind::Denied) => self.answered().then_some(true),
            Some(_) => Some(true),
        }
    }

    fn answered(&self) -> bool {
        self.probe.is_some() || self.generate.is_some()
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

fn said(is: Option<bool>) -> &'static str {
    match is {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    }
}

impl Probe {
    async fn run(self, output: &Output) -> Result<(), Failure> {
        let provider = secret::by_uri(&self.uri, self.pin_file.as_deref())?;
        let mut found = Found::default();
        if let Some((probe, took)) = found.step(provider.probe()).await {
            found.probe = Some(probe.round_trip.unwrap_or(took));
            found.rights = probe.rights;
            found.key_version = probe.key_version;
            if !probe.ready {
                found.error = Some(ProviderError::new(
                    ProviderErrorKind::NeedsInteraction,
                    "the provider says that it is not ready; do what it needs first, then try again",
                ));
            }
        }
        if self.try_it {
            // A right to look at the key is none that a slot needs.
            let refused = match found.kind() {
                Some(ProviderErrorKind::Denied) => found.error.take(),
                _ => None,
            };
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
            if found.generate.is_none() {
                found.error = found.error.or(refused);
            }
        }
        // What was done, may be done.
        if found.generate.is_some() {
            found.rights.make = Some(true);
        }
        if found.unwrap.is_some() {
            found.rights.open = Some(true);
        }
        if let Some(ProviderErrorKind::Denied) = found.kind() {
            match (self.try_it, found.generate) {
                // By looking at the key: what else is refused is not known.
                (false, _) => {}
                (true, None) => found.rights.make = Some(false),
                (true, Some(_)) => found.rights.open = Some(false),
            }
        }
        let times = [
            ("probe", found.probe),
            ("make", found.generate),
            ("open", found.unwrap),
        ];
        let mut text = format!(
            "kind       {}\nreachable  {}\nrights     open {}, make {}, rewrap {}\nkey        {}{}\n",
            provider.kind(),
            match found.reachable() {
                Some(true) => "yes",
                Some(false) => "no",
                None => "not asked",
            },
            said(found.rights.open),
            said(found.rights.make),
            said(found.rights.rewrap),
            found.key(),
            found
                .key_version
                .map(|version| format!(", version {version}"))
                .unwrap_or_default(),
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
                "may_open": found.rights.open,
                "may_make": found.rights.make,
                "may_rewrap": found.rights.rewrap,
                "key": found.key(),
                "key_version": found.key_version,
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
