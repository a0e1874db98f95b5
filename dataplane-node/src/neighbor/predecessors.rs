//! Who has a VIP before the node does, in a planned move: the owner still answers when the next one is told to get ready, so that one asks
//! as any neighbor would. What the programs do with it: `predecessor.rs` of the eBPF side.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lbfabric_abi::NextHop;
use tracing::{info, warn};

use super::{
    LeasedVips, Mac, frames,
    socket::{AnswerSocket, FrameSocket},
};

/// An owner's program answers within microseconds: who has not after this does not.
const PATIENCE: Duration = Duration::from_millis(30);
/// A question, or its answer, may be lost.
const ASK_EVERY: Duration = Duration::from_millis(10);
/// A VIP that is not given to the node for so long may have had other owners meanwhile.
const FRESH: Duration = Duration::from_secs(10);
/// The answers are shorter.
const FRAME_MAX: usize = 256;

/// What is asked, and what is known.
pub(super) struct Predecessors {
    vips: Arc<LeasedVips>,
    socket: FrameSocket,
    answers: [AnswerSocket; 2],
    searches: BTreeMap<IpAddr, Search>,
}

#[derive(Debug, PartialEq, Eq)]
struct Search {
    begun: Instant,
    asked: Instant,
    found: Option<NextHop>,
}

impl Predecessors {
    /// Asks in the network namespace of this thread.
    pub(super) fn open(vips: Arc<LeasedVips>) -> io::Result<Self> {
        Ok(Self {
            vips,
            socket: FrameSocket::open()?,
            answers: [AnswerSocket::arp()?, AnswerSocket::discovery()?],
            searches: BTreeMap::new(),
        })
    }

    /// Begins to look for a VIP's owner.
    pub(super) fn ask(&mut self, vip: IpAddr, now: Instant) {
        self.searches.retain(|_, search| search.is_fresh(now));
        // What was said before this is of no use.
        self.listen();
        self.searches.insert(vip, Search::new(now));
        self.send(vip);
    }

    /// Whether the search is over, with whatever outcome.
    pub(super) fn is_settled(&mut self, vip: IpAddr, now: Instant) -> bool {
        self.listen();
        let Some(search) = self.searches.get_mut(&vip) else {
            return true;
        };
        if search.is_settled(now) {
            return true;
        }
        if search.is_due(now) {
            self.send(vip);
        }
        false
    }

    /// The way to the owner that was found lately. The node has the VIP now.
    pub(super) fn take(&mut self, vip: IpAddr, now: Instant) -> Option<NextHop> {
        let search = self.searches.remove(&vip);
        let found = search.filter(|it| it.is_fresh(now))?.found;
        if found.is_none() {
            info!(%vip, "nobody said to own the VIP before: connections whose sessions are elsewhere end");
        }
        found
    }

    fn send(&self, vip: IpAddr) {
        for (ifindex, mac) in self.vips.known_links() {
            if let Err(error) = self.socket.send(ifindex, &frames::question(vip, mac)) {
                warn!(%vip, ifindex, %error, "the VIP's owner could not be asked for");
            }
        }
    }

    /// Takes all answers that have come.
    fn listen(&mut self) {
        let links = self.vips.known_links();
        let mut buffer = [0; FRAME_MAX];
        for socket in &self.answers {
            loop {
                match socket.next(&mut buffer) {
                    Ok(Some((ifindex, frame))) => note(&mut self.searches, &links, ifindex, frame),
                    Ok(None) => break,
                    Err(error) => {
                        warn!(%error, "answers of a VIP's owner cannot be heard");
                        break;
                    }
                }
            }
        }
    }
}

impl Search {
    const fn new(now: Instant) -> Self {
        Self {
            begun: now,
            asked: now,
            found: None,
        }
    }

    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.begun) < FRESH
    }

    fn is_settled(&self, now: Instant) -> bool {
        self.found.is_some() || now.saturating_duration_since(self.begun) >= PATIENCE
    }

    /// Whether to ask again, which is noted.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now.saturating_duration_since(self.asked) >= ASK_EVERY;
        if is_due {
            self.asked = now;
        }
        is_due
    }
}

/// Takes an answer to what is looked for, from another host and through an interface that carries the programs. The first one counts.
fn note(
    searches: &mut BTreeMap<IpAddr, Search>,
    links: &BTreeMap<u32, Mac>,
    ifindex: u32,
    frame: &[u8],
) {
    let Some((vip, mac)) = frames::answer(frame) else {
        return;
    };
    let is_own = links.values().any(|own| *own == mac);
    if let Some(search) = searches.get_mut(&vip)
        && let Some(source_mac) = links.get(&ifindex)
        && search.found.is_none()
        && !is_own
    {
        info!(%vip, ifindex, "the VIP's owner is known");
        search.found = Some(NextHop {
            mac,
            source_mac: *source_mac,
            ifindex,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const OWN: Mac = [2, 0, 0, 0, 0, 1];
    const OTHER: Mac = [2, 0, 0, 0, 0, 2];
    const LINK: u32 = 7;

    fn vip() -> IpAddr {
        [192, 0, 2, 10].into()
    }

    /// An owner's reply of ARP, as its announcement is one.
    fn reply(vip: IpAddr, mac: Mac) -> Vec<u8> {
        frames::announcements(vip, mac).pop().unwrap()
    }

    fn found(ifindex: u32, frame: &[u8]) -> Option<NextHop> {
        let mut searches = BTreeMap::from([(vip(), Search::new(Instant::now()))]);
        let links = BTreeMap::from([(LINK, OWN)]);
        note(&mut searches, &links, ifindex, frame);
        searches[&vip()].found
    }

    #[test]
    fn another_hosts_answer_through_a_link_of_the_programs_counts() {
        let expected = NextHop {
            mac: OTHER,
            source_mac: OWN,
            ifindex: LINK,
        };
        assert_eq!(found(LINK, &reply(vip(), OTHER)), Some(expected));
        for (what, ifindex, frame) in [
            ("another link", LINK + 1, reply(vip(), OTHER)),
            ("the node itself", LINK, reply(vip(), OWN)),
            ("another VIP", LINK, reply([192, 0, 2, 11].into(), OTHER)),
            ("a group", LINK, reply(vip(), [3, 0, 0, 0, 0, 2])),
            ("nobody", LINK, reply(vip(), [0; 6])),
            ("a question", LINK, frames::question(vip(), OTHER)),
        ] {
            assert_eq!(found(ifindex, &frame), None, "{what}");
        }
    }

    #[test]
    fn it_is_asked_again_and_waited_for_briefly() {
        let begun = Instant::now();
        let mut search = Search::new(begun);
        let mut asked = Vec::new();
        for ms in 0..40 {
            let now = begun + ms * MS;
            if search.is_settled(now) {
                break;
            }
            if search.is_due(now) {
                asked.push(ms);
            }
        }
        assert_eq!(asked, [10, 20]);
        assert!(search.is_settled(begun + 30 * MS));
        assert!(search.is_fresh(begun + 9_999 * MS) && !search.is_fresh(begun + 10_000 * MS));
        search.found = Some(NextHop::default());
        assert!(search.is_settled(begun));
    }
}
