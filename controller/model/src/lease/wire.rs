//! What nodes and controllers say to each other, on the wire.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use lbfabric_proto::{internal::v1 as internal, v1};

use super::{
    Epoch, Grant, Granted, LeaderView, LeaseRequest, Moment, NodeView, Ordinal, Release, Unfit,
    VipView, WitnessReport,
    stored::{address, names},
};
use crate::{Name, Violation, vip::address_to_bytes};

// === impl LeaseRequest ===

impl LeaseRequest {
    /// The request of a node that has said who it is.
    pub fn from_proto(node: Name, proto: &v1::LeaseRequest) -> Result<Self, Violation> {
        let ready = proto.ready.iter().map(|it| address(it, "request.ready"));
        let unfit = proto.unfit.iter().map(|it| {
            let vip = address(&it.vip, "request.unfit.vip")?;
            Ok((vip, Unfit::from_proto(it.reason())))
        });
        Ok(Self {
            node,
            session: proto.session,
            sent: Moment::from_nanos(proto.sent_nanos),
            holds: Epoch(proto.holds),
            released: releases(&proto.released, "request.released")?,
            ready: ready.collect::<Result<_, _>>()?,
            unfit: Arc::new(unfit.collect::<Result<_, Violation>>()?),
        })
    }

    /// Without the node's name, which the stream's first message has told.
    pub fn to_proto(&self) -> v1::LeaseRequest {
        let Self {
            node: _,
            session,
            sent,
            holds,
            released,
            ready,
            unfit,
        } = self;
        let unfit = unfit.iter().map(|(vip, reason)| v1::UnfitVip {
            vip: address_to_bytes(*vip),
            reason: reason.to_proto().into(),
        });
        v1::LeaseRequest {
            session: *session,
            sent_nanos: sent.as_nanos(),
            holds: holds.0,
            released: releases_to_proto(released),
            ready: ready.iter().copied().map(address_to_bytes).collect(),
            unfit: unfit.collect(),
        }
    }
}

// === impl Unfit ===

impl Unfit {
    const fn from_proto(proto: v1::UnfitReason) -> Self {
        match proto {
            v1::UnfitReason::Unspecified => Self::Other,
            v1::UnfitReason::Refused => Self::Refused,
            v1::UnfitReason::FewServers => Self::FewServers,
        }
    }

    const fn to_proto(self) -> v1::UnfitReason {
        match self {
            Self::Other => v1::UnfitReason::Unspecified,
            Self::Refused => v1::UnfitReason::Refused,
            Self::FewServers => v1::UnfitReason::FewServers,
        }
    }
}

// === impl Grant ===

impl TryFrom<v1::LeaseGrant> for Grant {
    type Error = Violation;

    fn try_from(proto: v1::LeaseGrant) -> Result<Self, Violation> {
        let warm = proto.warm.iter().map(|it| address(it, "grant.warm"));
        Ok(Self {
            ordinal: Ordinal {
                term: proto.term,
                number: proto.number,
            },
            session: proto.session,
            sent: Moment::from_nanos(proto.sent_nanos),
            valid: Duration::from_nanos(proto.valid_nanos),
            version: Epoch(proto.version),
            vips: proto.vips.map(Granted::try_from).transpose()?,
            controllers: proto.controllers.into_iter().collect(),
            release: releases(&proto.release, "grant.release")?,
            warm: warm.collect::<Result<_, _>>()?,
        })
    }
}

impl From<&Grant> for v1::LeaseGrant {
    fn from(grant: &Grant) -> Self {
        let Grant {
            ordinal,
            session,
            sent,
            valid,
            version,
            vips,
            controllers,
            release,
            warm,
        } = grant;
        Self {
            term: ordinal.term,
            number: ordinal.number,
            session: *session,
            sent_nanos: sent.as_nanos(),
            valid_nanos: nanos(*valid),
            version: version.0,
            vips: vips.as_ref().map(Into::into),
            controllers: controllers.iter().copied().collect(),
            release: releases_to_proto(release),
            warm: warm.iter().copied().map(address_to_bytes).collect(),
        }
    }
}

// === impl Granted ===

impl TryFrom<v1::GrantedVips> for Granted {
    type Error = Violation;

