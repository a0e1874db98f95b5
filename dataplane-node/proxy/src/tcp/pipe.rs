use std::{
    cell::RefCell,
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice},
    unistd::pipe2,
};

/// Bytes that a pipe has room for, if each of its pages is full.
const PIPE_BYTES: i32 = 1 << 20;
/// A smaller one is worse than a buffer.
const PIPE_BYTES_MIN: i32 = 64 << 10;
/// Bytes that are asked for at once. A place in a pipe may hold more than a page, so a pipe may hold more than its size.
const AT_ONCE: usize = 4 << 20;
/// Pipes that each worker keeps for the next one who needs one.
const KEPT: usize = 64;

thread_local! {
    static POOL: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
}

/// Bytes on their way from one socket to another, which never come into this process. A connection without any has none of these.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// There until it is dropped.
    ends: Option<Ends>,
    held: usize,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

// === impl Pipe ===

impl Pipe {
    /// An empty one, from the worker's pool if that has any. None if there are no descriptors left, or the pages that a user's pipes may
    /// have (`pipe(7)`, `pipe-user-pages-soft`) are used up.
    pub(crate) fn take() -> Option<Self> {
        let kept = POOL.with_borrow_mut(Vec::pop);
        Some(Self {
            ends: Some(kept.or_else(Ends::new)?),
            held: 0,
        })
    }

    /// Bytes that are in it.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// Moves what a socket has into it, while it is empty; 0 at the end of the stream, and an error if there is nothing.
    pub(crate) fn fill(&mut self, from: impl AsFd) -> io::Result<usize> {
        debug_assert_eq!(
            self.held, 0,
            "or a full pipe would look like an empty socket"
        );
        let count = self.ends().splice_in(from)?;
        self.held = count;
        Ok(count)
    }

    /// Moves what is in it into a socket, as much as that takes.
    pub(crate) fn drain(&mut self, to: impl AsFd) -> io::Result<usize> {
        let count = self.ends().splice_out(to, self.held)?;
        self.held -= count;
        Ok(count)
    }

    fn ends(&self) -> &Ends {
        self.ends.as_ref().expect("it is there until the drop")
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take().filter(|_| self.held == 0) else {
            // What nobody will get goes with the pipe.
            return;
        };
        // While a thread ends, there is no pool any more.
        let _kept = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < KEPT {
                pool.push(ends);
            }
        });
    }
}

// === impl Ends ===

impl Ends {
    fn new() -> Option<Self> {
        let (read, write) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).ok()?;
        let mut size = PIPE_BYTES;
        while fcntl(&write, FcntlArg::F_SETPIPE_SZ(size)).is_err() {
            size /= 2;
            if size < PIPE_BYTES_MIN {
                return None;
            }
        }
        Some(Self { read, write })
    }

    fn splice_in(&self, from: impl AsFd) -> io::Result<usize> {
        let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
        Ok(splice(from, None, &self.write, None, AT_ONCE, flags)?)
    }

    fn splice_out(&self, to: impl AsFd, count: usize) -> io::Result<usize> {
        let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
        Ok(splice(&self.read, None, to, None, count, flags)?)
    }
}
