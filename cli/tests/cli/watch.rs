use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::fabric::{Fabric, WEB};

/// How long an event may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A `lbfabric watch -o json`, killed when it is dropped.
struct Watch {
    child: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn start(fabric: &Fabric, kind: &str) -> Self {
        let mut command = fabric.command(&["watch", kind, "-o", "json"]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("the binary starts");
        let out = child.stdout.take().expect("stdout is piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            lines
                .take_while(|line| sender.send(line.clone()).is_ok())
                .for_each(drop);
        });
        Self { child, lines }
    }

    /// The next event: its action (or `synced`) and the object's name.
    fn next(&self) -> (String, String) {
        let line = self
            .lines
            .recv_timeout(LIMIT)
            .expect("an event comes in time");
        let event: Value = serde_json::from_str(&line).expect("each line is JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if event["synced"] == true {
            return ("synced".to_owned(), String::new());
        }
        (
            text(&event["action"]),
            text(&event["object"]["ref"]["name"]),
        )
    }

    fn expect(&self, events: &[(&str, &str)]) {
        for (action, name) in events {
            assert_eq!(self.next(), ((*action).to_owned(), (*name).to_owned()));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_shown_as_they_happen() {
    let fabric = Fabric::start().await;
    fabric.apply(WEB).await;
    let watch = Watch::start(&fabric, "pools");
    watch.expect(&[("create", "web"), ("synced", "")]);
    fabric.apply(&WEB.replace("weight: 100", "weight: 7")).await;
    watch.expect(&[("update", "web")]);
    fabric.apply("pools: [{name: other}]").await;
    watch.expect(&[("create", "other")]);
    assert_eq!(fabric.run(&["delete", "pool", "other"]).await.code, 0);
    watch.expect(&[("delete", "other")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_outlives_the_controller() {
    let mut fabric = Fabric::start().await;
    fabric.apply(WEB).await;
    let watch = Watch::start(&fabric, "all");
    watch.expect(&[("create", "web"), ("create", "web"), ("synced", "")]);
    fabric.stop_controller().await;
    fabric.start_controller().await;
    // What was known is not shown again; this is the next event.
    fabric.apply("pools: [{name: other}]").await;
    watch.expect(&[("create", "other")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_a_watch_has_a_line_for_each_event() {
    let fabric = Fabric::start().await;
    fabric.apply(WEB).await;
    let mut command = fabric.command(&["watch", "svc"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("the binary starts");
    let out = child.stdout.take().expect("stdout is piped");
    let lines = tokio::task::spawn_blocking(move || {
        let mut out = BufReader::new(out);
        let mut lines = [String::new(), String::new()];
        for line in &mut lines {
            out.read_line(line).expect("the watch goes on");
        }
        lines
    });
    let lines = tokio::time::timeout(LIMIT, lines)
        .await
        .expect("events come in time")
        .expect("the reader ends");
    child.kill().expect("it still runs");
    drop(child.wait());
    assert!(
        lines[0].starts_with("+ service/web generation "),
        "{lines:?}"
    );
    assert!(lines[1].starts_with("= generation "), "{lines:?}");
}
