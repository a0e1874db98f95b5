use std::fs::File;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// Runs a command and panics with its output if it fails.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output: Output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
    assert!(
        output.status.success(),
        "{program} {}: {} (these tests need root and iproute2)",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A network namespace, removed when dropped.
pub(crate) struct Namespace {
    pub(crate) name: String,
}

impl Namespace {
    /// A name that nothing else on this machine has.
    pub(crate) fn unused_name(purpose: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        format!("lbn{}-{number}{purpose}", std::process::id())
    }

    pub(crate) fn new(purpose: &str) -> Self {
        let name = Self::unused_name(purpose);
        run("ip", &["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// `ip` in this namespace.
    pub(crate) fn ip(&self, args: &[&str]) -> String {
        let args: Vec<&str> = ["-n", &self.name].iter().chain(args).copied().collect();
        run("ip", &args)
    }

    /// Forgets all link-layer addresses of a link's neighbours. Under load some come back at once: `ip` tries ten times to find
    /// none left, and says that it has given up, having removed them each time.
    pub(crate) fn flush_neighbours(&self, link: &str) {
        let output = Command::new("ip")
            .args(["-n", &self.name, "neigh", "flush", "dev", link])
            .output()
            .unwrap_or_else(|error| panic!("ip cannot be started: {error}"));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() || said.contains("Flush not complete"),
            "ip neigh flush: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Does something in here, on a thread of its own.
    pub(crate) fn within<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let outcome = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter();
                what()
            });
            thread.join()
        });
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Moves the current thread in here, for its whole life; threads that it starts follow.
    pub(crate) fn enter(&self) {
        self.door().enter();
    }

    /// For threads that may outlive this.
    pub(crate) fn door(&self) -> Door {
        let path = format!("/var/run/netns/{}", self.name);
        Door(File::open(path).expect("the namespace exists"))
    }
}

/// The way into a network namespace.
pub(crate) struct Door(File);

impl Door {
    /// As [`Namespace::enter`].
    pub(crate) fn enter(self) {
        nix::sched::setns(self.0, nix::sched::CloneFlags::CLONE_NEWNET)
            .expect("entering a network namespace needs root");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A failure to remove must not hide why a test failed.
        let _removed = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}
