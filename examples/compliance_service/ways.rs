//! The two ways in, and the rule which of them may be taken.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use sealed_store::{
    AuditSink, KeyProvider, Keyring, KeyringOptions, Lease, Patience, ProviderCredentials,
    SealError, SqliteKeyring, provider_from_uri,
};

use crate::audit::{Audit, Closed};
use crate::config::Config;
use crate::ledger::Store;
use crate::timeline::Timeline;

/// One way in: its provider, and the label of its slot.
struct Way {
    label: &'static str,
    provider: Arc<dyn KeyProvider>,
    lease: Lease,
}

/// The way that is usual first.
pub struct Ways {
    ways: [Way; 2],
    /// The way whose owner withdrew its key. To go another way then would be to go around him, so until he gives it back
    /// there is no other; that he can't be reached any more does not change that.
    withdrawn: Option<usize>,
    /// The way that opened.
    present: usize,
    bound: Duration,
    timeline: Timeline,
    closed: Arc<Closed>,
    audit: Arc<Audit>,
}

impl Ways {
    pub fn new(
        config: &Config,
        timeline: Timeline,
        closed: Arc<Closed>,
        audit: Arc<Audit>,
    ) -> Result<Self> {
        // One try each: the lease asks again by itself, and this service too.
        let patience = Patience::new().call(config.call).tries(1);
        let way = |label, uri: &str| {
            let credentials = ProviderCredentials::new().patience(patience);
            let provider = provider_from_uri(uri, &credentials)
                .with_context(|| format!("the {label} provider's URI"))?;
            let lease = Lease::new(Arc::clone(&provider), config.lease)
                .grace(config.grace)
                .call(config.call);
            anyhow::Ok(Way {
                label,
                provider,
                lease,
            })
        };
        Ok(Self {
            ways: [
                way("first", &config.provider)?,
                way("second", &config.second)?,
            ],
            withdrawn: None,
            present: 0,
            bound: config.lease + config.call,
            timeline,
            closed,
            audit,
        })
    }

    /// The lease of the way that opened is over.
    pub fn ended(&mut self, revoked: bool) {
        if revoked {
            self.withdrawn = Some(self.present);
        }
    }

    /// Those that may be tried, in their order.
    fn allowed(&self) -> Vec<usize> {
        match self.withdrawn {
            Some(only) => vec![only],
            None => vec![0, 1],
        }
    }

    /// Takes note of what came of a try; `Some` if it opened.
    fn tried<T>(&mut self, at: usize, result: Result<T, SealError>) -> Option<T> {
        match result {
            Ok(opened) => {
                (self.withdrawn, self.present) = (None, at);
                let (label, bound) = (self.ways[at].label, self.bound);
                let text =
                    format!("the {label} provider; withdrawn there, it closes within {bound:?}");
                self.timeline.say("lease", text);
                Some(opened)
            }
            // Refused by a provider: the audit hook has told of it.
            Err(SealError::Provider(error)) => {
                // A second way that was never taken has no say: it must not keep the first one from coming back.
                let has_a_say = at == 0 || at == self.present;
                if error.kind().is_revoked() && has_a_say {
                    self.withdrawn = Some(at);
                }
                None
            }
            Err(error) => {
                self.timeline.say("not opened", error);
                None
            }
        }
    }

    /// Opens the store, or makes it at the first run. `None` if no provider would now.
    pub async fn open(&mut self, database: &Path) -> Result<Option<Store>> {
        let is_new = matches!(
            Keyring::unverified_slots(SqliteKeyring::at(database)).await,
            Err(SealError::NoKeyring)
        );
        for at in self.allowed() {
            // A store is made with the first provider, so that its slot is never missing.
            if (is_new && at > 0) || self.withdrawn.is_some_and(|only| only != at) {
                continue;
            }
            let way = &self.ways[at];
            let options = KeyringOptions::new()
                .label(way.label)
                .lease(way.lease.clone())
                .audit(Arc::clone(&self.audit) as Arc<dyn AuditSink>);
            self.closed.may_open();
            let result = sealed_store::open_with(database, &way.provider, options).await;
            if let Some(store) = self.tried(at, result) {
                return Ok(Some(store));
            }
            self.closed.close();
        }
        Ok(None)
    }

    /// Opens the keyring again: the store and all who use it work on. `false` if no provider would now.
    pub async fn reopen(&mut self, keyring: &Keyring) -> Result<bool> {
        for at in self.allowed() {
            if self.withdrawn.is_some_and(|only| only != at) {
                continue;
            }
            let way = &self.ways[at];
            keyring.set_lease(Some(way.lease.clone()))?;
            self.closed.may_open();
            let result = keyring.unlock(&way.provider).await;
            if self.tried(at, result).is_some() {
                return Ok(true);
            }
            self.closed.close();
        }
        Ok(false)
    }

    /// Makes the slot of each provider that has none, which is told by its label.
    pub async fn add_missing_slots(&self, keyring: &Keyring) -> Result<()> {
        let slots = keyring.slots().await?;
        for way in &self.ways {
            if !slots.iter().any(|slot| slot.label == way.label) {
                let added = keyring.add_slot(way.label, &way.provider).await;
                added.with_context(|| format!("the {} slot can't be made", way.label))?;
            }
        }
        Ok(())
    }

    /// Has each service bring its slot under the newest version of its key, which was rotated there; no secret is shown.
    pub async fn rotate(&self, keyring: &Keyring) {
        let slots = match keyring.slots().await {
            Ok(slots) => slots,
            Err(error) => return self.timeline.say("not rotated", error),
        };
        for slot in slots {
            let Some(way) = self.ways.iter().find(|way| way.label == slot.label) else {
                continue;
            };
            let rewrapped = keyring
                .rewrap_slot(slot.slot, &way.provider, &way.provider)
                .await;
            match rewrapped {
                Ok(()) => {}
                // The slot is as it was.
                Err(error) => {
                    let text = format!("the {} slot: {error}", way.label);
                    self.timeline.say("not rotated", text);
                }
            }
        }
    }
}
