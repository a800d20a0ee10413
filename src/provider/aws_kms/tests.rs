use super::*;

const ARN: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn parse(uri: &str) -> Result<AwsKms> {
    AwsKms::from_uri(uri)
}

#[test]
fn the_region_and_the_reference_come_from_the_arn() {
    for (arn, region) in [
        (ARN, "eu-central-1"),
        (
            "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab",
            "us-gov-west-1",
        ),
        (
            "arn:aws-cn:kms:cn-north-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "cn-north-1",
        ),
    ] {
        let provider = parse(&format!("awskms:{arn}")).unwrap();
        assert_eq!(provider.address.region(), region);
        assert_eq!(provider.address.endpoint(), None);
        assert_eq!(
            provider.reference(),
            Fields::from([(KEY.into(), arn.into())])
        );
    }
}

#[test]
fn an_endpoint_is_https_or_this_machine() {
    for endpoint in [
        "https://vpce-0123-abcd.kms.eu-central-1.vpce.amazonaws.com",
        "https://kms.internal:8443",
        "https://192.0.2.7:8443",
        "https://[2001:db8::7]",
        "http://127.0.0.1:5000",
        "http://127.1.2.3",
        "http://[::1]:4566",
        "http://localhost:4566",
    ] {
        let provider = parse(&format!("awskms:{ARN}?endpoint={endpoint}")).unwrap();
        assert_eq!(provider.address.endpoint(), Some(endpoint));
        assert_eq!(
            provider.reference(),
            Fields::from([(KEY.into(), ARN.into())])
        );
    }
}

#[test]
fn everything_else_is_refused() {
    let id = "1234abcd-12ab-34cd-56ef-1234567890ab";
    let arns = [
        String::new(),
        id.into(),
        "alias/whatsapp".into(),
        "arn:aws:kms:eu-central-1:111122223333:alias/whatsapp".into(),
        "arn:aws:kms:eu-central-1:111122223333:key/*".into(),
        format!("arn:aws:kms:*:111122223333:key/{id}"),
        format!("arn:aws:kms:eu-central-1:*:key/{id}"),
        format!("arn:aws:kms::111122223333:key/{id}"),
        format!("arn:aws:kms:eu-central-1::key/{id}"),
        format!("arn:aws:kms:eu-central-1:11112222333:key/{id}"),
        format!("arn:aws:s3:eu-central-1:111122223333:key/{id}"),
        format!("arn:awsx:kms:eu-central-1:111122223333:key/{id}"),
        format!("arn:aws:kms:eu-central-1.evil.example/:111122223333:key/{id}"),
        format!("{ARN}:x"),
        format!("{ARN} "),
        format!(" {ARN}"),
        format!("{ARN}\n"),
        format!("{ARN}/x"),
        format!("{ARN}#x"),
        ARN.to_uppercase(),
        ARN.replace("1234abcd", "1234ABCD"),
        ARN.replace("1234abcd", "1234abc"),
        ARN.replace(id, &format!("mrk-{id}")),
        ARN.replace(id, "mrk-"),
        "x".repeat(100_000),
    ];
    let queries = [
        "",
        "endpoint=",
        "endpoint",
        "x=y",
        "profile=x",
        "access_key_id=AKIDEXAMPLE",
        "endpoint=https://",
        "endpoint=https://host/",
        "endpoint=https://host/path",
        "endpoint=https://host?x",
        "endpoint=https://host#x",
        "endpoint=https://host&x=y",
        "endpoint=https://host&endpoint=https://other",
        "endpoint=https://user:secret@host",
        "endpoint=https://user@host",
        "endpoint=https://ho%73t",
        "endpoint=https://ho st",
        "endpoint=https://host:",
        "endpoint=https://host:0",
        "endpoint=https://host:65536",
        "endpoint=https://host:+80",
        "endpoint=https://-host",
        "endpoint=https://host..x",
        "endpoint=https://[::1",
        "endpoint=https://[::1]x",
        "endpoint=https://[host]",
        "endpoint=https://1.2.3.4.5",
        "endpoint=http://kms.eu-central-1.amazonaws.com",
        "endpoint=http://192.0.2.7",
        "endpoint=http://127.1",
        "endpoint=http://2130706433",
        "endpoint=http://127.0.0.1.example.com",
        "endpoint=http://[2001:db8::7]",
        "endpoint=http://localhost.example.com",
        "endpoint=ftp://127.0.0.1",
        "endpoint=127.0.0.1:5000",
        "Endpoint=https://host",
    ];
    let uris = arns
        .iter()
        .map(|arn| format!("awskms:{arn}"))
        .chain(queries.iter().map(|query| format!("awskms:{ARN}?{query}")))
        .chain([
            ARN.into(),
            format!("AWSKMS:{ARN}"),
            format!("awskms://{ARN}"),
            format!("vault:{ARN}"),
            format!("awskms:{ARN}?endpoint=https://{}", "a.".repeat(1_000)),
        ]);
    for uri in uris {
        match parse(&uri) {
            Err(error) => assert_eq!(error.kind(), ProviderErrorKind::BadRequest, "{uri}"),
            Ok(_) => panic!("{uri} is taken"),
        }
    }
}

#[test]
fn material_is_bounded_before_it_is_sent() {
    let recipe = |material: Fields| Recipe {
        reference: Fields::new(),
        material,
    };
    let field = |name: &str, text: String| (name.to_owned(), text);
    let good = BASE64.encode(&[7; 184]);
    assert_eq!(
        ciphertext(&recipe(Fields::from([field(CIPHERTEXT, good.clone())])))
            .unwrap()
            .as_ref(),
        [7; 184]
    );
    assert!(
        ciphertext(&recipe(Fields::from([field(
            CIPHERTEXT,
            BASE64.encode(&[7; MAX_CIPHERTEXT])
        )])))
        .is_ok()
    );
    for material in [
        Fields::new(),
        Fields::from([field("Ciphertext", good.clone())]),
        Fields::from([field(CIPHERTEXT, String::new())]),
        Fields::from([field(CIPHERTEXT, "not base64!".into())]),
        Fields::from([field(CIPHERTEXT, format!("{good}="))]),
        Fields::from([field(CIPHERTEXT, format!("{good}\n"))]),
        Fields::from([field(CIPHERTEXT, BASE64.encode(&[7; MAX_CIPHERTEXT + 1]))]),
        Fields::from([field(CIPHERTEXT, "A".repeat(1 << 22))]),
        Fields::from([field(CIPHERTEXT, good.clone()), field("key", ARN.into())]),
    ] {
        let error = ciphertext(&recipe(material)).unwrap_err();
        assert_eq!(error.kind(), ProviderErrorKind::Corrupt);
    }
}

#[test]
fn the_context_is_spelled_as_documented() {
    let context = SlotContext {
        keyring_id: [0xa5; 16],
        slot: 12,
    };
    let expected = [
        ("sealed-store-keyring", "a5".repeat(16)),
        ("sealed-store-slot", "12".to_owned()),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value));
    assert_eq!(bound(&context), HashMap::from(expected));
}
