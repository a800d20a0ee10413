//! Providers at the command line: by a URI wherever a secret is given, and a way on where one is lost.

mod cli;

use cli::Desk;

#[test]
fn a_provider_that_can_not_be_is_told_before_anything_is_done() {
    let desk = Desk::with_store();
    for uri in ["nosuch:x", "https://vault.example", "", "awskms"] {
        for arguments in [
            &["status", "w.db", "--provider", uri][..],
            &["init", "new.db", "--provider", uri],
            &["check", "w.db", "--provider", uri],
            &["provider", "probe", uri],
            &["provider", "probe", uri, "--try", "--json"],
        ] {
            desk.run(arguments).ends(2);
        }
        desk.open(&["key", "add", "w.db", "--new-provider", uri])
            .ends(2);
    }
    desk.run(&["provider", "probe", "nosuch:x"])
        .ends(2)
        .says("awskms:");
    assert!(!desk.path("new.db").exists());
    assert_eq!(desk.slots("w.db"), [1]);
}

#[test]
fn a_provider_is_one_source_and_its_pin_goes_with_it() {
    let desk = Desk::with_store();
    let both = [
        "status",
        "w.db",
        "--provider",
        "keychain:x",
        "--passphrase-file",
        "secret",
    ];
    desk.run(&both).ends(2).says("cannot be used with");
    desk.run(&["status", "w.db", "--pin-file", "secret"])
        .ends(2)
        .says("--provider");
    let stretched = [
        "key",
        "add",
        "w.db",
        "--new-provider",
        "keychain:x",
        "--kdf-ms",
        "1",
    ];
    desk.open(&stretched).ends(2).says("leave out --kdf-ms");
    // A PIN for a provider that has none.
    let pin = [
        "status",
        "w.db",
        "--provider",
        "keychain:x",
        "--pin-file",
        "secret",
    ];
    desk.run(&pin).ends(2).says("no use for the PIN");
    let kept = [
        "reencrypt",
        "w.db",
        "--root",
        "--keep",
        "1=provider:nosuch:x",
    ];
    desk.open(&kept).ends(2).says("awskms:");
}

#[test]
fn where_nothing_opens_the_slots_are_named_with_what_opens_them() {
    let desk = Desk::with_store();
    desk.file("key", &[9; 32]);
    desk.open(&[
        "key",
        "add",
        "w.db",
        "--label",
        "machine",
        "--new-key-file",
        "key",
    ])
    .ends(0);
    desk.open(&[
        "key",
        "recovery",
        "w.db",
        "--label",
        "paper",
        "--code-file",
        "code",
    ])
    .ends(0);
    desk.file("lost", &[8; 32]);
    for verb in [
        &["status"][..],
        &["check"],
        &["decrypt", "--yes"],
        &["reencrypt"],
        &["shred", "--all", "--yes"],
        &["key", "list"],
    ] {
        desk.run(&[verb, &["w.db", "--key-file", "lost"]].concat())
            .ends(12)
            .says("1 first (passphrase: --passphrase-file")
            .says("2 machine (raw-key: --key-file)")
            .says("3 paper (recovery: --recovery-code-file");
    }
    // Nothing of it where something else was wrong.
    let ran = desk
        .run(&["status", "nowhere.db", "--key-file", "lost"])
        .ends(10);
    assert!(!ran.stderr.contains("slots"));
}
