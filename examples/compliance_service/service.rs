//! The service: opens, works, closes when it has to, comes back when it may.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use sealed_store::{Keyring, SealError};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

use crate::audit::{Audit, Closed, Closing};
use crate::config::Config;
use crate::ledger::{Found, Ledger, Store};
use crate::load::{Counts, Load};
use crate::timeline::Timeline;
use crate::ways::Ways;

/// The pause after the first try to open again; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// When to try to open again.
struct Again {
    at: Instant,
    pause: Duration,
}

impl Again {
    fn now() -> Self {
        Self {
            at: Instant::now(),
            pause: FIRST_PAUSE,
        }
    }

    fn later(&mut self) {
        self.at = Instant::now() + self.pause;
        self.pause = (2 * self.pause).min(LONGEST_PAUSE);
    }
}

struct Service {
    config: Config,
    timeline: Timeline,
    closed: Arc<Closed>,
    audit: Arc<Audit>,
    ways: Ways,
    closing: UnboundedReceiver<Closing>,
    /// None once standard input has ended: a service has none, often.
    orders: Option<UnboundedReceiver<String>>,
}

/// Runs until it is stopped; `false` if something was lost, wrong, or done while closed.
pub async fn run(config: Config, timeline: Timeline) -> Result<bool> {
    timeline.say(
        "start",
        format!(
            "lease {:?}, grace {:?}, call {:?}",
            config.lease, config.grace, config.call
        ),
    );
    let closed = Arc::<Closed>::default();
    let (audit, closing) = Audit::new(&config, timeline.clone(), Arc::clone(&closed))?;
    let ways = Ways::new(
        &config,
        timeline.clone(),
        Arc::clone(&closed),
        Arc::clone(&audit),
    )?;
    let orders = Some(orders());
    let mut service = Service {
        config,
        timeline,
        closed,
        audit,
        ways,
        closing,
        orders,
    };
    let mut again = Again::now();
    let store = loop {
        if let Some(store) = service.ways.open(&service.config.database).await? {
            break store;
        }
        again.later();
        tokio::time::sleep_until(again.at).await;
    };
    let keyring = store.account().keyring();
    service.ways.add_missing_slots(&keyring).await?;
    service.serve(store, keyring).await
}

impl Service {
    async fn serve(mut self, store: Store, keyring: Keyring) -> Result<bool> {
        let tasks = self.config.tasks;
        let store = Arc::new(store);
        let closed = Arc::clone(&self.closed);
        let load = Load::start(Arc::clone(&store), closed, tasks, self.timeline.clone());
        self.timeline.say("working", format!("{tasks} tasks"));
        let mut again: Option<Again> = None;
        let mut report_at: Option<u64> = None;
        loop {
            let at = again.as_ref().map(|again| again.at);
            tokio::select! {
                Some(closing) = self.closing.recv() => match closing {
                    Closing::Lease { revoked } => self.ways.ended(revoked),
                    // What an attempt to open left half open was wiped too, and needs no further thought.
                    Closing::Wiped if again.is_some() || keyring.is_open() => {}
                    Closing::Wiped => {
                        // No work is taken by what holds no keys: clients come, and are told so.
                        load.all_came().await;
                        self.timeline.say("refused", format!("{tasks} of {tasks} tasks: {}", SealError::NotOpen));
                        again = Some(Again::now());
                    }
                },
                () = tokio::time::sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => {
                    match self.ways.reopen(&keyring).await? {
                        true => {
                            again = None;
                            self.timeline.say("working", format!("{tasks} tasks"));
                        }
                        false => if let Some(again) = &mut again {
                            again.later();
                        },
                    }
                }
                () = load.reached(report_at.unwrap_or_default()), if report_at.is_some() => {
                    report_at = None;
                    self.report(load.counts());
                }
                order = order(&mut self.orders), if self.orders.is_some() => match order.as_deref() {
                    Some("stop") => break,
                    Some("rotate") => self.ways.rotate(&keyring).await,
                    Some(text) => match text.split_once(' ').unwrap_or((text, "")) {
                        ("note", note) => self.timeline.say("operator", note),
                        ("report", more) => {
                            let more: u64 = more.parse().unwrap_or_default();
                            report_at = Some(*load.counts().acknowledged.borrow() + more);
                        }
                        _ => self.timeline.say("operator", "orders are: rotate, report [AFTER], note TEXT, stop"),
                    },
                    None => self.orders = None,
                },
                _ = tokio::signal::ctrl_c() => break,
            }
        }
        let (ledgers, counts) = load.stop().await?;
        self.report(&counts);
        drop((store, keyring));
        self.verify(&ledgers, &counts).await
    }

    fn report(&self, counts: &Counts) {
        let of = Counts::of;
        let text = format!(
            "acknowledged {}, read {}, refused {}",
            *counts.acknowledged.borrow(),
            of(&counts.read),
            of(&counts.refused)
        );
        self.timeline.say("report", text);
    }

    /// Opens what is on the disk, and reads back every write that was ever acknowledged.
    async fn verify(&mut self, ledgers: &[Ledger], counts: &Counts) -> Result<bool> {
        let Some(store) = self.ways.open(&self.config.database).await? else {
            self.timeline
                .say("not verified", "the store does not open now");
            return Ok(false);
        };
        let (mut all, mut acknowledged) = (Found::default(), 0);
        for ledger in ledgers {
            all += ledger.verify(&store).await?;
            acknowledged += ledger.acknowledged;
        }
        let of = Counts::of;
        let (wrong, failed) = (all.wrong + of(&counts.wrong), of(&counts.failed));
        let (while_closed, missed) = (of(&counts.done_while_closed), self.audit.missed());
        let text = format!(
            "{acknowledged} acknowledged writes, {} rows read back: {} lost, {wrong} wrong, {while_closed} done while closed, {failed} \
             failed otherwise, {missed} audit events missed",
            all.rows, all.lost
        );
        self.timeline.say("verified", text);
        Ok(all.rows > 0 && [all.lost, wrong, while_closed, failed, missed] == [0; 5])
    }
}

/// The operator's lines. On a thread of their own: one that waits for standard input holds the runtime's end up.
fn orders() -> UnboundedReceiver<String> {
    let (order, orders) = unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if order.send(line).is_err() {
                return;
            }
        }
    });
    orders
}

/// The operator's next line; `None` when there will be none any more.
async fn order(orders: &mut Option<UnboundedReceiver<String>>) -> Option<String> {
    orders.as_mut()?.recv().await
}
