//! What a long task tells while it runs.

/// A step of a long task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Looking at the store: is it free, what is in it.
    Preparing,
    /// Reading rows and writing them sealed, or in the clear.
    Converting,
    /// Comparing the new rows with the old, or opening each.
    Checking,
    /// Resealing rows under new data keys.
    Resealing,
    /// Building what makes the new file fast to look up in.
    Indexing,
    /// Waiting for the disk, and putting the new file in the old one's place.
    Finishing,
    /// Destroying keys, or the bytes of a file in the clear.
    Destroying,
}

impl Phase {
    /// Its name in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Converting => "converting",
            Self::Checking => "checking",
            Self::Resealing => "resealing",
            Self::Indexing => "indexing",
            Self::Finishing => "finishing",
            Self::Destroying => "destroying",
        }
    }
}

/// Where a long task tells how far it is. It is called often, on the thread that works: be quick.
pub trait Progress: Send + Sync {
    /// A phase begins; `total` rows are before it, where that is known.
    fn begin(&self, phase: Phase, total: Option<u64>);
    /// So many rows of the phase are done.
    fn rows(&self, done: u64);
    /// Whether whoever waits wants the task to stop where it can be resumed or started over.
    fn stopped(&self) -> bool {
        false
    }
}

/// Nobody looks.
impl Progress for () {
    fn begin(&self, _: Phase, _: Option<u64>) {}
    fn rows(&self, _: u64) {}
}
