use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lbfabric_model::{BackendId, Check, HealthCheck, PoolId, snapshot::NodePool};
use tokio::{net::TcpStream, sync::mpsc, task::AbortHandle, task::JoinSet, time};

use crate::jitter::Jitter;

/// Which address is probed, for which pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProbeTarget {
    pub(crate) pool: PoolId,
    pub(crate) backend: BackendId,
    pub(crate) address: IpAddr,
}

/// One finished probe.
#[derive(Clone, Debug)]
pub(crate) struct ProbeResult {
    pub(crate) target: ProbeTarget,
    pub(crate) outcome: Result<(), String>,
    /// There was no answer at all, not even a refusal.
    pub(crate) silent: bool,
}

/// The tasks that probe, one for each address. Dropping it ends them.
pub(crate) struct Probers {
    tasks: JoinSet<()>,
    running: BTreeMap<ProbeTarget, (HealthCheck, AbortHandle)>,
    results: mpsc::Sender<ProbeResult>,
}

impl Probers {
    pub(crate) fn new(results: mpsc::Sender<ProbeResult>) -> Self {
        Self {
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            results,
        }
    }

    /// Starts and ends tasks so that exactly these pools' servers are probed; a changed check starts its task anew.
    pub(crate) fn follow(&mut self, pools: &BTreeMap<PoolId, NodePool>) {
        let wanted = targets(pools);
        self.running.retain(|target, (check, task)| {
            let keep = wanted.get(target) == Some(check);
            if !keep {
                task.abort();
            }
            keep
        });
        // Reaps ended tasks, so that the set does not grow with every change.
        while self.tasks.try_join_next().is_some() {}
        for (target, check) in wanted {
            if self.running.contains_key(&target) {
                continue;
            }
            let task = self
                .tasks
                .spawn(probe_forever(target, check, self.results.clone()));
            self.running.insert(target, (check, task));
        }
    }

    /// What is probed now.
    pub(crate) fn targets(&self) -> BTreeSet<ProbeTarget> {
        self.running.keys().copied().collect()
    }
}

fn targets(pools: &BTreeMap<PoolId, NodePool>) -> BTreeMap<ProbeTarget, HealthCheck> {
    let mut targets = BTreeMap::new();
    for (pool, body) in pools {
        let Some(check) = body.health_check else {
            continue;
        };
        for backend in &body.backends {
            let v4 = backend.ipv4.map(IpAddr::V4);
            let v6 = backend.ipv6.map(IpAddr::V6);
            for address in v4.into_iter().chain(v6) {
                let target = ProbeTarget {
                    pool: *pool,
                    backend: backend.id,
                    address,
                };
                targets.insert(target, check);
            }
        }
    }
    targets
}

async fn probe_forever(
    target: ProbeTarget,
    check: HealthCheck,
    results: mpsc::Sender<ProbeResult>,
) {
    let mut jitter = Jitter::new();
    let interval = Duration::from_millis(check.interval_ms.into());
    let timeout = Duration::from_millis(check.timeout_ms.into());
    loop {
        let started = time::Instant::now();
        let (outcome, silent) = probe(target.address, check.check, timeout).await;
        let result = ProbeResult {
            target,
            outcome,
            silent,
        };
        if results.send(result).await.is_err() {
            return;
        }
        // A tenth of jitter keeps many servers, and many nodes, from probing in step.
        time::sleep_until(started + jitter.around(interval, 10)).await;
    }
}

/// The outcome, and whether there was no answer at all.
async fn probe(address: IpAddr, check: Check, timeout: Duration) -> (Result<(), String>, bool) {
    match check {
        Check::Tcp { port } => {
            let server = SocketAddr::new(address, port);
            match time::timeout(timeout, TcpStream::connect(server)).await {
                Ok(Ok(_connected)) => (Ok(()), false),
                Ok(Err(error)) => {
                    let silent = error.kind() == io::ErrorKind::HostUnreachable;
                    (Err(format!("tcp {server}: {error}")), silent)
                }
                Err(_) => {
                    let waited = timeout.as_millis();
                    (
                        Err(format!("tcp {server}: no answer within {waited} ms")),
                        true,
                    )
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn probes_say_why_they_fail() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let timeout = Duration::from_secs(5);
        let check = Check::Tcp { port };
        assert_eq!(probe(address, check, timeout).await, (Ok(()), false));
        drop(listener);
        let (outcome, silent) = probe(address, check, timeout).await;
        let reason = outcome.unwrap_err();
        assert!(!silent);
        assert!(
            reason.contains("refused") && reason.contains(&port.to_string()),
            "{reason}"
        );
    }
}
