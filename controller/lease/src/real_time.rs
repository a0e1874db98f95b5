#![expect(unsafe_code, reason = "a kernel's call that no crate wraps")]

use std::io;

/// Above threads of no priority; the kernel's own are at 50.
const PRIORITY: libc::c_int = 10;

/// Schedules the current thread before all others that have no such priority.
pub(crate) fn schedule_in_real_time() -> io::Result<()> {
    let parameters = libc::sched_param {
        sched_priority: PRIORITY,
    };
    // SAFETY: the kernel only reads the parameters, which outlive the call; 0 is the calling thread.
    let outcome = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    if outcome == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}
