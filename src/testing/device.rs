//! Sample devices and their comparison, field by field.

use std::sync::Arc;

use wacore::client_profile::ClientProfile;
use wacore::libsignal::protocol::KeyPair;
use wacore::store::device::account_serde;
use wacore::store::{CachedNoiseCert, CachedServerCertChain, Device, DevicePropsOverride};

/// The fields of a [`Device`] that `serde` skips.
///
/// Upstream's SQLite store brings them back at their defaults, the one in memory as they were saved.
pub const RUNTIME_ONLY: &[&str] = &["device_props", "client_profile", "nct_salt_sync_seen"];

/// A paired device in which no field has the value that [`Device::new`] gives it, with real, fresh keys.
///
/// The registration id and the keys are random, as in every new device.
pub fn full_device() -> Device {
    // Taken apart whole, so that a field which upstream adds is noticed here.
    let Device {
        pn: _,
        lid: _,
        registration_id,
        noise_key,
        identity_key,
        signed_pre_key,
        signed_pre_key_id,
        signed_pre_key_signature,
        adv_secret_key,
        account: _,
        push_name: _,
        app_version_primary,
        app_version_secondary,
        app_version_tertiary,
        app_version_last_fetched_ms: _,
        device_props,
        client_profile: _,
        edge_routing_info: _,
        props_hash: _,
        next_pre_key_id,
        first_unupload_pre_key_id: _,
        server_has_prekeys: _,
        nct_salt: _,
        nct_salt_sync_seen: _,
        server_cert_chain: _,
        login_counter: _,
        lid_migrated: _,
        last_signed_pre_key_rotation_ms: _,
        read_receipts_disabled: _,
    } = Device::new();

    // Upstream's message types come from a crate that we do not depend on: start from an empty one.
    let account = account_serde::from_bytes(&[]).ok().map(|mut account| {
        account.details = Some(vec![0x0a; 20]);
        account.account_signature_key = Some(vec![0x0b; 32]);
        account.account_signature = Some(vec![0x0c; 64]);
        account.device_signature = Some(vec![0x0d; 64]);
        Arc::new(account)
    });
    let mut device = Device {
        pn: "5511987650001:7@s.whatsapp.net".parse().ok(),
        lid: "100000012345678:7@lid".parse().ok(),
        registration_id,
        noise_key,
        identity_key,
        signed_pre_key,
        signed_pre_key_id: signed_pre_key_id + 41,
        signed_pre_key_signature,
        adv_secret_key,
        account,
        push_name: "Zoë 😀 'quoted'".to_owned(),
        app_version_primary: app_version_primary + 1,
        app_version_secondary: app_version_secondary + 1,
        app_version_tertiary: app_version_tertiary + 1,
        app_version_last_fetched_ms: 1_750_000_000_001,
        device_props,
        client_profile: ClientProfile::android("14"),
        edge_routing_info: Some(vec![8, 0, 255]),
        props_hash: Some("2:dcZ2nY".to_owned()),
        next_pre_key_id: next_pre_key_id + 812,
        first_unupload_pre_key_id: 400,
        server_has_prekeys: true,
        nct_salt: Some(vec![0x0e; 32]),
        nct_salt_sync_seen: true,
        server_cert_chain: Some(CachedServerCertChain {
            intermediate: certificate(1),
            leaf: certificate(2),
        }),
        login_counter: 17,
        lid_migrated: true,
        last_signed_pre_key_rotation_ms: 1_750_000_000_002,
        read_receipts_disabled: true,
    };
    device.set_device_props(DevicePropsOverride::new().with_os("contract"));
    device
}

fn certificate(seed: u8) -> CachedNoiseCert {
    CachedNoiseCert {
        key: [seed; 32],
        not_before: 1_700_000_000 + i64::from(seed),
        not_after: 1_900_000_000 + i64::from(seed),
    }
}

