//! Sessions in the agent's memory.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::MapData;
use lbfabric_abi::{
    BACKENDS_MAX, SESSION_WAYS, Session, SessionLife, SessionLine, SessionRecord, SessionState,
    SessionTick, SessionWord,
};
use lbfabric_model::BackendId;

use super::shared_words::{SharedWords, monotonic_ns};

/// Words of a session.
const WORDS: usize = size_of::<Session>() / size_of::<u64>();
/// The word with a session's life.
const LIFE: usize = core::mem::offset_of!(Session, life) / size_of::<u64>();
/// The word with its server and its protocol.
const SERVER: usize = core::mem::offset_of!(Session, backend) / size_of::<u64>();
const _: () = assert!(core::mem::offset_of!(Session, backend) % 8 == 0);
const _: () = assert!(core::mem::offset_of!(Session, origin) % 8 == 6);
/// Words of a record.
const RECORD_WORDS: usize = size_of::<SessionRecord>() / size_of::<u64>();

/// Mappings of `SESSIONS`, `SESSION_RECORDS` and `SESSION_TAGS`.
pub(crate) struct SessionMap {
    sessions: SharedWords,
    records: SharedWords,
    tags: SharedWords,
    lines: u32,
}

impl SessionMap {
    /// Maps the maps, of which `tags` has `lines` lines.
    pub(crate) fn new(
        sessions: &MapData,
        records: &MapData,
        tags: &MapData,
        lines: u32,
    ) -> io::Result<Self> {
        let count = lines as usize * SESSION_WAYS;
        Ok(Self {
            sessions: SharedWords::new(sessions, count * WORDS)?,
            records: SharedWords::new(records, count * RECORD_WORDS)?,
            tags: SharedWords::new(tags, count)?,
            lines,
        })
    }

    /// Lines of `SESSION_TAGS`.
    pub(crate) fn lines(&self) -> u32 {
        self.lines
    }

    /// A session; none beyond the last one.
    pub(crate) fn session(&self, index: u32) -> Option<Session> {
        let words = self
            .sessions
            .words()
            .chunks_exact(WORDS)
            .nth(index as usize)?;
        let mut session = [0; WORDS];
        for (copy, word) in session.iter_mut().zip(words) {
            *copy = word.load(Ordering::Acquire);
        }
        Some(Session::from_words(session))
    }

    /// What else there is of a session; none beyond the last one.
    pub(crate) fn record(&self, index: u32) -> Option<SessionRecord> {
        let words = self.record_words(index)?;
        let mut record = [0; RECORD_WORDS];
        for (copy, word) in record.iter_mut().zip(words) {
            *copy = word.load(Ordering::Acquire);
        }
        Some(SessionRecord::from_words(record))
    }

    fn record_words(&self, index: u32) -> Option<&[AtomicU64]> {
        let mut records = self.records.words().chunks_exact(RECORD_WORDS);
        records.nth(index as usize)
    }

    /// A line of words; none beyond the last one.
    pub(crate) fn tags(&self, line: u32) -> Option<SessionLine> {
        let words = self
            .tags
            .words()
            .chunks_exact(SESSION_WAYS)
            .nth(line as usize)?;
        let mut tags = SessionLine::default();
        for (copy, word) in tags.words.iter_mut().zip(words) {
            *copy = SessionWord(word.load(Ordering::Acquire));
        }
        Some(tags)
    }

    /// Frees sessions that were silent for longer than their state allows, and those of other servers than `alive`; gives the servers
    /// of those that are left.
    pub(crate) fn sweep(&self, alive: &BTreeSet<BackendId>) -> BTreeSet<BackendId> {
        let now = SessionTick::at(monotonic_ns());
        let mut is_alive = vec![false; BACKENDS_MAX as usize];
        let mut in_use = vec![false; BACKENDS_MAX as usize];
        for BackendId(id) in alive {
            if let Some(flag) = is_alive.get_mut(*id as usize) {
                *flag = true;
            }
        }
        for (index, session) in (0..).zip(self.sessions.words().chunks_exact(WORDS)) {
            let life = SessionLife(session[LIFE].load(Ordering::Acquire));
            if life.state() == SessionState::FREE {
                continue;
            }
            let [a, b, .., origin, _] = session[SERVER].load(Ordering::Relaxed).to_ne_bytes();
            let server = usize::from(u16::from_ne_bytes([a, b]));
            let is_dead = life.state().is_open() && !is_alive[server];
            if is_dead || life.is_expired(origin & Session::UDP == 0, now) {
                self.free(index, session, life, now);
            } else {
                in_use[server] = true;
            }
        }
        let in_use = (0u32..).zip(in_use).filter(|(_, is_used)| *is_used);
        in_use.map(|(id, _)| BackendId(id)).collect()
    }

    /// As the program does it: busy first, so that nobody else does.
    fn free(&self, index: u32, session: &[AtomicU64], life: SessionLife, now: SessionTick) {
        let busy = life.with(SessionState::BUSY, now);
        if !exchange(&session[LIFE], life.0, busy.0) {
            // It lives on.
            return;
        }
        // Full NAT's have one word, and zero for the place of another: nothing is freed there that is not theirs.
        let record = self.record(index).unwrap_or_default();
        for place in [record.tag_at, record.back_at] {
            if let Some(word) = self.tags.words().get(place as usize) {
                let held = word.load(Ordering::Relaxed);
                if SessionWord(held).session() == index && held != SessionWord::FREE.0 {
                    // If it fails, the word was not this session's.
                    exchange(word, held, SessionWord::FREE.0);
                }
            }
        }
        let free = busy.with(SessionState::FREE, now);
        session[LIFE].store(free.0, Ordering::Release);
    }
}

fn exchange(word: &AtomicU64, old: u64, new: u64) -> bool {
    word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok()
}
