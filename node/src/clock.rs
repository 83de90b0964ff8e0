//! The one clock of a node. Everything below it is handed a [`Time`].

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::time::Time;

/// A clock that is wrong goes faster or slower by this part until it is right: keep-alives and expiries are off by no more than that.
const SLEW: u64 = 16;

/// Time of the Store, reckoned from a monotonic clock: it never steps back, whatever is done to the clock of the machine.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    /// What it is ahead of the ms since its start while it goes evenly, which is nearly always: every turn of every connection asks, and none
    /// shall wait for another. [`MENDING`]: the course says.
    ahead: AtomicU64,
    course: Mutex<Course>,
}

/// In place of what the clock is ahead.
const MENDING: u64 = u64::MAX;

/// How the clock goes from some moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Course {
    /// In ms since the start of the clock.
    from: u64,
    /// What time it was then, in ms.
    time: u64,
    /// How wrong that was, in ms; above zero: it was behind.
    error: i64,
}

impl Course {
    /// So many ms after the start. What is wrong is mended little by little, so that this never goes back.
    fn at(&self, elapsed: u64) -> u64 {
        let passed = elapsed.saturating_sub(self.from);
        let mended = (passed / SLEW).min(self.error.unsigned_abs());
        if self.error < 0 { self.time + passed - mended } else { self.time + passed + mended }
    }

    /// What it is ahead of the ms since the start, if it goes evenly.
    fn ahead(&self) -> u64 {
        if self.error == 0 { self.time.wrapping_sub(self.from) } else { MENDING }
    }

    /// How many ms after the start it is at least `time`.
    fn when(&self, time: u64) -> u64 {
        let (wanted, error) = (time.saturating_sub(self.time), self.error.unsigned_abs());
        let passed = match self.error {
            0 => wanted,
            // All is mended by then, or a part of it.
            1.. if wanted >= error.saturating_mul(SLEW + 1) => wanted - error,
            1.. => (wanted * SLEW).div_ceil(SLEW + 1),
            _ if wanted >= error.saturating_mul(SLEW - 1) => wanted + error,
            _ => (wanted * SLEW).div_ceil(SLEW - 1),
        };
        // What is mended goes by whole ms.
        let close = self.from + passed.saturating_sub(1);
        (close..=close + 2).find(|elapsed| self.at(*elapsed) >= time).unwrap_or(close + 2)
    }

    /// As before until `elapsed`, and from there on to what another clock says: it was between `earliest` and `latest` then.
    fn mend(&mut self, elapsed: u64, earliest: u64, latest: u64) {
        let time = self.at(elapsed);
        let right = time.clamp(earliest, latest.max(earliest));
        *self = Course { from: elapsed, time, error: right.cast_signed() - time.cast_signed() };
    }
}

impl Clock {
    /// Sets the clock by that of this machine.
    pub fn start() -> Clock {
        #[allow(clippy::disallowed_methods, reason = "this is the clock")]
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Clock::start_at(Time(unix.as_millis() as u64))
    }

    /// Sets the clock by another one, which all nodes of a cluster go by.
    pub fn start_at(now: Time) -> Clock {
        let course = Course { from: 0, time: now.0, error: 0 };
        Clock { started: Instant::now(), ahead: AtomicU64::new(course.ahead()), course: Mutex::new(course) }
    }

    /// Sets it by the clock that all nodes go by, when a node joins them. Nobody is connected then, so no deadline moves with it.
    pub fn set(&self, now: Time) {
        self.change(|course, elapsed| *course = Course { from: elapsed, time: now.0, error: 0 });
    }

    /// What that clock has said to a question that was asked at `asked` and has just been answered. Another Redis may have another clock: this
    /// one follows it, without a step, for deadlines of connections are reckoned by it.
    pub fn follow(&self, said: Time, asked: Instant) {
        let way = asked.elapsed().as_millis() as u64 + 1; // it says whole ms
        self.change(|course, elapsed| course.mend(elapsed, said.0, said.0 + way));
    }

    fn change(&self, change: impl FnOnce(&mut Course, u64)) {
        let mut course = self.course();
        change(&mut course, self.elapsed());
        self.ahead.store(course.ahead(), Relaxed);
    }

