//! Where secrets come from: one source each, never an argument.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sealed_store::secrecy::{SecretSlice, SecretString};
use sealed_store::{
    DEFAULT_KDF_CEILING, KdfCost, KeyProvider, Passphrase, ProviderCredentials, ProviderErrorKind,
    RawKey, RecoveryCode, SealError, calibrate, provider_from_uri,
};
use zeroize::Zeroizing;

use super::args::{FirstArgs, NewArgs, SecretArgs};
use super::failure::{At, Failure};
use super::output::Output;
use super::{prompt, rating};

/// No passphrase is longer, in bytes.
const LONGEST: usize = 64 * 1024;

/// The environment variables of the secret that opens, and of a new one.
pub const OPENING: [&str; 3] = [
    "SEALED_STORE_PASSPHRASE",
    "SEALED_STORE_PASSPHRASE_FILE",
    "SEALED_STORE_PASSPHRASE_COMMAND",
];
/// As [`OPENING`].
pub const NEW: [&str; 3] = [
    "SEALED_STORE_NEW_PASSPHRASE",
    "SEALED_STORE_NEW_PASSPHRASE_FILE",
    "SEALED_STORE_NEW_PASSPHRASE_COMMAND",
];

/// Where one secret comes from.
enum Source {
    File(PathBuf),
    Fd(u32),
    Command(String),
    Variable(&'static str),
    KeyFile(PathBuf),
    CodeFile(PathBuf),
    CodeFd(u32),
    /// A URI, and the file of its PIN.
    Provider(String, Option<PathBuf>),
    Terminal,
}

/// What opens a store.
pub type Provider = Arc<dyn KeyProvider>;

/// The provider of a slot that stays, from `KIND:WHERE`, or from the terminal where nothing is given.
pub fn kept(source: Option<&str>, slot: u32, label: &str) -> Result<Provider, Failure> {
    let unknown = || {
        Failure::usage(
            "a kept slot's secret is passphrase-file:FILE, passphrase-fd:N, passphrase-command:COMMAND, key-file:FILE, \
             recovery-code-file:FILE, recovery-code-fd:N or provider:URI",
        )
        .about(format!("--keep {slot}"))
    };
    let Some(source) = source else {
        if !prompt::can_ask() {
            return Err(unknown());
        }
        return provider(
            Source::Terminal,
            &format!("slot {slot} ({})", super::text::plain(label)),
            DEFAULT_KDF_CEILING,
        );
    };
    let (kind, rest) = source.split_once(':').ok_or_else(unknown)?;
    let number = || rest.parse().map_err(|_| unknown());
    let source = match kind {
        "passphrase-file" => Source::File(rest.into()),
        "passphrase-fd" => Source::Fd(number()?),
        "passphrase-command" => Source::Command(rest.to_owned()),
        "key-file" => Source::KeyFile(rest.into()),
        "recovery-code-file" => Source::CodeFile(rest.into()),
        "recovery-code-fd" => Source::CodeFd(number()?),
        "provider" => Source::Provider(rest.to_owned(), None),
        _ => return Err(unknown()),
    };
    provider(source, "", DEFAULT_KDF_CEILING)
}

/// The provider of the secret that opens `db`.
pub fn opening(args: &SecretArgs, db: &Path) -> Result<Provider, Failure> {
    let given = [
        args.passphrase_file.clone().map(Source::File),
        args.passphrase_fd.map(Source::Fd),
        args.passphrase_command.clone().map(Source::Command),
        args.key_file.clone().map(Source::KeyFile),
        args.recovery_code_file.clone().map(Source::CodeFile),
        args.recovery_code_fd.map(Source::CodeFd),
        by_option(&args.provider, &args.pin_file),
    ];
    let ceiling = u64::from(args.kdf_ceiling).saturating_mul(1024);
    provider(
        source(given, OPENING, "")?,
        &db.display().to_string(),
        ceiling,
    )
}

/// The provider of a secret that is there already; `whose` is what a terminal is asked about.
fn provider(source: Source, whose: &str, ceiling: u64) -> Result<Provider, Failure> {
    let passphrase =
        |secret| -> Provider { Arc::new(Passphrase::from_bytes(secret).ceiling(ceiling)) };
    Ok(match source {
        Source::KeyFile(path) => Arc::new(key_file(&path)?),
        Source::CodeFile(path) => {
            Arc::new(code(&read_file(&path)?).map_err(|error| error.at(&path))?)
        }
        Source::CodeFd(fd) => Arc::new(code(&read_fd(fd)?)?),
        Source::Provider(uri, pin_file) => by_uri(&uri, pin_file.as_deref())?,
        Source::Terminal => {
            let typed = prompt::secret(&format!("Passphrase or recovery code of {whose}"))?;
            // A code's checksum leaves no doubt; what only looks like one is told, for no passphrase does.
            if RecoveryCode::is_like(&typed) {
                Arc::new(code(typed.as_bytes())?)
            } else {
                passphrase(boxed(typed.as_bytes()))
            }
        }
        other => passphrase(boxed(&read(&other)?)),
    })
}

/// A new secret, before its provider is made.
pub struct Fresh {
    secret: FreshSecret,
    kdf_ms: Option<u32>,
}

enum FreshSecret {
    Passphrase(SecretSlice<u8>),
    Key(RawKey),
    Provider(Provider),
}

/// The first secret of a store.
pub fn first(args: &FirstArgs, output: &Output) -> Result<Fresh, Failure> {
    let given = [
        args.passphrase_file.clone().map(Source::File),
        args.passphrase_fd.map(Source::Fd),
        args.passphrase_command.clone().map(Source::Command),
        args.key_file.clone().map(Source::KeyFile),
        by_option(&args.provider, &args.pin_file),
    ];
    fresh(source(given, OPENING, "")?, args.kdf_ms, output)
}

/// The new secret of a slot.
pub fn new(args: &NewArgs, output: &Output) -> Result<Fresh, Failure> {
    let given = [
        args.new_passphrase_file.clone().map(Source::File),
        args.new_passphrase_fd.map(Source::Fd),
        args.new_passphrase_command.clone().map(Source::Command),
        args.new_key_file.clone().map(Source::KeyFile),
        by_option(&args.new_provider, &args.new_pin_file),
    ];
    fresh(source(given, NEW, "new-")?, args.kdf_ms, output)
}

/// One descriptor can't give two secrets.
pub fn check_apart(opening: &SecretArgs, new: &NewArgs) -> Result<(), Failure> {
    let old = opening.passphrase_fd.or(opening.recovery_code_fd);
    if old.is_some() && old == new.new_passphrase_fd {
        return Err(Failure::usage(
            "one file descriptor can't give both secrets; use two",
        ));
    }
    Ok(())
}

impl Fresh {
    /// Its provider, which for a passphrase may measure this machine first.
    pub async fn provider(self) -> Result<Provider, Failure> {
        Ok(match self.secret {
            FreshSecret::Key(key) => Arc::new(key),
            FreshSecret::Provider(provider) => provider,
            FreshSecret::Passphrase(secret) => {
                let cost = match self.kdf_ms {
                    Some(target) => calibrate(Duration::from_millis(u64::from(target)))
                        .await
                        .map_err(SealError::from)?,
                    None => KdfCost::default(),
                };
                Arc::new(Passphrase::from_bytes(secret).cost(cost))
            }
        })
    }
}

fn fresh(source: Source, kdf_ms: Option<u32>, output: &Output) -> Result<Fresh, Failure> {
    let secret = match source {
        Source::KeyFile(path) => FreshSecret::Key(key_file(&path)?),
        Source::Provider(uri, pin_file) => {
            FreshSecret::Provider(by_uri(&uri, pin_file.as_deref())?)
        }
        Source::Terminal => {
            let typed = prompt::secret("New passphrase")?;
            if let Some(advice) = rating::advice(&typed) {
                output.note(&advice);
            }
            if *typed != *prompt::secret("The same again")? {
                return Err(Failure::usage(
                    "the two differ; nothing was changed, try again",
                ));
            }
            FreshSecret::Passphrase(boxed(typed.as_bytes()))
        }
        other => {
            let bytes = read(&other)?;
            if let Some(advice) = std::str::from_utf8(&bytes).ok().and_then(rating::advice) {
                output.note(&advice);
            }
            FreshSecret::Passphrase(boxed(&bytes))
        }
    };
    if kdf_ms.is_some() && !matches!(secret, FreshSecret::Passphrase(_)) {
        return Err(Failure::usage(
            "only a passphrase is stretched: leave out --kdf-ms",
        ));
    }
    Ok(Fresh { secret, kdf_ms })
}

/// The option that was given (clap refuses two), else the environment, else the terminal.
fn source<const N: usize>(
    given: [Option<Source>; N],
    variables: [&'static str; 3],
    prefix: &str,
) -> Result<Source, Failure> {
    if let Some(source) = given.into_iter().flatten().next() {
        return Ok(source);
    }
    let set: Vec<&'static str> = variables
        .into_iter()
        .filter(|name| std::env::var_os(name).is_some())
        .collect();
    match set.as_slice() {
        [] if prompt::can_ask() => Ok(Source::Terminal),
        [] => Err(Failure::usage(format!(
            "no {prefix}passphrase was given and there is no terminal to ask at; use --{prefix}passphrase-file, \
             --{prefix}passphrase-fd, --{prefix}passphrase-command, --{prefix}key-file, --{prefix}provider or {}",
            variables.join(", ")
        ))),
        [name] => {
            let value = || std::env::var_os(name).unwrap_or_default();
            if value().is_empty() {
                return Err(
                    Failure::usage("the variable is empty; set it, or unset it").about(*name)
                );
            }
            if name.ends_with("_FILE") {
                Ok(Source::File(PathBuf::from(value())))
            } else if name.ends_with("_COMMAND") {
                let command = value().into_string().map_err(|_| {
                    Failure::usage("a command in the environment is text in UTF-8").about(*name)
                })?;
                Ok(Source::Command(command))
            } else {
                Ok(Source::Variable(name))
            }
        }
        several => Err(Failure::usage(format!(
            "{} are all set; set one of them",
            several.join(" and ")
        ))),
    }
}

/// The bytes of a passphrase.
fn read(source: &Source) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let (bytes, about) = match source {
        Source::File(path) => (read_file(path)?, path.display().to_string()),
        Source::Fd(fd) => (read_fd(*fd)?, format!("file descriptor {fd}")),
        Source::Command(command) => (run(command)?, "the passphrase command".to_owned()),
        Source::Variable(name) => {
            let value = std::env::var_os(name).map(OsString::into_encoded_bytes);
            (
                Zeroizing::new(value.unwrap_or_default()),
                (*name).to_owned(),
            )
        }
        // The others are no passphrase.
        _ => (Zeroizing::default(), String::new()),
    };
    if bytes.is_empty() {
        return Err(Failure::usage(
            "the passphrase is empty; an empty passphrase protects nothing",
        )
        .about(about));
    }
    Ok(bytes)
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let unreadable = |error| {
        Failure::other("the file of the secret can't be read")
            .because(error)
            .at(path)
    };
    let file = File::open(path).map_err(unreadable)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let about = file.metadata().map_err(unreadable)?;
        if about.is_file() && about.permissions().mode() & 0o077 != 0 {
            return Err(Failure::other(
                "the file of the secret is open to others; restrict it with chmod 600",
            )
            .at(path));
        }
    }
    to_end(file).map_err(|failure| failure.at(path))
}

