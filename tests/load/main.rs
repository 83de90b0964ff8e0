//! The load generator: runs one scenario after another against this broker and against mosquitto, side by side, and prints what
//! both delivered and what it cost them. `tests/load/run` builds everything and starts it.
//!
//! It speaks MQTT 3.1.1 by packets that are encoded beforehand. Every message carries its publisher and its sequence number, so
//! that a message that is lost, comes twice or out of order is counted, whatever the figures say.

#![allow(
    clippy::disallowed_methods,
    reason = "the generator lives outside the broker: it has a clock, and measures for as long as it is told"
)]

mod away;
mod broker;
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
use options::Options;
use scenario::{Load, Scenario};
use site::Site;
use table::Results;

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
    let kinds = Kind::present();
    if kinds.len() == 1 {
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

/// Round by round, and within a round scenario by scenario with the brokers next to each other: what else the machine does hits
/// both of them alike.
fn run(options: &Options, kinds: &[Kind]) -> Result<Results, String> {
    let measurements = options.rounds * options.scenarios.len() * kinds.len();
    let limit = Duration::from_secs_f64(measurements as f64 * (options.seconds + OVERHEAD_S));
    let started = Instant::now();
    let mut results = Results::default();
    for round in 1..=options.rounds {
        for scenario in &options.scenarios {
            if started.elapsed() > limit {
                results.note(format!("round {round} of {} left out: the run took longer than {limit:.0?}", scenario.name));
                continue;
            }
            for kind in kinds {
                measure(scenario, *kind, options.seconds, &mut results).map_err(|fault| format!("{} on {kind}: {fault}", scenario.name))?;
            }
        }
    }
    Ok(results)
}

/// One measurement on a broker that was started for it, or on two nodes.
fn measure(scenario: &Scenario, kind: Kind, seconds: f64, results: &mut Results) -> Result<(), String> {
    let time = Duration::from_secs_f64(seconds);
    let outcomes = match &scenario.load {
        Load::Traffic(traffic) => vec![traffic::measure(traffic, Site::alone(kind)?, time)?],
        Load::Across(_) | Load::Away(_) if kind != Kind::Ours => return Ok(()), // it has no nodes
        Load::Across(traffic) | Load::Away(traffic) => {
            let Some(site) = Site::cluster()? else {
                results.note(format!("{} left out: there is no redis-server on the PATH", scenario.name));
                return Ok(());
            };
            match &scenario.load {
                Load::Away(_) => away::measure(traffic, site, time)?,
                _ => vec![traffic::measure(traffic, site, time)?],
            }
        }
        Load::Idle { connections } => {
            match idle::lacking_descriptors(*connections) {
                Some(lack) => results.note(format!("{} left out: {lack}", scenario.name)),
                None => {
                    let bytes = idle::measure(Broker::start(kind)?, *connections)?;
                    eprintln!("{} {kind}: {bytes:.0} bytes for each connection", scenario.name);
                    results.idle(scenario.name, kind, bytes);
                }
            }
            Vec::new()
        }
    };
    for (row, outcome) in scenario.rows.iter().zip(outcomes) {
        eprintln!("{} {kind}: {outcome}", row.name);
        results.traffic(row.name, kind, outcome);
    }
    Ok(())
}
