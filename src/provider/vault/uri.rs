//! `vault:https://HOST[:PORT]/MOUNT/keys/NAME?namespace=..&ca=..&token_file=..`, or with `role_id=..&secret_id_file=..&approle_mount=..`
//! in place of `token_file`.

use std::net::IpAddr;
use std::path::PathBuf;

use ureq::http::Uri;

use super::credentials::{Credentials, VaultAppRole};
use super::failure::misconfigured;
use super::{ProviderError, Result};

/// A Transit key at a server.
#[derive(Clone)]
pub(super) struct Place {
    mount: String,
    name: String,
}

impl Place {
    /// The path, below `/v1/`, of what is asked of the key.
    pub(super) fn path(&self, verb: &str) -> String {
        format!("{}/{verb}/{}", self.mount, self.name)
    }
}

/// What a URI says.
pub(super) struct Parsed {
    /// `https://HOST[:PORT]`
    pub(super) origin: String,
    pub(super) place: Place,
    pub(super) namespace: Option<String>,
    pub(super) ca: Option<PathBuf>,
    pub(super) credentials: Credentials,
}

/// The parameters that say where credentials come from.
#[derive(Default)]
struct Named {
    token_file: Option<PathBuf>,
    role_id: Option<String>,
    secret_id_file: Option<PathBuf>,
    approle_mount: Option<String>,
}

impl Named {
    fn credentials(self) -> Result<Credentials> {
        let role = match (self.role_id, self.secret_id_file, self.approle_mount) {
            (Some(role_id), Some(file), mount) => {
                let role = VaultAppRole::new(role_id, file);
                Some(match mount {
                    Some(mount) => role.mount(mount),
                    None => role,
                })
            }
            (None, None, None) => None,
            _ => {
                return Err(misconfigured(
                    "a login by AppRole takes both role_id and secret_id_file in the URI, and approle_mount with them only",
                ));
            }
        };
        match (self.token_file, role) {
            (Some(_), Some(_)) => Err(misconfigured(
                "the URI names a token file and an AppRole; leave one of them out",
            )),
            (Some(file), None) => Ok(Credentials::TokenFile(file)),
            (None, Some(role)) => Ok(Credentials::AppRole(role)),
            (None, None) => Ok(Credentials::Environment),
        }
    }
}

const LONGEST: usize = 4096;

fn form() -> ProviderError {
    misconfigured(
        "the URI of a Vault key is vault:https://HOST[:PORT]/MOUNT/keys/NAME, with the parameters namespace, ca, token_file, role_id, secret_id_file and approle_mount",
    )
}

fn holds_credentials() -> ProviderError {
    misconfigured(
        "a URI must not hold credentials: give the token by VAULT_TOKEN, a token file or AppRole, whose secret id is in a file",
    )
}

/// Of the working folder it would be another file for each program, and another trust.
fn file(path: &str) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    match path.is_absolute() {
        true => Ok(path),
        false => Err(misconfigured(
            "ca, token_file and secret_id_file in the URI of a Vault key are absolute paths",
        )),
    }
}

/// Whether two hexadecimal digits follow each percent sign: the decoder takes others as they are.
fn is_encoded(text: &str) -> bool {
    let digits = |rest: &str| {
        let mut two = rest.bytes().take(2);
        matches!((two.next(), two.next()), (Some(one), Some(two)) if one.is_ascii_hexdigit() && two.is_ascii_hexdigit())
    };
    text.split('%').skip(1).all(digits)
}

pub(super) fn parse(text: &str) -> Result<Parsed> {
    let url = text
        .strip_prefix("vault:")
        .filter(|_| text.len() <= LONGEST)
        // `Uri` drops a fragment without a word.
        .filter(|url| !url.contains('#'))
        .ok_or_else(form)?;
    let uri: Uri = url.parse().map_err(|_| form())?;
    let authority = uri.authority().ok_or_else(form)?;
    if authority.as_str().contains('@') {
        return Err(holds_credentials());
    }
    // A port that is no number is no port to `Uri`.
    let host = authority.host();
    let port = authority.as_str().strip_prefix(host).ok_or_else(form)?;
    if host.is_empty() || (!port.is_empty() && authority.port_u16().is_none_or(|port| port == 0)) {
        return Err(form());
    }
    let scheme = match uri.scheme_str() {
        Some("https") => "https",
        Some("http") if is_loopback(host) => "http",
        Some("http") => {
            return Err(misconfigured(
                "plain http is for a loopback address only, as in http://127.0.0.1:8200; use https",
            ));
        }
        _ => return Err(form()),
    };
    let (mount, name) = uri
        .path()
        .strip_prefix('/')
        .and_then(|path| path.rsplit_once("/keys/"))
        .filter(|(mount, name)| is_path(mount) && is_segment(name))
        .ok_or_else(form)?;
    if mount.starts_with("v1/") || mount == "v1" {
        return Err(misconfigured(
            "leave /v1 out of the URI of a Vault key: it begins with the path of the Transit engine",
        ));
    }
    let mut parsed = Parsed {
        origin: format!("{scheme}://{authority}"),
        place: Place {
            mount: mount.to_owned(),
            name: name.to_owned(),
        },
        namespace: None,
        ca: None,
        credentials: Credentials::Environment,
    };
    let mut named = Named::default();
    for parameter in uri.query().into_iter().flat_map(|query| query.split('&')) {
        let (name, raw) = parameter.split_once('=').ok_or_else(form)?;
        let value = percent_encoding::percent_decode_str(raw)
            .decode_utf8()
            .ok()
            .filter(|value| !value.is_empty() && !value.contains('\0'))
            .ok_or_else(form)?;
        if !is_encoded(raw) {
            return Err(form());
        }
        let known = match name {
            "namespace" => {
                let namespace = value.trim_matches('/');
                if !is_path(namespace) {
                    return Err(form());
                }
                parsed.namespace.replace(namespace.to_owned()).is_none()
            }
            "ca" => parsed.ca.replace(file(&value)?).is_none(),
            "token_file" => named.token_file.replace(file(&value)?).is_none(),
            "role_id" => {
                if value.chars().any(char::is_control) {
                    return Err(form());
                }
                named.role_id.replace(value.into_owned()).is_none()
            }
            "secret_id_file" => named.secret_id_file.replace(file(&value)?).is_none(),
            "approle_mount" => {
                if !is_path(&value) {
                    return Err(form());
                }
                named.approle_mount.replace(value.into_owned()).is_none()
            }
            "token" | "secret_id" => return Err(holds_credentials()),
            _ => false,
        };
        // Unknown, or said twice.
        if !known {
            return Err(form());
        }
    }
    if parsed.ca.is_some() && scheme == "http" {
        return Err(misconfigured("ca is of no use with plain http; use https"));
    }
    parsed.credentials = named.credentials()?;
    Ok(parsed)
}

fn is_loopback(host: &str) -> bool {
    let digits = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    digits
        .parse::<IpAddr>()
        .is_ok_and(|address| address.is_loopback())
}

/// Segments with one slash between them: a mount, a namespace.
pub(super) fn is_path(text: &str) -> bool {
    text.split('/').all(is_segment)
}

/// What a name of Transit may be, and so that no server reads a path in it.
fn is_segment(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=128).contains(&text.len())
        && text.bytes().all(plain)
        && !text.starts_with('.')
        && !text.ends_with('.')
}
