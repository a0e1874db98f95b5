use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use aya::{
    Ebpf, EbpfLoader,
    programs::{
        ProgramError, Xdp, XdpMode,
        links::{FdLink, LinkError, PinnedLink},
        loaded_programs,
        xdp::{XdpLink, XdpLinkId},
    },
};
use tracing::{info, warn};

use super::{Fault, Pins, fault::errno};
use crate::{XdpModeChoice, chain::Chain, netlink::LinkView, object};

/// Which of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgramKind {
    LoadBalancer,
    Server,
}

impl ProgramKind {
    const fn program(self) -> &'static str {
        match self {
            Self::LoadBalancer => "lbfabric_lb",
            Self::Server => "lbfabric_server",
        }
    }

    /// The large maps that the program does not use.
    const fn unused_maps(self) -> &'static [&'static str] {
        match self {
            Self::LoadBalancer => &["SERVER_VIPS"],
            Self::Server => &[
                "VIP_PORTS4",
                "VIP_PORTS6",
                "VIP_RANGES",
                "VIP_ADDRESSES",
                "POOLS",
                "RINGS",
                "BACKENDS",
                "FLOWS",
                "REVERSE_PORTS4",
                "REVERSE_PORTS6",
                "REVERSE_RANGES",
                "SESSIONS",
                "SESSION_TAGS",
                "SESSION_BACK",
                "NAT_CURSOR",
                "SERVICE_COUNTERS",
                "BACKEND_COUNTERS",
            ],
        }
    }
}

/// Sizes that an operator may choose; they hold from the first load until everything is detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapSizes {
    pub(crate) ring_slots: u32,
    /// A power of two.
    pub(crate) flow_buckets: u32,
    /// Lines of 8 full-NAT sessions, a power of two.
    pub(crate) session_lines: u32,
}

/// The object with its maps, and the program, in the kernel.
pub(crate) struct Loaded {
    pub(crate) ebpf: Ebpf,
    kind: ProgramKind,
    pins: Pins,
}

/// The program on an interface. Dropping it leaves the program there, because the link is pinned.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) interface: String,
    pub(crate) ifindex: u32,
    pub(crate) generic: bool,
    /// Keeps the link open, so that it cannot be confused with a later one of the same name.
    _link: FdLink,
}

/// What became of the link that an earlier agent left.
enum Adoption {
    Adopted(Attached),
    Absent,
    /// It was of no use and is gone, with this program.
    Removed {
        program: u32,
    },
}

impl Loaded {
    /// Loads the program. Maps that are pinned already are taken over with their content.
    pub(crate) fn load(kind: ProgramKind, pins: &Pins, sizes: MapSizes) -> Result<Self, Fault> {
        pins.prepare()?;
        let mut options = EbpfLoader::new();
        options
            .default_map_pin_directory(pins.folder())
            .map_max_entries("RINGS", sizes.ring_slots)
            .map_max_entries("FLOWS", sizes.flow_buckets)
            .map_max_entries("SESSIONS", 8 * sizes.session_lines)
            .map_max_entries("SESSION_TAGS", sizes.session_lines)
            .map_max_entries("SESSION_BACK", 2 * sizes.session_lines);
        for map in kind.unused_maps() {
            options.map_max_entries(map, 1);
        }
        let ebpf = options
            .load(object::object())
            .map_err(|error| Fault::of("create the maps", &error))?;
        let mut loaded = Self {
            ebpf,
            kind,
            pins: pins.clone(),
        };
        match kind {
            ProgramKind::LoadBalancer => {
                object::load_balancer(&mut loaded.ebpf)
                    .map_err(|error| Fault::of("load the programs", &error))?;
                loaded.pin_programs()?;
            }
            ProgramKind::Server => object::load(loaded.program()?)
                .map_err(|error| Fault::of("load the program", &error))?,
        }
        Ok(loaded)
    }

