//! What the lab found, as a table and as data. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde::Serialize;

use super::frame::Protocol;
use super::mode::Mode;
use super::topology::Family;
use crate::output::{Style, Table};

/// The outcome of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// One row for each mode, family and protocol, and one for each of them with transparent listening, where pings are a protocol, too.
    pub rows: Vec<Row>,
    /// One row for each fault, if faults were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultRow>,
    /// Whether everything is as it must be.
    pub ok: bool,
}

/// The outcome of one mode, family and protocol, with or without transparent listening.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The mode.
    pub mode: Mode,
    /// Whether its VIPs are configured nowhere: the router has learned of them by BGP, and some of them are addresses of a whole prefix.
    pub transparent: bool,
    /// The VIPs' family.
    pub family: Family,
    /// The protocol.
    pub protocol: Protocol,
    /// Requests, each over a new connection, or pings.
    pub sent: u32,
    /// Those that were answered.
    pub answered: u32,
    /// How often each server answered: none of them, if a node does.
    pub servers: BTreeMap<String, u64>,
    /// Every address that servers took for their client's.
    pub server_saw: Vec<IpAddr>,
    /// `node`, `direct`, `mixed` or `none`.
    pub answer_path: String,
    /// Packets from the router to each node.
    pub nodes: BTreeMap<String, u64>,
    /// The addresses on the links.
    pub captured: Captured,
    /// Whether all of it is what the mode owes.
    pub ok: bool,
    /// What is not.
    pub problems: Vec<String>,
}

/// The columns of the modes' table, as captured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Captured {
    /// On the client's link, from the client.
    pub client_to_node: Hop,
    /// On the servers' links, to the servers.
    pub node_to_server: Hop,
    /// On the servers' links, from the servers.
    pub server_answer: Hop,
    /// On the client's link, to the client.
    pub answer_to_client: Hop,
}

/// The packets of one column.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Hop {
    /// What the modes' table says.
    pub expected: &'static str,
    /// What was seen, in the same notation, with the number of packets.
    pub seen: BTreeMap<String, u64>,
    /// The addresses themselves, with the number of packets.
    pub addresses: BTreeMap<String, u64>,
}

/// The outcome of one fault.
#[derive(Clone, Debug, Serialize)]
pub struct FaultRow {
    /// What was done.
    pub fault: &'static str,
    /// Requests of all modes while it lasted.
    pub sent: u32,
    /// Those that were answered.
    pub answered: u32,
    /// Whether everything went on as it must.
    pub ok: bool,
    /// What was measured, and what went wrong.
    pub detail: String,
}

impl Report {
    /// A report on these rows.
    pub fn new(rows: Vec<Row>, faults: Vec<FaultRow>) -> Self {
        let ok =
            !rows.is_empty() && rows.iter().all(|row| row.ok) && faults.iter().all(|row| row.ok);
        Self { rows, faults, ok }
    }

    /// The report as indented JSON, with a line end.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }

    /// The report as tables, with what went wrong below.
    pub fn to_table(&self, style: Style) -> String {
        let mut table = Table::new(&[
            "MODE",
            "FAMILY",
            "PROTO",
            "SENT",
            "ANSWERED",
            "SERVERS",
            "SERVER SAW",
            "ANSWER PATH",
            "OK",
        ]);
        for row in &self.rows {
            table.row([
                row.mode.title(row.transparent),
                row.family.name().to_owned(),
                row.protocol.name().to_owned(),
                row.sent.to_string(),
                row.answered.to_string(),
                counts(&row.servers),
                row.server_saw
                    .iter()
                    .map(IpAddr::to_string)
                    .collect::<Vec<_>>()
                    .join(" "),
                row.answer_path.clone(),
                yes(row.ok).to_owned(),
            ]);
            table.mark("OK", row.ok);
        }
        let mut text = table.render(style);
        text.push_str(&self.captures(style));
        for row in self.rows.iter().filter(|row| !row.ok) {
            text.push_str(&row.failure());
        }
        text.push_str(&self.fault_table(style));
        text
    }

