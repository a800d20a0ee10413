//! Reads of one row, at random among all that are there. A row that is missing is an error.

use anyhow::Result;
use wacore::store::error::StoreError;

use super::stage::{Turn, timed_some};
use crate::data::{address, mapping, pick, secret, sender_key_name};
use crate::protocol::Measure;

/// A function that makes the keys, and times the reads of them.
macro_rules! read {
    ($name:ident, |$turn:ident, $n:ident| $key:expr, |$store:ident, $read:pat_param| $call:expr) => {
        pub async fn $name($turn: Turn) -> Result<Measure> {
            let $store = $turn.stage.store().await?;
            let keys: Vec<_> = $turn.calls().map(|$n| $key).collect();
            let clock = $turn.clock();
            let took = timed_some!(&keys, |$read| $call);
            Ok(clock.stop(took).await)
        }
    };
}

read!(
    get_session,
    |turn, n| address(pick(n, turn.stage.mix.sessions)),
    |store, key| store.get_session(key)
);
read!(
    load_identity,
    |turn, n| address(pick(n, turn.stage.mix.identities)),
    |store, key| store.load_identity(key)
);
read!(
    get_sender_key,
    |turn, n| sender_key_name(pick(n, turn.stage.mix.sender_keys)),
    |store, key| store.get_sender_key(key)
);
read!(
    load_prekey,
    |turn, n| pick(n, turn.stage.mix.prekeys) as u32,
    |store, id| store.load_prekey(*id)
);
read!(
    get_lid_mapping,
    |turn, n| mapping(pick(n, turn.stage.mix.lid_mappings), 0).lid,
    |store, lid| store.get_lid_mapping(lid)
);
read!(
    get_pn_mapping,
    |turn, n| mapping(pick(n, turn.stage.mix.lid_mappings), 0).phone_number,
    |store, phone| store.get_pn_mapping(phone)
);
read!(
    get_msg_secret,
    |turn, n| secret(
        pick(n, turn.stage.mix.message_secrets),
        turn.stage.mix.message_secrets,
        0
    ),
    |store, key| store.get_msg_secret(&key.chat, &key.sender, &key.msg_id)
);
read!(device_load, |turn, n| n, |store, _| store.load());

read!(
    has_session,
    |turn, n| address(pick(n, turn.stage.mix.sessions)),
    |store, key| async {
        let there = store.has_session(key).await?;
        Ok::<_, StoreError>(there.then_some(()))
    }
);
