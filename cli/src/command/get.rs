//! `lbfabric get`.

use std::process::ExitCode;

use lbfabric_proto::v1;

use crate::{
    client::{Client, ClientArgs},
    document::{Defaults, Plain, message, plain},
    exit::{Exit, Failure},
    kind::{KindArg, Target},
    output::{Format, FormatArgs, Style, certificates, nodes, note, pools, print, services},
};

/// Arguments of `lbfabric get`.
#[derive(Debug, clap::Args)]
pub struct GetArgs {
    /// `services`, `pools`, `nodes`, `certificates` or `all`; or one object, `services/web`.
    #[arg(default_value = "all", value_name = "KIND[/NAME]")]
    target: Target,
    /// The object's name.
    name: Option<String>,
    /// With json and yaml: what is known of the objects now, instead of a file to apply.
    #[arg(long)]
    status: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// The end of its long help.
pub const HELP: &str = "\
With `-o yaml` and `-o json` the answer is a file that `apply -f` takes, with every default filled in; certificates come without their keys,
which the fabric keeps when such a file is applied. With `--status` it is
`generation` and `objects`, each with `ref`, `generation`, its specification and its status.

Example:
  lbfabric get services
  lbfabric get pool web -o wide
  lbfabric get -o yaml > fabric.yaml";

/// What was read.
struct Answer {
    generation: u64,
    objects: Vec<v1::Object>,
    missing_members: Vec<String>,
}

/// Shows objects.
pub async fn run(args: GetArgs, client: &ClientArgs) -> anyhow::Result<ExitCode> {
    let GetArgs {
        target,
        name,
        status,
        format,
    } = args;
    let Target { kind, name: own } = target;
    let name = match (own, name) {
        (Some(_), Some(_)) => return Err(Failure::usage("the name is given twice").into()),
        (own, name) => own.or(name),
    };
    if name.is_some() && kind == KindArg::All {
        return Err(Failure::usage("a name needs its kind, as in `get services web`").into());
    }
    let client = Client::new(client);
    let with_status = status || !format.format.is_data();
    let answer = read(&client, kind, name, with_status).await?;
    match format.format {
        Format::Json | Format::Yaml if status => {
            let response = v1::ListResponse {
                generation: answer.generation,
                objects: answer.objects,
                missing_members: answer.missing_members,
            };
            format.format.print(&plain(
                &message("ListResponse", &response),
                Defaults::Written,
            ))?;
        }
        Format::Json | Format::Yaml => format.format.print(&file(answer.objects))?,
        Format::Table | Format::Wide => {
            note_missing(&answer.missing_members);
            print(&tables(
                &answer.objects,
                kind,
                format.format == Format::Wide,
            ))?;
            if answer.objects.is_empty() {
                note(none_of(kind));
            }
        }
    }
    Ok(Exit::Ok.into())
}

async fn read(
    client: &Client,
    kind: KindArg,
    name: Option<String>,
    with_status: bool,
) -> anyhow::Result<Answer> {
    let kind = v1::Kind::from(kind).into();
    if let Some(name) = name {
        let request = v1::GetRequest {
            r#ref: Some(v1::ObjectRef { kind, name }),
            with_status,
        };
        let object = client.get(request).await?.object;
        let generation = object.as_ref().map_or(0, |object| object.generation);
        return Ok(Answer {
            generation,
            objects: object.into_iter().collect(),
            missing_members: Vec::new(),
        });
    }
    let v1::ListResponse {
        generation,
        objects,
        missing_members,
    } = client.list(v1::ListRequest { kind, with_status }).await?;
    Ok(Answer {
        generation,
        objects,
        missing_members,
    })
}

/// Says that the status of some nodes is not known.
pub(super) fn note_missing(members: &[String]) {
    for member in members {
        note(&format!(
            "controller {member} cannot be asked: the status of the nodes connected to it is missing"
        ));
    }
}

fn none_of(kind: KindArg) -> &'static str {
    match kind {
        KindArg::Services => "no services",
        KindArg::Pools => "no pools",
        KindArg::Nodes => "no nodes",
        KindArg::Certificates => "no certificates",
        KindArg::All => "no services, pools, nodes or certificates",
    }
}

/// The objects as a file that can be applied.
fn file(objects: Vec<v1::Object>) -> Plain {
    let mut spec = v1::FabricSpec::default();
    for object in objects {
        match object.spec {
            Some(v1::object::Spec::Service(service)) => spec.services.push(*service),
            Some(v1::object::Spec::Pool(pool)) => spec.pools.push(pool),
            Some(v1::object::Spec::Node(node)) => spec.nodes.push(node),
            Some(v1::object::Spec::Certificate(certificate)) => spec.certificates.push(certificate),
            None => {}
        }
    }
    plain(&message("FabricSpec", &spec), Defaults::LeftOut)
}

fn tables(objects: &[v1::Object], kind: KindArg, wide: bool) -> String {
    let all = [
        (KindArg::Services, services(objects, wide)),
        (KindArg::Pools, pools(objects, wide)),
        (KindArg::Nodes, nodes(of_nodes(objects), wide)),
        (KindArg::Certificates, certificates(objects, wide)),
    ];
    let style = Style::stdout();
    let shown = all
        .iter()
        .filter(|(of, table)| (kind == KindArg::All || kind == *of) && !table.is_empty());
    let titled = shown.map(|(of, table)| {
        let title = match of {
            KindArg::Services => "services\n",
            KindArg::Pools => "pools\n",
            KindArg::Certificates => "certificates\n",
            KindArg::Nodes | KindArg::All => "nodes\n",
        };
        let title = if kind == KindArg::All { title } else { "" };
        format!("{title}{}", table.render(style))
    });
    titled.collect::<Vec<_>>().join("\n")
}

/// The objects that are nodes.
pub(super) fn of_nodes(objects: &[v1::Object]) -> impl Iterator<Item = &v1::Object> {
    let node = i32::from(v1::Kind::Node);
    objects
        .iter()
        .filter(move |object| object.r#ref.as_ref().is_some_and(|of| of.kind == node))
}
