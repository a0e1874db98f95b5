use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::namespace::Namespace;
use crate::network::until;

/// bird in a namespace, ended when dropped.
pub(crate) struct Bird {
    process: Child,
    folder: TempDir,
}

const START_LIMIT: Duration = Duration::from_secs(10);

// === impl Bird ===

impl Bird {
    /// Starts it with these protocols beside those that learn of links and write the kernel's tables.
    pub(crate) fn start(namespace: &Namespace, protocols: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let log = folder.path().join("log");
        let settings = format!(
            r#"
            log "{}" all;
            router id 192.0.2.254;
            protocol device {{ scan time 1; }}
            protocol direct {{ ipv4; ipv6; }}
            protocol kernel kernel4 {{ merge paths on; ipv4 {{ import none; export where source = RTS_BGP; }}; }}
            protocol kernel kernel6 {{ merge paths on; ipv6 {{ import none; export where source = RTS_BGP; }}; }}
            {protocols}
            "#,
            log.display()
        );
        let file = folder.path().join("bird.conf");
        fs::write(&file, settings).expect("a file can be written");
        let socket = folder.path().join("control");
        let process = Command::new("ip")
            .args(["netns", "exec", &namespace.name, "bird", "-f", "-c"])
            .arg(&file)
            .arg("-s")
            .arg(&socket)
            .env("PATH", path())
            .stdin(Stdio::null())
            .spawn()
            .expect("these tests need iproute2");
        let bird = Self { process, folder };
        until("bird runs (Debian's package bird2)", START_LIMIT, || {
            bird.try_ask("show status").map(drop)
        });
        bird
    }

    /// What it says to a question.
    pub(crate) fn ask(&self, question: &str) -> String {
        self.try_ask(question)
            .unwrap_or_else(|error| panic!("birdc {question}: {error}"))
    }

    fn try_ask(&self, question: &str) -> Result<String, String> {
        let output = Command::new("birdc")
            .env("PATH", path())
            .arg("-s")
            .arg(self.folder.path().join("control"))
            .args(question.split(' '))
            .output()
            .map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(said)
        } else {
            Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr)))
        }
    }

    /// Its route for the prefix with everything about it; empty if there is none.
    pub(crate) fn route(&self, prefix: &str) -> String {
        let said = self.try_ask(&format!("show route for {prefix} all"));
        said.map_or_else(
            |_| String::new(),
            |said| {
                if said.contains(prefix) {
                    said
                } else {
                    String::new()
                }
            },
        )
    }

    /// Waits for a route whose description has all of these.
    pub(crate) fn until_route(&self, prefix: &str, with: &[&str]) -> Duration {
        until(prefix, Duration::from_secs(30), || {
            let route = self.route(prefix);
            let is_there = !route.is_empty() && with.iter().all(|part| route.contains(part));
            is_there.then_some(()).ok_or_else(|| {
                let status = self.ask("show protocols all");
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                format!("{route}\nexpected: {with:?}\n{status}\n{log}")
            })
        })
    }

    /// Waits until there is no route.
    pub(crate) fn until_no_route(&self, prefix: &str, limit: Duration) -> Duration {
        until(prefix, limit, || {
            let route = self.route(prefix);
            route.is_empty().then_some(()).ok_or(route)
        })
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        // `ip netns exec` has become bird.
        let _killed = self.process.kill();
        let _ended = self.process.wait();
    }
}

/// Where Debian has bird, which is not where all users look.
fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin")
}
