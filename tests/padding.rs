//! The length of a sealed record is in plain sight, so it must say no more of the value's than the padding that
//! was chosen. Here are the lengths of whole rows in the file, against the format's specification.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::raw::Stored;
use common::samples::Sample;
use common::world::{World, world};
use sealed_store::{Padding, SealOptions, SealedBackend, Table};
use wacore::store::traits::Backend;

/// Tables whose values have any length: two with another default than the others.
const TABLES: [Table; 5] = [
    Table::Session,
    Table::PreKey,
    Table::GroupMetadata,
    Table::SentMessage,
    Table::PendingInbound,
];

/// Header, nonce and tag of a record.
const AROUND: usize = 8 + 24 + 16;

/// The lengths that a value is tried with.
fn lengths() -> impl Iterator<Item = usize> {
    (1..700).step_by(23)
}

/// The specification's: up to a multiple of `n`.
fn multiple(n: usize, len: usize) -> usize {
    len.div_ceil(n) * n
}

/// The specification's: the length keeps its top bits alone.
fn padme(len: usize) -> usize {
    let len = len.max(32);
    let top = len.ilog2();
    let kept = top.ilog2() + 1;
    multiple(1 << (top - kept), len)
}

fn by_default(table: Table, len: usize) -> usize {
    match table {
        Table::SentMessage | Table::PendingInbound => padme(len),
        _ => multiple(64, len),
    }
}

/// Writes a value over the sample's row.
async fn put(store: &dyn Backend, sample: &Sample, value: &[u8]) {
    let (address, group, id) = (sample.address(), sample.group(), sample.id());
    match sample.table {
        Table::Session => store.put_session(&address, value).await,
        Table::PreKey => store.store_prekey(sample.number(), value, false).await,
        Table::GroupMetadata => store.put_group_metadata(&group, value).await,
        Table::SentMessage => store.store_sent_message(&group, &id, value).await,
        Table::PendingInbound => {
            let put = store.store_pending_inbound(&group, &address, &id, value);
            put.await
        }
        other => panic!("{other} is not tried"),
    }
    .expect("the row is written");
}

/// What is sealed besides the value: the name, and the lengths of both.
fn beside(sample: &Sample) -> usize {
    let parts = match sample.table {
        Table::Session => vec![sample.address().len()],
        Table::PreKey => vec![4],
        Table::GroupMetadata => vec![sample.group().len()],
        Table::SentMessage => vec![sample.group().len(), sample.id().len()],
        _ => vec![
            sample.group().len(),
            sample.address().len(),
            sample.id().len(),
        ],
    };
    4 + 1 + parts.iter().map(|part| 4 + part).sum::<usize>() + 4
}

/// Stores values of each length, and checks the length of the record in the file. How many lengths of
/// records there are.
async fn check(
    world: &World,
    options: &SealOptions,
    table: Table,
    padded: impl Fn(usize) -> usize,
) -> usize {
    let inner = Arc::clone(world.store.inner());
    let store = SealedBackend::open_with(inner, world.account.clone(), options.clone()).await;
    let store = store.expect("the store opens");
    let (sample, first) = world.find(table, 0);
    let mut seen = BTreeSet::new();
    for len in lengths() {
        let value = sample.bytes(len);
        put(&store, sample, &value).await;
        let mut rows = world.raw(table).into_iter();
        let row = rows.find(|row| row.same_key(first.row())).expect("a row");
        let parts = vec![row];
        let record = Stored { table, parts }.carrier().expect("a record").len();
        let expected = AROUND + padded(beside(sample) + len);
        assert_eq!(record, expected, "{table}, {len} bytes: {options:?}");
        seen.insert(record);
        // By a store of another padding: it may change any time.
        let found = sample.get(&world.store).await.expect("it opens");
        assert_eq!(found, Some(hex::encode(value)), "{table}, {len} bytes");
    }
    seen.len()
}

#[tokio::test]
async fn a_record_is_as_long_as_the_padding_of_its_table_says() {
    let (_folder, world) = world().await;
    let tried = lengths().count();
    for table in TABLES {
        let with = |padding| SealOptions::new().padding(table, padding);
        let wide = with(Padding::Multiple(256));
        let wide = check(&world, &wide, table, |len| multiple(256, len)).await;
        assert!(wide <= 4, "{table}: {tried} lengths look like {wide}");
        let least = with(Padding::Multiple(1));
        let least = check(&world, &least, table, |len| multiple(32, len)).await;
        assert!(wide < least && least < tried, "{table}: {least}");
        let top = check(&world, &with(Padding::Padme), table, padme).await;
        assert!(wide < top && top < tried, "{table}: {top}");
    }
}

#[tokio::test]
async fn a_record_is_as_long_as_the_default_says_whatever_other_tables_have() {
    let (_folder, world) = world().await;
    for table in TABLES {
        let mut others = SealOptions::new();
        for other in TABLES.into_iter().filter(|other| *other != table) {
            others = others.padding(other, Padding::Multiple(256));
        }
        for options in [SealOptions::new(), others] {
            check(&world, &options, table, |len| by_default(table, len)).await;
        }
    }
}
