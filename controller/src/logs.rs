//! Lines of access logs: from any member, by way of the members that nodes are connected to, through the nodes' streams.
//!
//! ```text
//!  FabricService.Logs ─► logs ─┬─────────────── here ────────────► Feed ◄─ LogQueries ◄── LogLines ── node
//!                              └─ PeerService.Logs ─► logs_here ──┘            └── FollowLog, StopLog ──►
//! ```
//!
//! A node's stream never waits for who reads: what finds no room is counted, and told with the next lines.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::BoxStream};
use lbfabric_proto::v1::{self, sync_response::Message};
use tokio::{sync::mpsc, task::JoinSet, time};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    cluster::Cluster,
    node_registry::{NodeRegistry, SessionId},
};

/// Answers of one node that wait for their reader.
const WAITING_MAX: usize = 16;
/// Questions and their ends that wait to be sent to one node.
const OUTBOUND_MAX: usize = 64;
/// Readers of one node.
const READERS_MAX: usize = 32;
/// How long nodes may take that are asked for what they have.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often is looked for nodes and members that have come.
const LOOK: Duration = Duration::from_secs(1);

/// The questions for lines to one node on one stream.
pub(crate) struct LogQueries {
    outbound: mpsc::Sender<Message>,
    open: BTreeMap<u64, Reader>,
    last_id: u64,
}

/// Who reads the answers to a question.
struct Reader {
    to: mpsc::Sender<v1::LogLines>,
    /// Lines that found no room.
    lost: u64,
}

/// The answers to a question, which ends with this.
pub(crate) struct Feed {
    lines: mpsc::Receiver<v1::LogLines>,
    session: SessionId,
    id: u64,
    registry: Arc<NodeRegistry>,
}

// === impl LogQueries ===

impl LogQueries {
    /// None so far, and the end that they are sent from.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Message>) {
        let (outbound, waiting) = mpsc::channel(OUTBOUND_MAX);
        let queries = Self {
            outbound,
            open: BTreeMap::new(),
            last_id: 0,
        };
        (queries, waiting)
    }

    /// Asks for lines. None if too many do, or the node is gone.
    pub(crate) fn ask(
        &mut self,
        request: &v1::LogsRequest,
    ) -> Option<(u64, mpsc::Receiver<v1::LogLines>)> {
        if self.open.len() >= READERS_MAX {
            return None;
        }
        self.last_id += 1;
        let query = v1::LogQuery {
            id: self.last_id,
            service: request.service.clone(),
            last: request.last,
            follow: request.follow,
        };
        self.outbound.try_send(Message::FollowLog(query)).ok()?;
        let (to, lines) = mpsc::channel(WAITING_MAX);
        self.open.insert(self.last_id, Reader { to, lost: 0 });
        Some((self.last_id, lines))
    }

    /// Hands lines to whoever has asked for them.
    pub(crate) fn take(&mut self, mut lines: v1::LogLines) {
        let Some(reader) = self.open.get_mut(&lines.id) else {
            return;
        };
        lines.lost += reader.lost;
        let lost = lines.lost + lines.lines.len() as u64;
        let (id, ends) = (lines.id, lines.ends);
        reader.lost = match reader.to.try_send(lines) {
            Ok(()) => 0,
            // Who is gone says so with the feed's end.
            Err(_) => lost,
        };
        if ends {
            self.open.remove(&id);
        }
    }

    /// Nobody reads the answers any more.
    fn stop(&mut self, id: u64) {
        if self.open.remove(&id).is_some() {
            // A node that takes no word goes on in vain until its stream ends.
            drop(self.outbound.try_send(Message::StopLog(id)));
        }
    }

    /// Tells all who read that no more comes.
    pub(crate) fn abandon(&mut self) {
        self.open.clear();
    }
}

// === impl Feed ===

impl Feed {
    /// Asks a node whose stream ends here.
    fn open(
        registry: &Arc<NodeRegistry>,
        session: &SessionId,
        request: &v1::LogsRequest,
    ) -> Option<Self> {
        let (id, lines) = registry.log_queries(session, |queries| queries.ask(request))??;
        Some(Self {
            lines,
            session: session.clone(),
            id,
            registry: registry.clone(),
        })
    }

    /// Gives what comes on until its end.
    async fn give(mut self, to: mpsc::Sender<Result<v1::LogsResponse, Status>>) {
        while let Some(lines) = self.lines.recv().await {
            let v1::LogLines {
                id: _,
                lines,
                lost,
                ends,
            } = lines;
            let response = v1::LogsResponse {
                node: self.session.node.clone(),
                lines,
                lost,
            };
            let says_something = !response.lines.is_empty() || lost > 0;
            if says_something && to.send(Ok(response)).await.is_err() || ends {
                return;
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let id = self.id;
        self.registry
            .log_queries(&self.session, |queries| queries.stop(id));
    }
}

/// Lines of all nodes, whichever members they are connected to.
pub(crate) fn logs(
    cluster: &Cluster,
    registry: &Arc<NodeRegistry>,
    request: &v1::LogsRequest,
    stopping: CancellationToken,
) -> BoxStream<'static, Result<v1::LogsResponse, Status>> {
    let (to, lines) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    tasks.spawn(of_nodes(registry.clone(), request.clone(), to.clone()));
    for (_, mut peer) in cluster.peers() {
        let (mut request, to) = (request.clone(), to.clone());
        tasks.spawn(async move {
            loop {
                if let Ok(answer) = peer.logs(request.clone()).await {
                    let mut answer = answer.into_inner();
                    while let Ok(Some(lines)) = answer.message().await {
                        if to.send(Ok(lines)).await.is_err() {
                            return;
                        }
                    }
                }
                if !request.follow {
                    return;
                }
                // What it had before is known, or was another time's.
                request.last = 0;
                tokio::select! {
                    () = time::sleep(LOOK) => {}
                    () = to.closed() => return,
                }
            }
        });
    }
    drop(to);
    until_stopped(lines, tasks, stopping)
}

/// Lines of the nodes that are connected to this member.
pub(crate) fn logs_here(
    registry: &Arc<NodeRegistry>,
    request: v1::LogsRequest,
    stopping: CancellationToken,
) -> BoxStream<'static, Result<v1::LogsResponse, Status>> {
    let (to, lines) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    tasks.spawn(of_nodes(registry.clone(), request, to));
    until_stopped(lines, tasks, stopping)
}

