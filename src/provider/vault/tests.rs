use data_encoding::BASE64;

use super::transit::is_ciphertext;
use super::*;

#[test]
fn a_uri_names_a_key_at_a_server() {
    let vault = |uri: &str| Vault::from_uri(uri).map_err(|error| format!("{uri}: {error}"));
    let parsed =
        vault("vault:https://vault.example:8200/a/b/keys/my-key.1?namespace=%2Fx%2Fy%2F").unwrap();
    assert_eq!(
        parsed.reference(),
        Fields::from([
            ("key".to_owned(), "a/b/keys/my-key.1".to_owned()),
            ("namespace".to_owned(), "x/y".to_owned()),
        ])
    );
    // A mount may be named as what is below it.
    let parsed = vault("vault:https://vault/keys/keys/k").unwrap();
    assert_eq!(parsed.inner.place.path("decrypt"), "keys/decrypt/k");
    for good in [
        "vault:https://[2001:db8::1]:8200/transit/keys/k",
        "vault:http://127.0.0.1:8200/transit/keys/k",
        "vault:http://127.8.9.1/transit/keys/k",
        "vault:http://[::1]:8200/transit/keys/k",
        "vault:https://vault/transit/keys/k?token_file=/a%20b",
        "vault:https://vault/transit/keys/k?secret_id_file=/a&role_id=b",
    ] {
        vault(good).unwrap();
    }
}

#[test]
fn anything_odd_in_a_uri_is_refused() {
    for wrong in [
        "",
        "vault:",
        "https://vault/transit/keys/k",
        "vault:vault/transit/keys/k",
        "vault:/transit/keys/k",
        "vault:ftp://vault/transit/keys/k",
        "vault:http://vault/transit/keys/k",
        "vault:http://localhost/transit/keys/k",
        "vault:http://10.0.0.1/transit/keys/k",
        "vault:http://127.0.0.1.example/transit/keys/k",
        "vault:https://user@vault/transit/keys/k",
        "vault:https://user:pass@vault/transit/keys/k",
        "vault:https://@vault/transit/keys/k",
        "vault:https:///transit/keys/k",
        "vault:https://:8200/transit/keys/k",
        "vault:https://vault:/transit/keys/k",
        "vault:https://vault:0/transit/keys/k",
        "vault:https://vault:99999/transit/keys/k",
        "vault:https://vault:x/transit/keys/k",
        "vault:https://vault/keys/k",
        "vault:https://vault//keys/k",
        "vault:https://vault/transit/keys/",
        "vault:https://vault/transit/keys/k/",
        "vault:https://vault/transit/keys/k/rotate",
        "vault:https://vault/transit/key/k",
        "vault:https://vault/v1/transit/keys/k",
        "vault:https://vault/transit/../sys/keys/k",
        "vault:https://vault/transit/keys/..",
        "vault:https://vault/transit/keys/%6b",
        "vault:https://vault/transit/keys/a%2fb",
        "vault:https://vault/transit//keys/k",
        "vault:https://vault/transit/keys/k#x",
        "vault:https://vault/transit/keys/k?",
        "vault:https://vault/transit/keys/k?token=s.x",
        "vault:https://vault/transit/keys/k?namespace",
        "vault:https://vault/transit/keys/k?namespace=",
        "vault:https://vault/transit/keys/k?namespace=/",
        "vault:https://vault/transit/keys/k?namespace=a&namespace=b",
        "vault:https://vault/transit/keys/k?namespace=a%0ab",
        "vault:https://vault/transit/keys/k?namespace=a&",
        "vault:https://vault/transit/keys/k?Namespace=a",
        "vault:https://vault/transit/keys/k?token_file=%ff",
        "vault:https://vault/transit/keys/k?token_file=/a%zz",
        "vault:https://vault/transit/keys/k?token_file=/a%2",
        "vault:https://vault/transit/keys/k?role_id=a%&secret_id_file=/s",
        "vault:https://vault/transit/keys/k?token_file=t",
        "vault:https://vault/transit/keys/k?ca=./ca.pem",
        "vault:https://vault/transit/keys/k?role_id=r&secret_id_file=s",
        "vault:https://vault/transit/keys/k?token_file=a%00b",
        "vault:https://vault/transit/keys/k?role_id=r",
        "vault:https://vault/transit/keys/k?secret_id_file=/s",
        "vault:https://vault/transit/keys/k?approle_mount=m",
        "vault:https://vault/transit/keys/k?role_id=r&approle_mount=m",
        "vault:https://vault/transit/keys/k?token_file=/t&approle_mount=m",
        "vault:https://vault/transit/keys/k?token_file=/t&role_id=r&secret_id_file=/s",
        "vault:https://vault/transit/keys/k?token_file=/t&role_id=r",
        "vault:https://vault/transit/keys/k?role_id=r&secret_id=s",
        "vault:https://vault/transit/keys/k?role_id=r&secret_id_file=/s&secret_id=s",
        "vault:https://vault/transit/keys/k?role_id=r&role_id=r&secret_id_file=/s",
        "vault:https://vault/transit/keys/k?role_id=r&secret_id_file=/s&secret_id_file=/t",
        "vault:https://vault/transit/keys/k?role_id=&secret_id_file=/s",
        "vault:https://vault/transit/keys/k?role_id=r&secret_id_file=",
        "vault:https://vault/transit/keys/k?role_id=a%0ab&secret_id_file=/s",
        "vault:https://vault/transit/keys/k?role_id=r&secret_id_file=/s&approle_mount=",
        "vault:https://vault/transit/keys/k?role_id=r&secret_id_file=/s&approle_mount=..%2fsys",
        "vault:https://vault/transit/keys/k?role_id=r&secret_id_file=/s&approle_mount=a&approle_mount=a",
        "vault:https://vault/transit/keys/k k",
        "vault:http://127.0.0.1/transit/keys/k?ca=/x",
    ] {
        match Vault::from_uri(wrong) {
            Ok(_) => panic!("{wrong} was taken"),
            Err(error) => assert_eq!(error.kind(), ProviderErrorKind::BadRequest, "{wrong}"),
        }
    }
    let long = format!(
        "vault:https://vault/transit/keys/k?token_file={}",
        "a".repeat(5000)
    );
    assert!(Vault::from_uri(&long).is_err());
}

