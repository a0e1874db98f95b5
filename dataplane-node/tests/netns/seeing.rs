//! What is to be seen of an agent from outside: metrics and health over HTTP, and the access log in a file and over the stream.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use lbfabric_node::{AccessLogTarget, NodeConfig, Role};
use lbfabric_proto::v1::{self, sync_response::Message};
use tokio::process::Command;

use crate::{
    fixture::{DEADLINE, Fixture, eventually},
    l7_clients::curl,
    l7_reverse::{VIPS, is_applied, serve_in},
    load_balancer::web,
    namespace::Namespace,
    played_controller::PlayedController,
};

pub(crate) const METRICS: &str = "127.0.0.1:9100";

/// `web` with an access log, and traces.
fn logged() -> v1::FabricSpec {
    let mut spec = web(v1::Mode::L7Reverse);
    spec.services[0].proxy = Some(v1::ProxySpec {
        access_log: Some(v1::AccessLogSpec::default()),
        trace: Some(v1::TraceSpec::default()),
        ..v1::ProxySpec::default()
    });
    spec
}

/// What curl is told: the status, and the body. The agent, which answers, is on the test's thread.
pub(crate) async fn told(node: &Namespace, path: &str) -> (String, String) {
    let output = Command::new("nsenter")
        .arg(format!("--net=/var/run/netns/{}", node.name))
        .args(["curl", "--silent", "--max-time", "20"])
        .args(["--write-out", "\n%{http_code}"])
        .arg(format!("http://{METRICS}{path}"))
        .output();
    let output = output.await.expect("these tests need nsenter and curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').expect("the status is behind it");
    (status.to_owned(), body.to_owned())
}

/// Waits until a node says that it is ready.
pub(crate) async fn until_ready(node: &Namespace) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let said = told(node, "/readyz").await;
        if said.0 == "200" {
            return;
        }
        assert!(Instant::now() < deadline, "{said:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the metrics have a line.
pub(crate) async fn counted(node: &Namespace, line: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (_, metrics) = told(node, "/metrics").await;
        if metrics.lines().any(|it| it == line) {
            return;
        }
        assert!(Instant::now() < deadline, "{line}: {metrics}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The lines of a file, once there are so many.
async fn lines(path: &Path, count: usize) -> Vec<serde_json::Value> {
    let there = || {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines = text.lines().map(serde_json::from_str);
        let lines = lines.collect::<Result<Vec<_>, _>>().ok()?;
        (lines.len() == count).then_some(lines)
    };
    eventually("the lines", there).await
}

fn get(fixture: &Fixture, path: &str) -> String {
    let url = format!("http://{}{path}", VIPS[0]);
    curl(&fixture.peer, &["--user-agent", "seen", &url]).expect("an answer")
}

#[test]
fn requests_are_counted_and_logged() {
    let fixture = Fixture::new();
    fixture.route_vips();
    serve_in(&fixture.peer, "10.88.0.2:80");
    serve_in(&fixture.peer, "[fd88::2]:80");
    fixture.node.ip(&["link", "set", "lo", "up"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, old) = (folder.path().join("log"), folder.path().join("log.1"));
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        let metrics: SocketAddr = METRICS.parse().expect("an address and a port");
        let config = NodeConfig {
            metrics_address: Some(metrics),
            access_log: AccessLogTarget::File(path.clone()),
            ..fixture.config(Role::LoadBalancer, controller.address)
        };
        let agent = fixture.start(config).await;
        assert_eq!(told(&fixture.node, "/healthz").await.0, "200");
        controller.apply(&logged());
        eventually("the service", || controller.report_if(is_applied)).await;
        let ready = told(&fixture.node, "/readyz").await;
        assert_eq!(ready, ("200".to_owned(), "ok\n".to_owned()));
        get(&fixture, "/first?a=b");
        let [first] = &lines(&path, 1).await[..] else {
            panic!("there is one");
        };
        for (name, value) in [
            ("service", "web"),
            ("server", "s1"),
            ("client", "10.88.0.2"),
            ("method", "GET"),
            ("path", "/first?a=b"),
            ("user_agent", "seen"),
            ("termination", "--"),
        ] {
            assert_eq!(first[name], value, "{first}");
        }
        assert!(first["trace_id"].is_string(), "{first}");
        for line in [
            "lbfabric_l7_terminations_total{service=\"web\",state=\"--\"} 1",
            "lbfabric_l7_server_responses_total{service=\"web\",server=\"s1\",class=\"2xx\"} 1",
            "lbfabric_l7_log_lines_total{result=\"written\"} 1",
            "lbfabric_server_healthy{pool=\"web\",server=\"s1\"} 1",
            "lbfabric_controller_connected 1",
        ] {
            counted(&fixture.node, line).await;
        }

        // One that was renamed gets no more once the file is opened again.
        fs::rename(&path, &old).expect("it is there");
        agent.reopen_access_log();
        eventually("a new file", || path.exists().then_some(())).await;
        get(&fixture, "/second");
        assert_eq!(lines(&path, 1).await[0]["path"], "/second");
        assert_eq!(lines(&old, 1).await.len(), 1);

        followed(&fixture, &controller).await;
        agent.stop().await;
    });
}

/// Lines over the stream: the last ones, those that come, and no more when nobody reads them.
async fn followed(fixture: &Fixture, controller: &PlayedController) {
    let query = |id, last, follow| {
        Message::FollowLog(v1::LogQuery {
            id,
            service: "web".to_owned(),
            last,
            follow,
        })
    };
    let paths = |id: u64| {
        let answers = controller.heard().log_lines;
        let lines = answers.iter().filter(move |it| it.id == id);
        let lines: Vec<_> = lines.flat_map(|it| it.lines.clone()).collect();
        let path = |line: &String| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            line["path"].as_str().unwrap_or_default().to_owned()
        };
        lines.iter().map(path).collect::<Vec<_>>()
    };
    controller.say(query(1, 10, false));
    let ends = |id| {
        controller
            .heard()
            .log_lines
            .iter()
            .any(|it| it.id == id && it.ends)
    };
    eventually("all lines", || ends(1).then_some(())).await;
    assert_eq!(paths(1), ["/first?a=b", "/second"]);

    controller.say(query(2, 1, true));
    eventually("the last line", || (paths(2) == ["/second"]).then_some(())).await;
    get(fixture, "/third");
    let both = || (paths(2) == ["/second", "/third"]).then_some(());
    eventually("the next line", both).await;
    assert!(!ends(2));
    controller.say(Message::StopLog(2));
    // What comes behind it is answered once it is heard.
    controller.say(query(3, 0, false));
    eventually("an answer", || ends(3).then_some(())).await;
    // What is asked later is answered later.
    get(fixture, "/fourth");
    let fourth = || {
        controller.say(query(4, 1, false));
        (paths(4).last().map(String::as_str) == Some("/fourth")).then_some(())
    };
    eventually("the fourth line", fourth).await;
    assert_eq!(paths(2), ["/second", "/third"]);
}
