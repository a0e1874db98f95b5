//! Keeps `docs/checklist.md` honest: every row is there, and so is every test that a row names.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const ROWS: u32 = 49;

/// A line of the table.
struct Row {
    number: u32,
    property: String,
    tests: String,
}

fn root() -> PathBuf {
    let chaos = Path::new(env!("CARGO_MANIFEST_DIR"));
    chaos
        .parent()
        .expect("the crate is in the repository")
        .into()
}

fn rows(page: &str) -> Vec<Row> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = lines.filter_map(|line| {
        let mut cells = line.trim_end_matches('|').splitn(3, " | ");
        Some(Row {
            number: cells.next()?.trim().parse().ok()?,
            property: cells.next()?.trim().to_owned(),
            tests: cells.next()?.trim().to_owned(),
        })
    });
    rows.collect()
}

/// The tests that a row names, as path and name.
fn named(row: &Row) -> Vec<(&str, &str)> {
    let quoted = row.tests.split('`').skip(1).step_by(2);
    quoted.filter_map(|it| it.split_once("::")).collect()
}

/// Whether a source has a test of a name, which does not end in another one's.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let function = format!("fn {name}(");
    let mut places = (0..lines.len()).filter(|at| {
        let line = lines[*at];
        line.starts_with(&function) || line.starts_with(&format!("async {function}"))
    });
    places.any(|at| {
        let attributes = lines[..at].iter().rev();
        let mut attributes = attributes.take_while(|line| !line.is_empty() && !line.ends_with('}'));
        attributes.any(|line| *line == "#[test]" || line.starts_with("#[tokio::test"))
    })
}

fn is_named_after(name: &str, number: u32) -> bool {
    name.contains(&format!("row_{number:02}_"))
}

/// What is wrong with a row.
fn mistakes(row: &Row) -> Vec<String> {
    let Row { number, tests, .. } = row;
    let tests_named = named(row);
    let excuse = tests
        .split_once(": ")
        .filter(|(word, _)| matches!(*word, "open" | "not applicable"));
    let mut found = Vec::new();
    match excuse {
        Some((_, reason)) if reason.len() < 10 => {
            found.push(format!("row {number} does not say why"));
        }
        None if !tests_named
            .iter()
            .any(|(_, name)| is_named_after(name, *number)) =>
        {
            found.push(format!("row {number} has no test that is named after it"));
        }
        Some(_) | None => {}
    }
    for (path, name) in tests_named {
        let places = [root().join(path), root().join("dataplane-node").join(path)];
        let source = places.iter().find_map(|path| fs::read_to_string(path).ok());
        match source {
            None => found.push(format!("row {number}: there is no file {path}")),
            Some(source) if !has_test(&source, name) => {
                found.push(format!("row {number}: {path} has no test {name}"));
            }
            Some(_) => {}
        }
    }
    found
}

#[test]
fn every_row_has_tests_that_are_there() {
    let page = fs::read_to_string(root().join("docs/checklist.md")).expect("there is a table");
    let rows = rows(&page);
    let numbers: Vec<_> = rows.iter().map(|row| row.number).collect();
    assert_eq!(
        numbers,
        (1..=ROWS).collect::<Vec<_>>(),
        "rows in order, each once"
    );
    let properties: BTreeSet<_> = rows.iter().map(|row| &row.property).collect();
    assert_eq!(properties.len(), rows.len(), "two rows say the same");
    let found: Vec<_> = rows.iter().flat_map(mistakes).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// A test that is named after a row is in the row.
#[test]
fn tests_that_are_named_after_rows_are_in_the_table() {
    let page = fs::read_to_string(root().join("docs/checklist.md")).expect("there is a table");
    let rows = rows(&page);
    let mut found = Vec::new();
    for folder in ["dataplane-node/tests", "dataplane-node/src", "cli/tests"] {
        for source in sources(&root().join(folder)) {
            for name in source.lines().filter_map(named_after_row) {
                let number = name[4..].split('_').next();
                let number: Option<u32> = number.and_then(|it| it.parse().ok());
                let row = rows.iter().find(|row| Some(row.number) == number);
                if !row.is_some_and(|row| row.tests.contains(&format!("::{name}`"))) {
                    found.push(format!("{name} is not in its row"));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The Rust sources in a folder and in those in it.
fn sources(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    let sources = paths.flat_map(|path| match path.extension() {
        _ if path.is_dir() => sources(&path),
        Some(extension) if extension == "rs" => {
            vec![fs::read_to_string(&path).expect("sources are UTF-8")]
        }
        Some(_) | None => Vec::new(),
    });
    sources.collect()
}

fn named_after_row(line: &str) -> Option<&str> {
    let line = line.trim().trim_start_matches("async ");
    let name = line.strip_prefix("fn ")?.split('(').next()?;
    name.starts_with("row_").then_some(name)
}

#[test]
fn mistakes_are_noticed() {
    let page = "| row | property | tests |\n| --- | --- | --- |\n\
        | 11 | a | `tests/xdp/untouched.rs::other_addresses`, \
        `tests/xdp/icmp.rs::row_11_a_vip_answers_echo_and_the_node_answers_for_itself` |\n\
        | 2 | b | `chaos-tests/tests/checklist.rs::row_02_rows` |\n\
        | 3 | c | `tests/nowhere.rs::row_03_x` |\n\
        | 7 | g | `chaos-tests/tests/checklist.rs::mistakes_are_noticed` |\n| 4 | d | open: |\n| 5 | e | none |\n| 6 | f | open: what is to come |\n";
    let rows = rows(page);
    let counts: Vec<_> = rows.iter().map(|row| mistakes(row).len()).collect();
    assert_eq!(counts, [0, 1, 1, 1, 1, 1, 0]);
}
