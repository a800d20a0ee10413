//! What a sealed store shows to whoever reads its file: one table, column by column, that the tests
//! hold against the real schema and the real bytes, and that `threat-model.md` prints.
//!
//! Not in the table, because every store shows them: how many rows there are, how large they are (in
//! steps of their padding), in which order they were inserted, and when the file changed.

use std::fmt::{self, Write};

/// One kind of content of one column. A column that holds several kinds has a line for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exposure {
    /// The table, as upstream's SQLite store names it; or the keyring document.
    pub table: &'static str,
    /// The column, or the document's field.
    pub column: &'static str,
    /// What it shows.
    pub shows: Shows,
}

/// What a column shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shows {
    /// A sealed record, or a part of one: its generation, its suite and its padded length.
    Sealed,
    /// A one-way token: that two rows of the column have the same name, and nothing else.
    Token,
    /// A reversible name under the account's key: equality, and the padded length.
    Name,
    /// What it holds, for this reason.
    Clear(&'static str),
    /// Always this.
    Constant(&'static str),
}

use Shows::{Clear, Constant, Name, Sealed, Token};

impl fmt::Display for Shows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sealed => f.write_str("sealed"),
            Token => f.write_str("token"),
            Name => f.write_str("reversible name"),
            Clear(why) => write!(f, "**clear**: {why}"),
            Constant(what) => write!(f, "always {what}"),
        }
    }
}

const ACCOUNT: Shows = Clear("the inner store's number of the account");
const WRITTEN: Shows = Clear("when the row was written, by the inner store's clock");
const DECOY: Shows = Clear(
    "random, made by the inner store's own `create`; no key of the account and used by nobody",
);
const NULL: Shows = Constant("NULL");
const ZERO: Shows = Constant("0");
const EMPTY: Shows = Constant("empty");

const fn at(table: &'static str, column: &'static str, shows: Shows) -> Exposure {
    Exposure {
        table,
        column,
        shows,
    }
}

