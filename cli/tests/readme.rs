//! Runs every command of the README, each block in namespaces of its own: what it starts and leaves ends with it.

#[path = "support/namespaces.rs"]
mod namespaces;

use std::{fs, path::Path};

fn root() -> &'static Path {
    let cli = Path::new(env!("CARGO_MANIFEST_DIR"));
    cli.parent().expect("the crate is in the repository")
}

fn blocks() -> Vec<String> {
    let readme = fs::read_to_string(root().join("README.md")).expect("there is a README");
    let parts = readme.split("```sh\n").skip(1);
    let blocks = parts.map(|part| part.split("```").next().unwrap_or_default());
    blocks.map(str::to_owned).collect()
}

#[test]
fn make_has_the_targets_that_the_readme_names() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let targets: Vec<_> = readme
        .split("make ")
        .skip(1)
        .map(|rest| {
            rest.split(|c: char| !c.is_ascii_lowercase())
                .next()
                .unwrap()
        })
        .filter(|target| !target.is_empty())
        .collect();
    assert!(
        targets.contains(&"demo") && targets.contains(&"test"),
        "{targets:?}"
    );
    for target in targets {
        assert!(
            makefile.contains(&format!("\n{target}:")),
            "no target {target}"
        );
    }
}

#[test]
fn every_block_works_as_it_stands() {
    let binary = Path::new(env!("CARGO_BIN_EXE_lbfabric"));
    let folder = binary.parent().unwrap();
    for name in ["lbfabric-controller", "lbfabric-node"] {
        assert!(
            folder.join(name).exists(),
            "{name} is not built: `make test` builds it before the tests"
        );
    }
    let blocks: Vec<_> = blocks()
        .into_iter()
        .filter(|block| !block.lines().all(|line| line.starts_with("make ")))
        .collect();
    assert!(
        blocks.len() >= 2,
        "the README's blocks are not where they were"
    );
    for block in blocks {
        let script = block
            .replace("target/release/", &format!("{}/", folder.display()))
            .replace("sudo ", "");
        let output = namespaces::bash(&format!("{}{script}", namespaces::PLACE))
            .current_dir(root())
            .output()
            .expect("unshare is of util-linux, which every Debian has");
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success(),
            "{block}\n{}\n{out}\n{err}",
            output.status
        );
        assert!(
            out.contains("web"),
            "nothing of the example shows:\n{out}\n{err}"
        );
    }
}
