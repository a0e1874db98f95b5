//! `lbfabric explain` against a fabric that runs: every command of `docs/explain.md`, in its order, with the answers that the page
//! shows. Needs root, for namespaces and the XDP programs.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// A network with the page's servers, whose link-layer addresses are known, and a fabric of one controller and one node. `answers`
/// compares what a command says with what the page shows, until it does or time is up: a node takes a moment to follow.
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
for n in 21 22; do
    ip neigh add 10.77.2.$n lladdr 02:00:00:00:00:$n dev eth0 nud permanent
done
lbfabric dev --interface eth0 > dev.log 2>&1 &
slots() {
    sed -E 's/slot( +)[0-9]+/slot\1N/' "$1"
}
answers() {
    for attempt in $(seq 200); do
        bash command > said 2>&1 || true
        if diff <(slots shown) <(slots said) > difference; then
            return 0
        fi
        sleep 0.1
    done
    echo "--- $(cat command) says otherwise than the page:"
    cat difference dev.log
    return 1
}
"#;

/// The page's blocks: of which kind, and what is in them.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    let blocks = page.split("\n```").skip(1).step_by(2);
    blocks
        .map(|it| it.split_once('\n').expect("a block has lines"))
        .collect()
}

fn file(name: &str, content: &str) -> String {
    format!("cat > {name} <<'END'\n{content}\nEND\n")
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
        .env("PATH", format!("{}:{path}", folder.display()));
    command
        .output()
        .expect("unshare is of util-linux, which every Debian has")
}

#[test]
fn every_command_of_the_page_answers_as_it_shows() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/explain.md");
    let page = fs::read_to_string(page).expect("there is a page");
    let blocks = blocks(&page);
    let mut script = PROLOGUE.to_owned();
    // The first command stands before its fabric.
    let mut command = None;
    let (mut compared, mut applied) = (0, 0);
    for (kind, content) in blocks {
        match kind {
            "yaml" => {
                let name = content
                    .lines()
                    .next()
                    .and_then(|line| line.strip_prefix("# "));
                let name = name.expect("a file begins with its name");
                script += &file(name, content);
                script += &["lbfabric apply -f ", name, "\n"].concat();
                applied += 1;
            }
            "sh" => assert_eq!(
                command.replace(content),
                None,
                "a command without an answer"
            ),
            "text" => {
                script += &file(
                    "command",
                    command.take().expect("an answer without a command"),
                );
                script += &file("shown", content);
                script += "answers\n";
                compared += 1;
            }
            other => panic!("what is a block of {other:?}?"),
        }
    }
    assert_eq!((compared, applied, command), (5, 2, None));
    let output = run(&script);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
}

#[test]
fn an_answer_that_is_wrong_is_noticed() {
    let script = format!(
        "{}{}{}seq() {{ echo 1; }}\nanswers\n",
        PROLOGUE,
        file("command", "echo slot 7 web1"),
        file("shown", "slot 9 web2"),
    );
    let output = run(&script);
    assert!(!output.status.success());
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(
        out.contains("< slot N web2") && out.contains("> slot N web1"),
        "{out}"
    );
}
