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
    } = answer.explanation.clone().unwrap_or_default();
    let mut text = format!("node {}\n", answer.node);
    for (index, step) in steps.iter().enumerate() {
        line(&mut text, &format!("{:>2}. {step}", index + 1));
    }
    let slot = slot.map(|slot| slot.to_string()).unwrap_or_default();
    let facts = [
        ("service", service),
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
    text
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "  {line}").expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

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
