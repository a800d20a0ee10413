//! What every behaviour uses: sample data, and assertions that print no megabytes.

use std::error::Error;
use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use wacore::store::error::{Result, StoreError};
use wacore::store::traits::Backend;

/// A store as the client holds it.
pub(super) type Store = Arc<dyn Backend>;

/// Creates the device row, without which a store may refuse other rows.
pub(super) async fn with_device(store: &dyn Backend) {
    if !store.exists().await.must("exists") {
        store.create().await.must("create");
    }
}

/// For the behaviours that are about the device row itself.
pub(super) async fn untouched(_store: &dyn Backend) {}

/// Takes the value of a call that has no reason to fail.
pub(super) trait Must<T> {
    /// The value; panics with the whole chain of errors, since upstream's top layer says next to nothing.
    fn must(self, call: &str) -> T;
}

impl<T> Must<T> for Result<T> {
    #[track_caller]
    fn must(self, call: &str) -> T {
        match self {
            Ok(value) => value,
            Err(error) => panic!("{call} failed: {}", chain(&error)),
        }
    }
}

fn chain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut layer = error.source();
    while let Some(source) = layer {
        text.push_str(": ");
        text.push_str(&source.to_string());
        layer = source.source();
    }
    text
}

/// `n` bytes of every value, repeating after a prime number of them.
pub(super) fn bytes(n: usize) -> Vec<u8> {
    (0..=250u8).cycle().take(n).collect()
}

/// 32 bytes that differ for every `seed`.
pub(super) fn key(seed: u16) -> [u8; 32] {
    let [high, low] = seed.to_be_bytes();
    let mut key = [high ^ 0x5a; 32];
    key[1] = low;
    key[31] = low ^ 0xff;
    key
}

/// The first 32 bytes of a value, for the tables that hold just these.
pub(super) fn array(value: &[u8]) -> [u8; 32] {
    match value.first_chunk() {
        Some(array) => *array,
        None => panic!("this table holds 32 bytes a row, got {}", value.len()),
    }
}

/// The `i`th of many Signal addresses, in the form that the client uses.
pub(super) fn addr(i: u16) -> String {
    format!("55119876{:05}:{}@c.us.0", i, i % 100)
}

/// Sizes of values that have tripped stores: nothing, one byte, and more than a page or a packet.
pub(super) const ODD_SIZES: [usize; 3] = [0, 1, 1 << 20];

/// Names that must all stay apart and come back unharmed wherever a table looks up by equality.
pub(super) fn odd_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "",
        " ",
        "a",
        "A",
        "a ",
        " a",
        "a\0",
        "a\0b",
        "ab",
        "a:b",
        "a@b",
        "a:1@b.0",
        "a%",
        "a_",
        "%",
        "_",
        "'",
        "\"",
        "''",
        "'; DROP TABLE device; --",
        "`",
        "\\",
        "\\'",
        "a\n",
        "a\r\n",
        "a\t",
        "NULL",
        "0",
        "00",
        "1e3",
        "a/../b",
        "{\"a\":1}",
        "*",
        "?",
        "[a]",
        "😀",
        "😀😀",
        "é",
        "e\u{301}",
        "ß",
        "ss",
        "\u{202e}a",
        "\u{feff}a",
        "\u{10ffff}",
    ]
    .map(str::to_owned)
    .into();
    let long = "n".repeat(10_000);
    names.push(format!("{long}1"));
    names.push(format!("{long}2"));
    names.push(long);
    names
}

/// Asserts that `got` is exactly `want`, and prints lengths and the first difference if not.
#[track_caller]
pub(super) fn expect_bytes(got: Option<impl AsRef<[u8]>>, want: &[u8], what: &str) {
    let Some(got) = got else {
        panic!("{what}: absent, expected {} bytes", want.len());
    };
    let got = got.as_ref();
    let difference = got.iter().zip(want).position(|(got, want)| got != want);
    assert!(
        got == want,
        "{what}: got {} bytes, expected {}; first difference in their common part: {difference:?}",
        got.len(),
        want.len()
    );
}

/// Asserts that nothing was found.
#[track_caller]
pub(super) fn expect_absent<T>(got: Option<T>, what: &str) {
    assert!(got.is_none(), "{what}: present, expected none");
}

/// Asserts that two lists hold the same items, each as often, in whatever order.
#[track_caller]
pub(super) fn expect_same_items<T: Ord + Debug>(
    got: impl IntoIterator<Item = T>,
    want: impl IntoIterator<Item = T>,
    what: &str,
) {
    let mut got: Vec<T> = got.into_iter().collect();
    let mut want: Vec<T> = want.into_iter().collect();
    got.sort();
    want.sort();
    assert_eq!(got, want, "{what}, in any order");
}

/// Runs two futures at the same time.
pub(super) async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut from_a, mut from_b) = (None, None);
    poll_fn(|context| {
        if from_a.is_none()
            && let Poll::Ready(value) = a.as_mut().poll(context)
        {
            from_a = Some(value);
        }
        if from_b.is_none()
            && let Poll::Ready(value) = b.as_mut().poll(context)
        {
            from_b = Some(value);
        }
        match (from_a.take(), from_b.take()) {
            (Some(from_a), Some(from_b)) => Poll::Ready((from_a, from_b)),
            (a, b) => {
                (from_a, from_b) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}
