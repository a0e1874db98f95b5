use std::{
    collections::BTreeMap,
    io::Write as _,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Command, Stdio},
};

use lbfabric_controller::{Controller, ControllerConfig};
use tempfile::TempDir;

/// A service and its pool.
pub(crate) const WEB: &str = "\
pools:
  - name: web
    health_check: { tcp: { port: 80 }, interval_ms: 500 }
    backends:
      - { name: s1, addresses: [10.77.2.21, \"fd77:2::21\"], weight: 100 }
services:
  - name: web
    vips: [10.99.0.10, \"fd99::10\"]
    ports: [80, 8000-8099]
    protocol: tcp
    mode: l4-fullnat
    pool: web
";

/// A controller, and a folder for files.
pub(crate) struct Fabric {
    pub(crate) address: SocketAddr,
    controller: Option<Controller>,
    dir: TempDir,
}

/// What the binary did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The binary, with nothing of the environment that changes what it does.
pub(crate) fn lbfabric() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lbfabric"));
    command
        .env_remove("LBFABRIC_CONTROLLER")
        .env_remove("RUST_LOG");
    command
}

/// A port of the loopback where nobody listens.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    listener.local_addr().expect("a listener has an address")
}

/// Runs the binary to its end.
pub(crate) fn run(command: &mut Command, stdin: &str) -> Ran {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut input = child.stdin.take().expect("stdin is piped");
    // It may end without having read all of it.
    drop(input.write_all(stdin.as_bytes()));
    drop(input);
    let output = child.wait_with_output().expect("the binary ends");
    Ran {
        code: output.status.code().expect("it ends by itself"),
        out: String::from_utf8(output.stdout).expect("it writes UTF-8"),
        err: String::from_utf8(output.stderr).expect("it writes UTF-8"),
    }
}

impl Fabric {
    pub(crate) async fn start() -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let mut fabric = Self {
            address: free_address(),
            controller: None,
            dir,
        };
        fabric.start_controller().await;
        fabric
    }

    /// Starts the controller, with the state that it had.
    pub(crate) async fn start_controller(&mut self) {
        let config = ControllerConfig {
            id: 1,
            data_dir: self.dir.path().join("controller"),
            listen: self.address,
            members: BTreeMap::from([(1, self.address.to_string())]),
            plaintext: false,
        };
        let started = Controller::start(config).await;
        self.controller = Some(started.expect("the controller starts"));
    }

    pub(crate) async fn stop_controller(&mut self) {
        if let Some(controller) = self.controller.take() {
            controller.stop().await;
        }
    }

    /// Writes a file, and gives its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("the folder takes a file");
        path
    }

    /// The binary, with this fabric's controller.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = lbfabric();
        command
            .args(args)
            .env("LBFABRIC_CONTROLLER", self.address.to_string());
        command
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, "").await
    }

    /// Runs the binary while the controller goes on in this process.
    pub(crate) async fn run_with(&self, args: &[&str], stdin: &str) -> Ran {
        let mut command = self.command(args);
        let stdin = stdin.to_owned();
        let ran = tokio::task::spawn_blocking(move || run(&mut command, &stdin));
        ran.await.expect("the binary runs")
    }

    /// Runs the binary, which has to succeed, and gives what it printed as JSON.
    pub(crate) async fn json(&self, args: &[&str]) -> serde_json::Value {
        let ran = self.run(args).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
        serde_json::from_str(&ran.out).expect("it prints JSON")
    }

    /// Applies a document, which has to succeed.
    pub(crate) async fn apply(&self, text: &str) {
        let ran = self.run_with(&["apply", "-f", "-"], text).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    }
}
