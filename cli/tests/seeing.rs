//! `lbfabric top`, `lbfabric logs` and the node's metrics with a fabric that runs: every command of `docs/seeing.md`, while requests come.
//! Needs root, for namespaces and the XDP programs.

#[path = "support/namespaces.rs"]
mod namespaces;
#[path = "support/pages.rs"]
mod pages;

use namespaces::PLACE;
use pages::{INTERFACE, blocks, file, page, said};

/// A network with the page's server, which answers what it does not know with 404, a fabric of one controller and one node, and a client.
const SITE: &str = r#"
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

/// The page's fabric, and requests to its service.
fn fabric(page: &str) -> String {
    let (_, shop) = blocks(page)
        .into_iter()
        .find(|(kind, _)| *kind == "yaml")
        .expect("there is a fabric");
    let shop = file("shop.yaml", shop);
    format!("{PLACE}{INTERFACE}{SITE}{shop}soon lbfabric apply -f shop.yaml\n{CLIENT}")
}

#[test]
fn every_command_of_the_page_works() {
    let page = page("seeing.md");
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
    let page = page("seeing.md");
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
