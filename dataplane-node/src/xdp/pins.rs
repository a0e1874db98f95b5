use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lbfabric_abi::LAYOUT_VERSION;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::{Fault, ProgramKind, fault::errno};

/// Where BPF file systems are mounted by convention.
const BPFFS: &str = "/sys/fs/bpf";

/// The folder with the pinned maps and links of one agent.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    pin_dir: PathBuf,
    folder: PathBuf,
}

impl Pins {
    pub(crate) fn new(pin_dir: &Path, kind: ProgramKind) -> Self {
        let folder = match kind {
            ProgramKind::LoadBalancer => format!("v{LAYOUT_VERSION}"),
            ProgramKind::Server => format!("v{LAYOUT_VERSION}-server"),
        };
        Self {
            pin_dir: pin_dir.to_owned(),
            folder: pin_dir.join(folder),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The pin of the link on an interface.
    pub(crate) fn link(&self, interface: &str) -> PathBuf {
        self.folder.join(format!("link-{interface}"))
    }

    /// The pin of the programs behind the program with this id.
    pub(crate) fn programs(&self, id: u32) -> PathBuf {
        self.folder.join(format!("programs-{id}"))
    }

    /// The interfaces with a pinned link.
    pub(crate) fn links(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let names: Vec<String> = names.collect::<io::Result<_>>()?;
        Ok(names
            .iter()
            .filter_map(|name| name.strip_prefix("link-").map(str::to_owned))
            .collect())
    }

    /// Makes the folder, on a BPF file system that is mounted if need be.
    pub(crate) fn prepare(&self) -> Result<(), Fault> {
        let failed = |doing: &'static str, error: io::Error| match errno(&error) {
            Some(libc::EPERM | libc::EACCES) => Fault::of(doing, &error),
            _ => Fault::PinDir {
                path: self.pin_dir.clone(),
                detail: format!("{doing}: {error}"),
            },
        };
        let is_bpffs = |path: &Path| {
            statfs(path)
                .map(|stat| stat.filesystem_type() == BPF_FS_MAGIC)
                .map_err(|error| failed("look at its file system", error.into()))
        };
        if !is_bpffs(self.existing_ancestor())? {
            if !self.pin_dir.starts_with(BPFFS) {
                return Err(Fault::PinDir {
                    path: self.pin_dir.clone(),
                    detail: format!(
                        "not on a BPF file system: choose a folder below {BPFFS}, or mount one there (mount -t bpf bpf DIR)"
                    ),
                });
            }
            // Agents that start together must not mount over each other: whoever comes second finds it mounted.
            let mount_point = fs::File::open(BPFFS).map_err(|error| failed("open", error))?;
            mount_point
                .lock()
                .map_err(|error| failed("lock the mount point", error))?;
            if !is_bpffs(self.existing_ancestor())? {
                mount(
                    Some("bpf"),
                    BPFFS,
                    Some("bpf"),
                    MsFlags::empty(),
                    None::<&str>,
                )
                .map_err(|error| failed("mount a BPF file system", error.into()))?;
            }
        }
        fs::create_dir_all(&self.folder).map_err(|error| failed("make the folder", error))
    }

    fn existing_ancestor(&self) -> &Path {
        let mut ancestors = self.folder.ancestors();
        let existing = ancestors.find(|path| path.exists());
        existing.unwrap_or_else(|| Path::new("/"))
    }

    /// Removes all pins; the kernel frees what nothing else uses. True if there were any.
    pub(crate) fn remove(&self) -> io::Result<bool> {
        match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
            Ok(entries) => {
                for entry in entries {
                    fs::remove_file(entry?.path())?;
                }
            }
        }
        fs::remove_dir(&self.folder)?;
        // Another role's or version's pins may keep the parent; then it stays.
        match fs::remove_dir(&self.pin_dir) {
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
                // The mount point itself cannot be removed, nor need it be.
                if error.raw_os_error() == Some(libc::EBUSY) {
                    Ok(true)
                } else {
                    Err(error)
                }
            }
            _ => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_elsewhere_is_refused_with_advice() {
        let dir = tempfile::tempdir().unwrap();
        let pins = Pins::new(&dir.path().join("pins"), ProgramKind::LoadBalancer);
        let fault = pins.prepare().unwrap_err();
        assert!(fault.to_string().contains("mount -t bpf"), "{fault}");
        assert!(!pins.folder().exists());
    }
}
