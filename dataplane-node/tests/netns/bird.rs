use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::namespace::Namespace;

/// bird in a namespace, ended when dropped.
pub(crate) struct Bird {
    process: Child,
    folder: TempDir,
}

const START_LIMIT: Duration = Duration::from_secs(30);

// === impl Bird ===

impl Bird {
    /// Starts it with these protocols beside those that learn of links.
    pub(crate) fn start(namespace: &Namespace, protocols: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let settings = format!(
            "router id 192.0.2.254;
             protocol device {{ scan time 1; }}
             protocol direct {{ ipv4; ipv6; }}
             {protocols}"
        );
        let file = folder.path().join("bird.conf");
        fs::write(&file, settings).expect("a file can be written");
        let process = Command::new("ip")
            .args(["netns", "exec", &namespace.name, "bird", "-f", "-c"])
            .arg(&file)
            .arg("-s")
            .arg(folder.path().join("control"))
            .env("PATH", path())
            .stdin(Stdio::null())
            .spawn()
            .expect("these tests need iproute2");
        let bird = Self { process, folder };
        let start = Instant::now();
        while let Err(error) = bird.try_ask("show status") {
            assert!(
                start.elapsed() < START_LIMIT,
                "bird does not run (Debian's package bird2): {error}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
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
        said.ok()
            .filter(|said| said.contains(prefix))
            .unwrap_or_default()
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
