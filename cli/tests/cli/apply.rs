use crate::fabric::{Fabric, WEB};

/// The beginnings of the lines, up to the path.
fn places(err: &str) -> Vec<String> {
    let lines = err.lines().filter(|line| !line.starts_with("error:"));
    lines
        .map(|line| line.splitn(3, ": ").take(2).collect::<Vec<_>>().join(": "))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn five_mistakes_are_reported_together_and_nothing_is_applied() {
    let fabric = Fabric::start().await;
    let text = "\
pools:
  - name: good
  - name: web
    backends:
      - { name: s1, addresses: [10.77.2.21], wieght: 100 }
services:
  - name: web
    vips: [10.99.0.10, 127.0.0.1]
    ports: [80, 8099-8000]
    mode: l4-fulnat
    pool: gone
";
    let path = fabric.file("bad.yaml", text);
    let path = path.to_str().expect("a UTF-8 path");
    let ran = fabric.run(&["apply", "-f", path]).await;
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    let expected = [
        "5:46: pools[1].backends[0].wieght",
        "8:24: services[0].vips[1]",
        "9:17: services[0].ports[1]",
        "10:11: services[0].mode",
        "11:11: services[0].pool",
    ];
    assert_eq!(
        places(&ran.err),
        expected.map(|place| format!("{path}:{place}")),
        "{}",
        ran.err
    );
    assert!(
        ran.err
            .ends_with("error: 5 mistakes; nothing was changed\n"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("did you mean `weight`?")
            && ran.err.contains("did you mean `l4-fullnat`?"),
        "{}",
        ran.err
    );
    assert_eq!(
        fabric.json(&["get", "-o", "json"]).await,
        serde_json::json!({})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_that_only_the_controller_sees_have_their_lines_too() {
    let fabric = Fabric::start().await;
    fabric.apply(WEB).await;
    let first = fabric.file(
        "a.yaml",
        "pools:\n- name: p\n  backends: [{name: s, addresses: [1.1.1.1]}]\n",
    );
    let second = fabric.file(
        "b.yaml",
        "services:\n- {name: a, vips: [10.99.0.10], ports: [80], mode: l4-dsr, pool: p}\n---\npools: [{name: 'no'}, {name: p}]\n\
         services:\n- name: b\n  vips: [10.9.9.9]\n  ports: [80]\n  mode: l4-dsr\n",
    );
    let [first, second] =
        [first, second].map(|path| path.to_str().expect("a UTF-8 path").to_owned());
    let ran = fabric.run(&["apply", "-f", &first, "-f", &second]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    let taken = format!("{second}:2:20: services[0].vips[0]");
    let twice = format!("{second}:4:30: pools[1].name");
    let missing = format!("{second}:6:3: services[1].pool");
    assert!(
        places(&ran.err).contains(&twice) && places(&ran.err).contains(&missing),
        "{}",
        ran.err
    );
    // Between objects it is looked once each is right by itself.
    let fixed = fabric.file(
        "c.yaml",
        "services:\n- {name: a, vips: [10.99.0.10], ports: [80], mode: l4-dsr, pool: p}\n",
    );
    let fixed = fixed.to_str().expect("a UTF-8 path");
    let ran = fabric.run(&["apply", "-f", &first, "-f", fixed]).await;
    assert_eq!(
        (ran.code, places(&ran.err)),
        (2, vec![taken.replace(&second, fixed)]),
        "{}",
        ran.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_get_prints_applies_without_a_change() {
    let fabric = Fabric::start().await;
    let nodes = "nodes: [{name: n1, source_addresses: [10.1.1.1]}]\n";
    fabric.apply(&format!("{WEB}{nodes}")).await;
    for format in ["yaml", "json"] {
        let file = fabric.run(&["get", "-o", format]).await;
        let again = fabric
            .run_with(&["apply", "-f", "-", "-o", "json"], &file.out)
            .await;
        let answer: serde_json::Value = serde_json::from_str(&again.out).expect("JSON");
        let changes = answer["changes"].as_array().expect("a list");
        assert_eq!(changes.len(), 3, "{answer}");
        assert!(
            changes.iter().all(|change| change["action"] == "unchanged"),
            "{answer}"
        );
        let diff = fabric
            .run_with(&["diff", "--prune", "-f", "-"], &file.out)
            .await;
        assert_eq!(
            (diff.code, diff.out.as_str(), diff.err.as_str()),
            (0, "", "")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn diff_ends_like_diff() {
    let fabric = Fabric::start().await;
    let ran = fabric.run_with(&["diff", "-f", "-"], WEB).await;
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (1, "+ pool/web\n+ service/web\n2 to create\n"),
        "{ran:?}"
    );
    fabric.apply(WEB).await;
    assert_eq!(fabric.run_with(&["diff", "-f", "-"], WEB).await.code, 0);
    let lighter = WEB.replace("weight: 100", "weight: 50");
    let ran = fabric.run_with(&["diff", "-f", "-"], &lighter).await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.out.starts_with("~ pool/web\n    ") && ran.out.contains("100 -> 50"),
        "{}",
        ran.out
    );
    assert_eq!(
        fabric
            .run_with(&["diff", "-f", "-"], "services: 5")
            .await
            .code,
        2
    );
    assert_eq!(
        fabric.run(&["diff", "-f", "/nonexistent.yaml"]).await.code,
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing_and_prune_deletes_the_rest() {
    let fabric = Fabric::start().await;
    let ran = fabric
        .run_with(&["apply", "--dry-run", "-f", "-"], WEB)
        .await;
    assert_eq!(ran.code, 0);
    assert!(
        ran.out
            .contains("2 to create\ndry run: nothing was changed"),
        "{}",
        ran.out
    );
    assert_eq!(
        fabric.json(&["get", "-o", "json"]).await,
        serde_json::json!({})
    );
    fabric.apply(WEB).await;
    let other = "pools: [{name: other}]";
    let ran = fabric
        .run_with(&["apply", "--prune", "-f", "-"], other)
        .await;
    assert!(
        ran.out.contains("- service/web")
            && ran.out.contains("- pool/web")
            && ran.out.contains("+ pool/other"),
        "{ran:?}"
    );
    // A file that says nothing must not delete everything.
    let ran = fabric
        .run_with(&["apply", "--prune", "-f", "-"], "# nothing\n")
        .await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!(
        fabric.json(&["get", "pools", "-o", "json"]).await["pools"][0]["name"],
        "other"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_generation_is_refused() {
    let fabric = Fabric::start().await;
    fabric.apply(WEB).await;
    let generation =
        fabric.json(&["get", "--status", "-o", "json"]).await["generation"].to_string();
    let drained = WEB.replace("weight: 100", "weight: 0");
    let expecting = ["apply", "-f", "-", "--expected-generation", &generation];
    assert_eq!(fabric.run_with(&expecting, &drained).await.code, 0);
    assert_eq!(fabric.run_with(&expecting, WEB).await.code, 5);
    let dry = [&expecting[..], &["--dry-run"]].concat();
    assert_eq!(fabric.run_with(&dry, WEB).await.code, 5);
    assert_eq!(
        fabric.json(&["get", "pools", "-o", "json"]).await["pools"][0]["backends"][0]["weight"],
        0
    );
}
