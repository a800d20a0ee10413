//! The table itself.

use super::{
    Count, Group, Operation, Target, When, batches, bulk, concurrent, growth, opening, reads,
    writes,
};
use crate::contestant::Contestant::Upstream;

const CALLS: Count = Count(300, 30);
const ONE: Count = Count(1, 1);

/// An operation of the table whose function takes a turn.
macro_rules! operation {
    ($group:ident, $id:literal, $what:literal, $calls:expr, $rows:expr, $perform:path) => {
        Operation::new(Group::$group, $id, $what, $calls, $rows, |turn| {
            Box::pin($perform(turn))
        })
    };
}

/// All operations, in the order in which they are performed.
pub static TABLE: &[Operation] = &[
    operation!(Size, "size", "the mix, closed", ONE, ONE, bulk::fill).when(When::Once),
    operation!(
        Write,
        "put_session",
        "put_session, 400 to 2,000 B",
        CALLS,
        ONE,
        writes::put_session
    ),
    operation!(
        Write,
        "put_identity",
        "put_identity, 32 B",
        CALLS,
        ONE,
        writes::put_identity
    ),
    operation!(
        Write,
        "store_prekey",
        "store_prekey, 74 B",
        CALLS,
        ONE,
        writes::store_prekey
    ),
    operation!(
        Write,
        "put_sender_key",
        "put_sender_key, 120 B",
        CALLS,
        ONE,
        writes::put_sender_key
    ),
    operation!(
        Write,
        "put_lid_mapping",
        "put_lid_mapping",
        CALLS,
        ONE,
        writes::put_lid_mapping
    ),
    operation!(
        Write,
        "store_sent_message",
        "store_sent_message, 300 B",
        CALLS,
        ONE,
        writes::store_sent_message
    ),
    operation!(
        Write,
        "put_msg_secret",
        "put_msg_secrets, one",
        CALLS,
        ONE,
        writes::put_msg_secret
    ),
    operation!(
        Write,
        "device_save",
        "device save",
        Count(100, 10),
        ONE,
        writes::device_save
    ),
    operation!(
        Read,
        "get_session",
        "get_session",
        CALLS,
        ONE,
        reads::get_session
    ),
    operation!(
        Read,
        "has_session",
        "has_session",
        CALLS,
        ONE,
        reads::has_session
    ),
    operation!(
        Read,
        "load_identity",
        "load_identity",
        CALLS,
        ONE,
        reads::load_identity
    ),
    operation!(
        Read,
        "get_sender_key",
        "get_sender_key",
        CALLS,
        ONE,
        reads::get_sender_key
    ),
    operation!(
        Read,
        "load_prekey",
        "load_prekey",
        CALLS,
        ONE,
        reads::load_prekey
    ),
    operation!(
        Read,
        "get_lid_mapping",
        "get_lid_mapping",
        CALLS,
        ONE,
        reads::get_lid_mapping
    ),
    operation!(
        Read,
        "get_pn_mapping",
        "get_pn_mapping",
        CALLS,
        ONE,
        reads::get_pn_mapping
    ),
    operation!(
        Read,
        "get_msg_secret",
        "get_msg_secret",
        CALLS,
        ONE,
        reads::get_msg_secret
    ),
    operation!(
        Read,
        "device_load",
        "device load",
        Count(100, 10),
        ONE,
        reads::device_load
    ),
    operation!(
        BatchRead,
        "get_all_lid_mappings",
        "warm-up: get_all_lid_mappings of 10,000",
        Count(2, 1),
        Count(10_000, 1_000),
        batches::get_all_lid_mappings
    ),
    operation!(
        BatchRead,
        "load_prekeys_batch",
        "load_prekeys_batch of 812",
        Count(4, 1),
        Count(812, 812),
        batches::load_prekeys
    ),
    operation!(
        Batch,
        "put_sessions_batch",
        "put_sessions_batch of 64, 400 to 2,000 B",
        Count(16, 2),
        Count(64, 64),
        batches::put_sessions
    ),
    operation!(
        Batch,
        "put_identities_batch",
        "put_identities_batch of 64",
        Count(16, 2),
        Count(64, 64),
        batches::put_identities
    ),
    operation!(
        Batch,
        "put_sender_keys_batch",
        "put_sender_keys_batch of 64",
        Count(16, 2),
        Count(64, 64),
        batches::put_sender_keys
    ),
    operation!(
        Batch,
        "store_prekeys_batch",
        "store_prekeys_batch of 812",
        Count(3, 1),
        Count(812, 812),
        batches::store_prekeys
    ),
    operation!(
        Batch,
        "put_lid_mappings",
        "put_lid_mappings of 500",
        Count(4, 1),
        Count(500, 500),
        batches::put_lid_mappings
    ),
    operation!(
        Concurrent,
        "write_64",
        "64 tasks: put_session, 400 to 2,000 B",
        Count(64, 64),
        Count(30, 2),
        concurrent::write_sessions
    )
    .targets_instead(&[Target::at_least(4.0, Upstream)]),
    operation!(
        Concurrent,
        "write_64_batches",
        "64 tasks: put_sessions_batch of 64, 400 to 2,000 B",
        Count(64, 64),
        Count(64, 4),
        concurrent::write_batches
    )
    .targets_instead(&[]),
    operation!(
        Concurrent,
        "read_64",
        "64 tasks: get_session",
        Count(64, 64),
        Count(30, 2),
        concurrent::read_sessions
    ),
    operation!(
        Batch,
        "put_msg_secrets",
        "put_msg_secrets of 2,000, new ones",
        ONE,
        Count(2_000, 200),
        batches::put_msg_secrets
    ),
    operation!(
        Batch,
        "history_sync",
        "history sync: 95,000 secrets in one call",
        ONE,
        Count(95_000, 2_000),
        bulk::history_sync
    ),
    operation!(
        Batch,
        "history_sync_5000",
        "history sync: 95,000 secrets in calls of 5,000",
        Count(19, 2),
        Count(5_000, 1_000),
        bulk::history_sync
    ),
    operation!(
        Open,
        "open",
        "open and get_session",
        Count(5, 1),
        ONE,
        opening::open
    ),
    operation!(
        Open,
        "open_fresh",
        "the same, in a new process",
        ONE,
        ONE,
        opening::open
    )
    .when(When::InFreshProcess),
    operation!(
        Memory,
        "memory_idle",
        "process that opens no store",
        ONE,
        ONE,
        bulk::idle_memory
    )
    .when(When::InFreshProcess),
    operation!(
        Memory,
        "memory_mixed",
        "open, then 10,000 mixed calls",
        Count(10_000, 500),
        ONE,
        bulk::mixed_memory
    )
    .when(When::InFreshProcess),
    operation!(
        Memory,
        "memory_history",
        "history sync: 95,000 secrets in one call",
        ONE,
        Count(95_000, 2_000),
        bulk::history_memory
    )
    .when(When::InFreshProcess),
    operation!(
        Growth,
        "grow",
        "adding rows",
        ONE,
        Count(5_000, 500),
        growth::grow
    )
    .when(When::Once),
    operation!(
        Growth,
        "growth_read",
        "get_session",
        CALLS,
        ONE,
        growth::read
    ),
    operation!(
        Growth,
        "growth_write",
        "put_session, 400 B",
        CALLS,
        ONE,
        growth::write
    ),
    operation!(
        Growth,
        "growth_batch",
        "put_sessions_batch of 64, at random",
        Count(8, 2),
        Count(64, 64),
        growth::batch
    ),
];
