//! Records, RFC 8446 section 5 and RFC 5246 section 6.2, once a handshake has agreed on keys.
//!
//! ```text
//!  TLS 1.3                  │ type 23, 3.3, length │ sealed(content, its type, zeros), tag 16 │
//!  TLS 1.2, AES-GCM         │ type, 3.3, length    │ nonce 8, sealed(content), tag 16         │
//!  TLS 1.2, ChaCha20        │ type, 3.3, length    │ sealed(content), tag 16                  │
//! ```
//!
//! Rustls does the handshake and hands over keys and sequence numbers. The records of the traffic are sealed and opened here, in the
//! buffers that they lie in: a connection costs two keys while it is idle, and no allocation while it is not.

use std::ops::Range;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{ConnectionTrafficSecrets, ProtocolVersion};

use super::alert::Alert;

/// Content of one record.
pub(super) const CONTENT_MAX: usize = 1 << 14;
pub(super) const HEADER_BYTES: usize = 5;
const TAG_BYTES: usize = 16;
const EXPLICIT_NONCE_BYTES: usize = 8;
/// What a record adds to its content, at most.
pub(super) const OVERHEAD_MAX: usize = HEADER_BYTES + EXPLICIT_NONCE_BYTES + TAG_BYTES;
/// Records under one AES-GCM key, RFC 8446 section 5.5; fewer than the 2^24.5 there, as rustls has it.
const SEALED_MAX: u64 = 1 << 24;
/// From here on a key is to be replaced if the version can.
const SEALED_WISH: u64 = 1 << 23;

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    ChangeCipherSpec,
    Alert,
    Handshake,
    Data,
}

