use super::*;

const MODULE: &str = "module-path=/usr/lib/token.so";

fn parsed(uri: &str) -> Uri {
    Uri::parse(uri).unwrap_or_else(|error| panic!("{uri}: {error}"))
}

#[test]
fn a_uri_says_which_token_which_key_and_what_is_needed_to_reach_it() {
    let uri = parsed(
        "pkcs11:token=The%20Token;serial=de%C3%A9;manufacturer=Acme;model=v2;object=kek%3b1;id=%01%aB;type=secret-key\
         ?pin-source=file:/etc/pin%20file&module-path=/usr/lib/token.so",
    );
    assert_eq!(
        uri,
        Uri {
            token: Some("The Token".into()),
            serial: Some("deé".into()),
            manufacturer: Some("Acme".into()),
            model: Some("v2".into()),
            object: Some("kek;1".into()),
            id: Some(vec![1, 0xab]),
            module: "/usr/lib/token.so".into(),
            pin_source: Some("/etc/pin file".into()),
        }
    );
    let reference = uri.reference();
    assert_eq!(reference["id"], "01ab");
    assert_eq!(reference["object"], "kek;1");
    assert_eq!(reference.len(), 6);
    assert!(!reference.values().any(|value| value.contains('/')));

    let uri = parsed(&format!(
        "pkcs11:serial=1;id=A%42?{MODULE}&pin-source=file:///run/pin"
    ));
    assert_eq!(uri.id, Some(b"AB".to_vec()));
    assert_eq!(uri.pin_source, Some("/run/pin".into()));
}

#[test]
fn a_uri_with_a_pin_or_anything_odd_is_refused() {
    let good = "pkcs11:token=t;object=k?module-path=/m";
    parsed(good);
    for odd in [
        "",
        "pkcs11",
        "pkcs11:",
        "PKCS11:token=t;object=k?module-path=/m",
        // The PIN itself, in either half.
        "pkcs11:token=t;object=k?module-path=/m&pin-value=1234",
        "pkcs11:token=t;object=k;pin-value=1234?module-path=/m",
        // A command, a path that is not absolute, another scheme.
        "pkcs11:token=t;object=k?module-path=/m&pin-source=%7C/bin/pin",
        "pkcs11:token=t;object=k?module-path=/m&pin-source=|/bin/pin",
        "pkcs11:token=t;object=k?module-path=/m&pin-source=/etc/pin",
        "pkcs11:token=t;object=k?module-path=/m&pin-source=file:pin",
        "pkcs11:token=t;object=k?module-path=/m&pin-source=file://host/pin",
        "pkcs11:token=t;object=k?module-path=/m&pin-source=https://host/pin",
        "pkcs11:token=t;object=k?module-path=m.so",
        "pkcs11:token=t;object=k?module-name=m",
        "pkcs11:token=t;object=k?module-path=",
        "pkcs11:token=t;object=k?module-path=/m%00",
        // Something missing.
        "pkcs11:token=t;object=k",
        "pkcs11:token=t?module-path=/m",
        "pkcs11:object=k?module-path=/m",
        "pkcs11:model=v2;object=k?module-path=/m",
        // Twice, empty, unknown.
        "pkcs11:token=t;token=u;object=k?module-path=/m",
        "pkcs11:token=t;object=k?module-path=/m&module-path=/n",
        "pkcs11:token=t;;object=k?module-path=/m",
        "pkcs11:token=;object=k?module-path=/m",
        "pkcs11:token=t;id=?module-path=/m",
        "pkcs11:token=t;object=k;type=private?module-path=/m",
        "pkcs11:token=t;object=k;slot-id=1?module-path=/m",
        "pkcs11:token=t;object=k;library-version=1?module-path=/m",
        "pkcs11:token=t;object=k;x-vendor=1?module-path=/m",
        // Bad encoding.
        "pkcs11:token=a b;object=k?module-path=/m",
        "pkcs11:token=é;object=k?module-path=/m",
        "pkcs11:token=%;object=k?module-path=/m",
        "pkcs11:token=%1;object=k?module-path=/m",
        "pkcs11:token=%1g;object=k?module-path=/m",
        "pkcs11:token=%ff;object=k?module-path=/m",
        "pkcs11:token=t;object=k?module-path=/m#f",
        "pkcs11:token=t;object=k?module-path=/m?x",
    ] {
        let error = Uri::parse(odd).expect_err(odd);
        assert_eq!(error.kind(), ProviderErrorKind::BadRequest, "{odd}");
        assert!(!error.to_string().contains("1234"));
    }
    let long = format!(
        "pkcs11:token={};object=k?module-path=/m",
        "t".repeat(LONGEST)
    );
    Uri::parse(&long).unwrap_err();
    let id = |len: usize| format!("pkcs11:token=t;id={}?module-path=/m", "i".repeat(len));
    parsed(&id(LONGEST_ID));
    Uri::parse(&id(LONGEST_ID + 1)).unwrap_err();
}
