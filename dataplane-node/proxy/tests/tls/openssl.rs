use std::{
    io::Write as _,
    net::SocketAddr,
    process::{Command, Stdio},
};

/// What `openssl s_client` says, after it has sent a request that ends the connection.
pub(crate) fn s_client(engine: SocketAddr, arguments: &[&str]) -> String {
    let mut process = Command::new("timeout")
        .args(["20", "openssl", "s_client", "-ign_eof", "-connect"])
        .arg(engine.to_string())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("timeout is installed");
    let mut input = process.stdin.take().unwrap();
    // One that is refused is gone already.
    let _refused = input.write_all(b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let output = process.wait_with_output().unwrap();
    assert!(
        !matches!(output.status.code(), Some(124..)),
        "openssl is not installed, or it hangs: {output:?}"
    );
    drop(input);
    let both = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}
