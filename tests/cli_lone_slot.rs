//! A store whose only slot is in a keychain is lost with the desktop, so it is made only for who says that they know.

mod cli;
#[cfg(feature = "tpm2")]
#[path = "common/services.rs"]
mod services;
#[cfg(feature = "tpm2")]
#[path = "common/swtpm.rs"]
mod swtpm;

use cli::{Desk, ran};
use sealed_store::store::sqlite::SqliteStore;
#[cfg(feature = "tpm2")]
use swtpm::Swtpm;
use wacore::store::traits::{DeviceStore, SignalStore};

#[test]
fn a_keychain_alone_needs_consent_and_is_not_asked_before_it() {
    let desk = Desk::new();
    let init = ["init", "w.db", "--provider", "keychain:sealed-store-test"];
    desk.run(&init).ends(1).says("--i-understand");
    assert!(!desk.path("w.db").exists());
    // With it the keychain is asked: there is none on this bus.
    let mut consented = desk.command(&[&init[..], &["--i-understand"]].concat());
    ran(consented.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")).ends(16);
    // It made no keyring: another first slot can still be made.
    desk.open(&["init", "w.db", "--kdf-ms", "1"]).ends(0);
    assert_eq!(desk.slots("w.db"), [1]);
}

/// Whatever is done to the slots: with consent it is done, without it nothing is.
#[cfg(feature = "tpm2")]
#[test]
fn no_verb_leaves_a_tpm_alone_without_consent() {
    let (desk, tpm) = (Desk::with_store(), Swtpm::start());
    let uri = tpm.uri();
    desk.open(&["key", "add", "w.db", "--new-provider", &uri])
        .ends(0);
    let kept = format!("2=provider:{uri}");
    let verbs: [&[&str]; 5] = [
        &["key", "remove", "w.db", "1", "--yes"],
        &["key", "passwd", "w.db", "--new-provider", &uri],
        &[
            "key",
            "migrate",
            "w.db",
            "--new-provider",
            &uri,
            "--keep",
            &kept,
        ],
        &[
            "reencrypt",
            "w.db",
            "--root",
            "--drop",
            "1",
            "--keep",
            &kept,
        ],
        &[
            "reencrypt",
            "w.db",
            "--full",
            "--drop",
            "1",
            "--keep",
            &kept,
        ],
    ];
    let before = desk.document("w.db", "keyring");
    for verb in verbs {
        let ran = desk.open(verb).ends(1).says("slot");
        assert!(
            ran.stderr.contains("--i-understand") || verb.contains(&"--full"),
            "{}",
            ran.stderr
        );
        assert_eq!(desk.document("w.db", "keyring"), before, "{verb:?}");
    }
    let migrate = [
        "key",
        "migrate",
        "w.db",
        "--new-provider",
        &uri,
        "--drop",
        "2",
    ];
    desk.open(&[&migrate[..], &["--i-understand"]].concat())
        .ends(0);
    desk.run(&["status", "w.db", "--provider", &uri]).ends(0);
    // And away from the machine again.
    desk.file("key", &[9; 32]);
    let away = [
        "key",
        "migrate",
        "w.db",
        "--provider",
        &uri,
        "--new-key-file",
        "key",
    ];
    desk.run(&away).ends(0);
    drop(tpm);
    desk.run(&["status", "w.db", "--key-file", "key"]).ends(0);
}

#[test]
fn a_store_is_not_encrypted_for_a_keychain_alone_without_consent() {
    let desk = Desk::new();
    let made = async {
        let store = SqliteStore::open(desk.path("w.db")).await.unwrap();
        store.create().await.unwrap();
        store.put_session("a@s", b"ratchet").await.unwrap();
        store.close().await.unwrap();
    };
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(made);
    let before = std::fs::read(desk.path("w.db")).unwrap();
    desk.run(&[
        "encrypt",
        "w.db",
        "--provider",
        "keychain:sealed-store-test",
    ])
    .ends(1)
    .says("--i-understand");
    assert_eq!(std::fs::read(desk.path("w.db")).unwrap(), before);
}
