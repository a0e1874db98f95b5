//! `lbfabric apply`.

use std::process::ExitCode;

use lbfabric_proto::v1;

use super::file::{FileArgs, Files};
use crate::{
    client::{CallError, Client, ClientArgs},
    document::{Defaults, message, plain},
    exit::{Exit, Failure},
    output::{Format, FormatArgs, Style, changes, print},
};

/// Arguments of `lbfabric apply`.
#[derive(Debug, clap::Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Say what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Also delete every service and pool that is in none of the files.
    #[arg(long)]
    prune: bool,
    /// Refuse if the fabric has changed since this generation.
    #[arg(long, value_name = "GENERATION", value_parser = clap::value_parser!(u64).range(1..))]
    expected_generation: Option<u64>,
    #[command(flatten)]
    format: FormatArgs,
}

/// The end of its long help.
pub const HELP: &str = "\
Either all objects take effect, in one generation, or none does. A file with mistakes is refused with all of them:
FILE:LINE:COLUMN: path: what is wrong; what would be right.

Example:
  lbfabric apply -f pools.yaml -f services.yaml --dry-run
  lbfabric get -o yaml | sed 's/l4-dnat/l4-fullnat/' | lbfabric apply -f -";

/// Creates and changes objects.
pub async fn run(args: ApplyArgs, client: &ClientArgs) -> anyhow::Result<ExitCode> {
    let ApplyArgs {
        file,
        dry_run,
        prune,
        expected_generation,
        format,
    } = args;
    let client = Client::new(client);
    let mut files = Files::read(&file.files)?;
    if !files.reading.is_clean() {
        files.ask_for_more(&client, prune).await;
        return Ok(files.report("nothing was changed"));
    }
    let fabric = Some(files.reading.spec.clone());
    let answer = if dry_run {
        preview(
            &client,
            v1::DiffRequest { fabric, prune },
            expected_generation,
        )
        .await?
    } else {
        let expected_generation = expected_generation.unwrap_or_default();
        client
            .apply(v1::ApplyRequest {
                fabric,
                prune,
                expected_generation,
            })
            .await
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return files.refused(error),
    };
    match format.format {
        Format::Json | Format::Yaml => {
            format.format.print(&plain(
                &message("ApplyResponse", &answer),
                Defaults::Written,
            ))?;
        }
        Format::Table | Format::Wide => {
            let list = changes(&answer.changes, !dry_run, true, Style::stdout());
            let end = if dry_run {
                "dry run: nothing was changed; "
            } else {
                ""
            };
            print(&format!("{list}{end}generation {}\n", answer.generation))?;
        }
    }
    Ok(Exit::Ok.into())
}

/// What `Apply` would do, as if it had done it.
async fn preview(
    client: &Client,
    request: v1::DiffRequest,
    expected: Option<u64>,
) -> anyhow::Result<Result<v1::ApplyResponse, CallError>> {
    let v1::DiffResponse {
        generation,
        changes,
    } = match client.diff(request).await {
        Ok(answer) => answer,
        Err(error) => return Ok(Err(error)),
    };
    if let Some(expected) = expected.filter(|expected| generation > *expected) {
        let message = format!(
            "the fabric is at generation {generation}, expected {expected}: read it again and try once more"
        );
        return Err(Failure {
            exit: Exit::Precondition,
            message,
        }
        .into());
    }
    Ok(Ok(v1::ApplyResponse {
        generation,
        changes,
    }))
}
