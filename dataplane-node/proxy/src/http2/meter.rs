use std::time::{Duration, Instant};

use super::config::{Allowance, Http2Config};

/// Bytes of a frame's head, RFC 9113 section 4.1.
const HEAD: usize = 9;
/// Window updates that add less cost more than they give.
const SMALL_INCREMENT: u32 = 256;

/// Counts what a peer makes us do without asking for anything, from the frames' heads as their bytes pass: the codec behind it is right
/// about each frame, but not about how many there are.
///
/// ```text
///        9 bytes           4 bytes, of WINDOW_UPDATE      length
/// Head ──────────► counted ───────────────────► counted ──────────► Head
/// ```
#[derive(Debug)]
pub(super) struct Meter {
    /// The head that is coming, and of some frames the payload's beginning.
    held: [u8; HEAD + 4],
    have: usize,
    /// Bytes until the next head.
    skip: usize,
    /// Of the header block that is coming.
    block_bytes: usize,
    block_limit: usize,
    resets: Bucket,
    controls: Bucket,
    settings: Settings,
}

/// How far the peer's first settings have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settings {
    Awaited,
    Begun,
    Whole,
}

/// What a peer does too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flood {
    /// It takes requests back, CVE-2023-44487.
    Resets,
    /// PING, SETTINGS, PRIORITY, small `WINDOW_UPDATE`, empty DATA, frames of no known type: CVE-2019-9511 to 9518.
    Controls,
    /// A header block that does not end, CVE-2024-27316.
    Headers,
}

#[derive(Debug)]
struct Bucket {
    allowance: Allowance,
    /// In thousandths.
    left: u64,
    filled: Instant,
}

// === impl Meter ===

impl Meter {
    /// `preface` bytes come before the first frame; `block_limit` is how long a header block may be, in compressed form.
    pub(super) fn new(
        config: &Http2Config,
        preface: usize,
        block_limit: usize,
        now: Instant,
    ) -> Self {
        Self {
            held: [0; HEAD + 4],
            have: 0,
            skip: preface,
            block_bytes: 0,
            block_limit,
            resets: Bucket::new(config.resets, now),
            controls: Bucket::new(config.controls, now),
            settings: Settings::Awaited,
        }
    }

    /// Whether the peer has said what it is able to do, RFC 9113 section 3.4.
    pub(super) fn is_settled(&self) -> bool {
        self.settings == Settings::Whole
    }

