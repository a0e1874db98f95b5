use proptest::{collection::vec, option, prelude::*};

use super::{HELLO_BYTES, HelloRefusal, read};

/// A `ClientHello` before it is written.
#[derive(Clone, Debug)]
struct Written {
    session_id: Vec<u8>,
    ciphers: Vec<u16>,
    extensions: Vec<(u16, Vec<u8>)>,
    server_name: Option<String>,
    protocols: Option<Vec<Vec<u8>>>,
    /// Whether there is a list of extensions, if it is empty.
    ends_early: bool,
}

fn written() -> impl Strategy<Value = Written> {
    let others = vec((64u16..=u16::MAX, vec(any::<u8>(), 0..300)), 0..6);
    let protocols = vec(vec(any::<u8>(), 1..=255), 1..4);
    (
        vec(any::<u8>(), 0..=32),
        vec(any::<u16>(), 1..40),
        others,
        option::of("[a-zA-Z0-9_-]{1,63}(\\.[a-zA-Z0-9_-]{1,40}){0,3}"),
        option::of(protocols),
        any::<bool>(),
    )
        .prop_map(
            |(session_id, ciphers, extensions, server_name, protocols, ends_early)| Written {
                session_id,
                ciphers,
                extensions,
                server_name,
                protocols,
                ends_early,
            },
        )
}

pub(super) fn long(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    [&length.to_be_bytes()[..], content].concat()
}

fn short(content: &[u8]) -> Vec<u8> {
    [&[u8::try_from(content.len()).unwrap()][..], content].concat()
}

pub(super) fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &long(content)].concat()
}

pub(super) fn server_name(name: &[u8]) -> Vec<u8> {
    long(&[&[0][..], &long(name)].concat())
}

impl Written {
    /// The message without records.
    fn message(&self) -> Vec<u8> {
        let mut body = [&[3, 3][..], &[7; 32], &short(&self.session_id)].concat();
        let ciphers = self.ciphers.iter().flat_map(|it| it.to_be_bytes());
        body.extend(long(&ciphers.collect::<Vec<_>>()));
        body.extend([1, 0]);
        let mut extensions = Vec::new();
        for (at, (kind, content)) in self.extensions.iter().enumerate() {
            if at == 1 {
                extensions.extend(self.routed());
            }
            extensions.extend(extension(*kind, content));
        }
        if self.extensions.len() < 2 {
            extensions.extend(self.routed());
        }
        if !(extensions.is_empty() && self.ends_early) {
            body.extend(long(&extensions));
        }
        handshake(&body)
    }

    fn routed(&self) -> Vec<u8> {
        let mut extensions = Vec::new();
        if let Some(name) = &self.server_name {
            extensions.extend(extension(0, &server_name(name.as_bytes())));
        }
        if let Some(protocols) = &self.protocols {
            let list: Vec<u8> = protocols.iter().flat_map(|it| short(it)).collect();
            extensions.extend(extension(16, &long(&list)));
        }
        extensions
    }
}

pub(super) fn handshake(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1][..], &length[1..], body].concat()
}

/// In records of these sizes, over and over.
pub(super) fn in_records(message: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), message);
    for size in sizes.iter().cycle() {
        let (now, later) = rest.split_at(rest.len().min(*size));
        bytes.extend([22, 3, 1]);
        bytes.extend(long(now));
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    bytes
}

proptest! {
    /// However it is cut into records, and whatever follows; and no part of it is a whole one.
    #[test]
    fn a_hello_is_read_as_it_was_written(
        written in written(),
        sizes in vec(prop_oneof![1usize..8, 1usize..2_000], 1..5),
        behind in vec(any::<u8>(), 0..40),
    ) {
        let bytes = in_records(&written.message(), &sizes);
        prop_assume!(bytes.len() <= HELLO_BYTES);
        let whole = [&bytes[..], &behind].concat();
        let (hello, length) = read(&whole).unwrap().unwrap();
        prop_assert_eq!(length, bytes.len());
        let name = hello.server_name.map(|it| it.to_vec());
        let expected = written.server_name.as_ref().map(|it| it.to_ascii_lowercase().into_bytes());
        prop_assert_eq!(name, expected);
        let protocols: Vec<_> = hello.protocols().map(|it| it.to_vec()).collect();
        prop_assert_eq!(protocols, written.protocols.clone().unwrap_or_default());
        for count in 0..bytes.len() {
            prop_assert_eq!(read(&bytes[..count]), Ok(None));
        }
    }

    /// A changed byte gives another hello or none, and the records do not matter for which.
    #[test]
    fn a_changed_hello_does_not_depend_on_its_records(
        written in written(),
        size in 1usize..500,
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut message = written.message();
        // Behind the length, by which the whole would be another.
        let at = 4 + at.index(message.len() - 4);
        message[at] = byte;
        let in_one = in_records(&message, &[16_000]);
        let in_many = in_records(&message, &[size]);
        prop_assume!(in_one.len().max(in_many.len()) <= HELLO_BYTES);
        let [one, many] = [&in_one, &in_many].map(|bytes| {
            let (hello, _) = read(bytes)?.expect("it is whole");
            let protocols: Vec<_> = hello.protocols().map(|it| it.to_vec()).collect();
            Ok::<_, HelloRefusal>((hello.server_name, protocols))
        });
        prop_assert_eq!(one, many);
    }
}
