use lbfabric_proto::v1;

use super::DecodeSnapshotError::{self, Field};
use crate::{Announcement, Labels};

pub(super) fn decode_labels(labels: &[String]) -> Result<Labels, DecodeSnapshotError> {
    let mut violations = Vec::new();
    let labels = Labels::parse(labels, "settings.labels", &mut violations);
    let is_valid = violations.is_empty();
    is_valid.then_some(labels).ok_or(Field("settings.labels"))
}

pub(super) fn decode_announcement(
    spec: Option<&v1::AnnouncementSpec>,
) -> Result<Option<Announcement>, DecodeSnapshotError> {
    let parsed = spec.map(|spec| {
        let parsed = Announcement::parse(spec, "service.announce", &mut Vec::new());
        parsed.ok_or(Field("service.announce"))
    });
    parsed.transpose()
}
