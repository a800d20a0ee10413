use super::*;

fn refused(uri: &str, credentials: &ProviderCredentials) -> ProviderError {
    let error = provider_from_uri(uri, credentials).err().expect(uri);
    assert_eq!(error.kind(), ProviderErrorKind::BadRequest, "{uri}");
    error
}

#[test]
fn an_unknown_scheme_is_told_the_known_ones() {
    let none = ProviderCredentials::new();
    for uri in [
        "",
        ":",
        "awskms",
        "AWSKMS:x",
        "https://vault",
        " vault:x",
        "vault",
    ] {
        let error = refused(uri, &none);
        let scheme = uri.split(':').next().unwrap_or_default();
        if !SCHEMES.iter().any(|(known, ..)| *known == scheme) {
            for (known, ..) in SCHEMES {
                assert!(error.to_string().contains(&format!(" {known}:")), "{error}");
            }
        }
    }
    refused(&format!("vault:{}", "x".repeat(LONGEST)), &none);
    refused("vault:https://host\n/transit/keys/name", &none);
}

#[test]
fn a_scheme_that_was_not_built_in_is_told_its_feature() {
    for (scheme, feature, built_in) in SCHEMES {
        // No provider takes this, whatever its scheme.
        let error = refused(&format!("{scheme}:\u{7f}"), &ProviderCredentials::new());
        assert!(!error.to_string().is_empty());
        if !built_in {
            let error = refused(&format!("{scheme}:x"), &ProviderCredentials::new());
            assert!(
                error.to_string().contains(&format!("`{feature}`")),
                "{error}"
            );
        }
    }
}

#[test]
fn a_credential_that_is_of_no_use_is_refused() {
    for (taken, pin, token) in [
        (&["pin"][..], true, false),
        (&["token"], false, true),
        (&[], false, false),
    ] {
        let with_pin = ProviderCredentials::new().pin("1234");
        let with_token = ProviderCredentials::new().token("t");
        assert_eq!(with_pin.check_taken(taken).is_ok(), pin);
        assert_eq!(with_token.check_taken(taken).is_ok(), token);
        assert!(ProviderCredentials::new().check_taken(taken).is_ok());
    }
}

#[test]
fn a_person_is_asked_once_and_has_time() {
    let ours = Patience::new().tries(7);
    let given = ProviderCredentials::new().patience(ours);
    assert_eq!(given.patience_for("keychain"), ours);
    let none = ProviderCredentials::new();
    assert_eq!(none.patience_for("vault"), Patience::new());
    assert_ne!(none.patience_for("keychain"), Patience::new());
}
