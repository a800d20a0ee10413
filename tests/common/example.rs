//! An example of this package as a program: built when a test asks for it, so that it is never an older one.
#![allow(dead_code, reason = "each test file uses a part")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of this test's profile, with what else was built in it.
fn profile() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a program");
    let folder = test.parent().and_then(Path::parent);
    folder.expect("it is in a target folder").to_owned()
}

/// Where the program of `examples/NAME` is, once it was built.
pub fn place(name: &str) -> PathBuf {
    profile().join("examples").join(name)
}

/// The program of `examples/NAME`. `cargo test` has built it already, and then this only looks; `cargo test --test` builds none.
pub fn built(name: &str) -> PathBuf {
    let profile = profile();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--locked", "--offline", "--example", name])
        // With the features of this test's own build, so that nothing is built anew.
        .args(cfg!(feature = "tpm2").then_some("--all-features"))
        .arg("--target-dir")
        .arg(profile.parent().expect("it is in a target folder"))
        .arg("--profile")
        .arg(match profile.file_name().and_then(OsStr::to_str) {
            Some("debug") | None => "dev",
            Some(other) => other,
        });
    // What cargo says to this test of its package: build scripts that look at it would run, and all after them be built, anew.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let of_package = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
        ];
        if of_package.iter().any(|prefix| text.starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
    let output = cargo.output().expect("cargo runs");
    assert!(
        output.status.success(),
        "the example is not built; `cargo build --example {name}` says why:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let program = place(name);
    assert!(program.exists(), "{} is not there", program.display());
    program
}
