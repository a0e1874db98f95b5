use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::namespace::Namespace;
use crate::network::until;
use crate::node::PATIENCE;

/// A folder of one router: its settings, sockets and logs.
pub(crate) struct Folder(TempDir);

/// What becomes of the kernel's routes in a namespace, as `ip monitor` tells.
pub(crate) struct Monitor {
    folder: Folder,
    _process: Daemon,
}

/// A daemon in a namespace, in the foreground, ended when dropped.
pub(crate) struct Daemon(Child);

// === impl Folder ===

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder can be made"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.file(name);
        fs::write(&file, text).expect("a file can be written");
        file
    }

    /// What has been written there so far.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read(self.file(name)).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }
}

// === impl Monitor ===

impl Monitor {
    /// From now on.
    pub(crate) fn start(namespace: &Namespace) -> Self {
        let folder = Folder::new();
        let process = Daemon::start(namespace, &folder, "ip", &["monitor", "route"]);
        let monitor = Self {
            folder,
            _process: process,
        };
        // One more route shows that it listens; it may take some.
        let mut number = 0;
        until("the monitor", PATIENCE, || {
            number += 1;
            let route = format!("198.51.100.{number}");
            namespace.ip(&["route", "add", "unreachable", &route]);
            namespace.ip(&["route", "del", "unreachable", &route]);
            let seen = monitor.seen();
            seen.contains("198.51.100.").then_some(()).ok_or(seen)
        });
        monitor
    }

    pub(crate) fn seen(&self) -> String {
        self.folder.read("output")
    }
}

// === impl Daemon ===

impl Daemon {
    /// Starts it; what it says is appended to a file of the folder.
    pub(crate) fn start(
        namespace: &Namespace,
        folder: &Folder,
        program: &str,
        args: &[&str],
    ) -> Self {
        let output = || {
            let file = File::options()
                .create(true)
                .append(true)
                .open(folder.file("output"));
            Stdio::from(file.expect("a file can be written"))
        };
        let process = Command::new("ip")
            .args(["netns", "exec", &namespace.name, program])
            .args(args)
            .env("PATH", path())
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output())
            .spawn()
            .expect("these tests need iproute2");
        Self(process)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // `ip netns exec` has become the daemon.
        let _killed = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// Where Debian has daemons, which is not where all users look.
pub(crate) fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin")
}
