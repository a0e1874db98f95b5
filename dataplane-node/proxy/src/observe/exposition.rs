//! Metrics as Prometheus takes them: its text format 0.0.4, or `OpenMetrics` 1.0.
//!
//! An own writer: what is exposed is merged from the workers' counters at that moment, so there is nothing that a library's registry could
//! hold. All samples of a family stand together, in the order of their labels.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use super::{
    HistogramReading, ServerFailure,
    metrics::{AnswersReading, Reading, ServiceReading},
};

/// The most microseconds of each bucket of [`HistogramReading::counts`] but the last.
fn ends() -> impl Iterator<Item = u64> {
    let ends = POWERS.flat_map(|power| [1 << power, 3 << (power - 1)]);
    ends.chain([1 << POWERS.end])
}

impl HistogramReading {
    /// How many times there are in each bucket that is exposed, those that are longer than all in the last one.
    pub fn counts(&self) -> Vec<u64> {
        let mut before = 0;
        let all = self.count();
        let below = ends().map(|end| self.below(end)).chain([all]);
        below
            .map(|below| below - std::mem::replace(&mut before, below))
            .collect()
    }
}

/// Buckets end at these powers of two of microseconds, and halfway between them: from 64 µs to 67 s.
const POWERS: std::ops::Range<u32> = 6..26;

/// A form that metrics are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus' text format 0.0.4.
    Text,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

/// What the access log says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogReading {
    /// Lines that are written.
    pub written: u64,
    /// Lines for which there was no room.
    pub dropped: u64,
    /// Lines that could not be written.
    pub failed: u64,
}

impl Exposition {
    /// What a client that says `Accept: …` understands.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Writes all of it.
    pub fn write(self, reading: &Reading, log: LogReading) -> String {
        let mut out = self.begin();
        out.layer7(reading, log);
        out.finish()
    }

    /// Begins a text.
    pub const fn begin(self) -> MetricsText {
        MetricsText {
            text: String::new(),
            form: self,
        }
    }
}

fn of_services(out: &mut MetricsText, reading: &Reading) {
    let services = &reading.services;
    let number = |out: &mut MetricsText, family: &Family, of: fn(&ServiceReading) -> u64| {
        out.family(family);
        for (name, service) in services {
            out.sample(family, "", &[("service", name)], of(service));
        }
    };
    number(
        out,
        &Family::gauge("lbfabric_l7_active_connections", "Connections of clients."),
        |it| it.connections,
    );
    number(
        out,
        &Family::counter(
            "lbfabric_l7_connections_total",
            "Connections of clients so far.",
        ),
        |it| it.connections_total,
    );
    number(
        out,
        &Family::gauge(
            "lbfabric_l7_waiting_requests",
            "Requests that wait for a server with room.",
        ),
        |it| it.queued,
    );
    number(
        out,
        &Family::counter(
            "lbfabric_l7_queued_requests_total",
            "Requests that had to wait for a server with room.",
        ),
        |it| it.queued_total,
    );
    let family = Family::counter(
        "lbfabric_l7_refusals_total",
        "Requests that were refused, by reason.",
    );
    out.family(&family);
    for (name, service) in services {
        for (reason, count) in &service.refusals {
            out.sample(
                &family,
                "",
                &[("service", name), ("reason", reason)],
                *count,
            );
        }
    }
    let family = Family::counter(
        "lbfabric_l7_terminations_total",
        "Requests by how they ended, in HAProxy's letters.",
    );
    out.family(&family);
    for (name, service) in services {
        for (termination, count) in &service.terminations {
            let letters = termination.letters().map(char::from);
            let letters = String::from_iter(letters);
            out.sample(
                &family,
                "",
                &[("service", name), ("state", &letters)],
                *count,
            );
        }
    }
    let family = Family::counter(
        "lbfabric_l7_datagrams_total",
        "Datagrams, by what became of them.",
    );
    let datagrams = services.iter().flat_map(|(name, service)| {
        let datagrams = service.datagrams.iter();
        datagrams.map(move |(fate, count)| {
            let labels = [("service", &**name), ("result", fate.name())];
            (labels, *count)
        })
    });
    out.samples(&family, datagrams);
    let all: BTreeMap<_, _> = services
        .iter()
        .map(|(name, it)| (name, it.all_routes()))
        .collect();
    let answers = || {
        all.iter()
            .map(|(name, it)| ([("service", &***name)], &it.answers))
    };
    out.times("", "of a service", answers);
}

