//! `mqttd trace`: what becomes of messages, line by line, for as long as it runs.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::control::{Target, text};
use super::{Failure, http, print};

#[derive(Args, Clone, Debug)]
pub(super) struct TraceArguments {
    /// Messages that this client publishes or is to receive
    #[arg(long, value_name = "ID", required_unless_present = "topic")]
    client: Option<String>,
    /// Messages to these topics; '#' is everything
    #[arg(long, value_name = "FILTER")]
    topic: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Longer than anybody follows a message; the node sends a comment when there is nothing else to say.
const PATIENCE: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) fn run(arguments: &TraceArguments) -> Result<(), Failure> {
    let node = arguments.target.node()?;
    let mut query = Vec::new();
    query.extend(arguments.client.as_deref().map(|id| ("clientid", id)));
    query.extend(arguments.topic.as_deref().map(|topic| ("topic", topic)));
    http::block_on(async {
        let mut answer = node.open(&["trace"], &query, PATIENCE).await?;
        let mut lines = Lines::default();
        while let Some(part) = answer.chunk().await.map_err(|error| Failure::Runtime(format!("the node ended the trace: {error}")))? {
            for (event, data) in lines.take(&part) {
                print(&if arguments.target.json { format!("{data}\n") } else { line(&event, &data) })?;
            }
        }
        Err(Failure::Runtime("the node has ended the trace: it ends, or gives up".to_owned()))
    })
}

/// One event as a line for people.
fn line(event: &str, data: &Value) -> String {
    let names = |list: &Value| list.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(", ");
    let line = match event {
        "following" if data["missing"].as_array().is_some_and(|missing| !missing.is_empty()) => {
            format!("following on {}; these nodes do not answer: {}", names(&data["nodes"]), names(&data["missing"]))
        }
        "following" => format!("following on {}", names(&data["nodes"])),
        "missing" => match names(&data["missing"]) + &names(&data["full"]) {
            nobody if nobody.is_empty() => "every node is followed on again".to_owned(),
            nodes => format!("nothing is heard of these nodes from now on: {nodes}"),
        },
        "lost" => format!("node {} had {} notes more than are kept: follow something narrower", text(&data["node"]), text(&data["count"])),
        _ => {
            let time = text(&data["at"]);
            let time = time.get(11..23).unwrap_or(&time);
            let qos = format!("QoS {}", text(&data["qos"]));
            let size = format!("{} B", text(&data["payload_bytes"]));
            let mut line = format!(
                "{time}  {:8}  {}  {:14}  {}  {qos}  {size}",
                text(&data["node"]),
                text(&data["message"]),
                text(&data["step"]),
                text(&data["topic"])
            );
            for (label, field) in [("from", "publisher"), ("to", "recipient"), ("packet", "packet_id")] {
                if !data[field].is_null() {
                    line += &format!("  {label} {}", text(&data[field]));
                }
            }
            if let Some(detail) = data["detail"].as_str() {
                line += &format!("  ({detail})");
            }
            line
        }
    };
    line.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>() + "\n"
}

/// Server-sent events out of the parts in which they come.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// The name and the data of each event that is whole by now. Comments are no events.
    fn take(&mut self, part: &[u8]) -> Vec<(String, Value)> {
        self.rest.extend_from_slice(part);
        let mut events = Vec::new();
        while let Some(end) = self.rest.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = self.rest.drain(..end + 2).collect();
            let event = String::from_utf8_lossy(&event);
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default();
            if let Ok(data) = serde_json::from_str(field("data:")) {
                events.push((field("event:").to_owned(), data));
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_come_in_any_parts() {
        let stream = "event: following\ndata: {\"nodes\":[\"a\"]}\n\n: comment\n\nevent: fate\ndata: {\"step\":\"sent\"}\n\n";
        for size in [1, 7, 1000] {
            let mut lines = Lines::default();
            let events: Vec<_> = stream.as_bytes().chunks(size).flat_map(|part| lines.take(part)).collect();
            let names: Vec<_> = events.iter().map(|(event, _)| event.as_str()).collect();
            assert_eq!(names, ["following", "fate"]);
        }
    }

    #[test]
    fn a_line_says_it_all_and_does_nothing_to_the_terminal() {
        let note = json!({
            "at": "2026-11-25T00:00:05.007Z", "node": "n0", "message": "0a0b0c0d", "step": "dropped", "topic": "a\u{1b}b", "qos": 1,
            "payload_bytes": 5, "publisher": "p", "recipient": "s", "packet_id": null, "detail": "why",
        });
        assert_eq!(line("fate", &note), "00:00:05.007  n0        0a0b0c0d  dropped         a?b  QoS 1  5 B  from p  to s  (why)\n");
    }
}
