use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::fabric::{WEB, lbfabric, run};

/// How long a start and a stop may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Kills what a failed test leaves behind.
struct Dev(Child);

impl Drop for Dev {
    fn drop(&mut self) {
        // It has ended by itself when all went well.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn wait(child: &mut Child) -> Option<i32> {
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        if let Some(status) = child.try_wait().expect("the child can be waited for") {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

/// Starts `lbfabric dev` on an interface that does not exist, which needs no privileges and touches nothing, and gives it with its
/// address.
fn start(data_dir: &TempDir) -> (Dev, String) {
    let mut command = lbfabric();
    command.args([
        "dev",
        "--listen",
        "127.0.0.1:0",
        "--interface",
        "lbf-cli-none",
        "--data-dir",
    ]);
    command
        .arg(data_dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut dev = Dev(command.spawn().expect("the binary starts"));
    let mut out = BufReader::new(dev.0.stdout.take().expect("stdout is piped"));
    let mut line = || {
        let mut line = String::new();
        out.read_line(&mut line).expect("it says what runs");
        line
    };
    let controller = line();
    let address = controller
        .strip_prefix("controller")
        .expect("the controller comes first")
        .trim()
        .to_owned();
    let node = line();
    assert!(
        node.starts_with("node        dev on lbf-cli-none: cannot forward: "),
        "{node}"
    );
    (dev, address)
}

#[test]
fn dev_serves_the_api_stops_on_a_signal_and_keeps_its_state() {
    let data_dir = TempDir::new().expect("a temporary folder");
    for (signal, expected) in [
        (Signal::SIGINT, "2 created"),
        (Signal::SIGTERM, "2 unchanged"),
    ] {
        let (mut dev, address) = start(&data_dir);
        let ran = run(
            lbfabric().args(["apply", "-f", "-", "--controller", &address]),
            WEB,
        );
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.out.contains(expected), "{ran:?}");
        let nodes = run(
            lbfabric().args(["nodes", "-o", "json", "--controller", &address]),
            "",
        );
        let nodes: serde_json::Value = serde_json::from_str(&nodes.out).expect("JSON");
        assert_eq!(nodes["nodes"][0]["name"], "dev");
        assert_ne!(nodes["nodes"][0]["fault"], "");
        let pid = i32::try_from(dev.0.id()).expect("a process id fits");
        kill(Pid::from_raw(pid), signal).expect("it still runs");
        assert_eq!(wait(&mut dev.0), Some(0), "after {signal}");
    }
}
