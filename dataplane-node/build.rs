//! Finds the programs' objects for `object.rs`: those in the repository while they are those of the sources, or else new ones.

use std::{
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest as _, Sha256};

const OBJECTS: [&str; 2] = ["lbfabric.bpf.o", "steering.bpf.o"];
const HASH: &str = "lbfabric.bpf.sources";
const SINGLE_SOURCES: [&str; 3] = ["abi/Cargo.toml", "ebpf/Cargo.toml", "ebpf/build.sh"];
const SOURCE_FOLDERS: [&str; 2] = ["abi/src", "ebpf/src"];
const LOCK: &str = "../Cargo.lock";

fn main() {
    let node = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let kept = node.join("ebpf");

    let hash = sources_hash(&node).expect("the sources are readable");
    let kept_hash = fs::read_to_string(kept.join(HASH)).unwrap_or_default();
    if kept_hash.trim_end() == hash {
        for object in OBJECTS {
            fs::copy(kept.join(object), out.join(object))
                .expect("the objects lie beside their hash");
        }
    } else {
        build(&kept.join("build.sh"), &out);
    }

    let watched = SINGLE_SOURCES
        .iter()
        .chain(&SOURCE_FOLDERS)
        .copied()
        .chain([
            LOCK,
            "ebpf/lbfabric.bpf.o",
            "ebpf/steering.bpf.o",
            "ebpf/lbfabric.bpf.sources",
        ]);
    for path in watched {
        directive(&format!("cargo::rerun-if-changed={path}"));
    }
}

/// What `build.sh --hash` prints: the SHA-256 of a list like `sha256sum`'s, followed by the versions of aya-ebpf's crates.
fn sources_hash(node: &Path) -> io::Result<String> {
    let mut paths: Vec<String> = SINGLE_SOURCES.map(String::from).to_vec();
    for folder in SOURCE_FOLDERS {
        list(node, folder, &mut paths)?;
    }
    paths.sort_unstable();

    let mut listing = String::new();
    for path in paths {
        let digest = hex(&Sha256::digest(fs::read(node.join(&path))?));
        listing.extend([digest.as_str(), "  ", path.as_str(), "\n"]);
    }
    let lock = fs::read_to_string(node.join(LOCK))?;
    let mut lines = lock.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("name = \"aya-ebpf") {
            let version = lines.next().unwrap_or_default();
            listing.extend([line, "\n", version, "\n"]);
        }
    }
    Ok(hex(&Sha256::digest(listing)))
}

/// All files below a folder, named from `node`.
fn list(node: &Path, folder: &str, paths: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(node.join(folder))? {
        let entry = entry?;
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(node, &path, paths)?;
        } else {
            paths.push(path);
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// Runs `build.sh` with target files of its own: this very cargo holds the lock of the usual ones.
fn build(script: &Path, out: &Path) {
    let output = Command::new(script)
        .arg(out)
        .env("CARGO_TARGET_DIR", out)
        .output()
        .expect("a shell is there");
    assert!(
        output.status.success(),
        "dataplane-node/ebpf/{} is not that of the sources beside it, and building it here failed. \
         `make ebpf` builds it where the BPF toolchain is installed:\n{}",
        OBJECTS[0],
        String::from_utf8_lossy(&output.stderr)
    );
}

fn directive(line: &str) {
    writeln!(io::stdout(), "{line}").expect("cargo reads what the build script says");
}
