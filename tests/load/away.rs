//! Messages for Sessions whose clients are away: what it costs to store them, and to hand them out when the clients come.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::crew::Crew;
use crate::gate::Gate;
use crate::publisher::Published;
use crate::scenario::Traffic;
use crate::site::Site;
use crate::subscriber::{Received, Subscriber};
use crate::traffic::{self, Moment, Outcome};
use crate::wire;

/// After this a broker has done what it does for clients that leave.
const SETTLE: Duration = Duration::from_millis(500);

/// How long what was stored may take to come.
const DRAIN: Duration = Duration::from_secs(120);

/// How long a second copy may take to come once everything is there.
const LINGER: Duration = Duration::from_millis(30);

/// The outcome of storing, and that of draining.
pub(crate) fn measure(traffic: &Traffic, site: Site, measured: Duration) -> Result<Vec<Outcome>, String> {
    leave_sessions(traffic, &site).map_err(|error| error.to_string())?;
    let begin = Moment::now(&site, 0);
    let published = store(traffic, &site, measured).map_err(|error| error.to_string())?;
    let sent = published.iter().map(|published| published.sent).sum();
    let stored = Moment::now(&site, sent).since(&begin);
    let (drained, received) = drain(traffic, site, sent).map_err(|error| error.to_string())?;
    Ok(vec![stored, drained.judged(traffic, published, &received)])
}

/// Sessions that last, with nobody there.
fn leave_sessions(traffic: &Traffic, site: &Site) -> io::Result<()> {
    Crew::gather(traffic.subscribers, async |index| {
        let mut stream = wire::connect(site.subscribe_at(), &name(index), true).await?;
        wire::subscribe(&mut stream, &traffic.topic(index), traffic.qos).await?;
        wire::disconnect(stream).await
    })?;
    thread::sleep(SETTLE);
    Ok(())
}

fn store(traffic: &Traffic, site: &Site, measured: Duration) -> io::Result<Vec<Published>> {
    let gate = Arc::new(Gate::default());
    let publishers = traffic::publishers(traffic, site, &gate, Instant::now())?;
    gate.raise(u64::MAX, 1);
    let running = publishers.run(|(publisher, stream)| publisher.run(stream));
    thread::sleep(measured);
    gate.stop();
    Ok(running.join().expect("no publisher panics"))
}

fn drain(traffic: &Traffic, site: Site, sent: u64) -> io::Result<(Outcome, Vec<Received>)> {
    let (gate, delivered, clock) = (Arc::new(Gate::default()), Arc::new(AtomicU64::new(0)), Instant::now());
    let begin = Moment::now(&site, 0);
    let subscribers = Crew::gather(traffic.subscribers, async |index| {
        let stream = wire::connect(site.subscribe_at(), &name(index), true).await?;
        let (delivered, gate) = (delivered.clone(), gate.clone());
        Ok((Subscriber { traffic: *traffic, delivered, gate, clock, received: Received::default() }, stream))
    })?;
    let running = subscribers.run(|(subscriber, stream)| subscriber.run(stream));
    while delivered.load(Ordering::Relaxed) < sent && clock.elapsed() < DRAIN {
        thread::sleep(Duration::from_millis(1));
    }
    let drained = Moment::now(&site, delivered.load(Ordering::Relaxed)).since(&begin);
    thread::sleep(LINGER);
    gate.stop();
    drop(site);
    gate.end();
    Ok((drained, running.join().expect("no subscriber panics")))
}

fn name(index: usize) -> String {
    format!("sub{index}")
}
