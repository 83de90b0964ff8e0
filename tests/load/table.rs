//! What was measured, and how it is shown: medians of the rounds, as Markdown.

use std::fmt;

use mqttd::hook::client::Transport;

use crate::broker::Kind;
use crate::options::Options;
use crate::scenario::Stage;
use crate::sequence::Faults;
use crate::traffic::Outcome;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    Delivered,
    Cpu,
    Redis,
    P50,
    P99,
    Memory,
    Connects,
}

/// One table each; a scenario is a row where it has the first of the metrics.
const TABLES: [&[Metric]; 4] =
    [&[Metric::Delivered, Metric::Cpu], &[Metric::P50, Metric::P99, Metric::Cpu], &[Metric::Memory], &[Metric::Connects]];

/// So much of the Redis CPU of the design is allowed.
const REDIS_ALLOWED: f64 = 1.3;

/// A stage of a scenario, over a transport.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) stage: &'static str,
    pub(crate) transport: Transport,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            Transport::Tcp => f.write_str(self.stage),
            transport => write!(f, "{} over {}", self.stage, transport.scheme()),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Metric::Delivered => "delivered/s",
            Metric::Cpu => "CPU s per million",
            Metric::Redis => "Redis CPU µs per message",
            Metric::P50 => "p50 µs",
            Metric::P99 => "p99 µs",
            Metric::Memory => "bytes per connection",
            Metric::Connects => "connects per CPU s",
        })
    }
}

struct Figure {
    row: Row,
    kind: Kind,
    metric: Metric,
    value: f64,
}

#[derive(Default)]
pub(crate) struct Results {
    figures: Vec<Figure>,
    notes: Vec<String>,
    counted: u64,
    unsound: Vec<String>,
}

impl Results {
    pub(crate) fn traffic(&mut self, row: Row, kind: Kind, outcome: Outcome) {
        eprintln!("{row} {kind}: {outcome}");
        outcome.fault.iter().for_each(|fault| eprintln!("{row} {kind}: {fault}"));
        let mut add = |metric, value| self.figures.push(Figure { row, kind, metric, value });
        match &outcome.delays_us {
            Some(delays) => {
                add(Metric::P50, delays.p50);
                add(Metric::P99, delays.p99);
            }
            None => add(Metric::Delivered, outcome.delivered_per_s),
        }
        add(Metric::Cpu, outcome.cpu_s_per_million);
        if let Some(redis_us) = outcome.redis_us {
            add(Metric::Redis, redis_us);
        }
        self.counted += outcome.sent;
        if outcome.allowed_duplicates > 0 {
            self.note(format!("{row} on {kind}: {} messages came twice, as QoS 1 may", outcome.allowed_duplicates));
        }
        if outcome.faults != Faults::default() || outcome.fault.is_some() {
            let Faults { lost, duplicated, reordered, unacknowledged } = outcome.faults;
            let fault = outcome.fault.map(|fault| format!("; {fault}")).unwrap_or_default();
            self.unsound.push(format!(
                "{row} on {kind}: {lost} lost, {duplicated} duplicated, {reordered} reordered, {unacknowledged} not acknowledged, of \
                 {} published{fault}",
                outcome.sent
            ));
        }
    }

    pub(crate) fn one(&mut self, row: Row, kind: Kind, metric: Metric, value: f64) {
        eprintln!("{row} {kind}: {value:.0} {metric}");
        self.figures.push(Figure { row, kind, metric, value });
    }

    pub(crate) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(crate) fn sound(&self) -> bool {
        self.unsound.is_empty()
    }

    fn median(&self, row: Row, kind: Kind, metric: Metric) -> Option<f64> {
        let is_it = |figure: &&Figure| figure.row == row && figure.kind == kind && figure.metric == metric;
        let mut values: Vec<f64> = self.figures.iter().filter(is_it).map(|figure| figure.value).collect();
        values.sort_unstable_by(f64::total_cmp);
        let (low, high) = (values.get(values.len().saturating_sub(1) / 2)?, values.get(values.len() / 2)?);
        Some((low + high) / 2.0)
    }
}

