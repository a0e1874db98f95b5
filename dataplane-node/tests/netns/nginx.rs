use std::{
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{fixture::DEADLINE, namespace::Namespace};

/// A server in a namespace, which goes with this value.
pub(crate) struct Nginx {
    _folder: tempfile::TempDir,
    process: Child,
}

impl Nginx {
    /// With the directives of its `http` block and files for them; ready when it listens at the addresses.
    pub(crate) fn start(
        namespace: &Namespace,
        directives: &str,
        files: &[(&str, &str)],
        addresses: &[&str],
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, content: &str| {
            std::fs::write(folder.path().join(name), content).expect("the folder takes a file");
        };
        write("nginx.conf", &configuration(directives));
        for (name, content) in files {
            write(name, content);
        }
        let nginx = Self {
            process: run(namespace, folder.path()),
            _folder: folder,
        };
        let begun = Instant::now();
        for address in addresses {
            let address: SocketAddr = address.parse().expect("an address and a port");
            while namespace.within(|| TcpStream::connect(address).is_err()) {
                assert!(begun.elapsed() < DEADLINE, "nginx does not listen");
                thread::sleep(Duration::from_millis(10));
            }
        }
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // In order, so that its workers go with it. A failure must not hide why a test failed.
        if let Ok(id) = i32::try_from(self.process.id()) {
            let _ended = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let _ended = self.process.wait();
    }
}

fn run(namespace: &Namespace, folder: &Path) -> Child {
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new("nsenter")
        .arg(format!("--net=/var/run/netns/{}", namespace.name))
        .args(["nginx", "-c", "nginx.conf", "-e", "error.log", "-p"])
        .arg(folder)
        .env("PATH", format!("{path}:/usr/sbin"))
        .spawn()
        .expect("these tests need nsenter and nginx")
}

fn configuration(directives: &str) -> String {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|it| format!("{it}_temp_path temporary;"))
        .join(" ");
    format!(
        "daemon off; user root; worker_processes 1; pid nginx.pid; error_log error.log warn; events {{}}
         http {{ access_log off; {temporary} {directives} }}"
    )
}
