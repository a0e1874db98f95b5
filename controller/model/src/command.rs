use lbfabric_proto::{
    internal::v1::{self as internal, command},
    v1,
};

use crate::{Document, Generation, LeaseCommand, SecretKey, Violation};

/// An entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Create or change objects.
    Apply(Apply),
    /// Delete objects.
    Delete(Delete),
    /// Set the key of the selection hash; the first one counts.
    SetHashKey([u8; 16]),
    /// Add a key of TLS sessions' tickets; the first one of a period counts.
    AddTicketKey {
        /// Counted from 1970 on, [`TICKET_PERIOD_SECS`](crate::TICKET_PERIOD_SECS) each.
        period: u64,
        /// The key.
        secret: SecretKey,
    },
    /// Set the key of cookies that keep clients with their servers; the first one counts.
    SetCookieKey(SecretKey),
    /// Change who answers for VIPs. No generation comes of it.
    Lease(LeaseCommand),
}

/// Create or change objects, all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apply {
    /// The objects.
    pub document: Document,
    /// Whether services and pools that are not named go.
    pub prune: bool,
    /// Refuse if the fabric has changed since.
    pub expected_generation: Option<Generation>,
}

/// Delete objects, all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// The objects.
    pub refs: Vec<ObjectRef>,
    /// Refuse if the fabric has changed since.
    pub expected_generation: Option<Generation>,
}

/// Names an object. Its kind is specified.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    /// The kind.
    pub kind: v1::Kind,
    /// The name; whether there is such an object shows when it is looked for.
    pub name: String,
}

impl ObjectRef {
    /// Checks that a reference says a kind and a name.
    pub fn parse(proto: &v1::ObjectRef, path: &str) -> Result<Self, Violation> {
        let kind = v1::Kind::try_from(proto.kind).unwrap_or(v1::Kind::Unspecified);
        if kind == v1::Kind::Unspecified {
            return Err(Violation::new(
                format!("{path}.kind"),
                "a kind is required: service, pool or node",
            ));
        }
        if proto.name.is_empty() {
            return Err(Violation::new(format!("{path}.name"), "a name is required"));
        }
        Ok(Self {
            kind,
            name: proto.name.clone(),
        })
    }
}

impl From<&ObjectRef> for v1::ObjectRef {
    fn from(ObjectRef { kind, name }: &ObjectRef) -> Self {
        Self {
            kind: (*kind).into(),
            name: name.clone(),
        }
    }
}

impl TryFrom<internal::Command> for Command {
    type Error = Vec<Violation>;

    fn try_from(proto: internal::Command) -> Result<Self, Vec<Violation>> {
        match proto.command {
            Some(command::Command::Apply(apply)) => Ok(Self::Apply(Apply {
                document: Document::parse(&apply.fabric.unwrap_or_default())
                    .map_err(|invalid| invalid.violations)?,
                prune: apply.prune,
                expected_generation: expected(apply.expected_generation),
            })),
            Some(command::Command::Delete(delete)) => Ok(Self::Delete(Delete {
                refs: parse_refs(&delete.refs)?,
                expected_generation: expected(delete.expected_generation),
            })),
            Some(command::Command::SetHashKey(set)) => {
                let key = <[u8; 16]>::try_from(set.key.as_slice()).ok();
                let key = key.ok_or_else(|| {
                    let reason = format!("{} bytes: 16 are right", set.key.len());
                    vec![Violation::new("set_hash_key.key", reason)]
                })?;
                Ok(Self::SetHashKey(key))
            }
            Some(command::Command::AddTicketKey(add)) => {
                let secret = secret(add.key.as_ref(), "add_ticket_key.key")?;
                let period = add.period;
                Ok(Self::AddTicketKey { period, secret })
            }
            Some(command::Command::SetCookieKey(set)) => {
                let key = secret(set.key.as_ref(), "set_cookie_key.key")?;
                Ok(Self::SetCookieKey(key))
            }
            Some(command::Command::Lease(lease)) => {
                let lease = LeaseCommand::try_from(lease).map_err(|violation| vec![violation])?;
                Ok(Self::Lease(lease))
            }
            None => Err(vec![Violation::new("command", "it is of no known kind")]),
        }
    }
}

fn secret(key: Option<&v1::SecretKey>, path: &str) -> Result<SecretKey, Vec<Violation>> {
    let secret = key.and_then(SecretKey::from_proto);
    secret.ok_or_else(|| vec![Violation::new(path, "32 bytes are right")])
}

fn expected(generation: u64) -> Option<Generation> {
    (generation != 0).then_some(Generation(generation))
}

fn parse_refs(refs: &[v1::ObjectRef]) -> Result<Vec<ObjectRef>, Vec<Violation>> {
    let mut violations = Vec::new();
    let mut parsed = Vec::new();
    for (i, proto) in refs.iter().enumerate() {
        match ObjectRef::parse(proto, &format!("refs[{i}]")) {
            Ok(object) => parsed.push(object),
            Err(violation) => violations.push(violation),
        }
    }
    if refs.is_empty() {
        violations.push(Violation::new("refs", "name at least one object"));
    }
    if violations.is_empty() {
        Ok(parsed)
    } else {
        Err(violations)
    }
}

impl From<&Command> for internal::Command {
    fn from(command: &Command) -> Self {
        let command = match command {
            Command::Apply(Apply {
                document,
                prune,
                expected_generation,
            }) => command::Command::Apply(internal::ApplyCommand {
                fabric: Some(document.to_spec()),
                prune: *prune,
                expected_generation: expected_generation.map_or(0, |g| g.0),
            }),
            Command::Delete(Delete {
                refs,
                expected_generation,
            }) => command::Command::Delete(internal::DeleteCommand {
                refs: refs.iter().map(v1::ObjectRef::from).collect(),
                expected_generation: expected_generation.map_or(0, |g| g.0),
            }),
            Command::SetHashKey(key) => {
                command::Command::SetHashKey(internal::SetHashKeyCommand { key: key.to_vec() })
            }
            Command::AddTicketKey { period, secret } => {
                command::Command::AddTicketKey(internal::AddTicketKeyCommand {
                    period: *period,
                    key: Some(secret.to_proto()),
                })
            }
            Command::SetCookieKey(key) => {
                command::Command::SetCookieKey(internal::SetCookieKeyCommand {
                    key: Some(key.to_proto()),
                })
            }
            Command::Lease(lease) => command::Command::Lease(lease.into()),
        };
        Self {
            command: Some(command),
        }
    }
}
