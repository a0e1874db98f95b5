use super::Refusal;

/// Reads a body in chunks, RFC 9112 section 7.1, as its bytes come: any part of it may be any number of bytes long.
///
/// ```text
///        hexadecimal                    CRLF            size bytes        CRLF
/// Size ─────────────► Digits ─► ; ─► Extension ─► ... ─► Data ─► DataEnd ─────► Size
///                        │ 0, CRLF
///                        ▼
///                     Trailer ── empty line ─► Done
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkReader {
    state: State,
    /// Of the chunk: what its size says so far, and then what is left of it.
    left: u64,
    /// Bytes of the extension, or of the trailer.
    extra: u32,
}

/// What the next bytes of a body in chunks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunked {
    /// So many bytes of framing.
    Frame(usize),
    /// So many bytes of data.
    Data(usize),
    /// The body is over, behind so many bytes.
    End(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Digits(u8),
    /// In an extension.
    Extension,
    /// Behind the CR of the size's line.
    SizeEnd,
    Data,
    /// Before the CR behind the data.
    DataCr,
    /// Before the LF behind it.
    DataLf,
    /// At the beginning of a line of the trailer.
    Line,
    /// In a line of the trailer.
    Trailer,
    /// Behind the CR of a line of the trailer.
    TrailerLf,
    /// Behind the CR of the empty line.
    LastLf,
    Done,
}

/// Bytes of a chunk's extensions: nobody has a use for them, and what reads them has been a way in.
const EXTENSION_MAX: u32 = 256;
/// Bytes of a trailer.
const TRAILER_MAX: u32 = 8 << 10;
/// Digits of a size: 2^60 bytes.
const DIGITS_MAX: u8 = 15;

// === impl ChunkReader ===

impl ChunkReader {
    /// Before the first byte.
    pub const fn new() -> Self {
        Self {
            state: State::Size,
            left: 0,
            extra: 0,
        }
    }

    /// Whether the body is over.
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Says what the first bytes are, and moves on behind them. `bytes` are not empty, and the body is not over.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Chunked, Refusal> {
        if self.state == State::Data {
            let taken =
                usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            self.left -= taken as u64;
            if self.left == 0 {
                self.state = State::DataCr;
            }
            return Ok(Chunked::Data(taken));
        }
        for (at, byte) in bytes.iter().enumerate() {
            self.step(*byte)?;
            match self.state {
                State::Data => return Ok(Chunked::Frame(at + 1)),
                State::Done => return Ok(Chunked::End(at + 1)),
                _ => {}
            }
        }
        Ok(Chunked::Frame(bytes.len()))
    }

    fn step(&mut self, byte: u8) -> Result<(), Refusal> {
        self.state = match (self.state, byte) {
            (State::Size, _) => {
                self.left = 0;
                self.digit(byte)?;
                State::Digits(1)
            }
            (State::Digits(_) | State::Extension, b'\r') => State::SizeEnd,
            (State::Digits(_), b';') => {
                self.extra = 0;
                State::Extension
            }
            (State::Digits(DIGITS_MAX), _) => return Err(Refusal::ChunkSize),
            (State::Digits(count), _) => {
                self.digit(byte)?;
                State::Digits(count + 1)
            }
            (State::Extension, _) => {
                self.extra += 1;
                if self.extra > EXTENSION_MAX || byte.is_ascii_control() && byte != b'\t' {
                    return Err(Refusal::ChunkExtension);
                }
                State::Extension
            }
            (State::SizeEnd, b'\n') if self.left == 0 => {
                self.extra = 0;
                State::Line
            }
            (State::SizeEnd, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataCr, _) => return Err(Refusal::ChunkEnd),
            (State::DataLf, b'\n') => State::Size,
            (State::Line, b'\r') => State::LastLf,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::Line | State::Trailer, b'\n') => return Err(Refusal::BareLf),
            (State::Line, b' ' | b'\t') => return Err(Refusal::Folded),
            (State::Line | State::Trailer, _) => self.trailer(byte)?,
            (State::TrailerLf, b'\n') => State::Line,
            (State::LastLf, b'\n') => State::Done,
            (State::SizeEnd | State::DataLf | State::TrailerLf | State::LastLf, _) => {
                return Err(Refusal::BareCr);
            }
            // Neither is asked: the data is counted, and what follows the end is another message.
            (State::Data | State::Done, _) => self.state,
        };
        Ok(())
    }

    fn digit(&mut self, byte: u8) -> Result<(), Refusal> {
        let digit = char::from(byte).to_digit(16).ok_or(Refusal::ChunkSize)?;
        self.left = self.left << 4 | u64::from(digit);
        Ok(())
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Refusal> {
        self.extra += 1;
        if self.extra > TRAILER_MAX {
            return Err(Refusal::TrailerTooLong);
        }
        if byte.is_ascii_control() && byte != b'\t' {
            return Err(Refusal::FieldValue);
        }
        Ok(State::Trailer)
    }
}

impl Default for ChunkReader {
    fn default() -> Self {
        Self::new()
    }
}

/// The one of the tests beside this crate.
#[cfg(test)]
#[path = "../../tests/smuggling/chunks.rs"]
mod chunks;

#[cfg(test)]
mod proptests {
    use proptest::prelude::*;

    use super::chunks::Read;

    /// A body in chunks of these sizes.
    fn in_chunks(data: &[u8], sizes: &[usize]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = data;
        for size in sizes.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*size));
            bytes.extend(format!("{:X}\r\n", now.len()).bytes());
            if now.is_empty() {
                break;
            }
            bytes.extend(now);
            bytes.extend(b"\r\n");
            rest = later;
        }
        bytes.extend(b"\r\n");
        bytes
    }

    proptest! {
        /// However it is cut, the data is the same to the last byte, and nothing behind the end is touched.
        #[test]
        fn a_body_is_what_was_sent(
            data in prop::collection::vec(any::<u8>(), 0..4_000),
            sizes in prop::collection::vec(1usize..600, 1..8),
            parts in prop::collection::vec(1usize..300, 1..8),
        ) {
            let mut bytes = in_chunks(&data, &sizes);
            let length = bytes.len();
            bytes.extend(b"GET / HTTP/1.1\r\n");
            let read = Read::all(&bytes, parts.into_iter().cycle()).unwrap();
            prop_assert_eq!(read.taken, length);
            prop_assert_eq!(read.data, data);
        }

        /// Whatever comes, it is taken byte by byte or refused, the same in parts of any size.
        #[test]
        fn parts_do_not_matter(
            bytes in prop::collection::vec(prop::sample::select(&b"0123abcF;=\r\n\r\nxX: \t\"\0"[..]), 1..80),
            part in 1usize..10,
        ) {
            let read = |part| Read::all(&bytes, std::iter::repeat(part));
            prop_assert_eq!(read(part), read(bytes.len()));
        }
    }
}