/// The tasks end with the stream.
fn until_stopped(
    lines: mpsc::Receiver<Result<v1::LogsResponse, Status>>,
    tasks: JoinSet<()>,
    stopping: CancellationToken,
) -> BoxStream<'static, Result<v1::LogsResponse, Status>> {
    let lines = ReceiverStream::new(lines).map(move |it| {
        let _lives_as_long = &tasks;
        it
    });
    Box::pin(lines.take_until(stopping.cancelled_owned()))
}

/// Asks every node that is connected here, and those that come while somebody follows.
async fn of_nodes(
    registry: Arc<NodeRegistry>,
    mut request: v1::LogsRequest,
    to: mpsc::Sender<Result<v1::LogsResponse, Status>>,
) {
    let mut feeds = JoinSet::new();
    let mut followed: Vec<SessionId> = Vec::new();
    loop {
        let sessions = registry.log_sessions();
        for session in &sessions {
            if !followed.contains(session)
                && let Some(feed) = Feed::open(&registry, session, &request)
            {
                feeds.spawn(feed.give(to.clone()));
            }
        }
        followed = sessions;
        if !request.follow {
            // Who does not answer has nothing to say.
            let answers = async { while feeds.join_next().await.is_some() {} };
            let _late = time::timeout(ANSWER_TIMEOUT, answers).await;
            return;
        }
        // What a node that comes has from before is not news.
        request.last = 0;
        while feeds.try_join_next().is_some() {}
        tokio::select! {
            () = time::sleep(LOOK) => {}
            () = to.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> v1::LogsRequest {
        v1::LogsRequest {
            service: "web".to_owned(),
            last: 3,
            follow: true,
        }
    }

    fn lines(id: u64, count: usize) -> v1::LogLines {
        v1::LogLines {
            id,
            lines: vec!["line".to_owned(); count],
            ..v1::LogLines::default()
        }
    }

    #[test]
    fn who_reads_too_slowly_loses_lines_and_nobody_waits() {
        let (mut queries, mut outbound) = LogQueries::new();
        let (id, mut slow) = queries.ask(&request()).unwrap();
        let (other, mut quick) = queries.ask(&request()).unwrap();
        let asked = outbound.try_recv().unwrap();
        assert!(matches!(asked, Message::FollowLog(it) if it.id == id && it.last == 3));
        for _ in 0..WAITING_MAX + 2 {
            queries.take(lines(id, 10));
            queries.take(lines(other, 10));
            assert_eq!(quick.try_recv().unwrap().lost, 0);
        }
        for _ in 0..WAITING_MAX {
            assert_eq!(slow.try_recv().unwrap().lost, 0);
        }
        queries.take(lines(id, 1));
        // What the node itself has lost is added.
        let late = slow.try_recv().unwrap();
        assert_eq!((late.lost, late.lines.len()), (20, 1));
        queries.take(v1::LogLines {
            lost: 7,
            ..lines(id, 1)
        });
        assert_eq!(slow.try_recv().unwrap().lost, 7);
        queries.take(v1::LogLines {
            ends: true,
            ..lines(id, 0)
        });
        assert!(slow.try_recv().unwrap().ends);
        assert!(!queries.open.contains_key(&id));
        // What nobody asked for is nobody's.
        queries.take(lines(77, 1));
    }

    #[test]
    fn the_node_is_told_when_nobody_reads_any_more() {
        let (mut queries, mut outbound) = LogQueries::new();
        let (id, reader) = queries.ask(&request()).unwrap();
        outbound.try_recv().unwrap();
        drop(reader);
        queries.stop(id);
        queries.stop(id);
        assert!(matches!(outbound.try_recv(), Ok(Message::StopLog(it)) if it == id));
        assert!(outbound.try_recv().is_err());
    }

    #[test]
    fn there_are_so_many_readers_of_a_node() {
        let (mut queries, mut outbound) = LogQueries::new();
        let mut readers: Vec<_> = (0..READERS_MAX)
            .map(|_| queries.ask(&request()).unwrap())
            .collect();
        while outbound.try_recv().is_ok() {}
        assert!(queries.ask(&request()).is_none());
        let (id, _) = readers.remove(0);
        queries.stop(id);
        assert!(queries.ask(&request()).is_some());
        queries.abandon();
        assert!(readers[0].1.try_recv().is_err());
    }
}
