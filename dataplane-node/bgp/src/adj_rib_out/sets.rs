use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::Attributes;

/// Sets of attributes that routes share, each kept once and as long as something holds it.
#[derive(Debug, Default)]
pub(super) struct Sets {
    ids: BTreeMap<Arc<Attributes>, SetId>,
    slots: Vec<Option<Slot>>,
    free: Vec<SetId>,
}

/// A set of attributes in [`Sets`]: a route has four bytes for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SetId(NonZeroU32);

#[derive(Debug)]
struct Slot {
    attributes: Arc<Attributes>,
    holders: usize,
}

// === impl SetId ===

impl SetId {
    /// The one of the slot after so many; there are never 2^32 routes.
    fn after(slots: usize) -> Self {
        let number = u32::try_from(slots).ok().and_then(|it| it.checked_add(1));
        let number = number.and_then(NonZeroU32::new);
        Self(number.expect("fewer than 2^32 sets of attributes"))
    }

    fn slot(self) -> usize {
        self.0.get() as usize - 1
    }
}

// === impl Sets ===

impl Sets {
    /// The set's number, which the caller holds until it is released.
    pub(super) fn hold(&mut self, attributes: Arc<Attributes>) -> SetId {
        if let Some(id) = self.ids.get(&attributes).copied() {
            return self.hold_again(id);
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            SetId::after(self.slots.len() - 1)
        });
        self.ids.insert(Arc::clone(&attributes), id);
        self.slots[id.slot()] = Some(Slot {
            attributes,
            holders: 1,
        });
        id
    }

    /// Holds once more a set that is held.
    pub(super) fn hold_again(&mut self, id: SetId) -> SetId {
        if let Some(slot) = &mut self.slots[id.slot()] {
            slot.holders += 1;
        }
        id
    }

    /// Gives back what was held.
    pub(super) fn release(&mut self, id: SetId) {
        let place = &mut self.slots[id.slot()];
        let Some(slot) = place else {
            return;
        };
        slot.holders -= 1;
        if slot.holders == 0 {
            self.ids.remove(&slot.attributes);
            *place = None;
            self.free.push(id);
        }
    }

    /// The attributes of a set that is held.
    pub(super) fn attributes(&self, id: SetId) -> Option<&Arc<Attributes>> {
        self.slots[id.slot()].as_ref().map(|slot| &slot.attributes)
    }

    /// Sets that are held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}
