//! An example of this package as a program: built when a test asks for it, so that it is never an older one.

use std::path::PathBuf;
use std::process::Command;

/// The program of `examples/NAME`. `cargo test` has built it already, and then this only looks.
pub fn built(name: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--locked", "--offline", "--example", name])
        .args(["--message-format", "json-render-diagnostics"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
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
    String::from_utf8(output.stdout)
        .expect("cargo speaks JSON")
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|said| said["target"]["name"] == name && said["executable"].is_string())
        .map(|said| PathBuf::from(said["executable"].as_str().unwrap_or_default()))
        .expect("cargo says where the program is")
}
