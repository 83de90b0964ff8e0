//! The kit: what every test over a real socket needs.
