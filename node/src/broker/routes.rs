//! From a Topic Name to the subscribers behind it, remembered for as long as no subscription changes.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::broker::roster::{Roster, Subscriber};
use crate::hook::Guard;
use crate::router::route::{Group, Member, Target};
use crate::router::{Count, Router};
use crate::subscription::{Grant, Selector, ShareGroup, Subscription};
use crate::topic::name::TopicName;

/// Topic Names whose routes one publisher remembers; at the bound it forgets all and starts again.
const ROUTES_REMEMBERED_MAX: usize = 1024;

/// Subscriptions that are forgotten while nobody can route.
const FORGOTTEN_AT_ONCE: usize = 1000;

/// The routing table of this node.
#[derive(Debug, Default)]
pub struct Table {
    router: RwLock<Router>,
    /// Goes up with every change, so that what is remembered is known to be old.
    generation: AtomicU64,
}

/// Everyone who gets what is published to one Topic Name.
#[derive(Debug, Default)]
pub struct Routes {
    pub direct: Vec<(Arc<Subscriber>, Target)>,
    pub groups: Vec<GroupRoute>,
}

#[derive(Debug)]
pub struct GroupRoute {
    pub group: Arc<ShareGroup>,
    pub members: Vec<(Arc<Subscriber>, Grant)>,
}

impl Routes {
    pub fn is_empty(&self) -> bool {
        self.direct.is_empty() && self.groups.is_empty()
    }
}

/// What one publisher remembers of the table.
#[derive(Debug, Default)]
pub struct RouteCache {
    generation: u64,
    routes: HashMap<TopicName, Arc<Routes>, foldhash::fast::RandomState>,
}

impl Table {
    /// Adds a subscription; true when it replaced one with the same Topic Filter. Nothing is added for a Session that has ended, whose
    /// connection may not know yet: its key may be another's by now.
    pub fn subscribe(&self, subscriber: &Subscriber, subscription: &Subscription) -> bool {
        self.change(subscriber, |router| router.subscribe(subscriber.key, subscription))
    }

    pub fn unsubscribe(&self, subscriber: &Subscriber, selector: &Selector) -> bool {
        self.change(subscriber, |router| router.unsubscribe(subscriber.key, selector))
    }

    /// Removes the subscriptions that are not among these.
    pub fn keep_only(&self, subscriber: &Subscriber, subscriptions: &[Subscription]) {
        let count = self.count_of(subscriber);
        if count.ordinary + count.shared == subscriptions.len() && subscriptions.iter().all(|kept| self.has(subscriber, &kept.selector)) {
            return; // by far the usual case
        }
        let kept: HashSet<_> = subscriptions.iter().map(|kept| &kept.selector).collect();
        for selector in self.selectors(subscriber).iter().filter(|selector| !kept.contains(selector)) {
            self.unsubscribe(subscriber, selector);
        }
    }

    /// Removes every subscription of a Session that has ended. False: somebody else has done so, or is at it; then its key is not free yet.
    pub fn forget(&self, subscriber: &Subscriber) -> bool {
        let mut router = self.write();
        if !subscriber.end() {
            return false;
        }
        while router.forget(subscriber.key, FORGOTTEN_AT_ONCE) {
            drop(router);
            router = self.write();
        }
        drop(router);
        self.generation.fetch_add(1, Ordering::Release);
        true
    }

    fn change(&self, subscriber: &Subscriber, change: impl FnOnce(&mut Router) -> bool) -> bool {
        let mut router = self.write();
        // Asked under the lock: what is added has either been seen by `forget` or is refused.
        let existed = !subscriber.has_ended() && change(&mut router);
        drop(router);
        self.generation.fetch_add(1, Ordering::Release);
        existed
    }

    /// What the guard said is not to be remembered any more.
    pub fn ask_again(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Whether this subscriber has a subscription with this selector.
    pub fn has(&self, subscriber: &Subscriber, selector: &Selector) -> bool {
        self.look(subscriber, |router| router.subscription(subscriber.key, selector)).is_some()
    }

    /// What this subscriber subscribes to, in order.
    pub fn selectors(&self, subscriber: &Subscriber) -> Vec<Selector> {
        self.look(subscriber, |router| router.selectors(subscriber.key))
    }

    /// The same with what it asked for, but for Retain Handling.
    pub fn subscriptions_of(&self, subscriber: &Subscriber) -> Vec<Subscription> {
        let key = subscriber.key;
        self.look(subscriber, |router| router.selectors(key).iter().filter_map(|selector| router.subscription(key, selector)).collect())
    }

    pub fn count_of(&self, subscriber: &Subscriber) -> Count {
        self.look(subscriber, |router| router.count_of(subscriber.key))
    }

    /// How many subscriptions there are.
    pub fn count(&self) -> Count {
        self.read().count()
    }

    /// Nothing of a Session that has ended.
    fn look<T: Default>(&self, subscriber: &Subscriber, look: impl FnOnce(&Router) -> T) -> T {
        let router = self.read();
        if subscriber.has_ended() { T::default() } else { look(&router) }
    }

    /// Who gets what is published to this Topic Name. The cache is asked first; the table is read when it does not know.
    pub fn routes(&self, cache: &mut RouteCache, topic: &TopicName, roster: &Roster, guard: &dyn Guard) -> Arc<Routes> {
        let generation = self.generation.load(Ordering::Acquire);
        if cache.generation != generation || cache.routes.len() >= ROUTES_REMEMBERED_MAX {
            cache.routes.clear();
            cache.generation = generation;
        }
        if let Some(routes) = cache.routes.get(topic) {
            return routes.clone();
        }
        let routes = Arc::new(self.look_up(topic, roster, guard));
        cache.routes.insert(topic.compact(), routes.clone());
        routes
    }

    /// Who gets what is published to this Topic Name, without remembering it.
    pub fn look_up(&self, topic: &TopicName, roster: &Roster, guard: &dyn Guard) -> Routes {
        // Held until the keys are resolved: a key in the table is not free, but it may be the next Client's once this is released.
        let router = self.read();
        let route = router.route(topic);
        let mut direct = roster.resolve(route.direct.into_iter(), |target| target.key, |target, subscriber| (subscriber, target));
        let mut groups: Vec<_> = route.groups.into_iter().map(|group| group_route(&group, roster)).collect();
        drop(router);
        direct.retain(|(subscriber, _)| subscriber.may_receive(topic, guard));
        for group in &mut groups {
            group.members.retain(|(subscriber, _)| subscriber.may_receive(topic, guard));
        }
        Routes { direct, groups }
    }

    /// Who subscribes to this Topic Name and may not have it.
    pub fn denied(&self, topic: &TopicName, roster: &Roster, guard: &dyn Guard) -> Vec<Arc<Subscriber>> {
        let router = self.read();
        let mut denied = roster.resolve(router.route(topic).direct.into_iter(), |target| target.key, |_, subscriber| subscriber);
        drop(router);
        denied.retain(|subscriber| !subscriber.may_receive(topic, guard));
        denied
    }

    fn read(&self) -> RwLockReadGuard<'_, Router> {
        self.router.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Router> {
        self.router.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn group_route(group: &Group, roster: &Roster) -> GroupRoute {
    let shared = Arc::new(ShareGroup { share: group.share.clone(), filter: group.filter.clone() });
    let make = |member: &Member, subscriber| (subscriber, Grant { group: Some(shared.clone()), ..member.grant.clone() });
    let members = roster.resolve(group.members.iter(), |member| member.key, make);
    GroupRoute { group: shared, members }
}
