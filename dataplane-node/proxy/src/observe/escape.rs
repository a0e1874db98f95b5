//! What clients say, written so that it cannot end a line or a string.

/// Appends text to a JSON string, RFC 8259 section 7. Controls of all kinds and what some readers take for the end of a line are escaped;
/// bytes that are no UTF-8 become U+FFFD.
pub(crate) fn json(out: &mut Vec<u8>, text: &[u8]) {
    // Nearly all text needs nothing.
    let is_plain = |byte: &u8| matches!(byte, 0x20..=0x7e) && *byte != b'"' && *byte != b'\\';
    if text.iter().all(is_plain) {
        out.extend_from_slice(text);
        return;
    }
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                ' '..='~' => out.push(character as u8),
                '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                    escaped(out, character as u32);
                }
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

fn escaped(out: &mut Vec<u8>, code: u32) {
    let digit = |shift: u32| b"0123456789abcdef"[(code >> shift & 15) as usize];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// Appends text to a quoted string of the combined format, as Apache and NGINX do: visible ASCII and spaces as they are, the rest as `\xHH`.
pub(crate) fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f..=0xff => {
                let digit = |it: u8| b"0123456789ABCDEF"[usize::from(it)];
                out.extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(byte & 15)]);
            }
            _ => out.push(*byte),
        }
    }
}

/// Appends a number, with at least so many digits.
pub(crate) fn number(out: &mut Vec<u8>, mut number: u64, digits: usize) {
    let mut text = [b'0'; 20];
    let mut at = text.len();
    while number > 0 {
        at -= 1;
        text[at] = b'0' + u8::try_from(number % 10).expect("a digit is below 10");
        number /= 10;
    }
    out.extend_from_slice(&text[at.min(text.len() - digits)..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_could_end_a_line_or_a_string_is_escaped() {
        let json = |text: &[u8]| by(|out| json(out, text));
        assert_eq!(json(b"/a?b=\"c\"\\"), r#"/a?b=\"c\"\\"#);
        assert_eq!(json(b"a\r\n\t\x00\x7f"), r"a\u000d\u000a\u0009\u0000\u007f");
        assert_eq!(json("ä\u{85}\u{2028}€".as_bytes()), "ä\\u0085\\u2028€");
        assert_eq!(json(b"a\xffb\xe2\x82"), r"a\ufffdb\ufffd");
        let quoted = |text: &[u8]| by(|out| quoted(out, text));
        assert_eq!(quoted(b"a b\"\\\n\xff~"), r"a b\x22\x5C\x0A\xFF~");
    }

    #[test]
    fn numbers_have_their_digits() {
        for (value, digits, text) in [
            (0, 1, "0"),
            (7, 2, "07"),
            (123, 2, "123"),
            (5, 6, "000005"),
            (u64::MAX, 1, "18446744073709551615"),
        ] {
            assert_eq!(by(|out| number(out, value, digits)), text);
        }
    }
}
