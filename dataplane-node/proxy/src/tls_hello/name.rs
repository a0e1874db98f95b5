use std::{fmt, ops::Deref};

/// Some bytes with a length of one byte: a server's name, or a protocol's. Held in place, as it may come in parts.
#[derive(Clone, Copy)]
pub struct Name {
    bytes: [u8; 255],
    length: u8,
}

impl Name {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; 255],
            length: 0,
        }
    }

    /// Appends a byte; `None` if there is no room.
    pub(super) fn push(&mut self, byte: u8) -> Option<()> {
        *self.bytes.get_mut(usize::from(self.length))? = byte;
        self.length += 1;
        Some(())
    }

    /// A host's name in lower case, if it is one as DNS has them.
    pub fn host(bytes: &[u8]) -> Option<Self> {
        let mut name = Self::new();
        for byte in bytes {
            name.push(*byte)?;
        }
        name.into_host()
    }

    /// In lower case, if it is a host name as DNS has them: labels of letters, digits, `-` and `_`.
    pub(super) fn into_host(mut self) -> Option<Self> {
        let is_of_label = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_label = |label: &[u8]| {
            (1..=LABEL_BYTES).contains(&label.len()) && label.iter().all(is_of_label)
        };
        let is_host = self.len() <= HOST_BYTES && self.split(|it| *it == b'.').all(is_label);
        self.bytes.make_ascii_lowercase();
        is_host.then_some(self)
    }
}

/// Bytes of a label and of a whole name, RFC 1035 section 2.3.4.
const LABEL_BYTES: usize = 63;
const HOST_BYTES: usize = 253;

impl Deref for Name {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Name {}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.escape_ascii())
    }
}
