use std::process::Command;

/// What curl prints.
pub(crate) fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20"])
        .args(arguments)
        .output()
        .expect("curl is installed");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The status alone.
pub(crate) fn status(arguments: &[&str]) -> String {
    let alone = ["--output", "/dev/null", "--write-out", "%{http_code}"];
    curl(&[&alone[..], arguments].concat())
}
