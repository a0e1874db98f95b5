use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lbfabric_model::{self as model, AccessLogFormat, Proxy};
use lbfabric_proto::v1;
use lbfabric_proxy::observe::{
    AccessLog, AnswersReading, Cause, LogConfig, LogFormat, Metrics, ObserveConfig, Phase,
    Sampling, ServiceReading, SpanQueue, TraceConfig,
};

/// Where what is seen of the engine goes.
#[derive(Clone, Debug)]
pub(crate) struct Watching {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: Arc<AccessLog>,
    /// Of traced requests, if there is a collector.
    pub(crate) spans: Option<Arc<SpanQueue>>,
}

impl Watching {
    /// What is seen of a service.
    pub(super) fn config(&self, service: &Arc<str>, proxy: &Proxy) -> ObserveConfig {
        ObserveConfig {
            service: service.clone(),
            // What meets none of them is no route's.
            routes: proxy
                .routing
                .routes()
                .iter()
                .map(|route| route.name.as_str().into())
                .collect(),
            metrics: Some(self.metrics.clone()),
            log: proxy.access_log.map(|log| self.log_config(log)),
            traces: proxy.trace.map(|trace| TraceConfig {
                sample_one_in: trace.sample_one_in,
            }),
            spans: self.spans.clone(),
        }
    }

    /// What is seen of a service that relays datagrams.
    pub(super) fn of_datagrams(
        &self,
        service: &Arc<str>,
        log: Option<model::AccessLog>,
    ) -> ObserveConfig {
        ObserveConfig {
            service: service.clone(),
            metrics: Some(self.metrics.clone()),
            log: log.map(|log| self.log_config(log)),
            ..ObserveConfig::default()
        }
    }

    fn log_config(&self, log: model::AccessLog) -> LogConfig {
        LogConfig {
            log: self.log.clone(),
            format: match log.format {
                AccessLogFormat::Json => LogFormat::Json,
                AccessLogFormat::Combined => LogFormat::Combined,
            },
            sampling: Sampling {
                one_in: log.sample_one_in,
                errors: log.errors,
            },
        }
    }

    /// Lets go of what is counted of services and servers that there are no more.
    pub(super) fn retain(&self, servers: &BTreeMap<Arc<str>, BTreeSet<String>>) {
        self.metrics.retain(|service| servers.contains_key(service));
        for (service, servers) in servers {
            let is_there = |server: &str| servers.contains(server);
            self.metrics.retain_of(service, |_| true, is_there);
        }
    }
}

/// Adds what was seen of a service to what the engine itself has counted of it.
pub(super) fn add(traffic: &mut v1::ProxyTraffic, reading: &ServiceReading) {
    let all = reading.all_routes();
    traffic.active_connections = reading.connections;
    traffic.errors = errors(reading, &all.answers);
    traffic.received_bytes = all.received;
    traffic.sent_bytes = all.sent;
    traffic.times = all.answers.total.counts();
}

/// Those that are the servers' fault, or ours.
fn errors(reading: &ServiceReading, answers: &AnswersReading) -> u64 {
    // Connections that are relayed as they come have no answers that would say so.
    let is_http = answers.requests() > 0;
    let broken = reading.terminations.iter().filter(|(it, _)| {
        let is_servers = matches!(it.cause, Cause::Server | Cause::ServerTimeout);
        let is_begun = matches!(it.phase, Phase::Data | Phase::Last);
        is_servers && (is_begun || !is_http)
    });
    let broken: u64 = broken.map(|(_, count)| count).sum();
    let [.., failed] = answers.classes;
    broken + failed
}

#[cfg(test)]
mod tests {
    use lbfabric_proxy::observe::{RouteReading, Termination};

    use super::*;

    fn reading(classes: [u64; 6], ended: &[(Cause, Phase, u64)]) -> ServiceReading {
        let route = RouteReading {
            answers: AnswersReading {
                classes,
                ..AnswersReading::default()
            },
            received: 3,
            sent: 4,
        };
        let ended = ended.iter();
        ServiceReading {
            connections: 2,
            routes: [(Arc::from(""), route)].into(),
            terminations: ended
                .map(|(cause, phase, count)| (Termination::new(*cause, *phase), *count))
                .collect(),
            ..ServiceReading::default()
        }
    }

    #[test]
    fn errors_are_those_of_servers() {
        let ended = [
            (Cause::Normal, Phase::Done, 10),
            (Cause::Client, Phase::Data, 20),
            (Cause::Server, Phase::Connect, 3),
            (Cause::Server, Phase::Data, 4),
            (Cause::ServerTimeout, Phase::Data, 5),
        ];
        // No connection was answered with 502.
        let http = reading([20, 0, 19, 0, 0, 3], &ended);
        let mut traffic = v1::ProxyTraffic::default();
        add(&mut traffic, &http);
        assert_eq!(traffic.errors, 3 + 4 + 5);
        let told = (
            traffic.active_connections,
            traffic.received_bytes,
            traffic.sent_bytes,
        );
        assert_eq!(told, (2, 3, 4));
        let relayed = reading([0; 6], &ended);
        add(&mut traffic, &relayed);
        assert_eq!(traffic.errors, 3 + 4 + 5);
        let none = reading([0; 6], &[(Cause::Server, Phase::Queue, 1)]);
        add(&mut traffic, &none);
        assert_eq!(traffic.errors, 1);
    }
}
