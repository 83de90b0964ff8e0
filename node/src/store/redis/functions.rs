//! The function library `mqttd_v1`: loaded at the start, called by name.

use redis::{Cmd, Value, cmd};

use super::link::Link;
use super::link::error::LinkError;

const LIBRARY: &str = "mqttd_v1";
const CODE: &str = include_str!("mqttd.lua");

/// The steps that Redis does as one. Their keys, arguments and replies stand above each in `mqttd.lua`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Open,
    Close,
    Due,
    WillDone,
    Purge,
    Subscribe,
    Unsubscribe,
    Receive,
    Settle,
    Forget,
    Release,
    Resync,
    Index,
    Read,
    Append,
    AppendOnce,
    Retain,
    Unretain,
    PutContext,
    ClaimRequest,
    PartOfRequest,
    PartDone,
}

impl Function {
    fn name(self) -> &'static str {
        match self {
            Function::Open => "mqttd_v1_open",
            Function::Close => "mqttd_v1_close",
            Function::Due => "mqttd_v1_due",
            Function::WillDone => "mqttd_v1_will_done",
            Function::Purge => "mqttd_v1_purge",
            Function::Subscribe => "mqttd_v1_subscribe",
            Function::Unsubscribe => "mqttd_v1_unsubscribe",
            Function::Receive => "mqttd_v1_receive",
            Function::Settle => "mqttd_v1_settle",
            Function::Forget => "mqttd_v1_forget",
            Function::Release => "mqttd_v1_release",
            Function::Resync => "mqttd_v1_resync",
            Function::Index => "mqttd_v1_index",
            Function::Read => "mqttd_v1_read",
            Function::Append => "mqttd_v1_append",
            Function::AppendOnce => "mqttd_v1_append_once",
            Function::Retain => "mqttd_v1_retain",
            Function::Unretain => "mqttd_v1_unretain",
            Function::PutContext => "mqttd_v1_put_context",
            Function::ClaimRequest => "mqttd_v1_claim_request",
            Function::PartOfRequest => "mqttd_v1_part_of_request",
            Function::PartDone => "mqttd_v1_part_done",
        }
    }

    /// The command with these keys; its arguments are added to it.
    pub(super) fn on(self, keys: &[String]) -> Cmd {
        let mut command = cmd("FCALL");
        command.arg(self.name()).arg(keys.len()).arg(keys);
        command
    }
}

/// Loads the library into every primary, unless this very text is loaded. Replacing it is one step for Redis: no call finds it missing.
pub(super) async fn load(link: &Link) -> Result<(), LinkError> {
    let mut list = cmd("FUNCTION");
    list.arg("LIST").arg("LIBRARYNAME").arg(LIBRARY).arg("WITHCODE");
    if link.call_all(list).await?.iter().all(holds_code) {
        return Ok(());
    }
    let mut load = cmd("FUNCTION");
    load.arg("LOAD").arg("REPLACE").arg(CODE);
    match link.call_all(load).await?.into_iter().find(|reply| *reply != Value::BulkString(LIBRARY.into())) {
        None => Ok(()),
        Some(other) => Err(LinkError::Script(format!("FUNCTION LOAD answered {other:?}"))),
    }
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

/// Redis has lost the library, as after FLUSHALL or a restart without persistence; the call was not done.
pub(super) fn is_missing(error: &impl std::fmt::Display) -> bool {
    error.to_string().contains("Function not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_registered() {
        use Function::*;
        let all = [
            Open,
            Close,
            Due,
            WillDone,
            Purge,
            Subscribe,
            Unsubscribe,
            Receive,
            Settle,
            Forget,
            Release,
            Resync,
            Index,
            Read,
            Append,
            AppendOnce,
            Retain,
            Unretain,
            PutContext,
            ClaimRequest,
            PartOfRequest,
            PartDone,
        ];
        for function in all {
            let name = function.name().strip_prefix("mqttd_v1_").unwrap();
            assert!(CODE.contains(&format!("register('{name}', {name}")), "{name}");
        }
        assert_eq!(CODE.matches("\nregister('").count(), all.len());
    }
}
