//! The books: which normative statements of the two standards the dialogues and the code cite.
//!
//! `statements_v5.txt` and `statements_v3.txt` list them all, `uncited.txt` those that need no citation, each with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Statement ids as they are cited: those of 3.1.1 have `v3:` in front.
type Ids = BTreeSet<String>;

struct Statement {
    id: String,
    side: &'static str,
}

fn statements() -> Vec<Statement> {
    let list = |prefix: &str, text: &str| -> Vec<Statement> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("//"));
        lines
            .map(|line| {
                let parts: Vec<_> = line.split(" | ").collect();
                let side = ["server", "client", "both"].into_iter().find(|side| parts[1].trim() == *side);
                assert_eq!(parts.len(), 3, "id | side | paraphrase: {line}");
                Statement { id: format!("{prefix}MQTT-{}", parts[0].trim()), side: side.unwrap_or_else(|| panic!("no side: {line}")) }
            })
            .collect()
    };
    let mut all = list("", include_str!("statements_v5.txt"));
    all.extend(list("v3:", include_str!("statements_v3.txt")));
    all
}

/// Ids with the reason why nothing cites them.
fn excused() -> BTreeMap<String, &'static str> {
    let lines = include_str!("uncited.txt").lines().filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines
        .flat_map(|line| {
            let (ids, reason) = line.split_once(" | ").unwrap_or_else(|| panic!("ids | reason: {line}"));
            ids.split_whitespace().map(move |id| (id.to_owned(), reason))
        })
        .collect()
}

/// Every id that stands in square brackets in a source file below these folders.
fn cited(folders: &[&str]) -> Ids {
    let mut ids = Ids::new();
    for folder in folders {
        read_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut ids);
    }
    ids
}

fn read_below(folder: &Path, ids: &mut Ids) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            read_below(&path, ids);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            collect(&fs::read_to_string(&path).expect("source is text"), ids);
        }
    }
}

fn collect(text: &str, ids: &mut Ids) {
    for bracketed in text.split('[').skip(1) {
        let Some((id, _)) = bracketed.split_once(']') else { continue };
        let number = id.strip_prefix("v3:").unwrap_or(id).strip_prefix("MQTT-");
        if number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-')) {
            ids.insert(id.to_owned());
        }
    }
}

#[test]
fn every_statement_is_cited_or_has_a_reason() {
    let (statements, excused) = (statements(), excused());
    let known: Ids = statements.iter().map(|statement| statement.id.clone()).collect();
    assert_eq!(known.len(), statements.len(), "an id is listed twice");
    let dialogues = cited(&["it", "src"]);
    let code = cited(&["../node/src"]);

    let of_a_server = statements.iter().filter(|statement| statement.side != "client").map(|statement| &statement.id);
    let faults = [
        ("cited, but no statement of the standard", dialogues.union(&code).filter(|id| !known.contains(*id)).collect::<Vec<_>>()),
        ("excused in uncited.txt, but no statement of the standard", excused.keys().filter(|id| !known.contains(*id)).collect()),
        ("excused in uncited.txt, but cited by a dialogue", excused.keys().filter(|id| dialogues.contains(*id)).collect()),
        (
            "not cited by a dialogue, and without a reason in uncited.txt",
            of_a_server.filter(|id| !dialogues.contains(*id) && !excused.contains_key(*id)).collect(),
        ),
    ];
    assert!(faults.iter().all(|(_, ids)| ids.is_empty()), "{faults:#?}");

    let by_dialogue = known.intersection(&dialogues).count();
    println!("{} statements, {by_dialogue} cited by dialogues, {} more excused:", known.len(), excused.len());
    for (id, reason) in &excused {
        println!("  {id}: {reason}{}", if code.contains(id) { " (the code cites it)" } else { "" });
    }
}
