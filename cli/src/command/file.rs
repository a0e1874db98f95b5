//! What the commands that take files share: reading them, and reporting every mistake at once.

use std::{process::ExitCode, time::Duration};

use lbfabric_model::FabricState;
use lbfabric_proto::v1;

use crate::{
    client::{CallError, Client},
    document::{self, FileArg, Reading, Source},
    exit::{Exit, Failure},
    output::note,
};

/// How long a controller is asked for further mistakes in a file that is refused anyway.
const ADVICE_TIMEOUT: Duration = Duration::from_secs(2);

/// The files of a command.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct FileArgs {
    /// A file of objects, YAML or JSON; `-` is standard input. May be given again.
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    pub(super) files: Vec<FileArg>,
}

/// Files as they were read.
pub(super) struct Files {
    sources: Vec<Source>,
    pub(super) reading: Reading,
}

// === impl Files ===

impl Files {
    pub(super) fn read(files: &[FileArg]) -> anyhow::Result<Self> {
        let sources =
            Source::read_all(files).map_err(|error| Failure::usage(format!("{error:#}")))?;
        let reading = document::read(&sources);
        Ok(Self { sources, reading })
    }

    /// Adds the mistakes that only the controller can see, to those that the reader has found. If none answers, the model finds
    /// those that do not depend on what the fabric holds.
    pub(super) async fn ask_for_more(&mut self, client: &Client, prune: bool) {
        let request = v1::DiffRequest {
            fabric: Some(self.reading.spec.clone()),
            prune,
        };
        match client.quick(ADVICE_TIMEOUT).diff(request).await {
            Ok(_) => {}
            Err(error @ CallError::Refused(_)) => self.reading.merge(error.violations()),
            Err(CallError::Unreachable { .. }) => self.check_locally(prune),
        }
    }

    /// Adds the mistakes that the model finds without a fabric.
    pub(super) fn check_locally(&mut self, prune: bool) {
        let violations = FabricState::default().violations(&self.reading.spec, prune);
        self.reading.merge(
            violations
                .into_iter()
                .map(|violation| (violation.path, violation.reason)),
        );
    }

    /// Takes over what a controller refused; an error of another kind is passed on.
    pub(super) fn refused(mut self, error: CallError) -> anyhow::Result<ExitCode> {
        let violations = error.violations();
        if violations.is_empty() {
            return Err(error.into());
        }
        self.reading.merge(violations);
        if self.reading.is_clean() {
            return Err(error.into());
        }
        Ok(self.report("nothing was changed"))
    }

    /// Prints every mistake, by position.
    pub(super) fn report(&self, consequence: &str) -> ExitCode {
        let mistakes = self.reading.mistakes();
        for mistake in &mistakes {
            note(&mistake.locate(&self.sources).to_string());
        }
        let count = match mistakes.len() {
            1 => "1 mistake".to_owned(),
            count => format!("{count} mistakes"),
        };
        let rest = if consequence.is_empty() {
            String::new()
        } else {
            format!("; {consequence}")
        };
        note(&format!("error: {count}{rest}"));
        Exit::Refused.into()
    }
}
