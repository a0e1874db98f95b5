use std::{fs, net::UdpSocket, os::unix::net::UnixDatagram, sync::mpsc, thread, time::Instant};

use super::*;
use crate::observe::record::tests::record;

fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "not so: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn lines_of_all_threads_are_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = Arc::new(AccessLog::start(Sink::File(path.clone())).unwrap());
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let log = log.clone();
            thread::spawn(move || {
                let log = log.of_this_thread();
                for _ in 0..500 {
                    log.put(LogFormat::Json, &record());
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    until("2,000 lines are written", || log.read().written == 2_000);
    assert_eq!((log.read().dropped, log.read().failed), (0, 0));
    let text = fs::read_to_string(&path).unwrap();
    let mut expected = Vec::new();
    write_json(&mut expected, &record());
    let expected = String::from_utf8(expected).unwrap();
    assert_eq!(text, expected.repeat(2_000));
    let begin = log.recent().last(record().service, 3);
    let last = log.recent().from(record().service, begin, usize::MAX);
    assert_eq!(last.lines, [expected.trim_end(); 3]);
    assert_eq!(last.next, 2_000);
}

#[test]
fn a_file_that_was_renamed_gets_no_more_once_the_log_is_reopened() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("log"), folder.path().join("log.1"));
    let log = AccessLog::start(Sink::File(path.clone())).unwrap();
    let lines = log.of_this_thread();
    lines.put(LogFormat::Combined, &record());
    until("it is written", || log.read().written == 1);
    fs::rename(&path, &old).unwrap();
    log.reopen();
    until("there is a file again", || path.exists());
    lines.put(LogFormat::Combined, &record());
    // The end writes what there is.
    drop(log);
    let [old, new] = [old, path].map(|it| fs::read_to_string(it).unwrap());
    assert_eq!(old, new);
    assert_eq!(new.lines().count(), 1);
}

#[test]
fn what_there_is_no_room_for_is_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    // Nobody reads it: writing stops when the pipe is full.
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let reader = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let log = AccessLog::start(Sink::File(path)).unwrap();
    // If the test fails, this goes first, and the reader with it: the log's end would wait for one.
    let (read, to_read) = mpsc::channel::<u64>();
    let drain = thread::spawn(move || {
        let mut reader = reader;
        let mut bytes = vec![0; 65_536];
        let mut lines = 0;
        let Ok(count) = to_read.recv() else {
            return lines;
        };
        while lines < count {
            let count = io::Read::read(&mut reader, &mut bytes).unwrap();
            lines += memchr::memchr_iter(b'\n', &bytes[..count]).count() as u64;
        }
        lines
    });
    let lines = log.of_this_thread();
    let begun = Instant::now();
    for _ in 0..50_000 {
        lines.put(LogFormat::Combined, &record());
    }
    assert!(
        begun.elapsed() < Duration::from_mins(1),
        "the worker has waited"
    );
    let LogReading {
        written, dropped, ..
    } = log.read();
    assert_eq!(written, 0);
    // One lot is stuck in the pipe, and both halves may wait: less than three times 1 MiB.
    assert!((20_000..50_000).contains(&dropped), "{dropped}");
    read.send(50_000 - dropped).unwrap();
    assert_eq!(drain.join().unwrap(), 50_000 - dropped);
    until("the rest is written", || {
        log.read().written == 50_000 - dropped
    });
}

#[test]
fn a_pipe_that_nobody_reads_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = AccessLog::start(Sink::File(path)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::ENXIO as i32));
}

#[test]
fn syslog_gets_a_message_for_each_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let unix = UnixDatagram::bind(&path).unwrap();
    unix.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut expected = b"<134>1 - - lbfabric - access - ".to_vec();
    write_combined(&mut expected, &record());
    expected.pop();
    for sink in [
        Sink::SyslogUnix(path),
        Sink::SyslogUdp(udp.local_addr().unwrap()),
    ] {
        let log = AccessLog::start(sink.clone()).unwrap();
        let lines = log.of_this_thread();
        lines.put(LogFormat::Combined, &record());
        lines.put(LogFormat::Combined, &record());
        for _ in 0..2 {
            let mut message = [0; 1000];
            let length = match &sink {
                Sink::SyslogUnix(_) => unix.recv(&mut message).unwrap(),
                Sink::SyslogUdp(_) => udp.recv(&mut message).unwrap(),
                Sink::Nowhere | Sink::Stdout | Sink::File(_) => unreachable!(),
            };
            assert_eq!(message[..length], expected);
        }
    }
}

#[test]
fn what_cannot_be_written_is_counted_with_its_reason() {
    let log = AccessLog::start(Sink::File("/dev/full".into())).unwrap();
    log.of_this_thread().put(LogFormat::Json, &record());
    until("it has failed", || log.read().failed == 1);
    assert_eq!(log.read().written, 0);
    let error = log.take_error().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(log.take_error().is_none());
    let missing = Sink::File("/nowhere/at/all".into());
    assert!(AccessLog::start(missing).is_err());
}
