//! Names of kinds and of objects on the command line.

use std::str::FromStr;

use lbfabric_proto::v1;

/// A kind of object, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum KindArg {
    /// Services.
    #[value(aliases = ["service", "svc"])]
    Services,
    /// Pools, with their servers.
    #[value(aliases = ["pool"])]
    Pools,
    /// Nodes.
    #[value(aliases = ["node", "no"])]
    Nodes,
    /// Certificates.
    #[value(aliases = ["certificate", "cert", "certs"])]
    Certificates,
    /// All of them.
    All,
}

/// `KIND` or `KIND/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The kind.
    pub kind: KindArg,
    /// The name, where one is given.
    pub name: Option<String>,
}

/// The kind's word for one object, as in `service/web`.
pub fn noun(kind: i32) -> &'static str {
    match v1::Kind::try_from(kind) {
        Ok(v1::Kind::Service) => "service",
        Ok(v1::Kind::Pool) => "pool",
        Ok(v1::Kind::Node) => "node",
        Ok(v1::Kind::Certificate) => "certificate",
        Ok(v1::Kind::Unspecified) | Err(_) => "object",
    }
}

/// `service/web`.
pub fn title(object: Option<&v1::ObjectRef>) -> String {
    object.map_or_else(
        || "object".to_owned(),
        |object| format!("{}/{}", noun(object.kind), object.name),
    )
}

// === impl KindArg ===

impl From<KindArg> for v1::Kind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Services => Self::Service,
            KindArg::Pools => Self::Pool,
            KindArg::Nodes => Self::Node,
            KindArg::Certificates => Self::Certificate,
            KindArg::All => Self::Unspecified,
        }
    }
}

// === impl Target ===

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => (kind, Some(name)),
            None => (text, None),
        };
        let kind = <KindArg as clap::ValueEnum>::from_str(kind, true)
            .ok()
            .ok_or_else(|| {
                format!("`{kind}` is no kind; use `services`, `pools`, `nodes` or `certificates`")
            })?;
        match name {
            Some("") => Err("a name belongs after the `/`, as in `services/web`".to_owned()),
            Some(_) if kind == KindArg::All => {
                Err("a name needs its kind, as in `services/web`".to_owned())
            }
            name => Ok(Self {
                kind,
                name: name.map(str::to_owned),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_targets() {
        let target = |kind, name: Option<&str>| {
            Ok(Target {
                kind,
                name: name.map(str::to_owned),
            })
        };
        assert_eq!("svc".parse(), target(KindArg::Services, None));
        assert_eq!(
            "service/web".parse(),
            target(KindArg::Services, Some("web"))
        );
        assert_eq!("Pools".parse(), target(KindArg::Pools, None));
        for wrong in ["servers", "services/", "all/web", ""] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
