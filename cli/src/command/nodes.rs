//! `lbfabric nodes`.

use std::process::ExitCode;

use lbfabric_proto::v1;

use super::get::note_missing;
use crate::{
    client::{Client, ClientArgs},
    document::{Defaults, Plain, message, plain},
    exit::Exit,
    output::{Format, FormatArgs, Style, nodes, note, print},
};

/// Arguments of `lbfabric nodes`.
#[derive(Debug, clap::Args)]
pub struct NodesArgs {
    #[command(flatten)]
    format: FormatArgs,
}

/// The end of its long help.
pub const HELP: &str = "\
With `-o json` and `-o yaml` the answer is `generation`, `missing_members`, and `nodes`: for each its `name` and the fields of
`NodeStatus`, such as `connected`, `applied_generation`, `xdp_mode`, `fault`,
`map_memory_bytes` and `counters`.

Example:
  lbfabric nodes -o wide
  lbfabric nodes -o json | jq -r '.nodes[] | select(.fault != \"\") | .name'";

/// Shows how the nodes are.
pub async fn run(args: NodesArgs, client: &ClientArgs) -> anyhow::Result<ExitCode> {
    let NodesArgs {
        format: FormatArgs { format },
    } = args;
    let request = v1::ListRequest {
        kind: v1::Kind::Node.into(),
        with_status: true,
    };
    let answer = Client::new(client).list(request).await?;
    if format.is_data() {
        format.print(&data(&answer))?;
        return Ok(Exit::Ok.into());
    }
    note_missing(&answer.missing_members);
    if answer.objects.is_empty() {
        note("no nodes: none has connected yet");
        return Ok(Exit::Ok.into());
    }
    print(&nodes(&answer.objects, format == Format::Wide).render(Style::stdout()))?;
    Ok(Exit::Ok.into())
}

fn data(answer: &v1::ListResponse) -> Plain {
    let nodes = answer.objects.iter().map(|object| {
        let name = object
            .r#ref
            .as_ref()
            .map(|of| of.name.clone())
            .unwrap_or_default();
        let status = match &object.status {
            Some(v1::object::Status::NodeStatus(status)) => status.clone(),
            _ => v1::NodeStatus::default(),
        };
        let mut fields = vec![("name".to_owned(), Plain::Text(name))];
        if let Plain::Map(status) = plain(&message("NodeStatus", &status), Defaults::Written) {
            fields.extend(status);
        }
        Plain::Map(fields)
    });
    let members = answer.missing_members.iter().cloned().map(Plain::Text);
    Plain::Map(vec![
        (
            "generation".to_owned(),
            Plain::Number(answer.generation.into()),
        ),
        ("missing_members".to_owned(), Plain::List(members.collect())),
        ("nodes".to_owned(), Plain::List(nodes.collect())),
    ])
}
