use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    sync::oneshot,
    time::{sleep_until, timeout_at},
};

use super::{
    key::RequestKey,
    permit::Permit,
    pool::{Full, NoServer, Pool},
    shared::Grant,
};

/// How long one waits who was given room at a server that its own worker does not have yet, or no longer.
const PAUSE: Duration = Duration::from_millis(50);

/// What ends a wait.
enum Woken {
    Granted(Grant),
    Permitted(Permit),
    /// It is to wait for something else.
    Elsewhere,
}

impl Pool {
    /// Waits in the pool's queue for room at a server. If another configuration comes meanwhile, it is chosen by that.
    pub(super) async fn wait(
        self: &Rc<Self>,
        key: &RequestKey,
        full: Full,
    ) -> Result<Permit, NoServer> {
        let limits = &self.config().limits;
        let deadline = Instant::now() + limits.pending_timeout;
        let Full(mut wants) = full;
        loop {
            if let Some((pool, key)) = self.successor(key) {
                return Box::pin(pool.choose(&key)).await;
            }
            let id = wants.map(|server| self.servers()[server].shared.id());
            let joined = self.shared().join(id, self.part(), limits.pending);
            let (place, granted) = joined.ok_or(NoServer::QueueFull)?;
            let woken = self.woken(key, &mut wants, granted, deadline).await;
            drop(place);
            match woken? {
                Woken::Permitted(permit) => return Ok(permit),
                Woken::Granted(grant) => match self.permit(grant, key) {
                    Some(permit) => return Ok(permit),
                    None => sleep_until((Instant::now() + PAUSE).into()).await,
                },
                Woken::Elsewhere => {}
            }
        }
    }

    async fn woken(
        self: &Rc<Self>,
        key: &RequestKey,
        wants: &mut Option<usize>,
        mut granted: oneshot::Receiver<Grant>,
        deadline: Instant,
    ) -> Result<Woken, NoServer> {
        let retired = self.has_retired();
        tokio::pin!(retired);
        loop {
            // Before it looks, so that nothing happens in between.
            let ejected = self.shared().has_ejected();
            // There may have been room before it had its place, and there may be since somebody is back.
            match self.try_choose(key, Instant::now())? {
                Ok(permit) => return Ok(Woken::Permitted(permit)),
                Err(Full(other)) if other != *wants => {
                    *wants = other;
                    return Ok(Woken::Elsewhere);
                }
                Err(Full(_)) => {}
            }
            let change = self.next_change();
            let until = change.map_or(deadline, |change| change.min(deadline));
            let woken = async {
                tokio::select! {
                    biased;
                    () = &mut retired => Some(Woken::Elsewhere),
                    granted = &mut granted => granted.ok().map(Woken::Granted),
                    () = ejected => None,
                }
            };
            match timeout_at(until.into(), woken).await {
                Ok(Some(woken)) => return Ok(woken),
                Err(_late) if until == deadline => return Err(NoServer::WaitedTooLong),
                Ok(None) | Err(_) => {}
            }
        }
    }

    /// None if this worker does not have the server.
    fn permit(self: &Rc<Self>, grant: Grant, key: &RequestKey) -> Option<Permit> {
        let id = grant.id()?;
        let mut servers = self.servers().iter();
        let index = servers.position(|it| it.shared.id() == id)?;
        grant.take()?;
        Some(Permit::new(self, index, key, Instant::now()))
    }
}
