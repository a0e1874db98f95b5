//! Who is measured, and the server behind them. All serve the same addresses of this machine with one worker on one core.

use std::{fs, net::SocketAddr, path::Path};

use crate::{
    cases::{Front, Kind},
    process::{Process, free_address, on_core},
};

/// Of the body of most answers.
pub(crate) const BODY_BYTES: usize = 1024;
/// What clients of TLS ask for.
pub(crate) const NAME: &str = "localhost";
/// The certificate of that name and its key, as DER.
pub(crate) const CERTIFICATE: &str = "certificate.der";
pub(crate) const KEY: &str = "key.der";
/// Of a large one.
const LARGE_BYTES: usize = 16 << 20;

/// Who is measured, HAProxy first: what it does is what the others are compared with.
pub(crate) const ALL: [Name; 3] = [Name::HaProxy, Name::Nginx, Name::Ours];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    HaProxy,
    Nginx,
    Ours,
}

/// Where a proxy listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listens {
    pub(crate) http: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) tcp: SocketAddr,
    pub(crate) http2: SocketAddr,
}

/// A proxy that runs.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) listens: Listens,
    pub(crate) process: Process,
}

/// The server that all of them have, and how to start them.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    pub(crate) folder: &'a Path,
    server: SocketAddr,
    proxy_core: usize,
    _server: Process,
}

// === impl Listens ===

impl Listens {
    fn free() -> Self {
        Self {
            http: free_address(),
            tls: free_address(),
            tcp: free_address(),
            http2: free_address(),
        }
    }

    /// What a client of this case asks for.
    pub(crate) fn url(&self, kind: Kind) -> String {
        let (http, tls) = (self.http, self.tls);
        match kind {
            Kind::KeepAlive(Front::Http)
            | Kind::NewConnections(Front::Http)
            | Kind::Latency
            | Kind::Among(_)
            | Kind::Million
            | Kind::Idle(Front::Http) => format!("http://{http}/"),
            Kind::KeepAlive(Front::Tls)
            | Kind::NewConnections(Front::Tls)
            | Kind::Idle(Front::Tls) => format!("https://{tls}/"),
            Kind::Transfers => format!("http://{}/large", self.tcp),
            Kind::Http2 => format!("http://{}/", self.http2),
        }
    }
}

// === impl Site ===

impl<'a> Site<'a> {
    /// Starts the server, on the core that clients have too.
    pub(crate) fn open(folder: &'a Path, core: usize, proxy_core: usize) -> Self {
        let server = free_address();
        fs::write(folder.join("large"), vec![b'x'; LARGE_BYTES]).unwrap();
        for name in ["server", "nginx"] {
            fs::create_dir(folder.join(name)).unwrap();
        }
        write_certificate(folder);
        let path = folder.to_str().unwrap();
        let configuration = format!(
            r#"{NGINX}
http {{
    {NGINX_HTTP}
    server {{
        listen {server};
        root {path};
        location = / {{ return 200 "{body}"; }}
        location /r/ {{ return 200 "{body}"; }}
    }}
}}
"#,
            body = "x".repeat(BODY_BYTES)
        );
        let process = nginx(folder, "server", core, &configuration, &[server]);
        Self {
            folder,
            server,
            proxy_core,
            _server: process,
        }
    }

    /// Starts a proxy.
    pub(crate) fn start(&self, name: Name) -> Proxy {
        let mut listens = Listens::free();
        if name == Name::Ours {
            // A client's first bytes say which it is.
            listens.http2 = listens.http;
        }
        let process = match name {
            Name::HaProxy => self.haproxy(&listens),
            Name::Nginx => self.nginx(&listens),
            Name::Ours => self.ours(&listens, &[]),
        };
        Proxy { listens, process }
    }

    /// Starts ours with more to do than the others have.
    pub(crate) fn start_ours(&self, more: &[&str]) -> Proxy {
        let listens = Listens::free();
        let process = self.ours(&listens, more);
        Proxy { listens, process }
    }

