//! `lbfabric lab`, as a user runs it. Needs root, and the daemons beside `lbfabric` in the target folder: `make test` builds them
//! first, by hand it is `cargo build -p lbfabric -p lbfabric-controller -p lbfabric-node`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Labs of different tests do not disturb each other, but they make each other slow.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
const NAME_LINE: &str = "lab: it is called ";

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lab(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lbfabric"));
    command.arg("lab").args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    lab(arguments).output().expect("lbfabric starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The id that a lab says on standard error.
fn id_in(stderr: &str) -> String {
    let mut lines = stderr.lines();
    let id = lines.find_map(|line| line.strip_prefix(NAME_LINE));
    id.unwrap_or_else(|| panic!("no id in {stderr}")).to_owned()
}

/// Everything on this machine that has the lab's id in its name: namespaces, folders, mounts, processes.
fn left_overs(id: &str) -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["/var/run/netns", "/run/lbfabric-lab"] {
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        found.extend(names.filter(|name| name == id || name.starts_with(&format!("lbf-{id}-"))));
    }
    let run_dir = format!("/run/lbfabric-lab/{id}");
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the mounts can be read");
    found.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&run_dir))
            .map(str::to_owned),
    );
    for entry in fs::read_dir("/proc").expect("there is a /proc").flatten() {
        let command_line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command_line = String::from_utf8_lossy(&command_line).replace('\0', " ");
        if command_line.contains(&run_dir) || command_line.contains(&format!("lbf-{id}-")) {
            found.push(command_line);
        }
    }
    found
}

fn assert_nothing_left(id: &str) {
    let left = left_overs(id);
    assert!(left.is_empty(), "the lab {id} left {left:#?}");
}

/// Reads the lab's progress until a line begins so, and gives all that was read.
fn read_until(child: &mut Child, beginning: &str) -> String {
    let mut text = String::new();
    let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped"));
    loop {
        let mut line = String::new();
        let length = lines.read_line(&mut line).expect("stderr can be read");
        assert!(length > 0, "the lab ended before {beginning:?}: {text}");
        text.push_str(&line);
        if line.starts_with(beginning) {
            // The pipe has to stay open, or the lab's next line would find nobody.
            std::thread::spawn(move || lines.read_to_string(&mut String::new()));
            return text;
        }
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).expect("process ids are positive");
    kill(Pid::from_raw(pid), signal).expect("the lab takes a signal");
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field]
        .as_str()
        .unwrap_or_else(|| panic!("no text {field} in {row:#}"))
}

