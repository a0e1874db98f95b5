/// A capability by its number and name, `capabilities(7)`.
const NET_ADMIN: (u32, &str) = (12, "CAP_NET_ADMIN");
const SYS_ADMIN: (u32, &str) = (21, "CAP_SYS_ADMIN");
const PERFMON: (u32, &str) = (38, "CAP_PERFMON");
const BPF: (u32, &str) = (39, "CAP_BPF");

/// What this process lacks to load and attach an XDP program, or `None` if its status cannot be read.
pub(crate) fn missing() -> Option<Vec<&'static str>> {
    missing_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn missing_in(status: &str) -> Option<Vec<&'static str>> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    let effective = u64::from_str_radix(line.trim(), 16).ok()?;
    let has = |(bit, _): (u32, &str)| effective & (1 << bit) != 0;
    let mut missing = Vec::new();
    // Before these two existed (Linux 5.8), CAP_SYS_ADMIN stood for them; it still does. The second is for subtracting addresses
    // from each other, as the programs do for lengths.
    for capability in [BPF, PERFMON] {
        if !has(capability) && !has(SYS_ADMIN) {
            missing.push(capability.1);
        }
    }
    if !has(NET_ADMIN) {
        missing.push(NET_ADMIN.1);
    }
    Some(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(effective: &str) -> Option<Vec<&'static str>> {
        missing_in(&format!(
            "Name:\tx\nCapPrm:\tffff\nCapEff:\t{effective}\nCapBnd:\t0\n"
        ))
    }

    #[test]
    fn names_what_is_missing() {
        assert_eq!(missing("000001ffffffffff"), Some(vec![]));
        assert_eq!(
            missing("0000000000000000"),
            Some(vec!["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"])
        );
        // As in a container with NET_ADMIN and SYS_ADMIN, and with NET_ADMIN alone.
        assert_eq!(missing("0000000000201000"), Some(vec![]));
        assert_eq!(
            missing("0000000000001000"),
            Some(vec!["CAP_BPF", "CAP_PERFMON"])
        );
        assert_eq!(
            missing("0000008000000000"),
            Some(vec!["CAP_PERFMON", "CAP_NET_ADMIN"])
        );
        assert_eq!(missing("0000008000001000"), Some(vec!["CAP_PERFMON"]));
        assert_eq!(missing("000000c000001000"), Some(vec![]));
        assert_eq!(missing("none"), None);
    }
}
