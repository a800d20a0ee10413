//! Numbered writes of many shapes, and what a store may hold after some of them were acknowledged and some were not.
//!
//! A *place* is a row, or the rows of a batch. Each write sets one place to its number or empties it, and all rows of a
//! place must hold the same: else a batch was torn. Places belong to one task, so their order is known.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wacore::store::error::{Result as StoreResult, StoreError};
use wacore::store::traits::{Backend, MsgSecretEntry, PendingInboundKey, PendingInboundRow};

/// Places of one kind that a task writes in turn.
const RING: u64 = 8;
/// Writes until the kinds repeat.
pub const KINDS: u64 = 10;
/// More rows than are written on the caller's thread.
const SECRETS: u64 = 80;
const PREKEYS: u32 = 50;
const SESSIONS: u64 = 6;
const PENDING: u64 = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Session,
    Sessions,
    Register,
    Secrets,
    Pending,
    PreKeys,
    Large,
    Device,
}

/// A row, or the rows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    kind: Kind,
    task: u64,
    number: u64,
}

/// A write: the place, and the number that it holds then; none if it is emptied.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    pub place: Place,
    pub value: Option<u64>,
}

/// Write number `n` of a task, counted from 1.
pub fn write(task: u64, n: u64) -> Write {
    let number = n / KINDS % RING;
    let (kind, value) = match n % KINDS {
        0 => (Kind::Session, Some(n)),
        1 => (Kind::Sessions, Some(n)),
        2 => (Kind::Register, Some(n)),
        3 => (Kind::Secrets, Some(n)),
        4 => (Kind::Pending, Some(n)),
        5 => (Kind::PreKeys, Some(n)),
        6 => (Kind::Session, None),
        7 => (Kind::Large, Some(n)),
        // The device is one row: one task alone knows what it holds.
        8 if task == 0 => (Kind::Device, Some(n)),
        9 if number % 2 == 1 => (Kind::Pending, None),
        _ => (Kind::Register, Some(n)),
    };
    let number = match kind {
        Kind::Register | Kind::Device => 0,
        _ => number,
    };
    Write {
        place: Place { kind, task, number },
        value,
    }
}

/// Bytes that tell the number, and are of as many as that.
fn bytes(n: u64, len: usize) -> Vec<u8> {
    let mut bytes = n.to_le_bytes().to_vec();
    bytes.resize(len, (n % 251) as u8);
    bytes
}

fn number_in(found: &[u8], len: usize) -> u64 {
    let n = u64::from_le_bytes(*found.first_chunk().expect("a value is cut short"));
    assert_eq!(found, bytes(n, len), "the value of write {n} is torn");
    n
}

impl Place {
    fn address(self, row: u64) -> String {
        let Self { kind, task, number } = self;
        format!("55119{}{task:02}{number:03}{row:03}:1@c.us.0", kind as u8)
    }

    fn id(row: u64) -> String {
        format!("3EB0{row}")
    }

    fn prekeys(self) -> Vec<u32> {
        let first = 1 + 64 * u32::try_from(RING * self.task + self.number).unwrap();
        (first..first + PREKEYS).collect()
    }

    fn len(self) -> usize {
        match self.kind {
            Kind::Large => 30_000,
            Kind::Pending => 700,
            Kind::PreKeys => 90,
            _ => 400,
        }
    }

    /// What it holds.
    pub async fn read(self, store: &dyn Backend) -> StoreResult<Option<u64>> {
        let len = self.len();
        let mut rows = Vec::new();
        match self.kind {
            Kind::Session | Kind::Register | Kind::Sessions | Kind::Large => {
                let count = if self.kind == Kind::Sessions {
                    SESSIONS
                } else {
                    1
                };
                for row in 0..count {
                    let found = store.get_session(&self.address(row)).await?;
                    rows.push(found.map(|found| number_in(&found, len)));
                }
            }
            Kind::Secrets => {
                for row in 0..SECRETS {
                    let (chat, id) = (self.address(0), Self::id(row));
                    let found = store.get_msg_secret(&chat, "5511@c.us", &id).await?;
                    rows.push(found.map(|found| number_in(&found, 32)));
                }
            }
            Kind::Pending => {
                for row in 0..PENDING {
                    let (chat, id) = (self.address(0), Self::id(row));
                    let found = store.get_pending_inbound(&chat, "5511@c.us", &id).await?;
                    rows.push(found.map(|found| number_in(&found, len)));
                }
            }
            Kind::PreKeys => {
                let found = store.load_prekeys_batch(&self.prekeys()).await?;
                rows.extend(found.iter().map(|(_, found)| Some(number_in(found, len))));
                rows.resize(PREKEYS as usize, None);
            }
            Kind::Device => {
                let device = store.load().await?;
                rows.push(device.and_then(|device| device.push_name.parse().ok()));
            }
        }
        assert!(
            rows.windows(2).all(|pair| pair[0] == pair[1]),
            "{self:?} is torn: {rows:?}"
        );
        Ok(rows[0])
    }
}

