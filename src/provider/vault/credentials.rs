//! Tokens, and how they are come by. All are read when they are used, so that they can be renewed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::failure::{Task, failure, misconfigured};
use super::{Inner, Result, uri, wire};
use crate::provider::{ProviderError, ProviderErrorKind};

pub(super) type Token = Arc<SecretString>;

#[derive(Clone)]
pub(super) enum Credentials {
    /// `VAULT_TOKEN`.
    Environment,
    Token(Token),
    TokenFile(PathBuf),
    AppRole(VaultAppRole),
}

/// Whom [`Vault::app_role`](crate::Vault::app_role) logs in as.
///
/// ```
/// use sealed_store::VaultAppRole;
///
/// let role = VaultAppRole::new("9b1c0e4e-…", "/etc/whatsapp/secret-id").mount("approle-bots");
/// # let _ = role;
/// ```
#[derive(Clone)]
pub struct VaultAppRole {
    role_id: String,
    secret_id_file: PathBuf,
    mount: String,
}

impl VaultAppRole {
    /// The role's id, and the file of its secret id, which is read at each login: one line, with the rights of a token file.
    #[must_use]
    pub fn new(role_id: impl Into<String>, secret_id_file: impl Into<PathBuf>) -> Self {
        Self {
            role_id: role_id.into(),
            secret_id_file: secret_id_file.into(),
            mount: "approle".into(),
        }
    }

    /// Where the auth method is mounted, below `auth/`: `approle` by default.
    #[must_use]
    pub fn mount(mut self, mount: impl Into<String>) -> Self {
        self.mount = mount.into();
        self
    }
}

#[cfg(test)]
impl VaultAppRole {
    /// All of it, none of which is secret.
    pub(super) fn told(&self) -> String {
        let file = self.secret_id_file.display();
        format!("{} {file} {}", self.role_id, self.mount)
    }
}

#[derive(Serialize)]
struct Login<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

#[derive(Deserialize)]
struct LoggedIn<'a> {
    #[serde(borrow)]
    auth: Session<'a>,
}

#[derive(Deserialize)]
struct Session<'a> {
    client_token: &'a str,
}

impl Inner {
    /// From now on with these.
    pub(super) fn present_with(&mut self, credentials: Credentials) {
        self.credentials = credentials;
        self.session = Mutex::new(None);
    }

    /// A token, and whether it is of an earlier login, which may have ended.
    pub(super) fn present(&self, deadline: Instant) -> Result<(Token, bool)> {
        let role = match &self.credentials {
            Credentials::AppRole(role) => role,
            Credentials::Token(token) => return Ok((Arc::clone(token), false)),
            Credentials::TokenFile(path) => return Ok((Arc::new(read(path)?), false)),
            Credentials::Environment => return Ok((Arc::new(environment()?), false)),
        };
        let session = self.session();
        if let Some(token) = session {
            return Ok((token, true));
        }
        let token = self.log_in(role, deadline)?;
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&token));
        Ok((token, false))
    }

    fn session(&self) -> Option<Token> {
        self.session
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Gives up a session, unless another call has a newer one already.
    pub(super) fn forget(&self, token: &Token) {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if session
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, token))
        {
            *session = None;
        }
    }

    // The session's lock is not held meanwhile: a server that hangs would hold up one call after the other.
    fn log_in(&self, role: &VaultAppRole, deadline: Instant) -> Result<Token> {
        if !uri::is_path(&role.mount) {
            return Err(misconfigured(
                "the mount of AppRole is a path below auth/, as in approle",
            ));
        }
        let secret_id = read(&role.secret_id_file)?;
        let login = wire::body(&Login {
            role_id: &role.role_id,
            secret_id: secret_id.expose_secret(),
        })?;
        let answer = self
            .client
            .send(
                "POST",
                &format!("auth/{}/login", role.mount),
                None,
                Some(&login),
                deadline,
            )
            .map_err(|refusal| failure(Task::Login, refusal))?;
        let answer: LoggedIn = answer.json()?;
        Ok(Arc::new(checked(answer.auth.client_token)?))
    }
}

fn environment() -> Result<SecretString> {
    let value = std::env::var_os("VAULT_TOKEN").ok_or_else(|| {
        misconfigured(
            "there is no Vault token: set VAULT_TOKEN, or configure a token file or AppRole",
        )
    })?;
    let value = Zeroizing::new(value.into_encoded_bytes());
    checked(std::str::from_utf8(&value).unwrap_or_default())
}

const LONGEST: usize = 8 << 10;

fn read(path: &Path) -> Result<SecretString> {
    let unreadable = |error: std::io::Error| {
        ProviderError::new(
            ProviderErrorKind::Unavailable,
            "the file of the Vault token, or of the secret id, can not be read; check its path and rights, and the agent that writes it",
        )
        .with_source(error)
    };
    // Before it is opened: opening a pipe waits for its writer.
    check(&std::fs::metadata(path).map_err(unreadable)?)?;
    let file = File::open(path).map_err(unreadable)?;
    check(&file.metadata().map_err(unreadable)?)?;
    let mut content = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
    file.take(LONGEST as u64 + 1)
        .read_to_end(&mut content)
        .map_err(unreadable)?;
    checked(std::str::from_utf8(&content).unwrap_or_default())
}

/// One line of printable ASCII, as a header can carry.
fn checked(text: &str) -> Result<SecretString> {
    let token = text
        .strip_suffix('\n')
        .map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if token.is_empty()
        || token.len() > LONGEST
        || !token.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(misconfigured(
            "a Vault token, or secret id, is one line of printable characters, at most 8 KiB; this is not",
        ));
    }
    Ok(SecretString::from(token))
}

fn check(metadata: &std::fs::Metadata) -> Result<()> {
    if !metadata.is_file() {
        return Err(misconfigured(
            "the file of the Vault token, or of the secret id, is not a regular file",
        ));
    }
    check_mode(metadata)
}

/// An agent writes its token for a group to read by default.
#[cfg(unix)]
fn check_mode(metadata: &std::fs::Metadata) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if metadata.permissions().mode() & 0o037 != 0 {
        return Err(misconfigured(
            "the file of the Vault token, or of the secret id, is open to others; restrict it with chmod 600",
        ));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_metadata: &std::fs::Metadata) -> Result<()> {
    Ok(())
}
