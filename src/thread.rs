//! Blocking work beside any runtime, or none.

use futures_channel::oneshot;

/// Runs `work` on a plain thread, so that no runtime is assumed and none is held up. `None` if no
/// thread could be started or `work` panicked. If the caller's future is dropped meanwhile, the work
/// still runs to its end and its result is dropped.
pub(crate) async fn off_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            // The receiver is gone when the caller lost interest.
            let _ = sender.send(work());
        })
        .ok()?;
    receiver.await.ok()
}
