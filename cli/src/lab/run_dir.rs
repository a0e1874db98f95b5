//! A lab's own folder, and taking away what labs left behind.
//!
//! Everything that a lab makes can be found by its id: the folder, the namespaces `lbf-ID-*`, and through them the processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::namespace::{NAMES, Namespace, PREFIX};
use super::program;

/// Where labs have their folders.
pub(super) const ROOT: &str = "/run/lbfabric-lab";
/// How long killed processes may take to go.
const GONE_LIMIT: Duration = Duration::from_secs(10);
/// How long a lab may take to say whose it is.
const NEW_LAB: Duration = Duration::from_secs(10);
const OWNER: &str = "owner";

/// The folder of one lab.
#[derive(Clone, Debug)]
pub(super) struct RunDir {
    id: String,
    path: PathBuf,
}

impl RunDir {
    /// Makes a folder under an id that no other lab has, and mounts a BPF file system in it.
    pub(super) fn create() -> anyhow::Result<Self> {
        fs::create_dir_all(ROOT).with_context(|| format!("making {ROOT}"))?;
        let clock = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let seed = clock.subsec_nanos() ^ (std::process::id() << 8);
        for attempt in 0..64 {
            let id = format!("{:04x}", seed.wrapping_add(attempt * 0x2f1b) & 0xffff);
            let path = Path::new(ROOT).join(&id);
            match fs::create_dir(&path) {
                Ok(()) => {
                    let run_dir = Self { id, path };
                    return match run_dir.fill() {
                        Ok(()) => Ok(run_dir),
                        Err(error) => Err(run_dir.removed_after(error)),
                    };
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("making {}", path.display()));
                }
            }
        }
        bail!(
            "found no free name in {ROOT}: `lbfabric lab --cleanup` removes what labs left behind"
        )
    }

    fn fill(&self) -> anyhow::Result<()> {
        fs::write(self.path.join(OWNER), Owner::current()?.to_string())
            .context("writing the owner's file")?;
        fs::create_dir(self.logs()).context("making the folder of logs")?;
        let bpf = self.bpf();
        fs::create_dir(&bpf).context("making the folder of pins")?;
        mount(
            Some("bpf"),
            &bpf,
            Some("bpf"),
            MsFlags::empty(),
            None::<&str>,
        )
        .with_context(|| format!("mounting a BPF file system on {}", bpf.display()))
    }

    fn removed_after(&self, error: anyhow::Error) -> anyhow::Error {
        match self.remove() {
            Ok(()) => error,
            Err(also) => error.context(format!("and it could not be removed: {also:#}")),
        }
    }

    /// The lab's id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The BPF file system.
    pub(super) fn bpf(&self) -> PathBuf {
        self.path.join("bpf")
    }

    /// The folder of the router's bird.
    pub(super) fn bird(&self) -> PathBuf {
        self.path.join("bird")
    }

    /// Where bird can be asked.
    pub(super) fn bird_control(&self) -> PathBuf {
        self.bird().join("control")
    }

    /// The folder of the daemons' logs.
    pub(super) fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Ends every process in the lab's namespaces, and removes namespaces, mount and folder. Goes on past
    /// errors and reports them together.
    pub(super) fn remove(&self) -> anyhow::Result<()> {
        let mut errors = Vec::new();
        let namespaces = namespaces_of(&self.id)?;
        let mut check = |result: anyhow::Result<()>| {
            errors.extend(result.err().map(|error| format!("{error:#}")));
        };
        check(end_processes(&namespaces));
        if !namespaces.is_empty() {
            let lines: Vec<String> = namespaces
                .iter()
                .map(|name| format!("netns delete {name}"))
                .collect();
            check(program::ip_batch(&lines));
        }
        if is_mounted(&self.bpf())? {
            check(
                umount2(&self.bpf(), MntFlags::MNT_DETACH)
                    .context("unmounting the BPF file system"),
            );
        }
        check(
            fs::remove_dir_all(&self.path)
                .with_context(|| format!("removing {}", self.path.display())),
        );
        // Only the last lab's exit empties the folder of all labs.
        let _others_run = fs::remove_dir(ROOT);
        if !errors.is_empty() {
            bail!("{}", errors.join("; "));
        }
        Ok(())
    }
}

