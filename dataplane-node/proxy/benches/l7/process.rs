//! Processes that end with the value that stands for them, and with the benchmark however that ends.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    sys::signal::{Signal, kill},
    unistd::{Pid, SysconfVar, sysconf},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server.
#[derive(Debug)]
pub(crate) struct Process(Child);

/// A command that stays on one core, and ends if this process does.
pub(crate) fn on_core(core: usize, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--", "taskset", "--cpu-list"]);
    command.args([&core.to_string(), program]);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// What a client says in the end.
pub(crate) fn output_of(command: &mut Command) -> String {
    let output: Output = command.output().expect("util-linux is installed");
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// An address of this machine that is free.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// What the kernel says of the machine's memory under a name, in bytes.
pub(crate) fn memory_bytes(name: &str) -> f64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let mut values = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = values.find(|(it, _)| *it == name).unwrap();
    let kilobytes = value.trim().trim_end_matches(" kB");
    kilobytes.parse::<f64>().unwrap() * 1024.0
}

/// Allows this process, and those that it starts, as many files as the kernel allows; as its limit says if it may not change that.
pub(crate) fn allow_files() {
    let text = fs::read_to_string("/proc/sys/fs/nr_open").unwrap();
    let all = text.trim().parse().unwrap();
    if setrlimit(Resource::RLIMIT_NOFILE, all, all).is_err() {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    }
}

impl Process {
    /// Starts a server, and waits until it listens.
    pub(crate) fn start(command: &mut Command, listens: &[SocketAddr]) -> Self {
        let child = command.stdout(Stdio::null()).spawn();
        let mut process = Self(child.expect("util-linux is installed"));
        let begun = Instant::now();
        for address in listens {
            while TcpStream::connect(address).is_err() {
                let ended = process.0.try_wait().unwrap();
                assert!(ended.is_none(), "{command:?} has ended: {ended:?}");
                assert!(begun.elapsed() < PATIENCE, "{command:?} does not listen");
                thread::sleep(Duration::from_millis(10));
            }
        }
        process
    }

    /// The time that it and its children have run, in seconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let per_second = sysconf(SysconfVar::CLK_TCK).unwrap().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 of them")]
        let seconds =
            self.all().iter().map(|id| ticks(*id)).sum::<u64>() as f64 / per_second as f64;
        seconds
    }

    /// What it and its children hold of the memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> f64 {
        let of = |id: &u32| {
            let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
            let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
            kilobytes.parse::<f64>().unwrap() * 1024.0
        };
        self.all().iter().map(of).sum()
    }

    /// It and its children, which have none of their own.
    fn all(&self) -> Vec<u32> {
        let id = self.0.id();
        let text = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let children = text.split_whitespace().map(|id| id.parse().unwrap());
        [id].into_iter().chain(children).collect()
    }
}

/// In order, so that its children go with it.
impl Drop for Process {
    fn drop(&mut self) {
        let id = i32::try_from(self.0.id()).unwrap();
        // One that has ended by itself is not there any more.
        let _gone = kill(Pid::from_raw(id), Signal::SIGTERM);
        let begun = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5));
        }
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// User and system time, in the kernel's ticks.
fn ticks(id: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    // The name may have spaces: what follows it is the third field.
    let fields = text.rsplit_once(')').unwrap().1.split_whitespace();
    let times = fields.skip(11).take(2);
    times.map(|field| field.parse::<u64>().unwrap()).sum()
}
