use lbfabric_proto::v1;

use super::DecodeSnapshotError::{self, Field};
use crate::{Announcement, Bgp, Labels, Violation};

pub(super) fn decode_labels(labels: &[String]) -> Result<Labels, DecodeSnapshotError> {
    let mut violations = Vec::new();
    let labels = Labels::parse(labels, "settings.labels", &mut violations);
    let is_valid = violations.is_empty();
    is_valid.then_some(labels).ok_or(Field("settings.labels"))
}

/// What a later version wrote does not keep this one from everything else that the settings say.
pub(super) fn decode_bgp(spec: &v1::BgpSpec) -> Result<Bgp, String> {
    let mut violations = Vec::new();
    let parsed = Bgp::parse(spec, "bgp", &mut violations);
    parsed.filter(|_| violations.is_empty()).ok_or_else(|| {
        let reasons: Vec<_> = violations.iter().map(Violation::to_string).collect();
        reasons.join("; ")
    })
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
