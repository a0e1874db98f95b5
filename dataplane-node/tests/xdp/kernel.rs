//! The programs in the kernel, with maps of their own.

use std::{fmt, net::IpAddr, thread};

use aya::{
    Ebpf, EbpfLoader, Pod, TestRun as _, TestRunOptions,
    maps::{Array, HashMap, LpmTrie, MapData, PerCpuArray},
    programs::Xdp,
};
use lbfabric_abi::{COUNTER_SLOTS, FlowEvent};
use lbfabric_node::{MapKeeper, object};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// `lo`, which every network namespace has: where packets come in unless a test says otherwise.
pub(crate) const INGRESS: u32 = 1;

/// Entries of the tables that have all their memory from the beginning.
pub(crate) const IDS: u32 = 64;
const RING_SLOTS: u32 = 256;
pub(crate) const SESSION_LINES: u32 = 512;
pub(crate) const FLOW_BUCKETS: u32 = 64;

/// Maps that come and go with the programs.
const NOT_KEPT: [&str; 9] = [
    "PROGRAMS",
    "SCRATCH",
    "ROUTES",
    "SERVICE_TOKENS",
    "SOURCE_TOKENS",
    "RECENT_FLOWS",
    "VIP_CLAIMS",
    "FRAGMENTS",
    "ICMP_BUDGET",
];

/// Which program to run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    Lb,
    Server,
    Pass,
}

/// What a program decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Aborted,
    Drop,
    Pass,
    Tx,
    Redirect,
}

/// What came of a packet.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) action: Action,
    /// The name of the one counter that moved; none for a program without counters.
    pub(crate) counter: Option<&'static str>,
    pub(crate) frame: Vec<u8>,
}

/// How large the tables are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) ring_slots: u32,
    pub(crate) flow_buckets: u32,
    pub(crate) session_lines: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            ring_slots: RING_SLOTS,
            flow_buckets: FLOW_BUCKETS,
            session_lines: SESSION_LINES,
        }
    }
}

/// The loaded programs.
pub(crate) struct Kernel {
    ebpf: Ebpf,
}

impl Kernel {
    /// Loads the programs with empty maps, which live as long as this.
    pub(crate) fn load() -> Self {
        Self::load_with(Sizes::default())
    }

    /// As [`Kernel::load`], with a larger flow table.
    pub(crate) fn load_with_flow_buckets(flow_buckets: u32) -> Self {
        Self::load_with(Sizes {
            flow_buckets,
            ..Sizes::default()
        })
    }

    /// As [`Kernel::load`], with other sizes.
    pub(crate) fn load_with(sizes: Sizes) -> Self {
        let mut ebpf = unloaded(sizes);
        if let Err(error) = object::load_all(&mut ebpf) {
            panic!("refused: {error:#?}");
        }
        for program in [Program::Server, Program::Pass] {
            if let Err(error) = object::load_named(&mut ebpf, program.name()) {
                panic!("refused: {error:#?}");
            }
        }
        Self { ebpf }
    }

    /// Runs a program on a frame that comes in through [`INGRESS`].
    pub(crate) fn run(&self, program: Program, frame: &[u8]) -> Ran {
        self.run_from(program, frame, INGRESS)
    }

    /// Runs a program on a frame that comes in through an interface of this thread's network namespace.
    pub(crate) fn run_from(&self, program: Program, frame: &[u8], ifindex: u32) -> Ran {
        let before = self.counters();
        let (action, frame) = self.run_uncounted(program, frame, ifindex);
        let after = self.counters();
        let events = usize::try_from(FlowEvent::FIRST).unwrap();
        Ran {
            action,
            counter: moved(&before[..events], &after[..events]),
            frame,
        }
    }

    /// As [`Kernel::run_from`], without a look at the counters, which takes longer than all the rest.
    pub(crate) fn run_uncounted(
        &self,
        program: Program,
        frame: &[u8],
        ifindex: u32,
    ) -> (Action, Vec<u8>) {
        let length = u32::try_from(frame.len()).unwrap();
        self.run_in(program, frame, [0, length, 0, ifindex, 0, 0])
    }

