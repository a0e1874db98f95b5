//! Running programs of the system to their end.

use std::io::{Read, Write as _};
use std::process::{Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};

use super::interrupt::Interrupt;

/// How long a program that configures something may take.
const CONFIGURE_LIMIT: Duration = Duration::from_secs(20);

/// What a program wrote, and how it ended.
#[derive(Debug)]
pub(super) struct Finished {
    /// How it ended.
    pub(super) status: ExitStatus,
    /// What it wrote.
    pub(super) stdout: String,
    /// What it complained about.
    pub(super) stderr: String,
}

/// Runs a program with `input`; kills it when `limit` is over or the run is to end.
pub(super) fn finish(
    command: &mut Command,
    input: &str,
    limit: Duration,
    interrupt: &Interrupt,
) -> anyhow::Result<Finished> {
    let name = describe(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    let stdout = read_all(child.stdout.take());
    let stderr = read_all(child.stderr.take());
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(input.as_bytes())
            .with_context(|| format!("writing to {name}"))?;
    }
    let ended = interrupt.poll(&format!("{name} ends"), limit, || {
        Ok(child.try_wait()?.ok_or_else(|| "it still runs".to_owned()))
    });
    let status = match ended {
        Ok(status) => status,
        Err(error) => {
            child.kill().with_context(|| format!("killing {name}"))?;
            child
                .wait()
                .with_context(|| format!("waiting for {name}"))?;
            return Err(error);
        }
    };
    Ok(Finished {
        status,
        stdout: collect(stdout)?,
        stderr: collect(stderr)?,
    })
}

/// Runs a program that must succeed and returns what it wrote. It is not interrupted: taking the lab away needs it, too.
pub(super) fn succeed(command: &mut Command, input: &str) -> anyhow::Result<String> {
    let Finished {
        status,
        stdout,
        stderr,
    } = finish(command, input, CONFIGURE_LIMIT, &Interrupt::default())?;
    if !status.success() {
        bail!("{} failed ({status}): {}", describe(command), stderr.trim());
    }
    Ok(stdout)
}

/// Runs `ip` on a list of commands.
pub(super) fn ip_batch(lines: &[String]) -> anyhow::Result<()> {
    let script = lines.join("\n") + "\n";
    succeed(Command::new("ip").args(["-batch", "-"]), &script)
        .map(drop)
        .with_context(|| numbered(lines))
}

fn numbered(lines: &[String]) -> String {
    let lines: Vec<String> = lines
        .iter()
        .enumerate()
        .map(|(at, line)| format!("{}: {line}", at + 1))
        .collect();
    format!("ip -batch with\n{}", lines.join("\n"))
}

fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn read_all(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<std::io::Result<Vec<u8>>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    })
}

fn collect(reader: JoinHandle<std::io::Result<Vec<u8>>>) -> anyhow::Result<String> {
    let bytes = reader
        .join()
        .map_err(|panic| anyhow!("a reader panicked: {panic:?}"))??;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_failure_are_told() {
        assert_eq!(succeed(&mut Command::new("cat"), "words").unwrap(), "words");
        let error =
            succeed(Command::new("sh").args(["-c", "echo why >&2; exit 3"]), "").unwrap_err();
        assert!(error.to_string().contains("why"), "{error}");
    }

    #[test]
    fn an_interrupt_ends_a_program() {
        let interrupt = Interrupt::default();
        interrupt.raise();
        let error = finish(
            Command::new("sleep").arg("60"),
            "",
            CONFIGURE_LIMIT,
            &interrupt,
        )
        .unwrap_err();
        assert_eq!(error.to_string(), "interrupted");
    }
}
