use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use xxhash_rust::xxh3::xxh3_64;

use crate::Name;

/// What decides where VIPs are served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PlacementRules {
    /// The nodes.
    pub nodes: BTreeMap<Name, NodePlace>,
    /// The VIPs that have one owner.
    pub vips: BTreeMap<IpAddr, VipPlace>,
}

/// What a node brings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodePlace {
    /// Its share of the VIPs; with 0 it gets none.
    pub weight: u16,
    /// What VIPs choose by.
    pub labels: BTreeMap<String, String>,
    /// Whether it is to be emptied.
    pub drained: bool,
}

/// What a VIP wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct VipPlace {
    /// The labels that a node has to have.
    pub only: BTreeMap<String, String>,
    /// The node that it is pinned to, as long as that lives and is not drained.
    pub pin: Option<Name>,
    /// VIPs of one group keep apart.
    pub spread: Option<Spread>,
    /// Whether it is to be served nowhere.
    pub drained: bool,
}

/// The nodes that may get VIPs now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Candidates {
    /// All that live.
    pub live: BTreeSet<Name>,
    /// Those that have lived for a while.
    pub steady: BTreeSet<Name>,
    /// Of those that live: who cannot serve which VIP.
    pub unfit: BTreeSet<(IpAddr, Name)>,
    /// As `unfit`, with those of whom it was so a while ago.
    pub lately_unfit: BTreeSet<(IpAddr, Name)>,
}

/// VIPs that keep apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spread {
    /// Their name.
    pub group: String,
    /// The label whose values they are spread over. Nodes without it, or all nodes if it is empty, are by themselves.
    pub over: String,
}

// === impl PlacementRules ===

impl PlacementRules {
    /// The nodes that a VIP could ever be given to when this one owns it. Who is drained may come back.
    pub fn peers(&self, vip: IpAddr, owner: &Name) -> BTreeSet<Name> {
        let place = self.vips.get(&vip);
        let fitting = self
            .nodes
            .iter()
            .filter(|(name, node)| *name != owner && place.is_some_and(|place| place.fits(node)));
        fitting.map(|(name, _)| name.clone()).collect()
    }

    /// Whether somebody is to serve a VIP.
    pub fn has(&self, vip: IpAddr) -> bool {
        self.vips.get(&vip).is_some_and(|it| !it.drained)
    }

    fn may_serve(&self, place: &VipPlace, name: &Name) -> bool {
        self.nodes
            .get(name)
            .is_some_and(|node| !node.drained && node.weight > 0 && place.fits(node))
    }

    fn domain<'a>(&'a self, spread: &Spread, name: &'a Name) -> &'a str {
        let node = self.nodes.get(name);
        let label = node.and_then(|it| it.labels.get(&spread.over));
        label.map_or(name.as_str(), String::as_str)
    }
}

// === impl VipPlace ===

impl VipPlace {
    fn fits(&self, node: &NodePlace) -> bool {
        self.only
            .iter()
            .all(|(key, value)| node.labels.get(key) == Some(value))
    }
}

/// Where each VIP should be served.
///
/// A VIP goes to its pin. Without, it goes home: to the node with the highest score. Scores are of VIP and node alone (weighted rendezvous), so a
/// node that is lost, drained or new moves its own VIPs and no others. Of the VIPs of a group each goes to one of the least crowded domains, and
/// stays there until another has two less. No VIP leaves an owner that does its part for a node that has not lived, or been able to serve it, for a while.
/// Where no node can serve a VIP, all of them count as if they could.
pub fn place(
    rules: &PlacementRules,
    current: &BTreeMap<IpAddr, Name>,
    candidates: &Candidates,
) -> BTreeMap<IpAddr, Name> {
    let mut kept = Placing::new(rules, candidates);
    for (vip, place) in &rules.vips {
        let owner = current.get(vip);
        if let Some(owner) = owner.and_then(|it| kept.able(*vip, place, it))
            && !place.drained
            && kept.pin(*vip, place).is_none_or(|pin| pin == owner)
        {
            kept.put(*vip, place, owner);
        }
    }
    for (vip, place) in &rules.vips {
        if kept.placed.contains_key(vip) && kept.pin(*vip, place).is_none() {
            kept.let_go(*vip, place);
        }
    }
    kept.place_others()
}

/// Places one VIP after the other.
struct Placing<'a> {
    rules: &'a PlacementRules,
    candidates: &'a Candidates,
    placed: BTreeMap<IpAddr, Name>,
    /// VIPs by group and domain.
    crowd: BTreeMap<(&'a str, &'a str), usize>,
}

// === impl Placing ===

impl<'a> Placing<'a> {
    fn new(rules: &'a PlacementRules, candidates: &'a Candidates) -> Self {
        Self {
            rules,
            candidates,
            placed: BTreeMap::new(),
            crowd: BTreeMap::new(),
        }
    }

