//! Named moments in work on files, at which tests kill the process.

/// Called at each step with its name.
#[cfg(feature = "testing")]
static HOOK: std::sync::OnceLock<Box<dyn Fn(&'static str) + Send + Sync>> =
    std::sync::OnceLock::new();

/// For tests: calls `hook` at each step of the tasks in [`lifecycle`](crate::lifecycle), on the thread that works. The
/// first hook of a process stays.
#[cfg(feature = "testing")]
pub fn on_step(hook: impl Fn(&'static str) + Send + Sync + 'static) {
    let _ = HOOK.set(Box::new(hook));
}

/// Everything before this is done.
pub(super) fn step(name: &'static str) {
    #[cfg(feature = "testing")]
    if let Some(hook) = HOOK.get() {
        hook(name);
    }
    #[cfg(not(feature = "testing"))]
    let _ = name;
}