    /// Runs a program with a `struct xdp_md`: `data`, `data_end`, `data_meta`, `ingress_ifindex`, `rx_queue_index`,
    /// `egress_ifindex`.
    fn run_in(&self, program: Program, frame: &[u8], context: [u32; 6]) -> (Action, Vec<u8>) {
        let xdp: &Xdp = self
            .ebpf
            .program(program.name())
            .unwrap()
            .try_into()
            .unwrap();
        let context: Vec<u8> = context.into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut out = vec![0; frame.len() + 256];
        let result = xdp
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                ctx_in: Some(&context),
                ..TestRunOptions::default()
            })
            .unwrap();
        out.truncate(result.data_size_out.try_into().unwrap());
        (Action::from_number(result.return_value), out)
    }

    /// Runs the load balancer's program on a frame with little free in front of it: the driver's metadata is there.
    pub(crate) fn run_without_headroom(&self, frame: &[u8]) -> (Action, Option<&'static str>) {
        // Less than the kernel allows, which keeps some room for itself; what is left is none for an IPv6 header.
        const METADATA: usize = 192;
        let data = [&[0; METADATA], frame].concat();
        let [start, end] = [METADATA, data.len()].map(|it| u32::try_from(it).unwrap());
        let context = [start, end, 0, INGRESS, 0, 0];
        let before = self.counters();
        let (action, _) = self.run_in(Program::Lb, &data, context);
        let after = self.counters();
        let events = usize::try_from(FlowEvent::FIRST).unwrap();
        (action, moved(&before[..events], &after[..events]))
    }

    /// The agent's writer over these maps. It takes most of them: of those that tests name, `RINGS` and `FLOWS` stay.
    pub(crate) fn keeper(&mut self, own: &[IpAddr]) -> MapKeeper {
        MapKeeper::open(&mut self.ebpf, own).unwrap()
    }

    /// A hash table, plain or LRU.
    pub(crate) fn hash<K: Pod, V: Pod>(&mut self, name: &str) -> HashMap<&mut MapData, K, V> {
        self.ebpf.map_mut(name).unwrap().try_into().unwrap()
    }

    /// An array.
    pub(crate) fn array<V: Pod>(&mut self, name: &str) -> Array<&mut MapData, V> {
        self.ebpf.map_mut(name).unwrap().try_into().unwrap()
    }

    /// A trie.
    pub(crate) fn trie<K: Pod, V: Pod>(&mut self, name: &str) -> LpmTrie<&mut MapData, K, V> {
        self.ebpf.map_mut(name).unwrap().try_into().unwrap()
    }

    /// An entry of an array that has a value for each CPU.
    pub(crate) fn per_cpu<V: Pod>(&self, name: &str, index: u32) -> Vec<V> {
        let map: PerCpuArray<&MapData, V> = self.ebpf.map(name).unwrap().try_into().unwrap();
        map.get(&index, 0).unwrap().to_vec()
    }

    /// The flow table's counters, as they stand.
    pub(crate) fn flow_events(&self) -> [u64; FlowEvent::ALL.len()] {
        [0, 1, 2, 3].map(|n| {
            let counts = self.per_cpu::<u64>("COUNTERS", FlowEvent::FIRST + n);
            counts.iter().sum()
        })
    }

    fn counters(&self) -> Vec<u64> {
        (0..COUNTER_SLOTS).map(|slot| self.counter(slot)).collect()
    }

    /// A counter, over all CPUs.
    pub(crate) fn counter(&self, slot: u32) -> u64 {
        self.per_cpu::<u64>("COUNTERS", slot).iter().sum()
    }
}

impl Program {
    const fn name(self) -> &'static str {
        match self {
            Self::Lb => "lbfabric_lb",
            Self::Server => "lbfabric_server",
            Self::Pass => "lbfabric_pass",
        }
    }
}

impl Action {
    fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Aborted,
            1 => Self::Drop,
            2 => Self::Pass,
            3 => Self::Tx,
            4 => Self::Redirect,
            _ => panic!("no XDP action: {number}"),
        }
    }
}

impl fmt::Debug for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}, {:?}, {} bytes:",
            self.action,
            self.counter,
            self.frame.len()
        )?;
        for line in self.frame.chunks(16) {
            write!(f, "\n   ")?;
            for byte in line {
                write!(f, " {byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// The object with its maps; the kernel has taken none of its programs yet.
pub(crate) fn unloaded(sizes: Sizes) -> Ebpf {
    let load = move || load_with_private_pins(sizes);
    thread::spawn(load).join().unwrap()
}

/// All names by slot.
pub(crate) fn counter_names() -> Vec<(u32, &'static str)> {
    lbfabric_abi::counter_names().collect()
}

/// A packet moves one counter by one, and no other.
fn moved(before: &[u64], after: &[u64]) -> Option<&'static str> {
    let slots: Vec<usize> = (0..after.len())
        .filter(|&n| before[n] != after[n])
        .collect();
    let &[slot] = slots.as_slice() else {
        assert!(slots.is_empty(), "more than one counter moved: {slots:?}");
        return None;
    };
    assert_eq!(after[slot], before[slot] + 1);
    let name = counter_names()
        .into_iter()
        .find(|(index, _)| usize::try_from(*index).unwrap() == slot);
    Some(name.unwrap().1)
}

/// The maps are declared to be pinned. A mount namespace of this thread alone holds the pins, and takes them along when the
/// thread ends; the maps then live by their file descriptors.
fn load_with_private_pins(sizes: Sizes) -> Ebpf {
    unshare(CloneFlags::CLONE_NEWNS).expect("these tests load XDP programs: run them as root");
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    mount(
        Some("bpf"),
        folder.path(),
        Some("bpf"),
        MsFlags::empty(),
        None::<&str>,
    )
    .unwrap();
    let ebpf = EbpfLoader::new()
        .default_map_pin_directory(folder.path())
        // Far fewer than the agent's: each test has tables of its own.
        .map_max_entries("BACKENDS", IDS)
        .map_max_entries("BACKEND_COUNTERS", IDS)
        .map_max_entries("SERVICE_COUNTERS", IDS)
        .map_max_entries("SERVICE_TOKENS", IDS)
        .map_max_entries("RINGS", sizes.ring_slots)
        .map_max_entries("FLOWS", sizes.flow_buckets)
        .map_max_entries("SESSIONS", 8 * sizes.session_lines)
        .map_max_entries("SESSION_RECORDS", 8 * sizes.session_lines)
        .map_max_entries("SESSION_TAGS", sizes.session_lines)
        .load(object::object())
        .expect("these tests load XDP programs: run them as root");
    for (name, _) in ebpf.maps() {
        let is_kept = !NOT_KEPT.contains(&name);
        assert_eq!(folder.path().join(name).exists(), is_kept, "{name}");
    }
    nix::mount::umount(folder.path()).unwrap();
    ebpf
}
