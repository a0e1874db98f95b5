use super::Service;
use crate::AnnouncedBy;

impl Service {
    /// What has one owner is an address.
    pub(super) fn check_announcement(&self, refuse: &mut impl FnMut(&str, String)) {
        let by = self.announcement.as_ref().map(|it| &it.by);
        let Some(AnnouncedBy::Lease(_)) = by else {
            return;
        };
        if let Some(prefix) = self.vips.iter().find(|vip| !vip.is_single()) {
            refuse(
                "announce.lease",
                format!(
                    "{prefix} is a prefix, and a lease is of an address: name addresses, or write `bgp: {{}}`"
                ),
            );
        }
    }
}
