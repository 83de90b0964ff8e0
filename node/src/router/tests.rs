//! Routing as tables: subscriptions, a Topic Name, and who gets what.

use super::route::{Group, Key, Route, Target};
use super::{Count, Router};
use crate::packet::QoS;
use crate::packet::subscribe::SubscriptionOptions;
use crate::subscription::{Grant, Selector, Subscription};
use crate::topic::name::TopicName;

mod model;

fn topic(text: &str) -> TopicName {
    TopicName::new(text.to_owned().into()).unwrap()
}

fn selector(text: &str) -> Selector {
    Selector::parse(text).unwrap_or_else(|| panic!("{text:?}"))
}

/// `"a/+ 2 L R #7"`: filter, QoS, No Local, Retain As Published, Subscription Identifier.
fn subscription(text: &str) -> Subscription {
    let mut words = text.split(' ');
    let selector = selector(words.next().unwrap());
    let mut subscription = Subscription { selector, options: SubscriptionOptions::default(), id: None };
    for word in words {
        match word {
            "L" => subscription.options.no_local = true,
            "R" => subscription.options.retain_as_published = true,
            _ => match word.strip_prefix('#') {
                Some(id) => subscription.id = Some(id.parse().unwrap()),
                None => subscription.options.qos = QoS::from_bits(word.parse().unwrap()).unwrap(),
            },
        }
    }
    subscription
}

fn router(subscriptions: &[(u32, &str)]) -> Router {
    let mut router = Router::default();
    for (key, text) in subscriptions {
        router.subscribe(Key(*key), &subscription(text));
    }
    router
}

/// `"1 R #7"`, as in [`subscription`].
fn show(grant: Option<&Grant>) -> String {
    let Some(grant) = grant else { return "-".to_owned() };
    let mut text = (grant.qos as u8).to_string();
    text.push_str(if grant.retain_as_published { " R" } else { "" });
    for id in grant.ids.iter().flat_map(|ids| ids.iter()) {
        text.push_str(&format!(" #{id}"));
    }
    text
}

fn show_target(target: &Target) -> String {
    let (grant, own) = (show(target.grant_for(false)), show(target.grant_for(true)));
    if grant == own { format!("{}: {grant}", target.key.0) } else { format!("{}: {grant} (own: {own})", target.key.0) }
}

fn show_group(group: &Group) -> String {
    let members: Vec<_> = group.members.iter().map(|member| format!("{}: {}", member.key.0, show(Some(&member.grant)))).collect();
    format!("{} {} [{}]", group.share.as_str(), group.filter.as_str(), members.join(", "))
}

fn show_route(route: &Route) -> String {
    let direct = route.direct.iter().map(show_target);
    let groups = route.groups.iter().map(|group| show_group(group));
    direct.chain(groups).collect::<Vec<_>>().join("; ")
}

/// Nobody subscribes to anything, and no memory is held for anybody.
fn is_empty(router: &Router) -> bool {
    router.count() == Count::default() && router.exact.is_empty() && router.wildcard.node_count() == 1 && router.shared.is_empty()
}

#[track_caller]
fn check(subscriptions: &[(u32, &str)], rows: &[(&str, &str)]) {
    let router = router(subscriptions);
    for (name, expected) in rows {
        assert_eq!(show_route(&router.route(&topic(name))), *expected, "{name}");
    }
}

#[test]
fn one_copy_for_overlapping_subscriptions() {
    let subscriptions =
        [(1, "a/b 0 #9"), (1, "a/+ 2 #3"), (1, "#"), (2, "a/# 1 R #5"), (2, "a/b #5"), (3, "+/b 1"), (3, "a/b 0 R"), (4, "c/# 2")];
    check(
        &subscriptions,
        &[("a/b", "1: 2 #3 #9; 2: 1 R #5; 3: 1 R"), ("a", "1: 0; 2: 1 R #5"), ("c", "1: 0; 4: 2"), ("d", "1: 0"), ("A/b", "1: 0; 3: 1")],
    );
}

#[test]
fn no_local_subscriptions_do_not_count_for_own_messages() {
    let subscriptions = [(1, "a L"), (2, "a 2 L #1"), (2, "+ 1 #2"), (3, "a L"), (3, "# L"), (4, "a 1 L"), (4, "# 1"), (5, "a")];
    check(
        &subscriptions,
        &[("a", "1: 0 (own: -); 2: 2 #1 #2 (own: 1 #2); 3: 0 (own: -); 4: 1; 5: 0"), ("b", "2: 1 #2; 3: 0 (own: -); 4: 1")],
    );
}

#[test]
fn groups_stand_beside_ordinary_subscriptions() {
    let subscriptions = [
        (2, "$share/y/a/b 1"),
        (1, "$share/y/a/b 2 #4"),
        (1, "a/b"),
        (3, "$share/x/a/b R"),
        (3, "$share/x/a/+"),
        (4, "$share/x/#"),
        (3, "$share/x/a/c"),
    ];
    let rows = [
        ("a/b", "1: 0; x # [4: 0]; x a/+ [3: 0]; x a/b [3: 0 R]; y a/b [1: 2 #4, 2: 1]"),
        ("a/c", "x # [4: 0]; x a/+ [3: 0]; x a/c [3: 0]"),
        ("$a", ""),
    ];
    check(&subscriptions, &rows);
}

#[test]
fn reserved_topics_need_a_literal_first_level() {
    let subscriptions = [(1, "#"), (2, "+/+"), (3, "$SYS/#"), (4, "$SYS/+"), (5, "+/#"), (6, "$SYS/x"), (7, "+")];
    let rows = [("$SYS/x", "3: 0; 4: 0; 6: 0"), ("$SYS", "3: 0"), ("$", ""), ("a/$SYS", "1: 0; 2: 0; 5: 0"), ("a", "1: 0; 5: 0; 7: 0")];
    check(&subscriptions, &rows);
}

