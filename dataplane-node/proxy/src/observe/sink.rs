use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::unix::{fs::OpenOptionsExt as _, net::UnixDatagram},
    path::PathBuf,
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Where the lines of an access log go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Nowhere: only the latest lines are kept, for who asks for them.
    Nowhere,
    /// The standard output.
    Stdout,
    /// The end of a file, which is made if it is not there and opened again when told so.
    File(PathBuf),
    /// A syslog daemon's Unix socket, such as `/dev/log`: a message of RFC 5424 for each line.
    SyslogUnix(PathBuf),
    /// The same over UDP, RFC 5426.
    SyslogUdp(SocketAddr),
}

/// Facility local0, severity informational (RFC 5424 section 6.2.1), and nothing of what the daemon knows by itself.
const SYSLOG_HEADER: &[u8] = b"<134>1 - - lbfabric - access - ";

/// A sink that is open.
#[derive(Debug)]
pub(crate) enum Open {
    Nowhere,
    Stdout,
    File(File),
    SyslogUnix(UnixDatagram),
    SyslogUdp(UdpSocket),
}

impl Sink {
    pub(crate) fn open(&self) -> io::Result<Open> {
        Ok(match self {
            Self::Nowhere => Open::Nowhere,
            Self::Stdout => Open::Stdout,
            Self::File(path) => {
                // A pipe that nobody reads would be waited for: it is an error instead.
                let file = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .custom_flags(OFlag::O_NONBLOCK.bits())
                    .open(path)?;
                fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
                Open::File(file)
            }
            Self::SyslogUnix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                Open::SyslogUnix(socket)
            }
            Self::SyslogUdp(address) => {
                let local: SocketAddr = match address {
                    SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                let socket = UdpSocket::bind(local)?;
                socket.connect(address)?;
                Open::SyslogUdp(socket)
            }
        })
    }
}

impl Open {
    /// Writes whole lines: in one write, or in one for each where each is a datagram. Says how many are lost, and the last reason.
    pub(crate) fn write(&mut self, bytes: &[u8], lines: u64) -> Result<(), (u64, io::Error)> {
        let all = |result: io::Result<()>| result.map_err(|error| (lines, error));
        match self {
            Self::Nowhere => Ok(()),
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                all(stdout.write_all(bytes).and_then(|()| stdout.flush()))
            }
            Self::File(file) => all(file.write_all(bytes)),
            Self::SyslogUnix(socket) => each(bytes, |message| socket.send(message)),
            Self::SyslogUdp(socket) => each(bytes, |message| socket.send(message)),
        }
    }
}

fn each(bytes: &[u8], send: impl Fn(&[u8]) -> io::Result<usize>) -> Result<(), (u64, io::Error)> {
    let (mut failed, mut message) = (None, Vec::new());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        message.clear();
        message.extend_from_slice(SYSLOG_HEADER);
        message.extend_from_slice(line.trim_ascii_end());
        if let Err(error) = send(&message) {
            let (count, _) = failed.unwrap_or((0, error.kind().into()));
            failed = Some((count + 1, error));
        }
    }
    failed.map_or(Ok(()), Err)
}
