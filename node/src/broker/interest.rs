//! What the Sessions that are connected here want, counted by filter, and what the other nodes were told of it.
//!
//! What is counted and what was told are kept apart: when Redis does not answer, nothing is lost but time. Whoever tells, tells for all that
//! have counted something meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::packet::QoS;
use crate::packet::subscribe::SubscriptionOptions;
use crate::store::StoreError;
use crate::store::cluster::{RouteChange, RouteVersion, Who};
use crate::store::redis::cluster::Cluster;
use crate::subscription::{Selector, Subscription};
use crate::topic::filter::TopicFilter;

/// Filters that the others are told of in one step.
const TOLD_AT_ONCE: usize = 500;

/// What a Session that is connected here wants by one filter: everything up to a QoS, or only QoS 0, because it has the rest from its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Live(QoS),
    Durable,
}

/// The filters of this node.
#[derive(Debug, Default)]
pub(super) struct Interest {
    state: Mutex<State>,
    /// Held by who tells, so that the others hear it in the order in which it was counted.
    telling: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    counts: HashMap<TopicFilter, Counts>,
    /// Of these the others may have been told something else than what is counted.
    untold: BTreeSet<TopicFilter>,
    /// Rounds of telling that have begun, and the last one that came to its end. Each takes all that is untold.
    begun: u64,
    ended: u64,
    /// Of the last round.
    version: RouteVersion,
}

#[derive(Debug, Default)]
struct Counts {
    live: [u32; 3],
    durable: u32,
    told: Told,
}

/// What the others know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    This(Option<SubscriptionOptions>),
    /// They are being told, or that went wrong.
    Unsure,
}

impl Default for Told {
    fn default() -> Told {
        Told::This(None)
    }
}

impl Counts {
    fn of(&mut self, want: Want) -> &mut u32 {
        match want {
            Want::Live(qos) => &mut self.live[qos as usize],
            Want::Durable => &mut self.durable,
        }
    }

    /// What the others are to know; `None`: nothing is wanted.
    fn wanted(&self) -> Option<SubscriptionOptions> {
        let live = [QoS::ExactlyOnce, QoS::AtLeastOnce, QoS::AtMostOnce].into_iter().find(|qos| self.live[*qos as usize] > 0);
        match (live, self.durable) {
            (None, 0) => None,
            (live, _) => Some(SubscriptionOptions { qos: live.unwrap_or_default(), no_local: live.is_none(), ..Default::default() }),
        }
    }
}

impl State {
    /// Looks whether the others have to be told of a filter.
    fn look_at(&mut self, filter: &TopicFilter) {
        let Some(counts) = self.counts.get(filter) else { return };
        if counts.told != Told::This(counts.wanted()) {
            self.untold.insert(filter.clone());
            return;
        }
        self.untold.remove(filter);
        if counts.wanted().is_none() {
            self.counts.remove(filter);
        }
    }

    /// Begins a round: what is to be told.
    fn begin(&mut self) -> (Vec<Subscription>, Vec<Selector>) {
        self.begun += 1;
        let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
        for filter in &self.untold {
            let Some(counts) = self.counts.get_mut(filter) else { continue };
            counts.told = Told::Unsure;
            let selector = Selector { share: None, filter: filter.clone() };
            match counts.wanted() {
                Some(options) => wanted.push(Subscription { selector, options, id: None }),
                None => unwanted.push(selector),
            }
        }
        (wanted, unwanted)
    }

    fn note(&mut self, filter: &TopicFilter, told: Option<SubscriptionOptions>) {
        if let Some(counts) = self.counts.get_mut(filter) {
            counts.told = Told::This(told);
            self.look_at(filter);
        }
    }
}

impl Interest {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what a Session wants by its filters now; `known` is what it wanted before.
    pub(super) fn count(&self, known: &mut BTreeMap<TopicFilter, Want>, wants: Vec<(TopicFilter, Option<Want>)>) {
        let mut state = self.lock();
        for (filter, want) in wants {
            let earlier = match want {
                Some(want) => known.insert(filter.clone(), want),
                None => known.remove(&filter),
            };
            let counts = state.counts.entry(filter.clone()).or_default();
            want.into_iter().for_each(|want| *counts.of(want) += 1);
            earlier.into_iter().for_each(|want| *counts.of(want) -= 1);
            state.look_at(&filter);
        }
    }

