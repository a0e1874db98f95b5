use std::time::Duration;

use lbfabric_proto::v1;

/// What was counted of a service so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Totals {
    /// None of a service of layer 4.
    proxy: Option<v1::ProxyTraffic>,
    packets: u64,
    bytes: u64,
}

/// What a service does in a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) is_l7: bool,
    pub(super) requests: f64,
    pub(super) errors: f64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    /// Now.
    pub(super) connections: u64,
    pub(super) new_connections: f64,
    pub(super) packets: f64,
    pub(super) received: f64,
    pub(super) sent: f64,
}

// === impl Totals ===

impl Totals {
    pub(super) fn of(status: &v1::ServiceStatus) -> Self {
        Self {
            proxy: status.proxy.clone(),
            packets: status.packets,
            bytes: status.bytes,
        }
    }

    /// What came in this time. Where something was counted anew since, as a node was started again, it is as if nothing had.
    pub(super) fn since(&self, before: &Self, time: Duration) -> Rates {
        let rate = |now: u64, then: u64| per_second(now.saturating_sub(then), time);
        let packets = rate(self.packets, before.packets);
        let Some(now) = &self.proxy else {
            return Rates {
                packets,
                received: rate(self.bytes, before.bytes),
                ..Rates::default()
            };
        };
        let then = before.proxy.clone().unwrap_or_default();
        let then_of = |at: usize| then.times.get(at).copied().unwrap_or(0);
        let times = now.times.iter().enumerate();
        let times: Vec<u64> = times
            .map(|(at, count)| count.saturating_sub(then_of(at)))
            .collect();
        Rates {
            is_l7: true,
            requests: rate(now.requests, then.requests),
            errors: rate(now.errors, then.errors),
            p50_ms: quantile(&times, 0.5),
            p99_ms: quantile(&times, 0.99),
            connections: now.active_connections,
            new_connections: rate(now.connections, then.connections),
            packets,
            received: rate(now.received_bytes, then.received_bytes),
            sent: rate(now.sent_bytes, then.sent_bytes),
        }
    }
}

impl Rates {
    pub(super) fn bytes(&self) -> f64 {
        self.received + self.sent
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nobody reads so many digits of a rate"
)]
fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(0.001)
}

/// Where the buckets of `ProxyTraffic.times` end, in milliseconds.
fn end(bucket: usize) -> f64 {
    let power = f64::from(6 + u32::try_from(bucket / 2).unwrap_or(0));
    let half = if bucket % 2 == 1 { 1.5 } else { 1.0 };
    half * power.exp2() / 1000.0
}

/// The time that this share of all does not exceed, in milliseconds, by where it is within its bucket; none without times.
#[expect(
    clippy::cast_precision_loss,
    reason = "it is no more exact than its bucket"
)]
fn quantile(times: &[u64], share: f64) -> Option<f64> {
    let all: u64 = times.iter().sum();
    if all == 0 {
        return None;
    }
    let rank = all as f64 * share;
    let mut below = 0.0;
    for (bucket, count) in times.iter().enumerate() {
        let count = *count as f64;
        if below + count >= rank && count > 0.0 {
            let begin = if bucket == 0 { 0.0 } else { end(bucket - 1) };
            // Of those that took longest nothing more is known.
            let end = if bucket + 1 == times.len() {
                begin
            } else {
                end(bucket)
            };
            return Some(begin + (end - begin) * (rank - below) / count);
        }
        below += count;
    }
    None
}

/// Bytes for people.
pub(super) fn bytes(count: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut count = count;
    let mut unit = 0;
    while count >= 1000.0 && unit + 1 < units.len() {
        count /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0);
    format!("{count:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(requests: u64, times: &[(usize, u64)]) -> Totals {
        let mut all = vec![0; 42];
        for (bucket, count) in times {
            all[*bucket] = *count;
        }
        Totals::of(&v1::ServiceStatus {
            proxy: Some(v1::ProxyTraffic {
                requests,
                active_connections: 5,
                sent_bytes: 1000 * requests,
                times: all,
                ..v1::ProxyTraffic::default()
            }),
            ..v1::ServiceStatus::default()
        })
    }

    #[test]
    fn rates_are_what_came_since() {
        // From 1.024 to 1.536 ms, and from 98.304 to 131.072 ms.
        let before = totals(100, &[(9, 100)]);
        let now = totals(300, &[(9, 296), (22, 4)]);
        let rates = now.since(&before, Duration::from_secs(10));
        assert!(rates.is_l7);
        assert!((rates.requests - 20.0).abs() < 0.001);
        assert!((rates.sent - 20_000.0).abs() < 0.001);
        assert_eq!(rates.connections, 5);
        let p50 = rates.p50_ms.unwrap();
        assert!((1.024..1.536).contains(&p50), "{p50}");
        let p99 = rates.p99_ms.unwrap();
        assert!((98.0..131.1).contains(&p99), "{p99}");
        // A node was started again.
        let anew = totals(3, &[(9, 3)]).since(&now, Duration::from_secs(10));
        assert!(anew.requests < 0.001 && anew.p50_ms.is_none());
    }

    #[test]
    fn layer_4_has_packets_and_bytes() {
        let totals = |packets| {
            Totals::of(&v1::ServiceStatus {
                packets,
                bytes: 100 * packets,
                ..v1::ServiceStatus::default()
            })
        };
        let rates = totals(30).since(&totals(10), Duration::from_secs(2));
        assert!(!rates.is_l7);
        assert!((rates.packets - 10.0).abs() < 0.001 && (rates.received - 1000.0).abs() < 0.001);
    }

    #[test]
    fn buckets_end_where_the_nodes_have_them() {
        let ends = [0, 1, 2, 40].map(|it| end(it).to_string());
        assert_eq!(ends, ["0.064", "0.096", "0.128", "67108.864"]);
        assert_eq!(quantile(&[0; 42], 0.5), None);
        // The last bucket has no end.
        let mut long = vec![0; 42];
        long[41] = 1;
        assert_eq!(quantile(&long, 0.5), Some(67_108.864));
    }

    #[test]
    fn bytes_are_short() {
        assert_eq!(bytes(0.0), "0 B");
        assert_eq!(bytes(999.4), "999 B");
        assert_eq!(bytes(1234.0), "1.2 kB");
        assert_eq!(bytes(2.5e9), "2.5 GB");
    }
}
