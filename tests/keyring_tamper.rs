//! Every bit of a keyring document matters: whoever can write the file, or a disk that forgets, gets
//! a typed error for every one of them, and never a panic or a keyring that opens as something else.
//!
//! By default a sample of the bits and lengths is tried, from a random start that is printed; with
//! `SEALED_STORE_LONG=1` in the environment every one of them, which takes about half an hour. Set
//! `SEALED_STORE_SEED` to a printed number to try the same sample again.

mod support;

use std::panic::AssertUnwindSafe;

use rusqlite::params;
use sealed_store::{Keyring, SealError, StoreFaultKind};
use support::{Shelf, join, raw, split};

const NAMES: [&str; 3] = ["keyring", "accounts", "account:1"];

fn long() -> bool {
    std::env::var_os("SEALED_STORE_LONG").is_some_and(|value| value == "1")
}

/// About `wanted` of the numbers below `end`, evenly spread from a random start; in the long form all
/// of them. The step is odd, so that every position within a byte comes up.
fn sample(end: usize, wanted: usize) -> impl Iterator<Item = usize> {
    let step = if long() { 1 } else { (end / wanted).max(1) | 1 };
    println!("step {step} of {end}");
    (support::seed() as usize % step..end).step_by(step)
}

/// Opens the keyring and then the document.
async fn verdict(shelf: &Shelf, name: &str) -> Result<(), SealError> {
    let keyring: Keyring = shelf.open(&raw(1)).await?;
    match name {
        "accounts" => keyring.accounts().await.map(drop),
        "account:1" => keyring.account("1").await.map(drop),
        _ => Ok(()),
    }
}

/// A keyring with an account on `shelf`; everything about it opens.
async fn filled(shelf: &Shelf) {
    let keyring = shelf.create(&raw(1)).await.unwrap();
    keyring.create_account("1").await.unwrap();
    drop(keyring);
    for name in NAMES {
        verdict(shelf, name).await.unwrap();
    }
}

/// Puts altered bytes there; the error that they give.
async fn altered(shelf: &Shelf, name: &str, bytes: &[u8], what: &str) -> SealError {
    let (revision, good) = shelf.document(name).await;
    assert_ne!(good, bytes, "{what}: not altered");
    shelf.set(name, revision, bytes).await;
    let result = verdict(shelf, name).await;
    shelf.set(name, revision, &good).await;
    match result {
        Ok(()) => panic!("{name}, {what}: it opened"),
        Err(error) => error,
    }
}

fn is_damage(error: &SealError) -> bool {
    matches!(error, SealError::CorruptKeyring { .. })
}

#[tokio::test]
async fn a_flipped_bit_is_damage() {
    for (shelf, wanted) in [(Shelf::backend(), 1_200), (Shelf::sqlite(), 120)] {
        filled(&shelf).await;
        for name in NAMES {
            let (_, good) = shelf.document(name).await;
            for bit in sample(good.len() * 8, wanted) {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let error = altered(&shelf, name, &bad, &format!("bit {bit}")).await;
                assert!(is_damage(&error), "{name}, bit {bit}: {error:?}");
            }
        }
        for name in NAMES {
            verdict(&shelf, name).await.unwrap();
        }
    }
}

/// The unkeyed checksum stops nobody: an attacker puts it right. Then the MAC does, or what is needed
/// before the MAC can be checked.
#[tokio::test]
async fn a_flipped_bit_under_a_right_checksum_does_not_open() {
    let shelf = Shelf::backend();
    filled(&shelf).await;
    for name in NAMES {
        let (_, good) = shelf.document(name).await;
        let text = String::from_utf8(good).unwrap();
        let (magic, json, mac) = split(&text);
        let head = format!("{magic}\n{json}");
        for bit in sample(head.len() * 8, 1_200) {
            let mut bad = head.clone().into_bytes();
            bad[bit / 8] ^= 1 << (bit % 8);
            let Ok(bad) = String::from_utf8(bad) else {
                // No text: damage, whatever the checksum.
                continue;
            };
            let Some((magic, json)) = bad.split_once('\n') else {
                continue;
            };
            let bad = join(magic, json, mac);
            let error = altered(&shelf, name, bad.as_bytes(), &format!("bit {bit}")).await;
            let right = match (name, &error) {
                (_, SealError::CorruptKeyring { .. } | SealError::UnsupportedVersion { .. }) => {
                    true
                }
                // Its slot: another number, kind, commitment, keyring id, or reference.
                ("keyring", SealError::WrongKey | SealError::ForeignRecipe) => true,
                // Its root's number.
                ("accounts" | "account:1", SealError::RootChanged) => true,
                _ => false,
            };
            assert!(right, "{name}, bit {bit}: {error:?}");
        }
    }
}