    /// Returns when the others were told of all that was counted until now, with a version that has all of it.
    pub(super) async fn tell(&self, cluster: &Cluster) -> Result<RouteVersion, StoreError> {
        let round = {
            let state = self.lock();
            if state.untold.is_empty() {
                return Ok(state.version);
            }
            state.begun + 1
        };
        let _turn = self.telling.lock().await;
        {
            let state = self.lock();
            if state.begun >= round {
                // Somebody has told it along with theirs, or could not.
                return if state.ended >= round { Ok(state.version) } else { Err(StoreError::Unavailable) };
            }
        }
        let (wanted, unwanted) = self.lock().begin();
        let who = Who::Node(cluster.node().clone());
        for subscriptions in wanted.chunks(TOLD_AT_ONCE) {
            let version = cluster.route(RouteChange::Set { who: who.clone(), subscriptions: subscriptions.to_vec() }, 0).await?;
            let mut state = self.lock();
            state.version = version;
            subscriptions.iter().for_each(|told| state.note(&told.selector.filter, Some(told.options)));
        }
        for selectors in unwanted.chunks(TOLD_AT_ONCE) {
            let version = cluster.route(RouteChange::Unset { who: who.clone(), selectors: selectors.to_vec() }, 0).await?;
            let mut state = self.lock();
            state.version = version;
            selectors.iter().for_each(|told| state.note(&told.filter, None));
        }
        let mut state = self.lock();
        state.ended = state.begun;
        Ok(state.version)
    }

    /// What Redis really has of this node, after it has lost something: the next round puts it right.
    pub(super) fn compare(&self, mut found: BTreeMap<TopicFilter, SubscriptionOptions>) {
        let mut state = self.lock();
        let filters: Vec<_> = state.counts.keys().cloned().collect();
        for filter in filters {
            let told = found.remove(&filter);
            state.note(&filter, told);
        }
        for (filter, options) in found {
            state.counts.insert(filter.clone(), Counts { told: Told::This(Some(options)), ..Counts::default() });
            state.look_at(&filter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::new(text).unwrap()
    }

    fn told(interest: &Interest) -> (Vec<String>, Vec<String>) {
        let (wanted, unwanted) = interest.lock().begin();
        let wanted = wanted.iter().map(|told| format!("{} {}", told.selector.filter.as_str(), told.options.qos as u8)).collect();
        (wanted, unwanted.iter().map(|told| told.filter.as_str().to_owned()).collect())
    }

    #[test]
    fn what_could_not_be_told_is_told_again() {
        let (interest, mut one, mut two) = (Interest::default(), BTreeMap::new(), BTreeMap::new());
        interest.count(&mut one, vec![(filter("a"), Some(Want::Live(QoS::AtLeastOnce)))]);
        assert_eq!(told(&interest), (vec!["a 1".to_owned()], vec![]));
        // Nobody notes that it was told: the next one who wants the same has to tell it.
        interest.count(&mut two, vec![(filter("a"), Some(Want::Live(QoS::AtMostOnce)))]);
        assert_eq!(told(&interest), (vec!["a 1".to_owned()], vec![]));
        let options = interest.lock().counts[&filter("a")].wanted();
        interest.lock().note(&filter("a"), options);
        assert_eq!(told(&interest), (vec![], vec![]));
        interest.count(&mut one, vec![(filter("a"), None)]);
        assert_eq!(told(&interest), (vec!["a 0".to_owned()], vec![]));
        interest.count(&mut two, vec![(filter("a"), None)]);
        assert_eq!(told(&interest), (vec![], vec!["a".to_owned()]));
        interest.lock().note(&filter("a"), None);
        assert!(interest.lock().counts.is_empty() && interest.lock().untold.is_empty());
    }

    #[test]
    fn what_redis_has_lost_or_kept_is_put_right() {
        let (interest, mut one) = (Interest::default(), BTreeMap::new());
        interest.count(&mut one, vec![(filter("a"), Some(Want::Durable)), (filter("b"), Some(Want::Durable))]);
        let options = interest.lock().counts[&filter("a")].wanted().unwrap();
        ["a", "b"].iter().for_each(|name| interest.lock().note(&filter(name), Some(options)));
        assert_eq!(told(&interest), (vec![], vec![]));
        interest.compare([(filter("b"), options), (filter("c"), options)].into());
        assert_eq!(told(&interest), (vec!["a 0".to_owned()], vec!["c".to_owned()]));
    }
}
