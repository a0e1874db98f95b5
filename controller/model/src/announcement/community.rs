use std::{fmt, net::Ipv4Addr, str::FromStr};

/// A mark on a route that neighbors act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Community {
    /// RFC 1997: an AS number and a number of its.
    Standard(u32),
    /// RFC 8092: an AS number and two numbers of its.
    Large(u32, u32, u32),
    /// RFC 4360, as it is sent: a type of two bytes, and six of a value.
    Extended(u64),
}

/// Those with a name (RFC 1997, RFC 3765). That of graceful shutdown is the node's own business.
const NAMED: [(&str, u32); 3] = [
    ("no-export", 0xffff_ff01),
    ("no-advertise", 0xffff_ff02),
    ("no-peer", 0xffff_ff04),
];
const GRACEFUL_SHUTDOWN: u32 = 0xffff_0000;
/// RFC 4360 sections 4 and 5: the second byte of the type.
const EXTENDED: [(&str, u8); 2] = [("target", 2), ("origin", 3)];
const OF_TWO_BYTE_AS: u8 = 0;
const OF_ADDRESS: u8 = 1;
const OF_FOUR_BYTE_AS: u8 = 2;

/// Why a text is not a community.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCommunity {
    /// It reads like none.
    #[error(
        "is not a community: write `65000:100`, `65000:1:2`, `target:65000:100`, `origin:192.0.2.1:7`, `no-export`, `no-advertise` or `no-peer`"
    )]
    Text,
    /// RFC 8326: for routes that are about to be withdrawn.
    #[error("is for nodes that are drained, which set it by themselves: leave it out")]
    GracefulShutdown,
}

impl FromStr for Community {
    type Err = InvalidCommunity;

    fn from_str(text: &str) -> Result<Self, InvalidCommunity> {
        if let Some((_, value)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(Self::Standard(*value));
        }
        let parts: Vec<_> = text.split(':').collect();
        let read = match parts[..] {
            [of, value] => standard(of, value),
            [of, one, two] => match EXTENDED.iter().find(|(name, _)| *name == of) {
                Some((_, subtype)) => extended(*subtype, one, two),
                None => large(of, one, two),
            },
            _ => None,
        };
        match read {
            Some(Self::Standard(GRACEFUL_SHUTDOWN)) => Err(InvalidCommunity::GracefulShutdown),
            Some(community) => Ok(community),
            None => Err(InvalidCommunity::Text),
        }
    }
}

fn standard(of: &str, value: &str) -> Option<Community> {
    let (of, value): (u16, u16) = (number(of)?, number(value)?);
    Some(Community::Standard(u32::from(of) << 16 | u32::from(value)))
}

fn large(of: &str, one: &str, two: &str) -> Option<Community> {
    Some(Community::Large(number(of)?, number(one)?, number(two)?))
}

fn extended(subtype: u8, of: &str, value: &str) -> Option<Community> {
    let (kind, value) = if let Ok(address) = of.parse::<Ipv4Addr>() {
        let value: u16 = number(value)?;
        (
            OF_ADDRESS,
            u64::from(u32::from(address)) << 16 | u64::from(value),
        )
    } else if let Some(of) = number::<u16>(of) {
        let value: u32 = number(value)?;
        (OF_TWO_BYTE_AS, u64::from(of) << 32 | u64::from(value))
    } else {
        let (of, value): (u32, u16) = (number(of)?, number(value)?);
        (OF_FOUR_BYTE_AS, u64::from(of) << 16 | u64::from(value))
    };
    let kind = u64::from(kind) << 56 | u64::from(subtype) << 48;
    Some(Community::Extended(kind | value))
}

/// Digits alone: no sign.
fn number<T: FromStr>(text: &str) -> Option<T> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

impl fmt::Display for Community {
    #[expect(clippy::cast_possible_truncation, reason = "parts of a number")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Standard(value) => match NAMED.iter().find(|(_, named)| *named == value) {
                Some((name, _)) => f.write_str(name),
                None => write!(f, "{}:{}", value >> 16, value as u16),
            },
            Self::Large(of, one, two) => write!(f, "{of}:{one}:{two}"),
            Self::Extended(value) => {
                let [kind, subtype, ..] = value.to_be_bytes();
                let name = EXTENDED.iter().find(|(_, it)| *it == subtype);
                match (kind, name) {
                    (OF_TWO_BYTE_AS, Some((name, _))) => {
                        write!(f, "{name}:{}:{}", (value >> 32) as u16, value as u32)
                    }
                    (OF_ADDRESS, Some((name, _))) => {
                        let of = Ipv4Addr::from((value >> 16) as u32);
                        write!(f, "{name}:{of}:{}", value as u16)
                    }
                    (OF_FOUR_BYTE_AS, Some((name, _))) => {
                        write!(f, "{name}:{}:{}", (value >> 16) as u32, value as u16)
                    }
                    _ => write!(f, "{value:#018x}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_are_read_and_written() {
        for (text, value) in [
            ("65000:100", Community::Standard(0xfde8_0064)),
            ("no-export", Community::Standard(0xffff_ff01)),
            ("4200000000:1:2", Community::Large(4_200_000_000, 1, 2)),
            (
                "target:65000:100",
                Community::Extended(0x0002_fde8_0000_0064),
            ),
            (
                "origin:192.0.2.1:7",
                Community::Extended(0x0103_c000_0201_0007),
            ),
            ("target:70000:9", Community::Extended(0x0202_0001_1170_0009)),
        ] {
            assert_eq!(text.parse(), Ok(value), "{text}");
            assert_eq!(value.to_string(), text);
        }
        assert_eq!("65535:65281".parse(), "no-export".parse::<Community>());
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "1",
            "1:",
            ":1",
            "70000:1",
            "1:70000",
            "1:2:3:4",
            "+1:2",
            "1:2:4294967296",
            "target:1",
            "target:70000:70000",
            "blackhole",
            "target:1.2.3.4:70000",
        ] {
            assert_eq!(
                text.parse::<Community>(),
                Err(InvalidCommunity::Text),
                "{text}"
            );
        }
        let shutdown = "65535:0".parse::<Community>();
        assert_eq!(shutdown, Err(InvalidCommunity::GracefulShutdown));
    }
}
