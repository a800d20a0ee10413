//! Changes of the keyring, each cut short somewhere: rows and identity stay, new rows can be written,
//! and the keyring opens and can be changed.

use sealed_store::{Account, KeyProvider, Keyring, SealError, Table};
use wacore::store::traits::SignalStore;

use crate::common::{raw_key, raw_key_of};
use crate::scenarios::{Scenario, device_of, live, only_the_cut};
use crate::world::{Cut, run};

pub const ALL: &[(&str, Scenario)] = &[
    ("add a slot", |cut, same| keys(cut, same, Change::NewSlot)),
    ("change a slot", |cut, same| {
        keys(cut, same, Change::OtherKey)
    }),
    ("remove a slot", |cut, same| {
        keys(cut, same, Change::SlotGone)
    }),
    ("rotate the root", |cut, same| keys(cut, same, Change::Root)),
    ("rotate data keys", |cut, same| {
        keys(cut, same, Change::DataKeys)
    }),
    ("create an account", |cut, same| {
        keys(cut, same, Change::Account)
    }),
];

#[derive(Clone, Copy)]
enum Change {
    NewSlot,
    OtherKey,
    SlotGone,
    Root,
    DataKeys,
    Account,
}

impl Change {
    async fn make(self, keyring: &Keyring, account: &Account, extra: u32) -> Result<(), SealError> {
        let (old, new) = (raw_key_of(20), raw_key_of(21));
        match self {
            Self::NewSlot => drop(keyring.add_slot("more", &new).await?),
            Self::OtherKey => drop(keyring.change_passphrase(extra, &old, &new).await?),
            Self::SlotGone => keyring.remove_slot(extra).await?,
            Self::Root => {
                let keep: [(u32, &dyn KeyProvider); 2] = [(1, &raw_key()), (extra, &old)];
                keyring.rotate_root(&keep, &[]).await?;
            }
            Self::DataKeys => {
                account
                    .rotate_data_keys(&[Table::Session, Table::Device])
                    .await?
            }
            Self::Account => drop(keyring.create_account("2").await?),
        }
        Ok(())
    }
}

fn keys(cut: Cut, same: bool, change: Change) -> bool {
    run(async {
        let (world, keyring, mut store) = live().await;
        let seen = device_of(&store).await;
        store
            .put_session("55:1@c.us.0", b"before")
            .await
            .expect("stored");
        let extra = keyring
            .add_slot("extra", &raw_key_of(20))
            .await
            .expect("a slot");

        let account = store.account().clone();
        let (outcome, struck) = cut
            .apply(&world, change.make(&keyring, &account, extra))
            .await;
        only_the_cut(outcome);
        drop(account);
        let mut between = false;
        if same {
            // Rows need no document, so they open whatever became of the change; but for work that had
            // the keyring alone and could not say afterwards that nobody else has: its keys are wiped.
            between = keyring.is_open();
            assert!(between || matches!(change, Change::Root));
            if between {
                let row = store.get_session("55:1@c.us.0").await.expect("it opens");
                assert_eq!(row.as_deref(), Some(&b"before"[..]));
                // And they are written under keys that are durable.
                store
                    .put_session("55:2@c.us.0", b"between")
                    .await
                    .expect("written");
            }
            keyring
                .unlock(&raw_key())
                .await
                .expect("every document is read anew");
            store
                .put_session("55:1@c.us.0", b"after")
                .await
                .expect("written");
            keyring
                .rotate_data_keys(&[Table::Session])
                .await
                .expect("keys can be changed");
        } else {
            drop((store, keyring));
            store = world.open().await.expect("it opens");
            store
                .put_session("55:1@c.us.0", b"after")
                .await
                .expect("written");
        }
        let row = store.get_session("55:1@c.us.0").await.expect("it opens");
        assert_eq!(row.as_deref(), Some(&b"after"[..]));
        assert_eq!(device_of(&store).await, seen);
        if between {
            let row = world
                .open()
                .await
                .expect("it opens")
                .get_session("55:2@c.us.0")
                .await;
            assert_eq!(row.expect("it opens").as_deref(), Some(&b"between"[..]));
        }
        let beside = world.keyring().await.expect("it opens beside");
        let names = beside.accounts().await.expect("they are listed");
        for name in names {
            match beside.account(&name).await {
                Ok(_) => {}
                // Listed first, and then made: cut in between, it can be made now.
                Err(SealError::UnknownAccount) => {
                    drop(beside.create_account(&name).await.expect("made"))
                }
                Err(error) => panic!("{name}: {error:?}"),
            }
        }
        struck
    })
}
