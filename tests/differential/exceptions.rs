//! Where a plain store is itself wrong, or the trait leaves freedom: by method and reason, and nowhere
//! wider. Everything that is not in this file must be equal.

use wacore::client_profile::ClientProfile;
use wacore::store::device::DEVICE_PROPS;

use super::answer::{Answer, Comparable, Seen};
use super::calls::{Call, Protocol, Rest, Signal};
use super::machine::Side;
use super::names::Name;
use super::notes::Origin;

/// The kinds of store that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Upstream's store in memory, plain and sealed.
    Memory,
    /// Upstream's store on SQLite, plain and sealed.
    Sqlite,
    /// Upstream's store on SQLite, and ours.
    Ours,
    /// Upstream's store on SQLite, and ours sealed.
    OursSealed,
}

/// A difference that is expected.
pub struct Exception {
    pub method: &'static str,
    pub kinds: &'static [Kind],
    pub reason: &'static str,
    /// Whether it explains just this difference.
    explains: fn(&Difference<'_>) -> bool,
}

/// A call that the two sides answered differently.
pub struct Difference<'a> {
    pub call: &'a Call,
    pub plain: &'a Answer,
    pub sealed: &'a Answer,
    pub side: &'a Side,
}

const ALL: &[Kind] = &[Kind::Memory, Kind::Sqlite, Kind::Ours, Kind::OursSealed];
const SQLITE: &[Kind] = &[Kind::Sqlite, Kind::Ours, Kind::OursSealed];
const SEALED: &[Kind] = &[Kind::Memory, Kind::Sqlite, Kind::OursSealed];

/// All of them. (One more needs no entry, because so many rows are never written here: beyond 4,096 sent
/// messages the store in memory drops old ones, and of equally old ones any. `tests/differential.rs`
/// has a test of its own for that.)
pub const EXCEPTIONS: &[Exception] = &[
    Exception {
        method: "has_signal_state_for_user",
        kinds: SQLITE,
        reason: "upstream asks with LIKE, unescaped: `%` and `_` in a user are wildcards, ASCII letters \
                 match in either case, and a NUL ends the pattern; a sealed store and ours answer exactly",
        explains: like_is_not_exact,
    },
    Exception {
        method: "has_signal_state_for_user",
        kinds: SEALED,
        reason: "a user is what stands before the first `@` or `:` of an address, so one with a separator \
                 in it has no state; the plain stores compare the start of the whole address",
        explains: user_with_a_separator,
    },
    Exception {
        method: "get_devices",
        kinds: SQLITE,
        reason: "upstream keeps 32 bits of a device list's time; a sealed store and ours keep it whole",
        explains: time_of_32_bits,
    },
    Exception {
        method: "load",
        kinds: &[Kind::Memory],
        reason: "the store in memory keeps the three fields of a device that serde skips; a sealed store \
                 gives them back as upstream's SQLite store does",
        explains: fields_that_serde_skips,
    },
    Exception {
        method: "load",
        kinds: ALL,
        reason: "`create` makes random keys, so two stores never have the same; each must keep its own",
        explains: random_keys,
    },
    Exception {
        method: "snapshot_db",
        kinds: SQLITE,
        reason: "upstream refuses a name that is empty, or longer than 100, once cleaned for a file name, \
                 and two names that are cleaned to the same file in one second (here, for good); a sealed \
                 store hands over a token, and fails only for the same name",
        explains: snapshot_names,
    },
    Exception {
        method: "resource_report",
        kinds: SQLITE,
        reason: "it counts the pages of the file, and sealed rows are longer; the inner store's report is \
                 handed on as it is",
        explains: pages_of_its_own,
    },
];

/// The methods that may answer while the keyring is locked, because they need no key: no name to blind,
/// and no row to open. All others must fail with `NotOpen` then.
pub const KEYLESS: &[&str] = &[
    // Ids and times in the clear; the row, if there is one, does not open.
    "load_prekey",
    "load_prekeys_batch",
    "mark_prekeys_uploaded",
    "remove_prekey",
    "get_max_prekey_id",
    "load_signed_prekey",
    "load_all_signed_prekeys",
    "remove_signed_prekey",
    "get_sync_key",
    "get_latest_sync_key_id",
    "clear_all_sender_key_devices",
    "get_all_lid_mappings",
    "get_all_tc_token_jids",
    "delete_expired_tc_tokens",
    "delete_expired_sent_messages",
    "delete_expired_pending_inbound",
    "delete_expired_msg_secrets",
    // With a live account it is the inner store's answer.
    "create",
    "resource_report",
    // An empty batch.
    "put_identities_batch",
    "put_sessions_batch",
    "store_prekeys_batch",
    "put_sender_keys_batch",
    "delete_sender_key_device_rows",
    "put_lid_mappings",
    "update_device_lists",
    "store_pending_inbound_batch",
    "delete_pending_inbound_batch",
    "put_msg_secrets",
];

/// The exception that explains a difference.
pub fn explained(difference: &Difference<'_>) -> Option<usize> {
    EXCEPTIONS.iter().position(|exception| {
        exception.method == difference.call.method()
            && exception.kinds.contains(&difference.side.kind)
            && (exception.explains)(difference)
    })
}

const SEPARATORS: [char; 2] = ['@', ':'];

