//! Rounds over all cases, one after the other in each round, so that a busy minute of the machine meets all of them.

use std::net::SocketAddr;

use lbfabric_abi::FlowEvent;
use lbfabric_ebpf_bench::{LISTED_FLOWS, PORT_BITS, PORTS_PER_ADDRESS, SCATTER, listed};

use crate::{
    cases::{Case, FLOOR, Way, client},
    fabric::{Family, Service},
    kernel::{Action, Kernel, Under},
    packets,
};

/// What the rounds gave.
pub(crate) struct Measured {
    /// Of the floor program, in nanoseconds.
    pub(crate) floor: f64,
    /// Its quartiles.
    pub(crate) floor_spread: (f64, f64),
    pub(crate) rows: Vec<Row>,
}

/// A case's outcome, in nanoseconds a packet.
pub(crate) struct Row {
    pub(crate) case: Case,
    /// The median of the rounds.
    pub(crate) ours: f64,
    /// The lower and the upper quartile.
    pub(crate) spread: (f64, f64),
    /// What the loop around the empty program cost, which is not in the others.
    pub(crate) around: f64,
    /// Whether the program did what the case is about: for one with changed slots, look into the flow table.
    pub(crate) is_there: bool,
}

/// What one measurement gave.
#[derive(Clone, Copy)]
struct Cost {
    /// What the program costs more than the empty one, a packet.
    ns: f64,
    around: f64,
    /// Packets for which the flow table was read.
    consulted: u64,
}

/// One measurement with its program and its case.
struct Runner<'a> {
    kernel: &'a mut Kernel,
    packets: u32,
}

/// Measures the floor and the cases in `rounds` rounds, `packets` packets each.
pub(crate) fn rounds(kernel: &mut Kernel, cases: &[&Case], rounds: u32, packets: u32) -> Measured {
    if cases.iter().any(|case| case.way == Way::FullnatOut) {
        list_answers(kernel);
    }
    let mut runner = Runner { kernel, packets };
    let mut floor = Vec::new();
    let mut costs = vec![Vec::new(); cases.len()];
    // Tables fill and caches warm in a round that does not count.
    for round in 0..=rounds {
        floor.push(runner.cost(&FLOOR, Under::Floor));
        for (case, costs) in cases.iter().zip(&mut costs) {
            costs.push(runner.cost(case, Under::Product));
        }
        if round == 0 {
            floor.clear();
            costs.iter_mut().for_each(Vec::clear);
        }
        eprint!("\r\x1b[Kround {round} of {rounds}");
    }
    eprintln!();
    let rows = cases.iter().zip(&costs).map(|(case, costs)| Row {
        case: **case,
        ours: quantile(costs.iter().map(|it| it.ns), 2),
        spread: spread(costs),
        around: quantile(costs.iter().map(|it| it.around), 2),
        is_there: case.way != Way::In(Service::Changed)
            || costs.iter().all(|it| it.consulted > u64::from(packets) / 3),
    });
    Measured {
        floor: quantile(floor.iter().map(|it| it.ns), 2),
        floor_spread: spread(&floor),
        rows: rows.collect(),
    }
}

impl Runner<'_> {
    fn cost(&mut self, case: &Case, under: Under) -> Cost {
        let frame = case.frame();
        self.kernel.set_scenario(&case.scenario());
        self.kernel.set_under(Under::Empty);
        let (around, _) = self.kernel.run_loop(&frame, self.packets);
        self.kernel.set_under(under);

        let (before, consulted) = (self.counted(case, under), self.consulted());
        let (whole, action) = self.kernel.run_loop(&frame, self.packets);
        let counted = self.counted(case, under) - before;
        let expected = match under {
            Under::Product => case.action(),
            Under::Floor | Under::Empty => Action::Tx,
        };
        assert_eq!(action, expected as u32, "{}: the wrong action", case.name);
        assert_eq!(
            counted,
            u64::from(self.packets),
            "{}: not all packets went where they belong",
            case.name
        );
        Cost {
            ns: whole - around,
            around,
            consulted: self.consulted() - consulted,
        }
    }

    fn consulted(&self) -> u64 {
        let events = [FlowEvent::Hit, FlowEvent::Miss];
        events
            .iter()
            .map(|event| self.kernel.counter(event.index()))
            .sum()
    }

    fn counted(&self, case: &Case, under: Under) -> u64 {
        match under {
            Under::Product => self.kernel.counter(case.verdict.index()),
            Under::Floor => self.kernel.floor_counter(),
            Under::Empty => 0,
        }
    }
}

/// Opens all full-NAT flows and lists the answers to them, as their servers would send them.
fn list_answers(kernel: &mut Kernel) {
    for flow in 0..LISTED_FLOWS {
        let family = Family::V4;
        let mut from = client(family);
        let SocketAddr::V4(v4) = &mut from else {
            panic!("an IPv4 client");
        };
        v4.set_ip((u32::from(*v4.ip()) + (flow >> PORT_BITS)).into());
        let port = flow & (PORTS_PER_ADDRESS - 1);
        v4.set_port(v4.port() + u16::try_from(port).unwrap());
        let to = Service::Fullnat.vip(family);
        let (action, sent) = kernel.forward(&packets::frame(packets::Kind::Syn, from, to));
        assert_eq!(action, Action::Tx as u32, "full NAT has not taken {from}");

        let (node, server, [a, b, c, d]) = packets::ipv4_ends(&sent);
        let (node_port, server_port) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let answer = listed(server, node, server_port, node_port);
        let mut answers = kernel.bench_array::<[u64; 2]>("LISTED");
        let place = u64::from(flow).wrapping_mul(SCATTER) & u64::from(LISTED_FLOWS - 1);
        let place = u32::try_from(place).unwrap();
        answers.set(place, answer, 0).unwrap();
    }
}

fn spread(costs: &[Cost]) -> (f64, f64) {
    let quartile = |n| quantile(costs.iter().map(|it| it.ns), n);
    (quartile(1), quartile(3))
}

/// The n-th quartile; the second is the median.
fn quantile(values: impl Iterator<Item = f64>, n: usize) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[(values.len() - 1) * n / 4]
}