    fn try_from(proto: v1::GrantedVips) -> Result<Self, Violation> {
        let vips = proto.vips.into_iter().map(|it| {
            let vip = address(&it.vip, "grant.vips.vip")?;
            Ok((vip, Epoch(it.epoch)))
        });
        Ok(Self {
            vips: vips.collect::<Result<_, Violation>>()?,
            peers: names(&proto.peers, "grant.vips.peers")?,
        })
    }
}

impl From<&Granted> for v1::GrantedVips {
    fn from(granted: &Granted) -> Self {
        let Granted { vips, peers } = granted;
        let vips = vips.iter().map(|(vip, epoch)| v1::GrantedVip {
            vip: address_to_bytes(*vip),
            epoch: epoch.0,
        });
        Self {
            vips: vips.collect(),
            peers: peers.iter().map(Name::to_string).collect(),
        }
    }
}

// === impl WitnessReport ===

impl WitnessReport {
    /// The report of a member that follows; `None` from one that does not.
    pub fn from_proto(proto: &internal::WitnessAnswer) -> Result<Option<Self>, Violation> {
        if !proto.follows {
            return Ok(None);
        }
        let told = proto.told.iter().map(|it| {
            let node = Name::parse(&it.node, "told.node")?;
            Ok((node, Duration::from_nanos(it.ago_nanos)))
        });
        Ok(Some(Self {
            up_for: Duration::from_nanos(proto.up_for_nanos),
            told: told.collect::<Result<_, Violation>>()?,
        }))
    }

    /// The answer to a question of this round by a member that follows.
    pub fn to_proto(&self, round: u64) -> internal::WitnessAnswer {
        let Self { up_for, told } = self;
        let told = told.iter().map(|(node, ago)| internal::ToldNode {
            node: node.to_string(),
            ago_nanos: nanos(*ago),
        });
        internal::WitnessAnswer {
            round,
            follows: true,
            up_for_nanos: nanos(*up_for),
            told: told.collect(),
        }
    }
}

// === impl LeaderView ===

impl LeaderView {
    /// The view of a member that leads; `None` from one that does not.
    pub fn from_proto(proto: internal::VipStatesResponse) -> Result<Option<Self>, Violation> {
        if !proto.leads {
            return Ok(None);
        }
        let vips = proto.vips.into_iter().map(|it| {
            let wanted = (!it.wanted.is_empty()).then(|| Name::parse(&it.wanted, "vips.wanted"));
            let unfit = it.unfit.iter().map(|it| {
                let name = Name::parse(&it.node, "vips.unfit.node")?;
                Ok((name, Unfit::from_proto(it.reason())))
            });
            let view = VipView {
                wanted: wanted.transpose()?,
                is_answered: it.answered,
                is_moving: it.moving,
                unfit: unfit.collect::<Result<_, Violation>>()?,
            };
            Ok((address(&it.vip, "vips.vip")?, view))
        });
        let nodes = proto.nodes.into_iter().map(|it| {
            let view = NodeView {
                is_live: it.live,
                is_steady: it.steady,
            };
            Ok((Name::parse(&it.name, "nodes.name")?, view))
        });
        Ok(Some(Self {
            vips: vips.collect::<Result<_, Violation>>()?,
            nodes: nodes.collect::<Result<_, Violation>>()?,
        }))
    }

    /// As a member says it that leads.
    pub fn to_proto(&self) -> internal::VipStatesResponse {
        let vips = self.vips.iter().map(|(vip, it)| internal::LedVip {
            vip: address_to_bytes(*vip),
            wanted: it.wanted.as_ref().map(Name::to_string).unwrap_or_default(),
            answered: it.is_answered,
            moving: it.is_moving,
            unfit: it.unfit.iter().map(unfit_to_proto).collect(),
        });
        let nodes = self.nodes.iter().map(|(name, it)| internal::LedNode {
            name: name.to_string(),
            live: it.is_live,
            steady: it.is_steady,
        });
        internal::VipStatesResponse {
            leads: true,
            vips: vips.collect(),
            nodes: nodes.collect(),
        }
    }
}

