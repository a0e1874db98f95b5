//! A worker of the engine behind TLS, for measurements: `tls LISTEN SERVER FOLDER`. It makes a certificate for `a.example`, and leaves it
//! with its key in the folder's `both.pem` for others.
#![expect(
    clippy::unwrap_used,
    reason = "whatever is not as expected ends the measurement"
)]

use std::{env, fs, path::Path, sync::Arc, time::Duration};

use lbfabric_proxy::{
    PoolConfig, ProxyConfig, SharedPools, listener, serve,
    tls::{Certificate, Certificates, TicketConfig, TicketKey, TlsConfig, TlsOptions, UnknownName},
};
use rcgen::{CertificateParams, KeyPair};

fn main() {
    let arguments: Vec<_> = env::args().collect();
    let [_, listen, server, folder] = &arguments[..] else {
        panic!("to be called with LISTEN SERVER FOLDER");
    };
    let config = ProxyConfig {
        pools: vec![PoolConfig::of(&[server.parse().unwrap()])],
        tls: (folder != "-").then(|| Arc::new(tls(Path::new(folder)))),
        ..ProxyConfig::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let listener = listener(listen.parse().unwrap()).unwrap();
    tokio::task::LocalSet::new()
        .block_on(&runtime, serve(listener, config, SharedPools::default()))
        .unwrap();
}

fn tls(folder: &Path) -> TlsConfig {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let both = format!("{}{}", certificate.pem(), key.serialize_pem());
    fs::write(folder.join("both.pem"), both).unwrap();
    let chain = [certificate.der().to_vec()];
    let certificate = Certificate::from_der("a", &chain, &key.serialize_der()).unwrap();
    let certificates = Certificates::new([&certificate], UnknownName::First);
    TlsConfig::new(&TlsOptions {
        tickets: Some(TicketConfig {
            keys: vec![TicketKey::random().unwrap()],
            lifetime: Duration::from_hours(1),
        }),
        ..TlsOptions::new(Arc::new(certificates))
    })
    .unwrap()
}
