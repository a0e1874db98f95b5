//! Thousands of clients, in a process of their own: a process may have 20,000 files open where nobody allows it more.

use std::{
    env,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::HOST;
use crate::namespace::Namespace;

/// What the process is to do, `CLEAR ADDRESS,TLS ADDRESS,CONNECTIONS,OVER TLS,FOLDER WITH ROOTS`; without it the test tests the clients.
const TASK: &str = "LBFABRIC_TEST_CLIENTS";
/// Before what a process of clients says.
const SAYS: &str = "clients: ";
/// Between two requests of a connection: of ten thousand they are some 10,000 each second.
const PACE: Duration = Duration::from_secs(1);
/// For a connection or an answer, of a machine that does many other things.
const PATIENCE: Duration = Duration::from_mins(1);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n";

/// What clients have seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Connections that are there.
    pub(super) open: u64,
    pub(super) answers: u64,
    /// Connections that were closed behind an answer that said so.
    pub(super) closed_in_order: u64,
    /// The first of all failures.
    pub(super) failure: Option<String>,
}

/// Where clients go.
#[derive(Clone, Copy, Debug)]
pub(super) struct To {
    pub(super) clear: SocketAddr,
    pub(super) tls: SocketAddr,
    pub(super) connections: usize,
    /// So many of them speak TLS.
    pub(super) over_tls: usize,
}

/// A process of clients. It ends with this.
pub(super) struct Clients {
    child: Child,
    seen: Arc<Mutex<Seen>>,
    listener: Option<thread::JoinHandle<()>>,
}

// === impl Clients ===

impl Clients {
    /// Starts them in a namespace. `roots` has the certificates that they trust, each in a file.
    pub(super) fn start(namespace: &Namespace, to: To, roots: &Path) -> Self {
        let To {
            clear,
            tls,
            connections,
            over_tls,
        } = to;
        let task = format!("{clear},{tls},{connections},{over_tls},{}", roots.display());
        let mut command = Command::new(env::current_exe().expect("this program"));
        command
            .args(["--exact", "take_over::clients::clients_say_what_fails"])
            .arg("--nocapture")
            .env(TASK, task)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = namespace.within(|| command.spawn().expect("it starts"));
        let said = BufReader::new(child.stdout.take().expect("it is piped"));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let heard = seen.clone();
        let listener = thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                if let Some(now) = line.strip_prefix(SAYS) {
                    *heard.lock().expect("not poisoned") = Seen::parse(now);
                }
            }
        });
        Self {
            child,
            seen,
            listener: Some(listener),
        }
    }

    /// What they have seen until a moment ago; a failure ends the test.
    pub(super) fn seen(&self) -> Seen {
        let seen = self.seen.lock().expect("not poisoned").clone();
        assert_eq!(seen.failure, None, "{seen:?}");
        seen
    }

    /// Ends them, and gives all that they have seen.
    pub(super) fn stop(mut self) -> Seen {
        drop(self.child.stdin.take());
        let listener = self.listener.take().expect("it listens until here");
        listener.join().expect("it hears to the end");
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}");
        self.seen()
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

// === impl Seen ===

impl Seen {
    fn write(&self) -> String {
        let Self {
            open,
            answers,
            closed_in_order,
            failure,
        } = self;
        let failure = failure.as_deref().unwrap_or_default();
        format!("{SAYS}{open} {answers} {closed_in_order} {failure}")
    }

    fn parse(text: &str) -> Self {
        let mut words = text.splitn(4, ' ');
        let mut number = || words.next().and_then(|word| word.parse().ok());
        let numbers = [number(), number(), number()].map(|it| it.expect("a number"));
        let failure = words.next().unwrap_or_default();
        Self {
            open: numbers[0],
            answers: numbers[1],
            closed_in_order: numbers[2],
            failure: (!failure.is_empty()).then(|| failure.to_owned()),
        }
    }
}

/// What is counted while clients run.
#[derive(Debug, Default)]
struct Counts {
    open: AtomicU64,
    answers: AtomicU64,
    closed_in_order: AtomicU64,
    failure: Mutex<Option<String>>,
    is_over: AtomicBool,
}

impl Counts {
    fn now(&self) -> Seen {
        Seen {
            open: self.open.load(Ordering::Relaxed),
            answers: self.answers.load(Ordering::Relaxed),
            closed_in_order: self.closed_in_order.load(Ordering::Relaxed),
            failure: self.failure.lock().expect("not poisoned").clone(),
        }
    }
}

/// Runs clients until it is over.
fn run(to: To, tls: ClientConfig, counts: &Arc<Counts>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async move {
        let tls = TlsConnector::from(Arc::new(tls));
        // All at once would overflow the listeners' queues.
        let turns = Arc::new(Semaphore::new(64));
        let clients: Vec<_> = (0..to.connections)
            .map(|n| {
                let client = Client {
                    to,
                    tls: (n < to.over_tls).then(|| tls.clone()),
                    turns: turns.clone(),
                    counts: counts.clone(),
                };
                tokio::spawn(client.run(n))
            })
            .collect();
        for client in clients {
            client.await.expect("a client does not panic");
        }
    });
}

struct Client {
    to: To,
    tls: Option<TlsConnector>,
    turns: Arc<Semaphore>,
    counts: Arc<Counts>,
}

