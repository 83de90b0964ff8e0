//! Which messages of one publisher came to one subscriber.

use std::collections::HashSet;

#[derive(Default)]
pub(crate) struct Sequence {
    /// One more than the highest number that came.
    next: u64,
    /// Lower ones that have not come.
    missing: HashSet<u64>,
    faults: Faults,
}

/// What went wrong with messages.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    /// Published, but never acknowledged to the end.
    pub(crate) unacknowledged: u64,
}

impl Faults {
    pub(crate) fn add(&mut self, other: Faults) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.unacknowledged += other.unacknowledged;
    }
}

impl Sequence {
    /// Whether it comes for the first time.
    pub(crate) fn came(&mut self, number: u64) -> bool {
        if number >= self.next {
            self.missing.extend(self.next..number);
            self.next = number + 1;
            true
        } else if self.missing.remove(&number) {
            self.faults.reordered += 1;
            true
        } else {
            self.faults.duplicated += 1;
            false
        }
    }

    /// What is to be said when nothing more comes of the messages that were sent.
    pub(crate) fn faults(&self, sent: u64) -> Faults {
        Faults { lost: self.missing.len() as u64 + sent.saturating_sub(self.next), ..self.faults }
    }
}

#[test]
fn what_is_lost_twice_or_late_is_counted() {
    let seen = |numbers: &[u64], sent| {
        let mut sequence = Sequence::default();
        let fresh = numbers.iter().filter(|number| sequence.came(**number)).count();
        let faults = sequence.faults(sent);
        (fresh, faults.lost, faults.duplicated, faults.reordered)
    };
    assert_eq!(seen(&[0, 1, 2], 3), (3, 0, 0, 0));
    assert_eq!(seen(&[0, 2], 4), (2, 2, 0, 0));
    assert_eq!(seen(&[0, 1, 1, 0], 2), (2, 0, 2, 0));
    assert_eq!(seen(&[0, 2, 1, 3], 4), (4, 0, 0, 1));
    assert_eq!(seen(&[], 2), (0, 2, 0, 0));
}
