use std::net::IpAddr;

use lbfabric_model::{ClientCertificatePolicy, ObjectKind, PoolId, snapshot::NodeProxy};
use lbfabric_proxy::{Protocol, ProxyConfig, UdpConfig, proxy_protocol::Expected, route::TooMany};

use super::{Asked, Behaviour, Ends, Told, name_of};

impl Asked<'_> {
    /// Datagrams: a session with a server.
    pub(super) fn datagrams(&self, service: &NodeProxy, config: &UdpConfig, told: &mut Told) {
        let PoolId(pool) = service.pool;
        told.pool = name_of(self.desired, ObjectKind::Pool, pool);
        told.step(format!(
            "a session that there is goes on; a new one gets one of {} servers of pool {}, in turn, unless {} are open on its core",
            config.servers.len(),
            told.pool,
            config.sessions_max
        ));
        told.step(
            "the server's answers come back to the node, which sends them from the VIP".to_owned(),
        );
    }

    /// A client's connection, to its end.
    pub(super) fn connection(&self, behaviour: &Behaviour, config: &ProxyConfig, told: &mut Told) {
        // How it ends is in the steps.
        let _ends = self.begin(behaviour, config, told);
    }

    fn begin(
        &self,
        behaviour: &Behaviour,
        config: &ProxyConfig,
        told: &mut Told,
    ) -> Result<(), Ends> {
        let client = self.question.source.ip();
        match config.proxy_protocol.expected(client) {
            Expected::NoHeader => {}
            Expected::Header => told.step(format!(
                "{client} is a proxy before the node: a header of the PROXY protocol has to come first, and all that follows goes by the client that it names"
            )),
            Expected::Nothing => {
                return Err(told.ends(format!(
                    "{client} is none of `proxy_protocol.sources`, and others are refused: the connection is reset"
                )));
            }
        }
        admitted(config, client, told)?;
        let request = self.question.request.as_ref();
        let name = request.and_then(lbfabric_model::RequestQuestion::asked_name);
        if config.tls.is_some() {
            certificate(behaviour, config, name.as_deref(), told)?;
        }
        let pool = match config.protocol {
            Protocol::Tcp => 0,
            Protocol::TlsPassthrough => passed(config, name.as_deref(), told)?,
            Protocol::Http => return self.request(config, told),
        };
        self.servers(config, pool, None, told);
        Ok(())
    }
}

/// What a client of TLS that the node ends is shown.
fn certificate(
    behaviour: &Behaviour,
    config: &ProxyConfig,
    name: Option<&str>,
    told: &mut Told,
) -> Result<(), Ends> {
    let shown = config.tls.as_ref().map(|tls| tls.certificate_for(name));
    let asks = match name {
        Some(name) => format!("a client that asks for {name}"),
        None => "a client that asks for no name".to_owned(),
    };
    let Some(shown) = shown.flatten() else {
        return Err(told.ends(format!(
            "the node ends TLS, and no certificate is for {asks}: it gets the alert unrecognized_name"
        )));
    };
    let tls = behaviour.tls.as_deref();
    let name = tls.and_then(|tls| tls.name_of(&shown));
    told.proxy.certificate = name.map_or_else(String::new, ToString::to_string);
    let clients = tls.and_then(|tls| tls.tls.client_certificates.as_ref());
    let clients = match clients.map(|it| it.policy) {
        None => "",
        Some(ClientCertificatePolicy::Required) => ", and has to show one itself",
        Some(ClientCertificatePolicy::Optional) => ", and may show one itself",
    };
    told.step(format!(
        "the node ends TLS: {asks} is shown certificate {}{clients}",
        told.proxy.certificate
    ));
    Ok(())
}

/// Limits on connections.
fn admitted(config: &ProxyConfig, client: IpAddr, told: &mut Told) -> Result<(), Ends> {
    let Some(connections) = config.routes.connections() else {
        return Ok(());
    };
    let count = connections.count();
    let whose = match connections.peek(client) {
        Ok(()) => {
            told.step(format!(
                "the service has {count} connections, and room for this one by `connection_limits`"
            ));
            return Ok(());
        }
        Err(TooMany::Service) => "the service",
        Err(TooMany::Source) => "the client",
    };
    Err(told.ends(format!(
        "{whose} has as many connections as `connection_limits` allow: this one is closed without a word"
    )))
}

/// The pool of TLS that is passed through.
fn passed(config: &ProxyConfig, name: Option<&str>, told: &mut Told) -> Result<usize, Ends> {
    let found = name.and_then(|name| Some((name, config.sni.find(name.as_bytes())?)));
    let pool = config.sni.pool(name.map(str::as_bytes));
    match (found, name) {
        (Some((name, found)), _) if found.from == 0 => {
            told.step(format!("`sni` has {name}"));
        }
        (Some((name, found)), _) => {
            told.step(format!("`sni` has *.{} for {name}", &name[found.from..]));
        }
        (None, Some(name)) => told.step(format!("`sni` has nothing for {name}")),
        (None, None) => told.step(
            "the server's name decides, which is not given: this is for a client that asks for none"
                .to_owned(),
        ),
    }
    pool.ok_or_else(|| told.ends("it is closed with the alert unrecognized_name".to_owned()))
}
