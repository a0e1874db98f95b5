//! `lbfabric explain`.

use std::{net::IpAddr, net::SocketAddr, process::ExitCode};

use anyhow::anyhow;
use lbfabric_proto::v1;

use super::get::note_missing;
use crate::{
    client::{Client, ClientArgs},
    document::{Defaults, Plain, message, plain},
    exit::{Exit, Failure},
    output::{FormatArgs, Style, explanation, note, print},
};

/// Arguments of `lbfabric explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// The node that is asked; without it every connected load balancer.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// The packet's source.
    #[arg(long, value_name = "IP:PORT", value_parser = endpoint)]
    from: SocketAddr,
    /// The packet's destination.
    #[arg(long, value_name = "VIP:PORT", value_parser = endpoint)]
    to: SocketAddr,
    /// The packet's protocol; `other` is neither TCP nor UDP, and the addresses then need no ports.
    #[arg(long, value_enum, default_value_t, value_name = "PROTOCOL")]
    proto: Proto,
    /// A later packet of its flow, not the first one.
    #[arg(long)]
    established: bool,
    /// The host that a request is for, with a port if it says one; of a service of layer 7, as all that follows.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// The request's path and query.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// The request's method.
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// A header field of the request; may be given several times.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<v1::HeaderSpec>,
    /// The server's name that a client of TLS asks for; without it the host.
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    #[command(flatten)]
    format: FormatArgs,
}

/// A packet's protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Proto {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// Any other.
    Other,
}

/// The end of its long help.
pub const HELP: &str = "\
Nothing is sent: the node looks up what its program would do with the packet, and its layer-7 engine with the connection and the request. With `-o json` and `-o yaml` the answer is `answers`, for
each node `node`, `member` and the `explanation` with `service`, `slot`, `server`, `next_hop`, `verdict` and the other fields of
`Explanation`, and `failures`, each with `node` and `reason`.

Example:
  lbfabric explain --node lb1 --from 198.51.100.7:40000 --to 203.0.113.10:443
  lbfabric explain --from 198.51.100.7:40000 --to 203.0.113.20:443 --host shop.example --path /api --header 'X-Canary: 1'
  lbfabric explain --from '[2001:db8::7]:40000' --to '[2001:db8:1::10]:53' --proto udp -o json";

/// An address with its port; the port may be missing where there is none.
fn endpoint(text: &str) -> Result<SocketAddr, String> {
    let bare = || text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 0));
    text.parse().ok().or_else(bare).ok_or_else(|| {
        "write an address with a port, `198.51.100.7:40000` or `[2001:db8::7]:40000`".to_owned()
    })
}

/// A header field, as it is written in a head.
fn header(text: &str) -> Result<v1::HeaderSpec, String> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| "write a name, a colon and a value, `X-Tenant: a`".to_owned())?;
    Ok(v1::HeaderSpec {
        name: name.to_owned(),
        value: value.trim().to_owned(),
    })
}

/// What became of asking one node.
struct Asked {
    node: String,
    answer: anyhow::Result<v1::ExplainResponse>,
}

/// Explains what becomes of a packet.
pub async fn run(args: ExplainArgs, client: &ClientArgs) -> anyhow::Result<ExitCode> {
    let ExplainArgs {
        node,
        from,
        to,
        proto,
        established,
        host,
        path,
        method,
        header,
        sni,
        format: FormatArgs { format },
    } = args;
    let given = [&host, &path, &method, &sni];
    let is_asked = given.iter().any(|it| it.is_some()) || !header.is_empty();
    let request = v1::RequestQuestion {
        host: host.unwrap_or_default(),
        path: path.unwrap_or_default(),
        method: method.unwrap_or_default(),
        headers: header,
        server_name: sni.unwrap_or_default(),
    };
    let packet = v1::PacketQuestion {
        source: from.to_string(),
        destination: to.to_string(),
        protocol: v1::Protocol::from(proto).into(),
        established,
        request: is_asked.then_some(request),
    };
    let client = Client::new(client);
    let nodes = match node {
        Some(node) => vec![node],
        None => load_balancers(&client).await?,
    };
    let mut asked = Vec::new();
    for node in nodes {
        let request = v1::ExplainRequest {
            node: node.clone(),
            packet: Some(packet.clone()),
        };
        let answer = client.explain(request).await.map_err(anyhow::Error::new);
        asked.push(Asked { node, answer });
    }
    if format.is_data() {
        format.print(&data(&asked))?;
    } else {
        let answers = asked.iter().filter_map(|asked| asked.answer.as_ref().ok());
        let texts: Vec<String> = answers.map(|of| explanation(of, Style::stdout())).collect();
        print(&texts.join("\n"))?;
    }
    finish(asked)
}

/// The load balancers that are connected.
async fn load_balancers(client: &Client) -> anyhow::Result<Vec<String>> {
    let request = v1::ListRequest {
        kind: v1::Kind::Node.into(),
        with_status: true,
    };
    let list = client.list(request).await?;
    note_missing(&list.missing_members);
    let nodes = list.objects.into_iter().filter_map(|object| {
        let Some(v1::object::Status::NodeStatus(status)) = object.status else {
            return None;
        };
        let asked = status.connected && status.role() == v1::NodeRole::LoadBalancer;
        asked.then_some(object.r#ref?.name)
    });
    let nodes: Vec<String> = nodes.collect();
    if nodes.is_empty() {
        return Err(Failure {
            exit: Exit::Precondition,
            message: "no load balancer is connected: start one, or see `lbfabric nodes`".to_owned(),
        }
        .into());
    }
    Ok(nodes)
}

fn data(asked: &[Asked]) -> Plain {
    let mut answers = Vec::new();
    let mut failures = Vec::new();
    for Asked { node, answer } in asked {
        match answer {
            Ok(answer) => {
                let answer = message("ExplainResponse", answer);
                answers.push(plain(&answer, Defaults::Written));
            }
            Err(error) => failures.push(Plain::Map(vec![
                ("node".to_owned(), Plain::Text(node.clone())),
                ("reason".to_owned(), Plain::Text(error.to_string())),
            ])),
        }
    }
    Plain::Map(vec![
        ("answers".to_owned(), Plain::List(answers)),
        ("failures".to_owned(), Plain::List(failures)),
    ])
}

/// The first failure is the command's; the others are told as well.
fn finish(asked: Vec<Asked>) -> anyhow::Result<ExitCode> {
    let failures = asked.into_iter().filter_map(|asked| asked.answer.err());
    let mut failures: Vec<_> = failures.collect();
    if failures.is_empty() {
        return Ok(Exit::Ok.into());
    }
    let first = failures.remove(0);
    for failure in failures {
        note(&format!("error: {:#}", anyhow!(failure)));
    }
    Err(first)
}

impl From<Proto> for v1::Protocol {
    fn from(proto: Proto) -> Self {
        match proto {
            Proto::Tcp => Self::Tcp,
            Proto::Udp => Self::Udp,
            Proto::Other => Self::Any,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let read = header("X-Tenant:  a: b ").unwrap();
        assert_eq!((&*read.name, &*read.value), ("X-Tenant", "a: b"));
        assert!(header("X-Tenant").is_err());
    }

    #[test]
    fn endpoints() {
        for good in [
            "192.0.2.1:80",
            "[2001:db8::1]:80",
            "192.0.2.1",
            "2001:db8::1",
        ] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in ["", "web:80", "192.0.2.1:", "192.0.2.1:65536", "[::1]"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
