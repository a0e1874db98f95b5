//! Processes that run as long as the lab does.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::interrupt::Interrupt;

/// Lines of a log that an error shows.
const TAIL_LINES: usize = 15;
/// How long a killed process may take to go.
const GONE_LIMIT: Duration = Duration::from_secs(10);

/// A running process, head of a process group of its own, which writes into a log file.
#[derive(Debug)]
pub(super) struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command`; its output is appended to `NAME.log` in the folder `logs`.
    pub(super) fn start(name: &str, command: &mut Command, logs: &Path) -> anyhow::Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let open = || {
            File::options()
                .create(true)
                .append(true)
                .open(&log)
                .with_context(|| format!("opening {}", log.display()))
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(open()?)
            .stderr(open()?)
            // A signal from the terminal is for the lab, which then ends its processes in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name} ({})", command.get_program().display()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// An error, with the end of the log, if it does not run any more.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self
            .child
            .try_wait()
            .with_context(|| format!("looking after {}", self.name))?
        {
            let how = match status.signal() {
                Some(signal) => format!("signal {signal}"),
                None => status.to_string(),
            };
            bail!("{} ended by itself ({how}); {}", self.name, self.tail());
        }
        Ok(())
    }

    /// The end of its log, with the file's name.
    pub(super) fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        if text.is_empty() {
            return format!("{} is empty", self.log.display());
        }
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n    ");
        format!("the end of {}:\n    {tail}", self.log.display())
    }

    /// Sends a signal to the whole process group.
    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let group =
            Pid::from_raw(i32::try_from(self.child.id()).context("process ids are positive")?);
        killpg(group, signal).with_context(|| format!("sending {signal} to {}", self.name))
    }

    /// Kills it with -9 and waits until it is gone.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGKILL)?;
        let Self { name, child, .. } = self;
        Interrupt::default().poll(&format!("{name} is gone"), GONE_LIMIT, || {
            Ok(child
                .try_wait()?
                .map(drop)
                .ok_or_else(|| "it still runs".to_owned()))
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Takes the process's number back if it has ended; the run folder's removal ends it otherwise.
        let _status = self.child.try_wait();
    }
}
