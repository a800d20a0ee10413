//! Futures that are dropped half-way: a caller went away, or `Patient` gave a call up.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use super::Conformance;
use super::support::{fresh_context, gives, made};

/// No call pauses more often than is tried here.
const PAUSES: usize = 64;

/// Polls `future` until it has paused `pauses` times, and drops it. Whether it ended before that.
async fn dropped_after<T>(pauses: usize, future: impl Future<Output = T>) -> bool {
    let mut future = pin!(future);
    let mut left = pauses;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(true),
        Poll::Pending if left == 0 => Poll::Ready(false),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// After each dropped `generate` the slots that are there open, and a new one can be made.
pub(super) async fn generate_dropped_at_every_pause(suite: &Conformance) {
    let provider = suite.made().await;
    let before = made(&*provider, fresh_context(1)).await;
    for pauses in 0..PAUSES {
        let context = fresh_context(2);
        let ended = dropped_after(pauses, provider.generate(&context)).await;
        gives(&*provider, &before).await;
        // The dropped one may have made the slot's secret already.
        let next = match suite.kept_by_service {
            true => fresh_context(3),
            false => context,
        };
        gives(&*provider, &made(&*provider, next).await).await;
        if ended {
            break;
        }
    }
}

/// After each dropped `unwrap_secret` the slot opens.
pub(super) async fn unwrap_dropped_at_every_pause(suite: &Conformance) {
    let provider = suite.made().await;
    let slot = made(&*provider, fresh_context(1)).await;
    for pauses in 0..PAUSES {
        let unwrap = provider.unwrap_secret(&slot.context, &slot.recipe);
        let ended = dropped_after(pauses, unwrap).await;
        gives(&*provider, &slot).await;
        if ended {
            break;
        }
    }
}

/// After each dropped `probe` the slot opens, and `probe` says so.
pub(super) async fn probe_dropped_at_every_pause(suite: &Conformance) {
    let provider = suite.made().await;
    let slot = made(&*provider, fresh_context(1)).await;
    for pauses in 0..PAUSES {
        let ended = dropped_after(pauses, provider.probe()).await;
        gives(&*provider, &slot).await;
        let ready = provider.probe().await.is_ok_and(|found| found.ready);
        assert!(ready, "not ready after a dropped probe");
        if ended {
            break;
        }
    }
}
