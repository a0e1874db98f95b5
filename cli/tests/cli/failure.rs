use std::time::{Duration, Instant};

use crate::fabric::{Fabric, WEB, free_address, lbfabric, run};

#[test]
fn no_controller_is_an_exit_code_of_its_own() {
    let address = free_address().to_string();
    for args in [
        &["get"][..],
        &["nodes"],
        &["watch"],
        &["delete", "svc/a"],
        &["apply", "-f", "-"],
        &["diff", "-f", "-"],
    ] {
        let start = Instant::now();
        let ran = run(
            lbfabric()
                .args(args)
                .args(["--controller", &address, "--timeout", "300ms"]),
            WEB,
        );
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (4, ""),
            "{args:?}: {}",
            ran.err
        );
        assert!(ran.err.contains(&address), "{}", ran.err);
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{args:?} took {:?}",
            start.elapsed()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_controller_is_asked_where_one_does_not_answer() {
    let fabric = Fabric::start().await;
    // One where nobody listens, and one that takes connections and says nothing.
    let gone = free_address();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    let silent = (silent.local_addr().expect("an address"), silent);
    let list = format!("{gone},{},{}", silent.0, fabric.address);
    let ran = fabric
        .run_with(
            &["apply", "-f", "-", "--timeout", "4s", "--controller", &list],
            WEB,
        )
        .await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.contains("2 created"), "{}", ran.out);
}

#[test]
fn mistakes_are_found_without_a_controller_too() {
    let address = free_address().to_string();
    let text = WEB
        .replace("mode: l4", "mdoe: l4")
        .replace("10.99.0.10", "0.0.0.0");
    let ran = run(
        lbfabric().args([
            "apply",
            "-f",
            "-",
            "--timeout",
            "300ms",
            "--controller",
            &address,
        ]),
        &text,
    );
    assert_eq!(ran.code, 2);
    assert!(
        ran.err.contains("<stdin>:8:12: services[0].vips[0]: "),
        "{}",
        ran.err
    );
    assert!(
        ran.err
            .contains("<stdin>:11:5: services[0].mdoe: unknown field; did you mean `mode`?"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("error: 2 mistakes"), "{}", ran.err);
    let ran = run(lbfabric().args(["validate", "-f", "-"]), &text);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("error: 2 mistakes"), "{}", ran.err);
    let ran = run(lbfabric().args(["validate", "-f", "-"]), WEB);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "valid: 1 services, 1 pools, 0 nodes\n")
    );
}

#[test]
fn wrong_usage_is_refused() {
    for args in [
        &["get", "servers"][..],
        &["get", "all/web"],
        &["get", "all", "web"],
        &["get", "svc/web", "web"],
        &["get", "--controller", "nonsense"],
        &["apply"],
        &["apply", "-f", "-", "-f", "-"],
        &["apply", "-f", "/"],
        &["delete", "services"],
        &["watch", "servers"],
        &["frobnicate"],
    ] {
        let ran = run(lbfabric().args(args).args(["--timeout", "300ms"]), "");
        assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
        assert!(!ran.err.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_an_exit_code_of_its_own() {
    let fabric = Fabric::start().await;
    let ran = fabric.run(&["get", "services/web"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{ran:?}");
}

#[test]
fn the_manual_and_the_completions_are_there() {
    let dir = tempfile::TempDir::new().expect("a temporary folder");
    let ran = run(lbfabric().arg("man").arg("--dir").arg(dir.path()), "");
    assert_eq!(ran.code, 0, "{ran:?}");
    let apply = std::fs::read_to_string(dir.path().join("lbfabric-apply.1"))
        .expect("a page for each command");
    assert!(apply.contains("expected\\-generation"), "{apply}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            run(lbfabric().args(["completions", shell]), "")
                .out
                .contains("lbfabric")
        );
    }
}
