//! What a member makes of a data directory that is not as it should be.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/members.rs"]
mod members;

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use lbfabric_proto::v1;
use members::{Members, apply_request, eventually, pool, pool_names, timed};

/// A lone member that nobody talks to.
fn lone_member(id: u64, data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lbfabric-controller"));
    command
        .args(["--id", &id.to_string(), "--listen", "127.0.0.1:0"])
        .args(["--member", &format!("{id}=127.0.0.1:1")])
        .arg("--data-dir")
        .arg(data_dir);
    command
}

/// What a member that must fail says.
fn refusal(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn directory_in_use_is_refused() {
    let members = Members::start(1);
    members.ready(1).await;
    let said = refusal(lone_member(1, &members.data_dir(1)));
    assert!(said.contains("is in use by another process"), "{said}");
}

#[tokio::test]
async fn directory_of_another_member_is_refused() {
    let mut members = Members::start(1);
    members.ready(1).await;
    members.kill(1);
    let said = refusal(lone_member(2, &members.data_dir(1)));
    assert!(
        said.contains("belongs to member 1, not to member 2"),
        "{said}"
    );
}

#[test]
fn directory_that_cannot_be_made_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let said = refusal(lone_member(1, &file.join("data")));
    assert!(said.contains("cannot use the data directory"), "{said}");
    assert!(said.contains("Not a directory"), "{said}");
}

#[test]
fn open_network_without_encryption_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lbfabric-controller"));
    command
        .args([
            "--id",
            "1",
            "--listen",
            "0.0.0.0:0",
            "--member",
            "1=127.0.0.1:1",
        ])
        .arg("--data-dir")
        .arg(folder.path());
    let said = refusal(command);
    assert!(said.contains("without encryption"), "{said}");
}

fn snapshots(members: &Members) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(members.data_dir(1).join("snapshots"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "snapshot")
        })
        .collect();
    files.sort_unstable();
    files
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

/// A stopped member with 40 pools and two snapshots.
async fn member_with_snapshots() -> Members {
    let mut members = Members::start_with(1, 5);
    members.ready(1).await;
    for i in 0..40 {
        let request = apply_request(vec![pool(&format!("p{i}"), "10.0.0.1")], Vec::new());
        members.fabric(1).apply(timed(request)).await.unwrap();
    }
    eventually("two snapshots", async || {
        (snapshots(&members).len() == 2).then_some(())
    })
    .await;
    assert!(members.stop(1).success());
    members
}

/// Private keys are in them.
#[tokio::test]
async fn nobody_else_reads_the_state() {
    let members = member_with_snapshots().await;
    let log = members.data_dir(1).join("raft.redb");
    for path in snapshots(&members).iter().chain([&log]) {
        let mode = fs::metadata(path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn damaged_snapshot_gives_way_to_the_one_before_and_the_log() {
    let mut members = member_with_snapshots().await;
    damage(snapshots(&members).last().unwrap());
    members.run(1);
    members.ready(1).await;
    assert_eq!(pool_names(&mut members.fabric(1)).await.len(), 40);
}

#[tokio::test]
async fn loss_of_every_snapshot_is_said_and_not_made_up_for() {
    let members = member_with_snapshots().await;
    for path in snapshots(&members) {
        damage(&path);
    }
    let said = refusal(lone_member(1, &members.data_dir(1)));
    assert!(
        said.contains("is damaged, and the log begins after entry"),
        "{said}"
    );
    assert!(
        said.contains("start this member with an empty one"),
        "{said}"
    );
}

#[tokio::test]
async fn full_disk_ends_the_member_and_loses_nothing() {
    let mut members = Members::start(1);
    members.ready(1).await;
    members.kill(1);
    // A limit on the size of files fails writes as a full disk does.
    let limited = members.command(1);
    let mut command = Command::new("bash");
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 6000; exec \"$0\" \"$@\""])
        .arg(limited.get_program())
        .args(limited.get_args())
        .stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    members.ready(1).await;

    let mut acknowledged = 0;
    for i in 0..100_000 {
        let mut request = apply_request(vec![large_pool(i)], Vec::new());
        request.prune = true;
        match members.fabric(1).apply(timed(request)).await {
            Ok(_) => acknowledged = i,
            Err(_) => break,
        }
    }
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("writing the Raft log"), "{said}");
    assert!(said.contains("File too large"), "{said}");

    members.run(1);
    members.ready(1).await;
    let names = pool_names(&mut members.fabric(1)).await;
    let newest = format!("p{acknowledged}");
    let unknown = format!("p{}", acknowledged + 1);
    assert!(
        names == [newest.as_str()] || names == [unknown.as_str()],
        "{names:?} after {newest}"
    );
}

fn large_pool(i: u32) -> v1::PoolSpec {
    let backends = (0..500_u32).map(|b| v1::BackendSpec {
        name: format!("a-server-with-quite-a-long-name-{b}"),
        addresses: vec![format!("10.1.{}.{}", b / 250, b % 250 + 1)],
        ..v1::BackendSpec::default()
    });
    v1::PoolSpec {
        name: format!("p{i}"),
        backends: backends.collect(),
        max_backends: 512,
        ..v1::PoolSpec::default()
    }
}
