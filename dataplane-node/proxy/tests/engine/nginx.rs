use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

/// Bytes of `/large`.
pub(crate) const LARGE_BYTES: usize = 1_000_003;

/// A server on a free port of this machine, which goes with this value.
pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    /// Where connections begin with a header of the PROXY protocol.
    pub(crate) proxied: SocketAddr,
    folder: tempfile::TempDir,
    process: Mutex<Child>,
}

impl Nginx {
    pub(crate) fn start() -> Self {
        Self::with("", &[])
    }

    /// With more directives of its server, and files for them in its folder; with `ssl_certificate` it speaks TLS, with any of `http2_...`
    /// HTTP/2. The zone `slow` can let it
    /// answer twenty times a second at most.
    pub(crate) fn with(directives: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Both at the same time, so that they differ.
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [address, proxied] = free.map(|it| it.local_addr().unwrap());
        for name in ["html", "put", "temporary"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("html/hello"), "hello\n").unwrap();
        fs::write(folder.path().join("html/large"), large()).unwrap();
        fs::write(
            folder.path().join("nginx.conf"),
            configuration(address, proxied, directives),
        )
        .unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let process = Mutex::new(run(&folder, address));
        Self {
            address,
            proxied,
            folder,
            process,
        }
    }

    /// Ends it and starts it again: its connections close.
    pub(crate) fn restart(&self) {
        self.restart_after(|| ());
    }

    /// The same, with something done while it is not there.
    pub(crate) fn restart_after(&self, meanwhile: impl FnOnce()) {
        let mut process = self.process.lock().unwrap();
        end(&mut process);
        meanwhile();
        *process = run(&self.folder, self.address);
    }

    /// What `/large` is.
    pub(crate) fn large(&self) -> String {
        fs::read_to_string(self.folder.path().join("html/large")).unwrap()
    }

    /// What was put at `/put/NAME`.
    pub(crate) fn stored(&self, name: &str) -> Vec<u8> {
        let path: PathBuf = self.folder.path().join("put").join(name);
        fs::read(path).unwrap()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        end(&mut self.process.lock().unwrap());
    }
}

fn large() -> String {
    let letters = ('a'..='w').cycle();
    letters.take(LARGE_BYTES).collect()
}

fn run(folder: &tempfile::TempDir, address: SocketAddr) -> Child {
    let path = folder.path().to_str().unwrap();
    let process = Command::new("nginx")
        .args(["-p", path, "-c", "nginx.conf", "-e", "error.log"])
        .env(
            "PATH",
            format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()),
        )
        .spawn()
        .expect("nginx is installed");
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "nginx does not listen"
        );
        thread::sleep(Duration::from_millis(10));
    }
    process
}

/// In order, so that its workers go with it.
fn end(process: &mut Child) {
    let id = i32::try_from(process.id()).unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(id),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    process.wait().unwrap();
}

fn configuration(address: SocketAddr, proxied: SocketAddr, directives: &str) -> String {
    let ssl = if directives.contains("ssl_certificate") {
        " ssl"
    } else {
        ""
    };
    let http2 = if directives.contains("http2_") {
        " http2"
    } else {
        ""
    };
    format!(
        r#"daemon off;
user root;
worker_processes 1;
pid nginx.pid;
error_log error.log warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path temporary;
    proxy_temp_path temporary;
    fastcgi_temp_path temporary;
    uwsgi_temp_path temporary;
    scgi_temp_path temporary;
    client_max_body_size 64m;
    limit_req_zone $server_port zone=slow:1m rate=20r/s;
    server {{
        listen {address}{ssl}{http2};
        {directives}
        root html;
        location /put {{ root .; dav_methods PUT; }}
        location /port {{
            try_files /nothing @port;
        }}
        location @port {{ return 200 "$server_port\n"; }}
        location /echo {{
            add_header X-Old server;
            return 200 "$request_method $request_uri|$http_host|$http_x_set|$http_x_gone|$http_x_added\n";
        }}
        location /scheme {{ return 200 "$scheme $server_protocol\n"; }}
        location /seen {{
            return 200 "$http_x_forwarded_for|$http_x_forwarded_proto|$http_forwarded|$http_host\n";
        }}
    }}
    server {{
        listen {proxied} proxy_protocol;
        location / {{
            return 200 "$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port $connection\n";
        }}
    }}
}}
"#
    )
}