    fn ours(&self, listens: &Listens, more: &[&str]) -> Process {
        let this = std::env::current_exe().unwrap();
        let mut command = on_core(self.proxy_core, this.to_str().unwrap());
        command.args(["serve", "--http", &listens.http.to_string()]);
        command.args(["--tls", &listens.tls.to_string()]);
        command.args(["--tcp", &listens.tcp.to_string()]);
        command.args(["--server", &self.server.to_string()]);
        command.arg("--folder").arg(self.folder).args(more);
        Process::start(&mut command, &[listens.http, listens.tls, listens.tcp])
    }

    fn haproxy(&self, listens: &Listens) -> Process {
        let Listens {
            http,
            tls,
            tcp,
            http2,
        } = listens;
        let (path, server) = (self.folder.display(), self.server);
        let configuration = format!(
            "global
    nbthread 1
    maxconn 9000
    tune.ssl.cachesize 0
    ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-request 10s
    timeout http-keep-alive 60s
frontend http
    bind {http}
    bind {tls} ssl crt {path}/both.pem alpn http/1.1
    bind {http2} proto h2
    option forwardfor
    default_backend servers
backend servers
    http-reuse always
    server one {server}
listen tcp
    mode tcp
    bind {tcp}
    server one {server}
"
        );
        let file = self.folder.join("haproxy.cfg");
        fs::write(&file, configuration).unwrap();
        let mut command = on_core(self.proxy_core, "haproxy");
        // In the foreground, a process alone.
        command.args(["-db", "-q", "-f", file.to_str().unwrap()]);
        Process::start(&mut command, &[*http, *tls, *tcp, *http2])
    }

    fn nginx(&self, listens: &Listens) -> Process {
        let Listens {
            http,
            tls,
            tcp,
            http2,
        } = listens;
        let (path, server) = (self.folder.display(), self.server);
        let configuration = format!(
            r#"load_module /usr/lib/nginx/modules/ngx_stream_module.so;
{NGINX}
http {{
    {NGINX_HTTP}
    upstream servers {{
        server {server};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    ssl_certificate {path}/certificate.pem;
    ssl_certificate_key {path}/key.pem;
    ssl_protocols TLSv1.3;
    ssl_session_cache off;
    ssl_session_tickets off;
    server {{
        listen {http} backlog=1024;
        listen {tls} ssl backlog=1024;
        listen {http2} http2 backlog=1024;
        location / {{
            proxy_pass http://servers;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
    }}
}}
stream {{
    server {{
        listen {tcp};
        proxy_pass {server};
    }}
}}
"#
        );
        let all = [*http, *tls, *tcp, *http2];
        nginx(self.folder, "nginx", self.proxy_core, &configuration, &all)
    }
}

/// What every nginx has.
const NGINX: &str = "daemon off;
user root;
worker_processes 1;
pid nginx.pid;
error_log error.log error;
events { worker_connections 18500; }";

const NGINX_HTTP: &str = "access_log off;
    default_type text/plain;
    sendfile on;
    keepalive_requests 1000000000;
    keepalive_timeout 60s;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;";

fn nginx(
    folder: &Path,
    name: &str,
    core: usize,
    configuration: &str,
    listens: &[SocketAddr],
) -> Process {
    let folder = folder.join(name);
    fs::write(folder.join("nginx.conf"), configuration).unwrap();
    let mut command = on_core(core, "nginx");
    command.args([
        "-p",
        folder.to_str().unwrap(),
        "-c",
        "nginx.conf",
        "-e",
        "error.log",
    ]);
    Process::start(&mut command, listens)
}

/// One that nobody else has signed, with a key on P-256, in the forms that the proxies and the client read.
fn write_certificate(folder: &Path) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let (chain, of_it) = (made.cert.der(), made.signing_key.serialized_der());
    for (file, bytes) in [
        ("certificate.pem", certificate.as_bytes()),
        ("key.pem", key.as_bytes()),
        ("both.pem", (certificate.clone() + &key).as_bytes()),
        (CERTIFICATE, chain),
        (KEY, of_it),
    ] {
        fs::write(folder.join(file), bytes).unwrap();
    }
}
