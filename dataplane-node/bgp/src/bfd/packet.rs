use std::fmt;
use std::num::{NonZeroU8, NonZeroU32};

/// A control packet (RFC 5880 section 4.1). Intervals are in microseconds.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// ┌─────┬─────────┬───┬─┬─┬─┬─┬─┬─┬───────────────┬───────────────┐
/// │  1  │  diag   │sta│P│F│C│A│D│M│  detect mult  │    length     │
/// ├─────┴─────────┴───┴─┴─┴─┴─┴─┴─┴───────────────┴───────────────┤
/// │ my discriminator, your discriminator, desired min TX,         │
/// │ required min RX, required min echo RX: four bytes each        │
/// └───────────────────────────────────────────────────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "these are the flags of the format"
)]
pub struct Packet {
    /// Why the sender's session was last not up.
    pub diagnostic: Diagnostic,
    /// The sender's state.
    pub state: State,
    /// P: asks for an answer with `is_final`.
    pub is_poll: bool,
    /// F: answers a poll.
    pub is_final: bool,
    /// C: the sender's BFD does not share the fate of its control plane.
    pub is_independent: bool,
    /// D: the sender wants no packets while all is well.
    pub is_demand: bool,
    /// How many packets that are missing make the sender's partner give up.
    pub detect_mult: NonZeroU8,
    /// The sender's number for the session.
    pub my_discriminator: NonZeroU32,
    /// The receiver's, or 0 if the sender does not know it.
    pub your_discriminator: u32,
    /// The sender would send as often.
    pub desired_min_tx_micros: u32,
    /// The sender can receive as often; 0 if it wants nothing.
    pub required_min_rx_micros: u32,
    /// The same for echo packets.
    pub required_min_echo_rx_micros: u32,
}

/// The state of a session (RFC 5880 section 4.1), with its number in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    /// An operator does not want the session.
    AdminDown = 0,
    /// Nothing is heard of the partner.
    #[default]
    Down = 1,
    /// The partner is heard, and has not heard us.
    Init = 2,
    /// Both hear each other.
    Up = 3,
}

/// Why a session is not up, or was not (RFC 5880 section 4.1).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Diagnostic(u8);

/// Why a packet is not one of a session of ours (RFC 5880 section 6.8.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Discarded {
    /// Fewer bytes than a packet has, or than it says.
    #[error("a packet of {0} bytes is too short")]
    Length(usize),
    /// There is one version.
    #[error("version {0} is not 1")]
    Version(u8),
    /// It is authenticated, and no session is.
    #[error("the packet is authenticated")]
    Authenticated,
    /// M: nobody may set it.
    #[error("the packet is multipoint")]
    Multipoint,
    /// Then nothing would ever be detected.
    #[error("the detection multiplier is 0")]
    DetectMult,
    /// Then nobody could answer.
    #[error("the sender's discriminator is 0")]
    MyDiscriminator,
    /// The sender claims to have heard us, and does not say whom.
    #[error("a packet in state {0:?} names no session")]
    YourDiscriminator(State),
}

// === impl Packet ===

impl Packet {
    /// Bytes of a packet.
    pub const LEN: usize = 24;

    /// Reads a datagram. What follows the packet in it is nobody's.
    pub fn read(bytes: &[u8]) -> Result<Self, Discarded> {
        let too_short = Discarded::Length(bytes.len());
        let fixed: &[u8; Self::LEN] = bytes.first_chunk().ok_or(too_short)?;
        let [first, second, detect_mult, length, numbers @ ..] = fixed;
        if first >> 5 != 1 {
            return Err(Discarded::Version(first >> 5));
        }
        let is_set = |bit: u8| second & bit != 0;
        let least = if is_set(AUTHENTICATED) { 26 } else { Self::LEN };
        let length = usize::from(*length);
        if length < least || length > bytes.len() {
            return Err(too_short);
        }
        let detect_mult = NonZeroU8::new(*detect_mult).ok_or(Discarded::DetectMult)?;
        if is_set(MULTIPOINT) {
            return Err(Discarded::Multipoint);
        }
        let (words, _) = numbers.as_chunks::<4>();
        let word = |index: usize| words.get(index).map_or(0, |word| u32::from_be_bytes(*word));
        let my_discriminator = NonZeroU32::new(word(0)).ok_or(Discarded::MyDiscriminator)?;
        let state = State::from_bits(second >> 6);
        let your_discriminator = word(1);
        if your_discriminator == 0 && state >= State::Init {
            return Err(Discarded::YourDiscriminator(state));
        }
        if is_set(AUTHENTICATED) {
            return Err(Discarded::Authenticated);
        }
        Ok(Self {
            diagnostic: Diagnostic(first & 0x1f),
            state,
            is_poll: is_set(POLL),
            is_final: is_set(FINAL),
            is_independent: is_set(INDEPENDENT),
            is_demand: is_set(DEMAND),
            detect_mult,
            my_discriminator,
            your_discriminator,
            desired_min_tx_micros: word(2),
            required_min_rx_micros: word(3),
            required_min_echo_rx_micros: word(4),
        })
    }

