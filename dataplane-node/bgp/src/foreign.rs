use bytes::Bytes;

use crate::PerFamily;

/// What is left of path attributes without `MP_REACH_NLRI` and `MP_UNREACH_NLRI` of families that the session has not agreed on; none
/// if there are none of these. A neighbor that sends them is wrong, but nothing of ours depends on it (RFC 4760 section 7 lets
/// a session go on without such routes), and they need not even be readable.
///
/// What stands twice, or is not whole, is left for the codec to complain about.
pub(crate) fn without_foreign(attributes: &Bytes, agreed: PerFamily<bool>) -> Option<Bytes> {
    let all: Vec<Attribute<'_>> = Attributes(attributes).collect();
    let is_foreign = |attribute: &Attribute<'_>| {
        let is_alone = all.iter().filter(|it| it.kind == attribute.kind).count() == 1;
        is_alone && attribute.is_of_other_than(agreed)
    };
    if !all.iter().any(is_foreign) {
        return None;
    }
    let whole: usize = all.iter().map(|attribute| attribute.bytes.len()).sum();
    let kept = all.iter().filter(|attribute| !is_foreign(attribute));
    let kept = kept.map(|attribute| attribute.bytes);
    let parts: Vec<&[u8]> = kept.chain([&attributes[whole..]]).collect();
    Some(parts.concat().into())
}

/// An attribute with its header.
struct Attribute<'a> {
    kind: u8,
    value: &'a [u8],
    bytes: &'a [u8],
}

/// Attributes one after the other, as long as they are whole.
struct Attributes<'a>(&'a [u8]);

const MP_REACH_NLRI: u8 = 14;
const MP_UNREACH_NLRI: u8 = 15;
/// The flag of lengths of two bytes.
const EXTENDED_LENGTH: u8 = 0x10;

// === impl Attribute ===

impl Attribute<'_> {
    fn is_of_other_than(&self, agreed: PerFamily<bool>) -> bool {
        let is_agreed = |family: &[u8; 3]| match family {
            [0, 1, 1] => agreed.ipv4,
            [0, 2, 1] => agreed.ipv6,
            _ => false,
        };
        let has_family = matches!(self.kind, MP_REACH_NLRI | MP_UNREACH_NLRI);
        let family = self.value.first_chunk::<3>();
        has_family && family.is_some_and(|family| !is_agreed(family))
    }
}

// === impl Attributes ===

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let (header, length) = match self.0 {
            [flags, _, high, low, ..] if flags & EXTENDED_LENGTH != 0 => {
                (4, usize::from(u16::from_be_bytes([*high, *low])))
            }
            [flags, _, length, ..] if flags & EXTENDED_LENGTH == 0 => (3, usize::from(*length)),
            _ => return None,
        };
        let (bytes, rest) = self.0.split_at_checked(header + length)?;
        self.0 = rest;
        Some(Attribute {
            kind: bytes[1],
            value: &bytes[header..],
            bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: PerFamily<bool> = PerFamily {
        ipv4: true,
        ipv6: true,
    };
    const ORIGIN: [u8; 4] = [0x40, 1, 1, 0];

    fn left(parts: &[&[u8]], agreed: PerFamily<bool>) -> Option<Vec<u8>> {
        let bytes = parts.concat().into();
        without_foreign(&bytes, agreed).map(|it| it.to_vec())
    }

    #[test]
    fn what_is_agreed_on_stays() {
        let ipv6 = [0x80, 15, 3, 0, 2, 1];
        let ipv4_long = [0x90, 14, 0, 3, 0, 1, 1];
        assert_eq!(left(&[&ORIGIN, &ipv6, &ipv4_long], BOTH), None);
        assert_eq!(left(&[], BOTH), None);
    }

    #[test]
    fn what_is_not_goes_and_the_rest_stays_as_it_is() {
        let multicast = [0x80, 15, 3, 0, 2, 2];
        let evpn_long = [0x90, 14, 0, 4, 0, 25, 70, 9];
        let cut = [0x80, 4, 4, 0];
        let expected = [&ORIGIN[..], &ORIGIN, &cut].concat();
        let parts: [&[u8]; 5] = [&ORIGIN, &multicast, &ORIGIN, &evpn_long, &cut];
        assert_eq!(left(&parts, BOTH), Some(expected));
        let ipv6 = [0x80, 15, 3, 0, 2, 1];
        let ipv4_alone = PerFamily {
            ipv4: true,
            ipv6: false,
        };
        assert_eq!(left(&[&ipv6], ipv4_alone), Some(vec![]));
    }

    #[test]
    fn what_is_wrong_otherwise_is_left_to_the_codec() {
        let multicast = [0x80, 15, 3, 0, 2, 2];
        assert_eq!(left(&[&multicast, &multicast], BOTH), None);
        assert_eq!(left(&[&[0x80, 15, 2, 0, 25]], BOTH), None);
        assert_eq!(left(&[&[0x80, 15, 9, 0, 25, 70]], BOTH), None);
        assert_eq!(left(&[&[0x90, 15, 0]], BOTH), None);
    }
}
