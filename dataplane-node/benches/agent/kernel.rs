//! The product's maps in the kernel, with nobody else's pins.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData},
};
use lbfabric_abi::{FLOW_BUCKETS_DEFAULT, FlowBucket, RingSlot};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use tempfile::TempDir;

/// The memory that a map takes, as the kernel counts it.
pub(crate) struct MapMemory {
    pub(crate) map: String,
    pub(crate) bytes: u64,
}

/// Lets this thread mount what nobody else sees.
pub(crate) fn enter_private_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("this loads XDP programs: run it as root");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
}

/// Where maps are pinned, for as long as this lives.
pub(crate) struct Pins(TempDir);

impl Pins {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        mount(
            Some("bpf"),
            folder.path(),
            Some("bpf"),
            MsFlags::empty(),
            None::<&str>,
        )
        .unwrap();
        Self(folder)
    }

    /// Makes the maps with the agent's sizes, but for the rings; or takes those that are pinned.
    pub(crate) fn load(&self, ring_slots: u32) -> Ebpf {
        EbpfLoader::new()
            .default_map_pin_directory(self.0.path())
            .map_max_entries("RINGS", ring_slots)
            .map_max_entries("FLOWS", FLOW_BUCKETS_DEFAULT)
            .map_max_entries("SERVER_VIPS", 1)
            .load(lbfabric_node::object::object())
            .expect("this loads XDP programs: run it as root")
    }

    /// What each map takes, the largest first.
    pub(crate) fn memory(&self) -> Vec<MapMemory> {
        // The kernel puts files of its own there, with a dot in their names.
        let pins = fs::read_dir(self.0.path()).unwrap();
        let pins = pins.map(|pin| pin.unwrap().path());
        let mut memory: Vec<_> = pins
            .filter(|pin| pin.extension().is_none())
            .map(|pin| {
                let data = MapData::from_pin(&pin).unwrap();
                let fd = data.fd().as_fd().as_raw_fd();
                let facts = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
                let line = facts.lines().find_map(|line| line.strip_prefix("memlock:"));
                MapMemory {
                    map: pin.file_name().unwrap().to_str().unwrap().to_owned(),
                    bytes: line.unwrap().trim().parse().unwrap(),
                }
            })
            .collect();
        memory.sort_by_key(|it| std::cmp::Reverse(it.bytes));
        memory
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        umount2(self.0.path(), MntFlags::MNT_DETACH).unwrap();
    }
}

/// The servers that new flows of a stretch of `RINGS` go to.
pub(crate) fn ring(ebpf: &mut Ebpf, start: u32, slots: u32) -> Vec<u32> {
    let rings: Array<_, RingSlot> = ebpf.map_mut("RINGS").unwrap().try_into().unwrap();
    (start..start + slots)
        .map(|index| rings.get(&index, 0).unwrap().cur)
        .collect()
}

/// Writes every bucket of the flow table.
pub(crate) fn fill_flows(ebpf: &mut Ebpf, bucket: impl Fn(u32) -> FlowBucket) {
    let mut flows: Array<_, FlowBucket> = ebpf.map_mut("FLOWS").unwrap().try_into().unwrap();
    for index in 0..FLOW_BUCKETS_DEFAULT {
        flows.set(index, bucket(index), 0).unwrap();
    }
}
