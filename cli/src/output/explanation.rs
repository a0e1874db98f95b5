use std::fmt::Write as _;

use lbfabric_proto::v1;

use super::Style;

/// What one node would do with a packet, for people: the way in sentences, then what it comes to.
pub fn explanation(answer: &v1::ExplainResponse, style: Style) -> String {
    let v1::Explanation {
        service,
        pool,
        slot,
        current_server,
        base_server,
        flow_entry,
        server,
        next_hop,
        verdict,
        drop_reason,
        steps,
        proxy,
    } = answer.explanation.clone().unwrap_or_default();
    let mut text = format!("node {}\n", answer.node);
    for (index, step) in steps.iter().enumerate() {
        line(&mut text, &format!("{:>2}. {step}", index + 1));
    }
    let v1::ProxyExplanation {
        mode,
        carries,
        certificate,
        route,
        status,
        target,
        servers,
    } = proxy.unwrap_or_default();
    let status = match status {
        0 => String::new(),
        status => status.to_string(),
    };
    let slot = slot.map(|slot| slot.to_string()).unwrap_or_default();
    let facts = [
        ("service", service),
        ("mode", mode),
        ("carries", carries),
        ("certificate", certificate),
        ("route", route),
        ("answer", status),
        ("target", target),
        ("pool", pool),
        ("slot", slot),
        ("current server", current_server),
        ("base server", base_server),
        ("flow entry", flow_entry),
        ("server", server),
        ("next hop", next_hop),
        ("verdict", style.good(&verdict)),
        ("dropped", style.bad(&drop_reason)),
    ];
    let is_known = |value: &str| !value.is_empty();
    for (name, value) in &facts {
        let known = match *name {
            "verdict" => is_known(&verdict),
            "dropped" => is_known(&drop_reason),
            _ => is_known(value),
        };
        if known {
            line(&mut text, &format!("{name:<15} {value}"));
        }
    }
    for standing in servers {
        let v1::ServerStanding {
            pool,
            name,
            address,
            state,
            candidate,
        } = standing;
        let what = if candidate { "candidate" } else { "not used" };
        let state = if candidate {
            style.good(&state)
        } else {
            style.bad(&state)
        };
        line(
            &mut text,
            &format!("{what:<15} {pool}/{name} {address}, {state}"),
        );
    }
    text
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "  {line}").expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_the_engine_does() {
        let standing = |name: &str, state: &str, candidate| v1::ServerStanding {
            pool: "web".to_owned(),
            name: name.to_owned(),
            address: "192.0.2.1:80".to_owned(),
            state: state.to_owned(),
            candidate,
        };
        let answer = v1::ExplainResponse {
            node: "lb1".to_owned(),
            member: "1".to_owned(),
            explanation: Some(v1::Explanation {
                service: "shop".to_owned(),
                pool: "web".to_owned(),
                verdict: "pass-not-vip".to_owned(),
                proxy: Some(v1::ProxyExplanation {
                    mode: "l7-reverse".to_owned(),
                    carries: "http".to_owned(),
                    route: "api".to_owned(),
                    status: 405,
                    servers: vec![
                        standing("s1", "takes requests", true),
                        standing("s2", "draining: weight 0", false),
                    ],
                    ..v1::ProxyExplanation::default()
                }),
                ..v1::Explanation::default()
            }),
        };
        assert_eq!(
            explanation(&answer, Style::plain()),
            "node lb1\n  service         shop\n  mode            l7-reverse\n  carries         http\n  route           api\n  \
             answer          405\n  pool            web\n  verdict         pass-not-vip\n  \
             candidate       web/s1 192.0.2.1:80, takes requests\n  not used        web/s2 192.0.2.1:80, draining: weight 0\n"
        );
    }

    #[test]
    fn shows_steps_and_what_is_known() {
        let answer = v1::ExplainResponse {
            node: "lb1".to_owned(),
            member: "1".to_owned(),
            explanation: Some(v1::Explanation {
                service: "web".to_owned(),
                slot: Some(0),
                server: "s1".to_owned(),
                verdict: "redirect".to_owned(),
                steps: vec!["a".to_owned(), "b".to_owned()],
                ..v1::Explanation::default()
            }),
        };
        assert_eq!(
            explanation(&answer, Style::plain()),
            "node lb1\n   1. a\n   2. b\n  service         web\n  slot            0\n  server          s1\n  verdict         redirect\n"
        );
        let dropped = v1::ExplainResponse {
            explanation: Some(v1::Explanation {
                drop_reason: "drop-martian".to_owned(),
                ..v1::Explanation::default()
            }),
            ..answer
        };
        assert_eq!(
            explanation(&dropped, Style::plain()),
            "node lb1\n  dropped         drop-martian\n"
        );
    }
}
