use std::{collections::BTreeMap, sync::Arc};

use lbfabric_proto::v1::{self, sync_request::Message};
use lbfabric_proxy::observe::AccessLog;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

/// Bytes of lines in one answer.
const ANSWER_BYTES: usize = 64 << 10;
/// Questions that are answered at the same time.
const FOLLOWERS_MAX: usize = 32;

/// Those who follow the access log over the stream to a controller, each by a task that waits for the stream and for nobody else.
#[derive(Debug)]
pub(crate) struct Followers {
    log: Arc<AccessLog>,
    tasks: JoinSet<()>,
    open: BTreeMap<u64, AbortHandle>,
}

impl Followers {
    pub(crate) fn new(log: Arc<AccessLog>) -> Self {
        Self {
            log,
            tasks: JoinSet::new(),
            open: BTreeMap::new(),
        }
    }

    /// Answers a question.
    pub(crate) fn follow(&mut self, query: v1::LogQuery, to: mpsc::Sender<v1::SyncRequest>) {
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|_, task| !task.is_finished());
        let id = query.id;
        let task = if self.open.len() < FOLLOWERS_MAX {
            self.tasks.spawn(answer(self.log.clone(), query, to))
        } else {
            let ends = lines(id, Vec::new(), 0, true);
            self.tasks.spawn(async move {
                // Who is gone needs no answer.
                let _gone = to.send(ends).await;
            })
        };
        if let Some(before) = self.open.insert(id, task) {
            before.abort();
        }
    }

    /// Nobody wants the answer any more.
    pub(crate) fn stop(&mut self, id: u64) {
        if let Some(task) = self.open.remove(&id) {
            task.abort();
        }
    }

    /// The stream has ended.
    pub(crate) fn stop_all(&mut self) {
        self.tasks.abort_all();
        self.open.clear();
    }
}

async fn answer(log: Arc<AccessLog>, query: v1::LogQuery, to: mpsc::Sender<v1::SyncRequest>) {
    let v1::LogQuery {
        id,
        service,
        last,
        follow,
    } = query;
    let mut news = log.recent().news();
    let mut next = log.recent().last(&service, last.into());
    loop {
        news.borrow_and_update();
        loop {
            let excerpt = log.recent().from(&service, next, ANSWER_BYTES);
            if excerpt.lines.is_empty() {
                break;
            }
            next = excerpt.next;
            let answer = lines(id, excerpt.lines, excerpt.lost, false);
            if to.send(answer).await.is_err() {
                return;
            }
        }
        if !follow {
            // Who is gone needs no answer.
            let _gone = to.send(lines(id, Vec::new(), 0, true)).await;
            return;
        }
        tokio::select! {
            changed = news.changed() => if changed.is_err() {
                return;
            },
            () = to.closed() => return,
        }
    }
}

fn lines(id: u64, lines: Vec<String>, lost: u64, ends: bool) -> v1::SyncRequest {
    v1::SyncRequest {
        message: Some(Message::LogLines(v1::LogLines {
            id,
            lines,
            lost,
            ends,
        })),
    }
}
