use lbfabric_proto::v1;

use super::Table;
use crate::document::{enum_name, message};
use prost_reflect::{Kind, ReflectMessage as _};

/// VIPs and ports that a row has room for.
const SHOWN_MAX: usize = 2;

/// Services for people.
pub fn services<'a>(objects: impl IntoIterator<Item = &'a v1::Object>, wide: bool) -> Table {
    let narrow = [
        "NAME", "MODE", "PROTO", "VIPS", "PORTS", "POOL", "APPLIED", "REFUSED",
    ];
    let more = [
        "NAME", "MODE", "PROTO", "VIPS", "PORTS", "POOL", "AFFINITY", "APPLIED", "REFUSED",
        "PACKETS", "BYTES", "REQUESTS", "WARNINGS",
    ];
    let mut table = Table::new(if wide { &more } else { &narrow });
    for object in objects {
        let Some(v1::object::Spec::Service(spec)) = &object.spec else {
            continue;
        };
        let status = match &object.status {
            Some(v1::object::Status::ServiceStatus(status)) => Some(status),
            _ => None,
        };
        table.row(row(spec, status, wide));
        if status.is_some_and(|status| !status.refusals.is_empty()) {
            table.mark("REFUSED", false);
        }
        if status.is_some_and(|status| !status.warnings.is_empty()) {
            table.mark("WARNINGS", false);
        }
    }
    table
}

fn row(spec: &v1::ServiceSpec, status: Option<&v1::ServiceStatus>, wide: bool) -> Vec<String> {
    let limit = if wide { usize::MAX } else { SHOWN_MAX };
    let names = |field: &str| word(spec, field);
    let mut cells = vec![
        spec.name.clone(),
        names("mode"),
        names("protocol"),
        some(&spec.vips, limit),
        some(&spec.ports, limit),
        spec.pool.clone(),
    ];
    if wide {
        cells.push(names("affinity"));
    }
    cells.push(
        status
            .map(|status| applied(status, wide))
            .unwrap_or_default(),
    );
    cells.push(
        status
            .map(|status| refused(status, wide))
            .unwrap_or_default(),
    );
    if wide {
        cells.push(
            status
                .map(|status| status.packets.to_string())
                .unwrap_or_default(),
        );
        cells.push(
            status
                .map(|status| status.bytes.to_string())
                .unwrap_or_default(),
        );
        let proxy = status.and_then(|status| status.proxy.as_ref());
        cells.push(
            proxy
                .map(|proxy| proxy.requests.to_string())
                .unwrap_or_default(),
        );
        cells.push(status.map(warnings).unwrap_or_default());
    }
    cells
}

fn applied(status: &v1::ServiceStatus, wide: bool) -> String {
    if wide {
        status.applied_nodes.join(",")
    } else {
        status.applied_nodes.len().to_string()
    }
}

fn refused(status: &v1::ServiceStatus, wide: bool) -> String {
    let reasons = status
        .refusals
        .iter()
        .map(|refusal| format!("{}: {}", refusal.node, refusal.reason));
    if wide {
        reasons.collect::<Vec<_>>().join("; ")
    } else {
        status.refusals.len().to_string()
    }
}

fn warnings(status: &v1::ServiceStatus) -> String {
    let texts = status
        .warnings
        .iter()
        .map(|warning| format!("{}: {}", warning.node, warning.text));
    texts.collect::<Vec<_>>().join("; ")
}

/// The name of an enum field's value.
fn word(spec: &v1::ServiceSpec, field: &str) -> String {
    let reflected = message("ServiceSpec", spec);
    let field = reflected.descriptor().get_field_by_name(field);
    let value = field
        .as_ref()
        .map(|field| (field.kind(), reflected.get_field(field).as_enum_number()));
    match value {
        Some((Kind::Enum(of), Some(number))) => enum_name(&of, number),
        Some(_) | None => String::new(),
    }
}

/// The first of a list, and how many more there are.
pub(super) fn some(items: &[String], limit: usize) -> String {
    let shown = items
        .iter()
        .take(limit)
        .cloned()
        .collect::<Vec<_>>()
        .join(",");
    match items.len().saturating_sub(limit) {
        0 => shown,
        more => format!("{shown},+{more}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Style;
    use super::*;

    #[test]
    fn shows_a_service() {
        let spec = v1::ServiceSpec {
            name: "web".to_owned(),
            vips: ["10.0.0.1", "10.0.0.2", "fd::1"]
                .map(str::to_owned)
                .to_vec(),
            ports: vec!["80".to_owned()],
            protocol: v1::Protocol::Tcp.into(),
            mode: v1::Mode::L4Dnat.into(),
            pool: "p".to_owned(),
            affinity: v1::Affinity::FiveTuple.into(),
            ..Default::default()
        };
        let status = v1::ServiceStatus {
            applied_nodes: vec!["n1".to_owned()],
            refusals: vec![v1::Refusal {
                node: "n2".to_owned(),
                reason: "no program".to_owned(),
            }],
            packets: 7,
            bytes: 70,
            proxy: Some(v1::ProxyTraffic {
                requests: 9,
                ..Default::default()
            }),
            warnings: vec![v1::Warning {
                node: "n1".to_owned(),
                text: "no ports left".to_owned(),
            }],
        };
        let object = v1::Object {
            spec: Some(v1::object::Spec::Service(Box::new(spec))),
            status: Some(v1::object::Status::ServiceStatus(status)),
            ..Default::default()
        };
        assert_eq!(
            services([&object], false).render(Style::plain()),
            "NAME  MODE     PROTO  VIPS                  PORTS  POOL  APPLIED  REFUSED\n\
             web   l4-dnat  tcp    10.0.0.1,10.0.0.2,+1  80     p     1        1\n"
        );
        let wide = services([&object], true).render(Style::plain());
        assert!(
            wide.contains(
                "five-tuple  n1       n2: no program  7        70     9         n1: no ports left"
            ),
            "{wide}"
        );
    }
}