pub(crate) fn print(options: &Options, kinds: &[Kind], results: &Results) {
    println!("Median of {} rounds of {} s. {}", options.rounds, options.seconds, machine());
    println!("{}.", kinds.iter().map(|kind| kind.version()).collect::<Vec<_>>().join("; "));
    if kinds.len() > 1 {
        println!("The ratio is mqttd to mosquitto: more is better of what is delivered and of connects, less of all else.");
    }
    let beside_tcp = options.transports.len() > 1 && options.transports.contains(&Transport::Tcp);
    let stages = || options.scenarios.iter().flat_map(|scenario| &scenario.stages);
    let rows = || {
        stages().flat_map(|stage| options.transports.iter().map(move |transport| (Row { stage: stage.name, transport: *transport }, stage)))
    };
    for metrics in TABLES {
        let has_first = |row: Row| kinds.iter().any(|kind| results.median(row, *kind, metrics[0]).is_some());
        let rows: Vec<_> = rows().filter(|(row, _)| has_first(*row)).collect();
        if rows.is_empty() {
            continue;
        }
        println!("\n{}", heading(metrics, kinds, beside_tcp));
        for (row, stage) in rows {
            let cells: String = metrics.iter().map(|metric| cells(results, row, *metric, kinds, beside_tcp)).collect();
            println!("| {row}: {} |{cells}", stage.title);
        }
    }
    print_redis(stages(), results);
    println!();
    results.notes.iter().for_each(|note| println!("Note: {note}."));
    results.unsound.iter().for_each(|fault| println!("UNSOUND: {fault}"));
    if results.sound() && results.counted > 0 {
        println!(
            "{} messages were published: none was lost, out of order, or twice where QoS forbids it.",
            grouped(results.counted as f64)
        );
    }
}

/// What Redis spends, beside what the design says and what is allowed.
fn print_redis<'a>(stages: impl Iterator<Item = &'a Stage>, results: &Results) {
    let found = |stage: &Stage| results.median(Row { stage: stage.name, transport: Transport::Tcp }, Kind::Ours, Metric::Redis);
    let rows: Vec<_> = stages.filter_map(|stage| Some((stage, found(stage)?))).collect();
    if rows.is_empty() {
        return;
    }
    println!("\n| | {} | design | at most {REDIS_ALLOWED} × |\n|---|---:|---:|---:|", Metric::Redis);
    for (stage, found) in rows {
        let design = stage.redis_us.map_or("– | – |".to_owned(), |design| format!("{design:.2} | {:.2} |", design * REDIS_ALLOWED));
        println!("| {}: {} | {found:.2} | {design}", stage.name, stage.title);
    }
}

fn heading(metrics: &[Metric], kinds: &[Kind], beside_tcp: bool) -> String {
    let (mut titles, mut rule) = ("| |".to_owned(), "|---|".to_owned());
    for metric in metrics {
        for kind in kinds {
            titles += &format!(" {kind} {metric} |");
            rule += "---:|";
        }
        if kinds.len() > 1 {
            titles += " ratio |";
            rule += "---:|";
        }
        if beside_tcp {
            titles += " to mqttd over tcp |";
            rule += "---:|";
        }
    }
    format!("{titles}\n{rule}")
}

/// A cell for each broker, one for how the first compares to the second, and one for how it compares to itself over TCP.
fn cells(results: &Results, row: Row, metric: Metric, kinds: &[Kind], beside_tcp: bool) -> String {
    let medians: Vec<_> = kinds.iter().map(|kind| results.median(row, *kind, metric)).collect();
    let show = |value: f64| if metric == Metric::Cpu { format!("{value:.2}") } else { grouped(value) };
    let mut cells: String = medians.iter().map(|median| format!(" {} |", median.map_or("–".to_owned(), show))).collect();
    if let [Some(ours), Some(peer)] = medians[..] {
        cells += &format!(" {:.2} |", ours / peer);
    } else if kinds.len() > 1 {
        cells += " – |";
    }
    let plain = results.median(Row { transport: Transport::Tcp, ..row }, kinds[0], metric);
    if beside_tcp {
        cells += &plain.zip(medians[0]).map_or(" – |".to_owned(), |(plain, ours)| format!(" {:.2} |", ours / plain));
    }
    cells
}

/// 1234567 as 1,234,567.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).map(|rest| rest.trim_start_matches([' ', '\t', ':']));
    format!("{processors} × {}, broker and generator on the same machine, over loopback.", model.unwrap_or("processor of unknown model"))
}
