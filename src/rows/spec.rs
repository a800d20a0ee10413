//! The columns of each table, in both layouts: the one place that knows them.

use super::body::Kind;
use super::layout::Layout;

/// A table of one layout. Its columns besides the account come in the order in which [`super::cells`] reads and
/// writes them.
pub(super) struct Spec {
    pub(super) table: &'static str,
    /// The column of the account's number.
    pub(super) account: &'static str,
    pub(super) columns: &'static [&'static str],
    /// How many of the columns, from the first, are the key, besides the account.
    pub(super) key: usize,
    /// The column whose content a seal changes with every write; none in rows that hold only names.
    pub(super) sealed: Option<&'static str>,
    /// Whether the table has a rowid, by which it is walked: in the order in which rows were written. Without one it is
    /// walked by its key.
    pub(super) rowid: bool,
}

const fn upstream(
    table: &'static str,
    columns: &'static [&'static str],
    key: usize,
    sealed: &'static str,
) -> Spec {
    Spec {
        table,
        account: "device_id",
        columns,
        key,
        sealed: Some(sealed),
        rowid: true,
    }
}

const fn ours(
    table: &'static str,
    columns: &'static [&'static str],
    key: usize,
    sealed: &'static str,
    rowid: bool,
) -> Spec {
    Spec {
        table,
        account: "account",
        columns,
        key,
        sealed: Some(sealed),
        rowid,
    }
}

/// In the order of [`Kind::ALL`].
static UPSTREAM: [Spec; 18] = [
    Spec {
        account: "id",
        sealed: None,
        ..upstream("device", super::device::COLUMNS, 0, "")
    },
    upstream("sessions", &["address", "record"], 1, "record"),
    upstream("identities", &["address", "key"], 1, "key"),
    upstream("prekeys", &["id", "key", "uploaded"], 1, "key"),
    upstream("signed_prekeys", &["id", "record"], 1, "record"),
    upstream("sender_keys", &["address", "record"], 1, "record"),
    upstream("app_state_keys", &["key_id", "key_data"], 1, "key_data"),
    upstream(
        "app_state_versions",
        &["name", "state_data"],
        1,
        "state_data",
    ),
    upstream(
        "app_state_mutation_macs",
        &["name", "index_mac", "version", "value_mac"],
        2,
        "value_mac",
    ),
    Spec {
        sealed: None,
        ..upstream(
            "sender_key_devices",
            &["group_jid", "device_jid", "has_key", "updated_at"],
            2,
            "",
        )
    },
    upstream(
        "lid_pn_mapping",
        &[
            "lid",
            "phone_number",
            "created_at",
            "updated_at",
            "learning_source",
        ],
        1,
        "learning_source",
    ),
    upstream(
        "base_keys",
        &["address", "message_id", "base_key", "created_at"],
        2,
        "base_key",
    ),
    upstream(
        "device_registry",
        &[
            "user_id",
            "devices_json",
            "timestamp",
            "phash",
            "raw_id",
            "updated_at",
        ],
        1,
        "phash",
    ),
    upstream(
        "group_metadata",
        &["group_jid", "info", "updated_at"],
        1,
        "info",
    ),
    upstream(
        "tc_tokens",
        &[
            "jid",
            "token",
            "token_timestamp",
            "sender_timestamp",
            "updated_at",
        ],
        1,
        "token",
    ),
    upstream(
        "sent_messages",
        &["chat_jid", "message_id", "payload", "created_at"],
        2,
        "payload",
    ),
    upstream(
        "pending_inbound_messages",
        &["chat", "sender", "id", "message", "inserted_at"],
        3,
        "message",
    ),
    upstream(
        "msg_secrets",
        &[
            "chat",
            "sender",
            "msg_id",
            "secret",
            "expires_at",
            "message_ts",
            "created_at",
        ],
        3,
        "secret",
    ),
];

/// In the order of [`Kind::ALL`]: `migrations/store/0001_tables.sql`.
static OURS: [Spec; 18] = [
    Spec {
        sealed: None,
        ..ours("device", &["json"], 0, "", true)
    },
    ours("sessions", &["address", "record"], 1, "record", true),
    ours("identities", &["address", "key"], 1, "key", false),
    ours("prekeys", &["id", "record", "uploaded"], 1, "record", false),
    ours("signed_prekeys", &["id", "record"], 1, "record", false),
    ours("sender_keys", &["address", "record"], 1, "record", false),
    ours(
        "sync_keys",
        &["id", "key_data", "fingerprint", "timestamp"],
        1,
        "fingerprint",
        false,
    ),
    ours("versions", &["name", "state"], 1, "state", true),
    ours(
        "mutation_macs",
        &["name", "index_mac", "version", "value_mac"],
        2,
        "value_mac",
        false,
    ),
    Spec {
        sealed: None,
        ..ours(
            "sender_key_devices",
            &["group_jid", "device", "has_key"],
            2,
            "",
            false,
        )
    },
    ours(
        "lid_mappings",
        &["lid", "phone", "created_at", "updated_at", "source"],
        1,
        "source",
        true,
    ),
    ours(
        "base_keys",
        &["address", "message_id", "base_key"],
        2,
        "base_key",
        false,
    ),
    ours(
        "device_lists",
        &["user", "devices", "timestamp", "phash", "raw_id"],
        1,
        "phash",
        false,
    ),
    ours("group_metadata", &["group_jid", "info"], 1, "info", true),
    ours(
        "tc_tokens",
        &["jid", "token", "token_timestamp", "sender_timestamp"],
        1,
        "token",
        false,
    ),
    ours(
        "sent_messages",
        &["chat", "message_id", "payload", "created_at"],
        2,
        "payload",
        true,
    ),
    ours(
        "pending_inbound",
        &["chat", "sender", "message_id", "message", "inserted_at"],
        3,
        "message",
        true,
    ),
    // Several secrets a row, found by a digest of its key: see `store/sqlite/msg_secret.rs`, which reads and writes it.
    ours(
        "msg_secrets",
        &[
            "chat",
            "message_id",
            "senders",
            "place",
            "place_end",
            "first_deadline",
        ],
        2,
        "senders",
        true,
    ),
];

impl Layout {
    /// All tables, in the order of [`Kind::ALL`].
    pub(super) fn specs(self) -> &'static [Spec; 18] {
        match self {
            Self::Upstream => &UPSTREAM,
            Self::Ours => &OURS,
        }
    }

    pub(super) fn spec(self, kind: Kind) -> &'static Spec {
        let [device, ..] = self.specs();
        // There is one for each kind.
        self.specs().get(kind.number()).unwrap_or(device)
    }

    /// The table's name in the database.
    pub(crate) fn table(self, kind: Kind) -> &'static str {
        self.spec(kind).table
    }
}

impl Spec {
    /// The columns of the key, besides the account.
    pub(super) fn key_columns(&self) -> &'static [&'static str] {
        self.columns.get(..self.key).unwrap_or_default()
    }

    /// `account = ? AND a = ? AND …`, with parameters from `first`.
    pub(super) fn at_key(&self, first: usize) -> String {
        let columns = std::iter::once(&self.account).chain(self.key_columns());
        (first..)
            .zip(columns)
            .map(|(number, column)| format!("{column} = ?{number}"))
            .collect::<Vec<_>>()
            .join(" AND ")
    }
}
