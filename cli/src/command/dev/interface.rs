//! Which interface to use when nobody says.

use std::fs;

/// The interface with the best default route, IPv4 before IPv6; `lo` without one.
pub(super) fn with_default_route() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    best(&read("/proc/net/route"), &read("/proc/net/ipv6_route")).unwrap_or_else(|| "lo".to_owned())
}

fn best(ipv4: &str, ipv6: &str) -> Option<String> {
    let ipv4 = ipv4.lines().skip(1).filter_map(ipv4_default);
    let ipv6 = ipv6.lines().filter_map(ipv6_default);
    ipv4.min()
        .or_else(|| ipv6.min())
        .map(|(_, interface)| interface)
}

/// Metric and interface of a line of `/proc/net/route` (proc(5)) that is a default route.
fn ipv4_default(line: &str) -> Option<(u32, String)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [interface, destination, _, _, _, _, metric, mask, ..] = fields[..] else {
        return None;
    };
    let is_default = destination == "00000000" && mask == "00000000";
    Some((metric.parse().ok()?, interface.to_owned())).filter(|_| is_default)
}

/// The same for `/proc/net/ipv6_route`, where the kernel lists an unreachable default on `lo` too.
fn ipv6_default(line: &str) -> Option<(u32, String)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [destination, length, _, _, _, metric, _, _, _, interface] = fields[..] else {
        return None;
    };
    let is_default = length == "00" && destination.bytes().all(|b| b == b'0') && interface != "lo";
    Some((u32::from_str_radix(metric, 16).ok()?, interface.to_owned())).filter(|_| is_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IPV4: &str = "\
Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth1\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
";
    const IPV6: &str = "\
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth6
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

    #[test]
    fn takes_the_best_default_route() {
        assert_eq!(best(IPV4, IPV6), Some("eth0".to_owned()));
        assert_eq!(best("Iface\n", IPV6), Some("eth6".to_owned()));
        assert_eq!(best("", "garbage\n"), None);
    }
}
