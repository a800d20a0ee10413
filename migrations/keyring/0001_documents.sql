-- The keyring's documents. `revision` equals the revision written inside the document.
CREATE TABLE sealed_store_keyring (
    name     TEXT PRIMARY KEY NOT NULL,
    revision INTEGER NOT NULL CHECK (revision >= 1),
    document BLOB NOT NULL
) WITHOUT ROWID;
