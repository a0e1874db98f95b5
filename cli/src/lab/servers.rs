//! The servers' configuration: a real nginx that tells who asked. Pure, apart from finding out how nginx was built.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::bail;

use super::frame::{TCP_PORT, UDP_PORT};
use super::interrupt::Interrupt;
use super::program;
use super::verdict::HEALTH_PORT;

/// Where Debian's `libnginx-mod-stream` puts the module.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// The line that gives nginx its stream module, which serves UDP: empty if it is built in.
pub(super) fn stream_module() -> anyhow::Result<String> {
    if Path::new(STREAM_MODULE).exists() {
        return Ok(format!("load_module {STREAM_MODULE};"));
    }
    let mut nginx = Command::new("nginx");
    let options = program::finish(
        nginx.arg("-V"),
        "",
        Duration::from_secs(5),
        &Interrupt::default(),
    )?
    .stderr;
    if options
        .split_whitespace()
        .any(|option| option == "--with-stream")
    {
        return Ok(String::new());
    }
    bail!(
        "nginx has no stream module, which serves UDP: install the package libnginx-mod-stream (`make setup` does)"
    )
}

/// The configuration of a server, which keeps all its files below its prefix.
pub(super) fn nginx_conf(name: &str, stream_module: &str) -> String {
    format!(
        r#"{stream_module}
daemon off;
user root;
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_timeout 0;
    client_body_temp_path client;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    default_type text/plain;
    server {{
        listen 0.0.0.0:{TCP_PORT};
        listen [::]:{TCP_PORT} ipv6only=on;
        listen 0.0.0.0:{HEALTH_PORT};
        listen [::]:{HEALTH_PORT} ipv6only=on;
        return 200 "{name} $remote_addr $server_addr\n";
    }}
}}
stream {{
    server {{
        listen 0.0.0.0:{UDP_PORT} udp;
        listen [::]:{UDP_PORT} udp ipv6only=on;
        return "{name} $remote_addr $server_addr\n";
    }}
}}
"#
    )
}
