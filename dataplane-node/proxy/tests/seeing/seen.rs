use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use lbfabric_proxy::{
    PoolConfig, ProxyConfig,
    observe::{
        AccessLog, LogConfig, LogFormat, Metrics, ObserveConfig, Sampling, ServiceReading, Sink,
    },
};
use serde_json::Value;

use crate::worker::engine;

pub(crate) const SERVICE: &str = "shop";

/// An engine with all that it says of its requests.
pub(crate) struct Seen {
    pub(crate) engine: SocketAddr,
    /// By what it is seen.
    pub(crate) observe: ObserveConfig,
    metrics: Arc<Metrics>,
    log: Arc<AccessLog>,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Seen {
    /// Before these servers; the first is called "one".
    pub(crate) fn start(
        servers: &[SocketAddr],
        sampling: Sampling,
        change: impl FnOnce(&mut ProxyConfig),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = AccessLog::start(Sink::File(path.clone())).unwrap();
        let (log, metrics) = (Arc::new(log), Arc::new(Metrics::default()));
        let mut pool = PoolConfig::of(servers);
        if let Some(first) = pool.servers.first_mut() {
            "one".clone_into(&mut first.name);
        }
        let mut config = ProxyConfig {
            pools: vec![pool],
            observe: ObserveConfig {
                service: SERVICE.into(),
                metrics: Some(metrics.clone()),
                log: Some(LogConfig {
                    log: log.clone(),
                    format: LogFormat::Json,
                    sampling,
                }),
                ..ObserveConfig::default()
            },
            ..ProxyConfig::default()
        };
        change(&mut config);
        Self {
            observe: config.observe.clone(),
            engine: engine(config),
            metrics,
            log,
            path,
            _folder: folder,
        }
    }

    /// What is counted of the service.
    pub(crate) fn reading(&self) -> ServiceReading {
        let mut reading = self.metrics.read();
        reading.services.remove(SERVICE).unwrap_or_default()
    }

    /// How requests ended, by their letters.
    pub(crate) fn terminations(&self) -> Vec<(String, u64)> {
        let letters = |it: [u8; 2]| String::from_utf8(it.to_vec()).unwrap();
        let terminations = self.reading().terminations.into_iter();
        terminations
            .map(|(it, count)| (letters(it.letters()), count))
            .collect()
    }

    /// All lines, which are so many as soon as they are written.
    pub(crate) fn lines(&self, count: usize) -> Vec<Value> {
        self.until("the lines are there", |it| it.lines_there().len() >= count);
        let lines = self.lines_there();
        assert_eq!(lines.len(), count, "{lines:?}");
        lines
    }

    fn lines_there(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.path).unwrap();
        assert_eq!(self.log.read().dropped, 0);
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        text[..whole]
            .lines()
            .map(|it| serde_json::from_str(it).unwrap())
            .collect()
    }

    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "not so: {what}: {:?}",
                self.reading()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

pub(crate) fn text<'a>(line: &'a Value, name: &str) -> Option<&'a str> {
    line.get(name).map(|it| it.as_str().unwrap())
}

pub(crate) fn millis(line: &Value, name: &str) -> f64 {
    line[name].as_f64().unwrap()
}
