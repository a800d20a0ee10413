//! The cost of a passphrase slot is written in the file, and whoever can write the file can write
//! 4 GiB there: the cost is checked before anything is allocated or computed. Peers ran out of memory
//! on such a file, or wrapped a huge work factor round to almost none.
//!
//! One test, in a process of its own, because what it measures belongs to the whole process: the peak
//! of its address space. No derivation runs before the last step, so that no freed memory hides one.
#![cfg(target_os = "linux")]

mod support;

use std::time::Duration;

use sealed_store::{DEFAULT_KDF_CEILING, KdfCost, Passphrase, SealError};
use serde_json::{Value, json};
use support::{Shelf, passphrase, raw, refused};

/// A field of `/proc/self/status`, in KiB.
fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with(field))
        .unwrap_or_else(|| panic!("no {field} in /proc/self/status"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Takes up address space until the next larger allocation must raise the process's peak.
fn fill_up_to_the_peak() -> Vec<Vec<u8>> {
    let mut ballast = Vec::new();
    while status("VmPeak:") - status("VmSize:") > 128 {
        ballast.push(Vec::with_capacity(64 * 1024));
        assert!(ballast.len() < 100_000, "the address space does not grow");
    }
    ballast
}

fn good_material() -> Value {
    json!({
        "algorithm": "argon2id", "version": "19", "m_kib": "19456", "passes": "2", "lanes": "1",
        "salt": "000102030405060708090a0b0c0d0e0f",
    })
}

enum Expect {
    Parameter(&'static str),
    Excessive(u64),
}
use Expect::{Excessive, Parameter};

/// Every hostile recipe: what is changed in a good one, and what it gets.
fn hostile() -> Vec<(Value, Expect)> {
    let mut cases = Vec::new();
    let mut case = |changes: Value, expect| cases.push((changes, expect));
    for m_kib in ["4194304", "1048577", "4294967295", "4294967296", "7", "0"] {
        case(json!({ "m_kib": m_kib }), Parameter("m_kib"));
    }
    for passes in ["4294967295", "4294967296", "65", "0"] {
        case(json!({ "passes": passes }), Parameter("passes"));
        // With next to no memory, so that only time would tell.
        case(
            json!({ "m_kib": "8", "passes": passes }),
            Parameter("passes"),
        );
    }
    for lanes in ["1000", "17", "0", "4294967295", "16777216"] {
        case(json!({ "lanes": lanes }), Parameter("lanes"));
    }
    // Argon2 needs 8 KiB a lane.
    case(json!({ "m_kib": "127", "lanes": "16" }), Parameter("m_kib"));
    // No other spelling of a number than the one that is written.
    let spellings = [
        "-1",
        "+19456",
        "019456",
        "00",
        " 2",
        "2 ",
        "2\n",
        "1e3",
        "0x10",
        "2.0",
        "",
        "two",
        "٢",
        "2\u{0}",
        "99999999999999999999999999",
    ];
    for parameter in ["m_kib", "passes", "lanes"] {
        for spelling in spellings {
            case(json!({ parameter: spelling }), Parameter(parameter));
        }
    }
    // Each within its bounds, and too much together.
    for (m_kib, passes) in [(1_048_576u64, 64u64), (1_048_576, 5), (65_537, 64)] {
        case(
            json!({ "m_kib": m_kib.to_string(), "passes": passes.to_string() }),
            Excessive(m_kib * passes),
        );
    }
    for salt in [
        "",
        "00",
        "000102030405060708090a0b0c0d0e",
        "000102030405060708090a0b0c0d0e0f10",
        "000102030405060708090a0b0c0d0e0",
        "000102030405060708090A0B0C0D0E0F",
        "zz0102030405060708090a0b0c0d0e0f",
    ] {
        case(json!({ "salt": salt }), Parameter("salt"));
    }
    for (field, values) in [
        ("algorithm", ["argon2i", "argon2d", "ARGON2ID", ""]),
        ("version", ["16", "0", "20", "0x13"]),
    ] {
        for value in values {
            case(json!({ field: value }), Parameter("version"));
        }
    }
    // Missing or additional fields.
    for field in ["algorithm", "version", "m_kib", "passes", "lanes", "salt"] {
        case(json!({ field: null }), Parameter("version"));
    }
    case(json!({ "threads": "1" }), Parameter("version"));
    cases
}

fn changed(changes: &Value) -> Value {
    let mut material = good_material();
    for (field, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(material.as_object_mut().unwrap().remove(field)),
            value => material[field] = value.clone(),
        }
    }
    material
}

#[test]
fn a_hostile_cost_is_refused_before_anything_is_allocated() {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            tokio::time::timeout(Duration::from_secs(120), work())
                .await
                .expect("a hostile cost was worked on");
        });
}

