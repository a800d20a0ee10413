//! The thread that asks, as long as the keyring is open.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use futures_channel::oneshot;

use super::super::core::{Core, Open};
use super::super::idle::Moment;
use super::{Answer, Lease, Question, Signal, until_next};
use crate::audit::{AuditEvent, id_text};
use crate::error::SealError;
use crate::provider::SlotContext;

/// The thread of one opening.
pub(super) struct Watch {
    pub(super) core: Weak<Core>,
    pub(super) lease: Lease,
    pub(super) opening: u64,
    pub(super) signal: Arc<Signal>,
    pub(super) cancelled: oneshot::Receiver<()>,
    pub(super) opened: Moment,
}

impl Watch {
    /// Nobody watches once this ends, so the keyring does not stay open by a panic: of an audit sink, or a provider.
    pub(super) fn run(self) {
        let (core, opening) = (Weak::clone(&self.core), self.opening);
        let watched = catch_unwind(AssertUnwindSafe(move || self.watch()));
        if watched.is_err()
            && let Some(core) = core.upgrade()
        {
            let ended = AuditEvent::LeaseEnded {
                keyring: id_text(&core.id),
                slot: 0,
                provider: "unknown".to_owned(),
                reason: "the audit sink or the provider panicked while the lease was watched"
                    .to_owned(),
                revoked: false,
            };
            // The keys go before the event is told.
            let _ = catch_unwind(AssertUnwindSafe(|| core.wipe_opening(opening, &ended)));
        }
    }

    fn watch(mut self) {
        let mut good = self.opened;
        let mut asked = self.opened;
        let mut wait = self.lease.every;
        let mut tolerating = false;
        loop {
            if self.signal.is_over_within(asked, wait) {
                return;
            }
            asked = Moment::now();
            let (slot, answer) = match self.next() {
                Next::Over => return,
                Next::SlotGone => (0, Answer::ended("the slot that opened was removed")),
                Next::Ask(question) => (
                    question.entry.slot,
                    self.lease.ask(&question, &mut self.cancelled),
                ),
            };
            // Not kept alive by the watcher, and not while the provider was asked.
            let Some(core) = self.core.upgrade() else {
                return;
            };
            let keyring = id_text(&core.id);
            let provider = self.lease.provider.kind().to_owned();
            let past_grace = good.elapsed() >= self.lease.grace;
            match answer {
                Answer::Cancelled => return,
                Answer::Good => {
                    if tolerating {
                        core.audit
                            .record(&AuditEvent::LeaseRecovered { keyring, slot });
                    }
                    // What was true when it was asked.
                    good = asked;
                    wait = self.lease.every;
                    tolerating = false;
                }
                Answer::Unreachable {
                    reason,
                    retry_after,
                } if !past_grace => {
                    if !tolerating {
                        core.audit.record(&AuditEvent::LeaseUnreachable {
                            keyring,
                            slot,
                            provider,
                            reason,
                        });
                    }
                    tolerating = true;
                    let left = self.lease.grace.saturating_sub(good.elapsed());
                    asked = Moment::now();
                    wait = until_next(self.lease.every, retry_after, left);
                }
                answer => {
                    let (reason, revoked) = match answer {
                        Answer::Ended { reason, revoked } => (reason, revoked),
                        Answer::Unreachable { reason, .. } => (reason, false),
                        Answer::Good | Answer::Cancelled => return,
                    };
                    let ended = AuditEvent::LeaseEnded {
                        keyring,
                        slot,
                        provider,
                        reason,
                        revoked,
                    };
                    core.wipe_opening(self.opening, &ended);
                    return;
                }
            }
        }
    }

    /// What is to be asked now.
    fn next(&self) -> Next {
        let Some(core) = self.core.upgrade() else {
            return Next::Over;
        };
        let of = |open: &Open| {
            if open.opening != self.opening {
                return Err(SealError::NotOpen);
            }
            Ok(open.through.as_ref().map(|entry| Question {
                context: SlotContext {
                    keyring_id: core.id,
                    slot: entry.slot,
                },
                entry: entry.clone(),
                suite: open.suite,
            }))
        };
        match core.with_open(of) {
            Ok(Some(question)) => Next::Ask(Box::new(question)),
            Ok(None) => Next::SlotGone,
            Err(_) => Next::Over,
        }
    }
}

enum Next {
    /// The opening is.
    Over,
    /// The slot that opened was removed.
    SlotGone,
    Ask(Box<Question>),
}
