//! What it costs to open a keyring through each provider, and how soon a lease closes it, with the real services on loopback.
//!
//! `cargo bench --features tpm2 --bench providers` prints two tables; `-- 51` at its end does 51 rounds instead of 21. Each round opens through
//! a raw key and through the provider, one after the other, and the ratio is that of the two. Nothing fails here: a bench reports.
//! `scripts/services` installs what it starts.

#[path = "../../tests/common/child.rs"]
mod child;
#[path = "../../tests/aws_kms/front.rs"]
mod front;
mod leases;
#[path = "../../tests/common/openbao.rs"]
mod openbao;
mod opening;
#[path = "../../tests/common/proxy.rs"]
mod proxy;
#[path = "../../tests/common/services.rs"]
mod services;
#[path = "../../tests/common/session.rs"]
mod session;
#[path = "../../tests/common/softhsm.rs"]
mod softhsm;
#[path = "../../tests/common/swtpm.rs"]
mod swtpm;
mod ways;
#[path = "../../tests/aws_kms/world.rs"]
mod world;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Set in the process that measures.
const INSIDE: &str = "SEALED_STORE_BENCH_INSIDE";

fn main() -> ExitCode {
    let number = std::env::args().find_map(|argument| argument.parse().ok());
    let rounds: usize = number.unwrap_or(21).max(3);
    if std::env::var_os(INSIDE).is_none() {
        return in_a_session(rounds);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let world = ways::World::start();
        opening::table(&world, rounds).await;
        leases::table(&world, rounds).await;
    });
    ExitCode::SUCCESS
}

/// This program again, with a home, a bus, a keychain's session and tokens of its own.
fn in_a_session(rounds: usize) -> ExitCode {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    for name in [
        "run",
        "home",
        "home/.aws",
        "data",
        "config",
        "cache",
        "tokens",
    ] {
        std::fs::create_dir(path(name)).expect("a folder is made");
    }
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(path("run"), private).expect("it is made private");
    softhsm::configure(folder.path(), "");
    softhsm::init(folder.path(), softhsm::TOKEN, Some(softhsm::PIN));
    let mut command = Command::new("dbus-run-session");
    command
        .arg(format!("--config-file={}", bus(folder.path()).display()))
        .args(["--", "keyctl", "session", "-"])
        .arg(std::env::current_exe().expect("this program"))
        .arg(rounds.to_string())
        .env(INSIDE, "1")
        .env("HOME", path("home"))
        .env("XDG_RUNTIME_DIR", path("run"))
        .env("XDG_DATA_HOME", path("data"))
        .env("XDG_CONFIG_HOME", path("config"))
        .env("XDG_CACHE_HOME", path("cache"))
        .env("SOFTHSM2_CONF", path("softhsm2.conf"))
        .env("AWS_EC2_METADATA_DISABLED", "true");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(&name);
        }
    }
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{command:?}: {error}; run scripts/services");
            ExitCode::FAILURE
        }
    }
}

/// The configuration of a bus that allows everything and starts nothing by itself.
fn bus(folder: &Path) -> std::path::PathBuf {
    let config = folder.join("bus.conf");
    let (open, listen) = (session::OPEN, folder.display());
    let text = format!(
        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
         \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n<busconfig><type>session</type>\
         <listen>unix:dir={listen}</listen><policy context=\"default\">{open}</policy></busconfig>"
    );
    std::fs::write(&config, text).expect("it is written");
    config
}
