//! The router against a list of subscriptions and `TopicFilter::matches`.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{is_empty, show_route, topic};
use crate::packet::QoS;
use crate::packet::subscribe::SubscriptionOptions;
use crate::router::route::{Group, Key, Member, Own, Route, Target};
use crate::router::{Count, Router};
use crate::subscription::{Grant, Selector, Subscription};
use crate::topic::name::TopicName;

#[derive(Clone, Debug)]
enum Step {
    Subscribe(Key, Subscription),
    Unsubscribe(Key, Selector),
    Forget(Key),
    Route(TopicName),
}

/// What the router should do, written as the standard says it and with no thought of speed.
#[derive(Default)]
struct Model(BTreeMap<(Key, Selector), Subscription>);

impl Model {
    fn route(&self, topic: &TopicName) -> Route {
        let mut direct: BTreeMap<Key, Vec<&Subscription>> = BTreeMap::new();
        let mut groups: BTreeMap<_, Vec<Member>> = BTreeMap::new();
        for ((key, selector), subscription) in self.0.iter().filter(|((_, selector), _)| selector.filter.matches(topic)) {
            match &selector.share {
                None => direct.entry(*key).or_default().push(subscription),
                Some(share) => {
                    let grant = sum([subscription]).unwrap();
                    groups.entry((share, &selector.filter)).or_default().push(Member { key: *key, grant });
                }
            }
        }
        let targets = direct.into_iter().map(|(key, all)| {
            let grant = sum(all.iter().copied()).unwrap();
            let own = match sum(all.iter().copied().filter(|subscription| !subscription.options.no_local)) {
                None => Own::Nothing,
                Some(_) if all.iter().all(|subscription| !subscription.options.no_local) => Own::Same,
                Some(own) => Own::Less(Box::new(own)),
            };
            Target { key, grant, own }
        });
        let groups = groups.into_iter().map(|((share, filter), members)| Group { share: share.clone(), filter: filter.clone(), members });
        Route { direct: targets.collect(), groups: groups.map(Into::into).collect() }
    }
}

fn count<'a>(all: impl Iterator<Item = &'a (Key, Selector)>) -> Count {
    let (shared, ordinary): (Vec<_>, Vec<_>) = all.partition(|(_, selector)| selector.share.is_some());
    Count { ordinary: ordinary.len(), shared: shared.len() }
}

fn sum<'a>(all: impl IntoIterator<Item = &'a Subscription>) -> Option<Grant> {
    let all: Vec<_> = all.into_iter().collect();
    let mut ids: Vec<u32> = all.iter().filter_map(|subscription| subscription.id).collect();
    ids.sort_unstable();
    ids.dedup();
    Some(Grant {
        qos: all.iter().map(|subscription| subscription.options.qos).max()?,
        retain_as_published: all.iter().any(|subscription| subscription.options.retain_as_published),
        ids: (!ids.is_empty()).then(|| ids.into()),
        group: None,
    })
}

fn selectors() -> impl Strategy<Value = Selector> {
    let level = prop::sample::select(vec!["", "a", "b", "$x", "+", "+"]);
    let share = prop::sample::select(vec!["", "", "$share/g/", "$share/h/"]);
    (share, prop::collection::vec(level, 1..5), any::<bool>()).prop_filter_map("an empty filter", |(share, mut levels, rest)| {
        if rest {
            *levels.last_mut()? = "#";
        }
        Selector::parse(&format!("{share}{}", levels.join("/")))
    })
}

fn subscriptions() -> impl Strategy<Value = Subscription> {
    let options = (0..3_u8, any::<bool>(), any::<bool>()).prop_map(|(qos, no_local, retain_as_published)| SubscriptionOptions {
        qos: QoS::from_bits(qos).unwrap(),
        no_local,
        retain_as_published,
        ..SubscriptionOptions::default()
    });
    let id = prop::option::of(prop::sample::select(vec![1, 2, 3, 268_435_455]));
    (selectors(), options, id).prop_map(|(selector, options, id)| Subscription { selector, options, id })
}

fn topics() -> impl Strategy<Value = TopicName> {
    let level = prop::sample::select(vec!["", "a", "b", "$x"]);
    prop::collection::vec(level, 1..5).prop_filter_map("an empty name", |levels| TopicName::new(levels.join("/").into()))
}

fn keys() -> impl Strategy<Value = Key> {
    (0..5_u32).prop_map(Key)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (keys(), subscriptions()).prop_map(|(key, subscription)| Step::Subscribe(key, subscription)),
        3 => (keys(), selectors()).prop_map(|(key, selector)| Step::Unsubscribe(key, selector)),
        1 => keys().prop_map(Step::Forget),
        4 => topics().prop_map(Step::Route),
    ];
    prop::collection::vec(step, 1..150)
}

proptest! {
    #[test]
    fn routes_as_the_standard_says(steps in steps()) {
        let (mut router, mut model) = (Router::default(), Model::default());
        for step in steps {
            match step {
                Step::Subscribe(key, subscription) => {
                    let replaced = model.0.insert((key, subscription.selector.clone()), subscription.clone()).is_some();
                    prop_assert_eq!(router.subscribe(key, &subscription), replaced);
                }
                Step::Unsubscribe(key, selector) => {
                    let existed = model.0.remove(&(key, selector.clone())).is_some();
                    prop_assert_eq!(router.unsubscribe(key, &selector), existed);
                }
                Step::Forget(key) => {
                    model.0.retain(|(owner, _), _| *owner != key);
                    while router.forget(key, 2) {}
                }
                Step::Route(topic) => prop_assert_eq!(router.route(&topic), model.route(&topic)),
            }
            prop_assert_eq!(router.count(), count(model.0.keys()));
            for key in (0..5).map(Key) {
                let selectors: Vec<_> = model.0.keys().filter(|(owner, _)| *owner == key).map(|(_, selector)| selector.clone()).collect();
                prop_assert_eq!(router.count_of(key), count(model.0.keys().filter(|(owner, _)| *owner == key)));
                prop_assert_eq!(router.selectors(key), selectors);
            }
            for ((key, selector), subscription) in &model.0 {
                let known = router.subscription(*key, selector).unwrap();
                let no_local = subscription.options.no_local && selector.share.is_none(); // a Protocol Error in a share
                prop_assert_eq!(known.options.no_local, no_local);
                prop_assert_eq!((known.options.qos, known.id), (subscription.options.qos, subscription.id));
            }
        }
        for (key, selector) in model.0.into_keys() {
            prop_assert!(router.unsubscribe(key, &selector));
        }
        prop_assert_eq!(show_route(&router.route(&topic("a/b"))), "");
        prop_assert!(is_empty(&router));
    }
}
