//! Exit codes, and what errors become of them.

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
};

use crate::client::CallError;

/// How the command ended. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what it was asked.
    Ok = 0,
    /// `diff` found differences.
    Differences = 1,
    /// The arguments or the document are wrong; nothing was changed.
    Refused = 2,
    /// A named object does not exist.
    NotFound = 3,
    /// No controller answered in time; what became of a write is not known, and repeating it is safe.
    Unreachable = 4,
    /// The object is in use, or the fabric has another generation than expected; nothing was changed.
    Precondition = 5,
    /// Anything else.
    Failed = 6,
}

/// The part of every long help that says so.
pub const HELP: &str = "\
Exit codes:
  0  done; for diff: no difference
  1  differences (diff)
  2  wrong usage, or a refused document: nothing was changed
  3  a named object does not exist
  4  no controller could be reached in time
  5  a precondition failed: the object is in use, or the generation is another one
  6  any other failure";

/// An error that carries its exit code.
#[derive(Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// What went wrong; what would be right.
    pub message: String,
}

/// Prints an error with all its causes to stderr, and gives its exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return Exit::Ok.into();
    }
    // Stderr may be closed too; there is nobody left to tell then.
    drop(writeln!(io::stderr(), "error: {error:#}"));
    of(error).into()
}

/// The exit code of an error.
pub fn of(error: &anyhow::Error) -> Exit {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.exit;
    }
    match error.downcast_ref::<CallError>() {
        Some(CallError::Unreachable { .. }) => Exit::Unreachable,
        Some(CallError::Refused(status)) => match status.code() {
            tonic::Code::InvalidArgument => Exit::Refused,
            tonic::Code::NotFound => Exit::NotFound,
            tonic::Code::FailedPrecondition => Exit::Precondition,
            tonic::Code::Unavailable => Exit::Unreachable,
            _ => Exit::Failed,
        },
        None => Exit::Failed,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

// === impl Exit ===

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

// === impl Failure ===

impl Failure {
    /// A mistake of usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Refused,
            message: message.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