impl Client {
    async fn run(self, n: usize) {
        while !self.counts.is_over.load(Ordering::Relaxed) {
            if let Err(error) = self.connection(n).await {
                let mut failure = self.counts.failure.lock().expect("not poisoned");
                failure.get_or_insert_with(|| format!("connection {n}: {error}"));
                return;
            }
        }
    }

    /// A connection until it ends in order.
    async fn connection(&self, n: usize) -> io::Result<()> {
        let turn = self.turns.acquire().await.map_err(io::Error::other)?;
        match &self.tls {
            None => {
                let stream = within(TcpStream::connect(self.to.clear)).await?;
                drop(turn);
                self.requests(stream, n).await
            }
            Some(tls) => {
                let stream = within(TcpStream::connect(self.to.tls)).await?;
                let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
                let stream = within(tls.connect(name, stream)).await?;
                drop(turn);
                self.requests(stream, n).await
            }
        }
    }

    async fn requests(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        n: usize,
    ) -> io::Result<()> {
        let counts = &self.counts;
        counts.open.fetch_add(1, Ordering::Relaxed);
        let ended = loop {
            let may_go_on = match within(request(&mut stream)).await {
                Ok(may_go_on) => may_go_on,
                Err(error) => break Err(error),
            };
            counts.answers.fetch_add(1, Ordering::Relaxed);
            if !may_go_on {
                counts.closed_in_order.fetch_add(1, Ordering::Relaxed);
                break Ok(());
            }
            if counts.is_over.load(Ordering::Relaxed) {
                break Ok(());
            }
            // Not all at the same moment.
            let jitter = u32::try_from(n % 100).expect("below a hundred");
            sleep(PACE / 2 + PACE * jitter / 100).await;
        };
        counts.open.fetch_sub(1, Ordering::Relaxed);
        ended
    }
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, work)
        .await
        .map_err(|_late| io::Error::from(io::ErrorKind::TimedOut))?
}

/// A request with its whole answer; whether another may follow.
async fn request(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<bool> {
    const BODY: &[u8] = b"\r\n\r\nhello\n";
    stream.write_all(REQUEST).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(BODY) {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    if !answer.starts_with(b"HTTP/1.1 200 OK\r\n") || !answer.ends_with(BODY) {
        let answer = format!("{:?}", String::from_utf8_lossy(&answer));
        return Err(io::Error::other(answer));
    }
    let last = b"Connection: close\r\n";
    Ok(!answer.windows(last.len()).any(|part| part == last))
}

fn client_config(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Is a process of clients, which says ten times a second what it has seen.
#[expect(
    clippy::print_stdout,
    reason = "it speaks to the test that has started it"
)]
fn be_clients(task: &str) {
    let words: Vec<_> = task.splitn(5, ',').collect();
    let [clear, tls, connections, over_tls, folder] = words[..] else {
        panic!("{TASK}: {task}");
    };
    let to = To {
        clear: clear.parse().expect("an address"),
        tls: tls.parse().expect("an address"),
        connections: connections.parse().expect("a number"),
        over_tls: over_tls.parse().expect("a number"),
    };
    let mut roots = RootCertStore::empty();
    for file in std::fs::read_dir(folder).expect("a folder") {
        let mut root = Vec::new();
        let file = File::open(file.expect("a file").path());
        file.and_then(|mut file| file.read_to_end(&mut root))
            .expect("it can be read");
        roots.add(CertificateDer::from(root)).expect("a root");
    }
    let counts = Arc::new(Counts::default());
    let told = counts.clone();
    let ends = thread::spawn(move || {
        // It ends where the test does, however that ends.
        let _end = io::stdin().read_to_end(&mut Vec::new());
        told.is_over.store(true, Ordering::Relaxed);
    });
    let says = counts.clone();
    let says = thread::spawn(move || {
        while !says.is_over.load(Ordering::Relaxed) {
            println!("{}", says.now().write());
            thread::sleep(Duration::from_millis(100));
        }
    });
    run(to, client_config(roots), &counts);
    says.join().expect("it ends");
    ends.join().expect("it ends");
    println!("{}", counts.now().write());
    io::stdout().flush().expect("the test listens");
}

#[test]
fn clients_say_what_fails() {
    if let Ok(task) = env::var(TASK) {
        return be_clients(&task);
    }
    // A server that answers once, and is gone without a word.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let server = thread::spawn(move || {
        for client in listener.incoming().take(3) {
            let mut client = client.expect("a client");
            client
                .read_exact(&mut [0; REQUEST.len()])
                .expect("a request");
            client
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")
                .expect("it reads");
        }
    });
    let counts = Arc::new(Counts::default());
    let to = To {
        clear: address,
        tls: address,
        connections: 3,
        over_tls: 0,
    };
    let tls = client_config(RootCertStore::empty());
    run(to, tls, &counts);
    server.join().expect("it ends");
    let seen = counts.now();
    assert_eq!((seen.answers, seen.closed_in_order, seen.open), (3, 0, 0));
    let failure = seen.failure.clone().expect("a failure");
    assert!(failure.starts_with("connection "), "{failure}");
    assert_eq!(
        Seen::parse(seen.write().strip_prefix(SAYS).expect("it begins so")),
        seen
    );
}
