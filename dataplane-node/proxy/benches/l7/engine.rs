//! Ours: the engine with one worker in a process of its own, which this program starts itself as.

use std::{
    collections::BTreeMap, fs, net::SocketAddr, path::Path, path::PathBuf, sync::Arc,
    time::Duration,
};

use lbfabric_proxy::{
    ApplyError, Engine, EngineConfig, EngineService, ForwardedConfig, Idle, PoolConfig, Protocol,
    ProxyConfig, ServiceKey, Timeouts,
    http1::ForwardedPolicy,
    tls::{Certificate, Certificates, MinimumVersion, TlsConfig, TlsOptions, UnknownName},
};

use crate::{
    many,
    proxies::{CERTIFICATE, KEY, NAME},
};

/// What it serves.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Serving {
    /// HTTP/1.1 and HTTP/2.
    #[arg(long)]
    http: SocketAddr,
    /// The same over TLS 1.3.
    #[arg(long)]
    tls: SocketAddr,
    /// Plain TCP.
    #[arg(long)]
    tcp: SocketAddr,
    #[arg(long)]
    server: SocketAddr,
    /// How many services there are of HTTP.
    #[arg(long, default_value_t = 1)]
    services: u32,
    /// How many routes each of them has.
    #[arg(long, default_value_t = 0)]
    routes: u32,
    /// How long clients may wait with their next request.
    #[arg(long, default_value_t = 60)]
    idle_secs: u64,
    /// With the certificate.
    #[arg(long)]
    folder: PathBuf,
}

/// Serves until it is ended.
pub(crate) fn run(serving: &Serving) {
    let Serving {
        http,
        tls,
        tcp,
        server,
        services,
        routes,
        idle_secs,
        folder,
    } = serving;
    let proxy = ProxyConfig {
        pools: vec![PoolConfig {
            idle: Idle {
                connections: 128,
                ..Idle::default()
            },
            ..PoolConfig::of(&[*server])
        }],
        // The others say less of a client: its address alone.
        forwarded: ForwardedConfig {
            x_forwarded: ForwardedPolicy::Replace,
            forwarded: ForwardedPolicy::Leave,
        },
        timeouts: Timeouts {
            idle: Duration::from_secs(*idle_secs),
            ..Timeouts::default()
        },
        routes: match routes {
            0 => Arc::default(),
            count => Arc::new(many::routes(*count)),
        },
        ..ProxyConfig::default()
    };
    let over_tls = ProxyConfig {
        tls: Some(Arc::new(tls_config(folder))),
        ..proxy.clone()
    };
    let relay = ProxyConfig {
        protocol: Protocol::Tcp,
        ..proxy.clone()
    };
    let of_http = (0..*services).map(|n| (many::address(*http, n), proxy.clone()));
    let parts = of_http.chain([(*tls, over_tls), (*tcp, relay)]);
    let services = (1..).zip(parts).map(|(id, (listens, proxy))| {
        let service = EngineService {
            listen: vec![listens],
            steered: Vec::new(),
            proxy: Arc::new(proxy),
        };
        (ServiceKey { id, part: 0 }, service)
    });
    let config = EngineConfig {
        services: services.collect::<BTreeMap<_, _>>(),
        ..EngineConfig::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let engine = Engine::start(1, Duration::ZERO).unwrap();
        let failed = engine.apply(config).await;
        // With ten thousand services a worker of a busy machine may answer late: whoever starts this waits until the last one is served.
        let mut failed = failed.iter();
        let wrong = failed.find(|(_, error)| !matches!(error, ApplyError::Worker { .. }));
        assert!(wrong.is_none(), "{wrong:?}");
        std::future::pending::<()>().await;
    });
}

/// As the others have it: TLS 1.3 without tickets, so that each connection does a whole handshake.
fn tls_config(folder: &Path) -> TlsConfig {
    let read = |file: &str| fs::read(folder.join(file)).unwrap();
    let certificate = Certificate::from_der(NAME, &[read(CERTIFICATE)], &read(KEY)).unwrap();
    let certificates = Certificates::new(&[certificate], UnknownName::First);
    let options = TlsOptions {
        minimum: MinimumVersion::Tls13,
        ..TlsOptions::new(Arc::new(certificates))
    };
    TlsConfig::new(&options).unwrap()
}