    /// The packet's bytes.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        let mut bytes = [0; Self::LEN];
        bytes[0] = 1 << 5 | self.diagnostic.0;
        bytes[1] = (self.state as u8) << 6
            | flag(self.is_poll, POLL)
            | flag(self.is_final, FINAL)
            | flag(self.is_independent, INDEPENDENT)
            | flag(self.is_demand, DEMAND);
        bytes[2] = self.detect_mult.get();
        bytes[3] = 24;
        let words = [
            self.my_discriminator.get(),
            self.your_discriminator,
            self.desired_min_tx_micros,
            self.required_min_rx_micros,
            self.required_min_echo_rx_micros,
        ];
        for (place, word) in bytes[4..].as_chunks_mut().0.iter_mut().zip(words) {
            *place = word.to_be_bytes();
        }
        bytes
    }
}

const POLL: u8 = 1 << 5;
const FINAL: u8 = 1 << 4;
const INDEPENDENT: u8 = 1 << 3;
const AUTHENTICATED: u8 = 1 << 2;
const DEMAND: u8 = 1 << 1;
const MULTIPOINT: u8 = 1;

// === impl State ===

impl State {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::AdminDown, Self::Down, Self::Init, Self::Up];

    fn from_bits(bits: u8) -> Self {
        Self::ALL[usize::from(bits & 3)]
    }
}

// === impl Diagnostic ===

impl Diagnostic {
    /// Nothing was wrong yet.
    pub const NONE: Self = Self(0);
    /// Nothing came for the detection time.
    pub const DETECTION_TIME_EXPIRED: Self = Self(1);
    /// The partner said that its session is down.
    pub const NEIGHBOR_SIGNALED_DOWN: Self = Self(3);
    /// An operator wants it so.
    pub const ADMINISTRATIVELY_DOWN: Self = Self(7);

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbor signaled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            number => return write!(formatter, "diagnostic {number}"),
        })
    }
}

impl fmt::Debug for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As in RFC 5880 section 4.1, byte by byte.
    const BYTES: [u8; 24] = [
        0x23, 0xf2, 3, 24, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0xc3, 0x50, 0, 0, 0x27, 0x10, 0, 0, 0, 1,
    ];

    fn packet() -> Packet {
        Packet {
            diagnostic: Diagnostic::NEIGHBOR_SIGNALED_DOWN,
            state: State::Up,
            is_poll: true,
            is_final: true,
            is_independent: false,
            is_demand: true,
            detect_mult: NonZeroU8::new(3).unwrap(),
            my_discriminator: NonZeroU32::new(7).unwrap(),
            your_discriminator: 9,
            desired_min_tx_micros: 50_000,
            required_min_rx_micros: 10_000,
            required_min_echo_rx_micros: 1,
        }
    }

    fn refusal(change: impl FnOnce(&mut Vec<u8>)) -> Option<Discarded> {
        let mut bytes = BYTES.to_vec();
        change(&mut bytes);
        Packet::read(&bytes).err()
    }

    #[test]
    fn golden_bytes_both_ways() {
        assert_eq!(Packet::read(&BYTES), Ok(packet()));
        assert_eq!(packet().to_bytes(), BYTES);
    }

    #[test]
    fn what_is_discarded() {
        assert_eq!(refusal(|it| it.extend([0; 8])), None);
        assert_eq!(refusal(|it| it.truncate(23)), Some(Discarded::Length(23)));
        assert_eq!(refusal(|it| it[3] = 23), Some(Discarded::Length(24)));
        assert_eq!(refusal(|it| it[3] = 25), Some(Discarded::Length(24)));
        assert_eq!(refusal(|it| it[0] = 0x43), Some(Discarded::Version(2)));
        assert_eq!(refusal(|it| it[0] = 3), Some(Discarded::Version(0)));
        assert_eq!(refusal(|it| it[2] = 0), Some(Discarded::DetectMult));
        assert_eq!(refusal(|it| it[1] |= 1), Some(Discarded::Multipoint));
        assert_eq!(refusal(|it| it[1] |= 4), Some(Discarded::Length(24)));
        let authenticated = refusal(|it| {
            it[1] |= 4;
            it[3] = 26;
            it.extend([1, 2]);
        });
        assert_eq!(authenticated, Some(Discarded::Authenticated));
        assert_eq!(refusal(|it| it[7] = 0), Some(Discarded::MyDiscriminator));
        for (state, discarded) in State::ALL.into_iter().zip([false, false, true, true]) {
            let refused = refusal(|it| {
                it[11] = 0;
                it[1] = (state as u8) << 6;
            });
            let expected = discarded.then_some(Discarded::YourDiscriminator(state));
            assert_eq!(refused, expected);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not_and_written_as_they_were(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(packet) = Packet::read(&bytes) {
                prop_assert_eq!(Packet::read(&packet.to_bytes()), Ok(packet));
                prop_assert_eq!(&packet.to_bytes()[..3], &bytes[..3]);
                prop_assert_eq!(&packet.to_bytes()[4..], &bytes[4..24]);
            }
        }

        #[test]
        fn packets_with_one_byte_changed(at in 0_usize..24, value in any::<u8>()) {
            let mut bytes = BYTES;
            bytes[at] = value;
            if let Ok(packet) = Packet::read(&bytes) {
                let mut written = packet.to_bytes();
                written[3] = bytes[3];
                prop_assert_eq!(written, bytes);
            }
        }
    }
}
