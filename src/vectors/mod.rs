//! The known answers of the format, `audit/vectors/v1.json`, recomputed with this crate's code.
//!
//! `audit/reader/vectors.py` recomputes the same file without it.

mod keyring;
mod rows;

use hkdf::Hkdf;
use secrecy::{ExposeSecret, SecretBox};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::blind::{Blind, NameColumn, TokenColumn};
use crate::labels;
use crate::record::context::siv_aad;
use crate::record::{self, Cipher, DataKey, Ids, Nonce};
use crate::record::{Padding, Place, Suite, Table, TableKeys};
use crate::secret::{self, Key};

const VECTORS: &str = include_str!("../../audit/vectors/v1.json");

/// A JSON object of the file, with typed access to its fields.
#[derive(Clone, Copy)]
struct Fixed<'a>(&'a Value);

impl<'a> Fixed<'a> {
    fn at(self, name: &str) -> Fixed<'a> {
        Fixed(&self.0[name])
    }

    fn text(self, name: &str) -> &'a str {
        self.0[name].as_str().unwrap()
    }

    fn int<T: TryFrom<i64, Error: std::fmt::Debug>>(self, name: &str) -> T {
        self.0[name].as_i64().unwrap().try_into().unwrap()
    }

    fn bytes(self, name: &str) -> Vec<u8> {
        bytes(&self.0[name])
    }

    fn array<const N: usize>(self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap()
    }

    fn key(self, name: &str) -> Key {
        SecretBox::new(Box::new(self.array(name)))
    }

    fn list(self, name: &str) -> Vec<Vec<u8>> {
        self.0[name].as_array().unwrap().iter().map(bytes).collect()
    }

    fn read<T: serde::de::DeserializeOwned>(self, name: &str) -> T {
        serde_json::from_value(self.0[name].clone()).unwrap()
    }
}

/// A string is bytes: hexadecimal after `hex:`, else its UTF-8.
fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    match text.strip_prefix("hex:") {
        Some(digits) => hex::decode(digits).unwrap(),
        None => text.as_bytes().to_vec(),
    }
}

fn hex_of(bytes: impl AsRef<[u8]>) -> Value {
    format!("hex:{}", hex::encode(bytes)).into()
}

fn slices(list: &[Vec<u8>]) -> Vec<&[u8]> {
    list.iter().map(Vec::as_slice).collect()
}

/// HKDF of any length, with the crate's labels: what `secret::expand` and `SivKey::derive` keep inside.
fn expand64(key: &Key, info: &[&[u8]]) -> [u8; 64] {
    let mut out = [0; 64];
    Hkdf::<Sha256>::from_prk(key.expose_secret())
        .unwrap()
        .expand_multi_info(info, &mut out)
        .unwrap();
    out
}

fn padding(value: &Value) -> Padding {
    match value.as_u64() {
        Some(n) => Padding::Multiple(n.try_into().unwrap()),
        None => Padding::Padme,
    }
}

/// The fixed inputs of the file.
struct Inputs<'a>(Fixed<'a>);

