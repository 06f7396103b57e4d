//! What a peer sends that asks for nothing: pings, settings, priorities, windows, resets, frames of no kind. The stack
//! answers or forgets each of them, for ever and as fast as they come; a connection that sends little else is ended.

/// How many of them are borne at once.
const BURST: u64 = 10_000;
/// How many for each second that passes: no client pings more often than that for nothing.
const EACH_SECOND: u64 = 100;
/// One for so many bytes that go out: what is read is acknowledged by windows, and measured by pings. An answer to a ping
/// is half as long.
const BYTES_EACH: u64 = 32;
/// How many for each request or piece of one: it may be given up.
const EACH_REQUEST: u64 = 2;

/// How many of them a request is worth, or a piece of one, in what there is to do for it.
const WORTH: u64 = 4;

/// The length, kind, flags and stream of a frame.
const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;

/// What came on one connection, frame by frame.
#[derive(Debug)]
pub(super) struct Chatter {
    /// The head of the frame that is coming, and how much of it is there.
    head: [u8; HEAD],
    come: usize,
    /// What is still to come that is not looked at.
    skip: usize,
    left: u64,
    /// Since when that is so, in milliseconds, and what went out since then, in bytes.
    since: u64,
    sent: u64,
}

impl Chatter {
    /// On a connection that begins with so many bytes that are no frame.
    pub(super) fn after(preface: usize) -> Self {
        Self { head: [0; HEAD], come: 0, skip: preface, left: BURST, since: 0, sent: 0 }
    }

    /// So many bytes went out.
    pub(super) fn answered(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// Hears what came by `now`, in milliseconds: where that is borne, how much there is to do for it, in frames that ask for
    /// nothing.
    pub(super) fn hear(&mut self, mut came: &[u8], now: u64) -> Option<u64> {
        let (mut idle, mut asking) = (0, 0);
        while !came.is_empty() {
            let skipped = self.skip.min(came.len());
            self.skip -= skipped;
            came = &came[skipped..];
            let taken = (HEAD - self.come).min(came.len());
            self.head[self.come..self.come + taken].copy_from_slice(&came[..taken]);
            self.come += taken;
            came = &came[taken..];
            if self.come == HEAD {
                let [a, b, c, kind, ..] = self.head;
                self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                self.come = 0;
                match kind {
                    HEADERS => asking += 1,
                    DATA if self.skip > 0 => asking += 1,
                    _ => idle += 1,
                }
            }
        }
        self.left = (self.left + asking * EACH_REQUEST).min(BURST);
        if self.left < idle + BURST / 2 {
            let passed = now.saturating_sub(self.since).saturating_mul(EACH_SECOND) / 1_000;
            self.left = self.left.saturating_add(passed + self.sent / BYTES_EACH).min(BURST.max(idle));
            self.sent %= BYTES_EACH;
            if passed > 0 {
                self.since = now;
            }
        }
        let borne = self.left.checked_sub(idle);
        self.left = borne.unwrap_or_default();
        borne.map(|_| idle + asking * WORTH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(kind: u8, length: u8, times: u64) -> Vec<u8> {
        let one = [&[0, 0, length, kind, 0, 0, 0, 0, 1], &vec![0; usize::from(length)][..]].concat();
        one.repeat(usize::try_from(times).unwrap())
    }

    /// Hears it in pieces of this length.
    fn hear(chatter: &mut Chatter, came: &[u8], piece: usize, now: u64, sent: usize) -> bool {
        chatter.answered(sent);
        came.chunks(piece).all(|came| chatter.hear(came, now).is_some())
    }

    #[test]
    fn so_many_frames_for_nothing_are_borne_however_they_are_cut() {
        for piece in [1, 7, 17, 4_000] {
            let mut chatter = Chatter::after(24);
            let first = [&[0xff; 24][..], &frames(6, 8, BURST)].concat();
            assert!(hear(&mut chatter, &first, piece, 0, 0), "{piece}");
            assert!(!hear(&mut chatter, &frames(6, 8, 1), piece, 0, 0), "{piece}");
        }
    }

    #[test]
    fn requests_answers_and_time_allow_for_more() {
        let nearly = || {
            let mut chatter = Chatter::after(0);
            assert!(hear(&mut chatter, &frames(8, 4, BURST), 4_000, 0, 0));
            chatter
        };
        assert!(hear(&mut nearly(), &frames(8, 4, 100), 4_000, 1_000, 0), "a second");
        assert!(!hear(&mut nearly(), &frames(8, 4, 101), 4_000, 1_000, 0), "and no more than that");
        assert!(hear(&mut nearly(), &frames(8, 4, 100), 4_000, 0, 3_200), "what was answered");
        for asked in [frames(HEADERS, 9, 50), frames(DATA, 1, 50)] {
            assert!(hear(&mut nearly(), &[asked, frames(3, 4, 100)].concat(), 4_000, 0, 0));
        }
        assert!(!hear(&mut nearly(), &frames(DATA, 0, 1), 4_000, 0, 0), "what is empty asks for nothing");
    }

    #[test]
    fn calls_and_their_ends_go_on_for_ever() {
        let mut chatter = Chatter::after(0);
        for _ in 0..100 {
            let calls = [frames(HEADERS, 100, 500), frames(DATA, 50, 500), frames(3, 4, 500), frames(8, 4, 1_000)];
            assert!(hear(&mut chatter, &calls.concat(), 4_000, 0, 500 * 100));
        }
    }
}
