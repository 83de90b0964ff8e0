//! From a Topic Name to the subscribers behind it, remembered for as long as no subscription changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::broker::roster::{Key, Roster, Subscriber};
use crate::hook::Guard;
use crate::router::{Group, Member, Router, Target};
use crate::subscription::{Grant, Selector, ShareGroup, Subscription};
use crate::topic::name::TopicName;

/// Topic Names whose routes one publisher remembers; at the bound it forgets all and starts again.
const ROUTES_REMEMBERED_MAX: usize = 1024;

/// The routing table of this node.
#[derive(Debug, Default)]
pub struct Table {
    router: RwLock<Router<Key>>,
    /// How many of the subscriptions are shared.
    shared: AtomicUsize,
    /// Goes up with every change, so that what is remembered is known to be old.
    generation: AtomicU64,
}

/// Everyone who gets what is published to one Topic Name.
#[derive(Debug, Default)]
pub struct Routes {
    pub direct: Vec<(Arc<Subscriber>, Target<Key>)>,
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
        // The lock is held meanwhile: what is added has either been seen by `forget` or is refused.
        let mut selectors = subscriber.selectors();
        let Some(all) = selectors.as_mut() else { return false };
        all.insert(subscription.selector.clone());
        let existed = self.write().subscribe(subscriber.key, subscription);
        drop(selectors);
        if !existed && subscription.selector.share.is_some() {
            self.shared.fetch_add(1, Ordering::Relaxed);
        }
        self.generation.fetch_add(1, Ordering::Release);
        existed
    }

    pub fn unsubscribe(&self, subscriber: &Subscriber, selector: &Selector) -> bool {
        let mut selectors = subscriber.selectors();
        let Some(all) = selectors.as_mut() else { return false };
        all.remove(selector);
        let existed = self.remove(subscriber.key, selector);
        drop(selectors);
        self.generation.fetch_add(1, Ordering::Release);
        existed
    }

    /// Removes every subscription of a Session that has ended.
    pub fn forget(&self, subscriber: &Subscriber) {
        let Some(selectors) = subscriber.selectors().take().filter(|selectors| !selectors.is_empty()) else { return };
        for selector in &selectors {
            self.remove(subscriber.key, selector);
        }
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// What the guard said is not to be remembered any more.
    pub fn ask_again(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    fn remove(&self, key: Key, selector: &Selector) -> bool {
        let existed = self.write().unsubscribe(key, selector);
        if existed && selector.share.is_some() {
            self.shared.fetch_sub(1, Ordering::Relaxed);
        }
        existed
    }

    /// What this subscriber asked for with these selectors, as far as the table has it: without Retain Handling.
    pub fn terms(&self, key: Key, selectors: &[Selector]) -> Vec<Subscription> {
        let router = self.router.read().unwrap_or_else(PoisonError::into_inner);
        selectors.iter().filter_map(|selector| router.subscription(key, selector)).collect()
    }

    pub fn shared_subscriptions(&self) -> usize {
        self.shared.load(Ordering::Relaxed)
    }

    pub fn subscriptions(&self) -> usize {
        self.router.read().unwrap_or_else(PoisonError::into_inner).len()
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
        // A copy of its own: the Topic Name is a slice of a read buffer.
        if let Some(own) = TopicName::new(topic.as_str().to_owned().into()) {
            cache.routes.insert(own, routes.clone());
        }
        routes
    }

    /// Who gets what is published to this Topic Name, without remembering it.
    pub fn look_up(&self, topic: &TopicName, roster: &Roster, guard: &dyn Guard) -> Routes {
        // Held until the keys are resolved: a key in the table is not free, but it may be the next Client's once this is released.
        let router = self.router.read().unwrap_or_else(PoisonError::into_inner);
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
        let router = self.router.read().unwrap_or_else(PoisonError::into_inner);
        let mut denied = roster.resolve(router.route(topic).direct.into_iter(), |target| target.key, |_, subscriber| subscriber);
        drop(router);
        denied.retain(|subscriber| !subscriber.may_receive(topic, guard));
        denied
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Router<Key>> {
        self.router.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn group_route(group: &Group<Key>, roster: &Roster) -> GroupRoute {
    let shared = Arc::new(ShareGroup { share: group.share.clone(), filter: group.filter.clone() });
    let make = |member: &Member<Key>, subscriber| (subscriber, Grant { group: Some(shared.clone()), ..member.grant.clone() });
    let members = roster.resolve(group.members.iter(), |member| member.key, make);
    GroupRoute { group: shared, members }
}
