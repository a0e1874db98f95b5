use std::num::NonZeroU64;

/// Where a request stands in a trace: the field `traceparent` of W3C Trace Context.
///
/// ```text
/// 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
/// └version    └trace id                └span id of     └flags
///                                       who asks
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// Not 0.
    trace_id: u128,
    /// Not 0.
    span_id: u64,
    /// Who asks may have recorded it.
    is_sampled: bool,
}

/// What the server is told of a request's trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced {
    /// With a new span id.
    pub parent: TraceParent,
    /// The span that the client has asked by: its trace goes on, and so does its `tracestate`. Without one it begins here.
    pub asked_by: Option<NonZeroU64>,
}

/// Bytes of the field in version 00.
const BYTES: usize = 55;
const SAMPLED: u8 = 1;

impl TraceParent {
    /// Reads a field's value; none of what is not exactly as the recommendation says. What later versions append is left out, as its
    /// section 4.3 has it; version ff is none.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, more) = value.split_at_checked(BYTES)?;
        let separators = [2, 35, 52].map(|at| known[at]);
        let version = hexadecimal(&known[..2])?;
        let is_known = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => more.is_empty() || more[0] == b'-',
        };
        let trace_id = hexadecimal(&known[3..35])?;
        let span_id = u64::try_from(hexadecimal(&known[36..52])?).ok()?;
        let flags = u8::try_from(hexadecimal(&known[53..])?).ok()?;
        let is_sound = separators == [b'-'; 3] && is_known && trace_id != 0 && span_id != 0;
        is_sound.then_some(Self {
            trace_id,
            span_id,
            is_sampled: flags & SAMPLED != 0,
        })
    }

    /// The beginning of a trace.
    pub const fn start(random_trace: u128, random_span: u64, is_sampled: bool) -> Self {
        Self {
            // Without a 0, which means that there is none.
            trace_id: random_trace | 1,
            span_id: random_span | 1,
            is_sampled,
        }
    }

    /// The same trace, for those who are asked by a new span.
    #[must_use]
    pub const fn child(self, random_span: u64) -> Self {
        Self {
            span_id: random_span | 1,
            ..self
        }
    }

    /// The field's value, in version 00: of the flags only what is known in it goes on.
    pub fn text(self) -> [u8; BYTES] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        text[3..35].copy_from_slice(&self.trace_id_text());
        text[36..52].copy_from_slice(&self.span_id_text());
        text[54] += u8::from(self.is_sampled);
        text
    }

    /// The id of the whole trace, which is not 0.
    pub const fn trace_id(self) -> u128 {
        self.trace_id
    }

    /// The id of the span that asks, which is not 0.
    pub const fn span_id(self) -> u64 {
        self.span_id
    }

    /// Whether who asks may have recorded it.
    pub const fn is_sampled(self) -> bool {
        self.is_sampled
    }

    /// 32 hexadecimal digits.
    pub fn trace_id_text(self) -> [u8; 32] {
        digits(self.trace_id.to_be_bytes())
    }

    /// 16 hexadecimal digits.
    pub fn span_id_text(self) -> [u8; 16] {
        digits(self.span_id.to_be_bytes())
    }
}

impl Traced {
    /// Whether the client's trace goes on.
    pub const fn is_continued(self) -> bool {
        self.asked_by.is_some()
    }

    /// Whether a client's field with this name does not go on.
    pub fn replaces(self, name: &str) -> bool {
        name.eq_ignore_ascii_case("traceparent")
            || !self.is_continued() && name.eq_ignore_ascii_case("tracestate")
    }

    /// Of a request with these values of `traceparent`. Several are as bad as none; `is_sampled` is whether a trace that begins here is
    /// said to be recorded.
    pub fn of<'a>(
        mut values: impl Iterator<Item = &'a [u8]>,
        mut random: impl FnMut() -> u64,
        is_sampled: impl FnOnce() -> bool,
    ) -> Self {
        let only = values.next().filter(|_| values.next().is_none());
        if let Some(parent) = only.and_then(TraceParent::parse) {
            return Self {
                parent: parent.child(random()),
                asked_by: NonZeroU64::new(parent.span_id),
            };
        }
        let trace = u128::from(random()) << 64 | u128::from(random());
        Self {
            parent: TraceParent::start(trace, random(), is_sampled()),
            asked_by: None,
        }
    }
}

/// The number that lower-case digits say.
fn hexadecimal(text: &[u8]) -> Option<u128> {
    text.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

fn digits<const BYTES: usize, const DIGITS: usize>(bytes: [u8; BYTES]) -> [u8; DIGITS] {
    const { assert!(DIGITS == 2 * BYTES) };
    let digit = |it: u8| b"0123456789abcdef"[usize::from(it)];
    core::array::from_fn(|at| digit(bytes[at / 2] >> if at % 2 == 0 { 4 } else { 0 } & 15))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOUND: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_sound_one_is_continued() {
        let parsed = TraceParent::parse(SOUND.as_bytes()).unwrap();
        assert_eq!(parsed.text(), SOUND.as_bytes());
        let child = parsed.child(0xabc0);
        assert_eq!(
            child.text(),
            *b"00-4bf92f3577b34da6a3ce929d0e0e4736-000000000000abc1-01"
        );
        let later = SOUND.replacen("00", "cc", 1);
        assert_eq!(TraceParent::parse(later.as_bytes()), Some(parsed));
        let longer = format!("{later}-what-the-future-will-be-like");
        assert_eq!(TraceParent::parse(longer.as_bytes()), Some(parsed));
        // Flags that mean nothing yet do not go on.
        let flags = format!("{}fe", &SOUND[..53]);
        let parsed = TraceParent::parse(flags.as_bytes()).unwrap();
        assert!(parsed.text().ends_with(b"-00"));
    }

    #[test]
    fn what_is_not_sound_is_none() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "FF-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        ] {
            assert_eq!(TraceParent::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn one_trace_goes_on_and_others_are_replaced() {
        let of = |values: &[&'static str]| {
            let mut next = 8;
            let random = || {
                next += 1;
                next
            };
            Traced::of(values.iter().map(|it| it.as_bytes()), random, || true)
        };
        let continued = of(&[SOUND]);
        assert_eq!(
            continued.asked_by.map(NonZeroU64::get),
            Some(0x00f0_67aa_0ba9_02b7)
        );
        assert_eq!(
            continued.parent.text(),
            *b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000009-01"
        );
        for bad in [
            &[][..],
            &[SOUND, SOUND],
            &["nonsense"],
            &[SOUND, "nonsense"],
        ] {
            let started = of(bad);
            assert!(!started.is_continued(), "{bad:?}");
            assert_eq!(
                started.parent.text(),
                *b"00-0000000000000009000000000000000b-000000000000000b-01"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace: u128, span: u64, is_sampled: bool) {
            let started = TraceParent::start(trace, span, is_sampled);
            prop_assert_eq!(TraceParent::parse(&started.text()), Some(started));
        }

        #[test]
        fn one_other_byte_is_another_one_or_none(at in 0..BYTES, byte: u8) {
            let mut text = SOUND.as_bytes().to_vec();
            text[at] = byte;
            if let Some(parsed) = TraceParent::parse(&text) {
                prop_assert!(byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte) || byte == b'-');
                prop_assert_eq!(&parsed.text()[3..52], &text[3..52]);
            }
        }
    }
}