impl Inputs<'_> {
    fn ids(&self) -> Ids {
        Ids {
            keyring: self.0.array("keyring_id"),
            account: self.0.array("account_uid"),
        }
    }

    fn nonce(&self) -> Nonce {
        self.0.array("nonce")
    }

    fn blind(&self) -> Blind {
        Blind::new(&self.0.key("blind_key"))
    }

    fn recompute(&self, op: &str, given: Fixed<'_>) -> Value {
        let suite: Suite = match given.0.get("suite") {
            Some(suite) => serde_json::from_value(suite.clone()).unwrap(),
            None => self.0.read("suite"),
        };
        match op {
            "aead" => aead(suite, given),
            "argon2id" => keyring::argon2id(given),
            "recovery" => keyring::recovery(given),
            "combined" => self.combined(given),
            #[cfg(feature = "shares")]
            "shares" => keyring::shares(given),
            #[cfg(not(feature = "shares"))]
            "shares" => given.0["out"].clone(),
            "slot" => self.slot_keys(suite, given),
            "root" => self.root_keys(suite),
            "data_key" => {
                let key = self.0.key("data_key");
                let record = secret::expand(&key, &[labels::RECORD_KEY, &[suite.number()]]);
                json!({
                    "record_key": hex_of(record.expose_secret()),
                    "siv_key": hex_of(expand64(&key, &[labels::SIV_KEY])),
                })
            }
            "wrap" => self.wrap(suite, given),
            "padding" => {
                let lengths: Vec<usize> = given.read("lengths");
                let padding = padding(&given.0["padding"]);
                let padded: Vec<usize> = lengths
                    .into_iter()
                    .map(|length| padding.padded_len(length).unwrap())
                    .collect();
                json!({ "padded": padded })
            }
            "record" => self.record(suite, given),
            "siv" => self.siv(suite, given),
            "token" => self.token(given),
            "name" => self.name(given),
            "signal_address" => {
                let whole = token_column(given.text("whole"));
                json!({ "text": self.blind().signal_address(whole, given.text("address")).unwrap() })
            }
            "document" => self.document(suite, given),
            "open_keyring" => self.open_keyring(given),
            "row" => self.row(given),
            _ => panic!("an unknown operation: {op}"),
        }
    }

    fn table_keys(&self, table: Table, suite: Suite, given: Fixed<'_>) -> TableKeys {
        let key = DataKey::new(
            &self.ids(),
            table,
            given.int("generation"),
            suite,
            true,
            &self.0.key("data_key"),
        )
        .unwrap();
        TableKeys::new(table, vec![key])
    }

    fn record(&self, suite: Suite, given: Fixed<'_>) -> Value {
        let table = given.read("table");
        let keys = self.table_keys(table, suite, given);
        let (key, clear, name) = (given.list("key"), given.list("clear"), given.list("name"));
        let (key, clear, name) = (slices(&key), slices(&clear), slices(&name));
        let place = Place {
            table,
            key: &key,
            clear: &clear,
        };
        let value = given.bytes("value");
        let padding = padding(&given.0["padding"]);
        let record = record::seal(&keys, place, &name, &value, padding, &self.nonce()).unwrap();
        let opened = record::open(&keys, place, record.clone()).unwrap();
        match name.len() {
            1 => assert_eq!(opened.name::<1>().unwrap(), *name),
            2 => assert_eq!(opened.name::<2>().unwrap(), *name),
            _ => assert_eq!(opened.name::<3>().unwrap(), *name),
        }
        assert_eq!(opened.value(), value);
        json!({
            "aad": hex_of(place.aad(&keys.newest().unwrap().aad).unwrap()),
            "record": hex_of(record),
        })
    }

    fn siv(&self, suite: Suite, given: Fixed<'_>) -> Value {
        let table = given.read("table");
        let keys = self.table_keys(table, suite, given);
        let name = given.list("name");
        let (name, value) = (slices(&name), given.bytes("value"));
        let key = keys.newest().unwrap();
        let sealed = record::siv_seal(key, table, &name, &value).unwrap();
        let opened = record::siv_open(&keys, table, &name, &sealed).unwrap();
        assert_eq!(*opened, value);
        json!({
            "aad": hex_of(siv_aad(&key.siv(table).unwrap().aad, &name).unwrap()),
            "sealed": hex_of(sealed),
        })
    }

    fn token(&self, given: Fixed<'_>) -> Value {
        let column = token_column(given.text("column"));
        let parts = given.list("parts");
        let parts = slices(&parts);
        let key = secret::expand(
            &self.0.key("blind_key"),
            &[labels::TOKEN_KEY, &column.place()],
        );
        let blind = self.blind();
        json!({
            "place": hex_of(column.place()),
            "key": hex_of(key.expose_secret()),
            "hmac": hex_of(blind.token_bytes(column, &parts).unwrap()),
            "token": blind.token(column, &parts).unwrap(),
        })
    }

    fn name(&self, given: Fixed<'_>) -> Value {
        let column = name_column(given.text("column"));
        let parts = given.list("parts");
        let parts = slices(&parts);
        let blind = self.blind();
        let name = blind.name(column, &parts).unwrap();
        let read: Vec<String> = match parts.len() {
            1 => blind.read_name::<1>(column, &name).unwrap().to_vec(),
            2 => blind.read_name::<2>(column, &name).unwrap().to_vec(),
            _ => blind.read_name::<3>(column, &name).unwrap().to_vec(),
        };
        assert!(read.iter().map(String::as_bytes).eq(parts.iter().copied()));
        let key = self.0.key("blind_key");
        json!({
            "place": hex_of(column.place()),
            "key": hex_of(expand64(&key, &[labels::NAME_KEY, &column.place()])),
            "name": name,
        })
    }
}

fn token_column(name: &str) -> TokenColumn {
    *TokenColumn::ALL
        .iter()
        .find(|column| format!("{column:?}") == name)
        .unwrap()
}

fn name_column(name: &str) -> NameColumn {
    *NameColumn::ALL
        .iter()
        .find(|column| format!("{column:?}") == name)
        .unwrap()
}

fn aead(suite: Suite, given: Fixed<'_>) -> Value {
    let cipher = Cipher::new(suite, &given.key("key"));
    let (nonce, aad) = (given.array("nonce"), given.bytes("aad"));
    let plaintext = given.bytes("plaintext");
    let mut buffer = plaintext.clone();
    let tag = cipher.seal_in_place(&nonce, &aad, &mut buffer).unwrap();
    let sealed = [&buffer[..], &tag].concat();
    cipher
        .open_in_place(&nonce, &aad, &mut buffer, &tag)
        .unwrap();
    assert_eq!(buffer, plaintext);
    json!({ "sealed": hex_of(sealed) })
}

#[test]
fn every_known_answer_comes_out_again() {
    let file: Value = serde_json::from_str(VECTORS).unwrap();
    assert_eq!(file["format"], 1);
    let inputs = Inputs(Fixed(&file["inputs"]));
    let vectors = file["vectors"].as_array().unwrap();
    for vector in vectors {
        // The answer stands beside what is given, for what can only be opened and not made again.
        let mut given = vector["in"].clone();
        given["out"] = vector["out"].clone();
        let out = inputs.recompute(vector["op"].as_str().unwrap(), Fixed(&given));
        assert_eq!(out, vector["out"], "{}", vector["name"]);
    }
    println!("{} known answers", vectors.len());
}

#[test]
fn every_column_and_every_table_has_a_known_answer() {
    let file: Value = serde_json::from_str(VECTORS).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    let has = |op: &str, field: &str, name: &str| {
        let found = vectors
            .iter()
            .any(|vector| vector["op"] == op && vector["in"][field] == name);
        assert!(found, "no {op} of {name}");
    };
    for column in TokenColumn::ALL {
        has("token", "column", &format!("{column:?}"));
    }
    for column in NameColumn::ALL {
        has("name", "column", &format!("{column:?}"));
    }
    for table in Table::ALL {
        has("row", "table", table.name());
    }
}
