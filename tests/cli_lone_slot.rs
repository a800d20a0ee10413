//! A store whose only slot is in a keychain is lost with the desktop, so it is made only for who says that they know.

mod cli;

use cli::{Desk, ran};

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
