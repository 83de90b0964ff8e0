//! What was measured, and how it is shown: medians of the rounds, as Markdown.

use std::fmt;

use crate::broker::Kind;
use crate::options::Options;
use crate::sequence::Faults;
use crate::traffic::Outcome;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Metric {
    Delivered,
    Cpu,
    Redis,
    P50,
    P99,
    Memory,
}

/// One table each; a scenario is a row where it has the first of the metrics.
const TABLES: [&[Metric]; 3] = [&[Metric::Delivered, Metric::Cpu], &[Metric::P50, Metric::P99, Metric::Cpu], &[Metric::Memory]];

/// So much of the Redis CPU of the design is allowed.
const REDIS_ALLOWED: f64 = 1.3;

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Metric::Delivered => "delivered/s",
            Metric::Cpu => "CPU s per million",
            Metric::Redis => "Redis CPU µs per message",
            Metric::P50 => "p50 µs",
            Metric::P99 => "p99 µs",
            Metric::Memory => "bytes per connection",
        })
    }
}

struct Figure {
    scenario: &'static str,
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
    pub(crate) fn traffic(&mut self, scenario: &'static str, kind: Kind, outcome: Outcome) {
        let mut add = |metric, value| self.figures.push(Figure { scenario, kind, metric, value });
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
            self.note(format!("{scenario} on {kind}: {} messages came twice, as QoS 1 may", outcome.allowed_duplicates));
        }
        if outcome.faults != Faults::default() || outcome.fault.is_some() {
            let Faults { lost, duplicated, reordered, unacknowledged } = outcome.faults;
            let fault = outcome.fault.map(|fault| format!("; {fault}")).unwrap_or_default();
            self.unsound.push(format!(
                "{scenario} on {kind}: {lost} lost, {duplicated} duplicated, {reordered} reordered, {unacknowledged} not acknowledged, of \
                 {} published{fault}",
                outcome.sent
            ));
        }
    }

    pub(crate) fn idle(&mut self, scenario: &'static str, kind: Kind, bytes: f64) {
        self.figures.push(Figure { scenario, kind, metric: Metric::Memory, value: bytes });
    }

    pub(crate) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(crate) fn sound(&self) -> bool {
        self.unsound.is_empty()
    }

    fn median(&self, scenario: &str, kind: Kind, metric: Metric) -> Option<f64> {
        let is_it = |figure: &&Figure| figure.scenario == scenario && figure.kind == kind && figure.metric == metric;
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
        println!("The ratio is mqttd to mosquitto: more is better of what is delivered, less of all else.");
    }
    for metrics in TABLES {
        let has_first = |name| kinds.iter().any(|kind| results.median(name, *kind, metrics[0]).is_some());
        let rows: Vec<_> = options.scenarios.iter().flat_map(|scenario| &scenario.rows).filter(|row| has_first(row.name)).collect();
        if rows.is_empty() {
            continue;
        }
        println!("\n{}", heading(metrics, kinds));
        for row in rows {
            let cells: String = metrics.iter().map(|metric| cells(results, row.name, *metric, kinds)).collect();
            println!("| {}: {} |{cells}", row.name, row.title);
        }
    }
    print_redis(options, results);
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
fn print_redis(options: &Options, results: &Results) {
    let rows = options.scenarios.iter().flat_map(|scenario| &scenario.rows);
    let rows: Vec<_> = rows.filter_map(|row| Some((row, results.median(row.name, Kind::Ours, Metric::Redis)?))).collect();
    if rows.is_empty() {
        return;
    }
    println!("\n| | {} | design | at most {REDIS_ALLOWED} × |\n|---|---:|---:|---:|", Metric::Redis);
    for (row, found) in rows {
        let design = row.redis_us.map_or("– | – |".to_owned(), |design| format!("{design:.2} | {:.2} |", design * REDIS_ALLOWED));
        println!("| {}: {} | {found:.2} | {design}", row.name, row.title);
    }
}

fn heading(metrics: &[Metric], kinds: &[Kind]) -> String {
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
    }
    format!("{titles}\n{rule}")
}

/// A cell for each broker, and one for how the first compares to the second.
fn cells(results: &Results, scenario: &str, metric: Metric, kinds: &[Kind]) -> String {
    let medians: Vec<_> = kinds.iter().map(|kind| results.median(scenario, *kind, metric)).collect();
    let show = |value: f64| if metric == Metric::Cpu { format!("{value:.2}") } else { grouped(value) };
    let mut cells: String = medians.iter().map(|median| format!(" {} |", median.map_or("–".to_owned(), show))).collect();
    if let [Some(ours), Some(peer)] = medians[..] {
        cells += &format!(" {:.2} |", ours / peer);
    } else if kinds.len() > 1 {
        cells += " – |";
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
