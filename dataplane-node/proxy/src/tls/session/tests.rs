use std::{io::Read as _, io::Write as _, sync::Arc};

use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore, pki_types::CertificateDer};

use super::*;
use crate::tls::{
    Certificate, Certificates, MinimumVersion, TicketConfig, TicketKey, TlsConfig, TlsOptions,
    UnknownName,
    handshake::{Handshake, Wants},
};

/// Both ends of connections, without sockets.
struct Ends {
    server: TlsConfig,
    client: Arc<ClientConfig>,
}

impl Ends {
    fn new(minimum: MinimumVersion) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(certificate.der().to_vec()))
            .unwrap();
        let chain = [certificate.der().to_vec()];
        let ours = Certificate::from_der("a", &chain, &key.serialize_der()).unwrap();
        let certificates = Arc::new(Certificates::new([&ours], UnknownName::Refuse));
        let server = TlsConfig::new(&TlsOptions {
            tickets: Some(TicketConfig {
                keys: vec![TicketKey::new([1; 32])],
                lifetime: std::time::Duration::from_secs(100),
            }),
            ..TlsOptions::new(certificates)
        });
        let versions: &[_] = match minimum {
            MinimumVersion::Tls12 => &[&rustls::version::TLS12],
            MinimumVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            server: server.unwrap(),
            client: Arc::new(client),
        }
    }

    fn client(&self) -> ClientConnection {
        ClientConnection::new(self.client.clone(), "a.example".try_into().unwrap()).unwrap()
    }

    fn handshake(&self) -> Handshake {
        Handshake::server(self.server.choices())
    }

    /// Behind a handshake.
    fn connected(&self) -> (ClientConnection, Session) {
        let (mut client, mut server) = (self.client(), self.handshake());
        let mut is_over = false;
        while client.is_handshaking() || !is_over {
            feed(&mut server, &said(&mut client));
            is_over = server.advance().unwrap() == Wants::Nothing;
            hear(&mut client, &server.take_outgoing()).unwrap();
        }
        (client, server.finish(None).unwrap().0)
    }
}

/// What a client has to send.
fn said(client: &mut ClientConnection) -> Vec<u8> {
    let mut said = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut said).unwrap();
    }
    said
}

fn hear(client: &mut ClientConnection, mut bytes: &[u8]) -> Result<(), rustls::Error> {
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

fn feed(handshake: &mut Handshake, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let space = handshake.space().unwrap();
        let count = space.len().min(bytes.len());
        space[..count].copy_from_slice(&bytes[..count]);
        handshake.fill(count);
        bytes = &bytes[count..];
    }
}

/// All that a session gives of these bytes, which come in pieces.
fn read(session: &mut Session, bytes: &[u8], piece: usize) -> Result<(Vec<u8>, bool), Alert> {
    let (mut all, mut to) = (Vec::new(), vec![0; 4000]);
    let mut pieces = bytes.chunks(piece);
    loop {
        match session.read(&mut to)? {
            Opened::Data(count) => all.extend_from_slice(&to[..count]),
            Opened::End => return Ok((all, true)),
            Opened::Nothing => {
                assert!(!session.has_more());
                let Some(mut piece) = pieces.next() else {
                    return Ok((all, false));
                };
                while !piece.is_empty() {
                    let space = session.space();
                    let count = space.len().min(piece.len());
                    space[..count].copy_from_slice(&piece[..count]);
                    session.fill(count);
                    piece = &piece[count..];
                    if !piece.is_empty() {
                        while let Opened::Data(count) = session.read(&mut to)? {
                            all.extend_from_slice(&to[..count]);
                        }
                    }
                }
            }
        }
    }
}

/// What a session makes of these bytes.
fn write(session: &mut Session, mut first: &[u8], mut then: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while !first.is_empty() || !then.is_empty() {
        session.write(&mut first, &mut then).unwrap();
        all.extend_from_slice(session.unsent());
        let count = session.unsent().len();
        session.sent(count);
    }
    all
}

fn heard(client: &mut ClientConnection, length: usize) -> Vec<u8> {
    let mut all = vec![0; length];
    client.reader().read_exact(&mut all).unwrap();
    all
}

const VERSIONS: [MinimumVersion; 2] = [MinimumVersion::Tls12, MinimumVersion::Tls13];

#[test]
fn nothing_is_held_while_nothing_is_on_its_way() {
    for version in VERSIONS {
        let ends = Ends::new(version);
        let (mut client, mut session) = ends.connected();
        let is_idle = |session: &Session| session.incoming.is_none() && session.outgoing.is_none();
        assert!(is_idle(&session));
        client.writer().write_all(b"hello").unwrap();
        let bytes = said(&mut client);
        assert_eq!(
            read(&mut session, &bytes, 3),
            Ok((b"hello".to_vec(), false))
        );
        assert!(is_idle(&session));
        let bytes = write(&mut session, b"he", b"llo");
        hear(&mut client, &bytes).unwrap();
        assert_eq!(heard(&mut client, 5), b"hello");
        assert!(is_idle(&session));
    }
}

