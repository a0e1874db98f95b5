use bytes::{Buf, BytesMut};
use rustbgpd_wire::constants::HEADER_LEN;
use rustbgpd_wire::header::{MessageType, peek_message_length};
use rustbgpd_wire::{DecodeError, MAX_MESSAGE_LEN, Message, decode_message, encode_message};

use crate::Notification;

/// Bytes of one connection, to be cut into messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Framing {
    bytes: BytesMut,
}

/// What cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// The neighbor is to be told.
    Message(Notification),
    /// It was a NOTIFICATION: nothing is said to that (RFC 4271 section 6.4).
    Notification,
}

// === impl Framing ===

impl Framing {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The next message, once all of it is there.
    pub(crate) fn next_message(&mut self) -> Result<Option<Message>, Unreadable> {
        let length = peek_message_length(&self.bytes, MAX_MESSAGE_LEN)
            .map_err(|error| Unreadable::Message(Notification::unreadable(None, &error)))?;
        let Some(length) = length else {
            return Ok(None);
        };
        // The codec has seen to it that there is a type, and one that it knows.
        let kind = MessageType::from_u8(self.bytes[HEADER_LEN - 1]);
        check_length(kind, length)?;
        if self.bytes.len() < usize::from(length) {
            return Ok(None);
        }
        let mut message = self.bytes.copy_to_bytes(length.into());
        decode_message(&mut message, MAX_MESSAGE_LEN)
            .map(Some)
            .map_err(|error| unreadable(kind, &error))
    }
}

/// The bytes of a message of ours.
pub(crate) fn encode(message: &Message) -> BytesMut {
    encode_message(message).expect("our own messages fit into 4,096 bytes")
}

/// Lengths of RFC 4271 section 6.1 and RFC 2918 section 3. The codec would call some of these errors otherwise.
fn check_length(kind: Option<MessageType>, length: u16) -> Result<(), Unreadable> {
    let is_right = match kind {
        Some(MessageType::Open) => length >= 29,
        Some(MessageType::Update | MessageType::RouteRefresh) => length >= 23,
        Some(MessageType::Notification) if length < 21 => return Err(Unreadable::Notification),
        Some(MessageType::Keepalive) => length == 19,
        _ => true,
    };
    if is_right {
        return Ok(());
    }
    Err(Unreadable::Message(Notification::bad_length(length)))
}

fn unreadable(kind: Option<MessageType>, error: &DecodeError) -> Unreadable {
    if kind == Some(MessageType::Notification) {
        return Unreadable::Notification;
    }
    Unreadable::Message(Notification::unreadable(kind, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(length: u16, kind: u8) -> Vec<u8> {
        let mut bytes = vec![0xff; 16];
        bytes.extend(length.to_be_bytes());
        bytes.push(kind);
        bytes.resize(usize::from(length).max(19), 0);
        bytes
    }

    fn refusal(bytes: &[u8]) -> Option<(u8, u8, Vec<u8>)> {
        let mut framing = Framing::default();
        framing.push(bytes);
        match framing.next_message() {
            Err(Unreadable::Message(it)) => Some((it.code(), it.subcode(), it.data().to_vec())),
            Err(Unreadable::Notification) => Some((0, 0, vec![])),
            Ok(_) => None,
        }
    }

    #[test]
    fn byte_by_byte_and_several_at_once() {
        let keepalive = encode(&Message::Keepalive);
        let mut framing = Framing::default();
        for byte in &keepalive[..18] {
            framing.push(&[*byte]);
            assert_eq!(framing.next_message(), Ok(None));
        }
        framing.push(&keepalive[18..]);
        framing.push(&keepalive);
        assert_eq!(framing.next_message(), Ok(Some(Message::Keepalive)));
        assert_eq!(framing.next_message(), Ok(Some(Message::Keepalive)));
        assert_eq!(framing.next_message(), Ok(None));
    }

    #[test]
    fn errors_of_headers() {
        let mut marker = header(19, 4);
        marker[3] = 0;
        assert_eq!(refusal(&marker), Some((1, 1, vec![])));
        let length = |length: u16| Some((1, 2, length.to_be_bytes().to_vec()));
        assert_eq!(refusal(&header(18, 4)), length(18));
        assert_eq!(refusal(&header(4097, 2)), length(4097));
        assert_eq!(refusal(&header(20, 4)), length(20));
        assert_eq!(refusal(&header(28, 1)), length(28));
        assert_eq!(refusal(&header(22, 2)), length(22));
        assert_eq!(refusal(&header(22, 5)), length(22));
        assert_eq!(refusal(&header(19, 9)), Some((1, 3, vec![9])));
    }

    #[test]
    fn nothing_is_said_to_a_notification() {
        assert_eq!(refusal(&header(20, 3)), Some((0, 0, vec![])));
        assert_eq!(refusal(&header(21, 3)), None);
    }

    #[test]
    fn errors_of_opens() {
        let mut version = header(29, 1);
        version[19] = 3;
        assert_eq!(refusal(&version), Some((2, 1, vec![0, 4])));
        let mut parameter = header(32, 1);
        parameter[19] = 4;
        parameter[28] = 3;
        parameter[29..].copy_from_slice(&[1, 1, 0]);
        assert_eq!(refusal(&parameter), Some((2, 4, vec![])));
    }
}
