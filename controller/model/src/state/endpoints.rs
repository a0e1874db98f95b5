use std::collections::HashMap;

use crate::{Name, PortRange, Prefix, Protocol, wire_enum::WireEnum as _};

/// Which services claim which ports of which VIPs.
#[derive(Default)]
pub(super) struct Endpoints<'a>(HashMap<(Prefix, Protocol), Vec<Claim<'a>>>);

struct Claim<'a> {
    range: PortRange,
    path: Option<&'a str>,
    service: &'a Name,
    vip_index: usize,
}

impl<'a> Endpoints<'a> {
    /// Adds the claim of a service, with its path if it is in the document.
    pub(super) fn add(
        &mut self,
        vip: Prefix,
        protocol: Protocol,
        range: PortRange,
        path: Option<&'a str>,
        service: &'a Name,
        vip_index: usize,
    ) {
        let claim = Claim {
            range,
            path,
            service,
            vip_index,
        };
        self.0.entry((vip, protocol)).or_default().push(claim);
    }

    /// Each overlap of two services' claims: the path of one that is in the document, its VIP's index, and what overlaps.
    pub(super) fn overlaps(self) -> Vec<(String, usize, String)> {
        let mut overlaps = Vec::new();
        for ((vip, protocol), mut claims) in self.0 {
            claims.sort_by_key(|claim| claim.range);
            // The claim that reaches furthest so far: any claim that begins before its end overlaps it.
            let mut furthest: Option<&Claim<'_>> = None;
            for claim in &claims {
                if let Some(other) = furthest
                    && other.range.overlaps(claim.range)
                    && other.service != claim.service
                {
                    let (at, with) = if claim.path.is_some() {
                        (claim, other)
                    } else {
                        (other, claim)
                    };
                    if let Some(path) = at.path {
                        let what = describe(vip, protocol, with.range);
                        let message =
                            format!("{what} belongs to service `{}` already", with.service);
                        overlaps.push((path.to_owned(), at.vip_index, message));
                    }
                }
                if furthest.is_none_or(|f| claim.range.last > f.range.last) {
                    furthest = Some(claim);
                }
            }
        }
        overlaps.sort();
        overlaps
    }
}

fn describe(vip: Prefix, protocol: Protocol, range: PortRange) -> String {
    match protocol {
        Protocol::Any => format!("{vip} with protocol `any`"),
        Protocol::Tcp | Protocol::Udp => format!("{vip} port {range} ({})", protocol.name()),
    }
}