/// Every column of every table of upstream's SQLite store, as a sealed store leaves it.
pub const EXPOSURE: &[Exposure] = &[
    // Sessions, and the rows that have no table of their own: identities, the device, the canary.
    at("sessions", "address", Token),
    at(
        "sessions",
        "address",
        Constant("`sealed-store.canary` in the canary's row"),
    ),
    at("sessions", "record", Sealed),
    at(
        "sessions",
        "record",
        Clear("the canary's row says whose store it is: random ids of keyring, account and store"),
    ),
    at("sessions", "device_id", ACCOUNT),
    at("identities", "address", Constant("without rows")),
    at("identities", "key", Constant("without rows")),
    at("identities", "device_id", Constant("without rows")),
    at(
        "prekeys",
        "id",
        Clear("the inner store finds the largest; public, the server has it"),
    ),
    at("prekeys", "key", Sealed),
    at(
        "prekeys",
        "uploaded",
        Clear("the inner store marks it without opening the row"),
    ),
    at("prekeys", "device_id", ACCOUNT),
    at(
        "signed_prekeys",
        "id",
        Clear("the inner store compares it; public, the server has it"),
    ),
    at("signed_prekeys", "record", Sealed),
    at("signed_prekeys", "device_id", ACCOUNT),
    at("sender_keys", "address", Token),
    at("sender_keys", "record", Sealed),
    at("sender_keys", "device_id", ACCOUNT),
    at(
        "app_state_keys",
        "key_id",
        Clear("the inner store finds the newest by its order"),
    ),
    at("app_state_keys", "key_data", Sealed),
    at(
        "app_state_keys",
        "key_data",
        Clear("the length of the key: the inner store takes another than 32 bytes for absent"),
    ),
    at("app_state_keys", "device_id", ACCOUNT),
    at("app_state_versions", "name", Token),
    at("app_state_versions", "state_data", Sealed),
    at("app_state_versions", "device_id", ACCOUNT),
    at("app_state_mutation_macs", "name", Token),
    at(
        "app_state_mutation_macs",
        "version",
        Clear("the collection's version at the mutation; no method gives it back"),
    ),
    at("app_state_mutation_macs", "index_mac", Token),
    at("app_state_mutation_macs", "value_mac", Sealed),
    at("app_state_mutation_macs", "device_id", ACCOUNT),
    at("sender_key_devices", "group_jid", Name),
    at("sender_key_devices", "device_jid", Name),
    at(
        "sender_key_devices",
        "has_key",
        Clear("the inner store changes it in place"),
    ),
    at("sender_key_devices", "device_id", ACCOUNT),
    at("sender_key_devices", "updated_at", WRITTEN),
    at("lid_pn_mapping", "lid", Token),
    at("lid_pn_mapping", "phone_number", Token),
    at(
        "lid_pn_mapping",
        "created_at",
        Clear("the inner store keeps the first one"),
    ),
    at("lid_pn_mapping", "learning_source", Sealed),
    at(
        "lid_pn_mapping",
        "updated_at",
        Clear("the inner store orders by it; bound to the record"),
    ),
    at("lid_pn_mapping", "device_id", ACCOUNT),
    at("base_keys", "address", Name),
    at("base_keys", "message_id", Name),
    at("base_keys", "base_key", Sealed),
    at("base_keys", "device_id", ACCOUNT),
    at("base_keys", "created_at", WRITTEN),
    at("device_registry", "user_id", Token),
    at("device_registry", "devices_json", Constant("`[]`")),
    at("device_registry", "timestamp", ZERO),
    at("device_registry", "phash", Sealed),
    at("device_registry", "device_id", ACCOUNT),
    at("device_registry", "updated_at", WRITTEN),
    at("device_registry", "raw_id", NULL),
    at("group_metadata", "group_jid", Token),
    at("group_metadata", "info", Sealed),
    at("group_metadata", "device_id", ACCOUNT),
    at("group_metadata", "updated_at", WRITTEN),
    at("sent_messages", "chat_jid", Token),
    at("sent_messages", "message_id", Token),
    at("sent_messages", "payload", Sealed),
    at("sent_messages", "device_id", ACCOUNT),
    at("sent_messages", "created_at", WRITTEN),
    at("pending_inbound_messages", "chat", Token),
    at("pending_inbound_messages", "sender", Token),
    at("pending_inbound_messages", "id", Token),
    at("pending_inbound_messages", "message", Sealed),
    at("pending_inbound_messages", "device_id", ACCOUNT),
    at("pending_inbound_messages", "inserted_at", WRITTEN),
    at("tc_tokens", "jid", Name),
    at("tc_tokens", "token", Sealed),
    at(
        "tc_tokens",
        "token",
        Clear("that there is none yet: the inner store tests for an empty one"),
    ),
    at(
        "tc_tokens",
        "token_timestamp",
        Clear("the newer one wins and old ones expire in the inner store; bound to the record"),
    ),
    at(
        "tc_tokens",
        "sender_timestamp",
        Clear("the inner store advances it in place"),
    ),
    at("tc_tokens", "device_id", ACCOUNT),
    at("tc_tokens", "updated_at", WRITTEN),
    at("msg_secrets", "chat", Token),
    at("msg_secrets", "sender", Name),
    at(
        "msg_secrets",
        "sender",
        Constant("`1` in the row of a secret's second half"),
    ),
    at("msg_secrets", "msg_id", EMPTY),
    at("msg_secrets", "secret", Sealed),
    at("msg_secrets", "device_id", ACCOUNT),
    at("msg_secrets", "created_at", WRITTEN),
    at(
        "msg_secrets",
        "expires_at",
        Clear("the inner store merges it and deletes by it"),
    ),
    at(
        "msg_secrets",
        "message_ts",
        Clear("the inner store keeps the later one"),
    ),
    // A new device of the inner store's own making, never rewritten: the account's is sealed above.
    at("device", "id", ACCOUNT),
    at("device", "lid", EMPTY),
    at("device", "pn", EMPTY),
    at("device", "registration_id", DECOY),
    at("device", "noise_key", DECOY),
    at("device", "identity_key", DECOY),
    at("device", "signed_pre_key", DECOY),
    at("device", "signed_pre_key_id", Constant("1")),
    at("device", "signed_pre_key_signature", DECOY),
    at("device", "adv_secret_key", DECOY),
    at("device", "account", NULL),
    at("device", "push_name", EMPTY),
    at(
        "device",
        "app_version_primary",
        Constant("upstream's default"),
    ),
    at(
        "device",
        "app_version_secondary",
        Constant("upstream's default"),
    ),
    at(
        "device",
        "app_version_tertiary",
        Constant("upstream's default"),
    ),
    at("device", "app_version_last_fetched_ms", ZERO),
    at("device", "edge_routing_info", NULL),
    at("device", "props_hash", NULL),
    at("device", "next_pre_key_id", Constant("1")),
    at("device", "nct_salt", NULL),
    at("device", "server_has_prekeys", ZERO),
    at("device", "server_cert_chain", NULL),
    at("device", "login_counter", ZERO),
    at("device", "first_unupload_pre_key_id", ZERO),
    at("device", "lid_migrated", ZERO),
    at(
        "device",
        "last_signed_pre_key_rotation_ms",
        Clear("when the account was made"),
    ),
    at("device", "read_receipts_disabled", ZERO),
];

