//! Network namespaces by name.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, anyhow};
use nix::sched::{CloneFlags, setns};

/// Where `ip netns` keeps its names.
pub(super) const NAMES: &str = "/var/run/netns";
/// What the names of all labs' namespaces begin with.
pub(super) const PREFIX: &str = "lbf-";

/// A network namespace that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Namespace {
    name: String,
}

impl Namespace {
    /// The namespace `host` of the lab `id`, which need not exist yet.
    pub(super) fn new(id: &str, host: impl std::fmt::Display) -> Self {
        Self {
            name: format!("{PREFIX}{id}-{host}"),
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(NAMES).join(&self.name)
    }

    /// A command that runs a program inside. `ip netns exec` would hide the BPF file systems.
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path().display()))
            .arg(program);
        command
    }

    /// Calls `work` on a thread of its own inside the namespace. Sockets and threads made there stay inside.
    pub(super) fn inside<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let path = self.path();
                let file =
                    File::open(&path).with_context(|| format!("opening {}", path.display()))?;
                setns(file, CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("entering {}", self.name))?;
                work()
            });
            thread.join().map_err(|panic| {
                anyhow!(
                    "a thread inside {} panicked: {}",
                    self.name,
                    reason(&*panic)
                )
            })?
        })
    }
}

fn reason(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no reason given")
}