    pub fn now(&self) -> Time {
        Time(match self.ahead.load(Relaxed) {
            MENDING => {
                let course = *self.course();
                course.at(self.elapsed())
            }
            ahead => self.elapsed().wrapping_add(ahead),
        })
    }

    /// When it is `time` by the runtime's clock.
    pub fn instant(&self, time: Time) -> Instant {
        let elapsed = match self.ahead.load(Relaxed) {
            MENDING => self.course().when(time.0),
            // What was before the start is at once.
            ahead => time.0.wrapping_sub(ahead).cast_signed().max(0).cast_unsigned(),
        };
        self.started + Duration::from_millis(elapsed)
    }

    fn elapsed(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn course(&self) -> std::sync::MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    /// Beats of a second, in which the other clock is `ahead` (or behind) by so much.
    fn beats(course: &mut Course, from: u64, count: u64, ahead: i64) -> u64 {
        let mut last = course.at(from);
        for elapsed in (from..from + count * 1000).step_by(100) {
            let now = course.at(elapsed);
            assert!(now >= last, "it goes back");
            assert!(now - last <= 100 + 100 / SLEW + 1, "it steps");
            last = now;
            if elapsed.is_multiple_of(1000) {
                let said = (HOUR + elapsed).checked_add_signed(ahead).unwrap();
                course.mend(elapsed, said, said + 3);
            }
        }
        from + count * 1000
    }

    #[test]
    fn it_follows_another_clock_without_a_step_and_never_back() {
        let mut course = Course { from: 0, time: HOUR, error: 0 };
        let end = beats(&mut course, 0, 10, 0);
        assert_eq!(course.at(end), HOUR + end);
        for ahead in [30_000, -30_000, 2] {
            let begin = course.from + 1000;
            let end = beats(&mut course, begin, 70 * SLEW, ahead);
            let right = (HOUR + end).checked_add_signed(ahead).unwrap();
            assert!((right..=right + 3).contains(&course.at(end)), "{ahead}: {} and {right}", course.at(end));
        }
    }

    #[test]
    fn without_another_word_no_more_is_mended_than_was_wrong() {
        for error in [-5000, 5000] {
            let course = Course { from: 0, time: HOUR, error };
            assert_eq!(course.at(HOUR), (2 * HOUR).checked_add_signed(error).unwrap());
        }
    }

    /// What it says without asking its course is what the course says.
    #[tokio::test(start_paused = true)]
    async fn it_goes_by_its_course() {
        let clock = Clock::start_at(Time(HOUR));
        for said in [HOUR, HOUR + 40, HOUR + 40, 2 * HOUR, 2 * HOUR] {
            clock.follow(Time(said), Instant::now());
            for _ in 0..20 {
                let course = *clock.course();
                assert_eq!(clock.now(), Time(course.at(clock.elapsed())));
                for time in [0, HOUR, clock.now().0, 3 * HOUR] {
                    let by_course = Duration::from_millis(course.when(time));
                    let at = clock.instant(Time(time)) - clock.started;
                    assert!(at == by_course || (at < by_course && time <= course.time), "{time}: {at:?} and {by_course:?}");
                }
                tokio::time::advance(Duration::from_millis(50)).await;
            }
        }
        clock.set(Time(HOUR));
        assert_eq!(clock.now(), Time(HOUR));
    }

    #[test]
    fn a_deadline_is_met_not_missed() {
        for error in [0, 1, 40, 5000, -1, -40, -5000] {
            let course = Course { from: 77, time: HOUR, error };
            for wait in [0, 1, 2, 15, 16, 17, 500, 639, 640, 680, 75_000, 79_999, 80_000, 85_000, HOUR] {
                let at = course.when(HOUR + wait);
                assert!(course.at(at) >= HOUR + wait, "{error} {wait}: too early");
                assert!(at == 77 || course.at(at - 1) <= HOUR + wait, "{error} {wait}: too late");
            }
            assert_eq!(course.when(0), 77, "long ago is at once");
        }
    }
}
