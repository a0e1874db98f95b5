use std::fmt::Write as _;

use lbfabric_proto::v1;

use super::{Style, Table};

/// VIPs for people; `now` in milliseconds since 1970.
pub fn vips<'a>(all: impl IntoIterator<Item = &'a v1::Vip>, now: u64, wide: bool) -> Table {
    let narrow = ["VIP", "STATE", "OWNER", "FOR", "WANTED", "REASON"];
    let more = [
        "VIP", "STATE", "OWNER", "FOR", "EPOCH", "WANTED", "WISH", "SERVICES", "REASON",
    ];
    let mut table = Table::new(if wide { &more } else { &narrow });
    for vip in all {
        let mut cells = vec![
            vip.address.clone(),
            state(vip.state()).to_owned(),
            vip.owner.clone(),
            owned_for(vip, now),
        ];
        if wide {
            cells.push(match vip.epoch {
                0 => String::new(),
                epoch => epoch.to_string(),
            });
        }
        cells.push(vip.wanted.clone());
        if wide {
            cells.push(wish(vip));
            cells.push(vip.services.join(","));
        }
        cells.push(vip.reason.clone());
        table.row(cells);
        match vip.state() {
            v1::VipState::Served => table.mark("STATE", true),
            v1::VipState::Down => table.mark("STATE", false),
            v1::VipState::Moving | v1::VipState::Drained | v1::VipState::Unspecified => {}
        }
    }
    table
}

/// All about one VIP, for people.
pub fn vip_details(vip: &v1::Vip, now: u64, style: Style) -> String {
    let owner = match (vip.owner.as_str(), owned_for(vip, now).as_str()) {
        ("", _) => "nobody".to_owned(),
        (owner, "") => format!("{owner} (epoch {})", vip.epoch),
        (owner, time) => format!("{owner} for {time} (epoch {})", vip.epoch),
    };
    let mut rows = vec![
        ("state", state(vip.state()).to_owned()),
        ("owner", owner),
        ("wanted", vip.wanted.clone()),
        ("reason", vip.reason.clone()),
        ("wish", wish(vip)),
        ("services", vip.services.join(", ")),
    ];
    let unfit = vip.unfit.iter();
    rows.extend(unfit.map(|it| ("unfit", format!("{}: {}", it.node, it.reason))));
    rows.retain(|(_, text)| !text.is_empty());
    let mut out = format!("{}\n", style.heading(&vip.address));
    for (what, text) in rows {
        writeln!(out, "  {what:<9}{text}").expect("a text takes all that is written");
    }
    out
}

fn state(state: v1::VipState) -> &'static str {
    match state {
        v1::VipState::Unspecified => "unknown",
        v1::VipState::Served => "served",
        v1::VipState::Moving => "moving",
        v1::VipState::Down => "down",
        v1::VipState::Drained => "drained",
    }
}

fn wish(vip: &v1::Vip) -> String {
    let mut wishes = Vec::new();
    if !vip.pinned_to.is_empty() {
        let what = if vip.moved { "moved" } else { "pinned" };
        wishes.push(format!("{what} to {}", vip.pinned_to));
    }
    if vip.drained {
        wishes.push("drained".to_owned());
    }
    wishes.join(", ")
}

/// In the largest unit that there is one of.
fn owned_for(vip: &v1::Vip, now: u64) -> String {
    if vip.since_unix_ms == 0 {
        return String::new();
    }
    let seconds = now.saturating_sub(vip.since_unix_ms) / 1_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served() -> v1::Vip {
        v1::Vip {
            address: "203.0.113.10".to_owned(),
            services: vec!["web".to_owned()],
            owner: "lb1".to_owned(),
            epoch: 42,
            since_unix_ms: 1_000,
            state: v1::VipState::Served.into(),
            wanted: "lb1".to_owned(),
            pinned_to: "lb1".to_owned(),
            moved: true,
            ..v1::Vip::default()
        }
    }

    #[test]
    fn shows_vips() {
        let down = v1::Vip {
            address: "203.0.113.11".to_owned(),
            state: v1::VipState::Down.into(),
            reason: "no node that may have it asks for leases".to_owned(),
            ..v1::Vip::default()
        };
        let all = [served(), down];
        assert_eq!(
            vips(&all, 121_000, false).render(Style::plain()),
            "VIP           STATE   OWNER  FOR  WANTED  REASON\n\
             203.0.113.10  served  lb1    2m   lb1     -\n\
             203.0.113.11  down    -      -    -       no node that may have it asks for leases\n"
        );
        let wide = vips(&all, 121_000, true).render(Style::plain());
        assert!(wide.contains("42     lb1     moved to lb1  web"), "{wide}");
    }

    #[test]
    fn shows_one_vip() {
        let unfit = v1::UnfitNode {
            node: "lb2".to_owned(),
            reason: "it finds too few servers healthy".to_owned(),
        };
        let vip = v1::Vip {
            unfit: vec![unfit],
            ..served()
        };
        assert_eq!(
            vip_details(&vip, 6_000, Style::plain()),
            "203.0.113.10\n  \
             state    served\n  \
             owner    lb1 for 5s (epoch 42)\n  \
             wanted   lb1\n  \
             wish     moved to lb1\n  \
             services web\n  \
             unfit    lb2: it finds too few servers healthy\n"
        );
    }
}
