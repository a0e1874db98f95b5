//! The XDP program on the switch's ports to the nodes. A veth takes what XDP sends out of its other end only if it has a
//! program itself.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use aya::EbpfLoader;
use aya::programs::links::FdLink;
use aya::programs::{Xdp, XdpMode};
use nix::net::if_::if_nametoindex;

use super::network::Network;
use super::topology::{Host, NODES};

const PROGRAM: &str = "lbfabric_pass";
/// The maps of the other programs of the object, which are made with it and go with the loader: one entry each is enough.
const MAPS: [&str; 24] = [
    "SETTINGS",
    "VIP_PORTS4",
    "VIP_PORTS6",
    "VIP_RANGES",
    "VIP_ADDRESSES",
    "POOLS",
    "RINGS",
    "BACKENDS",
    "FLOWS",
    "FRAGMENTS",
    "REVERSE_PORTS4",
    "REVERSE_PORTS6",
    "REVERSE_RANGES",
    "SESSIONS",
    "SESSION_TAGS",
    "NAT_CURSOR",
    "SERVER_VIPS",
    "TOLD_PORTS",
    "TOLD_BY",
    "LEASED_VIPS",
    "CLIENT_ADDRESSES",
    "COUNTERS",
    "SERVICE_COUNTERS",
    "BACKEND_COUNTERS",
];

/// Attaches the program to the nodes' ports and pins the links in the folder `pins`.
pub(super) fn attach(network: &Network, pins: &Path) -> anyhow::Result<()> {
    // The object asks for its maps to be pinned; here nobody needs them.
    let maps = pins.join("pass-maps");
    fs::create_dir(&maps).with_context(|| format!("making {}", maps.display()))?;
    attach_to_ports(network, pins, &maps)?;
    fs::remove_dir_all(&maps).with_context(|| format!("removing {}", maps.display()))
}

fn attach_to_ports(network: &Network, pins: &Path, maps: &Path) -> anyhow::Result<()> {
    network.namespace(Host::Switch).inside(|| {
        let mut loader = EbpfLoader::new();
        loader.default_map_pin_directory(maps);
        for map in MAPS {
            loader.map_max_entries(map, 1);
        }
        let mut ebpf = loader
            .load(lbfabric_node::object::object())
            .context("loading the XDP object")?;
        let program: &mut Xdp = ebpf
            .program_mut(PROGRAM)
            .ok_or_else(|| anyhow!("the XDP object has no {PROGRAM}"))?
            .try_into()
            .with_context(|| format!("{PROGRAM} is not an XDP program"))?;
        lbfabric_node::object::load(program).with_context(|| format!("loading {PROGRAM}"))?;
        for node in (1..=NODES).map(Host::Node) {
            let port = node.to_string();
            let mut attached = || -> anyhow::Result<()> {
                let id =
                    program.attach_to_if_index(if_nametoindex(port.as_str())?, XdpMode::Driver)?;
                let link: FdLink = program.take_link(id)?.try_into()?;
                link.pin(pins.join(format!("pass-{port}")))?;
                Ok(())
            };
            attached()
                .with_context(|| format!("attaching {PROGRAM} to the switch's port {port}"))?;
        }
        Ok(())
    })
}
