use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lbfabric_proto::v1;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{
    map_writer::MapWriter,
    removal::{self, DetachProgramError},
};
use crate::{
    XdpModeChoice,
    chain::Chain,
    netlink::LinkView,
    xdp::{Attached, Fault, Loaded, MapFds, MapSizes, Outgoing, Pins},
};

/// A program that cannot run is tried again this often.
const RETRY_INTERVAL: Duration = Duration::from_secs(3);
/// How long maps that are filled beside those of another layout wait for every server to be known.
const FILL_PATIENCE: Duration = Duration::from_secs(30);

/// How the program is to run.
#[derive(Clone, Debug)]
pub(crate) struct ProgramOptions {
    pub(crate) interfaces: Vec<String>,
    pub(crate) choice: XdpModeChoice,
    pub(crate) sizes: MapSizes,
}

/// The program on the node's interfaces, or why it is not there.
///
/// ```text
///           another layout's program forwards
/// Down ── start ──────────────────────────────► Filling ── switch ──► Up: on one interface at least
///  ▲ │                                             │                  ▲ │
///  │ └──── start ──────────────────────────────────┼──────────────────┘ │
///  └────── the last interface goes away ───────────┴────────────────────┘
/// ```
pub(crate) struct Program<T> {
    pins: Pins,
    options: ProgramOptions,
    state: State<T>,
}

enum State<T> {
    Down(Trouble),
    Filling(Filling<T>),
    Up(Running<T>),
}

/// What keeps the program off an interface, or off all of them.
struct Trouble {
    fault: Fault,
    retry_at: Instant,
}

/// The maps are filled beside those of a program with another layout, which forwards meanwhile.
struct Filling<T> {
    loaded: Loaded,
    maps: T,
    /// As they were when this began.
    links: BTreeMap<String, LinkView>,
    /// The other layout's folder.
    beside: PathBuf,
    patience_ends: Instant,
}

struct Running<T> {
    maps: T,
    map_fds: MapFds,
    /// At least one.
    attached: Vec<Attached>,
    /// With one of the other interfaces.
    trouble: Option<Trouble>,
    /// Until the next look: by then no packet is on its way through them.
    outgoing: Option<Outgoing>,
}

impl<T: MapWriter> Program<T> {
    /// A program that has not been tried yet.
    pub(crate) fn new(pin_dir: &Path, options: ProgramOptions) -> Self {
        Self {
            pins: Pins::new(pin_dir, T::KIND),
            options,
            state: State::Down(Trouble::untried()),
        }
    }

    /// Loads and attaches where that is possible, or remembers why not. Where a program with another layout of the maps
    /// forwards, it goes on until [`Self::switch`].
    pub(crate) fn start(&mut self, links: &BTreeMap<String, LinkView>) {
        if let State::Up(Running {
            trouble: Some(trouble),
            ..
        }) = &mut self.state
            && !trouble.fault.may_be_over(links)
        {
            // Not worth loading everything again.
            trouble.retry_at = Instant::now() + RETRY_INTERVAL;
            return;
        }
        match self.try_start(links) {
            Ok(state) => self.state = state,
            Err(fault) => self.fail(fault),
        }
    }

    /// What runs goes on.
    fn fail(&mut self, fault: Fault) {
        if self.fault() != Some(&fault) {
            error!(%fault, "the XDP program does not run");
        }
        let trouble = Trouble::later(fault);
        match &mut self.state {
            State::Up(running) => running.trouble = Some(trouble),
            State::Down(_) | State::Filling(_) => self.state = State::Down(trouble),
        }
    }

    fn try_start(&self, links: &BTreeMap<String, LinkView>) -> Result<State<T>, Fault> {
        let interfaces = &self.options.interfaces;
        if !interfaces.iter().any(|name| links.contains_key(name)) {
            return Err(Fault::InterfaceGone {
                interface: interfaces[0].clone(),
            });
        }
        let mut loaded = Loaded::load(T::KIND, &self.pins, self.options.sizes)?;
        // Before any packet can use them: pinned maps may be of another shape than their folder's name promises.
        let maps = T::open(&mut loaded.ebpf).map_err(|error| Fault::Other {
            doing: "open the maps",
            detail: Chain(&error).to_string(),
        })?;
        if let Some(beside) = loaded.other_layout_in_use(interfaces, links)? {
            info!(folder = %beside.display(), "a program with another layout of the maps forwards until new ones are filled");
            return Ok(State::Filling(Filling {
                loaded,
                maps,
                links: links.clone(),
                beside,
                patience_ends: Instant::now() + FILL_PATIENCE,
            }));
        }
        self.attach(loaded, maps, links).map(State::Up)
    }

