//! Every secret of a keyring, in every form that it is used in, derived from the stored documents by
//! `audit/spec.md` and none of the library's code.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aes::Aes256;
use aes::cipher::BlockCipherEncrypt;
use blake2::{Blake2b512, Digest};
use hkdf::Hkdf;
use serde_json::Value;
use sha2::Sha256;
use sha2::block_api::compress256;
use xaes_256_gcm::aead::{Aead, KeyInit, Payload};

use super::scan::{MASK, Needle, PIECE};

/// What opens a slot.
pub enum Secret {
    Passphrase(Vec<u8>),
    RawKey([u8; 32]),
}

/// Table and number of the columns with tokens, and of those with reversible names.
const TOKENS: [(u16, u8); 19] = [
    (1, 1),
    (1, 2),
    (2, 1),
    (5, 1),
    (7, 1),
    (8, 1),
    (8, 2),
    (10, 1),
    (10, 2),
    (12, 1),
    (13, 1),
    (14, 1),
    (14, 2),
    (15, 1),
    (15, 2),
    (15, 3),
    (17, 1),
    (18, 1),
    (20, 1),
];
const NAMES: [(u16, u8); 6] = [(9, 1), (9, 2), (11, 1), (11, 2), (16, 1), (17, 2)];
/// The tables, from number 1 on.
const TABLES: [&str; 20] = [
    "session",
    "identity",
    "pre_key",
    "signed_pre_key",
    "sender_key",
    "sync_key",
    "version",
    "mutation_mac",
    "sender_key_device",
    "lid_mapping",
    "base_key",
    "device_list",
    "group_metadata",
    "sent_message",
    "pending_inbound",
    "tc_token",
    "msg_secret",
    "device",
    "canary",
    "snapshot",
];

/// All needles so far: a secret that a rotation replaced must be gone as well.
#[derive(Default)]
pub struct Needles {
    pieces: BTreeMap<[u8; PIECE], (String, String)>,
    /// Argon2id is slow, and its answers do not change.
    stretched: BTreeMap<(Vec<u8>, String), [u8; 32]>,
    /// The record keys of sessions, by account, the newest last.
    session_keys: BTreeMap<String, [u8; 32]>,
}

impl Needles {
    pub fn masked(&self) -> Vec<Needle> {
        let pieces = self.pieces.iter();
        pieces
            .map(|(piece, (what, whose))| Needle {
                what: what.clone(),
                whose: whose.clone(),
                masked: piece.map(|byte| byte ^ MASK),
            })
            .collect()
    }

    /// Adds every secret that the documents and `secrets` give.
    pub fn add_all(&mut self, documents: &BTreeMap<String, Vec<u8>>, secrets: &[Secret]) {
        for secret in secrets {
            match secret {
                Secret::Passphrase(bytes) => self.bytes("passphrase", "", bytes),
                Secret::RawKey(key) => {
                    self.bytes("raw key", "", key);
                    self.bytes("raw key in hexadecimal", "", hex::encode(key).as_bytes());
                }
            }
        }
        let Some(keyring) = documents.get("keyring").map(|document| body(document)) else {
            return;
        };
        let mut root = None;
        for slot in keyring["slots"].as_array().expect("slots") {
            for secret in secrets {
                root = self.slot(&keyring, slot, secret).or(root);
            }
        }
        let root = root.expect("a secret opens a slot");
        let suite = suite_number(&keyring["suite"]);
        let whose = format!("{}", keyring["root"]);
        self.hmac_key("root key", &whose, &root);
        let wrap = expand::<32>(&root, &[b"sealed-store v1 wrap", &[suite]]);
        self.cipher_key("wrap key", &whose, suite, &wrap);
        let document = expand::<32>(&root, &[b"sealed-store v1 document"]);
        self.hmac_key("document key", &whose, &document);
        for (name, document) in documents {
            if name.starts_with("account:") {
                self.account(&keyring, &body(document), suite, &wrap);
            }
        }
    }

