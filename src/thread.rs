//! Blocking work beside any runtime, or none, and turns for others on one.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use futures_channel::oneshot;

/// The one thread on which all pools make their connections.
#[cfg(feature = "sqlite")]
pub(crate) fn of_pools() -> std::sync::Arc<scheduled_thread_pool::ScheduledThreadPool> {
    static THREAD: std::sync::OnceLock<std::sync::Arc<scheduled_thread_pool::ScheduledThreadPool>> =
        std::sync::OnceLock::new();
    let thread = || {
        let pool = scheduled_thread_pool::ScheduledThreadPool::builder()
            .num_threads(1)
            .thread_name_pattern("sealed-store-pools")
            .build();
        std::sync::Arc::new(pool)
    };
    std::sync::Arc::clone(THREAD.get_or_init(thread))
}

/// Runs `work` on a plain thread, so that no runtime is assumed and none is held up. `None` if no
/// thread could be started or `work` panicked. If the caller's future is dropped meanwhile, the work
/// still runs to its end and its result is dropped.
pub(crate) async fn off_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    start(name, work)?.await.ok()
}

/// Begins `work` on a plain thread; the result can be waited for. `None` if no thread could be started.
pub(crate) fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<oneshot::Receiver<T>> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            // The receiver is gone when the caller lost interest.
            let _ = sender.send(work());
        })
        .ok()?;
    Some(receiver)
}

/// Lets other tasks run, on any executor.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Waits, on a thread that ends when the future is dropped. Where there are no threads it does not wait.
pub(crate) async fn pause(time: Duration) {
    let (dropped, wait) = mpsc::channel::<()>();
    let over = start("sealed-store-pause", move || {
        let _ = wait.recv_timeout(time);
    });
    if let Some(over) = over {
        let _ = over.await;
    }
    drop(dropped);
}

/// What a future gives in this time. Where there are no threads it has all the time it needs; where one can't be started just
/// now, it has none.
pub(crate) async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    let (dropped, wait) = mpsc::channel::<()>();
    let mut over = start("sealed-store-pause", move || {
        let _ = wait.recv_timeout(time);
    });
    let mut future = pin!(future);
    let answer = poll_fn(|context| {
        if let Poll::Ready(answer) = future.as_mut().poll(context) {
            return Poll::Ready(Some(answer));
        }
        match over.as_mut().map(|over| Pin::new(over).poll(context)) {
            Some(Poll::Ready(_)) => Poll::Ready(None),
            Some(Poll::Pending) => Poll::Pending,
            None if cfg!(target_arch = "wasm32") => Poll::Pending,
            // Nobody would end the wait.
            None => Poll::Ready(None),
        }
    })
    .await;
    drop(dropped);
    answer
}