    /// Keeps the program array beyond this process: the kernel empties one that no process has and that is not pinned.
    fn pin_programs(&mut self) -> Result<(), Fault> {
        let id = self
            .program()?
            .info()
            .map_err(|error| Fault::of("look at the program", &error))?
            .id();
        let pin = self.pins.programs(id);
        if let Some(programs) = self.ebpf.map_mut("PROGRAMS") {
            programs
                .pin(&pin)
                .map_err(|error| Fault::of("pin the programs", &error))?;
        }
        Ok(())
    }

    fn program(&mut self) -> Result<&mut Xdp, Fault> {
        let name = self.kind.program();
        let missing = || Fault::Other {
            doing: "find the program",
            detail: format!("the eBPF object has no XDP program {name}"),
        };
        let program = self.ebpf.program_mut(name).ok_or_else(missing)?;
        <&mut Xdp>::try_from(program).map_err(|_wrong_type| missing())
    }

    /// Puts the program on an interface: in the place of an earlier agent's, or new.
    pub(crate) fn attach(
        &mut self,
        interface: &str,
        link: &LinkView,
        choice: XdpModeChoice,
    ) -> Result<Attached, Fault> {
        let pin = self.pins.link(interface);
        let mut others = link
            .xdp
            .as_ref()
            .map(|xdp| xdp.programs.clone())
            .unwrap_or_default();
        match self.adopt(&pin, interface, link, choice)? {
            Adoption::Adopted(attached) => return Ok(attached),
            Adoption::Absent => {}
            Adoption::Removed { program } => {
                others.remove(&program);
            }
        }
        if !others.is_empty() {
            return Err(Fault::OtherProgram {
                interface: interface.to_owned(),
                program: named(&others),
            });
        }
        let (fd_link, generic) = self.attach_new(interface, link.index, choice)?;
        let pinned = fd_link
            .pin(&pin)
            .map_err(|error| Fault::of("pin the link", &error))?;
        info!(%interface, generic, "XDP program attached");
        Ok(Attached {
            interface: interface.to_owned(),
            ifindex: link.index,
            generic,
            _link: pinned.into(),
        })
    }

