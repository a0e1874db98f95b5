use std::{
    cell::RefCell,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle, Thread},
    time::{Duration, Instant},
};

use super::{
    LogReading, Record,
    combined::write_combined,
    json::write_json,
    lines::{Lines, Put},
    recent::Recent,
    sink::{Open, Sink},
};

/// How long lines are gathered before they are written.
const GATHER: Duration = Duration::from_millis(50);
/// How long the end waits for what there is to be written: who reads a pipe may never go on.
const END_PATIENCE: Duration = Duration::from_secs(5);
const END_POLL: Duration = Duration::from_millis(1);
/// Bytes of an empty buffer that is kept; a larger one is given back.
const KEPT_BYTES: usize = 64 << 10;

/// Between the name of a service and its line, on the way to the writer: neither has it.
const BEHIND_SERVICE: u8 = 0;

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// An object of JSON.
    #[default]
    Json,
    /// Apache's combined format.
    Combined,
}

/// A log of requests, some of which may be of other services than others. Its lines are written by a thread of its own, all that have come in the meantime at once; it ends with this value,
/// after the last line.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

/// A thread's access to a log.
#[derive(Clone, Debug)]
pub(crate) struct LogOfThread {
    lines: Arc<Lines>,
    writer: Thread,
}

#[derive(Debug)]
struct Shared {
    /// Of all threads that have written any.
    lines: Mutex<Vec<Arc<Lines>>>,
    written: AtomicU64,
    failed: AtomicU64,
    /// By threads that are gone.
    dropped: AtomicU64,
    reopens: AtomicBool,
    ends: AtomicBool,
    last_error: Mutex<Option<io::Error>>,
    recent: Recent,
}

thread_local! {
    static OF_THIS_THREAD: RefCell<Vec<(Weak<Shared>, LogOfThread)>> = const { RefCell::new(Vec::new()) };
}

// === impl AccessLog ===

impl AccessLog {
    /// Opens the sink, which must work now.
    pub fn start(sink: Sink) -> io::Result<Self> {
        let open = sink.open()?;
        let shared = Arc::new(Shared {
            lines: Mutex::default(),
            written: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            reopens: AtomicBool::new(false),
            ends: AtomicBool::new(false),
            last_error: Mutex::default(),
            recent: Recent::default(),
        });
        let writer = Writer {
            shared: shared.clone(),
            sink,
            open,
            bytes: Vec::new(),
            plain: Vec::new(),
        };
        let writer = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(|| writer.run())?;
        Ok(Self {
            shared,
            writer: Some(writer),
        })
    }

    /// Lets the next lines go to a file newly opened under the same name, as the old one was renamed.
    pub fn reopen(&self) {
        self.shared.reopens.store(true, Ordering::Release);
        self.wake();
    }

    /// What became of lines so far.
    pub fn read(&self) -> LogReading {
        let lines = self.shared.lines();
        let dropped: u64 = lines.iter().map(|it| it.dropped()).sum();
        LogReading {
            written: self.shared.written.load(Ordering::Relaxed),
            dropped: dropped + self.shared.dropped.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
        }
    }

    /// The latest lines of each service.
    pub fn recent(&self) -> &Recent {
        &self.shared.recent
    }

    /// Why lines could not be written or the sink could not be opened, since this was asked last.
    pub fn take_error(&self) -> Option<io::Error> {
        self.shared.last_error().take()
    }

    pub(crate) fn of_this_thread(&self) -> LogOfThread {
        OF_THIS_THREAD.with_borrow_mut(|logs| {
            logs.retain(|(shared, _)| shared.strong_count() > 0);
            let is_this = |shared: &Weak<Shared>| shared.as_ptr() == Arc::as_ptr(&self.shared);
            if let Some((_, log)) = logs.iter().find(|(shared, _)| is_this(shared)) {
                return log.clone();
            }
            let log = LogOfThread {
                lines: Arc::default(),
                writer: self.writer().clone(),
            };
            self.shared.lines().push(log.lines.clone());
            logs.push((Arc::downgrade(&self.shared), log.clone()));
            log
        })
    }

