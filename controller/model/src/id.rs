use std::{collections::BTreeSet, fmt};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A service's id, below [`lbfabric_abi::SERVICES_MAX`].
    ServiceId
}
id! {
    /// A pool's id, below [`lbfabric_abi::POOLS_MAX`].
    PoolId
}
id! {
    /// A certificate's id, below [`CERTIFICATES_MAX`](crate::CERTIFICATES_MAX).
    CertificateId
}
id! {
    /// A server's id, unique in the fabric, below [`lbfabric_abi::BACKENDS_MAX`].
    BackendId
}

/// Hands out ids below a limit, each as late as possible after its last use, so that what a node still holds of an old
/// owner has long gone when an id comes back.
#[derive(Clone, Debug)]
pub(crate) struct IdAllocator {
    limit: u32,
    next: u32,
    used: BTreeSet<u32>,
}

impl IdAllocator {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            limit,
            next: 0,
            used: BTreeSet::new(),
        }
    }

    /// Continues with the ids in use and the next one to try.
    pub(crate) fn restore(limit: u32, next: u32, used: impl IntoIterator<Item = u32>) -> Self {
        Self {
            limit,
            next: next % limit,
            used: used.into_iter().collect(),
        }
    }

    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// A free id, or `None` when all are in use.
    pub(crate) fn allocate(&mut self) -> Option<u32> {
        if self.used.len() >= self.limit as usize {
            return None;
        }
        let mut id = self.next;
        while !self.used.insert(id) {
            id = (id + 1) % self.limit;
        }
        self.next = (id + 1) % self.limit;
        Some(id)
    }

    pub(crate) fn release(&mut self, id: u32) {
        self.used.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_back_last() {
        let mut ids = IdAllocator::new(3);
        assert_eq!([ids.allocate(), ids.allocate()], [Some(0), Some(1)]);
        ids.release(0);
        assert_eq!(ids.allocate(), Some(2));
        assert_eq!(ids.allocate(), Some(0));
        assert_eq!(ids.allocate(), None);
        ids.release(1);
        assert_eq!(ids.allocate(), Some(1));
    }
}
