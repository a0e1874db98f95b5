//! Time limits of a worker's connections.
//!
//! A limit is set and lifted with each part of each message and hardly ever reached, so setting one is two stores: [`Wheel`] moves what has
//! got more time only when its old time has come. In return limits are coarse, up to two [`TICK`]s late and never early.

mod wheel;

use std::{
    cell::RefCell,
    marker::PhantomData,
    num::NonZeroU32,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::task;
use wheel::{NEVER, Wheel};

/// How fine the time of a worker's connections is.
pub(crate) const TICK: Duration = Duration::from_millis(50);

thread_local! {
    static CLOCK: RefCell<Clock> = RefCell::new(Clock {
        begun: Instant::now(),
        wheel: Wheel::new(),
        is_running: false,
    });
}

/// A connection's own: one thing at a time is waited for with it.
#[derive(Debug)]
pub(crate) struct Alarm {
    id: u32,
    /// It is known to the thread that it was made on alone.
    _here: PhantomData<Rc<()>>,
}

/// Something that is waited for within a time, see [`Alarm::within`].
///
/// It polls a function: a future that is passed to an `async` function is held there twice, and all of this is part of every connection.
#[derive(Debug)]
pub(crate) struct Within<'a, P> {
    alarm: &'a Alarm,
    /// In ticks.
    limit: u32,
    /// In ticks, once it has been waited.
    deadline: Option<NonZeroU32>,
    poll: P,
}

/// How long nothing may move. It costs nothing before something is waited for.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    /// While it is waited: until when, in ticks.
    waiting: Option<(Alarm, NonZeroU32)>,
}

/// The time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Late;

struct Clock {
    begun: Instant,
    wheel: Wheel,
    /// Whether the thread has a task that moves it on.
    is_running: bool,
}

// === impl Alarm ===

impl Alarm {
    pub(crate) fn new() -> Self {
        Self {
            id: CLOCK.with_borrow_mut(|clock| clock.wheel.insert()),
            _here: PhantomData,
        }
    }

    /// Waits for what is polled, but no longer than that.
    pub(crate) fn within<T, P>(&self, limit: Duration, poll: P) -> Within<'_, P>
    where
        P: FnMut(&mut Context<'_>) -> Poll<T> + Unpin,
    {
        Within {
            alarm: self,
            limit: ticks(limit),
            deadline: None,
            poll,
        }
    }
}

// === impl Within ===

impl<T, P: FnMut(&mut Context<'_>) -> Poll<T> + Unpin> Future for Within<'_, P> {
    type Output = Result<T, Late>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let polled = (this.poll)(context);
        if this.deadline.is_none() && polled.is_ready() {
            return polled.map(Ok);
        }
        CLOCK.with_borrow_mut(|clock| {
            let id = this.alarm.id;
            let deadline = *this.deadline.get_or_insert_with(|| clock.after(this.limit));
            match polled {
                Poll::Ready(output) => {
                    clock.wheel.disarm(id);
                    Poll::Ready(Ok(output))
                }
                Poll::Pending => clock.poll_late(id, deadline, context).map(Err),
            }
        })
    }
}

// === impl Patience ===

impl Patience {
    pub(crate) const fn new(limit: Duration) -> Self {
        Self {
            limit,
            waiting: None,
        }
    }

    /// Something has moved.
    pub(crate) fn renew(&mut self) {
        self.waiting = None;
    }

    /// Nothing moves: ready when that has been so for too long.
    pub(crate) fn poll_late(&mut self, context: &Context<'_>) -> Poll<Late> {
        let limit = ticks(self.limit);
        let (alarm, deadline) = self.waiting.get_or_insert_with(|| {
            let alarm = Alarm::new();
            let deadline = CLOCK.with_borrow_mut(|clock| clock.after(limit));
            (alarm, deadline)
        });
        CLOCK.with_borrow_mut(|clock| clock.poll_late(alarm.id, *deadline, context))
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // While a thread ends, there is no clock any more.
        let _gone = CLOCK.try_with(|clock| clock.borrow_mut().wheel.remove(self.id));
    }
}

// === impl Clock ===

impl Clock {
    /// The tick at which so many from now on are over for certain.
    fn after(&mut self, limit: u32) -> NonZeroU32 {
        if !self.is_running {
            self.is_running = true;
            // Nobody looks at what was due while it stood still: there was no alarm.
            let _none = self.wheel.advance(self.tick());
            task::spawn_local(run());
        }
        // Some of the tick that is now has passed.
        NonZeroU32::MIN.saturating_add(self.wheel.now().saturating_add(limit))
    }

    /// Ready at the deadline; until then the task is told of it.
    fn poll_late(&mut self, id: u32, deadline: NonZeroU32, context: &Context<'_>) -> Poll<Late> {
        if deadline.get() <= self.wheel.now() {
            self.wheel.disarm(id);
            return Poll::Ready(Late);
        }
        self.wheel.arm(id, deadline.get(), context.waker());
        Poll::Pending
    }

    fn tick(&self) -> u32 {
        let ticks = self.begun.elapsed().as_nanos() / TICK.as_nanos();
        u32::try_from(ticks).unwrap_or(NEVER)
    }
}

/// In ticks, rounded up.
fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(NEVER)
}

/// Moves a thread's clock on for as long as there are alarms.
async fn run() {
    struct Running;
    impl Drop for Running {
        fn drop(&mut self) {
            let _gone = CLOCK.try_with(|clock| clock.borrow_mut().is_running = false);
        }
    }
    let _running = Running;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let due = CLOCK.with_borrow_mut(|clock| {
            let now = clock.tick();
            (!clock.wheel.is_empty()).then(|| clock.wheel.advance(now))
        });
        let Some(due) = due else {
            return;
        };
        for waker in due {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T> + 'static) -> T
    where
        T: 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())
            .unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn what_takes_too_long_is_late() {
        block_on(async {
            let alarm = Alarm::new();
            let begun = Instant::now();
            let limit = Duration::from_millis(120);
            let late = alarm.within(limit, |_| Poll::<()>::Pending).await;
            assert_eq!(late, Err(Late));
            assert!(begun.elapsed() >= limit);
            assert_eq!(alarm.within(limit, |_| Poll::Ready(7)).await, Ok(7));
            let mut soon = Box::pin(tokio::time::sleep(Duration::from_millis(10)));
            let waited = alarm.within(limit, |context| soon.as_mut().poll(context));
            assert_eq!(waited.await, Ok(()));
        });
    }

    #[test]
    fn patience_begins_anew_with_everything_that_moves() {
        block_on(async {
            let limit = Duration::from_millis(120);
            let mut patience = Patience::new(limit);
            let begun = Instant::now();
            for _ in 0..3 {
                let mut soon = Box::pin(tokio::time::sleep(limit / 2));
                let moved = std::future::poll_fn(|context| match soon.as_mut().poll(context) {
                    Poll::Ready(()) => Poll::Ready(true),
                    Poll::Pending => patience.poll_late(context).map(|Late| false),
                });
                assert!(moved.await);
                patience.renew();
            }
            assert!(begun.elapsed() > limit);
            let begun = Instant::now();
            std::future::poll_fn(|context| patience.poll_late(context)).await;
            assert!(begun.elapsed() >= limit);
        });
    }

    /// On a thread that has had one before.
    #[test]
    fn another_runtime_has_a_clock_again() {
        for _ in 0..2 {
            block_on(async {
                let alarm = Alarm::new();
                let late = alarm.within(TICK, |_| Poll::<()>::Pending).await;
                assert_eq!(late, Err(Late));
            });
        }
    }
}
