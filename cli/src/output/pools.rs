use std::collections::BTreeMap;

use lbfabric_proto::v1;

use super::{Table, services::some};

/// Weights that a row has room for.
const SHOWN_MAX: usize = 6;
/// The weight of a server that does not say.
const WEIGHT_DEFAULT: u32 = 100;

/// Pools for people; wide: a row for each server.
pub fn pools<'a>(objects: impl IntoIterator<Item = &'a v1::Object>, wide: bool) -> Table {
    let narrow = ["NAME", "HEALTHY", "WEIGHTS", "CHECK"];
    let more = [
        "POOL",
        "BACKEND",
        "ADDRESSES",
        "WEIGHT",
        "HEALTH",
        "PACKETS",
    ];
    let mut table = Table::new(if wide { &more } else { &narrow });
    for object in objects {
        let Some(v1::object::Spec::Pool(spec)) = &object.spec else {
            continue;
        };
        let health = match &object.status {
            Some(v1::object::Status::PoolStatus(status)) => by_backend(&status.health),
            _ => BTreeMap::new(),
        };
        if wide {
            each_backend(&mut table, spec, &health);
        } else {
            pool(&mut table, spec, &health);
        }
    }
    table
}

/// What the nodes say of a server.
type Health<'a> = BTreeMap<&'a str, Vec<&'a v1::BackendHealth>>;

fn by_backend(rows: &[v1::BackendHealth]) -> Health<'_> {
    let mut health = Health::new();
    for row in rows {
        health.entry(row.backend.as_str()).or_default().push(row);
    }
    health
}

fn pool(table: &mut Table, spec: &v1::PoolSpec, health: &Health<'_>) {
    let is_healthy = |backend: &&v1::BackendSpec| {
        let rows = health.get(backend.name.as_str());
        rows.is_some_and(|rows| rows.iter().all(|row| row.healthy))
    };
    let total = spec.backends.len();
    let healthy = spec.backends.iter().filter(is_healthy).count();
    let count = if health.is_empty() {
        "?".to_owned()
    } else {
        healthy.to_string()
    };
    let weights: Vec<String> = spec.backends.iter().map(weight).collect();
    let check = spec.health_check.as_ref().map(check).unwrap_or_default();
    table.row([
        spec.name.clone(),
        format!("{count}/{total}"),
        some(&weights, SHOWN_MAX),
        check,
    ]);
    if !health.is_empty() {
        table.mark("HEALTHY", healthy == total);
    }
}

fn each_backend(table: &mut Table, spec: &v1::PoolSpec, health: &Health<'_>) {
    for backend in &spec.backends {
        let rows = health
            .get(backend.name.as_str())
            .map_or(&[][..], Vec::as_slice);
        let packets: u64 = rows.iter().map(|row| row.packets).sum();
        table.row([
            spec.name.clone(),
            backend.name.clone(),
            backend.addresses.join(","),
            weight(backend),
            verdict(rows),
            packets.to_string(),
        ]);
        if !rows.is_empty() {
            table.mark("HEALTH", rows.iter().all(|row| row.healthy));
        }
    }
    if spec.backends.is_empty() {
        table.row(
            [spec.name.clone()]
                .into_iter()
                .chain(std::iter::repeat_n(String::new(), 5)),
        );
    }
}

/// `healthy`, or which nodes say otherwise, and why.
fn verdict(rows: &[&v1::BackendHealth]) -> String {
    if rows.is_empty() {
        return "unknown".to_owned();
    }
    let complaints: Vec<String> = rows
        .iter()
        .filter(|row| !row.healthy)
        .map(|row| {
            format!(
                "{}: {}",
                row.node,
                if row.reason.is_empty() {
                    "unhealthy"
                } else {
                    &row.reason
                }
            )
        })
        .collect();
    if complaints.is_empty() {
        "healthy".to_owned()
    } else {
        complaints.join("; ")
    }
}

fn weight(backend: &v1::BackendSpec) -> String {
    backend.weight.unwrap_or(WEIGHT_DEFAULT).to_string()
}

fn check(check: &v1::HealthCheckSpec) -> String {
    match &check.check {
        Some(v1::health_check_spec::Check::Tcp(tcp)) => {
            format!("tcp:{} every {} ms", tcp.port, check.interval_ms)
        }
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Style;
    use super::*;

    #[test]
    fn counts_healthy_servers() {
        let backend = |name: &str| v1::BackendSpec {
            name: name.to_owned(),
            addresses: vec!["10.0.0.9".to_owned()],
            ..Default::default()
        };
        let row = |backend: &str, node: &str, healthy: bool| v1::BackendHealth {
            node: node.to_owned(),
            backend: backend.to_owned(),
            healthy,
            packets: 2,
            ..Default::default()
        };
        let spec = v1::PoolSpec {
            name: "p".to_owned(),
            backends: vec![backend("a"), backend("b")],
            ..Default::default()
        };
        let mut object = v1::Object {
            spec: Some(v1::object::Spec::Pool(spec)),
            ..Default::default()
        };
        let text = |object: &v1::Object, wide| pools([object], wide).render(Style::plain());
        assert_eq!(
            text(&object, false),
            "NAME  HEALTHY  WEIGHTS  CHECK\np     ?/2      100,100  -\n"
        );
        let health = vec![
            row("a", "n1", true),
            row("a", "n2", true),
            row("b", "n1", true),
            row("b", "n2", false),
        ];
        object.status = Some(v1::object::Status::PoolStatus(v1::PoolStatus { health }));
        assert_eq!(
            text(&object, false),
            "NAME  HEALTHY  WEIGHTS  CHECK\np     1/2      100,100  -\n"
        );
        assert_eq!(
            text(&object, true),
            "POOL  BACKEND  ADDRESSES  WEIGHT  HEALTH         PACKETS\n\
             p     a        10.0.0.9   100     healthy        4\n\
             p     b        10.0.0.9   100     n2: unhealthy  4\n"
        );
    }
}