/// The names of the fields in which two devices differ, in the order of declaration; private keys included.
///
/// A field that upstream adds to [`Device`] breaks the build of this function, and with it every round
/// trip that would silently lose the field.
pub fn device_diff(a: &Device, b: &Device) -> Vec<&'static str> {
    let Device {
        pn,
        lid,
        registration_id,
        noise_key,
        identity_key,
        signed_pre_key,
        signed_pre_key_id,
        signed_pre_key_signature,
        adv_secret_key,
        account,
        push_name,
        app_version_primary,
        app_version_secondary,
        app_version_tertiary,
        app_version_last_fetched_ms,
        device_props,
        client_profile,
        edge_routing_info,
        props_hash,
        next_pre_key_id,
        first_unupload_pre_key_id,
        server_has_prekeys,
        nct_salt,
        nct_salt_sync_seen,
        server_cert_chain,
        login_counter,
        lid_migrated,
        last_signed_pre_key_rotation_ms,
        read_receipts_disabled,
    } = a;
    macro_rules! plain {
        ($field:ident) => {
            (stringify!($field), *$field == b.$field)
        };
    }
    let fields = [
        plain!(pn),
        plain!(lid),
        plain!(registration_id),
        ("noise_key", same_keys(noise_key, &b.noise_key)),
        ("identity_key", same_keys(identity_key, &b.identity_key)),
        (
            "signed_pre_key",
            same_keys(signed_pre_key, &b.signed_pre_key),
        ),
        plain!(signed_pre_key_id),
        plain!(signed_pre_key_signature),
        plain!(adv_secret_key),
        plain!(account),
        plain!(push_name),
        plain!(app_version_primary),
        plain!(app_version_secondary),
        plain!(app_version_tertiary),
        plain!(app_version_last_fetched_ms),
        plain!(device_props),
        (
            "client_profile",
            same_profile(client_profile, &b.client_profile),
        ),
        plain!(edge_routing_info),
        plain!(props_hash),
        plain!(next_pre_key_id),
        plain!(first_unupload_pre_key_id),
        plain!(server_has_prekeys),
        plain!(nct_salt),
        plain!(nct_salt_sync_seen),
        plain!(server_cert_chain),
        plain!(login_counter),
        plain!(lid_migrated),
        plain!(last_signed_pre_key_rotation_ms),
        plain!(read_receipts_disabled),
    ];
    fields
        .into_iter()
        .filter_map(|(name, same)| (!same).then_some(name))
        .collect()
}

fn same_keys(a: &KeyPair, b: &KeyPair) -> bool {
    let KeyPair {
        public_key,
        private_key,
    } = a;
    public_key.serialize() == b.public_key.serialize()
        && private_key.serialize() == b.private_key.serialize()
}

fn same_profile(a: &ClientProfile, b: &ClientProfile) -> bool {
    let ClientProfile {
        user_agent_platform,
        device,
        os_version,
        manufacturer,
        include_web_info,
        passive_login,
        phone_id,
        locale_language,
        locale_country,
    } = a;
    *user_agent_platform == b.user_agent_platform
        && *device == b.device
        && *os_version == b.os_version
        && *manufacturer == b.manufacturer
        && *include_web_info == b.include_web_info
        && *passive_login == b.passive_login
        && *phone_id == b.phone_id
        && *locale_language == b.locale_language
        && *locale_country == b.locale_country
}

/// Asserts that two devices are the same, except for the fields named in `ignored`: any of
/// [`RUNTIME_ONLY`], or all of them at once.
///
/// # Panics
///
/// If they differ, with the names of the fields (never with their values: most are secret); or if
/// `ignored` names a field that a store must keep.
#[track_caller]
pub fn assert_same_device(got: &Device, want: &Device, ignored: &[&str]) {
    for name in ignored {
        assert!(RUNTIME_ONLY.contains(name), "a store must keep {name}");
    }
    let different: Vec<_> = device_diff(got, want)
        .into_iter()
        .filter(|name| !ignored.contains(name))
        .collect();
    assert!(different.is_empty(), "the devices differ in {different:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_device_shares_no_field_with_a_new_one() {
        let different = device_diff(&full_device(), &Device::new());
        assert_eq!(different.len(), 29, "{different:?}");
    }

    #[test]
    fn a_device_is_the_same_as_itself() {
        let device = full_device();
        assert_same_device(&device, &device.clone(), &[]);
        assert!(device.account.is_some() && device.pn.is_some() && device.lid.is_some());
    }

    #[test]
    fn the_runtime_fields_are_those_that_serde_skips() {
        let device = full_device();
        let json = serde_json::to_vec(&device).expect("a device is JSON");
        let mut read: Device = serde_json::from_slice(&json).expect("and comes back");
        assert_eq!(device_diff(&read, &device).len(), RUNTIME_ONLY.len());
        assert_same_device(&read, &device, RUNTIME_ONLY);
        read.push_name.clear();
        assert_eq!(device_diff(&read, &device)[0], "push_name");
    }

    #[test]
    #[should_panic(expected = "a store must keep noise_key")]
    fn only_runtime_fields_can_be_ignored() {
        let device = full_device();
        assert_same_device(&device, &device, &["noise_key"]);
    }
}
