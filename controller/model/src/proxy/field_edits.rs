//! Changes to the fields of a head.

use lbfabric_proto::v1;

use super::at::At;
use crate::route_text::{Side, changeable_field, value};

/// Changes to one head.
const EDITS_MAX: usize = 32;
/// Bytes of all that is written into one head.
const LINES_MAX: usize = 8 << 10;

/// Checks changes.
pub(super) fn check(spec: &v1::HeaderEditsSpec, side: Side, at: &mut At<'_>) {
    let v1::HeaderEditsSpec { set, add, remove } = spec;
    let count = set.len() + add.len() + remove.len();
    at.at_most_items("", count, EDITS_MAX);
    let mut bytes = 0;
    for (field, headers) in [("set", set), ("add", add)] {
        for (i, header) in headers.iter().enumerate() {
            let mut at = at.item(field, i);
            at.check("name", changeable_field(&header.name, side));
            at.check("value", value(&header.value));
            bytes += header.name.len() + ": \r\n".len() + header.value.len();
        }
    }
    at.check_texts("remove", remove, EDITS_MAX, |name| {
        changeable_field(name, side)
    });
    if bytes > LINES_MAX {
        at.refuse(
            "",
            format!("they write {bytes} bytes into a head: {LINES_MAX} at most"),
        );
    }
}