async fn work() {
    // No thread of its own and no derivation: a keyring in memory, under a raw key.
    let shelf = Shelf::backend();
    let keyring = shelf.create(&raw(1)).await.unwrap();
    keyring.lock();
    let set = async |material: Value| {
        shelf
            .edit("keyring", |body| {
                body["slots"][0]["kind"] = "passphrase".into();
                body["slots"][0]["recipe"]["material"] = material;
            })
            .await;
    };
    let provider = passphrase("any").ceiling(DEFAULT_KDF_CEILING);
    let cases = hostile();

    let ballast = fill_up_to_the_peak();
    let before = status("VmPeak:");
    for (changes, expect) in &cases {
        set(changed(changes)).await;
        for error in [
            refused(shelf.open(&provider).await),
            refused(keyring.unlock(&provider).await),
        ] {
            match (&error, expect) {
                (SealError::KdfOutOfBounds { parameter }, Parameter(expected)) => {
                    assert_eq!(parameter, expected, "{changes}");
                }
                (SealError::ExcessiveKdfCost { needed, allowed }, Excessive(expected)) => {
                    assert_eq!((*needed, *allowed), (*expected, DEFAULT_KDF_CEILING));
                }
                _ => panic!("{changes}: {error:?}"),
            }
        }
    }
    // Numbers instead of texts are another shape.
    for changes in [json!({ "m_kib": 19456 }), json!({ "passes": [2] })] {
        set(changed(&changes)).await;
        let error = refused(shelf.open(&provider).await);
        assert!(
            matches!(error, SealError::CorruptKeyring { .. }),
            "{changes}: {error:?}"
        );
    }
    // The caller's own ceiling, one KiB pass too low.
    set(good_material()).await;
    let floor = KdfCost::FLOOR.kib_passes();
    let error = refused(shelf.open(&passphrase("any").ceiling(floor - 1)).await);
    assert!(
        matches!(error, SealError::ExcessiveKdfCost { needed, allowed } if needed == floor && allowed == floor - 1),
        "{error:?}"
    );
    // New slots: nothing under the floor, nothing over the bounds or the ceiling.
    for (m_kib, passes, lanes, parameter) in [
        (19_455, 2, 1, "m_kib"),
        (1_048_577, 2, 1, "m_kib"),
        (u32::MAX, u32::MAX, u32::MAX, "m_kib"),
        (19_456, 1, 1, "passes"),
        (19_456, 65, 1, "passes"),
        (19_456, 2, 0, "lanes"),
        (19_456, 2, 17, "lanes"),
    ] {
        let cost = KdfCost {
            m_kib,
            passes,
            lanes,
        };
        let weak = Passphrase::new("any").cost(cost).ceiling(u64::MAX);
        let error = refused(Shelf::backend().create(&weak).await);
        assert!(
            matches!(error, SealError::KdfOutOfBounds { parameter: p } if p == parameter),
            "{cost:?}: {error:?}"
        );
    }
    let above = passphrase("any").ceiling(floor - 1);
    assert!(matches!(
        refused(Shelf::backend().create(&above).await),
        SealError::ExcessiveKdfCost { .. }
    ));
    let grown = status("VmPeak:") - before;
    assert!(
        grown < 1024,
        "the refusals raised the peak by {grown} KiB: something was allocated first"
    );
    drop(ballast);

    // The control: what is within the bounds is worked on, and the measurement sees it.
    let ballast = fill_up_to_the_peak();
    let before = status("VmPeak:");
    let error = refused(shelf.open(&passphrase("any").ceiling(floor)).await);
    assert!(matches!(error, SealError::WrongKey), "{error:?}");
    let grown = status("VmPeak:") - before;
    assert!(
        grown >= u64::from(KdfCost::FLOOR.m_kib),
        "a derivation raised the peak by {grown} KiB only: the measurement sees nothing"
    );
    drop(ballast);
    println!("{} hostile recipes refused", cases.len());
}
