//! Publishers and subscribers on one broker: what is delivered in a stretch of time, and what the broker spends on it.
//! All publishers share one thread, and so do all subscribers.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::broker;
use crate::crew::Crew;
use crate::gate::Gate;
use crate::publisher::{Published, Publisher};
use crate::scenario::{Pace, Traffic};
use crate::sequence::Faults;
use crate::site::Site;
use crate::subscriber::{Received, Subscriber};
use crate::wire::{self, Template, Wire};

/// Before it is measured: connections grow their buffers, processors their clocks.
const WARM_UP: Duration = Duration::from_millis(400);

/// How long what was published may take to come, once nothing more is published.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a second copy may take to come once everything is there.
const LINGER: Duration = Duration::from_millis(30);

/// How often a paced publisher is let go on.
const TICK: Duration = Duration::from_micros(150);

pub(crate) struct Outcome {
    pub(crate) delivered_per_s: f64,
    pub(crate) cpu_s_per_million: f64,
    /// For each message, where there is a Redis.
    pub(crate) redis_us: Option<f64>,
    /// From publisher to subscriber, of paced traffic.
    pub(crate) delays_us: Option<Delays>,
    /// How busy the generator was, of its two threads: near 1 it is the generator that was measured.
    generator: f64,
    /// Messages that were counted, measured or not.
    pub(crate) sent: u64,
    pub(crate) faults: Faults,
    /// Second copies, where QoS 1 allows them.
    pub(crate) allowed_duplicates: u64,
    /// Why a client ended before its time.
    pub(crate) fault: Option<String>,
}

pub(crate) struct Delays {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} delivered/s, {:.2} CPU s per million", self.delivered_per_s, self.cpu_s_per_million)?;
        if let Some(redis_us) = self.redis_us {
            write!(f, ", {redis_us:.2} µs of Redis for each message")?;
        }
        if let Some(delays) = &self.delays_us {
            write!(f, ", p50 {:.0} µs, p99 {:.0} µs", delays.p50, delays.p99)?;
        }
        write!(f, "; the generator's threads were {:.0} % busy", 100.0 * self.generator)
    }
}

/// Two moments make a measurement.
pub(crate) struct Moment {
    at: Instant,
    messages: u64,
    broker_cpu_s: f64,
    redis_cpu_s: Option<f64>,
    own_cpu_s: f64,
}

impl Moment {
    /// When so many messages were where they belong.
    pub(crate) fn now(site: &Site, messages: u64) -> Moment {
        let (broker_cpu_s, redis_cpu_s) = (site.cpu_s(), site.redis_cpu_s());
        Moment { at: Instant::now(), messages, broker_cpu_s, redis_cpu_s, own_cpu_s: broker::cpu_s("self") }
    }

    /// What has been from another moment to this one.
    pub(crate) fn since(&self, begin: &Moment) -> Outcome {
        let (seconds, messages) = ((self.at - begin.at).as_secs_f64(), (self.messages - begin.messages) as f64);
        let redis_s = self.redis_cpu_s.zip(begin.redis_cpu_s).map(|(end, begin)| end - begin);
        Outcome {
            delivered_per_s: messages / seconds,
            cpu_s_per_million: (self.broker_cpu_s - begin.broker_cpu_s) / messages.max(1.0) * 1e6,
            redis_us: redis_s.map(|seconds| seconds / messages.max(1.0) * 1e6),
            delays_us: None,
            generator: (self.own_cpu_s - begin.own_cpu_s) / seconds / 2.0,
            sent: 0,
            faults: Faults::default(),
            allowed_duplicates: 0,
            fault: None,
        }
    }
}

struct Field {
    site: Site,
    gate: Arc<Gate>,
    delivered: Arc<AtomicU64>,
    clock: Instant,
    publishers: JoinHandle<Vec<Published>>,
    subscribers: JoinHandle<Vec<Received>>,
}

pub(crate) fn measure(traffic: &Traffic, site: Site, measured: Duration) -> Result<Outcome, String> {
    let field = Field::open(traffic, site).map_err(|error| error.to_string())?;
    field.pass(traffic, WARM_UP);
    let begin = field.moment();
    field.pass(traffic, measured);
    let end = field.moment();
    let stretch = (begin.at - field.clock, end.at - field.clock);
    let (published, received) = field.close(traffic);
    let delays_us = traffic.is_paced().then(|| delays(&received, stretch));
    Ok(Outcome { delays_us, ..end.since(&begin) }.judged(traffic, published, &received))
}

impl Outcome {
    /// With what became of the messages.
    pub(crate) fn judged(self, traffic: &Traffic, published: Vec<Published>, received: &[Received]) -> Outcome {
        let mut faults = faults(traffic, &published, received);
        let allowed_duplicates = if traffic.qos == 1 { std::mem::take(&mut faults.duplicated) } else { 0 };
        let sent = published.iter().map(|published| published.sent).sum();
        let fault = published.into_iter().find_map(|published| published.fault);
        let fault = fault.or_else(|| received.iter().find_map(|received| received.fault.clone()));
        Outcome { sent, faults, allowed_duplicates, fault, ..self }
    }
}

