//! The command line.

use mqttd::hook::client::Transport;
use mqttd_tests::{bridge, way};

use crate::scenario::{self, Scenario};

pub(crate) struct Options {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) transports: Vec<Transport>,
    /// What is measured of every traffic, after warming up.
    pub(crate) seconds: f64,
    pub(crate) rounds: usize,
}

impl Options {
    /// Nothing when help was asked for, and given.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
        let mut options = Options { scenarios: scenario::all(), transports: vec![bridge::asked_for()], seconds: 2.0, rounds: 3 };
        while let Some(argument) = arguments.next() {
            if matches!(&*argument, "--help" | "-h") {
                help();
                return Ok(None);
            }
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (argument, arguments.next()),
            };
            let value = value.ok_or_else(|| format!("{name} is followed by a value; see --help"))?;
            match &*name {
                "--scenario" => options.scenarios = named(&value)?,
                "--transport" => options.transports = transports(&value)?,
                "--seconds" => options.seconds = number(&name, &value, 0.2, 600.0)?,
                "--rounds" => options.rounds = number(&name, &value, 1.0, 100.0)? as usize,
                _ => return Err(format!("there is no {name}; see --help")),
            }
        }
        Ok(Some(options))
    }
}

fn named(list: &str) -> Result<Vec<Scenario>, String> {
    let find = |name: &str| scenario::all().into_iter().find(|scenario| scenario.name.eq_ignore_ascii_case(name));
    list.split(',').map(|name| find(name.trim()).ok_or_else(|| format!("there is no scenario {name}; see --help"))).collect()
}

fn transports(list: &str) -> Result<Vec<Transport>, String> {
    let find = |name: &str| way::ALL.into_iter().find(|transport| transport.scheme() == name);
    let find = |name: &str| find(name).ok_or_else(|| format!("there is no transport {name}: tcp, tls, ws, wss, quic"));
    if list == "all" { Ok(way::ALL.to_vec()) } else { list.split(',').map(|name| find(name.trim())).collect() }
}

fn number(name: &str, value: &str, min: f64, max: f64) -> Result<f64, String> {
    let number: Option<f64> = value.parse().ok();
    number.filter(|number| (min..=max).contains(number)).ok_or_else(|| format!("{name} is a number from {min} to {max}, not {value}"))
}

fn help() {
    println!("tests/load/run [--scenario A,B] [--transport all] [--seconds 2] [--rounds 3]\n");
    println!("Measures this broker beside mosquitto, interleaved, and prints medians of the rounds as Markdown.");
    println!("The exit status is 1 when a message was lost, came out of order, or came twice where QoS forbids it.\n");
    for scenario in scenario::all() {
        let titles: Vec<_> = scenario.stages.iter().map(|stage| stage.title).collect();
        println!("  {:2}  {}", scenario.name, titles.join(", "));
    }
    println!(
        "\n--transport is what carries it, one or several: tcp, tls, ws, wss, quic, of which mosquitto has all but the last. Other than tcp"
    );
    println!("takes the generator more than the brokers: what they spend, in CPU seconds, says more than messages per second.");
    println!("`tests/load/run --scenario B,D,H,K --transport all` compares them.");
    println!(
        "\nI, J0, J1 and L take two nodes of ours on a redis-server of their own, over tcp; what Redis spends is held against the design."
    );
    println!("\n$MQTTD names the binary of ours; mosquitto and redis-server are those on the PATH.");
}
