use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use rustbgpd_wire::attribute::{AsPath, PathAttribute};
use rustbgpd_wire::notification::update_subcode;
use rustbgpd_wire::update::ParsedUpdate;
use rustbgpd_wire::validate::{
    ErrorDisposition, UpdateError, UpdateValidationOptions, validate_update_attributes_with_options,
};
use rustbgpd_wire::{NotificationCode, UpdateMessage};

use crate::attributes::is_next_hop;
use crate::foreign::without_foreign;
use crate::{Family, Moment, Negotiated, NeighborConfig, Notification, PerFamily, Prefix};

/// A neighbor's default route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultRoute {
    /// Where it leads to.
    pub next_hop: IpAddr,
    /// The neighbor's preference, within an AS.
    pub local_preference: Option<u32>,
    /// ASs on the way.
    pub path_length: usize,
    /// The neighbor's `MULTI_EXIT_DISC`.
    pub med: Option<u32>,
}

/// A neighbor's default route has come, changed or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultRouteChange {
    /// The family of the route.
    pub family: Family,
    /// The route, if there is one now.
    pub route: Option<DefaultRoute>,
}

/// What came of a neighbor's routes (RFC 7606).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportCounts {
    /// UPDATEs that could be read.
    pub updates: u64,
    /// Of these, those with an error for which their routes were taken for withdrawn.
    pub treated_as_withdrawn: u64,
    /// Of these, those with an error for which an attribute was left out.
    pub attributes_discarded: u64,
}

/// What a neighbor announces: its default routes where they are asked for, and nothing else.
#[derive(Clone, Debug, Default)]
pub(crate) struct Imports {
    routes: PerFamily<Option<DefaultRoute>>,
    /// Routes of the session before, until the neighbor has said them again (RFC 4724 section 4.2).
    stale: PerFamily<bool>,
    stale_until: Option<Moment>,
    counts: ImportCounts,
}

/// An UPDATE's use.
struct Read {
    withdrawn: BTreeSet<Family>,
    announced: BTreeSet<Family>,
    ended: Option<Family>,
}

// === impl Imports ===

impl Imports {
    pub(crate) fn counts(&self) -> ImportCounts {
        self.counts
    }

    pub(crate) fn route(&self, family: Family) -> Option<DefaultRoute> {
        *self.routes.of(family)
    }

