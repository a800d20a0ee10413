//! A child with a small disk of its own, which goes when it ends. Nothing is mounted for anybody else.
#![allow(dead_code, reason = "each test file uses a part")]

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::child::{Child, command};

/// Whether this is root, whom no mode keeps out.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self")
        .expect("there is /proc")
        .uid()
        == 0
}

/// Runs the test `helper` with a disk of `size` mounted on `folder`, which it alone sees.
pub fn with_disk(folder: &Path, size: &str, helper: &str, job: &[&str]) -> Child {
    with_script(
        folder,
        &format!("mount -t tmpfs -o size={size} none \"$0\""),
        helper,
        job,
    )
}

/// Runs the test `helper` after a script that mounts something on `folder`, its `$0`, for it alone.
pub fn with_script(folder: &Path, script: &str, helper: &str, job: &[&str]) -> Child {
    let found = Command::new("unshare").arg("--version").output();
    found.expect("no `unshare` is found: install the packages util-linux and mount");
    // Who is not root can be root among names of his own.
    let names = if is_root() { "-m" } else { "-rm" };
    let script = format!("{script} && exec \"$@\"");
    let wrapper = [
        "unshare",
        names,
        "sh",
        "-c",
        &script,
        folder.to_str().unwrap(),
    ];
    let mut child = Child::start(command(&wrapper, helper, job));
    assert_eq!(
        child.next().as_deref(),
        Some("ready"),
        "no disk could be mounted: run the tests as root, or allow user namespaces"
    );
    child
}
