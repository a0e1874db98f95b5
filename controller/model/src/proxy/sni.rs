use std::{collections::BTreeMap, sync::Arc};

use lbfabric_proto::v1;

use super::at::At;
use crate::{
    Name, Violation, fields::Fields, name::shortened, route_text, wire_enum::WireEnum as _,
};

const ROUTES_MAX: usize = 1_024;
/// Names of all routes.
const NAMES_MAX: usize = 10_000;

/// Where TLS goes that is passed through, by the server's name that a client asks for. Cloning is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sni {
    routes: Arc<[SniRoute]>,
    /// What becomes of clients that ask for no name of the routes.
    pub others: SniOthers,
}

/// The pool of some names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SniRoute {
    /// In lower case: `www.example.com`, or `*.example.com` for all names below it. Each once in a service.
    pub names: Vec<String>,
    /// The pool.
    pub pool: Name,
}

/// What becomes of clients that ask for a name that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SniOthers {
    /// They get the service's pool.
    #[default]
    Serve,
    /// They are closed with the alert `unrecognized_name`.
    Refuse,
}

// === impl Sni ===

impl Sni {
    /// Checks the specification at `path`. After a violation the result is of no use.
    pub(super) fn parse(spec: &v1::SniSpec, path: &str, violations: &mut Vec<Violation>) -> Self {
        let v1::SniSpec { routes, others } = spec;
        let mut at = At::new(path, violations);
        at.at_most_items("routes", routes.len(), ROUTES_MAX);
        let names = routes.iter().map(|route| route.names.len()).sum();
        at.at_most_items("routes[].names", names, NAMES_MAX);
        let is_small = routes.len() <= ROUTES_MAX && names <= NAMES_MAX;
        let checked = routes.iter().enumerate().filter(|_| is_small);
        let mut known = BTreeMap::new();
        let routes = checked
            .filter_map(|(i, spec)| route(i, spec, &mut known, at.item("routes", i)))
            .collect();
        let others = SniOthers::parse(*others, path, at.violations());
        Self {
            routes,
            others: others.unwrap_or_default(),
        }
    }

    /// The routes, in their order, which decides nothing.
    pub fn routes(&self) -> &[SniRoute] {
        &self.routes
    }

    pub(super) fn to_spec(&self) -> v1::SniSpec {
        let Self { routes, others } = self;
        let route = |SniRoute { names, pool }: &SniRoute| v1::SniRouteSpec {
            names: names.clone(),
            pool: pool.to_string(),
        };
        v1::SniSpec {
            routes: routes.iter().map(route).collect(),
            others: others.to_proto().into(),
        }
    }

    /// Goes by names, as users do.
    pub(super) fn fields(&self, fields: &mut Fields) {
        let Self { routes, others } = self;
        fields.put("proxy.sni.others", others.name());
        for SniRoute { names, pool } in &**routes {
            for name in names {
                fields.put(format!("proxy.sni.routes.{name}"), pool);
            }
        }
    }
}

