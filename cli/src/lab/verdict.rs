//! Whether what was captured and answered is what a mode owes. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::capture::Taken;
use super::case::Case;
use super::exchange::Exchange;
use super::frame::Load;
use super::mode::{AnswerPath, Party, Role, Step};
use super::report::{Captured, Hop, Row};
use super::sighting::{Named, Sighting, Tap};
use super::topology::{Host, SERVERS, Segment};

/// The port of the servers' health checks, whose packets are not the client's.
pub(super) const HEALTH_PORT: u16 = 8080;
/// So many requests are spread over every server and node: the chance that three servers share them unevenly enough to leave
/// one out is below 1 in 10^5.
const REQUESTS_THAT_SPREAD: u32 = 30;
/// Problems of one row that are listed; the others are counted.
const PROBLEMS_LISTED: usize = 8;

#[derive(Default)]
struct Tally {
    steps: Vec<(Step, u64)>,
    captured: Captured,
    nodes: BTreeMap<String, u64>,
    paths: BTreeSet<AnswerPath>,
    problems: BTreeMap<String, u64>,
}

/// Judges one case by its requests and by every frame that was captured while they ran.
pub(super) fn judge(case: Case, exchange: &Exchange, taken: &Taken) -> Row {
    let mut tally = Tally::new(case);
    for sighting in &taken.sightings {
        tally.take(case, sighting);
    }
    let missing: Vec<String> = tally
        .steps
        .iter()
        .filter(|(_, packets)| *packets < u64::from(exchange.sent))
        .map(|(step, packets)| {
            format!(
                "{packets} of at least {} packets seen: {step}",
                exchange.sent
            )
        })
        .collect();
    let mut problems = exchange_problems(case, exchange);
    problems.extend(missing);
    if taken.broken > 0 {
        problems.push(format!(
            "{} frames are cut short or lie about their length",
            taken.broken
        ));
    }
    let nodes = case.nodes();
    if exchange.sent >= REQUESTS_THAT_SPREAD && tally.nodes.len() != usize::from(nodes) {
        let seen = tally.nodes.keys();
        problems.push(format!("the router sent to {seen:?}, of {nodes} nodes"));
    }
    problems.extend(
        tally
            .problems
            .iter()
            .map(|(what, times)| format!("{what} ({times} times)")),
    );
    if problems.len() > PROBLEMS_LISTED {
        let more = problems.len() - PROBLEMS_LISTED;
        problems.truncate(PROBLEMS_LISTED);
        problems.push(format!("and {more} more"));
    }
    let answer_path = match tally.paths.iter().collect::<Vec<_>>()[..] {
        [path] => path.to_string(),
        [] => "none".to_owned(),
        _ => "mixed".to_owned(),
    };
    Row {
        mode: case.mode,
        transparent: case.listening.is_transparent(),
        family: case.family,
        protocol: case.protocol,
        sent: exchange.sent,
        answered: exchange.answered(),
        servers: exchange.servers(),
        server_saw: exchange.server_saw(),
        answer_path,
        nodes: tally.nodes,
        captured: tally.captured,
        ok: problems.is_empty(),
        problems,
    }
}

/// What is wrong with a case of transparent listening if these hosts have these addresses on their interfaces: a VIP among them.
pub(super) fn configured(case: Case, addresses: &[(Host, IpAddr)]) -> Vec<String> {
    let vips = addresses
        .iter()
        .filter(|(_, address)| case.listening.is_transparent() && case.is_vip(*address));
    vips.map(|(host, vip)| format!("{host} has the VIP {vip} on an interface"))
        .collect()
}

impl Tally {
    fn new(case: Case) -> Self {
        let columns = case.columns();
        Self {
            steps: case.steps().into_iter().map(|step| (step, 0)).collect(),
            captured: Captured {
                client_to_node: Hop::expecting(columns.client_to_node),
                node_to_server: Hop::expecting(columns.node_to_server),
                server_answer: Hop::expecting(columns.server_answer),
                answer_to_client: Hop::expecting(columns.answer_to_client),
            },
            ..Self::default()
        }
    }

