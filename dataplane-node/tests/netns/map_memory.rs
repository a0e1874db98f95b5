//! What the maps take of the machine: memory, and a value for every CPU that may ever come.

use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::{
    maps::{Map, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use lbfabric_abi::Verdict;
use lbfabric_node::Role;
use lbfabric_proto::v1;

use crate::{
    fixture::{Fixture, attached, eventually},
    played_controller::PlayedController,
};

impl Fixture {
    /// The memory of all pinned maps, as the kernel says.
    fn pinned_memory(&self) -> u64 {
        let pins = std::fs::read_dir(self.maps_dir()).expect("it is there");
        let names = pins.map(|pin| pin.expect("it is readable").file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        let maps = names.filter(|name| !name.starts_with("link-"));
        maps.map(|name| memory_of(&self.map(&name).expect("it is pinned")))
            .sum()
    }
}

fn memory_of(map: &MapData) -> u64 {
    let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let text = std::fs::read_to_string(path).expect("it is open");
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    line.expect("a map").trim().parse().expect("bytes")
}

#[test]
fn the_maps_memory_is_what_the_kernel_says() {
    let fixture = Fixture::new();
    fixture.run(|| async {
        let controller = PlayedController::start().await;
        let mut config = fixture.config(Role::LoadBalancer, controller.address);
        let agent = fixture.start(config.clone()).await;
        // Beside the pinned ones there are those that come and go with the programs.
        let same = |report: &v1::NodeReport| {
            let pinned = fixture.pinned_memory();
            attached(report) && (pinned..pinned + (64 << 20)).contains(&report.map_memory_bytes)
        };
        let small = eventually("the same", || controller.report_if(same)).await;
        agent.stop().await;
        controller.forget_agent();

        // Other sizes count when the maps are made.
        std::fs::remove_dir_all(fixture.maps_dir()).expect("nobody uses them");
        config.ring_slots += 1 << 17;
        let agent = fixture.start(config).await;
        let large = eventually("the same", || controller.report_if(same)).await;
        let more = large.map_memory_bytes - small.map_memory_bytes;
        assert!((1 << 20..1 << 21).contains(&more), "{more}");
        agent.stop().await;
    });
}

/// A CPU that is off when the maps are made may count packets later.
#[test]
fn row_43_every_possible_cpu_counts() {
    let fixture = Fixture::new();
    fixture.run(|| async {
        let controller = PlayedController::start().await;
        let config = fixture.config(Role::LoadBalancer, controller.address);
        let agent = fixture.start(config).await;
        eventually("attached", || controller.report_if(attached)).await;
        let cpus = u64::try_from(nr_cpus().expect("their number")).expect("a number");
        let map = fixture.map("COUNTERS").expect("it is pinned");
        let mut counters = PerCpuArray::try_from(Map::PerCpuArray(map)).expect("its kind");
        let values: Vec<u64> = (1..=cpus).collect();
        let values = PerCpuValues::try_from(values).expect("one for each");
        let index = Verdict::Tunnel.index();
        counters.set(index, values, 0).expect("it is writable");
        let sum = cpus * (cpus + 1) / 2;
        let counted = |report: &v1::NodeReport| report.counters["l4-tunnel"] == sum;
        eventually("all of them", || controller.report_if(counted)).await;
        agent.stop().await;
    });
}