/// Removes what is left of every lab whose process is gone, and returns their ids.
pub fn remove_abandoned() -> anyhow::Result<Vec<String>> {
    let mut ids: Vec<String> = entries(ROOT)?;
    for name in entries(NAMES)? {
        let id = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('-'));
        ids.extend(id.map(|(id, _)| id.to_owned()));
    }
    ids.sort_unstable();
    ids.dedup();
    ids.retain(|id| id.len() == 4 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let mut removed = Vec::new();
    for id in ids {
        let path = Path::new(ROOT).join(&id);
        if is_in_use(&path) {
            continue;
        }
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        let run_dir = RunDir { id, path };
        run_dir
            .remove()
            .with_context(|| format!("removing the lab {}", run_dir.id))?;
        removed.push(run_dir.id);
    }
    Ok(removed)
}

/// Whether the lab's process lives, or the lab is so new that it has not said whose it is.
fn is_in_use(path: &Path) -> bool {
    match fs::read_to_string(path.join(OWNER)) {
        Ok(text) => Owner::parse(&text).is_some_and(Owner::is_alive),
        Err(_) => path
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age < NEW_LAB)),
    }
}

/// A process, told from a later one with the same number by its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    pid: i32,
    started: u64,
}

impl Owner {
    fn current() -> anyhow::Result<Self> {
        let pid = Pid::this().as_raw();
        let started = start_of(pid).context("reading the own process's start")?;
        Ok(Self { pid, started })
    }

    fn parse(text: &str) -> Option<Self> {
        let (pid, started) = text.trim().split_once(' ')?;
        Some(Self {
            pid: pid.parse().ok()?,
            started: started.parse().ok()?,
        })
    }

    fn is_alive(self) -> bool {
        start_of(self.pid) == Some(self.started)
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.pid, self.started)
    }
}

/// When a process started, in clock ticks since boot: field 22 of proc(5)'s `stat`.
fn start_of(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

/// The names of a lab's namespaces.
pub(super) fn namespaces_of(id: &str) -> anyhow::Result<Vec<String>> {
    let prefix = Namespace::new(id, "").name().to_owned();
    Ok(entries(NAMES)?
        .into_iter()
        .filter(|name| name.starts_with(&prefix))
        .collect())
}

fn entries(folder: &str) -> anyhow::Result<Vec<String>> {
    let found = match fs::read_dir(folder) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {folder}")),
    };
    found
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

fn is_mounted(path: &Path) -> anyhow::Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
    Ok(mounts.lines().any(|line| {
        line.split(' ')
            .nth(1)
            .is_some_and(|point| Path::new(point) == path)
    }))
}

fn processes_in(namespaces: &[String]) -> anyhow::Result<Vec<Pid>> {
    let mut pids = Vec::new();
    for name in namespaces {
        let listed = program::succeed(Command::new("ip").args(["netns", "pids", name]), "")?;
        pids.extend(
            listed
                .split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .map(Pid::from_raw),
        );
    }
    Ok(pids)
}

fn end_processes(namespaces: &[String]) -> anyhow::Result<()> {
    let deadline = Instant::now() + GONE_LIMIT;
    let mut signal = Signal::SIGTERM;
    let patience = Instant::now() + GONE_LIMIT / 4;
    let mut told = Vec::new();
    loop {
        let pids = processes_in(namespaces)?;
        if pids.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("processes {pids:?} do not end");
        }
        if Instant::now() > patience && signal != Signal::SIGKILL {
            signal = Signal::SIGKILL;
            told.clear();
        }
        for pid in pids {
            if !told.contains(&pid) {
                // It may have gone by itself meanwhile.
                let _gone = kill(pid, signal);
                told.push(pid);
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_told_from_a_later_process_with_its_number() {
        let owner = Owner::current().unwrap();
        assert!(owner.is_alive());
        assert_eq!(Owner::parse(&owner.to_string()), Some(owner));
        let earlier = Owner {
            started: owner.started - 1,
            ..owner
        };
        assert!(!earlier.is_alive());
    }
}
