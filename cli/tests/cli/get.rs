use std::process::Stdio;

use serde_json::json;

use crate::fabric::{Fabric, WEB};

#[tokio::test(flavor = "multi_thread")]
async fn json_has_the_shape_that_is_documented() {
    let fabric = Fabric::start().await;
    fabric.apply(WEB).await;
    let service = json!({
        "name": "web", "vips": ["10.99.0.10", "fd99::10"], "ports": [80, "8000-8099"], "protocol": "tcp", "mode": "l4-fullnat",
        "pool": "web", "affinity": "five-tuple",
    });
    for args in [
        ["get", "services", "-o", "json"],
        ["get", "svc/web", "-o", "json"],
    ] {
        assert_eq!(
            fabric.json(&args).await,
            json!({"services": [service]}),
            "{args:?}"
        );
    }
    let pool = fabric.json(&["get", "pool", "web", "-o", "json"]).await["pools"][0].clone();
    assert_eq!(pool["health_check"]["tcp"], json!({"port": 80}));
    assert_eq!(pool["max_backends"], 32);
    assert_eq!(
        (&pool["hold_time_secs"], &pool["dead_after_ms"]),
        (&json!(900), &json!(10_000))
    );
    let status = fabric
        .json(&["get", "services", "--status", "-o", "json"])
        .await;
    assert!(
        status["generation"].is_u64() && status["missing_members"] == json!([]),
        "{status}"
    );
    let object = &status["objects"][0];
    assert_eq!(object["ref"], json!({"kind": "service", "name": "web"}));
    assert_eq!(object["service"]["mode"], "l4-fullnat");
    assert_eq!(object["service_status"]["packets"], 0, "{object}");
    let yaml = fabric
        .run(&["get", "services", "--status", "-o", "yaml"])
        .await
        .out;
    assert!(
        yaml.contains("\nobjects:\n  - ref:\n      kind: service\n      name: web\n"),
        "{yaml}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_have_a_row_for_each_object_and_no_colours() {
    let fabric = Fabric::start().await;
    fabric.apply(WEB).await;
    let ran = fabric.run(&["get"]).await;
    assert_eq!(
        ran.out,
        "services\n\
         NAME  MODE        PROTO  VIPS                 PORTS         POOL  APPLIED  REFUSED\n\
         web   l4-fullnat  tcp    10.99.0.10,fd99::10  80,8000-8099  web   0        0\n\
         \n\
         pools\n\
         NAME  HEALTHY  WEIGHTS  CHECK\n\
         web   ?/1      100      tcp:80 every 500 ms\n"
    );
    let wide = fabric.run(&["get", "pools", "-o", "wide"]).await.out;
    assert!(
        wide.contains("web   s1       10.77.2.21,fd77:2::21  100     unknown"),
        "{wide}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_says_so_on_stderr() {
    let fabric = Fabric::start().await;
    for (args, note) in [
        (vec!["get", "services"], "no services\n"),
        (vec!["nodes"], "no nodes: none has connected yet\n"),
    ] {
        let ran = fabric.run(&args).await;
        assert_eq!(
            (ran.code, ran.out.as_str(), ran.err.as_str()),
            (0, "", note)
        );
    }
    let nodes = fabric.json(&["nodes", "-o", "json"]).await;
    assert_eq!(nodes["nodes"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_settings_is_listed_before_it_connects() {
    let fabric = Fabric::start().await;
    fabric.apply("nodes: [{name: n1}]").await;
    let nodes = fabric.json(&["nodes", "-o", "json"]).await;
    assert_eq!(nodes["nodes"][0]["name"], "n1");
    assert_eq!(nodes["nodes"][0]["connected"], false);
    assert_eq!(nodes["nodes"][0]["fault"], "");
    let table = fabric.run(&["nodes"]).await.out;
    assert!(table.starts_with("NAME  ROLE  STATE"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_is_no_failure() {
    let fabric = Fabric::start().await;
    fabric.apply(WEB).await;
    for args in [
        &["get"][..],
        &["get", "-o", "yaml"],
        &["completions", "bash"],
        &["man"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = fabric.command(args);
        command.stdout(writer).stderr(Stdio::piped());
        let output =
            tokio::task::spawn_blocking(move || command.output().expect("the binary runs"));
        let output = output.await.expect("the binary runs");
        assert_eq!(
            (output.status.code(), output.stderr),
            (Some(0), Vec::new()),
            "{args:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_takes_objects_in_every_form() {
    let fabric = Fabric::start().await;
    fabric.apply(WEB).await;
    let ran = fabric.run(&["delete", "pool", "web"]).await;
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("web"), "{ran:?}");
    let ran = fabric.run(&["delete", "services/web", "pools/web"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.contains("- service/web\n") && ran.out.contains("2 deleted"),
        "{ran:?}"
    );
    assert_eq!(fabric.run(&["delete", "services/web"]).await.code, 3);
    fabric.apply(WEB).await;
    assert_eq!(fabric.run_with(&["delete", "-f", "-"], WEB).await.code, 0);
    assert_eq!(fabric.json(&["get", "-o", "json"]).await, json!({}));
    assert_eq!(fabric.run(&["delete"]).await.code, 2);
}
