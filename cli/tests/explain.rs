//! `lbfabric explain` against a fabric that runs: every command of `docs/explain.md`, in its order, with the answers that the page
//! shows. Needs root, for namespaces and the XDP programs.

#[path = "support/namespaces.rs"]
mod namespaces;
#[path = "support/pages.rs"]
mod pages;

use namespaces::PLACE;
use pages::{INTERFACE, blocks, file, page, run, said};

/// A network with the page's servers, whose link-layer addresses are known, and a fabric of one controller and one node. `answers`
/// compares what a command says with what the page shows, until it does or time is up: a node takes a moment to follow.
const SITE: &str = r#"
for n in 21 22; do
    ip neigh add 10.77.2.$n lladdr 02:00:00:00:00:$n dev eth0 nud permanent
done
lbfabric dev --interface eth0 > dev.log 2>&1 &
slots() {
    sed -E 's/slot( +)[0-9]+/slot\1N/' "$1"
}
answers() {
    for attempt in $(seq 200); do
        bash command > said 2>&1 || true
        if diff <(slots shown) <(slots said) > difference; then
            return 0
        fi
        sleep 0.1
    done
    echo "--- $(cat command) says otherwise than the page:"
    cat difference dev.log
    return 1
}
"#;

#[test]
fn every_command_of_the_page_answers_as_it_shows() {
    let page = page("explain.md");
    let mut script = [PLACE, INTERFACE, SITE].concat();
    // The first command stands before its fabric.
    let mut command = None;
    let (mut compared, mut applied) = (0, 0);
    for (kind, content) in blocks(&page) {
        match kind {
            "yaml" => {
                let name = content
                    .lines()
                    .next()
                    .and_then(|line| line.strip_prefix("# "));
                let name = name.expect("a file begins with its name");
                script += &file(name, content);
                script += &["lbfabric apply -f ", name, "\n"].concat();
                applied += 1;
            }
            "sh" => assert_eq!(
                command.replace(content),
                None,
                "a command without an answer"
            ),
            "text" => {
                script += &file(
                    "command",
                    command.take().expect("an answer without a command"),
                );
                script += &file("shown", content);
                script += "answers\n";
                compared += 1;
            }
            other => panic!("what is a block of {other:?}?"),
        }
    }
    assert_eq!((compared, applied, command), (9, 3, None));
    said(&script);
}

#[test]
fn an_answer_that_is_wrong_is_noticed() {
    let script = format!(
        "{PLACE}{INTERFACE}{SITE}{}{}seq() {{ echo 1; }}\nanswers\n",
        file("command", "echo slot 7 web1"),
        file("shown", "slot 9 web2"),
    );
    let output = run(&script);
    assert!(!output.status.success());
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(
        out.contains("< slot N web2") && out.contains("> slot N web1"),
        "{out}"
    );
}
