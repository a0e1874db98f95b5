//! The program is replaced again and again under traffic.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aya::maps::{Array, Map, MapData};
use lbfabric_abi::NextProgram;
use lbfabric_proto::v1;

use crate::{
    fixture::{Fixture, attached, eventually},
    two_nics::{SERVERS, Served, TwoNics},
    udp_echo::Flow,
};

/// No request is without an answer, and each flow's answers come from one server.
pub(crate) fn assert_unharmed(flows: &[Flow]) {
    for flow in flows {
        assert_eq!(flow.lost(), 0, "of {} requests", flow.sent);
        assert_eq!(flow.servers.len(), 1, "servers of one flow");
    }
    let servers: BTreeSet<u8> = flows.iter().flat_map(|f| f.servers.clone()).collect();
    assert_eq!(servers.len(), SERVERS.len(), "both servers have flows");
}

pub(crate) fn healthy(report: &v1::NodeReport) -> bool {
    attached(report) && !report.backends.is_empty() && report.backends.iter().all(|it| it.healthy)
}

/// The ids of the programs in a pinned program array; the kernel empties one that nobody holds.
fn programs_in(pin: &Path) -> Vec<u32> {
    let map = MapData::from_pin(pin).expect("it is pinned");
    let array = Array::<_, u32>::try_from(Map::Array(map)).expect("four bytes each");
    let ids = NextProgram::ALL
        .iter()
        .map(|next| array.get(&next.index(), 0));
    ids.filter_map(Result::ok).collect()
}

impl Fixture {
    /// The pin of the only program array.
    fn program_array(&self) -> PathBuf {
        let arrays = self.program_arrays();
        let [array] = &arrays[..] else {
            panic!("one is pinned: {arrays:?}");
        };
        self.maps_dir().join(array)
    }

    /// The names of the pinned program arrays.
    pub(crate) fn program_arrays(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.maps_dir()).into_iter().flatten();
        let names = entries.flatten().map(|it| it.file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("programs-")).collect()
    }
}

#[test]
fn row_38_a_program_that_is_replaced_under_traffic_loses_no_packet() {
    const ROUNDS: usize = 8;
    let net = TwoNics::new();
    let fixture = &net.fixture;
    fixture.run(|| async {
        let Served {
            controller,
            config,
            mut agent,
            report: mut before,
            flows,
            _servers,
        } = net.serve(v1::Mode::L4Dnat, 8).await;
        let mut programs = BTreeSet::new();
        for round in 0..ROUNDS {
            programs.insert(fixture.program_id());
            let led_to = programs_in(&fixture.program_array());
            assert_eq!(led_to.len(), NextProgram::ALL.len(), "round {round}");
            // A crash; the next one takes over. Between them the programs go on, and with them those that they lead to.
            drop(agent);
            let at = flows.answered();
            eventually("answers without an agent", || flows.more_than(at, 50)).await;
            let kept = programs_in(&fixture.program_array());
            assert_eq!(kept, led_to, "round {round}");
            controller.forget_agent();
            agent = fixture.start(config.clone()).await;
            let after = eventually("healthy servers", || controller.report_if(healthy)).await;
            for (name, value) in &before.counters {
                assert!(after.counters[name] >= *value, "{name} went back");
            }
            assert!(after.counters["l4-dnat"] > before.counters["l4-dnat"]);
            let replaced = programs_in(&fixture.program_array());
            assert_ne!(replaced, led_to, "round {round}");
            before = after;
        }
        programs.insert(fixture.program_id());
        assert_eq!(
            programs.len(),
            ROUNDS + 1,
            "each agent brings its own program"
        );
        let flows = flows.stop();
        assert_unharmed(&flows);
        agent.stop().await;
    });
}
