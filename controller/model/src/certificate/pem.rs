//! PEM, RFC 7468. No message repeats anything of a text that may hold a key.

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{PemObject as _, SectionKind, SliceIter},
};
use x509_cert::der::pem::{LineEnding, encode_string};

/// All certificates of a text.
pub(crate) fn read_chain(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut chain = Vec::new();
    for section in SliceIter::<(SectionKind, Vec<u8>)>::new(text.as_bytes()) {
        match section {
            Ok((SectionKind::Certificate, der)) => chain.push(CertificateDer::from(der)),
            Ok((
                SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey,
                _,
            )) => {
                return Err("a private key stands in it: it belongs into `key`, as whoever reads the object gets the chain".to_owned());
            }
            Ok(_) => {
                return Err("something else than certificates stands in it: take it out".to_owned());
            }
            Err(error) => return Err(format!("it is not PEM: {error}")),
        }
    }
    Ok(chain)
}

/// The one private key of a text.
pub(crate) fn read_key(text: &str) -> Result<PrivateKeyDer<'static>, String> {
    if text.contains("ENCRYPTED") {
        return Err(
            "it is encrypted: take the passphrase off first, as with `openssl pkey`".to_owned(),
        );
    }
    let mut keys = PrivateKeyDer::pem_slice_iter(text.as_bytes());
    match (keys.next(), keys.next()) {
        (Some(Ok(key)), None) => Ok(key),
        (Some(Ok(_)), Some(_)) => Err("two private keys: one is right".to_owned()),
        (Some(Err(_)) | None, _) => {
            Err("no private key in PEM: it begins with `-----BEGIN PRIVATE KEY-----`".to_owned())
        }
    }
}

pub(crate) fn certificate(der: &CertificateDer<'_>) -> String {
    write("CERTIFICATE", der)
}

pub(crate) fn key(der: &PrivateKeyDer<'_>) -> String {
    let label = match der {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    write(label, der.secret_der())
}

fn write(label: &str, der: &[u8]) -> String {
    encode_string(label, LineEnding::LF, der)
        .expect("the label is right, and a text takes any length")
}