#[test]
fn both_say_that_they_close() {
    for version in VERSIONS {
        let ends = Ends::new(version);
        let (mut client, mut session) = ends.connected();
        client.writer().write_all(b"bye").unwrap();
        client.send_close_notify();
        let bytes = said(&mut client);
        assert_eq!(read(&mut session, &bytes, 100), Ok((b"bye".to_vec(), true)));
        assert!(session.has_more());
        session.close();
        session.close();
        let bytes = session.unsent().to_vec();
        hear(&mut client, &bytes).unwrap();
        assert_eq!(client.reader().read(&mut [0]).unwrap(), 0);
        session.sent(bytes.len());
        assert_eq!(session.write(&mut &b"x"[..], &mut &b""[..]), Err(Closed));
    }
}

#[test]
fn keys_change_when_the_client_wants_it_and_when_they_are_worn() {
    let ends = Ends::new(MinimumVersion::Tls13);
    let (mut client, mut session) = ends.connected();
    for _ in 0..50 {
        client.refresh_traffic_keys().unwrap();
        client.writer().write_all(b"x").unwrap();
        let bytes = said(&mut client);
        assert_eq!(read(&mut session, &bytes, 1000), Ok((b"x".to_vec(), false)));
        assert!(session.owes_keys);
        let bytes = write(&mut session, b"yz", b"");
        assert!(!session.owes_keys);
        hear(&mut client, &bytes).unwrap();
        assert_eq!(heard(&mut client, 2), b"yz");
    }
    // With nothing else, they are a waste of time.
    let updates = (0..=WITHOUT_DATA_MAX).map(|_| {
        client.refresh_traffic_keys().unwrap();
        said(&mut client)
    });
    let bytes = updates.collect::<Vec<_>>().concat();
    assert_eq!(
        read(&mut session, &bytes, 1000),
        Err(Alert::UnexpectedMessage)
    );
    session.seal.wear();
    assert!(session.seal.is_worn());
    write(&mut session, b"x", b"");
    assert!(!session.seal.is_worn());
}

#[test]
fn a_failure_is_told() {
    for version in VERSIONS {
        let ends = Ends::new(version);
        let (mut client, mut session) = ends.connected();
        client.writer().write_all(b"hello").unwrap();
        let mut bytes = said(&mut client);
        bytes[10] ^= 1;
        let alert = read(&mut session, &bytes, 100).unwrap_err();
        session.fail(alert);
        let failed = hear(&mut client, session.unsent());
        let told = rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac);
        assert_eq!(failed, Err(told));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn bytes_go_through_both_ways(first in 0..70_000usize, then in 0..40_000usize, piece in 1..50_000usize, is_new in any::<bool>()) {
        let ends = Ends::new(VERSIONS[usize::from(is_new)]);
        let (mut client, mut session) = ends.connected();
        client.set_buffer_limit(None);
        let bytes: Vec<u8> = (0..first + then).map(|at| at.to_le_bytes()[at % 3]).collect();
        client.writer().write_all(&bytes).unwrap();
        let sealed = said(&mut client);
        prop_assert!(read(&mut session, &sealed, piece) == Ok((bytes.clone(), false)));
        let sealed = write(&mut session, &bytes[..first], &bytes[first..]);
        let mut heard = Vec::new();
        for part in sealed.chunks(piece.min(10_000)) {
            hear(&mut client, part).unwrap();
            let mut part = vec![0; 200_000];
            while let Ok(count @ 1..) = client.reader().read(&mut part) {
                heard.extend_from_slice(&part[..count]);
            }
        }
        prop_assert!(heard == bytes);
    }

    /// In a handshake and behind it.
    #[test]
    fn no_bytes_make_it_panic(at in 0..4000usize, bit in 0..8u8, cut in 1..2000usize, garbage in prop::collection::vec(any::<u8>(), 0..300), is_new in any::<bool>(), whole in any::<bool>()) {
        let ends = Ends::new(VERSIONS[usize::from(is_new)]);
        let (mut client, mut server) = (ends.client(), ends.handshake());
        let mut seen = 0;
        let mut session = None;
        for _ in 0..6 {
            if session.is_none() && !client.is_handshaking() {
                break;
            }
            let mut bytes = said(&mut client);
            if whole {
                bytes.extend_from_slice(&garbage);
            }
            if (seen..seen + bytes.len()).contains(&at) {
                bytes[at - seen] ^= 1 << bit;
            }
            seen += bytes.len();
            for part in bytes.chunks(cut) {
                feed(&mut server, part);
                if let Err(_refused) = server.advance() {
                    return Ok(());
                }
            }
            // A client may give up before we do.
            if hear(&mut client, &server.take_outgoing()).is_err() {
                return Ok(());
            }
            if !client.is_handshaking() && server.advance().is_ok_and(|wants| wants == Wants::Nothing) {
                session = server.finish(None).ok().map(|(session, _)| session);
                break;
            }
        }
        if let Some(mut session) = session {
            let _any = read(&mut session, &garbage, cut);
        }
    }
}
