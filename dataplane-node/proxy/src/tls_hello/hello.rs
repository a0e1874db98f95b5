use super::{
    HelloRefusal, Name,
    fragments::{Fragments, RECORD_BYTES},
};

/// Bytes of a `ClientHello` with its records.
pub const HELLO_BYTES: usize = 16 << 10;
/// Bytes of a record's content, RFC 8446 section 5.1.
const CONTENT_BYTES: usize = 1 << 14;
/// Bytes ahead of a message: its type, and its length.
const MESSAGE_BYTES: usize = 4;
/// A record's type, RFC 8446 section 5.1.
const HANDSHAKE: u8 = 22;
/// A message's type, RFC 8446 section 4.
const CLIENT_HELLO: u8 = 1;
/// An identifier of a session, RFC 5246 section 7.4.1.2.
const SESSION_ID_BYTES: usize = 32;

/// Types of extensions.
const SERVER_NAME: u16 = 0;
const PROTOCOLS: u16 = 16;
/// The only type of a server's name, RFC 6066 section 3.
const HOST_NAME: u8 = 0;

/// What a TLS client says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// The server that it wants, in lower case. With Encrypted `ClientHello` it is the outer one.
    pub server_name: Option<Name>,
    /// The list of protocols, without its length.
    protocols: Option<Fragments<'a>>,
}

/// Reads a `ClientHello` at the beginning of what has come, in all the records that it lies in, and says how long they are; none if more
/// has to come. What is behind it is not looked at.
pub fn read(bytes: &[u8]) -> Result<Option<(ClientHello<'_>, usize)>, HelloRefusal> {
    match records(bytes)? {
        None if bytes.len() >= HELLO_BYTES => Err(HelloRefusal::TooLong),
        None => Ok(None),
        Some((length, message)) => {
            let mut content = Fragments::new(&bytes[..length], MESSAGE_BYTES + message);
            content.skip(MESSAGE_BYTES)?;
            Ok(Some((ClientHello::parse(content)?, length)))
        }
    }
}

/// The length of the message's records, and of the message in them; none if they are not all there.
fn records(bytes: &[u8]) -> Result<Option<(usize, usize)>, HelloRefusal> {
    let mut rest = bytes;
    let (mut begin, mut seen) = ([0; MESSAGE_BYTES], 0);
    loop {
        // As soon as there is a byte: a client of another protocol may wait for an answer.
        let is_handshake = rest.first().is_none_or(|it| *it == HANDSHAKE);
        if !is_handshake || rest.get(1).is_some_and(|major| *major != 3) {
            return Err(HelloRefusal::NoHandshake);
        }
        let Some((header, behind)) = rest.split_first_chunk::<RECORD_BYTES>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if !(1..=CONTENT_BYTES).contains(&length) {
            return Err(HelloRefusal::Record);
        }
        let content = &behind[..length.min(behind.len())];
        for (at, byte) in (seen..MESSAGE_BYTES).zip(content) {
            begin[at] = *byte;
        }
        seen += content.len();
        if seen > 0 && begin[0] != CLIENT_HELLO {
            return Err(HelloRefusal::NoHello);
        }
        if seen >= MESSAGE_BYTES {
            let message = usize::try_from(u32::from_be_bytes([0, begin[1], begin[2], begin[3]]));
            let message = message.map_err(|_large| HelloRefusal::TooLong)?;
            if RECORD_BYTES + MESSAGE_BYTES + message > HELLO_BYTES {
                return Err(HelloRefusal::TooLong);
            }
            // Nothing follows it in its record, RFC 8446 section 5.1.
            let whole = seen + length - content.len();
            if whole > MESSAGE_BYTES + message {
                return Err(HelloRefusal::Length);
            }
            if seen == MESSAGE_BYTES + message {
                let behind = behind.len() - content.len();
                return Ok(Some((bytes.len() - behind, message)));
            }
        }
        if content.len() < length {
            return Ok(None);
        }
        rest = &behind[length..];
    }
}

// === impl ClientHello ===

impl<'a> ClientHello<'a> {
    /// The protocols that the client speaks, the best first: ALPN, RFC 7301 section 3.1.
    pub fn protocols(&self) -> impl Iterator<Item = Name> + use<'a> {
        let mut list = self.protocols;
        std::iter::from_fn(move || list.as_mut()?.short().ok()?.name().ok())
    }

    /// RFC 8446 section 4.1.2; in TLS 1.2 the extensions may be missing.
    fn parse(mut message: Fragments<'a>) -> Result<Self, HelloRefusal> {
        let version_and_random = message.part(2 + 32)?;
        if { version_and_random }.byte()? != 3 {
            return Err(HelloRefusal::NoHello);
        }
        let session_id = message.short()?;
        let ciphers = message.long()?;
        let compressions = message.short()?;
        let are_sound = session_id.len() <= SESSION_ID_BYTES
            && !ciphers.is_empty()
            && ciphers.len().is_multiple_of(2)
            && !compressions.is_empty();
        if !are_sound {
            return Err(HelloRefusal::Length);
        }
        let mut hello = Self {
            server_name: None,
            protocols: None,
        };
        if message.is_empty() {
            return Ok(hello);
        }
        let mut extensions = message.long()?;
        if !message.is_empty() {
            return Err(HelloRefusal::Length);
        }
        let mut seen = Seen::default();
        while !extensions.is_empty() {
            let kind = extensions.two()?;
            let content = extensions.long()?;
            seen.once(kind)?;
            match kind {
                SERVER_NAME => hello.server_name = Some(server_name(content)?),
                PROTOCOLS => hello.protocols = Some(protocols(content)?),
                _ => {}
            }
        }
        Ok(hello)
    }
}

/// Types of extensions that were there, as far as they are of the common ones.
#[derive(Default)]
struct Seen(u64);

impl Seen {
    fn once(&mut self, kind: u16) -> Result<(), HelloRefusal> {
        let bit = 1_u64.checked_shl(kind.into()).unwrap_or(0);
        if self.0 & bit != 0 {
            return Err(HelloRefusal::Repeated);
        }
        self.0 |= bit;
        Ok(())
    }
}

/// RFC 6066 section 3: a list that has one name of each type, of which there is one.
fn server_name(mut content: Fragments<'_>) -> Result<Name, HelloRefusal> {
    let mut list = content.long()?;
    if !content.is_empty() {
        return Err(HelloRefusal::Length);
    }
    let kind = list.byte()?;
    let name = list.long()?;
    if kind != HOST_NAME || !list.is_empty() {
        return Err(HelloRefusal::ServerName);
    }
    // A name that is longer than a name can be is no name.
    let name = name.name().map_err(|_long| HelloRefusal::ServerName)?;
    name.into_host().ok_or(HelloRefusal::ServerName)
}

/// RFC 7301 section 3.1: a list with a protocol, none of them empty.
fn protocols(mut content: Fragments<'_>) -> Result<Fragments<'_>, HelloRefusal> {
    let list = content.long()?;
    if !content.is_empty() || list.is_empty() {
        return Err(HelloRefusal::Length);
    }
    let mut rest = list;
    while !rest.is_empty() {
        if rest.short()?.is_empty() {
            return Err(HelloRefusal::Length);
        }
    }
    Ok(list)
}
