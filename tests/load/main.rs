//! The load generator: runs one scenario after another against this broker and against mosquitto, side by side, and prints what
//! both delivered and what it cost them; some on two nodes of this broker, with what it cost their Redis. `tests/load/run` builds
//! everything and starts it.
//!
//! It speaks MQTT 3.1.1 by packets that are encoded beforehand. Every message carries its publisher and its sequence number, so
//! that a message that is lost, comes twice or out of order is counted, whatever the figures say.

#![allow(
    clippy::disallowed_methods,
    reason = "the generator lives outside the broker: it has a clock, and measures for as long as it is told"
)]

mod away;
mod broker;
mod connects;
mod crew;
mod gate;
mod idle;
mod options;
mod publisher;
mod scenario;
mod sequence;
mod site;
mod subscriber;
mod table;
mod traffic;
mod wire;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use broker::{Broker, Kind};
use mqttd::hook::client::Transport;
use options::Options;
use scenario::{Load, Scenario};
use site::Site;
use table::{Metric, Results, Row};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("load: {fault}");
            return ExitCode::from(2);
        }
    };
    let kinds = Kind::present(&options.transports);
    if kinds.len() == 1 && options.transports != [Transport::Quic] {
        println!("There is no mosquitto on the PATH (Debian: apt install mosquitto): ours is measured alone.\n");
    }
    match run(&options, &kinds) {
        Ok(results) => {
            table::print(&options, &kinds, &results);
            if results.sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(fault) => {
            eprintln!("load: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// Round by round, and within a round scenario by scenario with transports and brokers next to each other: what else the machine does hits
/// all of them alike.
fn run(options: &Options, kinds: &[Kind]) -> Result<Results, String> {
    let places = |scenario: &Scenario| -> Vec<(Transport, Kind)> {
        let all = options.transports.iter().flat_map(|transport| kinds.iter().map(|kind| (*transport, *kind)));
        all.filter(|(transport, kind)| scenario.runs(*kind, *transport)).collect()
    };
    let round_s = |scenario: &Scenario| places(scenario).len() as f64 * scenario.takes_s(options.seconds);
    let limit = Duration::from_secs_f64(options.rounds as f64 * options.scenarios.iter().map(round_s).sum::<f64>());
    let started = Instant::now();
    let mut results = Results::default();
    for round in 1..=options.rounds {
        for scenario in &options.scenarios {
            let places = places(scenario);
            if places.is_empty() {
                results.note(format!("{} left out: two nodes are measured over tcp alone", scenario.name));
            } else if started.elapsed() > limit {
                results.note(format!("round {round} of {} left out: the run took longer than {limit:.0?}", scenario.name));
                continue;
            }
            for (transport, kind) in places {
                let measured = measure(scenario, kind, transport, options.seconds, &mut results);
                measured.map_err(|fault| format!("{} over {} on {kind}: {fault}", scenario.name, transport.scheme()))?;
            }
        }
    }
    Ok(results)
}

/// One measurement on a broker that was started for it, or on two nodes.
fn measure(scenario: &Scenario, kind: Kind, transport: Transport, seconds: f64, results: &mut Results) -> Result<(), String> {
    if let Some(lack) = lack(scenario, transport) {
        results.note(format!("{} over {} left out: {lack}", scenario.name, transport.scheme()));
        return Ok(());
    }
    let measured = Duration::from_secs_f64(seconds);
    let rows = scenario.stages.iter().map(|stage| Row { stage: stage.name, transport });
    let mut one = |metric, value| rows.clone().for_each(|row| results.one(row, kind, metric, value));
    let outcomes = match &scenario.load {
        Load::Traffic(traffic) => vec![traffic::measure(traffic, Site::alone(kind, transport)?, measured)?],
        Load::Across(traffic) => vec![traffic::measure(traffic, Site::cluster()?, measured)?],
        Load::Away(traffic) => away::measure(traffic, Site::cluster()?, measured)?,
        Load::Idle => {
            one(Metric::Memory, idle::measure(&Broker::start(kind, transport)?, transport)?);
            Vec::new()
        }
        Load::Connects => {
            one(Metric::Connects, connects::measure(&Broker::start(kind, transport)?, measured)?);
            Vec::new()
        }
    };
    for (row, outcome) in rows.zip(outcomes) {
        results.traffic(row, kind, outcome);
    }
    Ok(())
}

/// Why a scenario cannot be had here.
fn lack(scenario: &Scenario, transport: Transport) -> Option<String> {
    match scenario.load {
        Load::Idle => idle::lacking_descriptors(transport),
        Load::Across(_) | Load::Away(_) => site::lacking_redis(),
        Load::Traffic(_) | Load::Connects => None,
    }
}
