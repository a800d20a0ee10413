//! The audit hook: to a file for the auditors, to the timeline for people, and what the service has to act on to the service.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use sealed_store::{AuditEvent, AuditSink, JsonLinesSink};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::config::Config;
use crate::timeline::Timeline;

/// What ends the work.
pub enum Closing {
    /// The lease is over; whether the key's owner ended it.
    Lease { revoked: bool },
    /// Every key is gone.
    Wiped,
}

/// Whether the store is closed: an odd number from the wiping of the keys until somebody tries to open it again, and
/// another one each time. What begins and ends within one odd number can't have been sealed or opened.
#[derive(Default)]
pub struct Closed(AtomicU64);

impl Closed {
    pub fn epoch(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub fn is_closed(epoch: u64) -> bool {
        epoch % 2 == 1
    }

    /// Nothing is open any more.
    pub fn close(&self) {
        self.0.fetch_or(1, Ordering::SeqCst);
    }

    /// From here on it may be open.
    pub fn may_open(&self) {
        let _ = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |epoch| {
                Self::is_closed(epoch).then_some(epoch + 1)
            });
    }
}

pub struct Audit {
    timeline: Timeline,
    file: Option<JsonLinesSink<File>>,
    closed: Arc<Closed>,
    closing: UnboundedSender<Closing>,
}

impl Audit {
    pub fn new(
        config: &Config,
        timeline: Timeline,
        closed: Arc<Closed>,
    ) -> Result<(Arc<Self>, UnboundedReceiver<Closing>)> {
        let open = |path| File::options().create(true).append(true).open(path);
        let file = config.audit.as_ref().map(open).transpose();
        let file = file.context("the audit file can't be opened")?;
        let (closing, heard) = unbounded_channel();
        let audit = Self {
            timeline,
            file: file.map(JsonLinesSink::new),
            closed,
            closing,
        };
        Ok((Arc::new(audit), heard))
    }

    /// How many events the auditors' file missed.
    pub fn missed(&self) -> u64 {
        self.file.as_ref().map_or(0, JsonLinesSink::failures)
    }
}

impl AuditSink for Audit {
    /// Called by the library in the middle of its work: it takes the event and returns.
    fn record(&self, event: &AuditEvent) {
        if let Some(file) = &self.file {
            file.record(event);
        }
        let say = |name, what: String| self.timeline.say(name, what);
        match event {
            AuditEvent::KeyringCreated { .. } => say("created", "a new keyring".into()),
            AuditEvent::KeyringOpened { slot, .. } => say("opened", format!("through slot {slot}")),
            AuditEvent::OpenRefused {
                provider, reason, ..
            } => say("not opened", format!("{provider}: {reason}")),
            AuditEvent::SlotAdded { slot, provider, .. } => {
                say("slot added", format!("slot {slot}, {provider}"));
            }
            AuditEvent::SlotRewrapped { slot, provider, .. } => {
                say(
                    "rewrapped",
                    format!("slot {slot}, {provider}, its secret unseen"),
                );
            }
            AuditEvent::LeaseUnreachable {
                provider, reason, ..
            } => say("tolerated", format!("{provider}: {reason}")),
            AuditEvent::LeaseRecovered { slot, .. } => say("recovered", format!("slot {slot}")),
            AuditEvent::LeaseEnded {
                provider,
                reason,
                revoked,
                ..
            } => {
                let why = match revoked {
                    true => "withdrawn",
                    false => "given up",
                };
                say("lease over", format!("{provider}, {why}: {reason}"));
                let _ = self.closing.send(Closing::Lease { revoked: *revoked });
            }
            AuditEvent::KeysWiped { .. } => {
                self.closed.close();
                say("closed", "every key is wiped from memory".into());
                let _ = self.closing.send(Closing::Wiped);
            }
            AuditEvent::RowRefused { reason, .. } => say("BAD ROW", reason.clone()),
            // Accounts, stores, generations: for the auditors' file.
            _ => {}
        }
    }
}
