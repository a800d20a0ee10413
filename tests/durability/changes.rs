//! Changes of the keyring, each cut short somewhere: rows and identity stay, new rows can be written,
//! and the keyring opens and can be changed.

use sealed_store::{Account, KeyProvider, Keyring, SealError, Table};
use wacore::store::traits::SignalStore;

use crate::common::{raw_key, raw_key_of};
use crate::scenarios::{Scenario, device_of, live, only_the_cut};
use crate::world::{Cut, run};

pub const ALL: &[(&str, Scenario)] = &[
    ("add a slot", |cut, same| keys(cut, same, Change::AddSlot)),
    ("change a slot", |cut, same| {
        keys(cut, same, Change::Passphrase)
    }),
    ("remove a slot", |cut, same| {
        keys(cut, same, Change::RemoveSlot)
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
    AddSlot,
    Passphrase,
    RemoveSlot,
    Root,
    DataKeys,
    Account,
}

impl Change {
    async fn make(self, keyring: &Keyring, account: &Account, extra: u32) -> Result<(), SealError> {
        let (old, new) = (raw_key_of(20), raw_key_of(21));
        match self {
            Self::AddSlot => drop(keyring.add_slot("more", &new).await?),
            Self::Passphrase => drop(keyring.change_passphrase(extra, &old, &new).await?),
            Self::RemoveSlot => keyring.remove_slot(extra).await?,
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
        if same {
            // Rows need no document, so they open whatever became of the change.
            let row = store.get_session("55:1@c.us.0").await.expect("it opens");
            assert_eq!(row.as_deref(), Some(&b"before"[..]));
            // And are written under keys that are durable.
            store
                .put_session("55:2@c.us.0", b"between")
                .await
                .expect("written");
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
        if same {
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
