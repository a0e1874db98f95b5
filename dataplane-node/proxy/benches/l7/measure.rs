//! Rounds: each case for every proxy, one right after the other.

use std::{path::Path, thread, time::Duration};

use crate::{
    cases::{Case, Front, Kind},
    idle::{self, Crowd},
    load::{Clients, Got},
    many::{self, MANY, Many},
    proxies::{ALL, Listens, Proxy, Site},
};

/// How large a part of what HAProxy can do at most everyone does when latencies are compared.
const LOAD: f64 = 0.4;
/// Rounds of what does not change from one to the next.
const IDLE_ROUNDS: u32 = 3;
/// Connections with large bodies.
const TRANSFERS: u32 = 4;

/// A case and its figures.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) case: &'static Case,
    /// Of each round, by proxy in the order of [`ALL`]; none of those that the case is not for. Where ours is compared with itself, the
    /// figures of one service or route stand first.
    pub(crate) figures: [Vec<f64>; ALL.len()],
    /// The connections that there were in the end.
    pub(crate) crowd: Option<Crowd>,
}

/// Ours with one of something, and with many.
#[derive(Debug)]
struct Pair {
    many: Many,
    one: Proxy,
    all: Proxy,
}

/// Where and how long.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) rounds: u32,
    pub(crate) seconds: u32,
    pub(crate) proxy_core: usize,
    pub(crate) client_core: usize,
    /// The most that wait at the same time.
    pub(crate) connections: u32,
}

/// Measures cases.
pub(crate) fn rows(plan: &Plan<'_>, cases: &[&'static Case]) -> Vec<Row> {
    let site = Site::open(plan.folder, plan.client_core, plan.proxy_core);
    let clients = Clients {
        folder: plan.folder,
        core: plan.client_core,
        seconds: plan.seconds,
    };
    let proxies = ALL.map(|name| site.start(name));
    // Files, code and connections are there after the first round, which does not count.
    let short = Clients {
        seconds: 1,
        ..clients
    };
    let capacity = proxies.each_ref().map(|proxy| {
        let url = proxy.listens.url(Kind::KeepAlive(Front::Http));
        short.wrk(&url, None, false).requests
    });
    let requests_per_second = (capacity[0] * LOAD).round();

    let mut rows: Vec<_> = cases
        .iter()
        .map(|case| Row {
            case,
            figures: [const { Vec::new() }; ALL.len()],
            crowd: None,
        })
        .collect();
    let pairs: Vec<_> = rows.iter().filter_map(|row| pair(&site, row)).collect();
    for round in 0..plan.rounds {
        for row in &mut rows {
            match row.case.kind {
                Kind::Idle(_) | Kind::Million => continue,
                Kind::Among(many) => {
                    let pair = pairs.iter().find(|it| it.many == many).unwrap();
                    pair.measure(&clients, round, row);
                    continue;
                }
                Kind::KeepAlive(_)
                | Kind::NewConnections(_)
                | Kind::Transfers
                | Kind::Http2
                | Kind::Latency => {}
            }
            // None of them is always the first.
            for at in 0..ALL.len() {
                let at = (at + round as usize) % ALL.len();
                let figure = measure(&clients, &proxies[at], row.case.kind, requests_per_second);
                row.figures[at].push(figure);
            }
        }
    }
    drop((proxies, pairs));
    for row in &mut rows {
        idle_rounds(&site, row, plan.rounds.min(IDLE_ROUNDS));
        if row.case.kind == Kind::Million {
            let ours = site.start_ours(&["--idle-secs", "3600"]);
            let crowd = idle::crowd(&ours.process, ours.listens.http, plan.connections);
            row.figures[ALL.len() - 1].push(crowd.resident_each);
            row.crowd = Some(crowd);
        }
    }
    rows
}

fn pair(site: &Site<'_>, row: &Row) -> Option<Pair> {
    let Kind::Among(many) = row.case.kind else {
        return None;
    };
    let option = match many {
        Many::Services => "--services",
        Many::Routes => "--routes",
    };
    Some(Pair {
        many,
        one: site.start_ours(&[option, "1"]),
        all: site.start_ours(&[option, &MANY.to_string()]),
    })
}

// === impl Pair ===

impl Pair {
    /// One right after the other, and another one first in each round.
    fn measure(&self, clients: &Clients<'_>, round: u32, row: &mut Row) {
        let mut sides = [(0, &self.one, 1), (ALL.len() - 1, &self.all, MANY)];
        if round % 2 == 1 {
            sides.reverse();
        }
        for (at, proxy, count) in sides {
            let first = proxy.listens.http;
            let (script, threads) = match self.many {
                Many::Services => (many::ask_services(first, count), many::ASKED_SERVICES),
                Many::Routes => (many::ask_routes(), 1),
            };
            let url = proxy.listens.url(row.case.kind);
            let before = proxy.process.cpu_seconds();
            let got = clients.wrk_with(&script, threads, &url, None, false);
            thread::sleep(Duration::from_millis(50));
            let seconds = proxy.process.cpu_seconds() - before;
            row.figures[at].push(got.requests / seconds);
        }
    }
}

fn measure(clients: &Clients<'_>, proxy: &Proxy, kind: Kind, requests_per_second: f64) -> f64 {
    let url = proxy.listens.url(kind);
    let before = proxy.process.cpu_seconds();
    let got = match kind {
        Kind::KeepAlive(_) => clients.wrk(&url, None, false),
        Kind::NewConnections(_) => clients.wrk(&url, None, true),
        Kind::Transfers => clients.wrk(&url, Some(TRANSFERS), false),
        Kind::Http2 => clients.http2(&url),
        Kind::Latency => return clients.latency(&url, requests_per_second),
        Kind::Idle(_) | Kind::Among(_) | Kind::Million => {
            unreachable!("it has processes of its own")
        }
    };
    // What a proxy does when its clients go is part of it.
    thread::sleep(Duration::from_millis(50));
    let seconds = proxy.process.cpu_seconds() - before;
    let Got { requests, bytes } = got;
    match kind {
        Kind::Transfers => bytes * 8.0 / 1e9 / seconds,
        Kind::KeepAlive(_)
        | Kind::NewConnections(_)
        | Kind::Http2
        | Kind::Latency
        | Kind::Among(_)
        | Kind::Million
        | Kind::Idle(_) => requests / seconds,
    }
}

/// Each round with a process that has done nothing yet.
fn idle_rounds(site: &Site<'_>, row: &mut Row, rounds: u32) {
    let front = match row.case.kind {
        Kind::Idle(front) => front,
        Kind::KeepAlive(_)
        | Kind::NewConnections(_)
        | Kind::Transfers
        | Kind::Http2
        | Kind::Latency
        | Kind::Among(_)
        | Kind::Million => return,
    };
    let client = idle::tls_client(site.folder);
    for _ in 0..rounds {
        for (name, figures) in ALL.into_iter().zip(&mut row.figures) {
            let proxy = site.start(name);
            let Listens { http, tls, .. } = proxy.listens;
            figures.push(match front {
                Front::Http => idle::bytes_each(&proxy.process, http, None),
                Front::Tls => idle::bytes_each(&proxy.process, tls, Some(&client)),
            });
        }
    }
}
