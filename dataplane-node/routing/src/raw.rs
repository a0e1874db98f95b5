#![expect(unsafe_code, reason = "the kernel's calls that no crate wraps")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Sets an option of a socket whose value is so many bytes.
pub(crate) fn set_socket_option(
    socket: &impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &[u8],
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open while it is borrowed, and the kernel reads `length` bytes at the pointer, which are those of `value`.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            length,
        )
    };
    if outcome == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// Schedules the current thread before all others that have no such priority.
pub(crate) fn schedule_in_real_time(priority: i32) -> io::Result<()> {
    let parameters = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: the kernel only reads the parameters, which outlive the call; 0 is the calling thread.
    let outcome = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    if outcome == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}
