//! The peer on flat networks: two keepalived (VRRP, RFC 9568) that hold the VIP in turn.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::{
    flat::{Network, VIP},
    process::{Process, signal_process},
};

/// A pair of it.
pub(crate) struct Keepalived {
    /// Between two advertisements.
    seconds: &'static str,
    folder: PathBuf,
    running: [Option<Process>; 2],
}

impl Keepalived {
    pub(crate) fn start(network: &Network, folder: &Path, seconds: &'static str) -> Self {
        let mut new = Self {
            seconds,
            folder: folder.to_owned(),
            running: [None, None],
        };
        new.start_node(network, 0);
        new.start_node(network, 1);
        new
    }

    pub(crate) fn start_node(&mut self, network: &Network, node: usize) {
        let file = |name: &str| self.folder.join(format!("keepalived{node}.{name}"));
        // Neither comes back to what it once had: a VIP moves when something happens to its owner only.
        let settings = format!(
            "global_defs {{\n  vrrp_version 3\n  vrrp_garp_master_repeat 5\n}}\n\
             vrrp_instance vip {{\n  interface eth0\n  state BACKUP\n  nopreempt\n  virtual_router_id 7\n  priority {}\n  \
             advert_int {}\n  virtual_ipaddress {{\n    {VIP}/24\n  }}\n}}\n",
            100 - node,
            self.seconds
        );
        fs::write(file("conf"), settings).unwrap();
        let mut command = network.nodes[node].command("keepalived");
        command.args(["--dont-fork", "--log-console", "--vrrp"]);
        command.arg("--use-file").arg(file("conf"));
        command.arg("--pid").arg(file("pid"));
        command.arg("--vrrp_pid").arg(file("vrrp_pid"));
        self.running[node] = Some(Process::start(&mut command, &file("log")));
    }

    /// For how long what happens to it may take.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_millis(if self.seconds == "1" { 4500 } else { 1500 })
    }

    /// Ends the owner as an operator does: it says goodbye.
    pub(crate) fn leave(&mut self, node: usize) {
        let process = self.running[node].take().unwrap();
        process.end(Signal::SIGTERM);
    }

    /// The process that sends advertisements is a child.
    pub(crate) fn signal(&self, node: usize, signal: Signal) {
        let id =
            fs::read_to_string(self.folder.join(format!("keepalived{node}.vrrp_pid"))).unwrap();
        signal_process(id.trim().parse().unwrap(), signal);
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        for process in self.running.iter_mut().filter_map(Option::take) {
            process.end(Signal::SIGTERM);
        }
    }
}