const OWNER: Shows = Clear("a random id, so that a store and its keyring find each other");
const REVISION: Shows = Clear("how often the document was changed");
const ROOT: Shows = Clear("the number of the root key that signed the document");

/// The fields of the keyring's documents. What they wrap is as good as the slot's secret.
pub const KEYRING_EXPOSURE: &[Exposure] = &[
    at("keyring", "keyring_id", OWNER),
    at("keyring", "revision", REVISION),
    at("keyring", "root", ROOT),
    at("keyring", "suite", Clear("which cipher wraps and seals")),
    at(
        "keyring",
        "next_slot",
        Clear("how many slots were ever made"),
    ),
    at("keyring", "slots.slot", Clear("the number of the slot")),
    at(
        "keyring",
        "slots.label",
        Clear("the caller's label, which must not be personal"),
    ),
    at("keyring", "slots.kind", Clear("the kind of provider")),
    at(
        "keyring",
        "slots.recipe",
        Clear("what the provider stores: salt and cost of a passphrase, key id of a KMS"),
    ),
    at(
        "keyring",
        "slots.commitment",
        Clear(
            "a hash of the slot's key: a guessed passphrase can be tried, at one key derivation a guess",
        ),
    ),
    at("keyring", "slots.wrapped_root", Sealed),
    at("keyring", "slots.created", Clear("when the slot was made")),
    at(
        "keyring",
        "slots.may_be_lost",
        Clear("that the slot is in a keychain or a TPM"),
    ),
    at("keyring", "previous_root.root", ROOT),
    at("keyring", "previous_root.wrapped", Sealed),
    at("accounts", "keyring_id", OWNER),
    at("accounts", "revision", REVISION),
    at("accounts", "root", ROOT),
    at(
        "accounts",
        "names",
        Clear("the caller's names of the accounts, which must not be personal"),
    ),
    at("account", "keyring_id", OWNER),
    at("account", "revision", REVISION),
    at("account", "root", ROOT),
    at(
        "account",
        "name",
        Clear("the caller's name of the account, which must not be personal"),
    ),
    at("account", "uid", OWNER),
    at("account", "store_id", OWNER),
    at(
        "account",
        "state",
        Clear("whether the account has a device yet"),
    ),
    at("account", "keys.kind", Clear("what the key is for")),
    at("account", "keys.table", Clear("which table the key is for")),
    at(
        "account",
        "keys.generation",
        Clear("how often the table's keys were rotated"),
    ),
    at(
        "account",
        "keys.suite",
        Clear("which cipher the key is for"),
    ),
    at(
        "account",
        "keys.state",
        Clear("whether the key still seals"),
    ),
    at("account", "keys.created", Clear("when the key was made")),
    at(
        "account",
        "keys.retired",
        Clear("when the key was replaced"),
    ),
    at("account", "keys.wrapped", Sealed),
];

/// Where `threat-model.md` holds the rendering.
pub const MARKERS: [&str; 2] = ["<!-- exposure:begin -->", "<!-- exposure:end -->"];

/// Both tables as Markdown: what stands in `threat-model.md` between [`MARKERS`].
#[must_use]
pub fn markdown() -> String {
    let mut text = String::new();
    render(&mut text, ["table", "column"], EXPOSURE);
    text.push('\n');
    render(&mut text, ["keyring document", "field"], KEYRING_EXPOSURE);
    text
}

fn render(text: &mut String, [first, second]: [&str; 2], lines: &[Exposure]) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "| {first} | {second} | shows |\n| --- | --- | --- |");
    for Exposure {
        table,
        column,
        shows,
    } in lines
    {
        let _ = writeln!(text, "| `{table}` | `{column}` | {shows} |");
    }
}
