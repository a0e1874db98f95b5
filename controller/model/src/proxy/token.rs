//! Names in HTTP.

/// Bytes of a name that a rule may give.
const NAME_MAX: usize = 128;

/// A token, RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_of_token)
}

/// The name of a header field or a cookie, or what would be one.
pub(super) fn check_name(text: &str, what: &str, such_as: &str) -> Result<(), String> {
    if is_token(text) && text.len() <= NAME_MAX {
        return Ok(());
    }
    let given = match text {
        "" => "it is required".to_owned(),
        text => format!("`{}` is none", crate::name::shortened(text)),
    };
    Err(format!(
        "{given}: give the name of a {what}, such as `{such_as}`, of letters, digits and !#$%&'*+-.^_`|~, {NAME_MAX} at most"
    ))
}
