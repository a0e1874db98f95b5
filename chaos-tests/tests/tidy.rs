//! Keeps the repository's habits honest: what a reviewer would otherwise have to look for in every change.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// No file is longer, tests included.
const LINES_MAX: usize = 1_000;
/// A longer file owes a reason here.
const LINES_WITHOUT_REASON: usize = 500;
const LONG_FILES: &[(&str, &str)] = &[];
/// Names that say nothing.
const BANNED_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc"];

fn root() -> PathBuf {
    let chaos = Path::new(env!("CARGO_MANIFEST_DIR"));
    chaos
        .parent()
        .expect("the crate is in the repository")
        .into()
}

/// Files as others publish them, with habits of their own.
const PUBLISHED: &str = "proto/opentelemetry";

/// What git tracks, and what it would track.
fn files() -> Vec<PathBuf> {
    let listing = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let from_git = listing.ok().filter(|output| output.status.success());
    let mut files = match from_git {
        Some(output) => String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(PathBuf::from)
            .collect(),
        // A source archive has no git; a machine may have none either.
        None => walk(Path::new("")),
    };
    files.retain(|file| root().join(file).is_file());
    assert!(
        files.len() > 50,
        "the listing is not of this repository: {files:?}"
    );
    files
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).expect("a listed folder is there");
    let paths = entries.flat_map(|entry| {
        let entry = entry.expect("the folder can be read");
        let path = folder.join(entry.file_name());
        match (entry.path().is_dir(), entry.file_name().to_str()) {
            (true, Some("target" | ".git")) => vec![],
            (true, _) => walk(&path),
            (false, _) => vec![path],
        }
    });
    paths.collect()
}

fn sources() -> Vec<(PathBuf, String)> {
    let rust = files()
        .into_iter()
        .filter(|f| f.extension().is_some_and(|e| e == "rs"));
    rust.map(|file| {
        let text = fs::read_to_string(root().join(&file)).expect("sources are UTF-8");
        (file, text)
    })
    .collect()
}

fn report(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn files_are_short() {
    let mut found = Vec::new();
    for (file, text) in sources() {
        let lines = text.lines().count();
        let excused = LONG_FILES.iter().any(|(path, _)| Path::new(path) == file);
        if lines > LINES_MAX || (lines > LINES_WITHOUT_REASON && !excused) {
            found.push(format!("{}: {lines} lines", file.display()));
        }
    }
    report(
        "too long: split them, or give a reason in LONG_FILES",
        &found,
    );
}

#[test]
fn names_say_something() {
    let found: Vec<_> = files()
        .into_iter()
        .filter(|file| !file.starts_with(PUBLISHED))
        .filter(|file| {
            let parts: Vec<_> = file.iter().filter_map(|part| part.to_str()).collect();
            let banned = |part: &&str| {
                let stem = part.split('.').next().unwrap_or_default();
                BANNED_NAMES.contains(&stem)
            };
            parts.iter().any(banned) || parts.last() == Some(&"mod.rs")
        })
        .map(|file| file.display().to_string())
        .collect();
    report(
        "say what is in it; and `foo.rs` with `foo/`, never `foo/mod.rs`",
        &found,
    );
}

#[test]
fn nothing_is_left_unfinished_or_skipped() {
    // Spelled so that this file does not find itself.
    let marks = [
        "to\u{64}o!(",
        "unimplem\u{65}nted!(",
        "FIXM\u{45}",
        "#[ignor\u{65}",
        "TOD\u{4f}",
    ];
    let mut found = Vec::new();
    for (file, text) in sources() {
        for (number, line) in (1..).zip(text.lines()) {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{}:{number}: {}", file.display(), line.trim()));
            }
        }
    }
    report("finish it, or open an issue for it", &found);
}

/// A source file that no `mod` line names is compiled by nobody.
#[test]
fn every_file_belongs_to_a_crate() {
    let sources = sources();
    let mut found = Vec::new();
    for (file, _) in &sources {
        let stem = file.file_stem().and_then(|s| s.to_str()).unwrap();
        let folder = file.parent().unwrap();
        let is_root = matches!(stem, "lib" | "main" | "build")
            || matches!(
                folder.file_name().and_then(|n| n.to_str()),
                Some("tests" | "bin" | "benches" | "examples" | "fuzz_targets")
            );
        if is_root {
            continue;
        }
        let declares = |(parent, text): &(PathBuf, String)| {
            let is_parent = parent.with_extension("") == folder
                || (parent.parent() == Some(folder)
                    && matches!(
                        parent.file_stem().and_then(|s| s.to_str()),
                        Some("lib" | "main")
                    ))
                || parent.parent() == folder.parent().filter(|p| p.ends_with("tests"))
                // What several benchmarks share is in a folder beside theirs.
                || parent.parent().and_then(Path::parent)
                    == folder.parent().filter(|p| p.ends_with("benches"));
            is_parent
                && text.lines().any(|line| {
                    let line = line.trim();
                    line.ends_with(&format!("mod {stem};"))
                        || line.contains(&format!("/{stem}.rs\"]"))
                })
        };
        if !sources.iter().any(declares) {
            found.push(file.display().to_string());
        }
    }
    report(
        "no `mod` line names them: delete them, or name them",
        &found,
    );
}

#[test]
fn pure_crates_stay_pure() {
    let mut found = Vec::new();
    for krate in ["lbfabric-abi", "lbfabric-model", "lbfabric-bgp"] {
        let tree = Command::new(env::var("CARGO").unwrap_or("cargo".into()))
            .args([
                "tree", "--locked", "--edges", "normal", "--prefix", "none", "-p", krate,
            ])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(
            tree.status.success(),
            "{}",
            String::from_utf8_lossy(&tree.stderr)
        );
        let tree = String::from_utf8(tree.stdout).unwrap();
        assert!(tree.starts_with(krate), "{tree}");
        let names: BTreeSet<_> = tree
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        for shell in ["tokio", "tonic", "aya", "openraft", "rtnetlink", "socket2"] {
            if names.contains(shell) {
                found.push(format!("{krate} depends on {shell}"));
            }
        }
    }
    report("shells reach a pure crate", &found);
}

#[test]
fn documents_name_no_machine() {
    let marks = ["/wor\u{6b}/", "/roo\u{74}/", "/hom\u{65}/"];
    let mut found = Vec::new();
    for file in files() {
        let Ok(text) = fs::read_to_string(root().join(&file)) else {
            continue;
        };
        for (number, line) in (1..).zip(text.lines()) {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{}:{number}: {}", file.display(), line.trim()));
            }
        }
    }
    report("a path of one machine", &found);
}

/// The API's documentation is its comments.
#[test]
fn every_field_of_the_api_has_a_comment() {
    let mut found = Vec::new();
    for file in files()
        .into_iter()
        .filter(|f| f.extension().is_some_and(|e| e == "proto"))
        .filter(|f| !f.starts_with(PUBLISHED))
    {
        let text = fs::read_to_string(root().join(&file)).unwrap();
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        for (number, pair) in (2..).zip(lines.windows(2)) {
            let [before, line] = pair else { continue };
            let words: Vec<_> = line.split_whitespace().collect();
            let defines =
                matches!(
                    words.first(),
                    Some(&("message" | "enum" | "service" | "rpc" | "oneof"))
                ) || (line.ends_with(';') && line.contains(" = ") && !line.starts_with("syntax"));
            if defines && !before.starts_with("//") {
                found.push(format!("{}:{number}: {line}", file.display()));
            }
        }
    }
    report(
        "say what it is, its unit, default, limits and errors",
        &found,
    );
}
