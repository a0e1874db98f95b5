use rustbgpd_wire::{Afi, Safi};

/// An address family of unicast routes (RFC 4760 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// AFI 1, SAFI 1.
    Ipv4,
    /// AFI 2, SAFI 1.
    Ipv6,
}

/// Something for each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerFamily<T> {
    /// For IPv4.
    pub ipv4: T,
    /// For IPv6.
    pub ipv6: T,
}

// === impl Family ===

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    pub(crate) fn afi(self) -> Afi {
        match self {
            Self::Ipv4 => Afi::Ipv4,
            Self::Ipv6 => Afi::Ipv6,
        }
    }

    /// The family of these numbers, if they are of one.
    pub(crate) fn of(afi: Afi, safi: Safi) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|family| family.afi() == afi && safi == Safi::Unicast)
    }
}

// === impl PerFamily ===

impl<T> PerFamily<T> {
    /// What is made of each family.
    pub fn from_each(mut make: impl FnMut(Family) -> T) -> Self {
        Self {
            ipv4: make(Family::Ipv4),
            ipv6: make(Family::Ipv6),
        }
    }

    /// What there is for the family.
    pub fn of(&self, family: Family) -> &T {
        match family {
            Family::Ipv4 => &self.ipv4,
            Family::Ipv6 => &self.ipv6,
        }
    }

    /// What there is for the family, to be changed.
    pub fn of_mut(&mut self, family: Family) -> &mut T {
        match family {
            Family::Ipv4 => &mut self.ipv4,
            Family::Ipv6 => &mut self.ipv6,
        }
    }
}

impl PerFamily<bool> {
    /// The families for which it holds.
    pub fn families(self) -> impl Iterator<Item = Family> {
        Family::ALL
            .into_iter()
            .filter(move |family| *self.of(*family))
    }
}
