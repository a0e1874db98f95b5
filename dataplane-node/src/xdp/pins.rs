use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lbfabric_abi::LAYOUT_VERSION;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::{Fault, ProgramKind, fault::errno};
use crate::config::PIN_BASE;

/// Where BPF file systems are mounted by convention.
const BPFFS: &str = "/sys/fs/bpf";

/// What the names of pinned links, and of pinned program arrays, begin with.
const LINK: &str = "link-";
const GENERATION: &str = "programs-";
const HOOK: &str = "hook-";
/// What stands before the number of a folder that was set aside.
const ASIDE: char = '+';
/// A BPF file system has no names with dots, interfaces have (`eth0.100`), and none with a colon.
const DOT: (&str, &str) = (".", ":");

/// The folder with the pinned maps, program arrays and links of one agent.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    kind: ProgramKind,
    pin_dir: PathBuf,
    folder: PathBuf,
}

impl Pins {
    pub(crate) fn new(pin_dir: &Path, kind: ProgramKind) -> Self {
        let folder = format!("v{LAYOUT_VERSION}{}", kind.folder_suffix());
        Self {
            kind,
            pin_dir: pin_dir.to_owned(),
            folder: pin_dir.join(folder),
        }
    }

    /// Those that agents with another layout of the maps have left in the same place.
    pub(crate) fn of_other_layouts(&self) -> io::Result<Vec<Self>> {
        let mut others = Vec::new();
        for name in names_in(&self.pin_dir)? {
            let folder = self.pin_dir.join(&name);
            if is_layout_folder(&name, self.kind) && folder != self.folder {
                others.push(Self {
                    folder,
                    ..self.clone()
                });
            }
        }
        Ok(others)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The pin of the link on an interface.
    pub(crate) fn link(&self, interface: &str) -> PathBuf {
        let (dot, instead) = DOT;
        let interface = interface.replace(dot, instead);
        self.folder.join(format!("{LINK}{interface}"))
    }

    /// The pin of the link that holds a hook's program on the root cgroup.
    pub(crate) fn hook(&self, hook: &str) -> PathBuf {
        self.folder.join(format!("{HOOK}{hook}"))
    }

    /// The interfaces with a pinned link.
    pub(crate) fn links(&self) -> io::Result<Vec<String>> {
        let names = names_in(&self.folder)?;
        let interfaces = names.iter().filter_map(|name| name.strip_prefix(LINK));
        let (dot, instead) = DOT;
        Ok(interfaces.map(|name| name.replace(instead, dot)).collect())
    }

    /// The pin of a load's program array.
    pub(crate) fn generation(&self, number: u32) -> PathBuf {
        self.folder.join(format!("{GENERATION}{number}"))
    }

    /// The pinned program arrays, in the order in which they were made.
    pub(crate) fn generations(&self) -> io::Result<Vec<u32>> {
        let names = names_in(&self.folder)?;
        let numbers = names
            .iter()
            .filter_map(|name| name.strip_prefix(GENERATION));
        let mut numbers: Vec<u32> = numbers.filter_map(|n| n.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Gives the folder a name of its own among those of other layouts.
    pub(crate) fn set_aside(&self) -> Result<(), Fault> {
        let failed = |error: &io::Error| Fault::PinDir {
            path: self.folder.clone(),
            detail: format!("rename it: {error}"),
        };
        let name = self.folder.file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        let mut numbers = 1_u32..;
        let free = numbers
            .by_ref()
            .map(|number| self.pin_dir.join(format!("{name}{ASIDE}{number}")))
            .find(|path| !path.exists())
            .ok_or_else(|| failed(&io::ErrorKind::AlreadyExists.into()))?;
        fs::rename(&self.folder, free).map_err(|error| failed(&error))
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
        if !self.folder.exists() {
            return Ok(false);
        }
        for name in names_in(&self.folder)? {
            fs::remove_file(self.folder.join(name))?;
        }
        fs::remove_dir(&self.folder)?;
        remove_if_empty(&self.pin_dir)?;
        if let Some(base) = self.pin_dir.parent()
            && base == Path::new(PIN_BASE)
        {
            remove_if_empty(base)?;
        }
        Ok(true)
    }
}

/// Removes a folder, unless another role's, version's or agent's pins keep it. A mount point cannot be removed, nor need it be.
fn remove_if_empty(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) => match error.kind() {
            io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::NotFound
            | io::ErrorKind::ResourceBusy => Ok(()),
            _ => Err(error),
        },
        Ok(()) => Ok(()),
    }
}

/// The names in a folder, sorted; none if it is not there.
fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect::<io::Result<_>>()?;
    names.sort_unstable();
    Ok(names)
}

/// Whether a folder holds the maps of some layout: `v3`, `v3-server`, or `v3+1` if it was set aside.
fn is_layout_folder(name: &str, kind: ProgramKind) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (layout, aside) = name.split_once(ASIDE).unwrap_or((name, "1"));
    let version = layout
        .strip_prefix('v')
        .and_then(|rest| rest.strip_suffix(kind.folder_suffix()));
    version.is_some_and(number) && number(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_layouts_are_told_by_their_names() {
        use ProgramKind::{LoadBalancer, Server};
        let layout = is_layout_folder;
        assert!(layout("v1", LoadBalancer) && layout("v12", LoadBalancer));
        assert!(layout("v1-server", Server));
        assert!(layout("v1+1", LoadBalancer) && layout("v1-server+12", Server));
        assert!(!layout("v1", Server) && !layout("v1-server", LoadBalancer));
        for name in [
            "v", "1", "vx", "v1x", "other", "v-server", "v1+", "v1+x", "v+1",
        ] {
            assert!(
                !layout(name, LoadBalancer) && !layout(name, Server),
                "{name}"
            );
        }
    }

    #[test]
    fn a_folder_elsewhere_is_refused_with_advice() {
        let dir = tempfile::tempdir().unwrap();
        let pins = Pins::new(&dir.path().join("pins"), ProgramKind::LoadBalancer);
        let fault = pins.prepare().unwrap_err();
        assert!(fault.to_string().contains("mount -t bpf"), "{fault}");
        assert!(!pins.folder().exists());
    }
}
