//! Pages of the documentation, whose commands are run.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{fs, path::Path, process::Output};

use crate::namespaces::bash;

/// Behind [`PLACE`](crate::namespaces::PLACE): a node's interface, and a folder that a script may write to.
pub(crate) const INTERFACE: &str = "
cd /var/lib
ip link add eth0 type veth peer name eth0-peer
ip link set eth0 up
ip link set eth0-peer up
ip addr add 10.77.2.11/24 dev eth0
";

/// A page, by its name.
pub(crate) fn page(name: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    fs::read_to_string(docs.join(name)).expect("there is a page")
}

/// The page's blocks: of which kind, and what is in them.
pub(crate) fn blocks(page: &str) -> Vec<(&str, &str)> {
    let blocks = page.split("\n```").skip(1).step_by(2);
    blocks
        .map(|it| it.split_once('\n').expect("a block has lines"))
        .collect()
}

/// A script's line that makes a file.
pub(crate) fn file(name: &str, content: &str) -> String {
    format!("cat > {name} <<'END'\n{content}\nEND\n")
}

/// Runs a script, which finds `lbfabric`.
pub(crate) fn run(script: &str) -> Output {
    let binary = Path::new(env!("CARGO_BIN_EXE_lbfabric"));
    let folder = binary.parent().expect("a binary is in a folder");
    let path = std::env::var("PATH").expect("there is a PATH");
    bash(script)
        .env("PATH", format!("{}:{path}", folder.display()))
        .output()
        .expect("unshare is of util-linux, which every Debian has")
}

/// What a script prints, which must succeed.
pub(crate) fn said(script: &str) -> String {
    let output = run(script);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}