#[test]
fn levels_can_be_empty() {
    let subscriptions = [(1, "+/+"), (2, "/+"), (3, "+"), (4, "/#"), (5, "//"), (6, "a/+/b"), (7, "+/"), (8, "/+/"), (9, "/")];
    let rows = [
        ("/", "1: 0; 2: 0; 4: 0; 7: 0; 9: 0"),
        ("//", "4: 0; 5: 0; 8: 0"),
        ("/a", "1: 0; 2: 0; 4: 0"),
        ("a/", "1: 0; 7: 0"),
        ("a//b", "6: 0"),
        ("a", "3: 0"),
    ];
    check(&subscriptions, &rows);
}

#[test]
fn levels_that_look_like_something_else() {
    let subscriptions =
        [(1, "clients"), (2, "clients/+"), (3, "value/#"), (4, "\u{1F980}/+"), (5, "children/clients/+"), (6, "$share/g/$share/+")];
    let rows = [
        ("clients", "1: 0"),
        ("clients/clients", "2: 0"),
        ("value", "3: 0"),
        ("\u{1F980}/x", "4: 0"),
        ("children/clients/x", "5: 0"),
        ("$share/x", "g $share/+ [6: 0]"),
    ];
    check(&subscriptions, &rows);
}

#[test]
fn the_same_selector_replaces() {
    let mut router = router(&[]);
    for filter in ["a", "+", "$share/g/a", "$share/g/+"] {
        assert!(!router.subscribe(Key(1), &subscription(filter)));
        assert!(router.subscribe(Key(1), &subscription(&format!("{filter} 2"))), "{filter}");
        assert!(!router.subscribe(Key(2), &subscription(filter)));
    }
    assert_eq!(router.count(), Count { ordinary: 4, shared: 4 });
    assert_eq!(show_route(&router.route(&topic("a"))), "1: 2; 2: 0; g + [1: 2, 2: 0]; g a [1: 2, 2: 0]");
}

#[test]
fn unsubscribing_leaves_nothing_behind() {
    let all = ["a/b", "a/+", "a/#", "#", "$share/g/a/b", "$share/g/a/+", "$share/h/a/+"];
    let mut router = router(&[]);
    for (key, filter) in (1..4).flat_map(|key| all.map(|filter| (key, filter))) {
        router.subscribe(Key(key), &subscription(filter));
    }
    let held = router.route(&topic("a/b"));
    for (key, filter) in (1..4).flat_map(|key| all.map(|filter| (key, filter))) {
        assert!(!router.unsubscribe(Key(9), &selector(filter)), "a stranger");
        assert!(router.unsubscribe(Key(key), &selector(filter)));
        assert!(!router.unsubscribe(Key(key), &selector(filter)));
    }
    assert!(is_empty(&router));
    assert_eq!(show_route(&router.route(&topic("a/b"))), "");
    assert_eq!(held.groups[0].members.len(), 3, "a route that was handed out stays as it was");
}

#[test]
fn the_deepest_filters_do_not_overflow_the_stack() {
    let slashes = "/".repeat(65_533);
    let deep = [format!("+{slashes}"), format!("{slashes}/#"), "+/".repeat(32_767), format!("{}#", "+/".repeat(32_767)), slashes.clone()];
    let mut router = router(&[]);
    for (key, filter) in (1..).zip(&deep) {
        router.subscribe(Key(key), &subscription(filter));
    }
    assert_eq!(show_route(&router.route(&topic(&slashes))), "1: 0; 2: 0; 4: 0; 5: 0");
    for (key, filter) in (1..).zip(&deep[1..]) {
        assert!(router.unsubscribe(Key(key + 1), &selector(filter)));
    }
    drop(router); // with the first filter still in it
}

#[test]
fn wildcards_on_every_level_cost_no_more_than_the_filters() {
    let mut router = router(&[]);
    for depth in 0..1_000 {
        router.subscribe(Key(depth), &subscription(&format!("{}#", "+/".repeat(depth as usize))));
    }
    let name = topic(&vec!["a"; 1_000].join("/"));
    assert_eq!(router.route(&name).direct.len(), 1_000);
}

#[test]
fn many_subscribers_to_one_filter() {
    let mut router = router(&[]);
    let keys = (0..100_000_u32).map(|n| n * 41 % 100_003); // distinct, in no order
    for filter in ["a", "+"] {
        let subscription = subscription(filter);
        assert!(keys.clone().all(|key| !router.subscribe(Key(key), &subscription)));
    }
    let route = router.route(&topic("a"));
    assert!(route.direct.is_sorted_by(|a, b| a.key < b.key));
    for filter in ["a", "+"] {
        let selector = selector(filter);
        assert!(keys.clone().all(|key| router.unsubscribe(Key(key), &selector)));
    }
    assert!(is_empty(&router));
}

#[test]
fn many_filters_come_and_go() {
    let mut router = router(&[]);
    let subscriptions: Vec<_> =
        (0..20_000).flat_map(|n| [format!("device/{n}/state"), format!("{n}/+")]).map(|text| subscription(&text)).collect();
    for round in 0..2 {
        assert!(subscriptions.iter().all(|subscription| !router.subscribe(Key(round), subscription)));
        assert_eq!(show_route(&router.route(&topic("device/777/state"))), format!("{round}: 0"));
        assert_eq!(show_route(&router.route(&topic("777/x"))), format!("{round}: 0"));
        assert!(subscriptions.iter().all(|subscription| router.unsubscribe(Key(round), &subscription.selector)));
        assert!(is_empty(&router));
    }
}
