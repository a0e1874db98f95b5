//! `lbfabric delete`.

use std::process::ExitCode;

use lbfabric_proto::v1;

use super::file::Files;
use crate::{
    client::{Client, ClientArgs},
    document::{Defaults, FileArg, message, plain},
    exit::{Exit, Failure},
    kind::{KindArg, Target},
    output::{Format, FormatArgs, Style, changes, print},
};

/// Arguments of `lbfabric delete`.
#[derive(Debug, clap::Args)]
pub struct DeleteArgs {
    /// Objects: `services/web pools/web`, or a kind and names, `service web api`.
    #[arg(value_name = "KIND/NAME", required_unless_present = "files")]
    objects: Vec<String>,
    /// Delete the objects that this file names, YAML or JSON; `-` is standard input. May be given again.
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    files: Vec<FileArg>,
    /// Refuse if the fabric has changed since this generation.
    #[arg(long, value_name = "GENERATION", value_parser = clap::value_parser!(u64).range(1..))]
    expected_generation: Option<u64>,
    #[command(flatten)]
    format: FormatArgs,
}

/// The end of its long help.
pub const HELP: &str = "\
Either all of the objects go or none does. A pool that a service uses can only be deleted together with it.

Example:
  lbfabric delete services/web pools/web
  lbfabric delete -f fabric.yaml";

/// Deletes objects.
pub async fn run(args: DeleteArgs, client: &ClientArgs) -> anyhow::Result<ExitCode> {
    let DeleteArgs {
        objects,
        files,
        expected_generation,
        format,
    } = args;
    let mut refs = parse(&objects)?;
    if !files.is_empty() {
        let files = Files::read(&files)?;
        if !files.reading.is_clean() {
            return Ok(files.report("nothing was deleted"));
        }
        refs.extend(named(&files.reading.spec));
        if refs.is_empty() {
            return Err(Failure::usage("the files name no objects").into());
        }
    }
    let expected_generation = expected_generation.unwrap_or_default();
    let answer = Client::new(client)
        .delete(v1::DeleteRequest {
            refs,
            expected_generation,
        })
        .await?;
    match format.format {
        Format::Json | Format::Yaml => {
            format.format.print(&plain(
                &message("DeleteResponse", &answer),
                Defaults::Written,
            ))?;
        }
        Format::Table | Format::Wide => {
            let list = changes(&answer.changes, true, true, Style::stdout());
            print(&format!("{list}generation {}\n", answer.generation))?;
        }
    }
    Ok(Exit::Ok.into())
}

/// `KIND/NAME` and `KIND NAME...`, in any order.
fn parse(words: &[String]) -> Result<Vec<v1::ObjectRef>, Failure> {
    let mut refs = Vec::new();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let Target { kind, name } = word.parse().map_err(Failure::usage)?;
        if kind == KindArg::All {
            return Err(Failure::usage(
                "name the objects; to delete all of them: `lbfabric get -o yaml | lbfabric delete -f -`",
            ));
        }
        if let Some(name) = name {
            refs.push(reference(kind.into(), &name));
            continue;
        }
        let mut count = 0;
        while let Some(name) = words.next_if(|word| !word.contains('/')) {
            refs.push(reference(kind.into(), name));
            count += 1;
        }
        if count == 0 {
            return Err(Failure::usage(format!(
                "`{word}` needs a name, as in `{word}/web`"
            )));
        }
    }
    Ok(refs)
}

fn reference(kind: v1::Kind, name: &str) -> v1::ObjectRef {
    v1::ObjectRef {
        kind: kind.into(),
        name: name.to_owned(),
    }
}

/// Every object that a file names.
fn named(spec: &v1::FabricSpec) -> Vec<v1::ObjectRef> {
    let v1::FabricSpec {
        pools,
        services,
        nodes,
        certificates,
    } = spec;
    let services = services
        .iter()
        .map(|service| reference(v1::Kind::Service, &service.name));
    let pools = pools
        .iter()
        .map(|pool| reference(v1::Kind::Pool, &pool.name));
    let nodes = nodes
        .iter()
        .map(|node| reference(v1::Kind::Node, &node.name));
    let certificates = certificates
        .iter()
        .map(|certificate| reference(v1::Kind::Certificate, &certificate.name));
    services
        .chain(pools)
        .chain(nodes)
        .chain(certificates)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Vec<v1::ObjectRef>, Failure> {
        parse(
            &text
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn reads_both_forms() {
        let service = |name| reference(v1::Kind::Service, name);
        let pool = |name| reference(v1::Kind::Pool, name);
        assert_eq!(
            words("services/a pool/b").ok(),
            Some(vec![service("a"), pool("b")])
        );
        assert_eq!(
            words("service a b pools/c").ok(),
            Some(vec![service("a"), service("b"), pool("c")])
        );
        for wrong in ["service", "a", "all", "services/", "services pools/a"] {
            assert_eq!(
                words(wrong).err().map(|failure| failure.exit),
                Some(Exit::Refused),
                "{wrong}"
            );
        }
    }
}
