use std::num::NonZeroU16;

use lbfabric_abi::GUE_PORT_DEFAULT;
use lbfabric_proto::v1;

use crate::{Encapsulation, OuterSource, Violation, fields::Fields, wire_enum::WireEnum as _};

/// How packets are encapsulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// What they are put into.
    pub encapsulation: Encapsulation,
    /// The servers' UDP port, with [`Encapsulation::Gue`] and only there.
    pub gue_port: Option<NonZeroU16>,
    /// What tells flows apart outside.
    pub outer_source: OuterSource,
}

impl Tunnel {
    pub(crate) fn parse(
        spec: &v1::TunnelSpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Option<Self> {
        let encapsulation = Encapsulation::parse(spec.encapsulation, path, violations);
        let outer_source = OuterSource::parse(spec.outer_source, path, violations);
        let path = format!("{path}.gue_port");
        let gue_port = match (encapsulation?, spec.gue_port) {
            (Encapsulation::Ipip, 0) => None,
            (Encapsulation::Ipip, _) => {
                violations.push(Violation::new(
                    path,
                    "`ipip` has no port: leave it out, or set `encapsulation: gue`",
                ));
                return None;
            }
            (Encapsulation::Gue, 0) => NonZeroU16::new(GUE_PORT_DEFAULT),
            (Encapsulation::Gue, port) => {
                let Ok(port) = u16::try_from(port) else {
                    violations.push(Violation::new(
                        path,
                        format!(
                            "{port} is not a port: use 1 to 65535, or leave it out for {GUE_PORT_DEFAULT}"
                        ),
                    ));
                    return None;
                };
                NonZeroU16::new(port)
            }
        };
        Some(Self {
            encapsulation: encapsulation?,
            gue_port,
            outer_source: outer_source?,
        })
    }

    /// The specification with every default filled in.
    pub fn to_spec(self) -> v1::TunnelSpec {
        v1::TunnelSpec {
            encapsulation: self.encapsulation.to_proto().into(),
            gue_port: self.gue_port.map_or(0, |port| port.get().into()),
            outer_source: self.outer_source.to_proto().into(),
        }
    }

    pub(crate) fn fields(self, fields: &mut Fields) {
        let Self {
            encapsulation,
            gue_port,
            outer_source,
        } = self;
        fields.put("tunnel.encapsulation", encapsulation.name());
        fields.put_list("tunnel.gue_port", gue_port);
        fields.put("tunnel.outer_source", outer_source.name());
    }
}

impl Default for Tunnel {
    /// IPIP, its source spread.
    fn default() -> Self {
        Self {
            encapsulation: Encapsulation::Ipip,
            gue_port: None,
            outer_source: OuterSource::Spread,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(spec: v1::TunnelSpec) -> Result<Tunnel, Vec<String>> {
        let mut violations = Vec::new();
        let parsed = Tunnel::parse(&spec, "tunnel", &mut violations);
        parsed.ok_or_else(|| violations.into_iter().map(|v| v.path).collect())
    }

    fn gue(gue_port: u32) -> v1::TunnelSpec {
        v1::TunnelSpec {
            encapsulation: v1::Encapsulation::Gue.into(),
            gue_port,
            outer_source: v1::OuterSource::Fixed.into(),
        }
    }

    #[test]
    fn defaults() {
        assert_eq!(parse(v1::TunnelSpec::default()), Ok(Tunnel::default()));
        assert_eq!(parse(Tunnel::default().to_spec()), Ok(Tunnel::default()));
        assert_eq!(parse(gue(0)).unwrap().to_spec(), gue(6080));
        assert_eq!(parse(gue(65_535)).unwrap().to_spec(), gue(65_535));
    }

    #[test]
    fn a_port_is_one_and_belongs_to_gue() {
        assert_eq!(parse(gue(65_536)), Err(vec!["tunnel.gue_port".into()]));
        let ipip = v1::TunnelSpec {
            gue_port: 6080,
            ..Default::default()
        };
        assert_eq!(parse(ipip), Err(vec!["tunnel.gue_port".into()]));
        let unknown = v1::TunnelSpec {
            encapsulation: 9,
            outer_source: 9,
            ..Default::default()
        };
        assert_eq!(
            parse(unknown),
            Err(vec![
                "tunnel.encapsulation".into(),
                "tunnel.outer_source".into()
            ])
        );
    }
}