impl Content {
    const fn of(byte: u8) -> Option<Self> {
        match byte {
            20 => Some(Self::ChangeCipherSpec),
            21 => Some(Self::Alert),
            22 => Some(Self::Handshake),
            23 => Some(Self::Data),
            _ => None,
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::ChangeCipherSpec => 20,
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::Data => 23,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Tls13,
    Tls12Gcm,
    Tls12ChaCha,
}

/// The keys of one direction of a connection.
#[derive(Debug)]
pub(super) struct RecordKeys {
    key: LessSafeKey,
    iv: [u8; aead::NONCE_LEN],
    sequence: u64,
    form: Form,
}

/// No keys of ours go with what the handshake agreed on; never with the cipher suites that are configured.
#[derive(Debug, thiserror::Error)]
#[error("the cipher suite that was agreed on is not one of ours")]
pub struct UnknownSuite;

impl RecordKeys {
    pub(super) fn new(
        version: ProtocolVersion,
        (sequence, secrets): (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, UnknownSuite> {
        let (algorithm, key, iv, tls12) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => {
                (&aead::AES_128_GCM, key, iv, Form::Tls12Gcm)
            }
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => {
                (&aead::AES_256_GCM, key, iv, Form::Tls12Gcm)
            }
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&aead::CHACHA20_POLY1305, key, iv, Form::Tls12ChaCha)
            }
            _ => return Err(UnknownSuite),
        };
        let form = match version {
            ProtocolVersion::TLSv1_3 => Form::Tls13,
            ProtocolVersion::TLSv1_2 => tls12,
            _ => return Err(UnknownSuite),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_length| UnknownSuite)?;
        let iv = iv.as_ref().try_into().map_err(|_length| UnknownSuite)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            iv,
            sequence,
            form,
        })
    }

    pub(super) const fn is_tls13(&self) -> bool {
        matches!(self.form, Form::Tls13)
    }

    /// Whether so much is sealed with the key that another one should follow.
    pub(super) const fn is_worn(&self) -> bool {
        self.sequence >= SEALED_WISH
    }

    fn nonce_bytes(&self) -> [u8; aead::NONCE_LEN] {
        let mut nonce = self.iv;
        let sequence = self.sequence.to_be_bytes();
        for (byte, of_sequence) in nonce[4..].iter_mut().zip(sequence) {
            *byte ^= of_sequence;
        }
        nonce
    }

    /// RFC 5246 section 6.2.3.3.
    fn aad12(&self, content: u8, length: usize) -> [u8; 13] {
        let mut aad = [0; 13];
        aad[..8].copy_from_slice(&self.sequence.to_be_bytes());
        aad[8..].copy_from_slice(&header(content, length));
        aad
    }

    /// Writes a record with both parts, at most [`CONTENT_MAX`] bytes, one behind the other, and says how long it is. `out` has room for
    /// [`OVERHEAD_MAX`] more than they have. Nothing if the key has sealed all that it may.
    pub(super) fn seal(
        &mut self,
        content: Content,
        parts: [&[u8]; 2],
        out: &mut [u8],
    ) -> Option<usize> {
        if self.sequence >= SEALED_MAX {
            return None;
        }
        let length = parts[0].len() + parts[1].len();
        debug_assert!(length <= CONTENT_MAX);
        let nonce = self.nonce_bytes();
        let mut start = HEADER_BYTES;
        if self.form == Form::Tls12Gcm {
            out[start..start + EXPLICIT_NONCE_BYTES].copy_from_slice(&nonce[4..]);
            start += EXPLICIT_NONCE_BYTES;
        }
        let mut end = start;
        for part in parts {
            out[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        if self.form == Form::Tls13 {
            out[end] = content.byte();
            end += 1;
        }
        let whole = end + TAG_BYTES;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = &mut out[start..end];
        let tag = if self.form == Form::Tls13 {
            let header = header(Content::Data.byte(), whole - HEADER_BYTES);
            self.key
                .seal_in_place_separate_tag(nonce, Aad::from(header), sealed)
        } else {
            let aad = self.aad12(content.byte(), length);
            self.key
                .seal_in_place_separate_tag(nonce, Aad::from(aad), sealed)
        };
        // Fails for lengths that no record has.
        out[end..whole].copy_from_slice(tag.ok()?.as_ref());
        let outer = match self.form {
            Form::Tls13 => Content::Data,
            Form::Tls12Gcm | Form::Tls12ChaCha => content,
        };
        out[..HEADER_BYTES].copy_from_slice(&header(outer.byte(), whole - HEADER_BYTES));
        self.sequence += 1;
        Some(whole)
    }

    /// Opens a whole record, as [`record_length`] has found it, where it lies: what it carries, and where.
    pub(super) fn open(&mut self, record: &mut [u8]) -> Result<(Content, Range<usize>), Alert> {
        let outer = Content::of(record[0]).ok_or(Alert::UnexpectedMessage)?;
        if self.form == Form::Tls13 {
            return self.open13(outer, record);
        }
        let mut nonce = self.nonce_bytes();
        let mut start = HEADER_BYTES;
        if self.form == Form::Tls12Gcm {
            let explicit = record.get(start..start + EXPLICIT_NONCE_BYTES);
            nonce[..4].copy_from_slice(&self.iv[..4]);
            nonce[4..].copy_from_slice(explicit.ok_or(Alert::BadRecordMac)?);
            start += EXPLICIT_NONCE_BYTES;
        }
        let length = record.len().checked_sub(start + TAG_BYTES);
        let length = length.ok_or(Alert::BadRecordMac)?;
        let aad = self.aad12(outer.byte(), length);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = self
            .key
            .open_in_place(nonce, Aad::from(aad), &mut record[start..]);
        opened.map_err(|_forged| Alert::BadRecordMac)?;
        self.count()?;
        if length > CONTENT_MAX {
            return Err(Alert::RecordOverflow);
        }
        Ok((outer, start..start + length))
    }

    fn open13(
        &mut self,
        outer: Content,
        record: &mut [u8],
    ) -> Result<(Content, Range<usize>), Alert> {
        // RFC 8446 section 5: all else is a change of ciphers, which has its place before the handshake's end only.
        if outer != Content::Data {
            return Err(Alert::UnexpectedMessage);
        }
        let nonce = Nonce::assume_unique_for_key(self.nonce_bytes());
        let (head, sealed) = record.split_at_mut(HEADER_BYTES);
        let opened = self.key.open_in_place(nonce, Aad::from(&*head), sealed);
        let opened = opened.map_err(|_forged| Alert::BadRecordMac)?;
        self.count()?;
        if opened.len() > CONTENT_MAX + 1 {
            return Err(Alert::RecordOverflow);
        }
        let at = opened.iter().rposition(|byte| *byte != 0);
        let at = at.ok_or(Alert::UnexpectedMessage)?;
        let content = Content::of(opened[at]).ok_or(Alert::UnexpectedMessage)?;
        Ok((content, HEADER_BYTES..HEADER_BYTES + at))
    }

    fn count(&mut self) -> Result<(), Alert> {
        self.sequence = self.sequence.checked_add(1).ok_or(Alert::InternalError)?;
        Ok(())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "no record is longer than 16 bits say"
)]
fn header(content: u8, length: usize) -> [u8; HEADER_BYTES] {
    debug_assert!(u16::try_from(length).is_ok());
    [content, 3, 3, (length >> 8) as u8, length as u8]
}

/// How long the record is that these bytes begin with; nothing if it is not there whole.
pub(super) fn record_length(bytes: &[u8]) -> Result<Option<usize>, Alert> {
    let Some(&[content, major, _, high, low]) = bytes.first_chunk() else {
        return Ok(None);
    };
    if Content::of(content).is_none() || major != 3 {
        return Err(Alert::UnexpectedMessage);
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    // RFC 5246 section 6.2.3; RFC 8446 allows less, and what it forbids is found when the record is open.
    if length > CONTENT_MAX + 2048 {
        return Err(Alert::RecordOverflow);
    }
    let whole = HEADER_BYTES + length;
    Ok((bytes.len() >= whole).then_some(whole))
}

#[cfg(test)]
impl RecordKeys {
    /// As if so much had been sealed that another key should follow. Nothing that is sealed from here on opens.
    pub(super) const fn wear(&mut self) {
        self.sequence = SEALED_WISH;
    }
}

#[cfg(test)]
mod tests;
