//! Network namespaces whose names only this process and its children see: they are gone with the last of them, however it ends.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};

const NAMES: &str = "/run/netns";

/// What `ip netns` and BPF file systems do from here on stays within this process.
pub(crate) fn enter_private_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("this needs root");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    fs::create_dir_all(NAMES).unwrap();
    mount(Some("netns"), NAMES, Some("tmpfs"), MsFlags::empty(), none).unwrap();
}

/// Mounts a BPF file system for the agents' pins.
pub(crate) fn mount_bpf(at: &Path) {
    fs::create_dir_all(at).unwrap();
    mount(Some("bpf"), at, Some("bpf"), MsFlags::empty(), None::<&str>).unwrap();
}

/// A namespace, removed when dropped.
pub(crate) struct Namespace(String);

impl Namespace {
    pub(crate) fn new(name: &str) -> Self {
        run("ip", &["netns", "add", name]);
        let new = Self(name.to_owned());
        new.ip("link set lo up");
        new
    }

    /// Runs `ip` inside.
    pub(crate) fn ip(&self, arguments: &str) {
        let words = arguments.split_whitespace();
        let words: Vec<_> = ["-n", &self.0].into_iter().chain(words).collect();
        run("ip", &words);
    }

    /// A command that runs a program inside, which ends with this process.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "nsenter"])
            .arg(format!("--net={}", self.path().display()))
            .arg(program);
        command
    }

    /// A veth pair to another namespace; each end is named.
    pub(crate) fn link(&self, device: &str, other: &Self, theirs: &str) {
        self.ip(&format!(
            "link add {device} type veth peer name {theirs} netns {}",
            other.0
        ));
        self.ip(&format!("link set {device} up"));
        other.ip(&format!("link set {theirs} up"));
    }

    /// Calls `work` on a thread of its own inside.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(self.path()).unwrap();
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(file, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            thread.join().expect("the work does not panic")
        })
    }

    fn path(&self) -> PathBuf {
        Path::new(NAMES).join(&self.0)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let removed = Command::new("ip").args(["netns", "del", &self.0]).status();
        assert!(removed.is_ok() || thread::panicking());
    }
}

fn run(program: &str, arguments: &[&str]) {
    finish(Command::new(program).args(arguments));
}

/// Runs a command that has to succeed, and gives what it wrote.
pub(crate) fn finish(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}
