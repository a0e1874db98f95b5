use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

/// Real servers that speak TLS with certificates of their own, which go with this value.
pub(crate) struct Servers {
    /// One for each name.
    pub(crate) addresses: Vec<SocketAddr>,
    folder: tempfile::TempDir,
    process: Child,
}

impl Servers {
    /// Each answers with its name and what it was told of the client and of TLS.
    pub(crate) fn start(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap().to_owned();
        // All at the same time, so that they differ.
        let free: Vec<_> = names
            .iter()
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let addresses: Vec<_> = free.iter().map(|it| it.local_addr().unwrap()).collect();
        drop(free);
        let blocks: String = names
            .iter()
            .zip(&addresses)
            .map(|(name, address)| {
                certificate(&path, name);
                block(name, *address)
            })
            .collect();
        let configuration = format!(
            "daemon off;\nuser root;\nworker_processes 1;\npid nginx.pid;\nerror_log error.log warn;\nevents {{}}\n\
             http {{\naccess_log off;\nclient_body_temp_path t;\nproxy_temp_path t;\nfastcgi_temp_path t;\nuwsgi_temp_path t;\n\
             scgi_temp_path t;\n{blocks}}}\n"
        );
        fs::write(folder.path().join("nginx.conf"), configuration).unwrap();
        let process = Command::new("nginx")
            .args(["-p", &path, "-c", "nginx.conf", "-e", "error.log"])
            .env(
                "PATH",
                format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()),
            )
            .spawn()
            .expect("nginx is installed");
        let begun = Instant::now();
        for address in &addresses {
            while TcpStream::connect(address).is_err() {
                assert!(begun.elapsed() < Duration::from_secs(20), "nginx listens");
                thread::sleep(Duration::from_millis(10));
            }
        }
        Self {
            addresses,
            folder,
            process,
        }
    }

    /// The certificate that a name's server has, which its client has to know.
    pub(crate) fn certificate(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.crt"))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // In order, so that its workers go with it.
        let id = i32::try_from(self.process.id()).unwrap();
        let id = nix::unistd::Pid::from_raw(id);
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.process.wait().unwrap();
    }
}

fn block(name: &str, address: SocketAddr) -> String {
    format!(
        "server {{\nlisten {address} ssl http2;\nssl_protocols TLSv1.2 TLSv1.3;\nssl_certificate {name}.crt;\nssl_certificate_key {name}.key;\n\
         location / {{ return 200 \"{name} $ssl_server_name $server_protocol\\n\"; }}\n}}\n"
    )
}

fn certificate(folder: &str, name: &str) {
    let alternative = format!("subjectAltName=DNS:{name},DNS:*.{name}");
    let subject = format!("/CN={name}");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
        .args(["ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-keyout", &format!("{folder}/{name}.key")])
        .args(["-out", &format!("{folder}/{name}.crt")])
        .args(["-subj", &subject, "-addext", &alternative])
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{made:?}");
}