    fn writer(&self) -> &Thread {
        let writer = self.writer.as_ref().expect("it is there until the drop");
        writer.thread()
    }

    fn wake(&self) {
        self.writer().unpark();
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Release);
        self.wake();
        let Some(writer) = self.writer.take() else {
            return;
        };
        let begun = Instant::now();
        while !writer.is_finished() && begun.elapsed() < END_PATIENCE {
            thread::sleep(END_POLL);
        }
        if writer.is_finished() {
            // If it has panicked, that was told.
            let _ended = writer.join();
        }
    }
}

// === impl LogOfThread ===

impl LogOfThread {
    /// Puts a line, unless there is no room for it. On this thread only.
    pub(crate) fn put(&self, format: LogFormat, record: &Record<'_>) {
        let put = self.lines.put(|out| {
            out.extend_from_slice(record.service.as_bytes());
            out.push(BEHIND_SERVICE);
            match format {
                LogFormat::Json => write_json(out, record),
                LogFormat::Combined => write_combined(out, record),
            }
        });
        match put {
            Put::Tell => self.writer.unpark(),
            Put::Known | Put::Dropped => {}
        }
    }
}

// === impl Shared ===

impl Shared {
    fn lines(&self) -> MutexGuard<'_, Vec<Arc<Lines>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_error(&self) -> MutexGuard<'_, Option<io::Error>> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    sink: Sink,
    open: Open,
    /// Empty, to be swapped for a full one.
    bytes: Vec<u8>,
    /// The same lines without the names of their services.
    plain: Vec<u8>,
}

impl Writer {
    fn run(mut self) {
        loop {
            thread::park();
            if !self.shared.ends.load(Ordering::Acquire) {
                // Woken before its end by much to write, or by the end.
                thread::park_timeout(GATHER);
            }
            let ends = self.shared.ends.load(Ordering::Acquire);
            // What has come before still belongs to the old one.
            self.write_all();
            if self.shared.reopens.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            if ends {
                return;
            }
        }
    }

    fn reopen(&mut self) {
        match self.sink.open() {
            Ok(open) => self.open = open,
            Err(error) => *self.shared.last_error() = Some(error),
        }
    }

    fn write_all(&mut self) {
        let all: Vec<_> = self.shared.lines().clone();
        // Ours and the list's: the thread is gone, and no line can come behind those that are taken now.
        let is_gone: Vec<_> = all.iter().map(|it| Arc::strong_count(it) == 2).collect();
        for lines in &all {
            for half in 0..2 {
                let count = lines.take(half, &mut self.bytes);
                if count > 0 {
                    self.write(count);
                }
                self.bytes.clear();
                self.bytes.shrink_to(KEPT_BYTES);
                self.plain.shrink_to(KEPT_BYTES);
            }
        }
        for (gone, _) in all.iter().zip(is_gone).filter(|(_, is_gone)| *is_gone) {
            let mut listed = self.shared.lines();
            listed.retain(|it| !Arc::ptr_eq(it, gone));
            self.shared
                .dropped
                .fetch_add(gone.dropped(), Ordering::Relaxed);
        }
    }

    fn write(&mut self, lines: u64) {
        self.plain.clear();
        let all = self.bytes.split_inclusive(|byte| *byte == b'\n');
        let of_services = all.filter_map(|line| {
            let at = memchr::memchr(BEHIND_SERVICE, line)?;
            let service = std::str::from_utf8(&line[..at]).ok()?;
            let line = &line[at + 1..];
            self.plain.extend_from_slice(line);
            Some((service, line))
        });
        self.shared.recent.keep(of_services);
        let failed = match self.open.write(&self.plain, lines) {
            Ok(()) => 0,
            Err((failed, error)) => {
                // A daemon may have been started anew.
                self.reopen();
                *self.shared.last_error() = Some(error);
                failed
            }
        };
        self.shared
            .written
            .fetch_add(lines - failed, Ordering::Relaxed);
        self.shared.failed.fetch_add(failed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
