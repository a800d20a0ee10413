//! How deep secret work writes into the stack, measured: the wipe must reach beyond it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use secrecy::SecretBox;
use wacore::store::InMemoryBackend;
use wacore::store::traits::Backend;
use zeroize::zeroize_stack;

use super::{DEEP, ROW};
use crate::testing::contract;
use crate::{KeyringOptions, RawKey, SealOptions, SealedBackend, SqliteKeyring, Suite, Table};

/// How much of the stack is cleared before the work, and looked at after it.
const WINDOW: usize = 2 * DEEP;

const CHUNK: usize = 1024;

thread_local! {
    static MEASURING: Cell<bool> = const { Cell::new(false) };
    /// The deepest write seen on this thread, by how much is wiped after it.
    static DEEPEST: RefCell<BTreeMap<usize, usize>> = const { RefCell::new(BTreeMap::new()) };
    /// The pieces of work that are under way, one inside the other: where the stack of each begins, and how
    /// much of it will be wiped.
    static AROUND: RefCell<Vec<(usize, usize)>> = const { RefCell::new(Vec::new()) };
}

/// Before work after which `wiped` bytes will be wiped.
#[inline(never)]
pub(super) fn before(wiped: usize) {
    if MEASURING.get() {
        note();
        let here = 0u8;
        let frame = std::ptr::from_ref(black_box(&here)).addr();
        AROUND.with_borrow_mut(|around| around.push((frame, wiped)));
        clear();
    }
}

/// After the work, before the wipe.
#[inline(never)]
pub(super) fn after() {
    if MEASURING.get() {
        note();
        AROUND.with_borrow_mut(Vec::pop);
    }
}

/// Clears the stack below, so that what is found there later was written since: the wipe itself leaves a
/// return address at its end.
#[inline(never)]
pub(super) fn clear() {
    if MEASURING.get() {
        zeroize_stack::<WINDOW>();
    }
}

/// Notes how far below the innermost frame the lowest byte is that is not zero.
fn note() {
    let Some((frame, wiped)) = AROUND.with_borrow(|around| around.last().copied()) else {
        return;
    };
    let mut stack = vec![0; WINDOW];
    let start = u64::try_from(frame - WINDOW).unwrap();
    let memory = File::open("/proc/self/mem").unwrap();
    memory.read_exact_at(&mut stack, start).unwrap();
    // A byte at a time takes minutes, unoptimised.
    let used = |chunk: &&[u8]| **chunk != [0; CHUNK][..];
    let untouched = CHUNK * stack.chunks(CHUNK).take_while(|chunk| !used(chunk)).count();
    let lowest = untouched
        + stack[untouched..]
            .iter()
            .take_while(|byte| **byte == 0)
            .count();
    DEEPEST.with_borrow_mut(|deepest| {
        let deepest = deepest.entry(wiped).or_default();
        *deepest = (*deepest).max(WINDOW - lowest);
    });
}

/// Opens a keyring, runs the whole contract on sealed stores, and rotates every key.
async fn everything(suite: Suite) {
    let folder = tempfile::tempdir().unwrap();
    let key = RawKey::new(SecretBox::new(Box::new([7; 32])));
    let keyring = KeyringOptions::new()
        .seal(SealOptions::new().suite(suite))
        .create(SqliteKeyring::at(folder.path().join("k.db")), &key)
        .await
        .unwrap();
    let next = AtomicU32::new(0);
    let failures = contract::check(contract::ALL, || {
        let name = next.fetch_add(1, Ordering::Relaxed).to_string();
        let keyring = keyring.clone();
        async move {
            let account = keyring.create_account(&name).await.unwrap();
            let inner = Arc::new(InMemoryBackend::new());
            Arc::new(SealedBackend::open(inner, account).await.unwrap()) as Arc<dyn Backend>
        }
    })
    .await;
    assert!(failures.is_empty());
    keyring.rotate_data_keys(&Table::ALL).await.unwrap();
    keyring.lock();
    keyring.unlock(&key).await.unwrap();
    keyring.rotate_root(&[(1, &key)], &[]).await.unwrap();
}

#[test]
fn the_wipe_reaches_a_quarter_deeper_than_any_secret_work() {
    for suite in [Suite::Xaes256Gcm, Suite::XChaCha20Poly1305] {
        MEASURING.set(true);
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(everything(suite));
        MEASURING.set(false);
        let deepest = DEEPEST.take();
        for wiped in [ROW, DEEP] {
            let used = deepest.get(&wiped).copied().unwrap_or_default();
            println!("{suite:?}: {used} bytes of stack are used, {wiped} are wiped");
            assert!(used > 512, "nothing was measured");
            assert!(used + used / 4 <= wiped);
        }
    }
}