    /// Looks at the next bytes.
    pub(super) fn note(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Flood> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                if self.skip == 0 && self.settings == Settings::Begun {
                    self.settings = Settings::Whole;
                }
                continue;
            }
            if self.have == 0
                && let Some(head) = bytes.first_chunk::<HEAD>()
                && is_carrying(head)
            {
                // Most of them, without a copy.
                self.skip = length(head);
                if head[3] == HEADERS {
                    self.block_bytes = self.skip;
                }
                bytes = &bytes[HEAD..];
                continue;
            }
            let wanted = self.wanted();
            let taken = (wanted - self.have).min(bytes.len());
            self.held[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == wanted && self.wanted() == wanted {
                self.have = 0;
                self.frame(wanted, now)?;
            }
        }
        Ok(())
    }

    /// Bytes that are needed to judge the frame, as far as is known.
    fn wanted(&self) -> usize {
        let is_increment = self.held[3] == WINDOW_UPDATE && self.payload() >= 4;
        if self.have >= HEAD && is_increment {
            HEAD + 4
        } else {
            HEAD
        }
    }

    fn payload(&self) -> usize {
        let [high, middle, low, ..] = self.held;
        usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)
    }

    /// Counts the frame whose head is there.
    fn frame(&mut self, held: usize, now: Instant) -> Result<(), Flood> {
        let (payload, [kind, flags]) = (self.payload(), [self.held[3], self.held[4]]);
        self.skip = payload + HEAD - held;
        if kind == SETTINGS && flags & ACK == 0 && self.settings == Settings::Awaited {
            self.settings = if self.skip > 0 {
                Settings::Begun
            } else {
                Settings::Whole
            };
        }
        match kind {
            DATA if payload > 0 || flags & END_STREAM != 0 => Ok(()),
            HEADERS => {
                self.block_bytes = 0;
                self.block(payload, flags)
            }
            CONTINUATION => {
                if payload == 0 {
                    self.controls.take(now, Flood::Controls)?;
                }
                self.block(payload, flags)
            }
            RST_STREAM => self.resets.take(now, Flood::Resets),
            WINDOW_UPDATE if held == HEAD + 4 => {
                let [.., a, b, c, d] = self.held;
                if u32::from_be_bytes([a, b, c, d]) < SMALL_INCREMENT {
                    self.controls.take(now, Flood::Controls)
                } else {
                    Ok(())
                }
            }
            _ => self.controls.take(now, Flood::Controls),
        }
    }

    fn block(&mut self, payload: usize, flags: u8) -> Result<(), Flood> {
        self.block_bytes += payload;
        // One frame may be as long as it may be: how much it says is for the codec to tell.
        if flags & END_HEADERS == 0 && self.block_bytes > self.block_limit {
            return Err(Flood::Headers);
        }
        Ok(())
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// Whether a frame is part of a request, and whole in itself.
const fn is_carrying(head: &[u8; HEAD]) -> bool {
    match head[3] {
        DATA => length(head) > 0,
        HEADERS => head[4] & END_HEADERS != 0,
        _ => false,
    }
}

const fn length(head: &[u8; HEAD]) -> usize {
    (head[0] as usize) << 16 | (head[1] as usize) << 8 | head[2] as usize
}

// === impl Bucket ===

impl Bucket {
    fn new(allowance: Allowance, now: Instant) -> Self {
        Self {
            allowance,
            left: u64::from(allowance.burst) * 1_000,
            filled: now,
        }
    }

    fn take(&mut self, now: Instant, flood: Flood) -> Result<(), Flood> {
        let passed = now.saturating_duration_since(self.filled);
        // A refill of less than a thousandth would be lost.
        if passed >= Duration::from_millis(10) {
            let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
            let more = millis.saturating_mul(u64::from(self.allowance.per_second));
            let full = u64::from(self.allowance.burst) * 1_000;
            self.left = self.left.saturating_add(more).min(full);
            self.filled = now;
        }
        self.left = self.left.checked_sub(1_000).ok_or(flood)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn config(burst: u32) -> Http2Config {
        let allowance = Allowance {
            burst,
            per_second: 10,
        };
        Http2Config {
            resets: allowance,
            controls: allowance,
            ..Http2Config::default()
        }
    }

    fn meter(now: Instant) -> Meter {
        Meter::new(&config(3), 0, 100, now)
    }

    #[test]
    fn what_asks_for_nothing_is_counted_however_it_is_cut() {
        let increment = |by: u32| frame(WINDOW_UPDATE, 0, &by.to_be_bytes());
        let counted = [
            (frame(RST_STREAM, 0, &[0; 4]), Some(Flood::Resets)),
            (frame(PING, 0, &[0; 8]), Some(Flood::Controls)),
            (frame(SETTINGS, 0, b""), Some(Flood::Controls)),
            (frame(2, 0, &[0; 5]), Some(Flood::Controls)),
            (frame(77, 0, &[0; 300]), Some(Flood::Controls)),
            (frame(DATA, 0, b""), Some(Flood::Controls)),
            (frame(CONTINUATION, 0, b""), Some(Flood::Controls)),
            (increment(1), Some(Flood::Controls)),
            (increment(65_535), None),
            (frame(DATA, END_STREAM, b""), None),
            (frame(DATA, 0, b"data"), None),
            (frame(HEADERS, END_HEADERS, &[0; 90]), None),
        ];
        let now = Instant::now();
        for (bytes, flood) in counted {
            for part in [1, 4, 9, 11, 10_000] {
                let mut meter = meter(now);
                let mut note = |times: usize| {
                    let all = bytes.repeat(times);
                    all.chunks(part).try_for_each(|it| meter.note(it, now))
                };
                assert_eq!(note(3), Ok(()), "{bytes:?} in parts of {part}");
                assert_eq!(note(1).err(), flood, "{bytes:?} in parts of {part}");
            }
        }
    }

    #[test]
    fn settings_are_there_when_all_of_them_are() {
        let now = Instant::now();
        let acknowledged = frame(SETTINGS, ACK, b"");
        for settings in [frame(SETTINGS, 0, b""), frame(SETTINGS, 0, &[0; 12])] {
            let mut meter = meter(now);
            assert_eq!(meter.note(&acknowledged, now), Ok(()));
            for byte in &settings {
                assert!(!meter.is_settled(), "{settings:?}");
                assert_eq!(meter.note(&[*byte], now), Ok(()));
            }
            assert!(meter.is_settled(), "{settings:?}");
        }
    }

    #[test]
    fn time_allows_more() {
        let now = Instant::now();
        let reset = frame(RST_STREAM, 0, &[0; 4]);
        let resets_at = |millis: &[u64]| {
            let mut meter = meter(now);
            let mut at = |it: &u64| meter.note(&reset, now + Duration::from_millis(*it));
            millis.iter().try_for_each(&mut at)
        };
        assert_eq!(resets_at(&[0, 0, 0, 99]), Err(Flood::Resets));
        assert_eq!(resets_at(&[0, 0, 0, 150]), Ok(()));
        assert_eq!(resets_at(&[0, 0, 0, 150, 150]), Err(Flood::Resets));
        assert_eq!(resets_at(&[0, 0, 0, 9_000, 9_000, 9_000]), Ok(()));
        let last = [0, 9_000, 9_000, 9_000, 9_000];
        assert_eq!(resets_at(&last), Err(Flood::Resets));
    }

    /// The codec refuses what follows, but it must not matter to the meter how it is cut.
    #[test]
    fn a_whole_block_ends_the_one_before() {
        let frames = [
            frame(HEADERS, 0, &[0; 60]),
            frame(HEADERS, END_HEADERS, &[0; 20]),
            frame(CONTINUATION, 0, &[0; 60]),
        ];
        let (now, all) = (Instant::now(), frames.concat());
        for part in [1, 20, 1_000] {
            let mut meter = meter(now);
            let noted = all.chunks(part).try_for_each(|it| meter.note(it, now));
            assert_eq!(noted, Ok(()), "in parts of {part}");
        }
    }

    #[test]
    fn a_header_block_has_an_end() {
        let now = Instant::now();
        let mut meter = meter(now);
        let first = frame(HEADERS, 0, &[0; 60]);
        let more = |flags| frame(CONTINUATION, flags, &[0; 60]);
        assert_eq!(meter.note(&first, now), Ok(()));
        assert_eq!(meter.note(&more(END_HEADERS), now), Ok(()));
        assert_eq!(meter.note(&first, now), Ok(()));
        assert_eq!(meter.note(&more(0), now), Err(Flood::Headers));
    }
}
