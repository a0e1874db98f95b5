/// A line of a corpus as the bytes that it stands for: `\r`, `\n`, `\t`, `\s` for a space, `\\`, and `\x` with two digits.
pub(crate) fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'\\' => match rest.next().expect("something is escaped") {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b's' => b' ',
                b'\\' => b'\\',
                b'x' => {
                    let mut digit = || rest.next().and_then(|it| char::from(it).to_digit(16));
                    let digits = digit().zip(digit());
                    let (high, low) = digits.expect("two hexadecimal digits");
                    u8::try_from(high << 4 | low).expect("a byte")
                }
                other => panic!("\\{}", char::from(other)),
            },
            byte => byte,
        };
        bytes.push(byte);
    }
    bytes
}