#[tokio::test]
async fn every_shorter_document_is_damage() {
    for (shelf, wanted) in [(Shelf::backend(), 400), (Shelf::sqlite(), 60)] {
        filled(&shelf).await;
        for name in NAMES {
            let (_, good) = shelf.document(name).await;
            let all = sample(good.len(), wanted).chain([0, 1, good.len() - 1, good.len() - 2]);
            for len in all {
                let what = format!("{len} bytes");
                let error = altered(&shelf, name, &good[..len], &what).await;
                assert!(is_damage(&error), "{name}, {what}: {error:?}");
                // And its end alone.
                if len > 0 {
                    let error = altered(&shelf, name, &good[len..], &what).await;
                    assert!(is_damage(&error), "{name}, from {what}: {error:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn anything_more_is_damage() {
    for shelf in Shelf::both() {
        filled(&shelf).await;
        for name in NAMES {
            let (_, good) = shelf.document(name).await;
            let text = String::from_utf8(good.clone()).unwrap();
            let (magic, json, mac) = split(&text);
            let (content, _) = text.rsplit_once("\nhmac-sha256 ").unwrap();
            let (_, sha) = content.rsplit_once('\n').unwrap();
            let mut cases: Vec<Vec<u8>> = Vec::new();
            for more in [b"\n".as_slice(), b"\0", b" ", b"\r\n", b"x", b"\xff", &good] {
                cases.push([&good, more].concat());
                cases.push([more, &good].concat());
            }
            for text in [
                // Lines twice, in another order, or of another form.
                format!("{text}{mac}"),
                format!("{content}\n{sha}\n{mac}"),
                format!("{magic}\n{text}"),
                format!("{magic}\n{json}\n{mac}{sha}\n"),
                format!("{magic}\n{json}\n{mac}"),
                format!("{magic}\n{json}\n{sha}\n"),
                text.replace('\n', "\r\n"),
                text.replace(sha, &sha.to_uppercase()),
                format!("\u{feff}{text}"),
                text.replace("hmac-sha256 ", "hmac-sha256  "),
            ] {
                cases.push(text.into_bytes());
            }
            for bad in cases {
                let shown =
                    String::from_utf8_lossy(&bad[bad.len().saturating_sub(160)..]).into_owned();
                let error = altered(&shelf, name, &bad, &shown).await;
                assert!(is_damage(&error), "{name}, {shown}: {error:?}");
            }
            // Larger than any document: not even looked at.
            let large = join(magic, &format!("{json}{}", " ".repeat(4 << 20)), mac);
            let error = altered(&shelf, name, large.as_bytes(), "4 MiB").await;
            let SealError::CorruptKeyring { what } = error else {
                panic!("{name}: {error:?}");
            };
            assert!(what.contains("larger"), "{name}: {what}");
        }
    }
}

/// A MAC over the bytes, not over their meaning: the same JSON in another form is another document.
#[tokio::test]
async fn the_same_body_in_another_form_is_damage() {
    for shelf in Shelf::both() {
        filled(&shelf).await;
        for name in NAMES {
            let (revision, good) = shelf.document(name).await;
            let text = String::from_utf8(good).unwrap();
            let (magic, json, mac) = split(&text);
            let body: serde_json::Value = serde_json::from_str(json).unwrap();
            // `serde_json` sorts: another order than the one that is written.
            let sorted = serde_json::to_string_pretty(&body).unwrap();
            assert_ne!(sorted, json);
            let opened = json.strip_prefix('{').unwrap();
            let closed = json.strip_suffix("\n}").unwrap();
            let nested = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
            let forms = [
                sorted,
                serde_json::to_string(&body).unwrap(),
                format!(" {json}"),
                format!("{json}\n"),
                format!("{json} {json}"),
                json.replace("  ", "\t"),
                // Fields that are unknown, or there twice (first and last).
                format!("{closed},\n  \"more\": 1\n}}"),
                format!("{{ \"more\": null,{opened}"),
                format!("{closed},\n  \"revision\": {revision}\n}}"),
                format!("{{ \"revision\": {revision},{opened}"),
                format!("{closed},\n  \"root\": 1\n}}"),
                // Numbers in another spelling, or out of range.
                json.replace(
                    &format!("\"revision\": {revision}"),
                    &format!("\"revision\": {revision}.0"),
                ),
                json.replace(
                    &format!("\"revision\": {revision}"),
                    "\"revision\": 18446744073709551616",
                ),
                json.replace(&format!("\"revision\": {revision}"), "\"revision\": -1"),
                // No body at all, or one that recurses.
                String::new(),
                "null".into(),
                "[]".into(),
                "{}".into(),
                format!("{closed},\n  \"more\": {nested}\n}}"),
                nested,
            ];
            for form in forms {
                let bad = join(magic, &form, mac);
                let what: String = form.chars().take(80).collect();
                let error = altered(&shelf, name, bad.as_bytes(), &what).await;
                assert!(is_damage(&error), "{name}, {what}: {error:?}");
            }
        }
    }
}

/// What an attacker would like to write: each with the checksum put right.
#[tokio::test]
async fn an_edited_field_does_not_open() {
    type Edit = (&'static str, fn(&mut serde_json::Value));
    let edits: &[Edit] = &[
        ("keyring", |body| body["revision"] = 9.into()),
        ("keyring", |body| body["root"] = 2.into()),
        ("keyring", |body| body["next_slot"] = 1.into()),
        ("keyring", |body| {
            body["suite"] = "xchacha20-poly1305".into();
        }),
        ("keyring", |body| body["slots"] = serde_json::json!([])),
        ("keyring", |body| {
            let slot = body["slots"][0].clone();
            body["slots"] = vec![slot; 17].into();
        }),
        ("keyring", |body| {
            // A second slot of somebody else's.
            let mut slot = body["slots"][0].clone();
            slot["slot"] = 2.into();
            body["slots"].as_array_mut().unwrap().push(slot);
        }),
        ("keyring", |body| {
            body["slots"][0]["label"] = "changed".into();
        }),
        ("keyring", |body| body["slots"][0]["created"] = 0.into()),
        ("keyring", |body| {
            body["previous_root"] = serde_json::json!({ "root": 0, "wrapped": "01".repeat(74) });
        }),
        ("accounts", |body| body["names"] = serde_json::json!([])),
        ("accounts", |body| {
            body["names"] = serde_json::json!(["1", "2"]);
        }),
        ("account:1", |body| body["state"] = "live".into()),
        ("account:1", |body| body["state"] = "shredded".into()),
        ("account:1", |body| body["uid"] = "00".repeat(16).into()),
        ("account:1", |body| {
            body["store_id"] = "00".repeat(16).into()
        }),
        ("account:1", |body| body["name"] = "2".into()),
        ("account:1", |body| {
            body["keys"][0]["wrapped"] = serde_json::Value::Null;
        }),
        ("account:1", |body| {
            // One table's key in the place of another's.
            body["keys"][1]["wrapped"] = body["keys"][2]["wrapped"].clone();
        }),
        ("account:1", |body| {
            body["keys"].as_array_mut().unwrap().pop();
        }),
        ("account:1", |body| body["keys"][1]["generation"] = 2.into()),
        ("account:1", |body| {
            body["keys"][1]["state"] = "retained".into()
        }),
    ];
    for shelf in Shelf::both() {
        filled(&shelf).await;
        for (number, (name, edit)) in edits.iter().enumerate() {
            let (revision, good) = shelf.document(name).await;
            shelf.edit(name, edit).await;
            let error = verdict(&shelf, name).await.expect_err("it opened");
            assert!(is_damage(&error), "edit {number} of {name}: {error:?}");
            shelf.set(name, revision, &good).await;
        }
    }
}

/// Material that the slot's own provider has no say about, for another slot opens: the document's MAC covers it. Of the slot
/// that opens, a provider that has none says so first.
#[tokio::test]
async fn edited_material_does_not_open() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&raw(1)).await.unwrap();
        keyring.add_slot("second", &raw(2)).await.unwrap();
        drop(keyring);
        verdict(&shelf, "keyring").await.unwrap();
        let (revision, good) = shelf.document("keyring").await;
        for slot in [0, 1] {
            shelf
                .edit("keyring", |body| {
                    body["slots"][slot]["recipe"]["material"]["more"] = "".into();
                })
                .await;
            let error = verdict(&shelf, "keyring").await.expect_err("it opened");
            let of_material = matches!(&error, SealError::Provider(error)
                if error.kind() == sealed_store::ProviderErrorKind::Corrupt);
            assert_eq!(
                (is_damage(&error), of_material),
                (slot == 1, slot == 0),
                "slot {slot}: {error:?}"
            );
            shelf.set("keyring", revision, &good).await;
        }
    }
}

/// The row around a document: another type, an impossible revision.
#[tokio::test]
async fn a_row_that_no_keyring_writes_is_damage() {
    let shelf = Shelf::sqlite();
    filled(&shelf).await;
    for name in NAMES {
        let (revision, good) = shelf.document(name).await;
        let change = |set: &str| {
            let connection = shelf.raw_connection();
            connection
                .pragma_update(None, "ignore_check_constraints", true)
                .unwrap();
            connection
                .execute(
                    &format!("UPDATE sealed_store_keyring SET {set} WHERE name = ?1"),
                    [name],
                )
                .unwrap();
        };
        for set in [
            "revision = 0",
            "revision = -1",
            "revision = -9223372036854775808",
            "revision = 9223372036854775807",
            "revision = 'one'",
            "revision = 1.5",
            "document = CAST(document AS TEXT)",
            "document = 1",
            "document = zeroblob(100)",
            "document = x''",
        ] {
            change(set);
            let error = verdict(&shelf, name).await.expect_err("it opened");
            let right = is_damage(&error)
                || matches!(&error, SealError::Keyring(fault) if fault.kind() == StoreFaultKind::Corrupt);
            assert!(right, "{name}, {set}: {error:?}");
            assert!(!error.is_retryable(), "{name}, {set}: {error:?}");
            shelf
                .raw_connection()
                .execute(
                    "UPDATE sealed_store_keyring SET revision = ?2, document = ?3 WHERE name = ?1",
                    params![name, revision.cast_signed(), good],
                )
                .unwrap();
        }
        verdict(&shelf, name).await.unwrap();
    }
}

/// The whole file, as a disk that forgets would leave it. What opens is the keyring as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_never_panics_and_never_opens_as_something_else() {
    let shelf = Shelf::sqlite();
    filled(&shelf).await;
    let id = shelf.open(&raw(1)).await.unwrap().id();
    let file = std::fs::read(shelf.path()).unwrap();
    let mut refusals = 0;
    let mut cases: Vec<Vec<u8>> = sample(file.len() * 8, 120)
        .map(|bit| {
            let mut bad = file.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            bad
        })
        .collect();
    let ends: Vec<usize> = (0..file.len())
        .step_by(if long() { 64 } else { 1_024 })
        .collect();
    cases.extend(ends.iter().map(|end| file[..*end].to_vec()));
    for bad in &cases {
        std::fs::write(shelf.path(), bad).unwrap();
        let opened = tokio::spawn({
            let store = shelf.store();
            async move {
                let keyring = Keyring::open(store, &raw(1)).await?;
                let account = keyring.account("1").await?;
                Ok::<_, SealError>((keyring.id(), account.uid()))
            }
        });
        match AssertUnwindSafe(opened).await.expect("it panicked") {
            Ok((found, _)) => assert_eq!(found, id),
            Err(error) => {
                refusals += 1;
                assert!(
                    matches!(
                        error,
                        SealError::CorruptKeyring { .. }
                            | SealError::Keyring(_)
                            | SealError::NoKeyring
                            | SealError::UnknownAccount
                    ),
                    "{error:?}"
                );
            }
        }
        for leftover in ["-wal", "-shm", "-journal"] {
            let mut path = shelf.path().into_os_string();
            path.push(leftover);
            let _ = std::fs::remove_file(path);
        }
    }
    println!("{refusals} of {} damaged files were refused", cases.len());
    assert!(refusals > 0);
    std::fs::write(shelf.path(), &file).unwrap();
    verdict(&shelf, "account:1").await.unwrap();
}