#[test]
fn a_uri_says_where_the_token_comes_from() {
    let credentials = |query: &str| {
        let uri = format!("vault:https://vault/transit/keys/k{query}");
        let vault = Vault::from_uri(&uri).unwrap_or_else(|error| panic!("{uri}: {error}"));
        match &vault.inner.credentials {
            Credentials::Environment => {
                assert!(!vault.has_credentials());
                "environment".to_owned()
            }
            Credentials::Token(_) => panic!("{uri}"),
            Credentials::TokenFile(path) => format!("file {}", path.display()),
            Credentials::AppRole(role) => format!("role {}", role.told()),
        }
    };
    assert_eq!(credentials(""), "environment");
    assert_eq!(credentials("?namespace=x"), "environment");
    assert_eq!(credentials("?token_file=/a%20b"), "file /a b");
    assert_eq!(
        credentials("?role_id=a%26b%2f%c3%a4&secret_id_file=/s%20t"),
        "role a&b/ä /s t approle"
    );
    assert_eq!(
        credentials("?approle_mount=bots%2fa&secret_id_file=/s&namespace=x&role_id=r"),
        "role r /s bots/a"
    );
}

#[test]
fn a_token_that_is_given_besides_another_source_is_refused() {
    use crate::provider::{ProviderCredentials, provider_from_uri};
    let token = ProviderCredentials::new().token("t");
    let uri = "vault:https://vault/transit/keys/k";
    assert!(provider_from_uri(uri, &token).is_ok());
    for other in ["token_file=/t", "role_id=r&secret_id_file=/s"] {
        let uri = format!("{uri}?{other}");
        assert!(provider_from_uri(&uri, &ProviderCredentials::new()).is_ok());
        let error = provider_from_uri(&uri, &token).err().expect(other);
        assert_eq!(error.kind(), ProviderErrorKind::BadRequest, "{other}");
    }
}

#[test]
fn a_ca_is_a_file_of_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let uri = format!("vault:https://vault/transit/keys/k?ca={}", path.display());
    let kind = || Vault::from_uri(&uri).map(drop).unwrap_err().kind();
    assert_eq!(kind(), ProviderErrorKind::Unavailable);
    for wrong in [
        "",
        "nothing",
        "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ] {
        std::fs::write(&path, wrong).unwrap();
        assert_eq!(kind(), ProviderErrorKind::BadRequest, "{wrong}");
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(kind(), ProviderErrorKind::BadRequest);
}

#[test]
fn a_ciphertext_has_one_spelling() {
    let blob = |len| BASE64.encode(&vec![7; len]);
    for (text, good) in [
        (format!("vault:v1:{}", blob(60)), true),
        (format!("vault:v4294967295:{}", blob(72)), true),
        (format!("vault:v4294967296:{}", blob(60)), false),
        (format!("vault:v0:{}", blob(60)), false),
        (format!("vault:v01:{}", blob(60)), false),
        (format!("vault:v+1:{}", blob(60)), false),
        (format!("vault:v:{}", blob(60)), false),
        (format!("vault:1:{}", blob(60)), false),
        (format!("vault:v1:{}", blob(59)), false),
        (format!("vault:v1:{}", blob(257)), false),
        (format!("vault:v1:{}", blob(4096)), false),
        (format!("vault:v1:{}\n", blob(60)), false),
        (format!("vault:v1:v1:{}", blob(60)), false),
        (
            format!("vault:v1:{}", blob(61).trim_end_matches('=')),
            false,
        ),
    ] {
        assert_eq!(is_ciphertext(&text), good, "{text}");
    }
}
