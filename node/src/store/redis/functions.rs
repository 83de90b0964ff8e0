//! The functions of `mqttd.lua`, called by name.

use redis::Cmd;

use super::library::Library;
use super::link::Link;
use super::link::error::LinkError;

static LIBRARY: Library = Library::new("mqttd", include_str!("mqttd.lua"));

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
    Hand,
    Append,
    AppendOnce,
    Retain,
    Unretain,
    ClaimRequest,
    PartOfRequest,
    PartDone,
    TellRequest,
    BridgeKeep,
    BridgeSend,
}

impl Function {
    fn name(self) -> &'static str {
        match self {
            Function::Open => "open",
            Function::Close => "close",
            Function::Due => "due",
            Function::WillDone => "will_done",
            Function::Purge => "purge",
            Function::Subscribe => "subscribe",
            Function::Unsubscribe => "unsubscribe",
            Function::Receive => "receive",
            Function::Settle => "settle",
            Function::Forget => "forget",
            Function::Release => "release",
            Function::Resync => "resync",
            Function::Index => "index",
            Function::Hand => "hand",
            Function::Append => "append",
            Function::AppendOnce => "append_once",
            Function::Retain => "retain",
            Function::Unretain => "unretain",
            Function::ClaimRequest => "claim_request",
            Function::PartOfRequest => "part_of_request",
            Function::PartDone => "part_done",
            Function::TellRequest => "tell_request",
            Function::BridgeKeep => "bridge_keep",
            Function::BridgeSend => "bridge_send",
        }
    }

    /// The command with these keys; its arguments are added to it.
    pub(super) fn on(self, keys: &[String]) -> Cmd {
        LIBRARY.call(self.name(), keys)
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
            Hand,
            Append,
            AppendOnce,
            Retain,
            Unretain,
            ClaimRequest,
            PartOfRequest,
            PartDone,
            TellRequest,
            BridgeKeep,
            BridgeSend,
        ];
        LIBRARY.assert_registers(&all.map(Function::name));
    }
}
