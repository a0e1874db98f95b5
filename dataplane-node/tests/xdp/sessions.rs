//! Full NAT's sessions as the maps hold them, and what a test does to them.

use lbfabric_abi::{
    Address, SESSION_WAYS, Session, SessionLife, SessionLine, SessionRecord, SessionState,
    SessionTick, SessionWord,
};

use super::{fabric::Fabric, packets::Packet};

/// All sessions with their index.
fn numbered(fabric: &mut Fabric) -> Vec<(u32, Session)> {
    let map = fabric.kernel.array::<Session>("SESSIONS");
    (0..map.len())
        .map(|index| (index, map.get(&index, 0).unwrap()))
        .filter(|(_, it)| it.life.state() != SessionState::FREE)
        .collect()
}

/// All sessions.
pub(crate) fn all(fabric: &mut Fabric) -> Vec<Session> {
    numbered(fabric).into_iter().map(|(_, it)| it).collect()
}

/// The session of a client's packet.
pub(crate) fn of(fabric: &mut Fabric, packet: &Packet) -> Option<Session> {
    find(fabric, packet).map(|(_, it)| it)
}

fn find(fabric: &mut Fabric, packet: &Packet) -> Option<(u32, Session)> {
    let (client, vip) = (packet.source, packet.destination);
    let mut found = numbered(fabric).into_iter().filter(|(_, it)| {
        it.client == Address::from(client.ip()).fold()
            && it.vip == Address::from(vip.ip()).fold()
            && it.client_port_be == client.port().to_be_bytes()
            && it.vip_port_be == vip.port().to_be_bytes()
            && it.protocol() == packet.protocol as u8
    });
    let session = found.next();
    assert_eq!(found.next(), None, "a flow has two sessions");
    session
}

/// How many words lead from clients' flows to sessions.
pub(crate) fn words(fabric: &mut Fabric) -> usize {
    let map = fabric.kernel.array::<SessionLine>("SESSION_TAGS");
    (0..map.len())
        .map(|index| {
            let line = map.get(&index, 0).unwrap();
            SESSION_WAYS - line.words.iter().filter(|it| it.0 == 0).count()
        })
        .sum()
}

/// How many words of all sessions stand where these say.
pub(crate) fn listed(fabric: &mut Fabric) -> usize {
    let mut count = 0;
    for (index, session) in numbered(fabric) {
        for at in tags_at(fabric, index, &session) {
            let map = fabric.kernel.array::<SessionLine>("SESSION_TAGS");
            let word = map.get(&(at / 8), 0).unwrap().words[at as usize % SESSION_WAYS];
            count += usize::from(word != SessionWord::FREE && word.session() == index);
        }
    }
    count
}

/// Where a session's words stand.
fn tags_at(fabric: &mut Fabric, index: u32, session: &Session) -> Vec<u32> {
    let records = fabric.kernel.array::<SessionRecord>("SESSION_RECORDS");
    let record = records.get(&index, 0).unwrap();
    let back = session.is_dnat().then_some(record.back_at);
    [record.tag_at].into_iter().chain(back).collect()
}

/// Makes the flow of a packet older.
pub(crate) fn age(fabric: &mut Fabric, packet: &Packet, secs: u32) {
    let (index, mut session) = find(fabric, packet).unwrap();
    let tick = SessionTick(
        session
            .life
            .tick()
            .0
            .wrapping_sub(SessionTick::of_secs(secs)),
    );
    session.life = session.life.with(session.life.state(), tick);
    fabric
        .kernel
        .array("SESSIONS")
        .set(index, session, 0)
        .unwrap();
}

/// Removes all sessions, as the agent does.
pub(crate) fn forget_all(fabric: &mut Fabric) {
    for (index, mut session) in numbered(fabric) {
        for at in tags_at(fabric, index, &session) {
            let mut map = fabric.kernel.array::<SessionLine>("SESSION_TAGS");
            let mut line = map.get(&(at / 8), 0).unwrap();
            line.words[at as usize % SESSION_WAYS] = SessionWord::FREE;
            map.set(at / 8, line, 0).unwrap();
        }
        session.life = SessionLife::default();
        fabric
            .kernel
            .array("SESSIONS")
            .set(index, session, 0)
            .unwrap();
    }
}
