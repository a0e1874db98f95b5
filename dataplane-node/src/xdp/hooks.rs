use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use aya::{
    EbpfLoader,
    programs::{CgroupAttachMode, CgroupSockAddr, links::FdLink},
};
use tracing::info;

use super::{Fault, Pins, ProgramKind};
use crate::object;

/// What the kernel calls the hooks, and the programs for them.
const HOOKS: [(&str, &str); 2] = [
    ("getpeername4", "lbfabric_peer4"),
    ("getpeername6", "lbfabric_peer6"),
];

/// The programs on a server's root cgroup that answer who a socket's peer is, also through `accept`. They work beside those of
/// others. Dropping this leaves them there, because their links are pinned.
#[derive(Debug)]
pub(crate) struct PeerHooks {
    pins: Pins,
    /// By this agent; an earlier one may have left its own.
    attached: bool,
}

impl PeerHooks {
    pub(crate) fn new(pin_dir: &Path) -> Self {
        Self {
            pins: Pins::new(pin_dir, ProgramKind::Server),
            attached: false,
        }
    }

    /// Puts the programs onto the root cgroup, in the place of an earlier agent's. The server's program must have been loaded: they
    /// share its pinned maps.
    pub(crate) fn attach(&mut self) -> Result<(), Fault> {
        if self.attached && HOOKS.iter().all(|(hook, _)| self.pins.hook(hook).exists()) {
            return Ok(());
        }
        let root = cgroup_root()?;
        let cgroup =
            File::open(&root).map_err(|error| Fault::of("open the root cgroup", &error))?;
        let mut options = EbpfLoader::new();
        options.default_map_pin_directory(self.pins.folder());
        for map in ProgramKind::Server.unused_maps() {
            options.map_max_entries(map, 1);
        }
        let mut ebpf = options
            .load(object::object())
            .map_err(|error| Fault::of("open the maps", &error))?;
        for (hook, name) in HOOKS {
            let missing = || Fault::Other {
                doing: "find the program",
                detail: format!("the eBPF object has no program {name} for a cgroup"),
            };
            let program = ebpf.program_mut(name).ok_or_else(missing)?;
            let program = <&mut CgroupSockAddr>::try_from(program).map_err(|_wrong| missing())?;
            self.attach_one(hook, program, &cgroup)?;
        }
        self.attached = true;
        info!(cgroup = %root.display(), "programs that tell clients' addresses attached");
        Ok(())
    }

    /// Whichever of two programs comes second does not find the peer that the first has put in, so that both may be there for a
    /// moment, and there is none in which no program is.
    fn attach_one(
        &self,
        hook: &str,
        program: &mut CgroupSockAddr,
        cgroup: &File,
    ) -> Result<(), Fault> {
        const DOING: &str = "attach to the root cgroup";
        program
            .load()
            .map_err(|error| Fault::of("load the program for the root cgroup", &error))?;
        // A link shares the cgroup whatever is said here.
        let id = program
            .attach(cgroup, CgroupAttachMode::Single)
            .map_err(|error| Fault::of(DOING, &error))?;
        let link = program
            .take_link(id)
            .map_err(|error| Fault::of(DOING, &error))?;
        let link = FdLink::try_from(link).map_err(|error| Fault::of(DOING, &error))?;
        let pin = self.pins.hook(hook);
        unpin(&pin)?;
        link.pin(&pin)
            .map_err(|error| Fault::of("pin the link", &error))?;
        Ok(())
    }

    /// Takes the programs away, also an earlier agent's.
    pub(crate) fn detach(&mut self) -> Result<(), Fault> {
        self.attached = false;
        for (hook, _) in HOOKS {
            if unpin(&self.pins.hook(hook))? {
                info!(
                    hook,
                    "the program that tells clients' addresses is taken away"
                );
            }
        }
        Ok(())
    }
}

/// Whether there was a pin.
fn unpin(pin: &Path) -> Result<bool, Fault> {
    match fs::remove_file(pin) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Fault::of("remove the pinned link", &error)),
    }
}

/// Where cgroups are mounted, of which every process of this machine is in one.
fn cgroup_root() -> Result<PathBuf, Fault> {
    let mounts = fs::read_to_string("/proc/thread-self/mounts")
        .map_err(|error| Fault::of("look for cgroups", &error))?;
    first_cgroup2(&mounts).ok_or_else(|| Fault::Other {
        doing: "look for cgroups",
        detail: "no cgroup v2 is mounted, so that programs cannot be told their clients' addresses; mount one \
                 (mount -t cgroup2 none /sys/fs/cgroup)"
            .to_owned(),
    })
}

/// The first file system of that kind, fstab(5).
fn first_cgroup2(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (folder, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(folder.replace("\\040", " ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_version_of_cgroups_is_found() {
        let v1 = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n";
        assert_eq!(first_cgroup2(v1), None);
        let both = format!("{v1}none /sys/fs/cgroup/unified cgroup2 rw 0 0\n");
        let expected = Some(PathBuf::from("/sys/fs/cgroup/unified"));
        assert_eq!(first_cgroup2(&both), expected);
        let spaced = "none /mnt/with\\040space cgroup2 rw 0 0\n";
        assert_eq!(
            first_cgroup2(spaced),
            Some(PathBuf::from("/mnt/with space"))
        );
    }
}
