//! The command line.

use crate::scenario::{self, Scenario};

pub(crate) struct Options {
    pub(crate) scenarios: Vec<Scenario>,
    /// What is measured of every traffic, after warming up.
    pub(crate) seconds: f64,
    pub(crate) rounds: usize,
}

impl Options {
    /// Nothing when help was asked for, and given.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
        let mut options = Options { scenarios: scenario::all(), seconds: 2.0, rounds: 3 };
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

fn number(name: &str, value: &str, min: f64, max: f64) -> Result<f64, String> {
    let number: Option<f64> = value.parse().ok();
    number.filter(|number| (min..=max).contains(number)).ok_or_else(|| format!("{name} is a number from {min} to {max}, not {value}"))
}

fn help() {
    println!("tests/load/run [--scenario A,B] [--seconds 2] [--rounds 3]\n");
    println!("Measures this broker beside mosquitto, interleaved, and prints medians of the rounds as Markdown.");
    println!("The exit status is 1 when a message was lost, came out of order, or came twice where QoS forbids it.\n");
    for scenario in scenario::all() {
        let titles: Vec<_> = scenario.rows.iter().map(|row| row.title).collect();
        println!("  {:2}  {}", scenario.name, titles.join(", "));
    }
    println!(
        "\n$MQTTD_TEST_TRANSPORT is what carries it: tcp, tls, ws, wss or quic, of which mosquitto has all but the last. Other than tcp"
    );
    println!("takes the generator more than the brokers: what they spend, in CPU seconds, says more than messages per second.");
    println!(
        "\nI, J0, J1 and L take two nodes of ours and a redis-server, which is found on the PATH. Redis CPU is held against the design."
    );
    println!("\n$MQTTD names the binary of ours; mosquitto is the one on the PATH.");
}
