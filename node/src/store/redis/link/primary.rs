//! The standing connections to one primary.

use std::sync::Arc;

use super::control::Control;
use super::lane::Lane;
use super::start::{self, StartError, Warning};
use super::target::Target;

#[derive(Debug)]
pub(super) struct Primary {
    pub(super) target: Arc<Target>,
    pub(super) control: Control,
    lanes: Box<[Lane]>,
}

impl Primary {
    /// Connects, and checks that this Redis can be relied on. One attempt.
    pub(super) async fn open(target: Target) -> Result<(Primary, Vec<Warning>), StartError> {
        let lanes = target.settings().lanes.max(1);
        let mut wire = target.dial().await?;
        let warnings = start::check(&mut wire, target.health.address(), target.settings()).await?;
        let mut wires = Vec::with_capacity(lanes);
        for _ in 0..lanes {
            wires.push(target.dial().await?);
        }
        let target = Arc::new(target);
        let control = Control::start(Some(wire), target.clone());
        let lanes = wires.into_iter().map(|wire| Lane::start(Some(wire), target.clone())).collect();
        Ok((Primary { target, control, lanes }, warnings))
    }

    /// Connects in the background; who comes meanwhile waits.
    pub(super) fn wanted(target: Target) -> Primary {
        let target = Arc::new(target);
        let lanes = (0..target.settings().lanes.max(1)).map(|_| Lane::start(None, target.clone())).collect();
        Primary { control: Control::start(None, target.clone()), lanes, target }
    }

    pub(super) fn lane(&self, shard: u16) -> &Lane {
        &self.lanes[usize::from(shard) % self.lanes.len()]
    }
}
