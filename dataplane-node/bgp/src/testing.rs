//! Values that tests of several modules begin with.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use rustbgpd_wire::attribute::PathAttribute;
use rustbgpd_wire::{
    Capability, MAX_MESSAGE_LEN, Message, OpenMessage, RouteRefreshSubtype, Safi, UpdateMessage,
    decode_message,
};

use crate::adj_rib_out::Told;
use crate::config::{NeighborConfig, NeighborSpec, NextHops};
use crate::framing::encode;
use crate::{Family, PerFamily, Prefix};

pub(crate) const LOCAL_AS: u32 = 65_010;
pub(crate) const PEER_AS: u32 = 65_020;

/// An external neighbor with both families.
pub(crate) fn spec() -> NeighborSpec {
    NeighborSpec {
        local_as: LOCAL_AS,
        router_id: Ipv4Addr::new(192, 0, 2, 1),
        peer_as: PEER_AS,
        is_passive: false,
        hold_time_secs: 90,
        families: PerFamily::from_each(|_| true),
        next_hops: NextHops {
            ipv4: Some(Ipv4Addr::new(192, 0, 2, 1)),
            ipv6: "2001:db8::1".parse().ok(),
            link_local: None,
        },
        extended_next_hop: false,
        graceful_restart: None,
        import_default: PerFamily::default(),
        enforce_first_as: true,
    }
}

pub(crate) fn config() -> NeighborConfig {
    spec().try_into().expect("these settings are valid")
}

/// What the neighbor of [`spec`] opens with.
pub(crate) fn peer_open() -> OpenMessage {
    let mut capabilities: Vec<Capability> = Family::ALL
        .into_iter()
        .map(|family| Capability::MultiProtocol {
            afi: family.afi(),
            safi: Safi::Unicast,
        })
        .collect();
    capabilities.extend([
        Capability::RouteRefresh,
        Capability::FourOctetAs { asn: PEER_AS },
    ]);
    OpenMessage {
        version: 4,
        my_as: 65_020,
        hold_time: 90,
        bgp_identifier: Ipv4Addr::new(192, 0, 2, 2),
        capabilities,
    }
}

/// A neighbor's view of what it is told.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    pub(crate) routes: BTreeMap<Prefix, Arc<[PathAttribute]>>,
    /// What came, message by message.
    pub(crate) log: Vec<String>,
    /// Families whose answer to a request has begun.
    pub(crate) refreshing: BTreeSet<Family>,
    pub(crate) was_drained: bool,
    /// Knows AS numbers of two bytes alone.
    pub(crate) is_old: bool,
}

impl Peer {
    pub(crate) fn take(&mut self, told: &Told) {
        match told {
            Told::Refresh(family, subtype) => {
                if *subtype == RouteRefreshSubtype::BoRR {
                    self.refreshing.insert(*family);
                } else {
                    assert!(self.refreshing.remove(family), "an end without a begin");
                }
                self.log.push(format!("{subtype:?} {family:?}"));
            }
            Told::Update(update) => {
                let bytes = encode(&Message::Update(update.to_message()));
                let read = decode_message(&mut bytes.freeze(), MAX_MESSAGE_LEN);
                let Ok(Message::Update(message)) = read else {
                    panic!("our own UPDATE comes back as {read:?}");
                };
                self.update(&message);
            }
        }
    }

    pub(crate) fn update(&mut self, message: &UpdateMessage) {
        let parsed = message
            .parse_revised(!self.is_old, false, false, &[])
            .expect("our own UPDATE can be read");
        assert_eq!(parsed.malformed, []);
        let update = parsed.update;
        let mut gone: Vec<_> = update.withdrawn.iter().map(|it| v4(it.prefix)).collect();
        let mut come: Vec<_> = update.announced.iter().map(|it| v4(it.prefix)).collect();
        let mut end = update.attributes.is_empty().then_some(Family::Ipv4);
        for attribute in &update.attributes {
            match attribute {
                PathAttribute::MpReachNlri(mp) => {
                    come.extend(mp.announced.iter().map(|it| any(it.prefix)));
                }
                PathAttribute::MpUnreachNlri(mp) => {
                    gone.extend(mp.withdrawn.iter().map(|it| any(it.prefix)));
                    end = Family::of(mp.afi, mp.safi);
                }
                _ => {}
            }
        }
        if let Some(family) = end.filter(|_| gone.is_empty() && come.is_empty()) {
            self.log.push(format!("end of {family:?}"));
            return;
        }
        self.log.push("update".to_owned());
        for prefix in gone {
            let known = self.routes.remove(&prefix);
            assert!(known.is_some(), "{prefix} was not known");
        }
        let attributes: Arc<[PathAttribute]> = update.attributes.into();
        for prefix in come {
            self.routes.insert(prefix, Arc::clone(&attributes));
        }
    }

    pub(crate) fn meds(&self) -> BTreeMap<Prefix, u32> {
        let med = |attributes: &[PathAttribute]| {
            attributes.iter().find_map(|it| match it {
                PathAttribute::Med(med) => Some(*med),
                _ => None,
            })
        };
        let routes = self.routes.iter();
        routes
            .filter_map(|(prefix, attributes)| Some((*prefix, med(attributes)?)))
            .collect()
    }
}

fn v4(prefix: rustbgpd_wire::Ipv4Prefix) -> Prefix {
    Prefix::new(prefix.addr.into(), prefix.len).expect("the codec reads prefixes alone")
}

fn any(prefix: rustbgpd_wire::Prefix) -> Prefix {
    match prefix {
        rustbgpd_wire::Prefix::V4(prefix) => v4(prefix),
        rustbgpd_wire::Prefix::V6(prefix) => {
            Prefix::new(prefix.addr.into(), prefix.len).expect("the codec reads prefixes alone")
        }
    }
}