fn like_is_not_exact(difference: &Difference<'_>) -> bool {
    let Call::Signal(Signal::has_signal_state_for_user { user }) = difference.call else {
        return false;
    };
    let inexact = |letter: char| letter.is_ascii_alphabetic() || ['%', '_', '\0'].contains(&letter);
    let user = user.text();
    // The plain side's own rows, by equality.
    let exact = Name::all().any(|address| {
        let of_user = address
            .text()
            .strip_prefix(user)
            .is_some_and(|rest| rest.starts_with(SEPARATORS));
        let there = [
            Signal::has_session { address },
            Signal::load_identity { address },
        ]
        .map(|read| difference.side.ask_plain(&Call::Signal(read)));
        let absent = [
            Answer::Value(Seen::Flag(false)),
            Answer::Value(Seen::Nothing),
        ];
        of_user && there != absent
    });
    // A sealed store's user has no separator; ours takes it as a part of the address.
    let whole = difference.side.kind == Kind::Ours || !user.contains(SEPARATORS);
    user.contains(inexact) && whole && *difference.sealed == Answer::Value(Seen::Flag(exact))
}

fn user_with_a_separator(difference: &Difference<'_>) -> bool {
    let Call::Signal(Signal::has_signal_state_for_user { user }) = difference.call else {
        return false;
    };
    user.text().contains(SEPARATORS)
        && *difference.plain == Answer::Value(Seen::Flag(true))
        && *difference.sealed == Answer::Value(Seen::Flag(false))
}

fn time_of_32_bits(difference: &Difference<'_>) -> bool {
    let Some(sealed) = difference.sealed.value() else {
        return false;
    };
    let Some(Seen::Number(time)) = sealed.field("timestamp") else {
        return false;
    };
    let Ok(whole) = i64::try_from(*time) else {
        return false;
    };
    let [a, b, c, d, ..] = whole.to_le_bytes();
    let kept = Seen::Number(i32::from_le_bytes([a, b, c, d]).into());
    difference.plain.value() == Some(&sealed.with("timestamp", &kept))
        && matches!(
            difference.call,
            Call::Protocol(Protocol::get_devices { .. })
        )
}

fn fields_that_serde_skips(difference: &Difference<'_>) -> bool {
    let (Some(plain), Some(sealed)) = (difference.plain.value(), difference.sealed.value()) else {
        return false;
    };
    let as_sqlite_gives_them = [
        ("device_props", Seen::Text(format!("{:?}", *DEVICE_PROPS))),
        (
            "client_profile",
            format!("{:?}", ClientProfile::web()).seen(),
        ),
        ("nct_salt_sync_seen", Seen::Flag(false)),
    ];
    let expected = as_sqlite_gives_them
        .iter()
        .fold(plain.clone(), |row, (name, value)| row.with(name, value));
    difference.side.notes.device == Origin::Saved && *sealed == expected
}

/// What is random in a device that was created and never saved, in the order of the fields.
const RANDOM: &[&str] = &[
    "registration_id",
    "noise_key",
    "identity_key",
    "signed_pre_key",
    "signed_pre_key_signature",
    "adv_secret_key",
];

fn random_keys(difference: &Difference<'_>) -> bool {
    let (Some(plain), Some(sealed)) = (difference.plain.value(), difference.sealed.value()) else {
        return false;
    };
    let kept = match &difference.side.notes.device {
        Origin::Created(None) => true,
        Origin::Created(Some(first)) => (plain, sealed) == (&first.0, &first.1),
        Origin::Absent | Origin::Saved => false,
    };
    kept && plain.differing(sealed) == RANDOM
}

fn snapshot_names(difference: &Difference<'_>) -> bool {
    let Call::Rest(Rest::snapshot_db { name, .. }) = difference.call else {
        return false;
    };
    let notes = &difference.side.notes;
    let fails_with = |answer: &Answer, kind: &str| {
        matches!(answer, Answer::Failed(failure)
            if failure.variant == kind && failure.ours.is_none())
    };
    let plain_is_right = match notes.snapshot_file(name.text()) {
        None => fails_with(difference.plain, "InvalidConfig"),
        Some(file) if notes.snapshot_files.contains(&file) => {
            fails_with(difference.plain, "Database")
        }
        Some(_) => false,
    };
    plain_is_right
        && match notes.snapshot_names.contains(name) {
            true => fails_with(difference.sealed, "Database"),
            false => *difference.sealed == Answer::Value(Seen::Nothing),
        }
}

fn pages_of_its_own(difference: &Difference<'_>) -> bool {
    let inner = difference.side.ask_inner(difference.call);
    // The file grows between the two questions where another process works on it.
    let handed_on = inner == *difference.sealed
        || (difference.side.pair.is_shared() && only_pages_differ(&inner, difference.sealed));
    handed_on && only_pages_differ(difference.plain, difference.sealed)
}

fn only_pages_differ(one: &Answer, other: &Answer) -> bool {
    let (Some(one), Some(other)) = (one.value(), other.value()) else {
        return false;
    };
    one.differing(other).iter().all(|field| {
        ["memory_bytes", "pages"].contains(field)
            && [one, other].map(|row| row.field(field) == Some(&Seen::Nothing)) == [false, false]
    })
}
