//! A node between clients and servers that see them: what the tests of `l7-transparent` have in common.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

use lbfabric_node::Role;
use lbfabric_proto::v1;

use crate::{
    fixture::{Fixture, attached, eventually},
    load_balancer::web,
    namespace::Namespace,
    nginx::Nginx,
    played_controller::PlayedController,
};

/// Two clients, each with an address of both families.
pub(crate) const CLIENTS: [[&str; 2]; 2] = [["10.77.0.2", "fd77::2"], ["10.77.0.3", "fd77::3"]];
const PATIENCE: Duration = Duration::from_secs(10);

/// Clients behind the node, servers beside it. The node does not forward packets, and filters strictly by their way back.
pub(crate) struct Site {
    pub(crate) fixture: Fixture,
    pub(crate) clients: Namespace,
    _nginx: Nginx,
    log: tempfile::TempDir,
}

/// The server answers with the client as it sees it and the connection's number, and logs the same.
const DIRECTIVES: &str = r#"
log_format seen "$connection $remote_addr $remote_port";
keepalive_requests 1000; keepalive_timeout 60; default_type text/plain;
server {
    listen 10.88.0.2:80; listen [fd88::2]:80;
    access_log LOG/seen.log seen;
    location / { return 200 "$connection $remote_addr $remote_port\n"; }
    location /big { alias big; }
    location /slow { limit_rate 64k; alias big; }
}
"#;
pub(crate) const BIG_BYTES: usize = 200 << 10;

impl Site {
    pub(crate) fn new() -> Self {
        let fixture = Fixture::new();
        fixture.route_vips();
        let clients = Namespace::new("c");
        fixture.node.ip(&[
            "link",
            "add",
            "cl0",
            "type",
            "veth",
            "peer",
            "name",
            "eth",
            "netns",
            &clients.name,
        ]);
        let addresses = CLIENTS
            .as_flattened()
            .iter()
            .map(|it| (&clients, "eth", *it));
        let gateways = ["10.77.0.1", "fd77::1"].map(|it| (&fixture.node, "cl0", it));
        for (namespace, link, address) in addresses.chain(gateways) {
            let bits = if address.contains(':') { 64 } else { 24 };
            let address = format!("{address}/{bits}");
            let mut command = vec!["addr", "add", &address, "dev", link];
            command.extend(address.contains(':').then_some("nodad"));
            namespace.ip(&command);
        }
        fixture.node.ip(&["link", "set", "cl0", "up"]);
        clients.ip(&["link", "set", "eth", "up"]);
        for (namespace, gateways) in [
            (&clients, ["10.77.0.1", "fd77::1"]),
            (&fixture.peer, ["10.88.0.1", "fd88::1"]),
        ] {
            namespace.ip(&["route", "add", "default", "via", gateways[0]]);
            namespace.ip(&["-6", "route", "add", "default", "via", gateways[1]]);
        }
        for (setting, value) in [
            ("net/ipv4/conf/all/forwarding", "0"),
            ("net/ipv6/conf/all/forwarding", "0"),
            ("net/ipv4/conf/all/rp_filter", "1"),
            ("net/ipv4/conf/lb0/rp_filter", "1"),
            ("net/ipv4/conf/cl0/rp_filter", "1"),
        ] {
            Fixture::write_setting(&fixture.node, setting, value);
        }
        let log = tempfile::tempdir().expect("a temporary folder");
        let directives = DIRECTIVES.replace("LOG", &log.path().to_string_lossy());
        let big = "x".repeat(BIG_BYTES);
        let listens = ["10.88.0.2:80", "[fd88::2]:80"];
        let nginx = Nginx::start(&fixture.peer, &directives, &[("big", &big)], &listens);
        Self {
            fixture,
            clients,
            _nginx: nginx,
            log,
        }
    }