fn unfit_to_proto((node, reason): (&Name, &Unfit)) -> internal::LedUnfit {
    internal::LedUnfit {
        node: node.to_string(),
        reason: reason.to_proto().into(),
    }
}

fn releases(proto: &[v1::VipRelease], path: &str) -> Result<BTreeMap<IpAddr, Release>, Violation> {
    let releases = proto.iter().map(|it| {
        let release = Release {
            epoch: Epoch(it.epoch),
            asked: Ordinal {
                term: it.asked_term,
                number: it.asked_number,
            },
        };
        Ok((address(&it.vip, path)?, release))
    });
    releases.collect()
}

fn releases_to_proto(releases: &BTreeMap<IpAddr, Release>) -> Vec<v1::VipRelease> {
    let releases = releases.iter().map(|(vip, it)| v1::VipRelease {
        vip: address_to_bytes(*vip),
        epoch: it.epoch.0,
        asked_term: it.asked.term,
        asked_number: it.asked.number,
    });
    releases.collect()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text, "name").unwrap()
    }

    fn vips() -> [IpAddr; 2] {
        ["192.0.2.1", "2001:db8::1"].map(|it| it.parse().unwrap())
    }

    fn released() -> BTreeMap<IpAddr, Release> {
        let asked = Ordinal { term: 3, number: 4 };
        let release = |epoch| Release {
            epoch: Epoch(epoch),
            asked,
        };
        (1..)
            .map(release)
            .zip(vips())
            .map(|(r, v)| (v, r))
            .collect()
    }

    #[test]
    fn messages_come_as_they_were_sent() {
        let request = LeaseRequest {
            node: name("n1"),
            session: 7,
            sent: Moment::from_nanos(8),
            holds: Epoch(9),
            released: released(),
            ready: BTreeSet::from(vips()),
            unfit: Arc::new(
                vips()
                    .into_iter()
                    .zip([Unfit::Refused, Unfit::FewServers])
                    .collect(),
            ),
        };
        let came = LeaseRequest::from_proto(name("n1"), &request.to_proto());
        assert_eq!(came, Ok(request));
        let granted = Granted {
            vips: vips().into_iter().zip([Epoch(5), Epoch(6)]).collect(),
            peers: BTreeSet::from([name("n2"), name("n3")]),
        };
        for vips in [
            None,
            Some(granted),
            Some(Granted {
                vips: BTreeMap::new(),
                peers: BTreeSet::new(),
            }),
        ] {
            let grant = Grant {
                ordinal: Ordinal { term: 1, number: 2 },
                session: 7,
                sent: Moment::from_nanos(8),
                valid: Duration::from_millis(120),
                version: Epoch(11),
                vips,
                controllers: BTreeSet::from([1, 2, 3]),
                release: released(),
                warm: BTreeSet::from(self::vips()),
            };
            assert_eq!(Grant::try_from(v1::LeaseGrant::from(&grant)), Ok(grant));
        }
        let report = WitnessReport {
            up_for: Duration::from_secs(1),
            told: BTreeMap::from([(name("n1"), Duration::from_millis(5))]),
        };
        let answer = report.to_proto(3);
        assert_eq!(answer.round, 3);
        assert_eq!(WitnessReport::from_proto(&answer), Ok(Some(report)));
        let seen = VipView {
            wanted: Some(name("n1")),
            is_answered: true,
            is_moving: true,
            unfit: BTreeMap::from([(name("n2"), Unfit::FewServers)]),
        };
        let view = LeaderView {
            vips: self::vips()
                .into_iter()
                .zip([seen, VipView::default()])
                .collect(),
            nodes: BTreeMap::from([(
                name("n1"),
                NodeView {
                    is_live: true,
                    is_steady: true,
                },
            )]),
        };
        assert_eq!(LeaderView::from_proto(view.to_proto()), Ok(Some(view)));
        let elsewhere = internal::WitnessAnswer::default();
        assert_eq!(WitnessReport::from_proto(&elsewhere), Ok(None));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let request = v1::LeaseRequest {
            ready: vec![vec![1, 2, 3]],
            ..v1::LeaseRequest::default()
        };
        let refused = LeaseRequest::from_proto(name("n1"), &request).unwrap_err();
        assert_eq!(refused.path, "request.ready");
    }
}