    /// Attaches to every interface that takes the program; one is enough.
    fn attach(
        &self,
        mut loaded: Loaded,
        maps: T,
        links: &BTreeMap<String, LinkView>,
    ) -> Result<Running<T>, Fault> {
        let interfaces = &self.options.interfaces;
        let mut attached = Vec::new();
        let mut fault = None;
        for interface in interfaces {
            let outcome = match links.get(interface) {
                Some(link) => loaded.attach(interface, link, self.options.choice),
                None => Err(Fault::InterfaceGone {
                    interface: interface.clone(),
                }),
            };
            match outcome {
                Ok(it) => attached.push(it),
                Err(other) => fault = fault.or(Some(other)),
            }
        }
        let outgoing = match &fault {
            // What is there of former programs may still be needed on an interface.
            Some(fault) if attached.is_empty() => return Err(fault.clone()),
            Some(fault) => {
                error!(%fault, "the XDP program does not run on every interface");
                None
            }
            None => loaded
                .remove_former(interfaces)
                .inspect_err(|fault| warn!(%fault, "what former programs left stays"))
                .ok(),
        };
        let Loaded { map_fds, .. } = loaded;
        Ok(Running {
            maps,
            map_fds,
            attached,
            trouble: fault.map(Trouble::later),
            outgoing,
        })
    }

    /// Until when filled maps may wait for servers to be known, and the folder of the layout that forwards meanwhile.
    pub(crate) fn filling(&self) -> Option<(Instant, &Path)> {
        match &self.state {
            State::Filling(filling) => Some((filling.patience_ends, &filling.beside)),
            State::Down(_) | State::Up(_) => None,
        }
    }

    /// Gives the interfaces to the program whose maps were filled, if any were.
    pub(crate) fn switch(&mut self) {
        if self.filling().is_none() {
            return;
        }
        let before = std::mem::replace(&mut self.state, State::Down(Trouble::untried()));
        let switched = match before {
            State::Filling(filling) => {
                let Filling {
                    loaded,
                    maps,
                    links,
                    beside: _,
                    patience_ends: _,
                } = filling;
                self.attach(loaded, maps, &links).map(State::Up)
            }
            State::Down(_) | State::Up(_) => Ok(before),
        };
        match switched {
            Ok(state) => self.state = state,
            Err(fault) => self.fail(fault),
        }
    }

    /// Notices interfaces that have gone. True if the state has changed or a new try may help.
    ///
    /// With `fresh`, links just read, also a program that was taken off: the kernel announces no change of programs.
    pub(crate) fn check(&mut self, links: &BTreeMap<String, LinkView>, fresh: bool) -> bool {
        let is_there = |interface: &str, ifindex: u32| {
            let link = links.get(interface);
            link.is_some_and(|link| link.index == ifindex && !(fresh && link.xdp.is_none()))
        };
        let lost = match &mut self.state {
            State::Up(running) => {
                if fresh {
                    running.outgoing = None;
                }
                let gone = |it: &mut Attached| !is_there(&it.interface, it.ifindex);
                let lost = running.attached.extract_if(.., gone).last();
                lost.map(|it| it.interface)
            }
            State::Filling(filling) => {
                let before = filling.links.iter();
                let mut carried = before.filter(|(name, _)| self.options.interfaces.contains(name));
                let lost = carried.find(|(name, link)| !is_there(name, link.index));
                lost.map(|(name, _)| name.clone())
            }
            State::Down(_) => None,
        };
        match lost {
            Some(interface) => self.lose(interface, links),
            None => self.notice_return(links),
        }
    }

