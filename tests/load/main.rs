//! The load generator: runs one scenario after another against this broker and against mosquitto, side by side, and prints what
//! both delivered and what it cost them. `tests/load/run` builds everything and starts it.
//!
//! It speaks MQTT 3.1.1 by packets that are encoded beforehand. Every message carries its publisher and its sequence number, so
//! that a message that is lost, comes twice or out of order is counted, whatever the figures say.

#![allow(
    clippy::disallowed_methods,
    reason = "the generator lives outside the broker: it has a clock, and measures for as long as it is told"
)]

mod broker;
mod connects;
mod gate;
mod idle;
mod options;
mod publisher;
mod scenario;
mod sequence;
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
use table::{Metric, Results, Row};

/// What a measurement takes besides the seconds that are measured: starting the broker, warming up, draining. A run that has used
/// more than this for each of its measurements leaves out the rest.
const OVERHEAD_S: f64 = 1.4;

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
    let brokers: usize = options.transports.iter().map(|transport| kinds.iter().filter(|kind| kind.has(*transport)).count()).sum();
    let measurements = options.rounds * options.scenarios.len() * brokers;
    let limit = Duration::from_secs_f64(measurements as f64 * (options.seconds + OVERHEAD_S));
    let started = Instant::now();
    let mut results = Results::default();
    for round in 1..=options.rounds {
        for scenario in &options.scenarios {
            if started.elapsed() > limit {
                results.note(format!("round {round} of {} left out: the run took longer than {limit:.0?}", scenario.name));
                continue;
            }
            for transport in &options.transports {
                for kind in kinds.iter().filter(|kind| kind.has(*transport)) {
                    let row = Row { scenario: scenario.name, transport: *transport };
                    measure(scenario, *kind, row, options.seconds, &mut results).map_err(|fault| format!("{row} on {kind}: {fault}"))?;
                }
            }
        }
    }
    Ok(results)
}

/// One measurement on a broker that was started for it.
fn measure(scenario: &Scenario, kind: Kind, row: Row, seconds: f64, results: &mut Results) -> Result<(), String> {
    let transport = row.transport;
    match &scenario.load {
        Load::Traffic(traffic) => {
            let broker = Broker::start(kind, transport)?;
            let outcome = traffic::measure(traffic, broker, Duration::from_secs_f64(seconds))?;
            eprintln!("{row} {kind}: {outcome}");
            results.traffic(row, kind, outcome);
        }
        Load::Idle => match idle::lacking_descriptors(transport) {
            Some(lack) => results.note(format!("{row} left out: {lack}")),
            None => {
                let bytes = idle::measure(Broker::start(kind, transport)?, transport)?;
                eprintln!("{row} {kind}: {bytes:.0} bytes for each connection");
                results.one(row, kind, Metric::Memory, bytes);
            }
        },
        Load::Connects => {
            let connects = connects::measure(&Broker::start(kind, transport)?, Duration::from_secs_f64(seconds))?;
            eprintln!("{row} {kind}: {connects:.0} connects for each CPU second");
            results.one(row, kind, Metric::Connects, connects);
        }
    }
    Ok(())
}
