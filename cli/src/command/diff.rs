//! `lbfabric diff`.

use std::process::ExitCode;

use lbfabric_proto::v1;

use super::file::{FileArgs, Files};
use crate::{
    client::{Client, ClientArgs},
    document::{Defaults, message, plain},
    exit::Exit,
    output::{Format, FormatArgs, Style, changes, is_different, print},
};

/// Arguments of `lbfabric diff`.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Also show what `apply --prune` would delete.
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// The end of its long help.
pub const HELP: &str = "\
Ends with 0 if there is no difference, 1 if there are some, 2 or more if there was an error.

Example:
  lbfabric diff -f fabric.yaml || lbfabric apply -f fabric.yaml";

/// Says what applying would change.
pub async fn run(args: DiffArgs, client: &ClientArgs) -> anyhow::Result<ExitCode> {
    let DiffArgs {
        file,
        prune,
        format,
    } = args;
    let client = Client::new(client);
    let mut files = Files::read(&file.files)?;
    if !files.reading.is_clean() {
        files.ask_for_more(&client, prune).await;
        return Ok(files.report(""));
    }
    let fabric = Some(files.reading.spec.clone());
    let answer = match client.diff(v1::DiffRequest { fabric, prune }).await {
        Ok(answer) => answer,
        Err(error) => return files.refused(error),
    };
    let different = is_different(&answer.changes);
    match format.format {
        Format::Json | Format::Yaml => {
            format
                .format
                .print(&plain(&message("DiffResponse", &answer), Defaults::Written))?;
        }
        // Like diff(1), silent where there is nothing to say.
        Format::Table if !different => {}
        Format::Table | Format::Wide => {
            print(&changes(
                &answer.changes,
                false,
                format.format == Format::Wide,
                Style::stdout(),
            ))?;
        }
    }
    Ok(if different {
        Exit::Differences.into()
    } else {
        Exit::Ok.into()
    })
}
