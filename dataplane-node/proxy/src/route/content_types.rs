use lbfabric_model::route_text;

use super::{Fields, InvalidRoute};

/// Types that a rule may name.
const TYPES_MAX: usize = 64;

/// Types of bodies, RFC 9110 section 8.3.1. Parameters do not matter, nor does case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentTypes(Vec<ContentType>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct ContentType {
    main: Box<str>,
    /// None for all.
    sub: Option<Box<str>>,
}

impl ContentTypes {
    /// As `application/json` and `image/*`.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, InvalidRoute> {
        let wrong = |reason| Err(InvalidRoute::new("content_types", reason));
        let mut types = Vec::new();
        for text in texts {
            if let Err(reason) = route_text::content_type(text) {
                return wrong(reason);
            }
            let (main, sub) = text.split_once('/').unwrap_or((text, "*"));
            let sub = (sub != "*").then(|| sub.to_ascii_lowercase().into());
            let main = main.to_ascii_lowercase().into();
            types.push(ContentType { main, sub });
        }
        if types.is_empty() || types.len() > TYPES_MAX {
            return wrong(format!(
                "name 1 to {TYPES_MAX} types, or leave the rule out"
            ));
        }
        Ok(Self(types))
    }

    /// Whether a request with a body says one of them, once.
    pub(super) fn allow<F: Fields>(&self, fields: &F) -> bool {
        let mut said = fields.values("content-type");
        let (Some(value), None) = (said.next(), said.next()) else {
            return false;
        };
        let essence = value
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        let Some(slash) = memchr::memchr(b'/', essence) else {
            return false;
        };
        let (main, sub) = (&essence[..slash], &essence[slash + 1..]);
        self.0.iter().any(|it| {
            main.eq_ignore_ascii_case(it.main.as_bytes())
                && (it.sub.as_ref()).is_none_or(|below| sub.eq_ignore_ascii_case(below.as_bytes()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::request::tests::Said, *};

    #[test]
    fn types_are_compared_without_parameters() {
        let types = ContentTypes::parse(["application/JSON", "image/*"]).unwrap();
        let allows = |values: &[&str]| {
            let fields: Vec<_> = values
                .iter()
                .map(|value| ("Content-Type", *value))
                .collect();
            types.allow(&Said(&fields))
        };
        for value in [
            "application/json",
            "Application/json ; charset=utf-8",
            "image/png",
        ] {
            assert!(allows(&[value]), "{value}");
        }
        for value in [
            "",
            "application/jsonx",
            "text/plain",
            "json",
            "application",
            "x; image/png",
        ] {
            assert!(!allows(&[value]), "{value}");
        }
        assert!(!allows(&[]));
        assert!(!allows(&["image/png", "image/png"]));
        for texts in [
            &[][..],
            &["json"],
            &["*/*"],
            &["a/b;c=d"],
            &["a/"],
            &["a/*b"],
            &["a/b"; 65],
        ] {
            assert!(
                ContentTypes::parse(texts.iter().copied()).is_err(),
                "{texts:?}"
            );
        }
    }
}