impl Field {
    /// Everybody is connected and subscribed before the first message.
    fn open(traffic: &Traffic, site: Site) -> io::Result<Field> {
        let (gate, delivered, clock) = (Arc::new(Gate::default()), Arc::new(AtomicU64::new(0)), Instant::now());
        let subscribers = Crew::gather(traffic.subscribers, async |index| {
            let mut stream = wire::connect(site.subscribe_at(), &format!("sub{index}"), traffic.durable).await?;
            wire::subscribe(&mut stream, &traffic.topic(index), traffic.qos).await?;
            let (delivered, gate) = (delivered.clone(), gate.clone());
            Ok((Subscriber { traffic: *traffic, delivered, gate, clock, received: Received::default() }, stream))
        })?;
        let publishers = publishers(traffic, &site, &gate, clock)?;
        let subscribers = subscribers.run(|(subscriber, stream)| subscriber.run(stream));
        let publishers = publishers.run(|(publisher, stream)| publisher.run(stream));
        match traffic.pace {
            Pace::Undelivered(messages) => gate.raise(messages, 1),
            Pace::Window(_) => gate.raise(u64::MAX, 1),
            Pace::PerSecond(_) => {}
        }
        Ok(Field { site, gate, delivered, clock, publishers, subscribers })
    }

    /// Lets time pass, and paced publishers keep up with it.
    fn pass(&self, traffic: &Traffic, time: Duration) {
        let Pace::PerSecond(messages) = traffic.pace else { return thread::sleep(time) };
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.gate.raise((self.clock.elapsed().as_secs_f64() * messages as f64) as u64, 1);
            thread::sleep(TICK);
        }
    }

    fn moment(&self) -> Moment {
        Moment::now(&self.site, self.delivered.load(Ordering::Relaxed))
    }

    /// Waits for what is under way, then ends the broker, and with it every connection.
    fn close(self, traffic: &Traffic) -> (Vec<Published>, Vec<Received>) {
        self.gate.stop();
        let deadline = Instant::now() + DRAIN;
        let wait = |is_done: &dyn Fn() -> bool| {
            while !is_done() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            is_done()
        };
        let mut site = Some(self.site);
        if !wait(&|| self.publishers.is_finished()) {
            site = None;
            self.gate.end(); // acknowledgements are owed that nobody sees any more
        }
        let published = self.publishers.join().expect("no publisher panics");
        let expected = published.iter().map(|published| published.sent).sum::<u64>() * traffic.copies();
        if site.is_some() && wait(&|| self.delivered.load(Ordering::Relaxed) >= expected) {
            thread::sleep(LINGER);
        }
        drop(site);
        self.gate.end();
        (published, self.subscribers.join().expect("no subscriber panics"))
    }
}

/// Everybody who publishes, connected.
pub(crate) fn publishers(traffic: &Traffic, site: &Site, gate: &Arc<Gate>, clock: Instant) -> io::Result<Crew<(Publisher, Wire)>> {
    Crew::gather(traffic.publishers, async |index| {
        let stream = wire::connect(site.publish_at(), &format!("pub{index}"), false).await?;
        let template = Template::new(&traffic.topic(index), traffic.qos, traffic.payload_bytes);
        let window = if let Pace::Window(messages) = traffic.pace { messages } else { u64::from(u16::MAX) };
        Ok((Publisher { index: index as u32, template, qos: traffic.qos, window, gate: gate.clone(), clock }, stream))
    })
}

fn faults(traffic: &Traffic, published: &[Published], received: &[Received]) -> Faults {
    let mut faults = Faults { unacknowledged: published.iter().map(|published| published.in_flight).sum(), ..Faults::default() };
    for (subscriber, received) in received.iter().enumerate() {
        for (publisher, sequence) in received.sequences.iter().enumerate() {
            let is_for_it = !traffic.pairs || publisher == subscriber;
            faults.add(sequence.faults(if is_for_it { published[publisher].sent } else { 0 }));
        }
    }
    faults
}

/// Of the messages that were published in this stretch of the clock.
fn delays(received: &[Received], (begin, end): (Duration, Duration)) -> Delays {
    let stretch = begin.as_nanos() as u64..end.as_nanos() as u64;
    let all = received.iter().flat_map(|received| &received.delays_ns);
    let mut delays: Vec<u64> = all.filter(|(at_ns, _)| stretch.contains(at_ns)).map(|(_, delay_ns)| *delay_ns).collect();
    delays.sort_unstable();
    let quantile = |share: f64| delays.get((delays.len() as f64 * share) as usize).map_or(f64::NAN, |ns| *ns as f64 / 1000.0);
    Delays { p50: quantile(0.5), p99: quantile(0.99) }
}
