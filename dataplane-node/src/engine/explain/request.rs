use lbfabric_model::RequestQuestion;
use lbfabric_proxy::{
    ProxyConfig,
    http1::{FieldRoom, Refusal, Request, RequestHead},
    rate_clock,
    route::{Answer, Candidate, Decision, Forward, RouteRequest, RouteTable, Unmet, Way},
};

use super::{Asked, Ends, Told};
use crate::engine::routes::REST;

/// Names that are told at a time.
const NAMED: usize = 8;

impl Asked<'_> {
    /// A request over a connection.
    pub(super) fn request(&self, config: &ProxyConfig, told: &mut Told) -> Result<(), Ends> {
        let Some(asked) = &self.question.request else {
            if !config.routes.is_empty() {
                return Err(told.ends(
                    "what becomes of a request depends on it: ask with `--host`, `--path`, `--method` and `--header`"
                        .to_owned(),
                ));
            }
            told.step("all requests go to the service's pool as they come".to_owned());
            self.servers(config, 0, None, told);
            return Ok(());
        };
        let text = head_of(asked);
        let mut room = FieldRoom::new();
        let head = RequestHead::parse(text.as_bytes(), &mut room, &config.limits);
        let head = head.map_err(|refusal| malformed(refusal, told))?;
        let request = Request::of(&head).map_err(|refusal| malformed(refusal, told))?;
        let request = RouteRequest {
            method: head.method,
            host: request.host,
            target: request.path,
            scheme: if config.tls.is_some() {
                "https"
            } else {
                "http"
            },
            client: self.question.source.ip(),
            body: request.body,
            head_bytes: text.len(),
            fields: &head,
        };
        if config.routes.is_empty() {
            told.step("all requests go to the service's pool as they come".to_owned());
            told.proxy.target.clone_from(&asked.target);
            self.servers(config, 0, Some(&head), told);
            return Ok(());
        }
        self.routed(config, &request, told)
    }

    fn routed(
        &self,
        config: &ProxyConfig,
        request: &RouteRequest<'_, RequestHead<'_, '_>>,
        told: &mut Told,
    ) -> Result<(), Ends> {
        let table = &*config.routes;
        // Limits count by the turn and by the time: neither goes on for a question.
        let way = match table.peek(request, 0, rate_clock()) {
            Decision::Answer { route, answer } => {
                candidates(table, request, route, told);
                return Err(answered(table, route, &answer, told));
            }
            Decision::Forward(way) => way,
        };
        candidates(table, request, way.route, told);
        let forward = table.forward(way.route);
        let Way { pool, target, .. } = way;
        told.proxy.target = target.unwrap_or_else(|| request.target.to_owned());
        if told.proxy.target != request.target {
            told.step(format!("the server is asked for {}", told.proxy.target));
        }
        let by_turn = forward.filter(|forward| forward.split.is_by_turn());
        if let Some(Forward { split, .. }) = by_turn {
            told.step("its turn decides to which pool of the split it goes".to_owned());
            for pool in split.pools() {
                self.standings(config, pool, Some(request.fields), told);
            }
            self.way_there(config, told);
            return Ok(());
        }
        self.servers(config, pool, Some(request.fields), told);
        Ok(())
    }
}

/// The request's head, as a client of HTTP/1 writes it.
fn head_of(asked: &RequestQuestion) -> String {
    let RequestQuestion {
        host,
        target,
        method,
        headers,
        server_name: _,
    } = asked;
    // One of HTTP/1.1 has a host.
    let (minor, host) = match host {
        Some(host) => (1, format!("Host: {host}\r\n")),
        None => (0, String::new()),
    };
    let fields = headers.iter();
    let fields: Vec<String> = fields
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!(
        "{method} {target} HTTP/1.{minor}\r\n{host}{}\r\n",
        fields.concat()
    )
}

fn malformed(refusal: Refusal, told: &mut Told) -> Ends {
    told.proxy.status = refusal.status().into();
    told.ends(format!(
        "the request is refused before any route is looked for: {} ({})",
        refusal.status(),
        refusal.name()
    ))
}

/// Which routes were asked, and why those before the request's own are not its.
fn candidates(
    table: &RouteTable,
    request: &RouteRequest<'_, RequestHead<'_, '_>>,
    route: Option<usize>,
    told: &mut Told,
) {
    let name = |at: usize| &*table.routes()[at].name;
    // Paths that are refused have been answered before any route was asked.
    let Ok(candidates) = table.candidates(request) else {
        return;
    };
    // It did not get as far as to its route.
    let Some(route) = route else {
        return;
    };
    for Candidate { route: at, unmet } in &candidates {
        if *at == route {
            break;
        }
        if let Some(unmet) = unmet {
            let why = text_of(*unmet, request);
            told.step(format!("route {} is passed by: {why}", name(*at)));
        }
    }
    let is_candidate = |at: &usize| candidates.iter().any(|it| it.route == *at);
    let others = (0..table.routes().len()).filter(|at| !is_candidate(at) && name(*at) != REST);
    let others: Vec<&str> = others.map(name).collect();
    if !others.is_empty() {
        let named = others[..others.len().min(NAMED)].join(", ");
        let more = match others.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        told.step(format!("for another host or path: {named}{more}"));
    }
    if name(route) == REST {
        told.step("no route is for it: it goes to the service's pool".to_owned());
    } else {
        name(route).clone_into(&mut told.proxy.route);
        told.step(format!("route {} has it", name(route)));
    }
}

fn text_of(unmet: Unmet<'_>, request: &RouteRequest<'_, RequestHead<'_, '_>>) -> String {
    match unmet {
        Unmet::Path => "its expression does not match the path".to_owned(),
        Unmet::Scheme => format!("it is not for clients that come by {}", request.scheme),
        Unmet::Method => format!("it is not for {}", request.method),
        Unmet::Client => format!("it is not for {}", request.client),
        Unmet::Field(name) => format!("no field {name} is as it must be"),
        Unmet::Query(name) => format!("no {name} in the query is as it must be"),
    }
}

/// An answer that the node gives by itself.
fn answered(
    table: &RouteTable,
    route: Option<usize>,
    answer: &Answer<'_>,
    told: &mut Told,
) -> Ends {
    told.proxy.status = answer.status.into();
    let status = answer.status;
    let who = match route {
        Some(route) => format!("route {}", table.routes()[route].name),
        None => "the service".to_owned(),
    };
    if let Some(cause) = answer.refusal() {
        let cause = match cause {
            "denied" => "`deny_sources` has the client",
            "rate" => "a rate limit has no room for it now",
            "method" => "`allow_methods` does not have its method",
            "content-type" => "`allow_content_types` does not have its body's",
            other => other,
        };
        return told.ends(format!("{who} refuses it with {status}: {cause}"));
    }
    let lines = String::from_utf8_lossy(&answer.lines);
    let location = lines.lines().find_map(|it| it.strip_prefix("Location: "));
    let to = location.map_or_else(String::new, |it| format!(", to {it}"));
    told.ends(format!("{who} answers by itself: {status}{to}"))
}
