//! `mqttd trace` as somebody runs it, line by line.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use serde_json::Value;

use crate::cluster::{PATIENCE, command};
use crate::http::Admin;

/// A trace that runs; it ends with this value.
pub struct Trace {
    process: Child,
    lines: Receiver<String>,
    /// All that it has said.
    said: Vec<Value>,
}

impl Trace {
    /// Asked of this node with these arguments; comes back when all nodes follow, with their names.
    #[track_caller]
    pub fn begin(admin: &Admin, arguments: &[&str]) -> (Trace, Vec<String>) {
        let url = format!("http://{}", admin.address());
        let mut process = command()
            .args(["trace", "--json", "--url", &url])
            .args(arguments)
            .env("MQTTD_CONFIG", "/dev/null")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("mqttd runs");
        let output = BufReader::new(process.stdout.take().expect("its output"));
        let (told, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        let mut trace = Trace { process, lines, said: Vec::new() };
        let begun = trace.next();
        let nodes = begun["nodes"].as_array().unwrap_or_else(|| panic!("it begins with the nodes: {begun}"));
        let nodes = nodes.iter().filter_map(|node| Some(node.as_str()?.to_owned())).collect();
        (trace, nodes)
    }

    #[track_caller]
    fn next(&mut self) -> Value {
        let line = match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("nothing more comes after {:#?}", self.said),
            Err(RecvTimeoutError::Disconnected) => panic!("the trace has ended after {:#?}", self.said),
        };
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.said.push(event.clone());
        event
    }

    /// What was said of this message once there was a note for each of these: `NODE STEP CLIENT`, where the client is the recipient, or
    /// the publisher where there is none.
    #[track_caller]
    pub fn until(&mut self, expected: &[&str]) -> Vec<String> {
        let mut seen: Vec<String> = Vec::new();
        while !expected.iter().all(|one| seen.iter().any(|line| line == one)) {
            let note = self.next();
            let text = |field: &str| note[field].as_str().unwrap_or_default().to_owned();
            let who = if note["recipient"].is_null() { text("publisher") } else { text("recipient") };
            let step = if note["why"].is_null() { text("step") } else { text("why") };
            seen.push(format!("{} {step} {who}", text("node")));
        }
        seen
    }

    /// The next line that has this field.
    #[track_caller]
    pub fn event(&mut self, field: &str) -> Value {
        loop {
            let event = self.next();
            if event.get(field).is_some() {
                return event;
            }
        }
    }

    /// Everything that was printed so far.
    pub fn said(&self) -> &[Value] {
        &self.said
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // It ends by itself only when the node does.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
