//! Whether the Store can be relied on now, for those who ask whether this node is well.

use std::time::Duration;

/// What is known of the Store at this moment. A store of one process is always well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// It does not answer, or not as it should: for so long. A node promises nothing meanwhile.
    pub down_for: Option<Duration>,
    /// Its memory is so full that new messages are refused (0x97). What makes room is still done.
    pub is_full: bool,
    /// Fewer copies than the operator asked for are kept, so that nothing can be confirmed.
    pub lacks_replicas: bool,
    /// It takes no writes: a replica, or one that cannot save.
    pub is_read_only: bool,
    /// Why it is not as it should be, in words for the operator.
    pub last_error: Option<String>,
}

impl StoreHealth {
    pub fn is_reachable(&self) -> bool {
        self.down_for.is_none()
    }
}
