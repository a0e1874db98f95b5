use lbfabric_proto::v1;

use super::Table;

/// Nodes for people.
pub fn nodes<'a>(objects: impl IntoIterator<Item = &'a v1::Object>, wide: bool) -> Table {
    let narrow = [
        "NAME",
        "ROLE",
        "STATE",
        "MEMBER",
        "INTERFACE",
        "XDP",
        "GENERATION",
        "FAULT",
    ];
    let more = [
        "NAME",
        "ROLE",
        "STATE",
        "MEMBER",
        "INTERFACE",
        "XDP",
        "GENERATION",
        "ADDRESSES",
        "VERSION",
        "MAP-MEMORY",
        "REFUSED",
        "FAULT",
    ];
    let mut table = Table::new(if wide { &more } else { &narrow });
    for object in objects {
        let name = object
            .r#ref
            .as_ref()
            .map(|of| of.name.clone())
            .unwrap_or_default();
        let status = match &object.status {
            Some(v1::object::Status::NodeStatus(status)) => status.clone(),
            _ => v1::NodeStatus::default(),
        };
        let has_status = object.status.is_some();
        table.row(row(name, &status, has_status, wide));
        if has_status {
            table.mark("STATE", status.connected);
        }
        if !status.fault.is_empty() {
            table.mark("FAULT", false);
        }
    }
    table
}

fn row(name: String, status: &v1::NodeStatus, has_status: bool, wide: bool) -> Vec<String> {
    let role = match status.role() {
        v1::NodeRole::LoadBalancer => "load-balancer",
        v1::NodeRole::Server => "server",
        v1::NodeRole::Unspecified => "",
    };
    let xdp = match status.xdp_mode() {
        v1::XdpMode::Native => "native",
        v1::XdpMode::Generic => "generic",
        v1::XdpMode::Unspecified => "",
    };
    let state = match (has_status, status.connected) {
        (false, _) => "unknown",
        (true, true) => "connected",
        (true, false) => "disconnected",
    };
    let mut cells = vec![
        name,
        role.to_owned(),
        state.to_owned(),
        status.member.clone(),
        status.interface.clone(),
        xdp.to_owned(),
        status.applied_generation.to_string(),
    ];
    if wide {
        cells.push(status.addresses.join(","));
        cells.push(status.version.clone());
        cells.push(mebibytes(status.map_memory_bytes));
        cells.push(status.refusals.len().to_string());
    }
    cells.push(status.fault.clone());
    cells
}

/// Memory in MiB, rounded up; nothing where nothing is taken.
fn mebibytes(bytes: u64) -> String {
    const MEBIBYTE: u64 = 1 << 20;
    if bytes == 0 {
        String::new()
    } else {
        format!("{} MiB", bytes.div_ceil(MEBIBYTE))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Style;
    use super::*;

    #[test]
    fn shows_nodes() {
        let object = |name: &str, status| v1::Object {
            r#ref: Some(v1::ObjectRef {
                kind: v1::Kind::Node.into(),
                name: name.to_owned(),
            }),
            status,
            ..Default::default()
        };
        let status = v1::NodeStatus {
            role: v1::NodeRole::LoadBalancer.into(),
            connected: true,
            member: "2".to_owned(),
            applied_generation: 9,
            interface: "eth0".to_owned(),
            xdp_mode: v1::XdpMode::Native.into(),
            map_memory_bytes: 70 << 20,
            ..Default::default()
        };
        let objects = [
            object("a", Some(v1::object::Status::NodeStatus(status))),
            object("b", None),
        ];
        assert_eq!(
            nodes(&objects, false).render(Style::plain()),
            "NAME  ROLE           STATE      MEMBER  INTERFACE  XDP     GENERATION  FAULT\n\
             a     load-balancer  connected  2       eth0       native  9           -\n\
             b     -              unknown    -       -          -       0           -\n"
        );
        let wide = nodes(&objects, true).render(Style::plain());
        assert!(
            wide.contains("ADDRESSES  VERSION  MAP-MEMORY  REFUSED"),
            "{wide}"
        );
        assert!(wide.contains("70 MiB"), "{wide}");
    }
}
