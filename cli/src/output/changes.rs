use std::fmt::Write as _;

use lbfabric_proto::v1;

use super::Style;
use crate::kind::title;

/// Changes for people: a line for each object and each field, then how many there are.
///
/// ```text
/// + service/web
/// ~ pool/web
///     backends.s1.weight: 100 -> 50
/// 1 to create, 1 to update, 3 unchanged
/// ```
pub fn changes(changes: &[v1::Change], done: bool, all: bool, style: Style) -> String {
    let mut out = String::new();
    let mut counts = [0_usize; 4];
    for change in changes {
        let name = title(change.r#ref.as_ref());
        let (slot, line) = match change.action() {
            v1::Action::Create => (0, style.good(&format!("+ {name}"))),
            v1::Action::Update => (1, style.changed(&format!("~ {name}"))),
            v1::Action::Delete => (2, style.bad(&format!("- {name}"))),
            v1::Action::Unchanged | v1::Action::Unspecified => (3, format!("= {name}")),
        };
        counts[slot] += 1;
        if slot == 3 && !all {
            continue;
        }
        out.push_str(&line);
        out.push('\n');
        for field in &change.fields {
            let v1::FieldChange {
                path,
                before,
                after,
            } = field;
            writeln!(out, "    {path}: {} -> {}", value(before), value(after))
                .expect("a string takes everything");
        }
    }
    out.push_str(&summary(counts, done));
    out.push('\n');
    out
}

/// Whether applying would change anything.
pub fn is_different(changes: &[v1::Change]) -> bool {
    changes
        .iter()
        .any(|change| change.action() != v1::Action::Unchanged)
}

fn value(text: &str) -> &str {
    if text.is_empty() { "(none)" } else { text }
}

fn summary(counts: [usize; 4], done: bool) -> String {
    let words = if done {
        ["created", "updated", "deleted", "unchanged"]
    } else {
        ["to create", "to update", "to delete", "unchanged"]
    };
    let parts: Vec<String> = counts
        .iter()
        .zip(words)
        .filter(|(count, _)| **count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    if parts.is_empty() {
        "no objects".to_owned()
    } else {
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: v1::Kind, name: &str, action: v1::Action) -> v1::Change {
        v1::Change {
            r#ref: Some(v1::ObjectRef {
                kind: kind.into(),
                name: name.to_owned(),
            }),
            action: action.into(),
            fields: Vec::new(),
        }
    }

    #[test]
    fn lists_what_differs() {
        let mut list = vec![
            change(v1::Kind::Service, "web", v1::Action::Create),
            change(v1::Kind::Pool, "web", v1::Action::Update),
            change(v1::Kind::Node, "n1", v1::Action::Unchanged),
        ];
        list[1].fields.push(v1::FieldChange {
            path: "backends.s1.weight".to_owned(),
            before: "100".to_owned(),
            after: String::new(),
        });
        assert_eq!(
            changes(&list, false, false, Style::plain()),
            "+ service/web\n~ pool/web\n    backends.s1.weight: 100 -> (none)\n1 to create, 1 to update, 1 unchanged\n"
        );
        assert_eq!(
            changes(&list[2..], true, true, Style::plain()),
            "= node/n1\n1 unchanged\n"
        );
        assert!(is_different(&list));
        assert!(!is_different(&list[2..]));
    }
}