fn assert_row(row: &Value, requests: u64) {
    assert_eq!(row["ok"], true, "{row:#}");
    assert_eq!(
        (&row["sent"], &row["answered"]),
        (&requests.into(), &requests.into()),
        "{row:#}"
    );
    assert_targets(row);
    if text(row, "protocol") == "icmp" {
        return assert_pings(row, requests);
    }
    let servers = row["servers"].as_object().expect("servers is an object");
    assert_eq!(servers.keys().collect::<Vec<_>>(), ["srv1", "srv2", "srv3"]);
    assert_eq!(
        servers.values().filter_map(Value::as_u64).sum::<u64>(),
        requests
    );
    let v4 = text(row, "family") == "ipv4";
    let (client, nodes) = if v4 {
        ("10.77.1.2", ["10.77.2.11", "10.77.2.12"])
    } else {
        ("fd77:1::2", ["fd77:2::11", "fd77:2::12"])
    };
    let mode = text(row, "mode");
    // The columns of the modes' table.
    let (to_server, answer, path) = match mode {
        "l4-dnat" | "l7-transparent" => ("C -> S", "S -> C, routed through a node", "node"),
        "l4-fullnat" | "l7-reverse" => ("L -> S", "S -> L", "node"),
        "l4-dsr" => (
            "C -> V (MAC of S)",
            "V -> C, straight to the client",
            "direct",
        ),
        "l4-tunnel" => (
            "outer L -> S, inner C -> V",
            "V -> C, straight to the client",
            "direct",
        ),
        other => panic!("what mode is {other}?"),
    };
    let saw: Vec<&str> = row["server_saw"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    if ["l4-fullnat", "l7-reverse"].contains(&mode) {
        assert_eq!(saw, nodes);
    } else {
        assert_eq!(saw, [client]);
    }
    assert_eq!(text(row, "answer_path"), path);
    for (hop, form) in [
        ("client_to_node", "C -> V"),
        ("node_to_server", to_server),
        ("server_answer", answer),
        ("answer_to_client", "V -> C"),
    ] {
        let seen = row["captured"][hop]["seen"].as_object().expect("an object");
        assert_eq!(seen.keys().collect::<Vec<_>>(), [form], "{mode} {hop}");
        assert!(
            seen[form].as_u64() >= Some(requests),
            "{mode} {hop}: {seen:?}"
        );
    }
}

/// The client has asked for the VIPs that it was to, each time by the nodes that serve them all.
fn assert_targets(row: &Value) {
    let (mode, is_transparent) = (text(row, "mode"), row["transparent"] == true);
    let seen = row["captured"]["client_to_node"]["addresses"]
        .as_object()
        .expect("an object");
    let targets: BTreeSet<&str> = seen
        .keys()
        .filter_map(|addresses| Some(addresses.split_once(" -> ")?.1))
        .collect();
    let modes = [
        "l4-dnat",
        "l4-fullnat",
        "l4-dsr",
        "l4-tunnel",
        "l7-reverse",
        "l7-transparent",
    ];
    let number = 11 + modes.iter().position(|it| *it == mode).expect("a mode");
    let is_v4 = text(row, "family") == "ipv4";
    let expected = match (is_transparent, is_v4) {
        (false, true) => vec![format!("10.99.0.{number}")],
        (false, false) => vec![format!("fd99::{number}")],
        (true, true) => ["0", "1", "254", "255"]
            .map(|last| format!("10.98.{number}.{last}"))
            .into_iter()
            .chain([format!("10.97.0.{number}")])
            .collect(),
        (true, false) => vec![
            format!("fd97::{number}"),
            format!("fd98:0:0:{number}::"),
            format!("fd98::{number}:ffff:ffff:ffff:ffff"),
        ],
    };
    for target in &expected {
        assert!(targets.contains(target.as_str()), "{target} of {targets:?}");
    }
    // Half of sixty requests each for another address of the prefix.
    assert_eq!(targets.len(), if is_transparent { 31 } else { 1 });
    let nodes: Vec<&String> = row["nodes"]
        .as_object()
        .expect("an object")
        .keys()
        .collect();
    if mode == "l7-transparent" || (mode == "l4-dnat" && is_transparent) {
        assert_eq!(nodes, ["node1"]);
    } else {
        assert_eq!(nodes, ["node1", "node2"], "{row:#}");
    }
}

/// A node has answered in the VIP's name; no server has seen any of it.
fn assert_pings(row: &Value, requests: u64) {
    assert_eq!(row["transparent"], true);
    assert_eq!(row["servers"], serde_json::json!({}));
    assert_eq!(text(row, "answer_path"), "node");
    for (hop, form) in [
        ("client_to_node", Some("C -> V")),
        ("node_to_server", None),
        ("server_answer", None),
        ("answer_to_client", Some("V -> C")),
    ] {
        let seen = &row["captured"][hop]["seen"];
        let expected = form.map(|form| (form.to_owned(), requests.into()));
        let expected: serde_json::Map<String, Value> = expected.into_iter().collect();
        assert_eq!(*seen, Value::from(expected), "{hop}");
    }
}

#[test]
fn every_mode_and_every_fault_is_as_it_must_be() {
    let _alone = alone();
    let output = run(&["--faults", "-o", "json"]);
    let said = stderr(&output);
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(report["ok"], true, "{report:#}\n{said}");
    assert!(output.status.success());
    let rows = report["rows"].as_array().expect("rows is a list");
    let kinds: BTreeSet<_> = rows
        .iter()
        .map(|row| {
            let kind = ["mode", "family", "protocol"].map(|field| text(row, field));
            (row["transparent"] == true, kind)
        })
        .collect();
    // Four modes in two families with two protocols, and two with one; the same with transparent listening, with pings of each.
    let transparent = kinds.iter().filter(|(is_transparent, _)| *is_transparent);
    assert_eq!((rows.len(), kinds.len(), transparent.count()), (52, 52, 32));
    for row in rows {
        assert_row(row, 60);
    }
    let faults = report["faults"].as_array().expect("faults is a list");
    assert_eq!(faults.len(), 3);
    for fault in faults {
        assert_eq!(fault["ok"], true, "{fault:#}");
        assert!(fault["sent"].as_u64() >= Some(200), "{fault:#}");
        assert_eq!(fault["sent"], fault["answered"]);
        assert!(!text(fault, "fault").is_empty() && !text(fault, "detail").is_empty());
    }
    assert_nothing_left(&id_in(&said));
}

#[test]
fn two_labs_at_once_do_not_collide() {
    let _alone = alone();
    let other = std::thread::spawn(|| run(&["--requests", "5"]));
    let one = run(&["--requests", "5"]);
    let other = other.join().expect("the other lab's thread ends");
    for output in [&one, &other] {
        let table = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{table}{}", stderr(output));
        assert!(
            table.contains("ANSWER PATH") && table.contains("l4-tunnel transparent"),
            "{table}"
        );
    }
    let [one, other] = [&one, &other].map(|output| id_in(&stderr(output)));
    assert_ne!(one, other);
    assert_nothing_left(&one);
    assert_nothing_left(&other);
}

#[test]
fn a_signal_ends_the_lab_without_a_trace() {
    let _alone = alone();
    for (beginning, by) in [
        (NAME_LINE, Signal::SIGTERM),
        ("lab: sending", Signal::SIGINT),
    ] {
        let mut command = lab(&["--requests", "100000"]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("lbfabric starts");
        let said = read_until(&mut child, beginning);
        let id = id_in(&said);
        assert!(!left_overs(&id).is_empty(), "the lab runs");
        signal(&child, by);
        let status = child.wait().expect("the lab ends");
        assert!(!status.success(), "{by} is no success");
        assert_nothing_left(&id);
    }
}

#[test]
fn cleanup_removes_what_a_killed_lab_left_and_nothing_else() {
    let _alone = alone();
    let start = || {
        let mut command = lab(&["--requests", "100000"]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("lbfabric starts");
        let id = id_in(&read_until(&mut child, "lab: sending"));
        (child, id)
    };
    let (mut killed, abandoned) = start();
    killed.kill().expect("the lab can be killed");
    killed.wait().expect("the lab ends");
    assert!(
        !left_overs(&abandoned).is_empty(),
        "a killed lab cannot clean up"
    );
    let (mut living, in_use) = start();
    let cleanup = run(&["--cleanup"]);
    assert!(cleanup.status.success(), "{}", stderr(&cleanup));
    assert!(stderr(&cleanup).contains(&abandoned));
    assert_nothing_left(&abandoned);
    assert!(
        !left_overs(&in_use).is_empty(),
        "a living lab is left alone"
    );
    signal(&living, Signal::SIGINT);
    living.wait().expect("the lab ends");
    assert_nothing_left(&in_use);
}

#[test]
fn a_kept_lab_works_until_it_is_cleaned_up() {
    let _alone = alone();
    let output = run(&["--keep", "--requests", "1"]);
    let said = stderr(&output);
    assert!(
        output.status.success(),
        "{}{said}",
        String::from_utf8_lossy(&output.stdout)
    );
    let id = id_in(&said);
    let client = format!("--net=/var/run/netns/lbf-{id}-client");
    let advice = said
        .lines()
        .find(|line| line.contains("nsenter") && line.contains("-client"));
    assert!(advice.is_some_and(|line| line.contains(&client)), "{said}");
    let mut curl = Command::new("nsenter");
    curl.args([
        &client,
        "curl",
        "--silent",
        "--max-time",
        "5",
        "http://10.99.0.14/",
    ]);
    let answer = curl.output().expect("nsenter starts");
    assert!(answer.stdout.starts_with(b"srv"), "{answer:?}");
    let advice = said.lines().find_map(|line| line.split_once("birdc "));
    let (_, questions) = advice.expect("how to ask the router's bird");
    let birdc = Command::new("birdc").args(questions.split(' ')).output();
    let routes = birdc.expect("Debian's package bird2").stdout;
    let routes = String::from_utf8_lossy(&routes);
    assert!(
        routes.contains("10.98.14.0/24") && routes.contains("fd97::15/128"),
        "{routes}"
    );
    let cleanup = run(&["--cleanup"]);
    assert!(cleanup.status.success(), "{}", stderr(&cleanup));
    assert_nothing_left(&id);
}

#[test]
fn a_lab_that_fails_says_why_and_leaves_nothing() {
    let _alone = alone();
    let missing = lab(&[])
        .env("LBFABRIC_BIN_DIR", "/nowhere")
        .output()
        .expect("lbfabric starts");
    assert!(!missing.status.success());
    let said = stderr(&missing);
    assert!(
        said.contains("cargo build") && said.contains("lbfabric-controller"),
        "{said}"
    );

    let folder = tempfile::tempdir().expect("a folder can be made");
    let real = Path::new(env!("CARGO_BIN_EXE_lbfabric"));
    for (name, program) in [
        ("lbfabric", real),
        ("lbfabric-node", &real.with_file_name("lbfabric-node")),
    ] {
        std::os::unix::fs::symlink(program, folder.path().join(name)).expect("a link can be made");
    }
    let broken = folder.path().join("lbfabric-controller");
    fs::write(&broken, "#!/bin/sh\necho 'no disk today' >&2\nexit 3\n")
        .expect("a script can be written");
    fs::set_permissions(&broken, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("it can be made to run");
    let started = Instant::now();
    let output = lab(&[])
        .env("LBFABRIC_BIN_DIR", folder.path())
        .output()
        .expect("lbfabric starts");
    assert!(!output.status.success());
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "it waited for what cannot come"
    );
    let said = stderr(&output);
    assert!(
        said.contains("no disk today") && said.contains("ended by itself"),
        "{said}"
    );
    assert_nothing_left(&id_in(&said));
}
