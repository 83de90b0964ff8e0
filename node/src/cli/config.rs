//! `mqttd config`: the commented default.

use super::{Failure, print};
use crate::config::print::commented_default;

pub(super) fn run() -> Result<(), Failure> {
    print(&commented_default())
}