    /// Replaces the program in a pinned link, in one step for every packet. The pin of a dead link, or of one of another mode
    /// than asked for, is removed.
    fn adopt(
        &mut self,
        pin: &Path,
        interface: &str,
        link: &LinkView,
        choice: XdpModeChoice,
    ) -> Result<Adoption, Fault> {
        let pinned = match PinnedLink::from_pin(pin) {
            Ok(pinned) => pinned,
            Err(LinkError::SyscallError(error))
                if error.io_error.kind() == io::ErrorKind::NotFound =>
            {
                return Ok(Adoption::Absent);
            }
            Err(error) => return Err(Fault::of("open the pinned link", &error)),
        };
        let old = FdLink::from(pinned);
        let program = old
            .info()
            .map_err(|error| Fault::of("look at the pinned link", &error))?
            .program_id();
        let xdp = link
            .xdp
            .as_ref()
            .filter(|xdp| xdp.programs.contains(&program));
        let Some(xdp) = xdp else {
            info!(%interface, "the pinned link is of an interface that has gone");
            unpin(pin)?;
            return Ok(Adoption::Removed { program });
        };
        let generic = xdp.generic;
        let unwanted = match choice {
            XdpModeChoice::Auto => false,
            XdpModeChoice::Native => generic,
            XdpModeChoice::Generic => !generic,
        };
        if unwanted {
            info!(%interface, generic, "detaching: another XDP mode is asked for");
            unpin(pin)?;
            return Ok(Adoption::Removed { program });
        }
        let failed =
            |error: &(dyn std::error::Error + 'static)| Fault::of("replace the program", error);
        let old = XdpLink::try_from(old).map_err(|error| failed(&error))?;
        let program = self.program()?;
        let id = program
            .attach_to_link(old)
            .map_err(|error| failed(&error))?;
        let fd_link = take_fd_link(program, id)?;
        info!(%interface, generic, "XDP program and maps adopted");
        Ok(Adoption::Adopted(Attached {
            interface: interface.to_owned(),
            ifindex: link.index,
            generic,
            _link: fd_link,
        }))
    }

    fn attach_new(
        &mut self,
        interface: &str,
        ifindex: u32,
        choice: XdpModeChoice,
    ) -> Result<(FdLink, bool), Fault> {
        let program = self.program()?;
        let native = match choice {
            XdpModeChoice::Generic => None,
            XdpModeChoice::Auto | XdpModeChoice::Native => {
                match attach_to(program, ifindex, XdpMode::Driver) {
                    Ok(id) => return Ok((take_fd_link(program, id)?, false)),
                    Err(error) => Some(error),
                }
            }
        };
        if let Some(error) = native {
            match errno(&error) {
                Some(libc::EPERM | libc::EACCES) => {
                    return Err(Fault::of("attach the program", &error));
                }
                Some(libc::ENODEV) => return Err(gone(interface)),
                Some(libc::EBUSY | libc::EEXIST) => return Err(occupied(interface)),
                _ if choice == XdpModeChoice::Native => {
                    return Err(Fault::NativeRefused {
                        interface: interface.to_owned(),
                        detail: Chain(&error).to_string(),
                    });
                }
                _ => warn!(%interface, error = %Chain(&error), "no native XDP, trying generic"),
            }
        }
        let id =
            attach_to(program, ifindex, XdpMode::Skb).map_err(|error| match errno(&error) {
                Some(libc::ENODEV) => gone(interface),
                Some(libc::EBUSY | libc::EEXIST) => occupied(interface),
                _ => Fault::of("attach the program", &error),
            })?;
        Ok((take_fd_link(program, id)?, true))
    }
}

/// Attaches, and waits a moment for the kernel to free a link that has just been closed.
fn attach_to(program: &mut Xdp, ifindex: u32, mode: XdpMode) -> Result<XdpLinkId, ProgramError> {
    const TRIES: usize = 20;
    for _ in 1..TRIES {
        match program.attach_to_if_index(ifindex, mode) {
            Err(error) if errno(&error) == Some(libc::EBUSY) => {
                std::thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome,
        }
    }
    program.attach_to_if_index(ifindex, mode)
}

fn gone(interface: &str) -> Fault {
    Fault::InterfaceGone {
        interface: interface.to_owned(),
    }
}

fn occupied(interface: &str) -> Fault {
    Fault::OtherProgram {
        interface: interface.to_owned(),
        program: "attached a moment ago".to_owned(),
    }
}

/// The descriptor of a link. A kernel without links for XDP gives none: its attachment is taken back, because it would end
/// with this process.
fn take_fd_link(program: &mut Xdp, id: XdpLinkId) -> Result<FdLink, Fault> {
    let link = program
        .take_link(id)
        .map_err(|error| Fault::of("attach the program", &error))?;
    FdLink::try_from(link)
        .map_err(|error| Fault::too_old("hold the program by a link", Chain(&error).to_string()))
}

fn unpin(pin: &Path) -> Result<(), Fault> {
    fs::remove_file(pin).map_err(|error| Fault::of("remove the pinned link", &error))
}

/// Programs by name and id.
fn named(ids: &BTreeSet<u32>) -> String {
    let names: BTreeMap<u32, String> = loaded_programs()
        .filter_map(Result::ok)
        .filter(|program| ids.contains(&program.id()))
        .filter_map(|program| Some((program.id(), program.name_as_str()?.to_owned())))
        .collect();
    let texts: Vec<String> = ids
        .iter()
        .map(|id| match names.get(id).filter(|name| !name.is_empty()) {
            Some(name) => format!("`{name}` (id {id})"),
            None => format!("id {id}"),
        })
        .collect();
    texts.join(" and ")
}

/// Takes the program off an interface. True if it was there.
pub(crate) fn detach(pins: &Pins, interface: &str) -> Result<bool, Fault> {
    match fs::remove_file(pins.link(interface)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Fault::of("remove the pinned link", &error)),
    }
}
