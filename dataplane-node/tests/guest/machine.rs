//! A virtual machine with Linux 6.1, in which tests of this very program run once more.
//!
//! ```text
//! this program ──► initramfs: itself, sh, ip, ... ──► qemu ──► Linux 6.1 ──► init ──► this program, some tests
//!      ▲                                                                                       │
//!      └───────────────────────────────── serial console ◄─────────────────────────────────────┘
//! ```
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::initramfs::Initramfs;

/// Far above what it takes, some minutes beside other tests: the processor is emulated, and its verifier reads every program for every test.
const DEADLINE: Duration = Duration::from_mins(25);
const MEMORY: &str = "1G";
const SYSTEM: &str = "qemu-system-x86_64";
/// What init and the tests call.
const PROGRAMS: [&str; 10] = [
    "sh", "mount", "insmod", "ip", "stat", "rm", "cat", "nsenter", "ethtool", "curl",
];

/// What the guest runs first. It must not end: the kernel panics then, which ends the machine as well.
const INIT: &str = r#"#!/bin/sh
set -e
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 none /sys/fs/cgroup
insmod /veth.ko
ip link set lo up
read release </proc/sys/kernel/osrelease
echo "guest: Linux $release"
/tests --exact --show-output --test-threads 2 TESTS && code=0 || code=$?
echo "guest: exit $code"
echo o >/proc/sysrq-trigger
while :; do :; done
"#;

/// Runs tests of this program, by their full names, and gives what the machine has said on its console. Panics with that if
/// a test fails.
pub(crate) fn run(tests: &[&str]) -> String {
    check_names(tests);
    let folder = tempfile::tempdir().unwrap();
    let initrd = folder.path().join("initrd");
    fs::write(&initrd, root(tests)).unwrap();
    let console = folder.path().join("console");
    let ended = Machine::start(&kernel_file("vmlinuz"), &initrd, &console).wait();

    let said = String::from_utf8_lossy(&fs::read(&console).unwrap()).replace('\r', "");
    let has = |line: &str| said.lines().any(|it| it.starts_with(line));
    let complete = has("guest: Linux 6.1.")
        && has(&format!(
            "test result: ok. {} passed; 0 failed;",
            tests.len()
        ))
        && has("guest: exit 0");
    assert!(
        complete && ended.is_some_and(|status| status.success()),
        "the tests did not succeed on Linux 6.1 ({}):\n{said}",
        ended.map_or("stopped after the deadline".to_owned(), |it| it.to_string()),
    );
    said
}

/// A test that was renamed is missed here, not in the machine.
fn check_names(tests: &[&str]) {
    let this = env::current_exe().unwrap();
    let listing = Command::new(this).arg("--list").output().unwrap();
    let listing = String::from_utf8(listing.stdout).unwrap();
    for test in tests {
        let line = format!("{test}: test");
        assert!(
            listing.lines().any(|it| it == line),
            "there is no test {test}"
        );
    }
}

/// One of the files that `deploy/setup.sh` has taken out of Debian's package of the kernel.
pub(crate) fn kernel_file(name: &str) -> PathBuf {
    let path = cache_folder().join("lbfabric/linux-6.1").join(name);
    assert!(
        path.is_file(),
        "there is no {}: `make setup` fetches a kernel to test with",
        path.display()
    );
    path
}

fn cache_folder() -> PathBuf {
    let own = env::var_os("XDG_CACHE_HOME").filter(|it| !it.is_empty());
    own.map_or_else(
        || Path::new(&env::var_os("HOME").unwrap()).join(".cache"),
        PathBuf::from,
    )
}

fn root(tests: &[&str]) -> Vec<u8> {
    let mut root = Initramfs::default();
    for folder in ["/proc", "/sys", "/dev", "/tmp", "/run"] {
        root.folder(Path::new(folder));
    }
    root.link(Path::new("/var/run"), "/run");
    for program in PROGRAMS {
        root.program(program, &Path::new("/bin").join(program));
    }
    let this = env::current_exe().unwrap();
    root.program(this.to_str().unwrap(), Path::new("/tests"));
    root.file(
        Path::new("/veth.ko"),
        &fs::read(kernel_file("veth.ko")).unwrap(),
    );
    let init = INIT.replace("TESTS", &tests.join(" "));
    root.file(Path::new("/init"), init.as_bytes());
    root.finish()
}

/// The running machine. It ends with this.
struct Machine(Child);

impl Machine {
    fn start(image: &Path, initrd: &Path, console: &Path) -> Self {
        let child = Command::new(SYSTEM)
            .args(["-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", MEMORY])
            .args([
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-no-reboot",
            ])
            .args(["-serial", "stdio", "-append"])
            .arg("console=ttyS0 quiet panic=-1 oops=panic")
            .arg("-kernel")
            .arg(image)
            .arg("-initrd")
            .arg(initrd)
            .stdin(Stdio::null())
            .stdout(File::create(console).unwrap())
            .spawn();
        Self(child.unwrap_or_else(|error| {
            panic!("{SYSTEM} cannot be started ({error}): `make setup` installs it")
        }))
    }

    /// How it ended; `None` if it has not by the deadline.
    fn wait(mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait().unwrap() {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(50));
        }
        None
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It has ended, or is to.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
