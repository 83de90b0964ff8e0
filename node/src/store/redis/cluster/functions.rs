//! The function library `mqttd_cluster_v1`: loaded when a node joins, called by name.

use redis::{Cmd, Value, cmd};

use crate::store::redis::link::Link;
use crate::store::redis::link::error::LinkError;

const LIBRARY: &str = "mqttd_cluster_v1";
const CODE: &str = include_str!("cluster.lua");

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
            Function::Set => "mqttd_cluster_v1_set",
            Function::Unset => "mqttd_cluster_v1_unset",
            Function::End => "mqttd_cluster_v1_end",
            Function::History => "mqttd_cluster_v1_history",
            Function::Beat => "mqttd_cluster_v1_beat",
            Function::Claim => "mqttd_cluster_v1_claim",
            Function::ClaimOn => "mqttd_cluster_v1_claim_on",
            Function::Leave => "mqttd_cluster_v1_leave",
        }
    }

    /// The command with these keys; its arguments are added to it.
    pub(super) fn on(self, keys: &[String]) -> Cmd {
        let mut command = cmd("FCALL");
        command.arg(self.name()).arg(keys.len()).arg(keys);
        command
    }
}

/// Calls a function by the control connection. When Redis has lost the library, the call was not done: it is loaded, and called again.
pub(super) async fn call(link: &Link, command: Cmd) -> Result<Value, LinkError> {
    match link.call(command.clone()).await {
        Err(error) if is_missing(&error) => {
            load(link).await?;
            link.call(command).await
        }
        reply => reply.inspect_err(|error| tracing::warn!(%error, "a function of the cluster was not done")),
    }
}

/// Loads the library into every primary, unless this very text is loaded. Replacing it is one step for Redis: no call finds it missing.
pub(super) async fn load(link: &Link) -> Result<(), LinkError> {
    let listed = link.call_all(cmd("FUNCTION").arg("LIST").arg("LIBRARYNAME").arg(LIBRARY).arg("WITHCODE").take()).await?;
    if listed.iter().all(holds_code) {
        return Ok(());
    }
    link.call_all(cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(CODE).take()).await.map(drop)
}

/// Whether a reply has our text somewhere in it.
fn holds_code(value: &Value) -> bool {
    match value {
        Value::BulkString(text) => text == CODE.as_bytes(),
        Value::Array(values) => values.iter().any(holds_code),
        Value::Map(pairs) => pairs.iter().any(|(_, value)| holds_code(value)),
        _ => false,
    }
}

/// Redis has lost the library, as after FLUSHALL or a restart without persistence.
pub(super) fn is_missing(error: &LinkError) -> bool {
    matches!(error, LinkError::Script(text) if text.contains("Function not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_registered() {
        use Function::*;
        let all = [Set, Unset, End, History, Beat, Claim, ClaimOn, Leave];
        for function in all {
            let name = function.name().strip_prefix("mqttd_cluster_v1_").unwrap();
            assert!(CODE.contains(&format!("\nregister('{name}', ")), "{name}");
        }
        assert_eq!(CODE.matches("\nregister('").count(), all.len());
    }
}
