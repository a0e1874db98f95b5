//! What the benchmark asks of the machine: one core, and a network where it disturbs nobody.

use std::{fs, process::Command};

use nix::{
    mount::{MsFlags, mount},
    net::if_::if_nametoindex,
    sched::{CloneFlags, CpuSet, sched_setaffinity, unshare},
    unistd::Pid,
};

use crate::packets::{NODE_MAC, ROUTER_MAC};
pub(crate) use crate::{
    clock::own_time,
    facts::{kernel, load, processor},
};

/// The node's interface: to the clients and to the servers.
const LINK: &str = "lbb0";

/// Keeps this thread on one core.
pub(crate) fn stay_on(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core).unwrap();
    sched_setaffinity(Pid::from_raw(0), &cores).expect("the core exists");
}

/// Goes into a network of its own, in which every client and server is behind one router, and where mounts are private;
/// gives the interface. All of it ends with the process.
pub(crate) fn enter_network() -> u32 {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .expect("this loads XDP programs and makes a network: run it as root");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();

    let node = written(NODE_MAC);
    ip(&format!(
        "link add {LINK} address {node} type veth peer name {LINK}-p"
    ));
    ip(&format!("link set {LINK} up"));
    ip(&format!("link set {LINK}-p up"));
    for (address, router) in [
        ("10.200.0.1/24", "10.200.0.254"),
        ("fd00:200::1/64", "fd00:200::fe"),
    ] {
        ip(&format!("addr add {address} dev {LINK} nodad"));
        let lladdr = written(ROUTER_MAC);
        ip(&format!(
            "neigh add {router} lladdr {lladdr} dev {LINK} nud permanent"
        ));
        ip(&format!("route add default via {router} dev {LINK}"));
    }
    for family in ["ipv4", "ipv6"] {
        fs::write(format!("/proc/sys/net/{family}/conf/all/forwarding"), "1").unwrap();
    }
    if_nametoindex(LINK).unwrap()
}

fn written(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}
