use std::collections::BTreeMap;
use std::time::Duration;

use aya::Ebpf;
use lbfabric_abi::FlowKey;
use lbfabric_proto::v1;
use tokio::time::Instant;
use tracing::{error, info};

use crate::{
    XdpModeChoice,
    chain::Chain,
    maps::{AyaMaps, OpenMapsError, ServerMaps},
    netlink::LinkView,
    random::random_words,
    reconciler::Reconciler,
    xdp::{self, Attached, Fault, Loaded, MapSizes, Pins, ProgramKind},
};

/// A program that cannot run is tried again this often.
const RETRY_INTERVAL: Duration = Duration::from_secs(3);

/// What writes a program's maps.
pub(crate) trait MapWriter: Sized {
    const KIND: ProgramKind;

    fn open(ebpf: &mut Ebpf) -> Result<Self, OpenMapsError>;
}

impl MapWriter for Reconciler<AyaMaps> {
    const KIND: ProgramKind = ProgramKind::LoadBalancer;

    fn open(ebpf: &mut Ebpf) -> Result<Self, OpenMapsError> {
        AyaMaps::open(ebpf).map(|maps| Self::new(maps, FlowKey(random_words())))
    }
}

impl MapWriter for ServerMaps {
    const KIND: ProgramKind = ProgramKind::Server;

    fn open(ebpf: &mut Ebpf) -> Result<Self, OpenMapsError> {
        Self::open(ebpf)
    }
}

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
/// Down { fault } ── start succeeds ──► Up
///      ▲                                │
///      └── an interface goes away ──────┘
/// ```
pub(crate) struct Program<T> {
    pins: Pins,
    options: ProgramOptions,
    state: State<T>,
}

enum State<T> {
    Down { fault: Fault, retry_at: Instant },
    Up { maps: T, attached: Vec<Attached> },
}

impl<T: MapWriter> Program<T> {
    /// A program that has not been tried yet.
    pub(crate) fn new(pin_dir: &std::path::Path, options: ProgramOptions) -> Self {
        Self {
            pins: Pins::new(pin_dir, T::KIND),
            options,
            state: State::Down {
                fault: Fault::Other {
                    doing: "load the program",
                    detail: "not tried yet".to_owned(),
                },
                retry_at: Instant::now(),
            },
        }
    }

    /// Loads and attaches, or remembers why not.
    pub(crate) fn start(&mut self, links: &BTreeMap<String, LinkView>) {
        self.state = match self.try_start(links) {
            Ok((maps, attached)) => State::Up { maps, attached },
            Err(fault) => {
                if self.fault() != Some(&fault) {
                    error!(%fault, "the XDP program does not run");
                }
                State::Down {
                    fault,
                    retry_at: Instant::now() + RETRY_INTERVAL,
                }
            }
        };
    }

    fn try_start(&self, links: &BTreeMap<String, LinkView>) -> Result<(T, Vec<Attached>), Fault> {
        for interface in &self.options.interfaces {
            if !links.contains_key(interface) {
                return Err(Fault::InterfaceGone {
                    interface: interface.clone(),
                });
            }
        }
        let mut loaded = Loaded::load(T::KIND, &self.pins, self.options.sizes)?;
        let mut attached = Vec::new();
        for interface in &self.options.interfaces {
            attached.push(loaded.attach(interface, &links[interface], self.options.choice)?);
        }
        let maps = T::open(&mut loaded.ebpf).map_err(|error| Fault::Other {
            doing: "open the maps",
            detail: Chain(&error).to_string(),
        })?;
        Ok((maps, attached))
    }

    /// Notices interfaces that have gone. True if the state has changed or a new try may help.
    ///
    /// With `fresh`, links just read, also a program that was taken off: the kernel announces no change of programs.
    pub(crate) fn check(&mut self, links: &BTreeMap<String, LinkView>, fresh: bool) -> bool {
        match &mut self.state {
            State::Up { attached, .. } => {
                let lost = attached.iter().find(|attached| {
                    links.get(&attached.interface).is_none_or(|link| {
                        link.index != attached.ifindex || (fresh && link.xdp.is_none())
                    })
                });
                let Some(lost) = lost else { return false };
                let fault = if links.contains_key(&lost.interface) {
                    Fault::Other {
                        doing: "check the program",
                        detail: format!(
                            "it was taken off {}, or the interface was replaced",
                            lost.interface
                        ),
                    }
                } else {
                    Fault::InterfaceGone {
                        interface: lost.interface.clone(),
                    }
                };
                error!(%fault, "the XDP program does not run any more");
                self.state = State::Down {
                    fault,
                    retry_at: Instant::now(),
                };
                true
            }
            State::Down {
                fault: Fault::InterfaceGone { interface },
                retry_at,
            } if links.contains_key(interface) => {
                info!(%interface, "the interface is there again");
                *retry_at = Instant::now();
                true
            }
            State::Down { .. } => false,
        }
    }

    /// When to try again, if it does not run.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        match &self.state {
            State::Down { retry_at, .. } => Some(*retry_at),
            State::Up { .. } => None,
        }
    }

    /// Puts the next try off.
    pub(crate) fn postpone(&mut self) {
        if let State::Down { retry_at, .. } = &mut self.state {
            *retry_at = Instant::now() + RETRY_INTERVAL;
        }
    }

    pub(crate) fn fault(&self) -> Option<&Fault> {
        match &self.state {
            State::Down { fault, .. } => Some(fault),
            State::Up { .. } => None,
        }
    }

    pub(crate) fn maps(&self) -> Option<&T> {
        match &self.state {
            State::Up { maps, .. } => Some(maps),
            State::Down { .. } => None,
        }
    }

    pub(crate) fn maps_mut(&mut self) -> Option<&mut T> {
        match &mut self.state {
            State::Up { maps, .. } => Some(maps),
            State::Down { .. } => None,
        }
    }

    /// Generic as soon as one interface is.
    pub(crate) fn mode(&self) -> v1::XdpMode {
        match &self.state {
            State::Down { .. } => v1::XdpMode::Unspecified,
            State::Up { attached, .. } if attached.iter().any(|a| a.generic) => {
                v1::XdpMode::Generic
            }
            State::Up { .. } => v1::XdpMode::Native,
        }
    }

    /// Takes the program off every interface, and its maps away.
    pub(crate) fn detach(self) -> Result<(), DetachProgramError> {
        let Self {
            pins,
            options,
            state,
        } = self;
        for interface in &options.interfaces {
            xdp::detach(&pins, interface)?;
        }
        // Closes the links and the maps.
        drop(state);
        remove_if_unused(&pins)
    }
}

/// The program could not be taken away.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DetachProgramError {
    #[error(transparent)]
    Link(#[from] Fault),
    #[error("remove {folder}")]
    Pins {
        folder: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Removes the maps when no link needs them any more.
pub(crate) fn remove_if_unused(pins: &Pins) -> Result<(), DetachProgramError> {
    let failed = |source| DetachProgramError::Pins {
        folder: pins.folder().to_owned(),
        source,
    };
    if pins.links().map_err(failed)?.is_empty() {
        pins.remove().map_err(failed)?;
    }
    Ok(())
}