#[cfg(unix)]
fn read_fd(fd: u32) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let about = format!("file descriptor {fd}");
    let unreadable = |error| {
        Failure::usage("the file descriptor can't be read; is it open?")
            .because(error)
            .about(about.clone())
    };
    if fd == 0 {
        return to_end(std::io::stdin().lock());
    }
    let file = File::open(format!("/dev/fd/{fd}")).map_err(unreadable)?;
    to_end(file).map_err(|failure| failure.about(about.clone()))
}

#[cfg(not(unix))]
fn read_fd(_: u32) -> Result<Zeroizing<Vec<u8>>, Failure> {
    Err(Failure::usage(
        "there are no file descriptors here; use a file",
    ))
}

/// All of it, without one newline at the end, in a buffer that never moves.
fn to_end(mut from: impl Read) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(vec![0; LONGEST + 2]);
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(Failure::other("the secret can't be read").because(error));
            }
        }
    }
    if length > 0 && bytes.get(length - 1) == Some(&b'\n') {
        length -= 1;
    }
    if length > LONGEST {
        return Err(Failure::usage(
            "the secret is longer than 64 KiB; that is some other file",
        ));
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// What a program prints. It is started as it is, with no shell; its own complaints go to our stderr.
fn run(command: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let words = shlex::split(command)
        .filter(|words| !words.is_empty())
        .ok_or_else(|| {
            Failure::usage("the passphrase command is empty, or has a quote that is not closed")
        })?;
    let (program, arguments) = match words.split_first() {
        Some((program, arguments)) => (program, arguments),
        None => return Err(Failure::usage("the passphrase command is empty")),
    };
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::piped());
    // It has no need of what it is to find out.
    for name in OPENING.iter().chain(&NEW) {
        command.env_remove(name);
    }
    let mut child = command.spawn().map_err(|error| {
        Failure::unreachable("the passphrase command can't be started; is the program there? (it runs without a shell)")
            .because(error)
    })?;
    let printed = child
        .stdout
        .take()
        .ok_or_else(|| Failure::other("the passphrase command has no output"))
        .and_then(to_end);
    let status = child
        .wait()
        .map_err(|error| Failure::other("the passphrase command got lost").because(error))?;
    // One that was not read to its end has died of that.
    let printed = printed?;
    if !status.success() {
        return Err(Failure::unreachable(format!(
            "the passphrase command failed ({status}); run it by itself and see"
        )));
    }
    Ok(printed)
}

