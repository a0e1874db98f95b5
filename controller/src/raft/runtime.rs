use std::{
    io,
    sync::{Mutex, PoisonError},
};

use tokio::{runtime, task::JoinHandle};

const THREADS: usize = 2;

/// Raft's own threads, so that nothing that a request does can delay a heartbeat.
pub(crate) struct RaftRuntime {
    handle: runtime::Handle,
    owned: Mutex<Option<runtime::Runtime>>,
}

// === impl RaftRuntime ===

impl RaftRuntime {
    pub(crate) fn new() -> io::Result<Self> {
        let owned = runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("raft")
            .enable_all()
            .build()?;
        Ok(Self {
            handle: owned.handle().clone(),
            owned: Mutex::new(Some(owned)),
        })
    }

    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.handle.spawn(task)
    }

    /// Ends the threads without waiting for them.
    pub(crate) fn stop(&self) {
        let owned = self
            .owned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(runtime) = owned {
            runtime.shutdown_background();
        }
    }
}

impl Drop for RaftRuntime {
    fn drop(&mut self) {
        self.stop();
    }
}