    /// All that the agent may change on the node, but for its maps. The kernel itself adds addresses of links and their routes.
    pub(crate) fn machine(&self) -> BTreeSet<String> {
        let node = &self.fixture.node;
        let mut lists = Vec::new();
        for family in ["-4", "-6"] {
            lists.push(node.ip(&[family, "rule", "list"]));
            let routes = node.ip(&[family, "route", "list", "table", "all"]);
            let lines = routes.lines().filter(|it| !it.contains("proto kernel"));
            lists.push(lines.collect::<Vec<_>>().join("\n"));
            lists.push(node.ip(&["-o", family, "addr", "show", "lo"]));
        }
        lists.push(within(
            node,
            "sh",
            &[
                "-c",
                "grep -r . /proc/sys/net/ipv4/conf/ /proc/sys/net/ipv6/conf/ 2>/dev/null || true",
            ],
        ));
        let lines = lists.iter().flat_map(|it| it.lines());
        lines.map(str::to_owned).collect()
    }

    /// The rules of the agent, without their priority.
    pub(crate) fn rules(&self) -> BTreeSet<String> {
        let lists = ["-4", "-6"].map(|it| self.fixture.node.ip(&[it, "rule", "list"]));
        let lines = lists.iter().flat_map(|it| it.lines());
        lines
            .filter_map(|line| line.strip_prefix("108:\t"))
            // Without /etc/protocols, `ip` knows no protocol's name.
            .map(|line| line.trim().replace("ipproto-6", "tcp"))
            .collect()
    }

    pub(crate) async fn serve(
        &self,
        controller: &mut PlayedController,
    ) -> lbfabric_node::NodeAgent {
        controller.apply(&web(v1::Mode::L7Transparent));
        let config = self.fixture.config(Role::LoadBalancer, controller.address);
        let agent = self.fixture.start(config).await;
        eventually("the service", || controller.report_if(is_applied)).await;
        agent
    }

    /// Whom each of the connections to the server was of, as it has logged them.
    pub(crate) fn seen(&self) -> BTreeMap<u64, BTreeSet<SocketAddr>> {
        let log = std::fs::read_to_string(self.log.path().join("seen.log"));
        let mut seen: BTreeMap<u64, BTreeSet<SocketAddr>> = BTreeMap::new();
        for line in log.expect("the server logs").lines() {
            let (number, client) = parse(line);
            seen.entry(number).or_default().insert(client);
        }
        seen
    }

    pub(crate) fn curl(&self, args: &[&str]) -> String {
        let silent = [
            "--silent",
            "--show-error",
            "--max-time",
            "10",
            "--noproxy",
            "*",
        ];
        within(&self.clients, "curl", &[&silent, args].concat())
    }
}

pub(crate) fn within(namespace: &Namespace, program: &str, args: &[&str]) -> String {
    let output = Command::new("nsenter")
        .arg(format!("--net=/var/run/netns/{}", namespace.name))
        .arg(program)
        .args(args)
        .output()
        .expect("nsenter of util-linux");
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A connection's number, and the client that the server sees.
pub(crate) fn parse(line: &str) -> (u64, SocketAddr) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[number, address, port] = &words[..] else {
        panic!("what the server says: {line:?}");
    };
    let address: IpAddr = address.parse().expect("an address");
    let port = port.parse().expect("a port");
    (number.parse().expect("a number"), (address, port).into())
}

/// A client's connection, which requests follow one another on.
pub(crate) struct Conversation(TcpStream);

impl Conversation {
    pub(crate) fn open(from: &str, vip: &str) -> io::Result<Self> {
        let from = SocketAddr::new(from.parse().expect("an address"), 0);
        let to: SocketAddr = vip.parse().expect("an address and a port");
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(to),
            socket2::Type::STREAM,
            None,
        )?;
        socket.bind(&from.into())?;
        socket.connect_timeout(&to.into(), PATIENCE)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("it is connected")
    }

    /// What the server has seen.
    pub(crate) fn ask(&mut self) -> io::Result<(u64, SocketAddr)> {
        self.0.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")?;
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte)?;
            answer.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&answer).into_owned();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        let length = length.and_then(|it| it.parse().ok()).expect("a length");
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok(parse(&String::from_utf8_lossy(&body)))
    }
}

pub(crate) fn is_applied(report: &v1::NodeReport) -> bool {
    attached(report) && report.refusals.is_empty() && report.backends.iter().any(|it| it.healthy)
}