    /// The root key, if `secret` opens the slot. If not, somebody may have tried it all the same.
    fn slot(&mut self, keyring: &Value, slot: &Value, secret: &Secret) -> Option<[u8; 32]> {
        let kind = slot["kind"].as_str().expect("a kind");
        let slot_secret = match (secret, kind) {
            (Secret::RawKey(key), "raw-key") => *key,
            (Secret::Passphrase(bytes), "passphrase") => {
                let material = &slot["recipe"]["material"];
                self.bytes("Argon2id's first hash", "", &first_hash(bytes, material));
                *self
                    .stretched
                    .entry((bytes.clone(), material.to_string()))
                    .or_insert_with(|| stretch(bytes, material))
            }
            _ => return None,
        };
        let suite = suite_number(&keyring["suite"]);
        let number = slot["slot"].as_u64().expect("a number") as u32;
        let whose = format!("{number}");
        let keyring_id = unhex(&keyring["keyring_id"]);
        let kind_len = (kind.len() as u32).to_le_bytes();
        let slot_key = expand::<32>(
            &slot_secret,
            &[
                b"sealed-store v1 slot",
                &keyring_id,
                &number.to_le_bytes(),
                &kind_len,
                kind.as_bytes(),
            ],
        );
        let wrap = expand::<32>(&slot_key, &[b"sealed-store v1 slot wrap", &[suite]]);
        self.hmac_key("slot secret", &whose, &slot_secret);
        self.hmac_key("slot key", &whose, &slot_key);
        self.cipher_key("slot wrap key", &whose, suite, &wrap);
        let commitment = expand::<32>(&slot_key, &[b"sealed-store v1 slot commitment"]);
        if unhex(&slot["commitment"]) != commitment {
            return None;
        }
        let root = keyring["root"].as_u64().expect("a number") as u32;
        let place = place(&keyring_id, &[0; 16], 0, 1, root, suite);
        Some(unwrap(suite, &wrap, &place, &slot["wrapped_root"]))
    }

    fn account(&mut self, keyring: &Value, account: &Value, suite: u8, wrap: &[u8; 32]) {
        assert_eq!(account["root"], keyring["root"], "no rotation is under way");
        let name = account["name"].as_str().expect("a name");
        let (keyring_id, uid) = (unhex(&keyring["keyring_id"]), unhex(&account["uid"]));
        for entry in account["keys"].as_array().expect("keys") {
            let generation = entry["generation"].as_u64().expect("a number") as u32;
            let key_suite = suite_number(&entry["suite"]);
            let table = entry["table"].as_str().map_or(0, |table| {
                let index = TABLES.iter().position(|other| *other == table);
                index.expect("a table") as u16 + 1
            });
            let kind = if table == 0 { 4 } else { 3 };
            let place = place(&keyring_id, &uid, table, kind, generation, key_suite);
            let key = unwrap(suite, wrap, &place, &entry["wrapped"]);
            if table == 0 {
                self.blind(name, &key);
                continue;
            }
            let whose = format!("account {name} table {table} generation {generation}");
            self.hmac_key("data key", &whose, &key);
            let record = expand::<32>(&key, &[b"sealed-store v1 record key", &[key_suite]]);
            self.cipher_key("record key", &whose, key_suite, &record);
            if table == 1 {
                self.session_keys.insert(name.to_owned(), record);
            }
            if matches!(table, 11 | 17) {
                let siv = expand::<64>(&key, &[b"sealed-store v1 siv key"]);
                self.siv_key("SIV", &whose, &siv);
            }
        }
    }

    /// Adds the AES key that XAES-256-GCM makes for each of an account's session records.
    pub fn add_records(&mut self, account: &str, records: &[Vec<u8>]) {
        let Some(key) = self.session_keys.get(account).copied() else {
            return;
        };
        // A share of them: the search takes its time for each.
        for record in records.iter().step_by(8) {
            if record.starts_with(&[0xA5, 0x53, 1, 1]) {
                let nonce = record[8..20].try_into().expect("half a nonce");
                let own = xaes_key(&key, nonce);
                self.aes_key("record's own key", &format!("account {account}"), &own);
            }
        }
    }

    fn blind(&mut self, account: &str, key: &[u8; 32]) {
        self.hmac_key("blind key", &format!("account {account}"), key);
        for (table, column) in TOKENS {
            let info: [&[u8]; 3] = [
                b"sealed-store v1 token key",
                &table.to_le_bytes(),
                &[column],
            ];
            let whose = format!("account {account} column {table}.{column}");
            self.hmac_key("token key", &whose, &expand::<32>(key, &info));
        }
        for (table, column) in NAMES {
            let info: [&[u8]; 3] = [b"sealed-store v1 name key", &table.to_le_bytes(), &[column]];
            let whose = format!("account {account} column {table}.{column}");
            self.siv_key("name", &whose, &expand::<64>(key, &info));
        }
    }

    /// `bytes` in pieces; what is too short for a piece is covered by one that overlaps.
    fn bytes(&mut self, what: &str, whose: &str, bytes: &[u8]) {
        assert!(bytes.len() >= PIECE, "{what} is too short to search for");
        for start in (0..bytes.len()).step_by(PIECE) {
            let start = start.min(bytes.len() - PIECE);
            let piece = bytes[start..start + PIECE].try_into().expect("a piece");
            self.pieces
                .entry(piece)
                .or_insert_with(|| (what.to_owned(), whose.to_owned()));
        }
    }

