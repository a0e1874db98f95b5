//! `lbfabric cert`, with certificates that the test makes.

use rcgen::{CertificateParams, KeyPair};

use crate::fabric::Fabric;

/// Writes a certificate for these names and its key, and gives both paths as arguments.
fn files(fabric: &Fabric, file: &str, names: &[&str]) -> [String; 4] {
    let key = KeyPair::generate().expect("a key");
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let params = CertificateParams::new(names).expect("names");
    let chain = params.self_signed(&key).expect("it signs itself").pem();
    let path = |kind: &str, text: &str| {
        let path = fabric.file(&format!("{file}.{kind}"), text);
        path.to_str().expect("a plain path").to_owned()
    };
    [
        "--chain".to_owned(),
        path("pem", &chain),
        "--key".to_owned(),
        path("key", &key.serialize_pem()),
    ]
}

/// `lbfabric cert COMMAND NAME` with files.
async fn cert(fabric: &Fabric, command: &[&str], files: &[String]) -> crate::fabric::Ran {
    let mut args = vec!["cert"];
    args.extend(command);
    args.extend(files.iter().map(String::as_str));
    fabric.run(&args).await
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_imported_listed_and_rotated() {
    let fabric = Fabric::start().await;
    let first = files(&fabric, "first", &["www.example.com", "192.0.2.7"]);
    let ran = cert(&fabric, &["import", "web"], &first).await;
    assert_eq!(
        (ran.code, ran.out.lines().next()),
        (0, Some("+ certificate/web")),
        "{ran:?}"
    );
    let ran = cert(&fabric, &["import", "web"], &first).await;
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(
        ran.err.contains("use `lbfabric cert rotate web`"),
        "{ran:?}"
    );

    let ran = fabric.run(&["cert", "list"]).await;
    let row = ran.out.lines().nth(1).expect("a row");
    assert!(
        row.starts_with("web   www.example.com,192.0.2.7  ECDSA P-256"),
        "{row}"
    );
    let listed = fabric.json(&["cert", "list", "-o", "json"]).await;
    let before = listed["objects"][0]["certificate_status"]["fingerprint"].clone();

    // What is read has no key, and changes nothing where it is applied.
    let read = fabric.run(&["get", "-o", "yaml"]).await.out;
    assert!(
        read.contains("BEGIN CERTIFICATE") && !read.contains("PRIVATE"),
        "{read}"
    );
    let ran = fabric.run_with(&["diff", "-f", "-"], &read).await;
    assert_eq!(ran.code, 0, "{ran:?}");

    let other = files(&fabric, "other", &["www.example.com"]);
    let ran = cert(&fabric, &["rotate", "web"], &other).await;
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("not for 192.0.2.7"), "{ran:?}");
    let ran = cert(&fabric, &["rotate", "web", "--other-names"], &other).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("~ certificate/web"), "{ran:?}");
    let listed = fabric.json(&["cert", "list", "-o", "json"]).await;
    assert_ne!(
        before,
        listed["objects"][0]["certificate_status"]["fingerprint"]
    );

    assert_eq!(cert(&fabric, &["rotate", "api"], &first).await.code, 3);
    assert_eq!(fabric.run(&["delete", "certificate/web"]).await.code, 0);
    let ran = fabric.run(&["cert", "list"]).await;
    assert_eq!(ran.err, "no certificates\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_certificate_is_told_without_its_key() {
    let fabric = Fabric::start().await;
    let [_, chain, _, key] = files(&fabric, "one", &["www.example.com"]);
    let [_, _, _, others] = files(&fabric, "two", &["www.example.com"]);
    let secret = std::fs::read_to_string(&key).expect("it was written");
    let secret = secret.lines().nth(1).expect("a line of the key");
    for (chain, key, told) in [
        (
            &chain,
            &others,
            "certificates[0].key: it is another certificate's",
        ),
        (
            &key,
            &key,
            "certificates[0].chain: a private key stands in it",
        ),
        (&chain, &chain, "certificates[0].key: no private key in PEM"),
    ] {
        let ran = fabric
            .run(&["cert", "import", "web", "--chain", chain, "--key", key])
            .await;
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains(told), "{ran:?}");
        assert!(!ran.err.contains(secret), "{ran:?}");
    }
    let ran = fabric
        .run(&["cert", "import", "web", "--chain", &chain])
        .await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("certificates[0].key: required"), "{ran:?}");
    let ran = fabric
        .run(&["cert", "import", "web", "--chain", "/nonexistent"])
        .await;
    assert!(
        ran.code != 0 && ran.err.contains("/nonexistent cannot be read"),
        "{ran:?}"
    );
    assert_eq!(fabric.run(&["cert", "list"]).await.err, "no certificates\n");
}
