use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::iter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::programs::{
    ProgramError, Xdp, XdpMode,
    links::{FdLink, LinkError, PinnedLink},
    loaded_programs,
    xdp::{XdpLink, XdpLinkId},
};
use tracing::{info, warn};

use super::{
    Fault, Pins,
    fault::errno,
    generations::{self, Outgoing},
    load::Loaded,
};
use crate::{XdpModeChoice, chain::Chain, netlink::LinkView};

/// The program on an interface. Dropping it leaves the program there, because the link is pinned.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) interface: String,
    pub(crate) ifindex: u32,
    pub(crate) generic: bool,
    /// Keeps the link open, so that it cannot be confused with a later one of the same name.
    _link: FdLink,
}

/// What became of a link that an earlier agent left.
enum Adoption {
    Adopted {
        link: FdLink,
        generic: bool,
    },
    Absent,
    /// It was of no use and is gone, with this program.
    Removed {
        program: u32,
    },
}

impl Loaded {
    /// The folder of another layout of the maps whose program forwards on one of the interfaces.
    pub(crate) fn other_layout_in_use(
        &self,
        interfaces: &[String],
        links: &BTreeMap<String, LinkView>,
    ) -> Result<Option<PathBuf>, Fault> {
        let others = self
            .pins
            .of_other_layouts()
            .map_err(|error| unlisted(&error))?;
        for interface in interfaces {
            let Some(link) = links.get(interface) else {
                continue;
            };
            if carries(link, &self.pins.link(interface))? {
                continue;
            }
            for other in &others {
                if carries(link, &other.link(interface))? {
                    return Ok(Some(other.folder().to_owned()));
                }
            }
        }
        Ok(None)
    }

    /// Puts the program on an interface: in the place of an earlier agent's, or new.
    pub(crate) fn attach(
        &mut self,
        interface: &str,
        link: &LinkView,
        choice: XdpModeChoice,
    ) -> Result<Attached, Fault> {
        let own = self.pins.link(interface);
        let mut others = link
            .xdp
            .as_ref()
            .map(|xdp| xdp.programs.clone())
            .unwrap_or_default();
        let other_layouts = self
            .pins
            .of_other_layouts()
            .map_err(|error| unlisted(&error))?;
        let elsewhere = other_layouts.iter().map(|pins| pins.link(interface));
        for pin in iter::once(own.clone()).chain(elsewhere) {
            match self.adopt(&pin, interface, link, choice)? {
                Adoption::Adopted {
                    link: held,
                    generic,
                } => {
                    let held = if pin == own {
                        held
                    } else {
                        move_pin(held, &pin, &own)?
                    };
                    return Ok(attached(interface, link, generic, held));
                }
                Adoption::Absent => {}
                Adoption::Removed { program } => {
                    others.remove(&program);
                }
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
            .pin(&own)
            .map_err(|error| Fault::of("pin the link", &error))?;
        info!(%interface, generic, "XDP program attached");
        Ok(attached(interface, link, generic, pinned.into()))
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
        let Some((old, program)) = open_link(pin)? else {
            return Ok(Adoption::Absent);
        };
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
        let program = self.entry()?;
        let id = program
            .attach_to_link(old)
            .map_err(|error| failed(&error))?;
        let link = take_fd_link(program, id)?;
        info!(%interface, generic, "XDP program adopted");
        Ok(Adoption::Adopted { link, generic })
    }

    /// Removes what the programs that run now do not need: other interfaces' links, former program arrays, other layouts.
    pub(crate) fn remove_former(&self, interfaces: &[String]) -> Result<Outgoing, Fault> {
        for interface in self.pins.links().map_err(|error| unlisted(&error))? {
            if !interfaces.contains(&interface) {
                info!(%interface, "detaching: the interface is not asked for any more");
                detach(&self.pins, &interface)?;
            }
        }
        let mut outgoing = generations::remove_unused(&self.pins, self.generation.as_ref())?;
        for other in self
            .pins
            .of_other_layouts()
            .map_err(|error| unlisted(&error))?
        {
            outgoing.extend(Outgoing::of_all(&other)?);
            other
                .remove()
                .map_err(|error| Fault::of("remove the maps of another layout", &error))?;
            info!(folder = %other.folder().display(), "maps of another layout removed");
        }
        Ok(outgoing)
    }

    fn attach_new(
        &mut self,
        interface: &str,
        ifindex: u32,
        choice: XdpModeChoice,
    ) -> Result<(FdLink, bool), Fault> {
        let program = self.entry()?;
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

fn attached(interface: &str, view: &LinkView, generic: bool, link: FdLink) -> Attached {
    Attached {
        interface: interface.to_owned(),
        ifindex: view.index,
        generic,
        _link: link,
    }
}

/// A pinned link, and the program in it.
pub(super) fn open_link(pin: &Path) -> Result<Option<(FdLink, u32)>, Fault> {
    let link = match PinnedLink::from_pin(pin) {
        Ok(pinned) => FdLink::from(pinned),
        Err(LinkError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(Fault::of("open the pinned link", &error)),
    };
    let info = link
        .info()
        .map_err(|error| Fault::of("look at the pinned link", &error))?;
    Ok(Some((link, info.program_id())))
}

/// Whether the pinned link is what holds the program on the interface.
fn carries(view: &LinkView, pin: &Path) -> Result<bool, Fault> {
    let link = open_link(pin)?;
    Ok(link
        .zip(view.xdp.as_ref())
        .is_some_and(|((_, program), xdp)| xdp.programs.contains(&program)))
}

/// Pins a link in another place. It is pinned all the time, so that it outlives this process.
fn move_pin(link: FdLink, from: &Path, to: &Path) -> Result<FdLink, Fault> {
    let pinned = link
        .pin(to)
        .map_err(|error| Fault::of("pin the link", &error))?;
    unpin(from)?;
    Ok(pinned.into())
}

fn unlisted(error: &io::Error) -> Fault {
    Fault::of("list the pins", error)
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
