//! `lbfabric top`, `lbfabric logs` and the node's metrics with a fabric that runs: every command of `docs/seeing.md`, while requests come.
//! Needs root, for namespaces and the XDP programs.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// A network with the page's server, which answers what it does not know with 404, a fabric of one controller and one node, and a client.
const PROLOGUE: &str = r#"
set -euo pipefail
ip link set lo up
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmpfs /var/lib
export TMPDIR=/var/lib
cd /var/lib
ip link add eth0 type veth peer name eth0-peer
ip link set eth0 up
ip link set eth0-peer up
ip addr add 10.77.2.11/24 dev eth0
ip addr add 10.77.2.21/24 dev eth0
mkdir served
echo hello > served/hello
python3 -m http.server --directory served --bind 10.77.2.21 80 > server.log 2>&1 &
lbfabric dev --interface eth0 --metrics-address 127.0.0.1:9100 > dev.log 2>&1 &
soon() {
    for attempt in $(seq 200); do
        if "$@" > said 2>&1; then
            return 0
        fi
        sleep 0.1
    done
    echo "not so: $*"
    cat said dev.log server.log
    return 1
}
"#;

const CLIENT: &str = r"
soon curl --silent --fail --max-time 1 http://10.99.0.80/hello
(while sleep 0.05; do curl --silent --max-time 1 http://10.99.0.80/hello > /dev/null || true; done) &
";

/// The page's blocks: of which kind, and what is in them.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    let blocks = page.split("\n```").skip(1).step_by(2);
    blocks
        .map(|it| it.split_once('\n').expect("a block has lines"))
        .collect()
}

fn run(script: &str) -> Output {
    let binary = Path::new(env!("CARGO_BIN_EXE_lbfabric"));
    let folder = binary.parent().expect("a binary is in a folder");
    let path = std::env::var("PATH").expect("there is a PATH");
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
        .args(["bash", "-c", script])
        .env("PATH", format!("{}:{path}", folder.display()))
        .output()
        .expect("unshare is of util-linux, which every Debian has")
}

/// What a script prints, which must succeed.
fn said(script: &str) -> String {
    let output = run(script);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

fn page() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/seeing.md");
    fs::read_to_string(page).expect("there is a page")
}

/// The page's fabric, and requests to its service.
fn fabric(page: &str) -> String {
    let (_, file) = blocks(page)
        .into_iter()
        .find(|(kind, _)| *kind == "yaml")
        .expect("there is a fabric");
    format!(
        "{PROLOGUE}cat > shop.yaml <<'END'\n{file}\nEND\nsoon lbfabric apply -f shop.yaml\n{CLIENT}"
    )
}

#[test]
fn every_command_of_the_page_works() {
    let page = page();
    let mut script = fabric(&page);
    let commands: Vec<_> = blocks(&page)
        .into_iter()
        .filter(|(kind, _)| *kind == "sh")
        .collect();
    assert_eq!(commands.len(), 3);
    for (_, commands) in commands {
        for command in commands.lines() {
            let named = command.replace('\'', "");
            script += &["echo '--- ", &named, "'\n", command, "\n"].concat();
        }
    }
    let said = said(&script);
    let parts: Vec<_> = said.split("--- ").skip(1).collect();
    let [table, rates, last, followed, metrics, one, health, ready] = parts[..] else {
        panic!("{} commands:\n{said}", parts.len());
    };
    assert!(table.contains("REQ/S") && table.contains("shop"), "{table}");
    let rate = rates.split(':').nth(1).expect("a number");
    let rate: f64 = rate.trim().trim_end_matches(',').parse().expect("a number");
    assert!(rate > 0.5, "{rates}");
    for log in [last, followed] {
        let line = log.lines().nth(1).expect("a line");
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let of = [&line["service"], &line["path"], &line["termination"]];
        assert_eq!(of, ["shop", "/hello", "--"], "{log}");
    }
    assert_eq!(last.lines().count(), 6, "{last}");
    assert!(
        metrics.contains("lbfabric_server_healthy{pool=\"shop\",server=\"shop1\"} 1"),
        "{metrics}"
    );
    for metrics in [metrics, one] {
        assert!(
            metrics.contains("\nlbfabric_l7_terminations_total{service=\"shop\",state=\"--\"} "),
            "{metrics}"
        );
    }
    assert!(
        health.ends_with("\nok\n") && ready.ends_with("\nok\n"),
        "{health}{ready}"
    );
}

#[test]
fn what_has_no_log_is_said() {
    let page = page();
    let quiet = "sed -i '/access_log/d' shop.yaml\nlbfabric apply -f shop.yaml\n";
    let tried = "set +e\nlbfabric logs shop 2>&1\necho $?\nlbfabric logs none 2>&1\necho $?\n";
    let said = said(&format!("{}{quiet}{tried}", fabric(&page)));
    let lines: Vec<_> = said.lines().rev().take(4).collect();
    assert!(
        lines[3].contains("proxy.access_log") && lines[1].contains("no service `none`"),
        "{said}"
    );
    assert!(
        lines[0] != "0" && lines[2] != "0" && lines[0] != lines[2],
        "{said}"
    );
}