    fn take(&mut self, case: Case, sighting: &Sighting) {
        if sighting.is_flooded() || sighting.is_kept(case) {
            return;
        }
        let Tap {
            segment,
            host,
            to_host,
        } = sighting.tap;
        let named = match sighting.name(case) {
            Ok(named) => named,
            Err(problem) => return self.problem(sighting, &problem),
        };
        self.hop(sighting, named);
        let Some((_, packets)) = self.steps.iter_mut().find(|(step, _)| *step == named.step) else {
            return self.problem(sighting, &format!("not a step of {case}: {}", named.step));
        };
        // A bridge shows every frame twice, where it comes from and where it goes; it is counted where it goes.
        if to_host || segment == Segment::Client {
            *packets += 1;
        }
        if to_host && segment == Segment::Flat {
            match host {
                Host::Node(_) if named.step.from == Role::Router => {
                    *self.nodes.entry(host.to_string()).or_default() += 1;
                }
                Host::Router if named.step.form.inner == (Party::Vip, Party::Client) => {
                    self.paths.extend(path_from(named.step.from));
                }
                _ => {}
            }
        }
    }

    fn hop(&mut self, sighting: &Sighting, Named { step, .. }: Named) {
        let Tap { host, to_host, .. } = sighting.tap;
        let form = step.form.to_string();
        let Captured {
            client_to_node,
            node_to_server,
            server_answer,
            answer_to_client,
        } = &mut self.captured;
        let (hop, seen) = match (host, to_host) {
            (Host::Client, false) => (client_to_node, form),
            (Host::Client, true) => (answer_to_client, form),
            (Host::Server(_), true)
                if step.form.outer.is_none() && step.form.inner == (Party::Client, Party::Vip) =>
            {
                (node_to_server, form + " (MAC of S)")
            }
            (Host::Server(_), true) => (node_to_server, form),
            (Host::Server(_), false)
                if step.to == Role::Router && step.form.inner == (Party::Vip, Party::Client) =>
            {
                (server_answer, form + ", straight to the client")
            }
            (Host::Server(_), false)
                if step.to == Role::Node && step.form.inner == (Party::Server, Party::Client) =>
            {
                (server_answer, form + ", routed through a node")
            }
            (Host::Server(_), false) => (server_answer, form),
            (Host::Router | Host::Switch | Host::Ops | Host::Controller(_) | Host::Node(_), _) => {
                return;
            }
        };
        hop.see(seen, sighting.frame.addresses());
    }

    fn problem(&mut self, sighting: &Sighting, problem: &str) {
        let Tap {
            segment,
            host,
            to_host,
        } = sighting.tap;
        let direction = if to_host { "to" } else { "from" };
        let load = match sighting.frame.load {
            Load::Tcp(..) => "tcp".to_owned(),
            Load::Udp(..) => "udp".to_owned(),
            Load::Echo => "echo".to_owned(),
            Load::Other(protocol) => format!("IP protocol {protocol}"),
        };
        // Ports are left out, or every connection would be a problem of its own.
        let addresses = sighting.frame.addresses();
        let line = format!(
            "{direction} {host} ({}): {addresses} {load}: {problem}",
            segment.device()
        );
        *self.problems.entry(line).or_default() += 1;
    }
}

fn path_from(role: Role) -> Option<AnswerPath> {
    match role {
        Role::Node => Some(AnswerPath::Node),
        Role::Server => Some(AnswerPath::Direct),
        Role::Client | Role::Router => None,
    }
}

fn exchange_problems(case: Case, exchange: &Exchange) -> Vec<String> {
    let mut problems = Vec::new();
    let (sent, answered) = (exchange.sent, exchange.answered());
    if sent == 0 {
        problems.push("no request was sent".to_owned());
    }
    if answered != sent {
        problems.push(format!(
            "{} of {sent} requests had no answer",
            sent - answered
        ));
    }
    problems.extend(exchange.failures.iter().take(3).cloned());
    let servers = exchange.servers();
    if case.is_served() && sent >= REQUESTS_THAT_SPREAD && servers.len() < usize::from(SERVERS) {
        problems.push(format!("only {:?} answered", servers.keys()));
    }
    let (sees, called) = (case.mode.server_sees(), case.mode.server_called());
    let mut wrong = BTreeSet::new();
    for answer in &exchange.answers {
        if case.party(answer.saw).map(|(party, _)| party) != Some(sees) {
            wrong.insert(format!(
                "{} saw {} as its client, not {sees}'s address",
                answer.server, answer.saw
            ));
        }
        let by = case.party(answer.called);
        if by.map(|(party, _)| party) != Some(called) {
            wrong.insert(format!(
                "{} was called by {}, not {called}'s address",
                answer.server, answer.called
            ));
        }
        if let Some((Party::Server, Some(host))) = by
            && host.to_string() != answer.server
        {
            wrong.insert(format!(
                "{} answered for {}, which is {host}'s",
                answer.server, answer.called
            ));
        }
    }
    problems.extend(wrong);
    problems
}

#[cfg(test)]
mod tests;
