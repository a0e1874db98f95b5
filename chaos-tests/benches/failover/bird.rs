//! bird, as the router that learns VIPs, and as the peer that announces them.

use std::{fs, path::Path, path::PathBuf, process::Command, time::Duration};

use crate::{namespaces::Namespace, process::Process, until};

const START: Duration = Duration::from_secs(30);

/// One that runs.
pub(crate) struct Bird {
    _process: Process,
    control: PathBuf,
}

impl Bird {
    /// Starts it with these protocols beside those that learn of links.
    pub(crate) fn start(
        at: &Namespace,
        folder: &Path,
        name: &str,
        id: &str,
        protocols: &str,
    ) -> Self {
        let file = folder.join(format!("{name}.conf"));
        let settings = format!(
            "router id {id};\nprotocol device {{ scan time 1; }}\nprotocol direct {{ ipv4; }}\n{protocols}\n"
        );
        fs::write(&file, settings).unwrap();
        let control = folder.join(format!("{name}.ctl"));
        let mut command = at.command("bird");
        command
            .args(["-f", "-c"])
            .arg(&file)
            .arg("-s")
            .arg(&control);
        let process = Process::start(&mut command, &folder.join(format!("{name}.log")));
        let bird = Self {
            _process: process,
            control,
        };
        until("bird runs", START, || bird.ask("show status"));
        bird
    }

    /// What it says, if it does.
    pub(crate) fn ask(&self, question: &str) -> Option<String> {
        let mut command = Command::new("birdc");
        let output = command
            .arg("-s")
            .arg(&self.control)
            .arg(question)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        output.status.success().then_some(text)
    }

    /// Waits until these sessions are up.
    pub(crate) fn wait_for_sessions(&self, names: &[&str]) {
        for name in names {
            until("the session comes up", START, || {
                let said = self.ask(&format!("show protocols {name}"))?;
                said.contains("Established").then_some(())
            });
        }
    }
}

/// A router's part: it puts what it learns of these neighbors into the kernel's table.
pub(crate) fn router(neighbors: &[(&str, &str)], with_bfd: bool) -> String {
    let mut text = String::from(
        "protocol kernel { merge paths on; ipv4 { import none; export where source = RTS_BGP; }; }\n\
         protocol bfd { interface \"*\" { interval 50 ms; multiplier 3; }; }\n",
    );
    for (name, address) in neighbors {
        text += &session(
            name,
            "65000",
            address,
            "65001",
            with_bfd,
            "import all; export none;",
        );
    }
    text
}

/// A node's part: it announces one VIP.
pub(crate) fn node(router: &str, vip: &str, with_bfd: bool) -> String {
    let announced = format!(
        "protocol static {{ ipv4; route {vip}/32 blackhole; }}\n\
         protocol bfd {{ interface \"*\" {{ interval 50 ms; multiplier 3; }}; }}\n"
    );
    let export = "import none; export where source = RTS_STATIC;";
    announced + &session("upstream", "65001", router, "65000", with_bfd, export)
}

fn session(name: &str, own: &str, address: &str, theirs: &str, bfd: bool, ipv4: &str) -> String {
    let bfd = if bfd { "on" } else { "off" };
    format!(
        "protocol bgp {name} {{ local as {own}; neighbor {address} as {theirs}; direct; bfd {bfd}; hold time 3; keepalive time 1; \
         connect delay time 1; connect retry time 1; error wait time 1, 1; ipv4 {{ {ipv4} }}; }}\n"
    )
}
