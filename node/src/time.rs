//! Time as the Store tells it. Reads no clock: a [`Time`] is always handed in by the edge.

use std::ops::{Add, Sub};

/// A moment in milliseconds since the Unix epoch, by the Store's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

/// A span in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u64);

impl Span {
    /// A span of whole seconds, the unit of every interval in the MQTT standard.
    pub const fn seconds(seconds: u32) -> Span {
        Span(seconds as u64 * 1000)
    }

    /// Whole seconds, rounded up, so that what is left of an interval is never said as zero too early.
    pub const fn as_seconds_ceil(self) -> u32 {
        let seconds = self.0.div_ceil(1000);
        if seconds > u32::MAX as u64 { u32::MAX } else { seconds as u32 }
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

impl Time {
    /// The span from `earlier` to `self`; zero when `earlier` is later.
    pub const fn since(self, earlier: Time) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Span> for Time {
    type Output = Time;
    fn add(self, span: Span) -> Time {
        Time(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Time {
    type Output = Time;
    fn sub(self, span: Span) -> Time {
        Time(self.0.saturating_sub(span.0))
    }
}
