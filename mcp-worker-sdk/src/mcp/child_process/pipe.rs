//! Newline-delimited JSON over the standard input and output of a program.

use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::super::MESSAGE_BYTES_MAX;

/// What a program is told.
pub(super) struct Input(ChildStdin);

/// What a program says.
pub(super) struct Output {
    reader: BufReader<ChildStdout>,
    line: Vec<u8>,
}

/// Both ends, if the program has them.
pub(super) fn open(child: &mut Child) -> Option<(Input, Output)> {
    let (input, output) = (child.stdin.take()?, child.stdout.take()?);
    Some((Input(input), Output { reader: BufReader::new(output), line: Vec::new() }))
}

impl Input {
    pub(super) async fn write(&mut self, message: &Value) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.0.write_all(&line).await?;
        self.0.flush().await
    }
}

impl Output {
    /// The next message; `None`: there will be none any more. What is none is passed over.
    pub(super) async fn read(&mut self) -> std::io::Result<Option<Map<String, Value>>> {
        loop {
            self.line.clear();
            let mut bounded = (&mut self.reader).take(MESSAGE_BYTES_MAX as u64 + 1);
            if bounded.read_until(b'\n', &mut self.line).await? == 0 {
                return Ok(None);
            }
            if self.line.len() > MESSAGE_BYTES_MAX {
                tracing::warn!("an MCP server says more than {MESSAGE_BYTES_MAX} bytes at once");
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            if let Ok(Value::Object(message)) = serde_json::from_slice(&self.line) {
                return Ok(Some(message));
            }
        }
    }
}
