//! A library of functions in Redis, named after its own text: nodes of two versions call two libraries, side by side on one Redis, whatever
//! has changed between them. Nobody has to remember to count a version up, and none replaces what another still calls.
//!
//! Old libraries stay in Redis, some 20 KB each, until `FUNCTION DELETE`; a node that still needed one would load it again.

use std::sync::OnceLock;

use redis::{Cmd, Value, cmd};

use super::link::Link;
use super::link::error::LinkError;

/// What stands in the text for the name of the library.
const NAME: &str = "LIBRARY";

pub(super) struct Library {
    stem: &'static str,
    text: &'static str,
    loaded: OnceLock<Loaded>,
}

/// As Redis has it.
struct Loaded {
    name: String,
    code: String,
}

impl Library {
    pub(super) const fn new(stem: &'static str, text: &'static str) -> Library {
        Library { stem, text, loaded: OnceLock::new() }
    }

    fn loaded(&self) -> &Loaded {
        self.loaded.get_or_init(|| {
            let name = format!("{}_{:016x}", self.stem, hash(self.text.as_bytes()));
            let code = self.text.replace(NAME, &name);
            Loaded { name, code }
        })
    }

    /// The command that calls a function with these keys; its arguments are added to it.
    pub(super) fn call(&self, function: &str, keys: &[String]) -> Cmd {
        let mut command = cmd("FCALL");
        command.arg(format!("{}_{function}", self.loaded().name)).arg(keys.len()).arg(keys);
        command
    }

    /// Loads it into every primary, unless this very text is loaded: another under its name, which only a hand can have put there, is replaced.
    /// That is one step for Redis: no call finds it missing.
    pub(super) async fn load(&self, link: &Link) -> Result<(), LinkError> {
        let Loaded { name, code } = self.loaded();
        let listed = link.call_all(cmd("FUNCTION").arg("LIST").arg("LIBRARYNAME").arg(name).arg("WITHCODE").take()).await?;
        if listed.iter().all(|listed| holds(listed, code)) {
            return Ok(());
        }
        let loaded = link.call_all(cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(code).take()).await?;
        match loaded.into_iter().find(|reply| *reply != Value::BulkString(name.clone().into())) {
            None => Ok(()),
            Some(other) => Err(LinkError::Script(format!("FUNCTION LOAD answered {other:?}"))),
        }
    }

    /// Fails unless the text registers exactly these functions.
    #[cfg(test)]
    pub(super) fn assert_registers(&self, functions: &[&str]) {
        for name in functions {
            assert!(self.text.contains(&format!("\nregister('{name}', ")), "{name}");
        }
        assert_eq!(self.text.matches("\nregister('").count(), functions.len());
        assert_eq!(self.text.matches(NAME).count(), 3, "its own name, the names of the functions, and a word about them");
    }
}

/// Whether a reply has this text somewhere in it.
fn holds(value: &Value, code: &str) -> bool {
    match value {
        Value::BulkString(text) => text == code.as_bytes(),
        Value::Array(values) => values.iter().any(|value| holds(value, code)),
        Value::Map(pairs) => pairs.iter().any(|(_, value)| holds(value, code)),
        _ => false,
    }
}

/// Redis has lost a library, as after FLUSHALL or a restart without persistence; the call was not done.
pub(super) fn is_missing(error: &impl std::fmt::Display) -> bool {
    error.to_string().contains("Function not found")
}

/// FNV-1a: it only has to differ when the text does.
const fn hash(text: &[u8]) -> u64 {
    let (mut hash, mut at) = (0xcbf2_9ce4_8422_2325, 0);
    while at < text.len() {
        hash = (hash ^ text[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}
