//! The keychain of this system.

use std::error::Error;
use std::sync::Arc;

use keyring_core::CredentialStore;

use crate::provider::ProviderErrorKind;

type Kind = (ProviderErrorKind, &'static str);
type Found = keyring_core::Result<Arc<CredentialStore>>;

const UNREACHABLE: Kind = (
    ProviderErrorKind::Unavailable,
    "the keychain can not be reached; check that this session has a desktop with a keychain, then try again",
);

/// The Secret Service, over D-Bus.
#[cfg(all(unix, not(any(target_vendor = "apple", target_os = "android"))))]
mod here {
    use secret_service::EncryptionType;
    use secret_service::blocking::SecretService;

    use super::*;
    use crate::provider::keychain::HOLDER_LEN;

    pub(in super::super) const STORE: &str = "secret-service";

    pub(in super::super) fn store() -> Found {
        Ok(zbus_secret_service_keyring_store::Store::new()?)
    }

    /// Looks whether the collection that new entries go to is open, and asks nobody.
    pub(in super::super) fn probe() -> keyring_core::Result<()> {
        use zbus_secret_service_keyring_store::errors::decode_error;
        let service = SecretService::connect(EncryptionType::Dh).map_err(decode_error)?;
        let collection = service.get_default_collection().map_err(decode_error)?;
        match collection.is_locked().map_err(decode_error)? {
            true => Err(decode_error(secret_service::Error::Locked)),
            false => Ok(()),
        }
    }

    /// The program that serves the keychain, by its process's name.
    pub(in super::super) fn holder() -> Option<String> {
        let bus = zbus::blocking::Connection::session().ok()?;
        let bus = zbus::blocking::fdo::DBusProxy::new(&bus).ok()?;
        let name = "org.freedesktop.secrets".try_into().ok()?;
        let process = bus.get_connection_unix_process_id(name).ok()?;
        let name = std::fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
        let name = name.trim();
        let fits = !name.is_empty() && name.len() <= HOLDER_LEN;
        (fits && name.bytes().all(|byte| byte.is_ascii_graphic())).then(|| name.to_owned())
    }

    pub(in super::super) fn failure(error: &(dyn Error + Send + Sync + 'static)) -> Kind {
        const DENIED: Kind = (
            ProviderErrorKind::Denied,
            "the session bus does not let this program ask the keychain; check its policy or sandbox",
        );
        const CLOSED: Kind = (
            ProviderErrorKind::NeedsInteraction,
            "the keychain is closed; log in to the desktop or answer its question, then try again",
        );
        let name = match error.downcast_ref::<secret_service::Error>() {
            Some(secret_service::Error::Zbus(zbus::Error::MethodError(name, ..))) => name.as_str(),
            Some(secret_service::Error::Zbus(zbus::Error::FDO(error)))
                if matches!(**error, zbus::fdo::Error::AccessDenied(_)) =>
            {
                return DENIED;
            }
            Some(secret_service::Error::ZbusFdo(zbus::fdo::Error::AccessDenied(_))) => {
                return DENIED;
            }
            Some(secret_service::Error::PromptDisconnected) => return CLOSED,
            Some(secret_service::Error::Crypto(_)) => {
                return (
                    ProviderErrorKind::Corrupt,
                    "the keychain's answer can not be read; open with another slot, then make a new one",
                );
            }
            _ => return UNREACHABLE,
        };
        match name {
            "org.freedesktop.DBus.Error.AccessDenied" => DENIED,
            // Only one error of the specification begins so; its name in full holds a word that wacore reads as contention.
            name if name.starts_with("org.freedesktop.Secret.Error.Is") => CLOSED,
            "org.freedesktop.Secret.Error.NoSuchObject"
            | "org.freedesktop.DBus.Error.UnknownObject" => (
                ProviderErrorKind::Destroyed,
                "the keychain's entry was removed meanwhile; open with another slot, then make a new one",
            ),
            _ => UNREACHABLE,
        }
    }
}

#[cfg(target_os = "macos")]
mod here {
    use super::*;

    pub(in super::super) const STORE: &str = "macos-keychain";

    pub(in super::super) fn store() -> Found {
        Ok(apple_native_keyring_store::keychain::Store::new()?)
    }
}

#[cfg(windows)]
mod here {
    use super::*;

    pub(in super::super) const STORE: &str = "windows-credential-manager";

    pub(in super::super) fn store() -> Found {
        Ok(windows_native_keyring_store::Store::new()?)
    }
}

#[cfg(not(any(
    windows,
    target_os = "macos",
    all(unix, not(any(target_vendor = "apple", target_os = "android")))
)))]
mod here {
    use super::*;

    pub(in super::super) const STORE: &str = "none";

    pub(in super::super) fn store() -> Found {
        Err(keyring_core::Error::NoDefaultStore)
    }
}

/// What a keychain that is no Secret Service does not tell.
#[cfg(not(all(unix, not(any(target_vendor = "apple", target_os = "android")))))]
mod elsewhere {
    use super::*;

    pub(in super::super) fn probe() -> keyring_core::Result<()> {
        super::here::store().map(|_| ())
    }

    pub(in super::super) fn holder() -> Option<String> {
        None
    }

    pub(in super::super) fn failure(_: &(dyn Error + Send + Sync + 'static)) -> Kind {
        UNREACHABLE
    }
}

#[cfg(not(all(unix, not(any(target_vendor = "apple", target_os = "android")))))]
pub(super) use elsewhere::{failure, holder, probe};
pub(super) use here::*;
