//! Load averages, as mosquitto reckons them: events a minute, each round weighed less the longer it is ago. Pure: the time is handed in.

use super::tree::Totals;
use crate::time::{Span, Time};

/// How long ago a round is when it counts for 1/e of a new one, and the name of that average.
pub(super) const PERIODS: [(&str, Span); 3] = [("1min", Span::seconds(60)), ("5min", Span::seconds(300)), ("15min", Span::seconds(900))];

/// How many counters have a load average.
pub(super) const LOADS: usize = 9;

#[derive(Debug, Default)]
pub(super) struct Load {
    before: Option<(Time, [u64; LOADS])>,
    averages: [[f64; PERIODS.len()]; LOADS],
}

impl Load {
    /// Takes in what was counted since the last step; the first one only remembers where the counters stood.
    pub(super) fn step(&mut self, totals: &Totals, now: Time) {
        let counted = totals.with_load().map(|(_, total)| total);
        let Some((then, before)) = self.before.replace((now, counted)) else { return };
        let elapsed = now.since(then).0 as f64;
        if elapsed == 0.0 {
            self.before = Some((then, before)); // No rate can be told yet; the next step has both.
            return;
        }
        for ((averages, counted), before) in self.averages.iter_mut().zip(counted).zip(before) {
            let a_minute = counted.saturating_sub(before) as f64 * Span::seconds(60).0 as f64 / elapsed;
            for (average, (_, period)) in averages.iter_mut().zip(PERIODS) {
                *average = a_minute + (-elapsed / period.0 as f64).exp() * (*average - a_minute);
            }
        }
    }

    /// The averages over each of [`PERIODS`], for each of the counters in the order of [`Totals::with_load`].
    pub(super) fn averages(&self) -> &[[f64; PERIODS.len()]; LOADS] {
        &self.averages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After each round of so many sockets in so many seconds: the three averages.
    #[test]
    fn averages_follow_the_rate() {
        let rounds = [
            (0, 100, "0.00 0.00 0.00"), // what was before the first round is nobody's load
            (10, 100, "92.11 19.67 6.63"),
            (10, 0, "77.97 19.03 6.56"),
            (0, 50, "77.97 19.03 6.56"), // no time has passed: the next round has them
            (40, 0, "76.52 26.01 9.53"),
            (600, 0, "0.00 3.52 4.89"),
            (6000, 1000, "10.00 10.00 9.99"),
        ];
        let (mut load, mut totals, mut now) = (Load::default(), Totals::default(), Time(1000));
        for (seconds, sockets, expected) in rounds {
            now = now + Span::seconds(seconds);
            totals.sockets += sockets;
            load.step(&totals, now);
            let [one, five, fifteen] = load.averages()[1];
            assert_eq!(format!("{one:.2} {five:.2} {fifteen:.2}"), expected, "after {seconds} s with {sockets}");
            assert_eq!(load.averages()[0], [0.0; 3]);
        }
    }
}
