//! Where a frame was seen, and which step of a mode it is. Pure.

use std::net::IpAddr;

use super::case::Case;
use super::frame::Frame;
use super::mode::{Form, Party, Role, Step};
use super::topology::{Host, Segment, host_of_mac};

/// A host's link, and whether the frame came from the host or went to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tap {
    /// The segment.
    pub(super) segment: Segment,
    /// The host at the end of the link.
    pub(super) host: Host,
    /// Whether the frame went to the host.
    pub(super) to_host: bool,
}

/// A frame at a tap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting {
    /// Where.
    pub(super) tap: Tap,
    /// What.
    pub(super) frame: Frame,
}

/// A sighting in the notation of the modes' table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// The step.
    pub(super) step: Step,
    /// The sender on the link.
    pub(super) from: Host,
    /// The receiver on the link.
    pub(super) to: Host,
}

impl Sighting {
    /// Whether it is a copy that a bridge flooded to a host that it is not for.
    pub(super) fn is_flooded(&self) -> bool {
        let Tap {
            segment,
            host,
            to_host,
        } = self.tap;
        let owner = host_of_mac(segment, self.frame.destination_mac);
        to_host && owner.is_some_and(|owner| owner != host)
    }

    /// Whether it is of a connection to a server that a node has kept from another case of the engine: it ends whenever either of them
    /// likes.
    pub(super) fn is_kept(&self, case: Case) -> bool {
        let (from, to) = self.frame.inner;
        let is_of = |other: Case| {
            let parties = [from, to].map(|seen| other.party(seen).map(|(party, _)| party));
            let ends = [Some(other.mode.server_sees()), Some(Party::Server)];
            parties == ends || parties == [ends[1], ends[0]]
        };
        // The engine's servers have the same addresses with either kind of listening.
        let mut others = Case::all().into_iter().filter(|other| {
            !other.mode.is_packets()
                && other.listening == case.listening
                && other.protocol.carried_by(self.frame.load)
                && *other != case
        });
        !case.mode.is_packets() && self.frame.outer.is_none() && others.any(is_of)
    }

    /// Names the sighting; the error says what cannot be named.
    pub(super) fn name(&self, case: Case) -> Result<Named, String> {
        let Tap {
            segment,
            host,
            to_host,
        } = self.tap;
        let from = owner(segment, self.frame.source_mac)?;
        let to = owner(segment, self.frame.destination_mac)?;
        let end = if to_host { to } else { from };
        if end != host {
            return Err(format!("{host}'s link carries a frame from {from} to {to}"));
        }
        let outer = match self.frame.outer {
            Some(pair) => Some(parties(case, pair, from, to)?),
            None => None,
        };
        let form = Form {
            outer,
            inner: parties(case, self.frame.inner, from, to)?,
        };
        if !case.protocol.carried_by(self.frame.load) {
            return Err(format!(
                "{:?} is not the request's protocol and port",
                self.frame.load
            ));
        }
        let step = Step {
            segment,
            from: role(from)?,
            to: role(to)?,
            form,
        };
        Ok(Named { step, from, to })
    }
}

/// Names a pair of addresses. A node's or server's own address must belong to the very host that the frame comes from or goes to,
/// unless that is the router.
fn parties(
    case: Case,
    pair: (IpAddr, IpAddr),
    from: Host,
    to: Host,
) -> Result<(Party, Party), String> {
    let name = |seen: IpAddr, at: Host| match case.party(seen) {
        None => Err(format!("{seen} has no part in {}", case.mode)),
        Some((Party::Node, Some(host))) if host != at && matches!(at, Host::Node(_)) => {
            Err(format!("{seen} is {host}'s, but the frame is {at}'s"))
        }
        Some((Party::Server, Some(host))) if host != at && matches!(at, Host::Server(_)) => {
            Err(format!("{seen} is {host}'s, but the frame is {at}'s"))
        }
        Some((party, _)) => Ok(party),
    };
    Ok((name(pair.0, from)?, name(pair.1, to)?))
}

fn owner(segment: Segment, mac: super::topology::Mac) -> Result<Host, String> {
    host_of_mac(segment, mac).ok_or_else(|| format!("{mac} is nobody's on {}", segment.device()))
}

fn role(host: Host) -> Result<Role, String> {
    match host {
        Host::Client => Ok(Role::Client),
        Host::Router => Ok(Role::Router),
        Host::Node(_) => Ok(Role::Node),
        Host::Server(_) => Ok(Role::Server),
        Host::Switch | Host::Ops | Host::Controller(_) => {
            Err(format!("{host} has no part in this traffic"))
        }
    }
}