    /// When routes of the session before are no longer waited for.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.stale_until
    }

    /// Reads an UPDATE. The error is one that the session cannot go on with.
    pub(crate) fn update(
        &mut self,
        config: &NeighborConfig,
        negotiated: &Negotiated,
        message: &UpdateMessage,
    ) -> Result<Vec<DefaultRouteChange>, Notification> {
        let is_internal = config.is_internal();
        let known = without_foreign(&message.path_attributes, negotiated.families);
        let is_whole = known.is_none();
        let known = known.map(|path_attributes| UpdateMessage {
            path_attributes,
            ..message.clone()
        });
        let message = known.as_ref().unwrap_or(message);
        let parsed = message.parse_revised(negotiated.four_byte_as, is_internal, false, &[]);
        let parsed = parsed.map_err(|error| Notification::unreadable(None, &error))?;
        let faults = parsed.malformed.iter().map(|fault| fault.disposition);
        let invalid = validate(&parsed.update, is_internal)?;
        let worst = faults.chain(invalid).max();
        self.counts.updates += 1;
        let is_usable = match worst {
            None => true,
            Some(ErrorDisposition::AttributeDiscard) => {
                self.counts.attributes_discarded += 1;
                true
            }
            Some(ErrorDisposition::TreatAsWithdraw) => {
                self.counts.treated_as_withdrawn += 1;
                false
            }
            Some(ErrorDisposition::SessionReset) => return Err(malformed_list()),
        };
        let read = Read::of(&parsed.update);
        let mut changes = vec![];
        for family in Family::ALL {
            let announced = read.announced.contains(&family);
            if announced || read.withdrawn.contains(&family) {
                let route = (announced && is_usable)
                    .then(|| default_route(config, family, &parsed.update))
                    .flatten();
                let is_wanted = *config.spec().import_default.of(family);
                self.set(family, route.filter(|_| is_wanted), &mut changes);
            }
            // What is left of another family's message is no mark.
            if is_whole && read.ended == Some(family) {
                self.drop_stale(family, &mut changes);
            }
        }
        Ok(changes)
    }

    /// A session begins: routes that the neighbor has not kept alive meanwhile are gone.
    pub(crate) fn begin(&mut self, negotiated: &Negotiated) -> Vec<DefaultRouteChange> {
        let mut changes = vec![];
        for family in Family::ALL {
            let restart = negotiated.peer_restart;
            if !restart.is_some_and(|restart| *restart.preserved.of(family)) {
                self.drop_stale(family, &mut changes);
            }
        }
        changes
    }

    /// A session has ended. Its routes are kept if the neighbor asks for it and has not ended the session by a NOTIFICATION.
    pub(crate) fn end(
        &mut self,
        now: Moment,
        negotiated: &Negotiated,
        is_lost: bool,
    ) -> Vec<DefaultRouteChange> {
        let restart = negotiated.peer_restart.filter(|_| is_lost);
        let mut changes = vec![];
        for family in Family::ALL {
            let is_kept = restart.is_some_and(|restart| *restart.families.of(family));
            // What is stale has been so for a session that told nothing: once is enough.
            let was_stale = std::mem::take(self.stale.of_mut(family));
            if is_kept && !was_stale && self.routes.of(family).is_some() {
                *self.stale.of_mut(family) = true;
            } else {
                self.set(family, None, &mut changes);
            }
        }
        let secs = restart.map_or(0, |restart| restart.restart_time_secs);
        let is_any_stale = self.stale.families().next().is_some();
        self.stale_until = is_any_stale.then(|| now + Duration::from_secs(secs.into()));
        changes
    }

    /// Gives up what is still stale when its time is over.
    pub(crate) fn expire(&mut self, now: Moment) -> Vec<DefaultRouteChange> {
        let mut changes = vec![];
        if self.stale_until.is_some_and(|until| until <= now) {
            for family in Family::ALL {
                self.drop_stale(family, &mut changes);
            }
        }
        changes
    }

    fn drop_stale(&mut self, family: Family, changes: &mut Vec<DefaultRouteChange>) {
        if *self.stale.of(family) {
            self.set(family, None, changes);
        }
    }

    fn set(
        &mut self,
        family: Family,
        route: Option<DefaultRoute>,
        changes: &mut Vec<DefaultRouteChange>,
    ) {
        *self.stale.of_mut(family) = false;
        if self.stale.families().next().is_none() {
            self.stale_until = None;
        }
        let before = std::mem::replace(self.routes.of_mut(family), route);
        if before != route {
            changes.push(DefaultRouteChange { family, route });
        }
    }
}

// === impl Read ===

impl Read {
    fn of(update: &ParsedUpdate) -> Self {
        let mut read = Self {
            withdrawn: BTreeSet::new(),
            announced: BTreeSet::new(),
            ended: None,
        };
        let mut is_empty = update.withdrawn.is_empty() && update.announced.is_empty();
        let is_default = |prefix: rustbgpd_wire::Prefix| match prefix {
            rustbgpd_wire::Prefix::V4(prefix) => (prefix.len == 0).then_some(Family::Ipv4),
            rustbgpd_wire::Prefix::V6(prefix) => (prefix.len == 0).then_some(Family::Ipv6),
        };
        let ipv4 = |entry: &rustbgpd_wire::nlri::Ipv4NlriEntry| {
            is_default(rustbgpd_wire::Prefix::V4(entry.prefix))
        };
        read.withdrawn
            .extend(update.withdrawn.iter().filter_map(ipv4));
        read.announced
            .extend(update.announced.iter().filter_map(ipv4));
        let any = |entry: &rustbgpd_wire::NlriEntry| is_default(entry.prefix);
        for attribute in &update.attributes {
            match attribute {
                PathAttribute::MpReachNlri(mp) => {
                    is_empty = false;
                    read.announced.extend(mp.announced.iter().filter_map(any));
                }
                PathAttribute::MpUnreachNlri(mp) => {
                    read.withdrawn.extend(mp.withdrawn.iter().filter_map(any));
                    let is_end = is_empty && update.attributes.len() == 1;
                    if is_end && mp.withdrawn.is_empty() {
                        read.ended = Family::of(mp.afi, mp.safi);
                    }
                }
                _ => {}
            }
        }
        if is_empty && update.attributes.is_empty() {
            read.ended = Some(Family::Ipv4);
        }
        read
    }
}

