//! The functions of `cluster.lua`, called by name.

use redis::{Cmd, Value};

use crate::store::redis::library::{self, Library};
use crate::store::redis::link::Link;
use crate::store::redis::link::error::LinkError;

static LIBRARY: Library = Library::new("mqttd_cluster", include_str!("cluster.lua"));

/// The steps that Redis does as one. Their keys, arguments and replies stand above each in `cluster.lua`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Set,
    Unset,
    End,
    History,
    Beat,
    Claim,
    ClaimOn,
    Leave,
}

impl Function {
    fn name(self) -> &'static str {
        match self {
            Function::Set => "set",
            Function::Unset => "unset",
            Function::End => "end",
            Function::History => "history",
            Function::Beat => "beat",
            Function::Claim => "claim",
            Function::ClaimOn => "claim_on",
            Function::Leave => "leave",
        }
    }

    /// The command with these keys; its arguments are added to it.
    pub(super) fn on(self, keys: &[String]) -> Cmd {
        LIBRARY.call(self.name(), keys)
    }
}

/// Calls a function by the control connection. When Redis has lost the library, the call was not done: it is loaded, and called again.
pub(super) async fn call(link: &Link, command: Cmd) -> Result<Value, LinkError> {
    match link.call(command.clone()).await {
        Err(error) if library::is_missing(&error) => {
            load(link).await?;
            link.call(command).await
        }
        reply => reply.inspect_err(|error| tracing::warn!(%error, "a function of the cluster was not done")),
    }
}

/// Loads them into every primary that has not got them.
pub(super) async fn load(link: &Link) -> Result<(), LinkError> {
    LIBRARY.load(link).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_registered() {
        use Function::*;
        let all = [Set, Unset, End, History, Beat, Claim, ClaimOn, Leave];
        LIBRARY.assert_registers(&all.map(Function::name));
    }
}