    /// A key that HMAC (or HKDF, which is HMAC) is used with: itself, its two pads, and the states
    /// that SHA-256 has after each.
    fn hmac_key(&mut self, what: &str, whose: &str, key: &[u8; 32]) {
        self.bytes(what, whose, key);
        for pad in [0x36, 0x5c] {
            let padded = key.map(|byte| byte ^ pad);
            self.bytes(&format!("{what}, HMAC pad"), whose, &padded);
            let mut block = [pad; 64];
            block[..32].copy_from_slice(&padded);
            let [a, b, c, d, e, f, g, h] = compressed(block);
            // As it is kept, and as the processor's SHA instructions want it.
            for words in [[a, b, c, d], [e, f, g, h], [f, e, b, a], [h, g, d, c]] {
                let bytes = words.map(u32::to_ne_bytes);
                let what = format!("{what}, HMAC midstate");
                self.bytes(&what, whose, bytes.as_flattened());
            }
        }
    }

    fn siv_key(&mut self, what: &str, whose: &str, key: &[u8; 64]) {
        let (mac, encryption) = key.split_at(32);
        for (half, key) in [("MAC", mac), ("encryption", encryption)] {
            let key = key.try_into().expect("half a key");
            self.aes_key(&format!("{what} {half} key"), whose, key);
        }
    }

    fn cipher_key(&mut self, what: &str, whose: &str, suite: u8, key: &[u8; 32]) {
        if suite == 1 {
            self.aes_key(what, whose, key);
        } else {
            self.bytes(what, whose, key);
        }
    }

    fn aes_key(&mut self, what: &str, whose: &str, key: &[u8; 32]) {
        self.bytes(what, whose, key);
        // The first two round keys are the key.
        for (number, round) in round_keys(key).iter().enumerate().skip(2) {
            let whose = format!("{whose} round {number}");
            self.bytes(&format!("{what}, AES round key"), &whose, round);
        }
    }
}

fn body(document: &[u8]) -> Value {
    let text = std::str::from_utf8(document).expect("text");
    let (_, rest) = text.split_once('\n').expect("a first line");
    let (body, _) = rest.split_once("\nsha256 ").expect("a last line");
    serde_json::from_str(body).expect("JSON")
}

fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("text")).expect("hexadecimal digits")
}

fn suite_number(value: &Value) -> u8 {
    match value.as_str() {
        Some("xaes-256-gcm") => 1,
        Some("xchacha20-poly1305") => 2,
        _ => panic!("an unknown suite: {value}"),
    }
}

fn expand<const N: usize>(key: &[u8; 32], info: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    let hkdf = Hkdf::<Sha256>::from_prk(key).expect("a key");
    hkdf.expand_multi_info(info, &mut out).expect("a length");
    out
}

fn stretch(passphrase: &[u8], material: &Value) -> [u8; 32] {
    let number = |name: &str| material[name].as_str().expect("text").parse().expect("one");
    let params = argon2::Params::new(number("m_kib"), number("passes"), number("lanes"), Some(32))
        .expect("bounds");
    let mut out = [0; 32];
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(passphrase, &unhex(&material["salt"]), &mut out)
        .expect("it is derived");
    out
}

