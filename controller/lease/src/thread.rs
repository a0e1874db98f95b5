use std::{io, thread::JoinHandle};

use tokio::runtime;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::real_time::schedule_in_real_time;

/// A thread that leases run on and nothing else, so that nothing can make a renewal late. It ends when this is dropped.
#[derive(Debug)]
pub struct LeaseThread {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

// === impl LeaseThread ===

impl LeaseThread {
    /// Starts it, in the network namespace of the current thread. What runs there is to end when the token is cancelled, or when it likes.
    pub fn start<W, F>(work: W) -> io::Result<Self>
    where
        W: FnOnce(CancellationToken) -> F + Send + 'static,
        F: Future<Output = ()>,
    {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("leases".to_owned())
            .spawn(move || {
                match schedule_in_real_time() {
                    Ok(()) => info!("leases are kept at real-time priority"),
                    Err(error) => warn!(
                        %error,
                        "leases are kept without real-time priority: some may be lost while processors are busy"
                    ),
                }
                runtime.block_on(work(stopped));
                // A name may still be looked up.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for LeaseThread {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // It has said why it panicked.
            drop(thread.join());
        }
    }
}
