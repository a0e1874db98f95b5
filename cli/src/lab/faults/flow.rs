use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{anyhow, bail};

use crate::lab::case::Case;
use crate::lab::exchange::Exchange;
use crate::lab::interrupt::Interrupt;
use crate::lab::namespace::Namespace;
use crate::lab::traffic;

/// Requests of one kind before it is the next one's turn.
const BATCH: u32 = 4;
/// How long a phase's requests may take.
const PHASE_LIMIT: Duration = Duration::from_mins(1);

/// Requests of all kinds that go on without an agent in turn, one after the other, until it is stopped.
#[derive(Debug)]
pub(super) struct Flow {
    exchange: Arc<Mutex<Exchange>>,
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Flow {
    pub(super) fn start(client: Namespace, interrupt: Interrupt) -> Self {
        let exchange = Arc::new(Mutex::new(Exchange::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (total, stopped) = (Arc::clone(&exchange), Arc::clone(&stop));
        let sender = std::thread::spawn(move || {
            // Connections that end in an agent do not outlive it, and neither do its announcements.
            let outlives = |case: &Case| case.mode.is_packets() && !case.listening.is_transparent();
            let cases: Vec<_> = Case::all().into_iter().filter(outlives).collect();
            for case in cases.into_iter().cycle() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let sent = traffic::send(&client, case, BATCH, &interrupt)?;
                total
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(sent);
            }
            Ok(())
        });
        Self {
            exchange,
            stop,
            sender: Some(sender),
        }
    }

    /// Waits until so many more requests are answered.
    pub(super) fn answers_more(&self, requests: u32, interrupt: &Interrupt) -> anyhow::Result<()> {
        let (start, _) = self.so_far();
        interrupt.poll("traffic flows", PHASE_LIMIT, || {
            let (answered, failure) = self.so_far();
            match failure {
                Some(failure) => bail!("a request was lost: {failure}"),
                None if answered >= start + requests => Ok(Ok(())),
                None => Ok(Err(format!("{} answers", answered - start))),
            }
        })
    }

    /// Ends after the requests that are under way, and says what came of all of them.
    pub(super) fn stop(mut self) -> anyhow::Result<Exchange> {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(sender) = self.sender.take() {
            sender
                .join()
                .map_err(|panic| anyhow!("the sender of requests panicked: {panic:?}"))??;
        }
        Ok(std::mem::take(
            &mut *self.exchange.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }

    fn so_far(&self) -> (u32, Option<String>) {
        let exchange = self.exchange.lock().unwrap_or_else(PoisonError::into_inner);
        (exchange.answered(), exchange.failures.first().cloned())
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}
