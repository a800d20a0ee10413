use super::*;

fn read(text: &str) -> Uri {
    Uri::parse(text).expect(text)
}

#[test]
fn a_uri_names_the_device_and_the_pins_file() {
    let default = Way::Device("/dev/tpmrm0".into());
    assert_eq!(read("tpm2:").way, default);
    assert_eq!(read("tpm2:").pin_file, None);
    let with_pin = read("tpm2:?pin-file=/run/secrets/pin");
    assert_eq!(with_pin.way, default);
    assert_eq!(with_pin.pin_file, Some("/run/secrets/pin".into()));
    assert_eq!(
        read("tpm2:?tcti=device:/dev/tpmrm1").way,
        Way::Device("/dev/tpmrm1".into())
    );
    for host in ["127.0.0.1", "::1"] {
        let uri = read(&format!(
            "tpm2:?pin-file=/p&tcti=swtpm:host={host},port=2321"
        ));
        assert_eq!(uri.way, Way::Swtpm(host.parse().unwrap(), 2321));
        assert_eq!(uri.pin_file, Some("/p".into()));
    }
}

#[test]
fn the_library_is_told_the_same() {
    for (uri, expected) in [
        ("tpm2:", "device:/dev/tpmrm0"),
        ("tpm2:?tcti=device:/dev/a,b=c", "device:/dev/a,b=c"),
        (
            "tpm2:?tcti=swtpm:host=127.0.0.1,port=7",
            "swtpm:host=127.0.0.1,port=7",
        ),
        ("tpm2:?tcti=swtpm:host=::1,port=7", "swtpm:host=::1,port=7"),
    ] {
        let tcti = read(uri).way.tcti().unwrap();
        let told = std::ffi::CString::try_from(tcti).unwrap();
        assert_eq!(told.to_str().unwrap(), expected);
    }
}

#[test]
fn anything_odd_is_refused() {
    for uri in [
        "",
        "tpm2",
        "TPM2:",
        "tpm:",
        " tpm2:",
        "tpm2: ",
        "tpm2:?",
        "tpm2:/dev/tpmrm0",
        "tpm2://",
        "tpm2:?tcti",
        "tpm2:?tcti=",
        "tpm2:?tcti=device",
        "tpm2:?tcti=device:",
        "tpm2:?tcti=device:tpmrm0",
        "tpm2:?tcti=device:/dev/%74pmrm0",
        "tpm2:?tcti=device:/dev/tpmrm0&",
        "tpm2:?tcti=device:/dev/tpmrm0&tcti=device:/dev/tpmrm0",
        "tpm2:?tcti=device:/dev/tpm rm0",
        "tpm2:?tcti=mssim:host=127.0.0.1,port=2321",
        "tpm2:?tcti=tabrmd:",
        "tpm2:?tcti=/lib/evil.so",
        "tpm2:?tcti=swtpm",
        "tpm2:?tcti=swtpm:port=2321",
        "tpm2:?tcti=swtpm:host=127.0.0.1",
        "tpm2:?tcti=swtpm:port=2321,host=127.0.0.1",
        "tpm2:?tcti=swtpm:host=localhost,port=2321",
        "tpm2:?tcti=swtpm:host=192.0.2.1,port=2321",
        "tpm2:?tcti=swtpm:host=127.0.0.1,port=0",
        "tpm2:?tcti=swtpm:host=127.0.0.1,port=65535",
        "tpm2:?tcti=swtpm:host=127.0.0.1,port=65536",
        "tpm2:?tcti=swtpm:host=127.0.0.1,port=+21",
        "tpm2:?tcti=swtpm:host=127.0.0.1,port=021",
        "tpm2:?tcti=swtpm:host=127.0.0.1,port=21,x=1",
        "tpm2:?pin=1234",
        "tpm2:?pin-file=",
        "tpm2:?pin-file=pin",
        "tpm2:?pin-file=/a&pin-file=/a",
        "tpm2:?pin-value=1234",
        "tpm2:?PIN-FILE=/p",
        "tpm2:?pin-file=/p#x",
        "tpm2:?pin-file=/p\n",
    ] {
        let error = Uri::parse(uri).expect_err(uri);
        assert_eq!(error.kind(), ProviderErrorKind::BadRequest, "{uri}");
        assert!(!format!("{error}{error:?}").contains("1234"));
    }
    let long = format!("tpm2:?pin-file=/{}", "x".repeat(LONGEST));
    assert!(Uri::parse(&long).is_err());
}
