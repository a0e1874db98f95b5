//! `lbfabric cert`.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use lbfabric_proto::v1;

use crate::{
    client::{Client, ClientArgs},
    document::{Defaults, message, plain},
    exit::{Exit, Failure},
    output::{Format, FormatArgs, Style, certificates, changes, note, print},
};

/// Arguments of `lbfabric cert`.
#[derive(Debug, clap::Args)]
pub struct CertArgs {
    #[command(subcommand)]
    command: CertCommand,
}

/// What to do with certificates.
#[derive(Debug, clap::Subcommand)]
enum CertCommand {
    /// Bring a new certificate into the fabric.
    Import(FilesArgs),
    /// Show certificates, and how long they are good for.
    List(ListArgs),
    /// Put another certificate in the place of one that the fabric has: for the same names, unless `--other-names`.
    Rotate(RotateArgs),
}

/// A certificate's name and files.
#[derive(Debug, clap::Args)]
struct FilesArgs {
    /// The object's name.
    name: String,
    /// The certificate and those that lead to its issuer, in PEM, the server's own first.
    #[arg(long, value_name = "FILE")]
    chain: PathBuf,
    /// Its private key in PEM. Without one, `rotate` keeps the key that the fabric has.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
struct RotateArgs {
    #[command(flatten)]
    files: FilesArgs,
    /// The new certificate may be for other names.
    #[arg(long)]
    other_names: bool,
}

/// The end of its long help.
pub const HELP: &str = "\
A key is never given back. Nodes take a rotated certificate over for new connections; those that are there go on. `list -o json` prints
`generation` and `objects`, each with its `certificate_status`.

Example:
  lbfabric cert import web --chain fullchain.pem --key privkey.pem
  lbfabric cert list
  lbfabric cert rotate web --chain fullchain.pem --key privkey.pem";

/// Imports, lists and rotates certificates.
pub async fn run(args: CertArgs, client: &ClientArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(client);
    match args.command {
        CertCommand::Import(files) => import(&client, &files).await,
        CertCommand::List(ListArgs { format }) => list(&client, format).await,
        CertCommand::Rotate(RotateArgs { files, other_names }) => {
            rotate(&client, &files, other_names).await
        }
    }
}

async fn import(client: &Client, files: &FilesArgs) -> anyhow::Result<ExitCode> {
    let (known, generation) = stored(client, &files.name).await?;
    if known.is_some() {
        return Err(Failure {
            exit: Exit::Precondition,
            message: format!(
                "the fabric has a certificate `{0}`: use `lbfabric cert rotate {0}`, or another name",
                files.name
            ),
        }
        .into());
    }
    put(client, read(files)?, generation).await
}

async fn rotate(client: &Client, files: &FilesArgs, other_names: bool) -> anyhow::Result<ExitCode> {
    let (known, generation) = stored(client, &files.name).await?;
    let Some(known) = known else {
        return Err(Failure {
            exit: Exit::NotFound,
            message: format!(
                "there is no certificate `{0}`: use `lbfabric cert import {0}`",
                files.name
            ),
        }
        .into());
    };
    let spec = read(files)?;
    // What cannot be read is told by the controller, with all that is wrong with it.
    let new = lbfabric_model::certificate_status(&spec);
    if let Some(new) = new.filter(|_| !other_names) {
        let lost: Vec<_> = (known.names.iter())
            .filter(|name| !new.names.contains(name))
            .cloned()
            .collect();
        if !lost.is_empty() {
            return Err(Failure {
                exit: Exit::Precondition,
                message: format!(
                    "the new certificate is not for {}, as the one of `{}` is: give one for all of its names, or `--other-names`",
                    lost.join(", "),
                    files.name
                ),
            }
            .into());
        }
    }
    put(client, spec, generation).await
}

async fn list(client: &Client, FormatArgs { format }: FormatArgs) -> anyhow::Result<ExitCode> {
    let answer = all(client).await?;
    match format {
        Format::Json | Format::Yaml => {
            format.print(&plain(&message("ListResponse", &answer), Defaults::Written))?;
        }
        Format::Table | Format::Wide if answer.objects.is_empty() => note("no certificates"),
        Format::Table | Format::Wide => {
            let wide = format == Format::Wide;
            print(&certificates(&answer.objects, wide).render(Style::stdout()))?;
        }
    }
    Ok(Exit::Ok.into())
}

async fn all(client: &Client) -> anyhow::Result<v1::ListResponse> {
    let request = v1::ListRequest {
        kind: v1::Kind::Certificate.into(),
        with_status: true,
    };
    Ok(client.list(request).await?)
}

/// What the fabric has under this name, and the generation in which that is so.
async fn stored(
    client: &Client,
    name: &str,
) -> anyhow::Result<(Option<v1::CertificateStatus>, u64)> {
    let answer = all(client).await?;
    let found = answer
        .objects
        .into_iter()
        .find(|object| object.r#ref.as_ref().is_some_and(|of| of.name == name));
    let status = found.map(|object| match object.status {
        Some(v1::object::Status::CertificateStatus(status)) => status,
        _ => v1::CertificateStatus::default(),
    });
    Ok((status, answer.generation))
}

fn read(files: &FilesArgs) -> anyhow::Result<v1::CertificateSpec> {
    let text = |path: &PathBuf| {
        fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
    };
    Ok(v1::CertificateSpec {
        name: files.name.clone(),
        chain: text(&files.chain)?,
        key: files
            .key
            .as_ref()
            .map(text)
            .transpose()?
            .unwrap_or_default(),
    })
}

/// Writes it, unless the fabric has changed since it was looked at.
async fn put(
    client: &Client,
    certificate: v1::CertificateSpec,
    expected_generation: u64,
) -> anyhow::Result<ExitCode> {
    let request = v1::ApplyRequest {
        fabric: Some(v1::FabricSpec {
            certificates: vec![certificate],
            ..v1::FabricSpec::default()
        }),
        prune: false,
        expected_generation,
    };
    let answer = client.apply(request).await?;
    let list = changes(&answer.changes, true, true, Style::stdout());
    print(&format!("{list}generation {}\n", answer.generation))?;
    Ok(Exit::Ok.into())
}
