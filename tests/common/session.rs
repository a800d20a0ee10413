//! A private desktop session for a test: a bus and a login of its own, in a child process that runs the same test again.
#![allow(dead_code, reason = "each test file uses a part")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::services::Service;

const INSIDE: &str = "SEALED_STORE_TEST_SESSION";
pub const PASSWORD: &str = "the login's password";

/// What a bus allows, and that it starts nothing by itself.
pub const OPEN: &str = "<allow own=\"*\"/><allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/>";

/// Whether this is the test again, in its session.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs `body` in a session of its own, whose bus has this policy. `test` is the name of the test that calls.
pub fn with_policy<F: Future<Output = ()>>(test: &str, policy: &str, body: impl FnOnce() -> F) {
    if is_inside() {
        return run(body());
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bus.conf");
    let text = format!(
        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
         \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n<busconfig><type>session</type>\
         <listen>unix:dir={}</listen><policy context=\"default\">{policy}</policy></busconfig>",
        folder.path().display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("dbus-run-session");
    command
        .arg(format!("--config-file={}", config.display()))
        .args(["--", "keyctl", "session", "-"]);
    again(&mut command, test, folder.path());
}

/// As [`with_policy`], with a bus that allows everything.
pub fn session<F: Future<Output = ()>>(test: &str, body: impl FnOnce() -> F) {
    with_policy(test, OPEN, body);
}

/// Runs `body` where there is no bus.
pub fn without_bus<F: Future<Output = ()>>(test: &str, body: impl FnOnce() -> F) {
    if is_inside() {
        return run(body());
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("env");
    command.arg(format!(
        "DBUS_SESSION_BUS_ADDRESS=unix:path={}/none",
        folder.path().display()
    ));
    again(&mut command, test, folder.path());
}

/// On a current-thread runtime, which a blocking call would stop.
fn run(body: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(body);
}

/// This test again, behind `command`.
fn again(command: &mut Command, test: &str, folder: &Path) {
    let runtime = folder.join("run");
    for name in ["run", "home", "data", "config", "cache"] {
        std::fs::create_dir(folder.join(name)).unwrap();
    }
    std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o700)).unwrap();
    command
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .env("HOME", folder.join("home"))
        .env("XDG_RUNTIME_DIR", runtime)
        .env("XDG_DATA_HOME", folder.join("data"))
        .env("XDG_CONFIG_HOME", folder.join("config"))
        .env("XDG_CACHE_HOME", folder.join("cache"));
    for name in [
        "DISPLAY",
        "WAYLAND_DISPLAY",
        "GNOME_KEYRING_CONTROL",
        "DBUS_SESSION_BUS_ADDRESS",
    ] {
        command.env_remove(name);
    }
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; run scripts/services"));
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && out.contains("test result: ok. 1 passed"),
        "in the session: {}\n{out}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The keychain's daemon, as the login starts it, or before the login's password is known.
pub fn keychain(is_open: bool) -> Service {
    keychain_of("gnome-keyring-daemon", is_open, None)
}

/// Another program of the same kind, which keeps its entries in `data`.
pub fn keychain_of(program: &str, is_open: bool, data: Option<&Path>) -> Service {
    let mut service = Service::start(|folder| {
        let password = folder.join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        let unlock = if is_open { "--unlock" } else { "" };
        let mut command = Command::new("bash");
        command.args([
            "-c",
            &format!(
                "exec {program} --foreground {unlock} --components=secrets --control-directory={} < {}",
                folder.join("control").display(),
                password.display()
            ),
        ]);
        if let Some(data) = data {
            command.env("XDG_DATA_HOME", data);
        }
        command
    });
    service.wait_until(|| has_owner("org.freedesktop.secrets"));
    service
}

/// Whether somebody serves this name on the bus.
pub fn has_owner(name: &str) -> bool {
    let output = Command::new("dbus-send")
        .args([
            "--session",
            "--print-reply",
            "--dest=org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus.NameHasOwner",
            &format!("string:{name}"),
        ])
        .output()
        .expect("dbus-send runs");
    String::from_utf8_lossy(&output.stdout).contains("boolean true")
}