fn of_routes(out: &mut MetricsText, reading: &Reading) {
    let routes = || {
        reading.services.iter().flat_map(|(service, it)| {
            let routes = it.routes.iter();
            routes.map(move |(route, it)| ([("service", &**service), ("route", &**route)], it))
        })
    };
    out.classes("route_responses_total", "of a route", || {
        routes().map(|(labels, it)| (labels, &it.answers))
    });
    let family = Family::counter(
        "lbfabric_l7_route_received_bytes_total",
        "Bytes of clients, heads included.",
    );
    out.family(&family);
    for (labels, it) in routes() {
        out.sample(&family, "", &labels, it.received);
    }
    let family = Family::counter(
        "lbfabric_l7_route_sent_bytes_total",
        "Bytes to clients, heads included.",
    );
    out.family(&family);
    for (labels, it) in routes() {
        out.sample(&family, "", &labels, it.sent);
    }
    out.times("route_", "of a route", || {
        routes().map(|(labels, it)| (labels, &it.answers))
    });
}

fn of_servers(out: &mut MetricsText, reading: &Reading) {
    let servers = || {
        reading.services.iter().flat_map(|(service, it)| {
            let servers = it.servers.iter();
            servers.map(move |(server, it)| ([("service", &**service), ("server", &**server)], it))
        })
    };
    let family = Family::gauge(
        "lbfabric_l7_server_active_requests",
        "Requests that the server has not answered whole.",
    );
    out.family(&family);
    for (labels, it) in servers() {
        out.sample(&family, "", &labels, it.requests);
    }
    let family = Family::counter(
        "lbfabric_l7_server_connections_total",
        "Connections made to the server.",
    );
    out.family(&family);
    for (labels, it) in servers() {
        out.sample(&family, "", &labels, it.connections_total);
    }
    let family = Family::counter(
        "lbfabric_l7_server_retries_total",
        "Requests sent again because the server had not answered.",
    );
    out.family(&family);
    for (labels, it) in servers() {
        out.sample(&family, "", &labels, it.retries);
    }
    let family = Family::counter(
        "lbfabric_l7_server_failures_total",
        "What the server failed at.",
    );
    out.family(&family);
    for ([service, server], it) in servers() {
        let failures = ServerFailure::ALL.into_iter().zip(it.failures);
        for (failure, count) in failures.filter(|(_, count)| *count > 0) {
            let labels = [service, server, ("failure", failure.name())];
            out.sample(&family, "", &labels, count);
        }
    }
    out.classes("server_responses_total", "of a server", || {
        servers().map(|(labels, it)| (labels, &it.answers))
    });
    out.times("server_", "of a server", || {
        servers().map(|(labels, it)| (labels, &it.answers))
    });
}

fn of_log(out: &mut MetricsText, log: LogReading) {
    let LogReading {
        written,
        dropped,
        failed,
    } = log;
    let family = Family::counter(
        "lbfabric_l7_log_lines_total",
        "Lines of the access log, by what became of them.",
    );
    out.family(&family);
    for (result, count) in [
        ("dropped", dropped),
        ("failed", failed),
        ("written", written),
    ] {
        out.sample(&family, "", &[("result", result)], count);
    }
}

type Labels<'a> = [(&'static str, &'a str)];

/// What is counted under one name.
#[derive(Clone, Debug)]
pub struct Family {
    name: String,
    kind: &'static str,
    help: String,
}

/// Metrics as they are written.
#[derive(Clone, Debug)]
pub struct MetricsText {
    text: String,
    form: Exposition,
}

// === impl Family ===

impl Family {
    /// What only grows: its name ends with `_total`.
    pub fn counter(name: &str, help: &str) -> Self {
        Self::of(name, "counter", help)
    }

    /// What may also fall.
    pub fn gauge(name: &str, help: &str) -> Self {
        Self::of(name, "gauge", help)
    }