    /// What was captured for each mode, if the families and protocols agree.
    fn captures(&self, style: Style) -> String {
        let mut table = Table::new(&[
            "CAPTURED",
            "CLIENT TO NODE",
            "NODE TO SERVER",
            "SERVER'S ANSWER",
            "ANSWER TO CLIENT",
            "PACKETS",
        ]);
        let kinds = [false, true].map(|transparent| Mode::ALL.map(|mode| (mode, transparent)));
        for &(mode, transparent) in kinds.as_flattened() {
            let of_kind = |row: &&Row| (row.mode, row.transparent) == (mode, transparent);
            let rows: Vec<&Row> = self.rows.iter().filter(of_kind).collect();
            let seen = |hop: fn(&Captured) -> &Hop| {
                let mut forms: Vec<&str> = rows
                    .iter()
                    .flat_map(|row| hop(&row.captured).seen.keys())
                    .map(String::as_str)
                    .collect();
                forms.sort_unstable();
                forms.dedup();
                forms.join(" | ")
            };
            let packets: u64 = rows.iter().map(|row| row.captured.packets()).sum();
            table.row([
                mode.title(transparent),
                seen(|captured| &captured.client_to_node),
                seen(|captured| &captured.node_to_server),
                seen(|captured| &captured.server_answer),
                seen(|captured| &captured.answer_to_client),
                packets.to_string(),
            ]);
        }
        format!("\n{}", table.render(style))
    }

    fn fault_table(&self, style: Style) -> String {
        if self.faults.is_empty() {
            return String::new();
        }
        let mut table = Table::new(&["FAULT", "SENT", "ANSWERED", "OK", "DETAIL"]);
        for row in &self.faults {
            table.row([
                row.fault.to_owned(),
                row.sent.to_string(),
                row.answered.to_string(),
                yes(row.ok).to_owned(),
                row.detail.clone(),
            ]);
            table.mark("OK", row.ok);
        }
        format!("\n{}", table.render(style))
    }
}

impl Row {
    /// Counts these among its problems.
    pub fn blame(&mut self, problems: Vec<String>) {
        self.ok &= problems.is_empty();
        self.problems.extend(problems);
    }

    fn failure(&self) -> String {
        let mut text = format!(
            "\n{} {} {}:\n",
            self.mode.title(self.transparent),
            self.family.name(),
            self.protocol.name()
        );
        for problem in &self.problems {
            let _infallible = writeln!(text, "  {problem}");
        }
        let Captured {
            client_to_node,
            node_to_server,
            server_answer,
            answer_to_client,
        } = &self.captured;
        let hops = [
            ("client to node", client_to_node),
            ("node to server", node_to_server),
            ("server's answer", server_answer),
            ("answer to client", answer_to_client),
        ];
        for (name, hop) in hops {
            let seen = if hop.seen.is_empty() {
                "nothing".to_owned()
            } else {
                counts(&hop.seen)
            };
            let _infallible = writeln!(text, "  {name}: expected {}; seen {seen}", hop.expected);
        }
        text
    }
}

impl Captured {
    fn packets(&self) -> u64 {
        let Self {
            client_to_node,
            node_to_server,
            server_answer,
            answer_to_client,
        } = self;
        [
            client_to_node,
            node_to_server,
            server_answer,
            answer_to_client,
        ]
        .iter()
        .flat_map(|hop| hop.seen.values())
        .sum()
    }
}

impl Hop {
    /// A column of the modes' table of which nothing has been seen yet.
    pub fn expecting(expected: &'static str) -> Self {
        Self {
            expected,
            ..Self::default()
        }
    }

    /// Counts a packet.
    pub fn see(&mut self, form: String, addresses: String) {
        *self.seen.entry(form).or_default() += 1;
        *self.addresses.entry(addresses).or_default() += 1;
    }
}

fn counts(of: &BTreeMap<String, u64>) -> String {
    of.iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect::<Vec<_>>()
        .join(", ")
}

const fn yes(ok: bool) -> &'static str {
    if ok { "yes" } else { "NO" }
}