    /// The node, if it can have a VIP.
    fn able(&self, vip: IpAddr, place: &VipPlace, name: &Name) -> Option<&'a Name> {
        let (name, _) = self.rules.nodes.get_key_value(name)?;
        let is_able = self.may_have(place, name)
            && (self.is_fit(vip, name) || self.is_nobody_fit(vip, place));
        is_able.then_some(name)
    }

    fn may_have(&self, place: &VipPlace, name: &Name) -> bool {
        self.candidates.live.contains(name) && self.rules.may_serve(place, name)
    }

    fn is_fit(&self, vip: IpAddr, name: &Name) -> bool {
        // Nearly always there is nothing in it.
        let unfit = &self.candidates.unfit;
        unfit.is_empty() || !unfit.contains(&(vip, name.clone()))
    }

    fn is_nobody_fit(&self, vip: IpAddr, place: &VipPlace) -> bool {
        let mut nodes = self.rules.nodes.keys();
        nodes.all(|name| !self.may_have(place, name) || !self.is_fit(vip, name))
    }

    fn pin(&self, vip: IpAddr, place: &VipPlace) -> Option<&'a Name> {
        let pin = place.pin.as_ref();
        pin.and_then(|pin| self.able(vip, place, pin))
    }

    /// Takes a VIP's place back if there is a better one on a node that could have served it for a while.
    fn let_go(&mut self, vip: IpAddr, place: &'a VipPlace) {
        let Some(owner) = self.placed.get(&vip).cloned() else {
            return;
        };
        let Some(home) = self.best(vip, place) else {
            return;
        };
        let is_better = match place.spread {
            Some(_) => self.crowding(place, home) + 2 <= self.crowding(place, &owner),
            None => *home != owner,
        };
        let Candidates {
            steady,
            lately_unfit,
            ..
        } = self.candidates;
        if is_better && steady.contains(home) && !lately_unfit.contains(&(vip, home.clone())) {
            self.placed.remove(&vip);
            if let Some(crowd) = self.crowd_of(place, &owner) {
                *crowd -= 1;
            }
        }
    }

    /// Pinned ones first.
    fn place_others(mut self) -> BTreeMap<IpAddr, Name> {
        let homeless = |it: &Self| -> Vec<_> {
            let vips = it.rules.vips.iter();
            vips.filter(|(vip, place)| !place.drained && !it.placed.contains_key(*vip))
                .collect()
        };
        for (vip, place) in homeless(&self) {
            if let Some(pin) = self.pin(*vip, place) {
                self.put(*vip, place, pin);
            }
        }
        for (vip, place) in homeless(&self) {
            if let Some(best) = self.best(*vip, place) {
                self.put(*vip, place, best);
            }
        }
        self.placed
    }

    fn best(&self, vip: IpAddr, place: &VipPlace) -> Option<&'a Name> {
        let nodes = self.rules.nodes.iter();
        let able = nodes.filter(|(name, _)| self.able(vip, place, name).is_some());
        let best = able.min_by_key(|(name, node)| {
            let score = Reverse(score(vip, name, node.weight));
            (self.crowding(place, name), score, *name)
        });
        best.map(|(name, _)| name)
    }

    fn crowding(&self, place: &VipPlace, name: &Name) -> usize {
        let Some(spread) = &place.spread else {
            return 0;
        };
        let domain = self.rules.domain(spread, name);
        let crowd = self.crowd.get(&(spread.group.as_str(), domain));
        crowd.copied().unwrap_or_default()
    }

    fn put(&mut self, vip: IpAddr, place: &'a VipPlace, name: &'a Name) {
        if let Some(crowd) = self.crowd_of(place, name) {
            *crowd += 1;
        }
        self.placed.insert(vip, name.clone());
    }

    fn crowd_of(&mut self, place: &'a VipPlace, name: &Name) -> Option<&mut usize> {
        let spread = place.spread.as_ref()?;
        let (name, _) = self.rules.nodes.get_key_value(name)?;
        let domain = self.rules.domain(spread, name);
        let of = (spread.group.as_str(), domain);
        Some(self.crowd.entry(of).or_default())
    }
}

/// The weight by an exponentially distributed number: the highest score of several nodes is each one's as often as its weight says.
fn score(vip: IpAddr, name: &Name, weight: u16) -> u128 {
    let mut key = match vip {
        IpAddr::V4(it) => it.octets().to_vec(),
        IpAddr::V6(it) => it.octets().to_vec(),
    };
    key.extend_from_slice(name.as_str().as_bytes());
    (u128::from(weight) << 64) / u128::from(minus_log2(xxh3_64(&key)))
}

/// `-log2(hash / 2^64)` with 32 bits behind the point, at least 1; in integers, so that all controllers agree.
fn minus_log2(hash: u64) -> u64 {
    const FRACTION_BITS: u32 = 32;
    let hash = hash.max(1);
    let whole = u64::from(hash.leading_zeros());
    // From 1 to 2, with 63 bits behind the point.
    let mut rest = hash << hash.leading_zeros();
    let mut fraction = 0;
    for _ in 0..FRACTION_BITS {
        let square = u128::from(rest) * u128::from(rest);
        fraction <<= 1;
        let is_two = square >> 127 == 1;
        fraction |= u64::from(is_two);
        let shift = if is_two { 64 } else { 63 };
        rest = u64::try_from(square >> shift).expect("the square of a number below 2 is below 4");
    }
    (((whole + 1) << FRACTION_BITS) - fraction).max(1)
}

#[cfg(test)]
mod proptests;