/// `known` are the names of the routes before it, and where they stand.
fn route(
    index: usize,
    spec: &v1::SniRouteSpec,
    known: &mut BTreeMap<String, (usize, usize)>,
    mut at: At<'_>,
) -> Option<SniRoute> {
    let v1::SniRouteSpec { names, pool } = spec;
    if names.is_empty() {
        at.refuse(
            "names",
            "it is required: give the names that clients ask for, such as `www.example.com` or `*.example.com`",
        );
    }
    let mut read = Vec::with_capacity(names.len());
    for (n, text) in names.iter().enumerate() {
        let field = format!("names[{n}]");
        let Some(name) = at.check(&field, route_text::server_names(text)) else {
            continue;
        };
        if let Some((route, place)) = known.get(&name) {
            let reason = format!(
                "`{}` stands in `routes[{route}].names[{place}]` already: name it once",
                shortened(&name)
            );
            at.refuse(&field, reason);
            continue;
        }
        known.insert(name.clone(), (index, n));
        read.push(name);
    }
    let path = at.of("pool");
    let pool = Name::parse(pool, &path).map_err(|mistake| at.violations().push(mistake));
    Some(SniRoute {
        names: read,
        pool: pool.ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(names: &[&str], pool: &str) -> v1::SniRouteSpec {
        v1::SniRouteSpec {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            pool: pool.to_owned(),
        }
    }

    fn parse(spec: &v1::SniSpec) -> Result<Sni, Vec<String>> {
        let mut violations = Vec::new();
        let parsed = Sni::parse(spec, "sni", &mut violations);
        let said: Vec<_> = violations.iter().map(ToString::to_string).collect();
        if said.is_empty() {
            Ok(parsed)
        } else {
            Err(said)
        }
    }

    #[test]
    fn names_are_kept_in_lower_case() {
        let spec = v1::SniSpec {
            routes: vec![route(&["WWW.example.org", "*.Example.org"], "web")],
            others: v1::SniOthers::Refuse.into(),
        };
        let read = parse(&spec).unwrap();
        assert_eq!(read.others, SniOthers::Refuse);
        assert_eq!(read.routes()[0].names, ["www.example.org", "*.example.org"]);
        assert_eq!(parse(&read.to_spec()), Ok(read));
        let nothing = parse(&v1::SniSpec::default()).unwrap();
        assert_eq!(nothing, Sni::default());
        assert_eq!(parse(&nothing.to_spec()), Ok(nothing));
    }

    #[test]
    fn mistakes_are_told_by_their_paths() {
        let spec = v1::SniSpec {
            routes: vec![
                route(&["a.example", "*.a.example", "A.Example"], "web"),
                route(&[], ""),
                route(
                    &["*", "a b", "*.*.b", "a.*", "192.0.2.1:443", "[::1]", "b."],
                    "Web",
                ),
                route(&["*.A.example", "b.example"], "web"),
            ],
            others: 3,
        };
        let said = parse(&spec).unwrap_err();
        let expected = [
            "sni.routes[0].names[2]: `a.example` stands in `routes[0].names[0]` already: name it once",
            "sni.routes[1].names: it is required: ",
            "sni.routes[1].pool: ",
            "sni.routes[2].names[0]: `*` is no name of a server: write `www.example.com`, or `*.example.com` for all names below it",
            "sni.routes[2].names[1]: `a b` is no name",
            "sni.routes[2].names[2]: `*.*.b` is no name",
            "sni.routes[2].names[3]: `a.*` is no name",
            "sni.routes[2].names[4]: `192.0.2.1:443` is no name",
            "sni.routes[2].names[5]: `[::1]` is no name",
            "sni.routes[2].names[6]: `b.` is no name",
            "sni.routes[2].pool: ",
            "sni.routes[3].names[0]: `*.a.example` stands in `routes[0].names[1]` already",
            "sni.others: 3 is unknown: use one of `serve`, `refuse`",
        ];
        assert_eq!(said.len(), expected.len(), "{said:#?}");
        for (said, expected) in said.iter().zip(expected) {
            assert!(said.starts_with(expected), "{said}\n{expected}");
        }
    }

    #[test]
    fn there_are_limits() {
        let many = |routes: usize, names: usize| v1::SniSpec {
            routes: (0..routes)
                .map(|r| {
                    let names: Vec<_> = (0..names).map(|n| format!("n{n}.r{r}.example")).collect();
                    v1::SniRouteSpec {
                        names,
                        pool: "web".to_owned(),
                    }
                })
                .collect(),
            others: 0,
        };
        assert!(parse(&many(1_024, 9)).is_ok());
        assert_eq!(
            parse(&many(1_025, 1)).unwrap_err(),
            ["sni.routes: 1025 of them: give at most 1024"]
        );
        assert_eq!(
            parse(&many(1_000, 11)).unwrap_err(),
            ["sni.routes[].names: 11000 of them: give at most 10000"]
        );
    }
}
