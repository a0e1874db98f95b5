use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::held_vips::HeldVips;

/// What this agent has changed on the machine, and how it was before: kept on disk, and written before each change, so that
/// exactly this is undone also after a crash. And which VIPs it holds for how long, which a new agent goes on with.
///
/// ```text
/// vip 10.99.0.10
/// sysctl net/ipv4/conf/all/arp_ignore 0
/// wanted 10.99.0.10
/// leaving 10.99.0.11 1790000000
/// hold 900
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerRecord {
    /// Addresses that the agent has put on the loopback.
    pub(crate) vips: BTreeSet<IpAddr>,
    /// Former values of kernel settings, by their path below `/proc/sys`.
    pub(crate) sysctls: BTreeMap<String, String>,
    /// Addresses that are to be there.
    pub(crate) held: HeldVips,
}

impl ServerRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let vips = self.vips.iter().map(|vip| format!("vip {vip}\n"));
        let sysctls = self
            .sysctls
            .iter()
            .map(|(path, value)| format!("sysctl {path} {value}\n"));
        let HeldVips {
            wanted,
            leaving,
            hold_secs,
        } = &self.held;
        let wanted = wanted.iter().map(|vip| format!("wanted {vip}\n"));
        let leaving = leaving
            .iter()
            .map(|(vip, until)| format!("leaving {vip} {until}\n"));
        vips.chain(sysctls)
            .chain(wanted)
            .chain(leaving)
            .chain([format!("hold {hold_secs}\n")])
            .collect::<String>()
            .into_bytes()
    }

    /// `None` if a line is not understood.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut record = Self::default();
        for line in std::str::from_utf8(bytes).ok()?.lines() {
            match line.split_once(' ')? {
                ("vip", vip) => {
                    record.vips.insert(vip.parse().ok()?);
                }
                ("sysctl", rest) => {
                    let (path, value) = rest.split_once(' ')?;
                    record.sysctls.insert(path.to_owned(), value.to_owned());
                }
                ("wanted", vip) => {
                    record.held.wanted.insert(vip.parse().ok()?);
                }
                ("leaving", rest) => {
                    let (vip, until) = rest.split_once(' ')?;
                    let (vip, until) = (vip.parse().ok()?, until.parse().ok()?);
                    record.held.leaving.insert(vip, until);
                }
                ("hold", secs) => record.held.hold_secs = secs.parse().ok()?,
                _ => return None,
            }
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_its_encoding() {
        let record = ServerRecord {
            vips: ["10.0.0.1", "fd00::1"].map(|a| a.parse().unwrap()).into(),
            sysctls: BTreeMap::from([(
                "net/ipv4/conf/eth0.5/arp_ignore".to_owned(),
                "0".to_owned(),
            )]),
            held: HeldVips {
                wanted: ["10.0.0.1"].map(|a| a.parse().unwrap()).into(),
                leaving: [("fd00::1".parse().unwrap(), 1_790_000_000)].into(),
                hold_secs: 900,
            },
        };
        assert_eq!(ServerRecord::decode(&record.encode()), Some(record));
        assert_eq!(ServerRecord::decode(b""), Some(ServerRecord::default()));
        assert_eq!(ServerRecord::decode(b"vip here\n"), None);
        assert_eq!(ServerRecord::decode(b"leaving 10.0.0.1\n"), None);
        assert_eq!(ServerRecord::decode(b"route 10.0.0.1\n"), None);
    }
}
