//! Programs that run meanwhile.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A program that is ended when dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts it, with what it writes in a file.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log).unwrap();
        let command = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap());
        Self(command.stderr(log).spawn().unwrap())
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends it a signal; setpriv and nsenter have become the program.
    pub(crate) fn signal(&self, signal: Signal) {
        signal_process(self.0.id(), signal);
    }

    /// Ends it and waits until it has.
    pub(crate) fn end(mut self, signal: Signal) {
        self.signal(signal);
        self.0.wait().unwrap();
    }
}

/// Sends a signal to a process that this run has started.
pub(crate) fn signal_process(id: u32, signal: Signal) {
    kill(Pid::from_raw(id.cast_signed()), signal).unwrap();
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended by itself is no mistake here.
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}
