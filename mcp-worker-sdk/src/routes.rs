//! Which handler answers which Topic Name.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use crate::handler::Handler;
use crate::reply::{Failure, Reply};
use crate::request::Request;

/// Topic Filters and their handlers.
#[derive(Clone, Default)]
pub struct Routes {
    routes: Vec<(String, Arc<dyn Handler>)>,
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.filters()).finish()
    }
}

impl Routes {
    /// Adds a route, or replaces the one with the same filter. False: that is no Topic Filter.
    #[must_use]
    pub fn add(&mut self, filter: &str, handler: impl Handler) -> bool {
        if !is_filter(filter) {
            return false;
        }
        self.routes.retain(|(known, _)| known != filter);
        self.routes.push((filter.to_owned(), Arc::new(handler)));
        true
    }

    /// Whether nothing can be answered.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// The Topic Filters, in the order in which they were added.
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|(filter, _)| filter.as_str())
    }

    /// Whether a handler answers this Topic Name.
    pub fn matches(&self, topic: &str) -> bool {
        self.find(topic).is_some()
    }

    /// The most specific route: at the first level where two differ, a name comes before `+`, and `+` before `#`.
    fn find(&self, topic: &str) -> Option<(&Arc<dyn Handler>, Vec<String>)> {
        let matching = self.routes.iter().filter_map(|(filter, handler)| Some((filter, handler, params(filter, topic)?)));
        let (_, handler, params) = matching.min_by_key(|(filter, ..)| rank(filter))?;
        Some((handler, params))
    }

    /// Has the request answered. `None`: no route matches. A panic of the handler is a failure as any other.
    pub async fn answer(&self, mut request: Request) -> Option<Result<Reply, Failure>> {
        let (handler, params) = self.find(&request.topic)?;
        request.params = params;
        let answering = std::panic::catch_unwind(AssertUnwindSafe(|| handler.call(request)));
        let answered = match answering {
            Ok(answering) => AssertUnwindSafe(answering).catch_unwind().await,
            Err(panic) => Err(panic),
        };
        Some(answered.unwrap_or_else(|_| Err(Failure::new("the handler panicked"))))
    }
}

fn rank(filter: &str) -> Vec<u8> {
    let of_level = |level: &str| match level {
        "#" => 2,
        "+" => 1,
        _ => 0,
    };
    filter.split('/').map(of_level).collect()
}

fn is_filter(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let good = |(at, level): (usize, &&str)| match *level {
        "+" => true,
        "#" => at + 1 == levels.len(),
        level => !level.contains(['+', '#', '\0']),
    };
    !filter.is_empty() && filter.len() <= 65_535 && levels.iter().enumerate().all(good)
}

/// What the wildcards stand for; `None` when the filter does not match (MQTT 5.0 section 4.7).
fn params(filter: &str, topic: &str) -> Option<Vec<String>> {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return None;
    }
    let mut params = Vec::new();
    let mut rest = Some(topic);
    for level in filter.split('/') {
        if level == "#" {
            params.extend(rest.map(str::to_owned));
            return Some(params);
        }
        let (name, after) = rest.map(|rest| rest.split_once('/').map_or((rest, None), |(name, after)| (name, Some(after))))?;
        match level {
            "+" => params.push(name.to_owned()),
            level if level == name => {}
            _ => return None,
        }
        rest = after;
    }
    rest.is_none().then_some(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_are_params() {
        let rows: &[(&str, &str, Option<&[&str]>)] = &[
            ("a/+/c", "a/b/c", Some(&["b"])),
            ("a/+/c", "a/b/c/d", None),
            ("+/+", "/x", Some(&["", "x"])),
            ("a/#", "a", Some(&[])),
            ("a/#", "a/b/c", Some(&["b/c"])),
            ("#", "$SYS/x", None),
            ("$a/+", "$a/x", Some(&["x"])),
            ("a", "a", Some(&[])),
            ("a", "b", None),
        ];
        for (filter, topic, expected) in rows {
            let expected = expected.map(|params| params.iter().map(|param| (*param).to_owned()).collect::<Vec<_>>());
            assert_eq!(params(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[tokio::test]
    async fn the_most_specific_route_wins_and_a_panic_is_a_failure() {
        let mut routes = Routes::default();
        assert!(routes.add("#", |_: Request| async { "all" }));
        assert!(routes.add("a/+", |r: Request| async move { r.params[0].clone() }));
        assert!(routes.add("a/b", |_: Request| async { "b" }));
        assert!(routes.add("a/panic", |_: Request| async { if true { panic!("on purpose") } else { "" } }));
        assert!(!routes.add("a/#/b", |_: Request| async { "" }));
        for (topic, expected) in [("a/b", "b"), ("a/c", "c"), ("a/c/d", "all"), ("x", "all")] {
            assert_eq!(routes.answer(Request::new(topic, "")).await.unwrap().unwrap().payload, expected, "{topic}");
        }
        assert!(routes.answer(Request::new("a/panic", "")).await.unwrap().unwrap_err().message.contains("panicked"));
    }
}
