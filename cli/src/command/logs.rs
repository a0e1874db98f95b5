//! `lbfabric logs`.

use std::process::ExitCode;

use lbfabric_proto::v1;
use tonic::{Code, Status};

use crate::{
    client::{CallError, Client, ClientArgs},
    exit::Exit,
    output::{note, print},
};

/// Arguments of `lbfabric logs`.
#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// The service, which needs `proxy.access_log`.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Go on with lines as they are written.
    #[arg(short, long)]
    follow: bool,
    /// How many of the latest lines to begin with.
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    lines: u32,
}

/// The end of its long help.
pub const HELP: &str = "\
Lines are as the service's `proxy.access_log.format` has them, of all nodes; the nodes keep the latest 256 KiB of each service. When they
come faster than they are read, some are left out, and standard error says how many.

Example:
  lbfabric logs shop -n 100
  lbfabric logs -f shop | jq -r 'select(.status >= 500) | [.time, .server, .termination, .path] | @tsv'";

/// Shows lines, and follows them until it is stopped.
pub async fn run(args: LogsArgs, client: &ClientArgs) -> anyhow::Result<ExitCode> {
    let LogsArgs {
        service,
        follow,
        lines,
    } = args;
    let client = Client::new(client);
    let mut request = v1::LogsRequest {
        service,
        last: lines,
        follow,
    };
    if !follow {
        let mut all = Vec::new();
        let mut stream = client.logs(request).await?;
        while let Some(response) = stream.message().await.map_err(refused)? {
            all.extend(told(response));
        }
        print(&latest(all, lines))?;
        return Ok(Exit::Ok.into());
    }
    loop {
        let mut stream = client.logs(request.clone()).await?;
        loop {
            match stream.message().await {
                Ok(Some(response)) => {
                    let lines = told(response);
                    print(&with_ends(&lines))?;
                }
                Ok(None) => break,
                Err(status) if status.code() == Code::Unavailable => break,
                Err(status) => return Err(refused(status).into()),
            }
        }
        note("connection lost; opening it again");
        request.last = 0;
        client.pause().await;
    }
}

fn refused(status: Status) -> CallError {
    CallError::Refused(Box::new(status))
}

/// The lines; that some are lost is said.
fn told(response: v1::LogsResponse) -> Vec<String> {
    let v1::LogsResponse { node, lines, lost } = response;
    if lost > 0 {
        note(&format!(
            "{lost} lines of node {node} are lost: they come faster than they are read"
        ));
    }
    lines
}

/// The latest of all nodes' lines in the order of their times, where they say one first.
fn latest(mut lines: Vec<String>, count: u32) -> String {
    lines.sort_by(|one, other| time(one).cmp(time(other)));
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let begin = lines.len().saturating_sub(count);
    with_ends(&lines[begin..])
}

fn with_ends(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// As JSON has it; the same for all lines that have none, which stay in their order.
fn time(line: &str) -> &str {
    let rest = line.strip_prefix("{\"time\":\"").unwrap_or("");
    rest.split('"').next().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_lines_of_all_nodes_are_in_order() {
        let line = |second: u32| {
            format!("{{\"time\":\"2026-11-27T11:00:{second:02}.5Z\",\"status\":200}}")
        };
        let lines = vec![line(1), line(5), line(2), line(3)];
        let expected = format!("{}\n{}\n", line(3), line(5));
        assert_eq!(latest(lines.clone(), 2), expected);
        assert_eq!(latest(lines, 10).lines().count(), 4);
        // Of another format their order stays.
        let combined = ["b", "a"].map(str::to_owned).to_vec();
        assert_eq!(latest(combined, 2), "b\na\n");
    }
}
