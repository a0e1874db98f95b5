//! The product's programs and those to measure with, in the kernel.

use aya::{
    Ebpf, EbpfLoader, Pod, TestRun as _, TestRunOptions,
    maps::{Array, HashMap, MapData, PerCpuArray, ProgramArray},
    programs::{ProgramFd, Xdp},
};
use lbfabric_ebpf_bench::{SCENARIO_BYTES, Scenario};
use nix::{
    mount::{MsFlags, mount, umount},
    sys::time::TimeValLike as _,
};

use crate::{machine, packets};

/// What a tail call from `restore` leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Under {
    /// The product's program for load balancers.
    Product,
    Floor,
    Empty,
}

/// What a program decided: an action of `enum xdp_action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Pass = 2,
    Tx = 3,
}

/// Everything loaded.
pub(crate) struct Kernel {
    product: Ebpf,
    bench: Ebpf,
    /// `struct xdp_md` without the frame's length.
    ingress: u32,
}

impl Kernel {
    /// Loads all programs, with empty maps of the sizes that the agent uses; packets come in through `ingress`. Without an
    /// object of the product, its own is taken.
    pub(crate) fn load(product: Option<&[u8]>, bench_object: &[u8], ingress: u32) -> Self {
        let product = product.unwrap_or_else(|| lbfabric_node::object::object());
        let mut product = load_with_private_pins(product);
        if product.map(lbfabric_node::object::PROGRAMS).is_none() {
            // An object from before there were several programs.
            load_programs(&mut product, &["lbfabric_lb"]);
        } else if let Err(error) = lbfabric_node::object::load_all(&mut product) {
            panic!("refused: {error:#?}");
        }
        let mut bench = Ebpf::load(bench_object).expect("the object is that of build.sh --bench");
        load_programs(&mut bench, &["restore", "empty", "floor"]);
        Self {
            product,
            bench,
            ingress,
        }
    }

    /// Runs the product's program on one frame, and gives what comes out.
    pub(crate) fn forward(&self, frame: &[u8]) -> (u32, Vec<u8>) {
        let context = self.context(frame);
        let mut out = packets::room(frame);
        let result = xdp(&self.product, "lbfabric_lb")
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                ctx_in: Some(&context),
                ..TestRunOptions::default()
            })
            .unwrap();
        out.truncate(result.data_size_out.try_into().unwrap());
        (result.return_value, out)
    }

    /// Sets what the next loops run on.
    pub(crate) fn set_scenario(&mut self, scenario: &Scenario) {
        let mut map: Array<_, [u8; SCENARIO_BYTES]> =
            self.bench.map_mut("SCENARIO").unwrap().try_into().unwrap();
        map.set(0, scenario.to_bytes(), 0).unwrap();
    }

    /// Sets the program that loops go on with.
    pub(crate) fn set_under(&mut self, under: Under) {
        let fd = self.program(under);
        let mut next = ProgramArray::try_from(self.bench.map_mut("NEXT").unwrap()).unwrap();
        next.set(0, &fd, 0).unwrap();
    }

    /// Runs the loop over `packets` packets and gives the nanoseconds of each, and how the last one left.
    pub(crate) fn run_loop(&self, frame: &[u8], packets: u32) -> (f64, u32) {
        let context = self.context(frame);
        let restore = xdp(&self.bench, "restore");
        let begin = machine::own_time();
        let result = restore
            .test_run(TestRunOptions {
                data_in: Some(frame),
                ctx_in: Some(&context),
                repeat: packets,
                ..TestRunOptions::default()
            })
            .unwrap();
        let spent = machine::own_time() - begin;
        #[expect(clippy::cast_precision_loss, reason = "seconds")]
        let ns = spent.num_nanoseconds() as f64 / f64::from(packets);
        (ns, result.return_value)
    }

    /// A hash table of the product.
    pub(crate) fn hash<K: Pod, V: Pod>(&mut self, name: &str) -> HashMap<&mut MapData, K, V> {
        self.product.map_mut(name).unwrap().try_into().unwrap()
    }

    /// An array of the product.
    pub(crate) fn array<V: Pod>(&mut self, name: &str) -> Array<&mut MapData, V> {
        self.product.map_mut(name).unwrap().try_into().unwrap()
    }

    /// A hash table to measure with.
    pub(crate) fn bench_hash<K: Pod, V: Pod>(&mut self, name: &str) -> HashMap<&mut MapData, K, V> {
        self.bench.map_mut(name).unwrap().try_into().unwrap()
    }

    /// An array to measure with.
    pub(crate) fn bench_array<V: Pod>(&mut self, name: &str) -> Array<&mut MapData, V> {
        self.bench.map_mut(name).unwrap().try_into().unwrap()
    }

    /// A counter of the product, over all CPUs.
    pub(crate) fn counter(&self, index: u32) -> u64 {
        sum(&self.product, "COUNTERS", index)
    }

    /// Packets that the floor program has sent.
    pub(crate) fn floor_counter(&self) -> u64 {
        sum(&self.bench, "FLOOR_COUNTER", 0)
    }

    fn program(&self, under: Under) -> ProgramFd {
        let (object, name) = match under {
            Under::Product => (&self.product, "lbfabric_lb"),
            Under::Floor => (&self.bench, "floor"),
            Under::Empty => (&self.bench, "empty"),
        };
        xdp(object, name).fd().unwrap().try_clone().unwrap()
    }

    /// `struct xdp_md`: `data`, `data_end`, `data_meta`, `ingress_ifindex`, `rx_queue_index`, `egress_ifindex`.
    fn context(&self, frame: &[u8]) -> Vec<u8> {
        let length = u32::try_from(frame.len()).unwrap();
        [0, length, 0, self.ingress, 0, 0]
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect()
    }
}

fn sum(object: &Ebpf, map: &str, index: u32) -> u64 {
    let map: PerCpuArray<&MapData, u64> = object.map(map).unwrap().try_into().unwrap();
    map.get(&index, 0).unwrap().iter().sum()
}

fn xdp<'a>(object: &'a Ebpf, name: &str) -> &'a Xdp {
    object.program(name).unwrap().try_into().unwrap()
}

fn load_programs(object: &mut Ebpf, names: &[&str]) {
    for name in names {
        let program: &mut Xdp = object.program_mut(name).unwrap().try_into().unwrap();
        if let Err(error) = program.load() {
            panic!("{name} was refused: {error:#?}");
        }
    }
}

/// The product's maps are declared to be pinned; here they live by their file descriptors. Mounts are private already.
fn load_with_private_pins(object: &[u8]) -> Ebpf {
    let folder = tempfile::tempdir().unwrap();
    let none = MsFlags::empty();
    mount(Some("bpf"), folder.path(), Some("bpf"), none, None::<&str>).unwrap();
    let product = EbpfLoader::new()
        .default_map_pin_directory(folder.path())
        .load(object)
        .expect("this loads XDP programs: run it as root");
    umount(folder.path()).unwrap();
    product
}
