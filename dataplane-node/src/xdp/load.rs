use aya::{Ebpf, EbpfLoader, programs::Xdp};

use tracing::warn;

use super::{
    Fault, Pins, ProgramKind,
    generations::{self, Generation},
    layout,
    memory::MapFds,
};
use crate::object;

/// Sizes that an operator may choose; they hold from the first load until everything is detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapSizes {
    pub(crate) ring_slots: u32,
    /// A power of two.
    pub(crate) flow_buckets: u32,
    /// Lines of 8 full-NAT sessions, a power of two.
    pub(crate) session_lines: u32,
}

/// The object with its maps and programs, in the kernel.
pub(crate) struct Loaded {
    pub(crate) ebpf: Ebpf,
    pub(crate) map_fds: MapFds,
    pub(super) kind: ProgramKind,
    pub(super) pins: Pins,
    /// `None` for a program that goes on with no other.
    pub(super) generation: Option<Generation>,
}

impl Loaded {
    /// Loads the programs. Maps that are pinned already are taken over with their content, unless they are of another layout.
    pub(crate) fn load(kind: ProgramKind, pins: &Pins, sizes: MapSizes) -> Result<Self, Fault> {
        if let Some(map) = layout::misshapen(pins)? {
            warn!(%map, folder = %pins.folder().display(), "pinned maps are of another layout than their folder says");
            pins.set_aside()?;
        }
        pins.prepare()?;
        // Of loads that never came to run.
        generations::remove_unused(pins, None)?;
        let mut options = EbpfLoader::new();
        options
            .default_map_pin_directory(pins.folder())
            .map_max_entries("RINGS", sizes.ring_slots)
            .map_max_entries("FLOWS", sizes.flow_buckets)
            .map_max_entries("SESSIONS", 8 * sizes.session_lines)
            .map_max_entries("SESSION_RECORDS", 8 * sizes.session_lines)
            .map_max_entries("SESSION_TAGS", sizes.session_lines);
        for map in kind.unused_maps() {
            options.map_max_entries(map, 1);
        }
        let mut ebpf = options
            .load(object::object())
            .map_err(|error| Fault::of("create the maps", &error))?;
        kind.load(&mut ebpf)
            .map_err(|error| Fault::of("load the program", &error))?;
        let generation = match kind {
            ProgramKind::LoadBalancer => Some(Generation::pin(&ebpf, pins)?),
            ProgramKind::Server => None,
        };
        Ok(Self {
            map_fds: MapFds::of(&ebpf).map_err(|error| Fault::of("hold the maps", &error))?,
            ebpf,
            kind,
            pins: pins.clone(),
            generation,
        })
    }

    /// The program that interfaces carry.
    pub(super) fn entry(&mut self) -> Result<&mut Xdp, Fault> {
        let name = self.kind.entry();
        let missing = || Fault::Other {
            doing: "find the program",
            detail: format!("the eBPF object has no XDP program {name}"),
        };
        let program = self.ebpf.program_mut(name).ok_or_else(missing)?;
        <&mut Xdp>::try_from(program).map_err(|_wrong_type| missing())
    }
}
