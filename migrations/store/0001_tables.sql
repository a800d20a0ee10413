-- Keys that are text are kept as bytes (src/store/sqlite/key.rs). Small rows live in their key's tree
-- (WITHOUT ROWID); rows with large values do not, for there they would spill to pages of their own.
CREATE TABLE device (
    account INTEGER PRIMARY KEY,
    json BLOB NOT NULL
);

CREATE TABLE identities (
    account INTEGER NOT NULL,
    address BLOB NOT NULL,
    key BLOB NOT NULL,
    PRIMARY KEY (account, address)
) WITHOUT ROWID;

CREATE TABLE sessions (
    account INTEGER NOT NULL,
    address BLOB NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (account, address)
);

CREATE TABLE prekeys (
    account INTEGER NOT NULL,
    id INTEGER NOT NULL,
    record BLOB NOT NULL,
    uploaded INTEGER NOT NULL,
    PRIMARY KEY (account, id)
) WITHOUT ROWID;

CREATE TABLE signed_prekeys (
    account INTEGER NOT NULL,
    id INTEGER NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (account, id)
) WITHOUT ROWID;

CREATE TABLE sender_keys (
    account INTEGER NOT NULL,
    address BLOB NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (account, address)
) WITHOUT ROWID;

CREATE TABLE sync_keys (
    account INTEGER NOT NULL,
    id BLOB NOT NULL,
    key_data BLOB NOT NULL,
    fingerprint BLOB NOT NULL,
    timestamp INTEGER NOT NULL,
    PRIMARY KEY (account, id)
) WITHOUT ROWID;

CREATE TABLE versions (
    account INTEGER NOT NULL,
    name BLOB NOT NULL,
    state BLOB NOT NULL,
    PRIMARY KEY (account, name)
);

CREATE TABLE mutation_macs (
    account INTEGER NOT NULL,
    name BLOB NOT NULL,
    index_mac BLOB NOT NULL,
    version INTEGER NOT NULL,
    value_mac BLOB NOT NULL,
    PRIMARY KEY (account, name, index_mac)
) WITHOUT ROWID;

CREATE TABLE sender_key_devices (
    account INTEGER NOT NULL,
    group_jid BLOB NOT NULL,
    device BLOB NOT NULL,
    has_key INTEGER NOT NULL,
    PRIMARY KEY (account, group_jid, device)
) WITHOUT ROWID;
CREATE INDEX sender_key_devices_by_device ON sender_key_devices (account, device);

-- With a rowid: of two mappings of a phone number that are equally new, the first that was written counts.
CREATE TABLE lid_mappings (
    account INTEGER NOT NULL REFERENCES device (account) ON DELETE CASCADE,
    lid BLOB NOT NULL,
    phone BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    source BLOB NOT NULL,
    PRIMARY KEY (account, lid)
);
CREATE INDEX lid_mappings_by_phone ON lid_mappings (account, phone);

CREATE TABLE base_keys (
    account INTEGER NOT NULL,
    address BLOB NOT NULL,
    message_id BLOB NOT NULL,
    base_key BLOB NOT NULL,
    PRIMARY KEY (account, address, message_id)
) WITHOUT ROWID;

CREATE TABLE device_lists (
    account INTEGER NOT NULL,
    user BLOB NOT NULL,
    devices BLOB NOT NULL,
    timestamp INTEGER NOT NULL,
    phash BLOB,
    raw_id INTEGER,
    PRIMARY KEY (account, user)
) WITHOUT ROWID;

CREATE TABLE group_metadata (
    account INTEGER NOT NULL,
    group_jid BLOB NOT NULL,
    info BLOB NOT NULL,
    PRIMARY KEY (account, group_jid)
);

CREATE TABLE tc_tokens (
    account INTEGER NOT NULL,
    jid BLOB NOT NULL,
    token BLOB NOT NULL,
    token_timestamp INTEGER NOT NULL,
    sender_timestamp INTEGER,
    PRIMARY KEY (account, jid)
) WITHOUT ROWID;

CREATE TABLE sent_messages (
    account INTEGER NOT NULL,
    chat BLOB NOT NULL,
    message_id BLOB NOT NULL,
    payload BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (account, chat, message_id)
);
CREATE INDEX sent_messages_by_time ON sent_messages (account, created_at);

CREATE TABLE pending_inbound (
    account INTEGER NOT NULL,
    chat BLOB NOT NULL,
    sender BLOB NOT NULL,
    message_id BLOB NOT NULL,
    message BLOB NOT NULL,
    inserted_at INTEGER NOT NULL,
    PRIMARY KEY (account, chat, sender, message_id)
);
CREATE INDEX pending_inbound_by_time ON pending_inbound (account, inserted_at);

-- Appended, and found by a digest of account, chat and message id: src/store/sqlite/msg_secret.rs says why. No index
-- by deadline: it would cost a good part of a history sync, while what expired is looked for seldom.
CREATE TABLE msg_secrets (
    place INTEGER NOT NULL,
    place_end INTEGER NOT NULL,
    account INTEGER NOT NULL,
    chat BLOB NOT NULL,
    message_id BLOB NOT NULL,
    senders BLOB NOT NULL,
    first_deadline INTEGER NOT NULL
);
CREATE UNIQUE INDEX msg_secrets_by_place ON msg_secrets (place, place_end);
