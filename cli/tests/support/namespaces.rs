use std::process::Command;

/// A loopback, and places of its own for pinned maps and state.
pub(crate) const PLACE: &str = "
set -euo pipefail
ip link set lo up
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmpfs /var/lib
export TMPDIR=/var/lib
";

/// A shell for a script in namespaces of its own: what it starts and leaves ends with it. Needs root.
pub(crate) fn bash(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .args(["bash", "-c", script]);
    command
}