/// H0 of RFC 9106, section 3.2: whoever has it need not guess the passphrase.
fn first_hash(passphrase: &[u8], material: &Value) -> [u8; 64] {
    let number = |name: &str| -> u32 {
        let text = material[name].as_str().expect("text");
        text.parse().expect("a number")
    };
    let salt = unhex(&material["salt"]);
    let mut hash = Blake2b512::new();
    // Lanes, length of the tag, memory, passes, version, type Argon2id.
    let (lanes, memory, passes) = (number("lanes"), number("m_kib"), number("passes"));
    for value in [lanes, 32, memory, passes, 0x13, 2] {
        hash.update(value.to_le_bytes());
    }
    // No secret and no associated data.
    for part in [passphrase, &salt, &[], &[]] {
        hash.update((part.len() as u32).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The key that c2sp.org/XAES-256-GCM derives from a key and the first half of a nonce.
fn xaes_key(key: &[u8; 32], nonce: &[u8; 12]) -> [u8; 32] {
    let cipher = Aes256::new(key.into());
    let encrypt = |block: [u8; 16]| {
        let mut block = block.into();
        cipher.encrypt_block(&mut block);
        <[u8; 16]>::from(block)
    };
    let zero = u128::from_be_bytes(encrypt([0; 16]));
    let mask = (zero << 1) ^ ((zero >> 127) * 0x87);
    let half = |counter| {
        let mut block = [0, counter, b'X', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        block[4..].copy_from_slice(nonce);
        encrypt((u128::from_be_bytes(block) ^ mask).to_be_bytes())
    };
    let halves = [half(1), half(2)];
    halves.as_flattened().try_into().expect("two halves")
}

/// Associated data of a wrapped key, after the wrapping suite.
fn place(
    keyring: &[u8],
    account: &[u8],
    table: u16,
    kind: u8,
    generation: u32,
    suite: u8,
) -> Vec<u8> {
    let generation = generation.to_le_bytes();
    let table = table.to_le_bytes();
    [keyring, account, &table, &[kind], &generation, &[suite]].concat()
}

fn unwrap(suite: u8, key: &[u8; 32], place: &[u8], wrapped: &Value) -> [u8; 32] {
    const LABEL: &[u8] = b"sealed-store v1 wrapped key";
    let wrapped = unhex(wrapped);
    assert_eq!((wrapped.len(), &wrapped[..2]), (74, &[1, suite][..]));
    let nonce: [u8; 24] = wrapped[2..26].try_into().expect("a nonce");
    let len = (LABEL.len() as u32).to_le_bytes();
    let payload = Payload {
        msg: &wrapped[26..],
        aad: &[&len, LABEL, &[1, suite], place].concat(),
    };
    let opened = if suite == 1 {
        xaes_256_gcm::Xaes256Gcm::new(key.into()).decrypt((&nonce).into(), payload)
    } else {
        chacha20poly1305::XChaCha20Poly1305::new(key.into()).decrypt((&nonce).into(), payload)
    };
    let key = opened.expect("a wrapped key opens at its place");
    key.try_into().expect("32 bytes")
}

/// The state of SHA-256 after one block.
fn compressed(block: [u8; 64]) -> [u32; 8] {
    let mut state = [
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab,
        0x5be0cd19,
    ];
    compress256(&mut state, &[block]);
    state
}

/// The key expansion of AES-256, FIPS 197 section 5.2.
fn round_keys(key: &[u8; 32]) -> [[u8; 16]; 15] {
    let mut words: Vec<[u8; 4]> = key.as_chunks::<4>().0.to_vec();
    let mut round_constant = 1;
    for index in 8..60 {
        let mut word = words[index - 1];
        if index % 8 == 0 {
            word.rotate_left(1);
        }
        if index % 4 == 0 {
            word = word.map(|byte| S_BOX[usize::from(byte)]);
        }
        if index % 8 == 0 {
            word[0] ^= round_constant;
            round_constant = times(round_constant, 2);
        }
        let before = words[index - 8];
        words.push(std::array::from_fn(|n| before[n] ^ word[n]));
    }
    let bytes = words.as_flattened().as_chunks::<16>().0;
    bytes.try_into().expect("15 round keys")
}

/// The inverse in GF(2^8), then an affine map.
static S_BOX: LazyLock<[u8; 256]> = LazyLock::new(|| {
    std::array::from_fn(|byte| {
        // x^254 is the inverse of x, and 0 of 0.
        let inverse = (0..254).fold(1, |product, _| times(product, byte as u8));
        (0..5).fold(0x63, |sum, turn| sum ^ inverse.rotate_left(turn))
    })
});

/// Multiplication in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1.
fn times(a: u8, b: u8) -> u8 {
    let mut product = 0;
    for bit in (0..8).rev() {
        let carry = product >> 7;
        product = (product << 1) ^ (carry * 0x1b);
        product ^= ((b >> bit) & 1) * a;
    }
    product
}

#[test]
fn round_keys_are_those_of_fips_197() {
    // Appendix A.3.
    let key = hex::decode("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    let rounds = round_keys(&key.unwrap().try_into().unwrap());
    assert_eq!(hex::encode(rounds[2]), "9ba354118e6925afa51a8b5f2067fcde");
    assert_eq!(hex::encode(rounds[14]), "fe4890d1e6188d0b046df344706c631e");
}

#[test]
fn a_records_own_key_opens_it() {
    use aes_gcm::Aes256Gcm;
    // The first vector of c2sp.org/XAES-256-GCM.
    let own = xaes_key(&[1; 32], b"ABCDEFGHIJKL");
    let sealed =
        Aes256Gcm::new((&own).into()).encrypt(b"MNOPQRSTUVWX".into(), &b"XAES-256-GCM"[..]);
    assert_eq!(
        hex::encode(sealed.unwrap()),
        "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"
    );
}

#[test]
fn midstates_are_those_of_sha_256() {
    // FIPS 180-2, appendix B.1: one block, so that its state is the hash.
    let mut block = [0; 64];
    block[..4].copy_from_slice(b"abc\x80");
    block[63] = 24;
    let hash = compressed(block).map(u32::to_be_bytes);
    assert_eq!(
        hex::encode(hash.as_flattened()),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}
