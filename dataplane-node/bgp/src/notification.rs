use std::fmt;

use bytes::Bytes;
use rustbgpd_wire::notification::{
    cease_subcode, description, encode_shutdown_communication, extract_shutdown_communication,
    header_subcode, open_subcode,
};
use rustbgpd_wire::{DecodeError, MessageType, NotificationCode, NotificationMessage};

/// Why a session ended, as the side that ends it tells the other one (RFC 4271 section 4.5).
#[derive(Clone, PartialEq, Eq)]
pub struct Notification(NotificationMessage);

/// Why we end a session that has no fault (RFC 4486, RFC 8203, RFC 9384).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cease {
    /// An operator has shut it down, and may say why; 128 bytes of it are sent.
    AdministrativeShutdown(String),
    /// The neighbor is no longer configured.
    PeerDeconfigured,
    /// It is to begin anew, and an operator may say why.
    AdministrativeReset(String),
    /// Its settings changed in a way that needs a new session.
    OtherConfigurationChange,
    /// This connection lost to the neighbor's other one (RFC 4271 section 6.8).
    Collision,
    /// BFD says that the neighbor cannot be reached.
    BfdDown,
}

// === impl Notification ===

impl Notification {
    /// The error's code.
    pub fn code(&self) -> u8 {
        self.0.code.as_u8()
    }

    /// What of that code.
    pub fn subcode(&self) -> u8 {
        self.0.subcode
    }

    /// What else is said.
    pub fn data(&self) -> &[u8] {
        &self.0.data
    }

    /// What an operator of the side that sent it has to say (RFC 9003). Control characters are replaced: it gets into logs.
    pub fn communication(&self) -> Option<String> {
        let said = extract_shutdown_communication(&self.0).ok().flatten()?;
        let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        Some(said.chars().map(shown).collect())
    }

    pub(crate) fn new(code: NotificationCode, subcode: u8, data: impl Into<Bytes>) -> Self {
        Self(NotificationMessage::new(code, subcode, data.into()))
    }

    pub(crate) fn received(message: NotificationMessage) -> Self {
        Self(message)
    }

    pub(crate) fn to_wire(&self) -> NotificationMessage {
        self.0.clone()
    }

    /// An OPEN cannot be accepted (RFC 4271 section 6.2).
    pub(crate) fn open(subcode: u8, data: impl Into<Bytes>) -> Self {
        Self::new(NotificationCode::OpenMessage, subcode, data)
    }

    /// No message came for the hold time.
    pub(crate) fn hold_timer_expired() -> Self {
        Self::new(NotificationCode::HoldTimerExpired, 0, Bytes::new())
    }

    /// Nothing that we sent was taken for the time that we allow (RFC 9687).
    pub(crate) fn send_hold_timer_expired() -> Self {
        Self::new(NotificationCode::SendHoldTimerExpired, 0, Bytes::new())
    }

    /// A message came that the state has no use for (RFC 6608): 1 in `OpenSent`, 2 in `OpenConfirm`, 3 in `Established`.
    pub(crate) fn unexpected(subcode: u8, message: MessageType) -> Self {
        Self::new(NotificationCode::FsmError, subcode, vec![message.as_u8()])
    }

    /// The length in a header does not fit the message (RFC 4271 section 6.1).
    pub(crate) fn bad_length(length: u16) -> Self {
        Self::new(
            NotificationCode::MessageHeader,
            header_subcode::BAD_MESSAGE_LENGTH,
            length.to_be_bytes().to_vec(),
        )
    }

    /// The codec cannot read a message of the kind.
    pub(crate) fn unreadable(kind: Option<MessageType>, error: &DecodeError) -> Self {
        let (code, subcode, data) = error.to_notification();
        match (kind, error) {
            (_, DecodeError::UnsupportedVersion { .. }) => {
                Self::open(open_subcode::UNSUPPORTED_VERSION, data)
            }
            // The codec takes what it cannot read outside of UPDATE for an OPEN.
            (Some(MessageType::RouteRefresh), DecodeError::MalformedField { .. }) => {
                Self::new(NotificationCode::RouteRefreshMessage, 1, data)
            }
            _ => Self::new(code, subcode, data),
        }
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = description(self.0.code, self.subcode());
        write!(formatter, "{what} ({}/{})", self.code(), self.subcode())?;
        match self.communication() {
            Some(said) if !said.is_empty() => write!(formatter, ": {said}"),
            Some(_) | None => Ok(()),
        }
    }
}

impl fmt::Debug for Notification {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl From<&Cease> for Notification {
    fn from(cease: &Cease) -> Self {
        let (subcode, data) = match cease {
            Cease::AdministrativeShutdown(said) => {
                let data = encode_shutdown_communication(said);
                (cease_subcode::ADMINISTRATIVE_SHUTDOWN, data)
            }
            Cease::AdministrativeReset(said) => {
                let data = encode_shutdown_communication(said);
                (cease_subcode::ADMINISTRATIVE_RESET, data)
            }
            Cease::PeerDeconfigured => (cease_subcode::PEER_DECONFIGURED, Bytes::new()),
            Cease::OtherConfigurationChange => {
                (cease_subcode::OTHER_CONFIGURATION_CHANGE, Bytes::new())
            }
            Cease::Collision => (cease_subcode::CONNECTION_COLLISION_RESOLUTION, Bytes::new()),
            Cease::BfdDown => (cease_subcode::BFD_DOWN, Bytes::new()),
        };
        Self::new(NotificationCode::Cease, subcode, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_says_is_read_back() {
        let sent = Notification::from(&Cease::AdministrativeShutdown("new\nlinecard".into()));
        assert_eq!((sent.code(), sent.subcode()), (6, 2));
        assert_eq!(sent.communication().as_deref(), Some("new\u{fffd}linecard"));
        let long = "ä".repeat(100);
        let sent = Notification::from(&Cease::AdministrativeReset(long));
        assert_eq!(sent.communication(), Some("ä".repeat(64)));
    }

    #[test]
    fn codes_of_each_reason() {
        let subcode = |cease| Notification::from(&cease).subcode();
        assert_eq!(subcode(Cease::PeerDeconfigured), 3);
        assert_eq!(subcode(Cease::AdministrativeReset(String::new())), 4);
        assert_eq!(subcode(Cease::OtherConfigurationChange), 6);
        assert_eq!(subcode(Cease::Collision), 7);
        assert_eq!(subcode(Cease::BfdDown), 10);
        assert_eq!(Notification::hold_timer_expired().code(), 4);
        assert_eq!(Notification::send_hold_timer_expired().code(), 8);
        let unexpected = Notification::unexpected(3, MessageType::Open);
        assert_eq!((unexpected.code(), unexpected.data()), (5, &[1_u8][..]));
    }
}
