use crate::{Name, PortRange, Prefix, Protocol, wire_enum::WireEnum as _};

/// Which services claim which ports of which VIPs.
#[derive(Default)]
pub(super) struct Endpoints<'a>(Vec<Claim<'a>>);

struct Claim<'a> {
    vip: Prefix,
    protocol: Protocol,
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
        self.0.push(Claim {
            vip,
            protocol,
            range,
            path,
            service,
            vip_index,
        });
    }

    /// Each overlap of two services' claims: the path of one that is in the document, its VIP's index, and what overlaps.
    pub(super) fn overlaps(self) -> Vec<(String, usize, String)> {
        let mut overlaps = Vec::new();
        let mut claims = self.0;
        claims.sort_by_key(|it| (it.vip, it.protocol, it.range));
        for claims in claims.chunk_by(|a, b| (a.vip, a.protocol) == (b.vip, b.protocol)) {
            // The claim that reaches furthest so far: any claim that begins before its end overlaps it.
            let mut furthest: Option<&Claim<'_>> = None;
            for claim in claims {
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
                        let what = describe(with.vip, with.protocol, with.range);
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
