use std::fs;
use std::io;
use std::path::PathBuf;

use lbfabric_model::Prefix;

/// A kernel setting that the VIPs of a server need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Below `/proc/sys`.
    pub(crate) path: String,
    pub(crate) value: &'static str,
}

fn file(path: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(path)
}

/// The setting's value in the current thread's network namespace.
pub(crate) fn read(path: &str) -> io::Result<String> {
    Ok(fs::read_to_string(file(path))?.trim().to_owned())
}

pub(crate) fn write(path: &str, value: &str) -> io::Result<()> {
    fs::write(file(path), value)
}

/// What to change for these interfaces, given the present values.
///
/// - `arp_ignore` at least 1: a server does not answer ARP requests for VIPs on its loopback.
/// - `arp_announce` 2: nor does it send any with a VIP as the sender. The kernel takes the larger value of `all` and the
///   interface.
/// - `rp_filter` not 1 (strict): packets that come in through a tunnel, or by their MAC address, are from clients that may
///   have their route elsewhere. Loose mode on the interface suffices, again because the larger value counts.
pub(crate) fn needed(
    interfaces: &[String],
    value: impl Fn(&str) -> Option<String>,
) -> Vec<Setting> {
    let number = |path: &str| value(path).and_then(|text| text.parse::<i64>().ok());
    let path = |scope: &str, name: &str| format!("net/ipv4/conf/{scope}/{name}");
    let scopes = || std::iter::once("all").chain(interfaces.iter().map(String::as_str));
    let mut settings = Vec::new();
    for scope in scopes() {
        for (name, wanted, least) in [("arp_ignore", "1", 1), ("arp_announce", "2", 2)] {
            let path = path(scope, name);
            if number(&path).is_some_and(|present| present < least) {
                settings.push(Setting {
                    path,
                    value: wanted,
                });
            }
        }
    }
    let all = number(&path("all", "rp_filter")).unwrap_or(0);
    for interface in interfaces {
        let path = path(interface, "rp_filter");
        if number(&path).is_some_and(|own| own.max(all) == 1) {
            settings.push(Setting { path, value: "2" });
        }
    }
    settings
}

/// What to change for a VIP that is a prefix, given the present value: `ip_nonlocal_bind`. A server's program answers a datagram from the address that it was
/// for. Whether that is its own the kernel looks up in its routes for IPv4, but for IPv6 only among the interfaces' addresses.
pub(crate) fn needed_for_prefix(
    prefix: Prefix,
    value: impl Fn(&str) -> Option<String>,
) -> Option<Setting> {
    let path = "net/ipv6/ip_nonlocal_bind";
    let is_needed = !prefix.is_ipv4() && !prefix.is_single();
    (is_needed && value(path).is_some_and(|present| present == "0")).then(|| Setting {
        path: path.to_owned(),
        value: "1",
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn needed_for(present: &[(&str, &str)]) -> Vec<(String, &'static str)> {
        let present: BTreeMap<&str, &str> = present.iter().copied().collect();
        let lookup = |path: &str| {
            let name = path.strip_prefix("net/ipv4/conf/").unwrap();
            present.get(name).map(|value| (*value).to_owned())
        };
        needed(&["eth0".to_owned()], lookup)
            .into_iter()
            .map(|Setting { path, value }| (path.replace("net/ipv4/conf/", ""), value))
            .collect()
    }

    #[test]
    fn only_what_is_not_so_already() {
        let defaults = [
            ("all/arp_ignore", "0"),
            ("all/arp_announce", "0"),
            ("all/rp_filter", "0"),
            ("eth0/arp_ignore", "2"),
            ("eth0/arp_announce", "1"),
            ("eth0/rp_filter", "0"),
        ];
        let expected = [
            ("all/arp_ignore", "1"),
            ("all/arp_announce", "2"),
            ("eth0/arp_announce", "2"),
        ];
        assert_eq!(
            needed_for(&defaults),
            expected.map(|(path, value)| (path.to_owned(), value))
        );
    }

    #[test]
    fn a_strict_reverse_path_filter_becomes_loose_on_the_interface() {
        let strict = |all, own| needed_for(&[("all/rp_filter", all), ("eth0/rp_filter", own)]);
        let loosened = vec![("eth0/rp_filter".to_owned(), "2")];
        assert_eq!(strict("1", "0"), loosened);
        assert_eq!(strict("0", "1"), loosened);
        assert_eq!(strict("1", "1"), loosened);
        assert_eq!(strict("2", "1"), []);
        assert_eq!(strict("1", "2"), []);
        assert_eq!(strict("0", "0"), []);
    }

    #[test]
    fn answers_come_from_a_prefix_of_ipv6_only_with_a_setting() {
        let for_prefix = |text: &str, present: Option<&str>| {
            let prefix = Prefix::parse(text, "vips").unwrap();
            needed_for_prefix(prefix, |_| present.map(str::to_owned)).map(|it| it.value)
        };
        assert_eq!(for_prefix("fd99:5::/64", Some("0")), Some("1"));
        assert_eq!(for_prefix("fd99:5::/64", Some("1")), None);
        // A kernel without IPv6.
        assert_eq!(for_prefix("fd99:5::/64", None), None);
        assert_eq!(for_prefix("fd99::1", Some("0")), None);
        assert_eq!(for_prefix("10.98.0.0/24", Some("0")), None);
    }
}