    fn of(name: &str, kind: &'static str, help: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            help: help.to_owned(),
        }
    }
}

// === impl MetricsText ===

impl MetricsText {
    /// What is counted of layer 7.
    pub fn layer7(&mut self, reading: &Reading, log: LogReading) {
        of_services(self, reading);
        of_routes(self, reading);
        of_servers(self, reading);
        of_log(self, log);
    }

    /// All samples of a family, each with its labels.
    pub fn samples<'a, const LABELS: usize>(
        &mut self,
        family: &Family,
        samples: impl Iterator<Item = ([(&'static str, &'a str); LABELS], u64)>,
    ) {
        self.family(family);
        for (labels, value) in samples {
            self.sample(family, "", &labels, value);
        }
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        if self.form == Exposition::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn family(&mut self, family: &Family) {
        let Family { name, kind, help } = family;
        let name = match self.form {
            Exposition::Text => name,
            // There the suffix belongs to the sample.
            Exposition::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
        };
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, family: &Family, suffix: &str, labels: &Labels<'_>, value: u64) {
        self.labelled(family, suffix, labels);
        self.put(format_args!(" {value}\n"));
    }

    fn labelled(&mut self, family: &Family, suffix: &str, labels: &Labels<'_>) {
        self.put(format_args!("{}{suffix}", family.name));
        if labels.is_empty() {
            return;
        }
        self.text.push('{');
        for (at, (name, value)) in labels.iter().enumerate() {
            self.put(format_args!("{}{name}=\"", if at > 0 { "," } else { "" }));
            for character in value.chars() {
                match character {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    _ => self.text.push(character),
                }
            }
            self.text.push('"');
        }
        self.text.push('}');
    }

    /// Requests by the class of what they were answered.
    fn classes<'a, const LABELS: usize, I>(&mut self, name: &str, whose: &str, each: impl Fn() -> I)
    where
        I: Iterator<Item = ([(&'static str, &'a str); LABELS], &'a AnswersReading)>,
    {
        const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
        let help = format!("Requests {whose}, by the class of what they were answered.");
        let family = Family::counter(&format!("lbfabric_l7_{name}"), &help);
        self.family(&family);
        for (labels, it) in each() {
            for (class, count) in CLASSES.into_iter().zip(it.classes) {
                let labels = [&labels[..], &[("class", class)]].concat();
                self.sample(&family, "", &labels, count);
            }
        }
    }

    /// Both times of requests.
    fn times<'a, const LABELS: usize, I>(&mut self, prefix: &str, whose: &str, each: impl Fn() -> I)
    where
        I: Iterator<Item = ([(&'static str, &'a str); LABELS], &'a AnswersReading)>,
    {
        let help =
            format!("Time until the head of the server's answer to a request {whose} had come.");
        let family = Family::of(
            &format!("lbfabric_l7_{prefix}response_head_seconds"),
            "histogram",
            &help,
        );
        self.family(&family);
        for (labels, it) in each() {
            self.histogram(&family, &labels, &it.head);
        }
        let help =
            format!("Time from the first byte of a request {whose} to the last one of its answer.");
        let family = Family::of(
            &format!("lbfabric_l7_{prefix}request_seconds"),
            "histogram",
            &help,
        );
        self.family(&family);
        for (labels, it) in each() {
            self.histogram(&family, &labels, &it.total);
        }
    }

    fn histogram(&mut self, family: &Family, labels: &Labels<'_>, times: &HistogramReading) {
        for micros in ends() {
            let end = Duration::from_micros(micros).as_secs_f64().to_string();
            let labels = [labels, &[("le", &end)]].concat();
            self.sample(family, "_bucket", &labels, times.below(micros));
        }
        let count = times.count();
        self.sample(
            family,
            "_bucket",
            &[labels, &[("le", "+Inf")]].concat(),
            count,
        );
        self.labelled(family, "_sum", labels);
        self.put(format_args!(" {}\n", times.sum().as_secs_f64()));
        self.sample(family, "_count", labels, count);
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.text
            .write_fmt(text)
            .expect("a string takes everything");
    }
}

#[cfg(test)]
mod tests;
