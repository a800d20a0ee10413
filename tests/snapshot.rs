//! The extra content of a snapshot lies in a file of its own, beside the database and often far away from
//! it. What comes back from it must be what was sealed under that name by that account, or nothing.

mod common;

use common::damage::{flipped, refusal, resized};
use common::raw;
use common::reading::{MOVED, why};
use common::world::{world, worlds};
use sealed_store::Table;
use wacore::store::traits::DeviceStore;

const NAME: &str = "before the update";
const CONTENT: &[u8] = b"what the caller wants to keep";

#[tokio::test]
async fn every_bit_and_every_length_of_a_snapshots_content_matters() {
    let (folder, world) = world().await;
    world.store.snapshot_db(NAME, Some(CONTENT)).await.unwrap();
    let (_, sealed) = raw::snapshot(folder.path());
    let bits = (0..sealed.len() * 8).map(|bit| flipped(&sealed, bit));
    let mut tried = 0;
    for altered in bits.chain(resized(&sealed)) {
        let result = world.store.open_snapshot(NAME, &altered).await;
        let expected = refusal(Table::Snapshot, &sealed, &altered);
        let found = why(&result.expect_err("refused"));
        assert_eq!(found, expected, "{} bytes", altered.len());
        tried += 1;
    }
    assert_eq!(world.store.refused_rows(), tried, "each is counted");
    let opened = world.store.open_snapshot(NAME, &sealed).await.unwrap();
    assert_eq!(opened, CONTENT);
    println!("{tried} alterations");
}

#[tokio::test]
async fn a_snapshots_content_opens_under_its_own_name_and_account_alone() {
    let (folder, worlds) = worlds().await;
    let [own, others @ ..] = &worlds[..] else {
        panic!("no worlds");
    };
    own.store.snapshot_db(NAME, Some(CONTENT)).await.unwrap();
    let (_, sealed) = raw::snapshot(folder.path());
    for name in ["", "Before the update", "before the update ", "before"] {
        let result = own.store.open_snapshot(name, &sealed).await;
        assert_eq!(why(&result.expect_err("refused")), MOVED, "{name:?}");
    }
    // Of the same file, of the same keyring, and of another keyring.
    for other in others {
        let result = other.store.open_snapshot(NAME, &sealed).await;
        assert_eq!(why(&result.expect_err("refused")), MOVED);
    }
    // Nor is what the account sealed elsewhere a snapshot's content.
    for record in own.rows.iter().filter_map(|(_, stored)| stored.carrier()) {
        let result = own.store.open_snapshot(NAME, &record).await;
        assert_eq!(why(&result.expect_err("refused")), MOVED);
    }
    let opened = own.store.open_snapshot(NAME, &sealed).await.unwrap();
    assert_eq!(opened, CONTENT);
}
