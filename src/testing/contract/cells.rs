//! Behaviours that most tables share: a table seen as cells, each with a name and 32 bytes or more in it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use wacore::store::traits::Backend;

use super::support::{ODD_SIZES, addr, bytes, expect_absent, expect_bytes, key, odd_names};

/// A table that is written and read by name.
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
pub(super) trait Cells: Send + Sync {
    /// The `i`th name; tables that are keyed by number override it.
    fn name(&self, i: u16) -> String {
        addr(i)
    }

    /// Writes a cell.
    async fn put(&self, store: &dyn Backend, name: &str, value: &[u8]);

    /// Reads a cell, through every method that can read it.
    async fn get(&self, store: &dyn Backend, name: &str) -> Option<Vec<u8>>;
}

/// A table from which a row can be deleted by name.
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
pub(super) trait Erasable: Cells {
    /// Deletes a cell that may or may not be there.
    async fn delete(&self, store: &dyn Backend, name: &str);
}

/// A table that can be written many rows at a time.
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
pub(super) trait Batched: Cells {
    /// Writes cells in one call.
    async fn put_batch(&self, store: &dyn Backend, rows: &[(Arc<str>, Bytes)]);
}

/// A missing row reads as none; a row reads back as written, as often as asked; a second write replaces
/// the first; other rows are left alone.
pub(super) async fn put_get_overwrite(cells: impl Cells, store: &dyn Backend) {
    let (name, other) = (cells.name(1), cells.name(2));
    expect_absent(cells.get(store, &name).await, "a row never written");

    cells.put(store, &name, &key(1)).await;
    expect_bytes(cells.get(store, &name).await, &key(1), "the row written");
    expect_bytes(cells.get(store, &name).await, &key(1), "the row read again");
    expect_absent(cells.get(store, &other).await, "its neighbour, not written");

    cells.put(store, &other, &key(2)).await;
    cells.put(store, &name, &key(3)).await;
    expect_bytes(
        cells.get(store, &name).await,
        &key(3),
        "the row overwritten",
    );
    expect_bytes(cells.get(store, &other).await, &key(2), "its neighbour");
}

/// Deleting takes the named row only, may be repeated, is fine for a row never written, and leaves room
/// for a new one.
pub(super) async fn delete(cells: impl Erasable, store: &dyn Backend) {
    let (name, other) = (cells.name(1), cells.name(2));
    cells.delete(store, &name).await;
    cells.put(store, &name, &key(1)).await;
    cells.put(store, &other, &key(2)).await;

    cells.delete(store, &name).await;
    expect_absent(cells.get(store, &name).await, "the deleted row");
    expect_bytes(cells.get(store, &other).await, &key(2), "its neighbour");
    cells.delete(store, &name).await;

    cells.put(store, &name, &key(3)).await;
    expect_bytes(
        cells.get(store, &name).await,
        &key(3),
        "the row written anew",
    );
}

/// Odd names are all different rows: quotes, wildcards, NUL, upper and lower case, blanks at the end,
/// composed and decomposed letters, emoji, ten kilobytes.
pub(super) async fn names(cells: impl Cells, store: &dyn Backend) {
    let names = odd_names();
    for (name, seed) in names.iter().zip(0..) {
        cells.put(store, name, &key(seed)).await;
    }
    for (name, seed) in names.iter().zip(0..) {
        let what = format!(
            "the row named {:?}",
            name.chars().take(40).collect::<String>()
        );
        expect_bytes(cells.get(store, name).await, &key(seed), &what);
    }
}

/// A value may be empty (which is not the same as absent), one byte, or a mebibyte.
pub(super) async fn sizes(cells: impl Cells, store: &dyn Backend) {
    for (size, i) in ODD_SIZES.into_iter().zip(0..) {
        cells.put(store, &cells.name(i), &bytes(size)).await;
    }
    for (size, i) in ODD_SIZES.into_iter().zip(0..) {
        let got = cells.get(store, &cells.name(i)).await;
        expect_bytes(got, &bytes(size), &format!("a value of {size} bytes"));
    }
}

/// A batch does what its rows would do one by one: it inserts and overwrites, its last row for a name wins,
/// it may be empty, and it may be larger than what fits into one statement.
pub(super) async fn batch(cells: impl Batched, store: &dyn Backend) {
    let row = |i: u16, seed: u16| -> (Arc<str>, Bytes) {
        (cells.name(i).into(), Bytes::copy_from_slice(&key(seed)))
    };
    let expect = async |i: u16, seed: u16, what: &str| {
        expect_bytes(cells.get(store, &cells.name(i)).await, &key(seed), what);
    };

    cells.put_batch(store, &[]).await;
    expect_absent(
        cells.get(store, &cells.name(1)).await,
        "after an empty batch",
    );

    cells.put(store, &cells.name(1), &key(1)).await;
    cells.put(store, &cells.name(2), &key(2)).await;
    let rows = [row(3, 30), row(2, 20), row(4, 40), row(3, 31)];
    cells.put_batch(store, &rows).await;
    expect(1, 1, "a row outside of the batch").await;
    expect(2, 20, "a single row, overwritten by a batch").await;
    expect(3, 31, "a row named twice in a batch").await;
    expect(4, 40, "a row between the two").await;

    cells.put(store, &cells.name(4), &key(41)).await;
    expect(4, 41, "a row of a batch, overwritten singly").await;

    let many: Vec<_> = (100..1100).map(|i| row(i, i)).collect();
    cells.put_batch(store, &many).await;
    for i in [100, 101, 199, 200, 598, 599, 600, 999, 1000, 1099] {
        expect(i, i, "a row of a batch of 1,000").await;
    }
    expect(3, 31, "an older row, after a batch of 1,000").await;
}
