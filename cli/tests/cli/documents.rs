//! The YAML of documents is what the controller takes.

use std::path::Path;

use rcgen::{CertificateParams, KeyPair};

use crate::fabric::{Fabric, WEB};

/// What stands in a document for a certificate.
const PLACEHOLDER: &str = "-----BEGIN CERTIFICATE-----
...
-----END CERTIFICATE-----
";

/// A document's blocks of YAML, with a certificate in the place of each placeholder.
fn blocks(document: &str, certificate: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let text = std::fs::read_to_string(path.join(document)).expect("the document is there");
    let parts = text.split("```yaml\n").skip(1);
    let blocks = parts.map(|part| part.split("```").next().unwrap_or_default());
    blocks
        .map(|block| {
            let mut filled = block.to_owned();
            for indent in [10, 12].map(|width| " ".repeat(width)) {
                let indented = |text: &str| {
                    let lines = text.lines().map(|line| format!("{indent}{line}\n"));
                    lines.collect::<String>()
                };
                filled = filled.replace(&indented(PLACEHOLDER), &indented(certificate));
            }
            assert!(!filled.contains("\n..."), "{filled}");
            filled
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_block_about_connections_applies_and_comes_back_whole() {
    let fabric = Fabric::start().await;
    fabric.apply(WEB).await;
    fabric.apply("pools: [{ name: shop }]").await;
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["shop.example".to_owned()]).expect("a name");
    let pem = params.self_signed(&key).expect("it signs itself").pem();
    let path = |file: &str, text: &str| {
        let path = fabric.file(file, text);
        path.to_str().expect("a plain path").to_owned()
    };
    let (chain, key) = (
        path("chain.pem", &pem),
        path("key.pem", &key.serialize_pem()),
    );
    let ran = fabric
        .run(&["cert", "import", "web", "--chain", &chain, "--key", &key])
        .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let blocks = blocks("connections.md", &pem);
    assert_eq!(blocks.len(), 6);
    for block in &blocks {
        fabric.apply(block).await;
    }
    let file = fabric.run(&["get", "-o", "yaml"]).await;
    assert!(!file.out.contains("PRIVATE KEY"), "{}", file.out);
    let diff = fabric
        .run_with(&["diff", "--prune", "-f", "-"], &file.out)
        .await;
    assert_eq!((diff.code, diff.out.as_str()), (0, ""), "{}", diff.err);
    // Another authority is a change, which is told by what certificates are known by.
    let other = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["other.example".to_owned()]).expect("a name");
    let other = params.self_signed(&other).expect("it signs itself").pem();
    let changed = self::blocks("connections.md", &other);
    let diff = fabric.run_with(&["diff", "-f", "-"], &changed[3]).await;
    let line = diff.out.lines().nth(1).unwrap_or_default();
    assert!(
        line.starts_with("    proxy.tls.client_certificates.authorities: "),
        "{}",
        diff.out
    );
    // Pools by name are told by name, and stay as long as they are used.
    let names = self::blocks("connections.md", &pem)[1]
        .replace("[\"*.example.org\"]", "[\"*.example.com\"]");
    let diff = fabric.run_with(&["diff", "-f", "-"], &names).await;
    for line in [
        "proxy.sni.routes.*.example.com: (none) -> web",
        "proxy.sni.routes.*.example.org: web -> (none)",
    ] {
        assert!(diff.out.contains(line), "{line}\n{}", diff.out);
    }
    let ran = fabric.run(&["delete", "pools/shop"]).await;
    assert!(
        ran.err.contains("`shop` is used by the services `by-name`"),
        "{ran:?}"
    );
    let wrong = names
        .replace("pool: shop", "pool: shp")
        .replace("www.example.org", "SHOP.example.org");
    let ran = fabric.run_with(&["apply", "-f", "-"], &wrong).await;
    for said in [
        "proxy.sni.routes[0].pool: there is no pool `shp`",
        "proxy.sni.routes[0].names[1]: `shop.example.org` stands in `routes[0].names[0]` already: name it once",
    ] {
        assert!(ran.err.contains(said), "{said}\n{}", ran.err);
    }
    // Mistakes are told by their places.
    let wrong = changed[3].replace("X-Client-Subject", "Connection");
    let ran = fabric.run_with(&["apply", "-f", "-"], &wrong).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.err
            .contains("proxy.tls.client_certificates.subject_field: `Connection` says something of the connection"),
        "{ran:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_block_about_bgp_applies_and_comes_back_without_its_secret() {
    let fabric = Fabric::start().await;
    fabric.apply(WEB).await;
    let blocks = blocks("bgp.md", "");
    assert_eq!(blocks.len(), 1);
    fabric.apply(&blocks[0]).await;
    let file = fabric.run(&["get", "-o", "yaml"]).await;
    assert!(file.out.contains("router_id: 192.0.2.1"), "{}", file.out);
    assert!(!file.out.contains("correct-horse"), "{}", file.out);
    let diff = fabric
        .run_with(&["diff", "--prune", "-f", "-"], &file.out)
        .await;
    assert_eq!((diff.code, diff.out.as_str()), (0, ""), "{}", diff.err);
    // Another secret is a change, and is not told.
    let changed = blocks[0].replace("correct-horse", "battery-staple");
    let diff = fabric.run_with(&["diff", "-f", "-"], &changed).await;
    let line = "bgp.neighbors.core.md5_password: a secret -> another secret";
    assert!(diff.out.contains(line), "{}", diff.out);
    let wrong = blocks[0].replace("asn: 65000", "asn: 23456");
    let ran = fabric.run_with(&["apply", "-f", "-"], &wrong).await;
    let said = "nodes[0].bgp.neighbors[0].asn: 23456 stands for others";
    assert!(ran.code == 2 && ran.err.contains(said), "{ran:?}");
}