/// The provider that a URI names, with the PIN that is in a file.
pub fn by_uri(uri: &str, pin_file: Option<&Path>) -> Result<Provider, Failure> {
    let mut credentials = ProviderCredentials::new();
    if let Some(path) = pin_file {
        let pin = read_file(path)?;
        let pin =
            std::str::from_utf8(&pin).map_err(|_| Failure::usage("a PIN is text").at(path))?;
        credentials = credentials.pin(SecretString::from(pin));
    }
    provider_from_uri(uri, &credentials).map_err(|error| match error.kind() {
        ProviderErrorKind::BadRequest => Failure::usage(error.to_string()).about("the provider"),
        _ => SealError::from(error).into(),
    })
}

fn by_option(uri: &Option<String>, pin_file: &Option<PathBuf>) -> Option<Source> {
    let uri = uri.clone()?;
    Some(Source::Provider(uri, pin_file.clone()))
}

fn key_file(path: &Path) -> Result<RawKey, Failure> {
    RawKey::from_file(path).map_err(SealError::from).at(path)
}

fn code(bytes: &[u8]) -> Result<RecoveryCode, Failure> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Failure::usage("this is no recovery code: it is not text"))?;
    RecoveryCode::parse(text).map_err(|error| Failure::usage(error.to_string()))
}

/// In a box of its own length: a `Vec` that shrinks would leave a copy.
fn boxed(bytes: &[u8]) -> SecretSlice<u8> {
    SecretSlice::new(Box::from(bytes))
}