/// Errors of attributes that each can be read (RFC 4271 section 6.3), and what RFC 7606 makes of them.
fn validate(
    update: &ParsedUpdate,
    is_internal: bool,
) -> Result<Option<ErrorDisposition>, Notification> {
    let has_mp = |attribute: &PathAttribute| matches!(attribute, PathAttribute::MpReachNlri(mp) if !mp.announced.is_empty());
    let in_body = !update.announced.is_empty();
    let announces = in_body || update.attributes.iter().any(has_mp);
    // Links without other addresses are numbered by link-local ones.
    let mut options = UpdateValidationOptions::default();
    options.allow_ipv4_link_local_mp_reach_next_hop = true;
    options.link_local_next_hop = true;
    let valid = validate_update_attributes_with_options(
        &update.attributes,
        announces,
        in_body,
        !is_internal,
        options,
    );
    let Err(error) = valid else {
        return Ok(None);
    };
    let UpdateError {
        subcode,
        data,
        disposition,
    } = error;
    // RFC 7606 has nothing to say of well-known attributes that we do not know; the codec would withdraw their routes.
    let is_unknown = subcode == update_subcode::UNRECOGNIZED_WELLKNOWN;
    if is_unknown || disposition == ErrorDisposition::SessionReset {
        let code = NotificationCode::UpdateMessage;
        return Err(Notification::new(code, subcode, data));
    }
    Ok(Some(disposition))
}

fn malformed_list() -> Notification {
    let subcode = update_subcode::MALFORMED_ATTRIBUTE_LIST;
    Notification::new(NotificationCode::UpdateMessage, subcode, vec![])
}

/// The default route of an UPDATE that announces one, unless it must not be used.
fn default_route(
    config: &NeighborConfig,
    family: Family,
    update: &ParsedUpdate,
) -> Option<DefaultRoute> {
    let mut route = DefaultRoute {
        next_hop: next_hop(family, update)?,
        local_preference: None,
        path_length: 0,
        med: None,
    };
    for attribute in &update.attributes {
        match attribute {
            PathAttribute::AsPath(path) if !is_path_usable(config, path) => return None,
            PathAttribute::AsPath(path) => route.path_length = path.len(),
            PathAttribute::Med(med) => route.med = Some(*med),
            PathAttribute::LocalPref(preference) if config.is_internal() => {
                route.local_preference = Some(*preference);
            }
            // A router of ours reflected our own route (RFC 4456 section 8).
            PathAttribute::OriginatorId(id) if *id == config.spec().router_id => return None,
            _ => {}
        }
    }
    Some(route)
}

/// Whether the route has not been through our AS (RFC 4271 section 9.1.2), and comes from the AS that announces it.
fn is_path_usable(config: &NeighborConfig, path: &AsPath) -> bool {
    let spec = config.spec();
    let is_loop = path.contains_asn(spec.local_as);
    let needs_first = spec.enforce_first_as && !config.is_internal();
    let first = path.asns().next();
    !is_loop && (!needs_first || first == Some(spec.peer_as))
}

fn next_hop(family: Family, update: &ParsedUpdate) -> Option<IpAddr> {
    let default = Prefix::new(unspecified(family), 0)?.to_wire();
    let is_default = |entry: &rustbgpd_wire::NlriEntry| entry.prefix == default;
    let of_mp = update.attributes.iter().find_map(|attribute| {
        let PathAttribute::MpReachNlri(mp) = attribute else {
            return None;
        };
        let next_hop = mp.link_local_next_hop.map_or(mp.next_hop, IpAddr::V6);
        mp.announced.iter().any(is_default).then_some(next_hop)
    });
    let of_body = update.attributes.iter().find_map(|attribute| {
        let PathAttribute::NextHop(next_hop) = attribute else {
            return None;
        };
        Some(IpAddr::V4(*next_hop))
    });
    let in_body = of_body.filter(|_| family == Family::Ipv4);
    of_mp.or(in_body).filter(|address| is_next_hop(*address))
}

fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => std::net::Ipv4Addr::UNSPECIFIED.into(),
        Family::Ipv6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests;