impl Write {
    pub async fn make(self, store: &dyn Backend) -> StoreResult<()> {
        let (place, len) = (self.place, self.place.len());
        let chat = place.address(0);
        match (place.kind, self.value) {
            (Kind::Session, None) => store.delete_session(&chat).await,
            (Kind::Session | Kind::Register | Kind::Large, Some(n)) => {
                store.put_session(&chat, &bytes(n, len)).await
            }
            (Kind::Sessions, Some(n)) => {
                let row = |row| (place.address(row).into(), bytes(n, len).into());
                let rows: Vec<_> = (0..SESSIONS).map(row).collect();
                store.put_sessions_batch(&rows).await
            }
            (Kind::Secrets, Some(n)) => {
                let entry = |row| MsgSecretEntry {
                    chat: place.address(0).into(),
                    sender: "5511@c.us".into(),
                    msg_id: Place::id(row).into(),
                    secret: bytes(n, 32).try_into().unwrap(),
                    expires_at: 0,
                    message_ts: 0,
                };
                let entries = (0..SECRETS).map(entry).collect();
                store.put_msg_secrets(entries).await.map(drop)
            }
            (Kind::Pending, value) => {
                let ids: Vec<_> = (0..PENDING).map(Place::id).collect();
                let sender = "5511@c.us";
                if let Some(n) = value {
                    let message = bytes(n, len);
                    let rows: Vec<_> = ids
                        .iter()
                        .map(|id| PendingInboundRow {
                            chat: &chat,
                            sender,
                            id,
                            message: &message,
                        })
                        .collect();
                    store.store_pending_inbound_batch(&rows).await
                } else {
                    let keys: Vec<_> = ids
                        .iter()
                        .map(|id| PendingInboundKey {
                            chat: &chat,
                            sender,
                            id,
                        })
                        .collect();
                    store.delete_pending_inbound_batch(&keys).await
                }
            }
            (Kind::PreKeys, Some(n)) => {
                let row = |id| (id, bytes(n, len).into());
                let rows: Vec<_> = place.prekeys().into_iter().map(row).collect();
                store.store_prekeys_batch(&rows, false).await
            }
            (Kind::Device, Some(n)) => {
                // Where it could not be made there is none.
                let Some(mut device) = store.load().await? else {
                    return Err(StoreError::DeviceNotFound(1));
                };
                device.push_name = n.to_string();
                store.save(&device).await
            }
            (kind, None) => panic!("{kind:?} is never emptied"),
        }
    }
}

/// Makes writes `from..` of as many tasks at once, `count` of each, and tells what became of each.
pub async fn make_all(
    store: &Arc<dyn Backend>,
    tasks: u64,
    from: u64,
    count: u64,
    tell: fn(u64, u64, StoreResult<()>),
) {
    let tasks: Vec<_> = (0..tasks)
        .map(|task| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                for n in from..from.saturating_add(count) {
                    tell(task, n, write(task, n).make(&*store).await);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// What each place may hold.
#[derive(Clone, Default)]
pub struct Expected(BTreeMap<Place, BTreeSet<Option<u64>>>);

impl Expected {
    /// The write returned.
    pub fn acknowledge(&mut self, write: Write) {
        self.0.insert(write.place, BTreeSet::from([write.value]));
    }

    /// The write failed, or nobody knows: it was made whole or not at all.
    pub fn attempt(&mut self, write: Write) {
        let nothing = || BTreeSet::from([None]);
        let may = self.0.entry(write.place).or_insert_with(nothing);
        may.insert(write.value);
    }

    /// How many places are known.
    pub fn places(&self) -> usize {
        self.0.len()
    }

    /// Every place holds, whole, what it may hold.
    pub async fn check(&self, store: &dyn Backend, when: &str) {
        for (place, may) in &self.0 {
            let found = place.read(store).await;
            let found = found.unwrap_or_else(|error| panic!("{when}: {place:?}: {error:?}"));
            assert!(
                may.contains(&found),
                "{when}: {place:?} holds {found:?}, and may hold {may:?}"
            );
        }
    }
}