    fn lose(&mut self, interface: String, links: &BTreeMap<String, LinkView>) -> bool {
        let fault = if links.contains_key(&interface) {
            Fault::Other {
                doing: "check the program",
                detail: format!("it was taken off {interface}, or the interface was replaced"),
            }
        } else {
            Fault::InterfaceGone { interface }
        };
        error!(%fault, "the XDP program does not run any more");
        let trouble = Trouble {
            fault,
            retry_at: Instant::now(),
        };
        match &mut self.state {
            State::Up(running) if !running.attached.is_empty() => running.trouble = Some(trouble),
            State::Up(_) | State::Filling(_) | State::Down(_) => self.state = State::Down(trouble),
        }
        true
    }

    fn notice_return(&mut self, links: &BTreeMap<String, LinkView>) -> bool {
        let Some(Trouble {
            fault: Fault::InterfaceGone { interface },
            retry_at,
        }) = self.trouble_mut()
        else {
            return false;
        };
        if !links.contains_key(interface) {
            return false;
        }
        info!(%interface, "the interface is there again");
        *retry_at = Instant::now();
        true
    }

    fn trouble(&self) -> Option<&Trouble> {
        match &self.state {
            State::Down(trouble) => Some(trouble),
            State::Filling(_) => None,
            State::Up(running) => running.trouble.as_ref(),
        }
    }

    fn trouble_mut(&mut self) -> Option<&mut Trouble> {
        match &mut self.state {
            State::Down(trouble) => Some(trouble),
            State::Filling(_) => None,
            State::Up(running) => running.trouble.as_mut(),
        }
    }

    /// When to try again, if it does not run everywhere.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.trouble().map(|trouble| trouble.retry_at)
    }

    /// Puts the next try off.
    pub(crate) fn postpone(&mut self) {
        if let Some(trouble) = self.trouble_mut() {
            trouble.retry_at = Instant::now() + RETRY_INTERVAL;
        }
    }

    /// Why it does not run on every interface.
    pub(crate) fn fault(&self) -> Option<&Fault> {
        self.trouble().map(|trouble| &trouble.fault)
    }

    /// Why it does not run at all.
    pub(crate) fn down(&self) -> Option<&Fault> {
        match &self.state {
            State::Down(trouble) => Some(&trouble.fault),
            State::Filling(_) | State::Up(_) => None,
        }
    }

    pub(crate) fn maps(&self) -> Option<&T> {
        match &self.state {
            State::Filling(Filling { maps, .. }) | State::Up(Running { maps, .. }) => Some(maps),
            State::Down(_) => None,
        }
    }

    pub(crate) fn maps_mut(&mut self) -> Option<&mut T> {
        match &mut self.state {
            State::Filling(Filling { maps, .. }) | State::Up(Running { maps, .. }) => Some(maps),
            State::Down(_) => None,
        }
    }

    /// Generic as soon as one interface is.
    pub(crate) fn mode(&self) -> v1::XdpMode {
        let generic = match &self.state {
            State::Down(_) => return v1::XdpMode::Unspecified,
            State::Up(Running { attached, .. }) => attached.iter().any(|it| it.generic),
            State::Filling(Filling { links, .. }) => {
                let carrying = self
                    .options
                    .interfaces
                    .iter()
                    .filter_map(|it| links.get(it));
                let mut programs = carrying.filter_map(|link| link.xdp.as_ref());
                programs.any(|xdp| xdp.generic)
            }
        };
        if generic {
            v1::XdpMode::Generic
        } else {
            v1::XdpMode::Native
        }
    }

    /// The kernel's memory that the maps take, in bytes; 0 while the program does not run.
    pub(crate) fn map_memory(&self) -> io::Result<u64> {
        match &self.state {
            State::Down(_) => Ok(0),
            State::Filling(Filling { loaded, .. }) => loaded.map_fds.memory(),
            State::Up(Running { map_fds, .. }) => map_fds.memory(),
        }
    }

    /// Takes the program off every interface, and its maps away.
    pub(crate) fn detach(self) -> Result<(), DetachProgramError> {
        let Self {
            pins,
            options: _,
            state,
        } = self;
        // Closes the links and the maps.
        drop(state);
        removal::remove(&pins, &[])
    }
}

impl Trouble {
    fn untried() -> Self {
        Self {
            fault: Fault::Other {
                doing: "load the program",
                detail: "not tried yet".to_owned(),
            },
            retry_at: Instant::now(),
        }
    }

    /// To be tried again in a while.
    fn later(fault: Fault) -> Self {
        Self {
            fault,
            retry_at: Instant::now() + RETRY_INTERVAL,
        }
    }
}
