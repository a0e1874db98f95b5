//! What the machine must have.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::bail;
use nix::unistd::Uid;

/// Programs and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 7] = [
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("ethtool", "ethtool"),
    ("nginx", "nginx"),
    ("curl", "curl"),
    ("bird", "bird2"),
    ("birdc", "bird2"),
];

/// Says everything that is missing at once.
pub(super) fn check() -> anyhow::Result<()> {
    if !Uid::effective().is_root() {
        bail!("the lab makes network namespaces and loads XDP programs: run it as root");
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path).collect();
    let missing: Vec<String> = PROGRAMS
        .iter()
        .filter(|(program, _)| !folders.iter().any(|folder| folder.join(program).is_file()))
        .map(|(program, package)| format!("{program} (package {package})"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "missing on this machine: {}; `make setup` installs them",
        missing.join(", ")
    )
}

/// The programs of the fabric.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// `lbfabric`.
    pub cli: PathBuf,
    /// `lbfabric-controller`.
    pub controller: PathBuf,
    /// `lbfabric-node`.
    pub node: PathBuf,
}

impl Binaries {
    /// Finds them in `LBFABRIC_BIN_DIR`, or else beside the running program, or in the folder above (where the programs are when
    /// the running one is a test).
    pub fn find() -> anyhow::Result<Self> {
        let folders = if let Some(folder) = env::var_os("LBFABRIC_BIN_DIR") {
            vec![PathBuf::from(folder)]
        } else {
            let program = env::current_exe()?;
            let above = program.ancestors().skip(1).take(2);
            above.map(Path::to_path_buf).collect::<Vec<_>>()
        };
        let find = |name: &str| {
            folders
                .iter()
                .map(|folder| folder.join(name))
                .find(|path| path.is_file())
        };
        let [cli, controller, node] =
            ["lbfabric", "lbfabric-controller", "lbfabric-node"].map(|name| (name, find(name)));
        let ((_, Some(cli)), (_, Some(controller)), (_, Some(node))) = (&cli, &controller, &node)
        else {
            let missing: Vec<&str> = [cli, controller, node]
                .into_iter()
                .filter(|(_, path)| path.is_none())
                .map(|(name, _)| name)
                .collect();
            let searched: Vec<String> = folders
                .iter()
                .map(|folder| folder.display().to_string())
                .collect();
            bail!(
                "{} not found in {}: build with `cargo build -p lbfabric -p lbfabric-controller -p lbfabric-node`, or set \
                 LBFABRIC_BIN_DIR to their folder",
                missing.join(", "),
                searched.join(" or ")
            );
        };
        Ok(Self {
            cli: cli.clone(),
            controller: controller.clone(),
            node: node.clone(),
        })
    }
}
