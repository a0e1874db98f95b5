use lbfabric_model::route_text;

use super::InvalidRoute;

/// Methods that a rule may name.
const METHODS_MAX: usize = 32;

/// A set of methods. `GET` does not stand for `HEAD` too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Methods {
    names: Box<[Box<str>]>,
    /// As an `Allow` field has them.
    list: Box<str>,
}

impl Methods {
    /// Of tokens as they come in requests: case matters, RFC 9110 section 9.1.
    pub fn parse<'t>(names: impl IntoIterator<Item = &'t str>) -> Result<Self, InvalidRoute> {
        let names: Vec<Box<str>> = names.into_iter().map(Box::from).collect();
        if names.is_empty() || names.len() > METHODS_MAX {
            let reason = format!("name 1 to {METHODS_MAX} methods, or leave the rule out");
            return Err(InvalidRoute::new("methods", reason));
        }
        for name in &names {
            route_text::method(name).map_err(|reason| InvalidRoute::new("methods", reason))?;
        }
        Ok(Self {
            list: names.join(", ").into(),
            names: names.into(),
        })
    }

    /// Whether a method is one of them.
    pub fn contains(&self, method: &str) -> bool {
        self.names.iter().any(|name| **name == *method)
    }

    /// As an `Allow` field has them, RFC 9110 section 10.2.1.
    pub const fn list(&self) -> &str {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_told_apart_by_case() {
        let methods = Methods::parse(["GET", "PURGE"]).unwrap();
        assert!(methods.contains("GET") && methods.contains("PURGE"));
        assert!(!methods.contains("HEAD") && !methods.contains("get"));
        assert_eq!(methods.list(), "GET, PURGE");
        for names in [
            &[][..],
            &["get"],
            &["G T"],
            &[""],
            &["CONNECT"],
            &["GET"; 33],
        ] {
            assert_eq!(
                Methods::parse(names.iter().copied()).unwrap_err().field,
                "methods"
            );
        }
    }
}
