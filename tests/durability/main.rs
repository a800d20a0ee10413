//! What was acknowledged stays, whatever ends the process: a lost identity means pairing anew, a lost
//! session breaks every conversation, and a second identity over the first does both in silence.
//!
//! - `kill`: children that write to a real SQLite file die by SIGKILL at random moments. This shows
//!   the death of a *process*, not a loss of power: the kernel keeps what was written, so nothing
//!   here tests `fsync`. About 25 kills; `SEALED_STORE_LONG=1` makes it more than 200.
//! - `fault`: each call to the inner store fails in turn, before or after its effect, once or for good.
//! - `openers`: two openers make one account at once, in one process and in two.
//! - `dropped`: each future is dropped at each of its awaits.
//!
//! `SEALED_STORE_SEED=n` replays the random choices of a run, which prints its seed; when a child
//! dies is up to the machine all the same.

#[path = "../common/child.rs"]
mod child;
#[path = "../common/mod.rs"]
mod common;

mod changes;
mod dropped;
mod fault;
mod kill;
mod ledger;
mod openers;
mod scenarios;
mod world;

use common::support::seed;

/// Whether the long form was asked for.
fn long() -> bool {
    std::env::var_os("SEALED_STORE_LONG").is_some()
}
