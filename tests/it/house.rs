//! The house (DESIGN.md section 2): rooms stand on floors, and a room imports only from floors below. Read from the source text, so that
//! a door in the wrong wall is found by name and line.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Every room with its floor.
const FLOORS: &[(&str, u8)] = &[
    ("main", 9),
    ("cli", 9),
    ("node", 8),
    ("listener", 7),
    ("connection", 6),
    ("mcp", 6),
    ("bridge", 6),
    ("admin", 6),
    ("auth", 6),
    ("broker", 5),
    ("store", 4),
    ("metrics", 4), // it adds up what a Session counted
    ("session", 3),
    ("router", 3),
    ("hook", 3),
    ("message", 2),
    ("subscription", 2),
    ("packet", 1),
    ("topic", 1),
    ("config", 1),
    ("clock", 1),
    ("fault", 1), // where a test ends the process
    ("time", 1),
];

/// Doors between rooms of one floor, each with its reason.
const SIDEWAYS: &[(&str, &str, &str)] = &[
    ("main", "cli", "the program is its command line"),
    ("clock", "time", "a clock tells the Time"),
    ("admin", "auth", "who is shut out is told by the administration"),
];

/// The rooms that do as they are told: no I/O, no clock, no threads.
const PURE: &[&str] = &["packet", "topic", "message", "subscription", "session", "router", "hook", "time"];

/// What no pure room says.
const IMPURE: &[&str] = &["tokio", "std::net", "Instant::now", "SystemTime", "std::thread"];

/// The rooms that read the configuration; it reaches all others as plain arguments.
const READS_CONFIG: &[&str] = &["node", "cli", "config"];

const LINES_MAX: usize = 500;

#[test]
fn rooms_import_from_floors_below() {
    let mut faults = String::new();
    for file in sources(&["node/src"]).into_iter().filter(|file| !file.is_face() && !file.is_test()) {
        let room = file.room();
        let Some(floor) = floor(&room) else {
            writeln!(faults, "{}: the room `{room}` has no floor: give it one in tests/it/house.rs", file.name).unwrap();
            continue;
        };
        for (line, text) in file.code() {
            for other in rooms_named_in(&text, file.depth()) {
                let fault = match self::floor(&other) {
                    _ if other == room => continue,
                    None => format!("the room `{other}` has no floor: give it one in tests/it/house.rs"),
                    Some(_) if other == "config" && !READS_CONFIG.contains(&&*room) => {
                        format!("`{room}` reads `config`, but only node.rs (and cli) may: it hands plain arguments to all others")
                    }
                    Some(below) if below < floor => continue,
                    Some(same) if same == floor && SIDEWAYS.iter().any(|(from, to, _)| (*from, *to) == (&*room, &*other)) => continue,
                    Some(there) => format!(
                        "`{room}` on floor {floor} imports `{other}` on floor {there}, but a room may import only from floors below \
                         (DESIGN.md section 2); what both need belongs further down, and what is above is handed in"
                    ),
                };
                writeln!(faults, "{}:{line}: {fault}", file.name).unwrap();
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn pure_rooms_touch_nothing() {
    let mut faults = String::new();
    for file in sources(&["node/src"]).into_iter().filter(|file| PURE.contains(&&*file.room()) && !file.is_test()) {
        for (line, text) in file.code() {
            for word in IMPURE.iter().filter(|word| text.contains(**word)) {
                let room = file.room();
                writeln!(faults, "{}:{line}: `{word}` in `{room}`, a room without I/O, clock and threads: hand it in", file.name).unwrap();
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn files_fit_in_a_head() {
    let mut faults = String::new();
    for file in sources(&["node/src", "mcp-worker-sdk", "tests"]) {
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            writeln!(faults, "{}: {lines} lines, more than {LINES_MAX}: split it where it changes its subject", file.name).unwrap();
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

/// The reader of these tests, held against what it must see.
#[test]
fn the_fence_sees_every_way_to_name_a_room() {
    let rows: &[(usize, &str, &[&str])] = &[
        (1, "use crate::store::{Page, Stored};", &["store"]),
        (1, "use crate::{store::Page, time::{Span, Time}, message};", &["store", "time", "message"]),
        (1, "fn now(now: crate::time::Time) -> crate::message::Run {", &["time", "message"]),
        (1, "pub(crate) fn node_count() {", &[]),
        (1, "use mqttd::cli;", &["cli"]),
        (1, "tracing::info!(\"crate of beer\");", &[]),
        (1, "use super::store::Page;", &["store"]),
        (2, "use super::store::Page;", &[]),
        (2, "use super::super::store::Page;", &["store"]),
        (3, "use super::super::store::Page;", &[]),
    ];
    for (depth, line, expected) in rows {
        assert_eq!(rooms_named_in(line, *depth), *expected, "{line}");
    }
    let text = "//! crate::a\nuse crate::b; // crate::c\n#[cfg(test)]\nmod tests {\n    use crate::d;\n}\n\n#[cfg(test)]\nmod e;\nuse crate::{\n    f::F, // f\n    g,\n};\n";
    let file = Source { name: "node/src/x/y.rs".to_owned(), text: text.to_owned() };
    let rooms: Vec<_> =
        file.code().into_iter().flat_map(|(line, text)| rooms_named_in(&text, 2).into_iter().map(move |r| (line, r))).collect();
    assert_eq!(rooms, [(2, "b".to_owned()), (10, "f".to_owned()), (10, "g".to_owned())]);
    assert_eq!((file.room(), file.depth()), ("x".to_owned(), 2));
}

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

struct Source {
    /// Its path from the top of the project.
    name: String,
    text: String,
}

impl Source {
    /// The path of its module below the crate: `["store", "memory", "queue"]`.
    fn module(&self) -> Vec<&str> {
        let path = self.name.trim_start_matches("node/src/").trim_end_matches(".rs").trim_end_matches("/mod");
        path.split('/').collect()
    }

    fn room(&self) -> String {
        self.module()[0].to_owned()
    }

    /// How many `super` lead to the top of the crate.
    fn depth(&self) -> usize {
        self.module().len()
    }

    /// `lib.rs` is the face of the house, no room.
    fn is_face(&self) -> bool {
        self.module() == ["lib"]
    }

    /// Modules named `tests` are built for tests only.
    fn is_test(&self) -> bool {
        self.module().contains(&"tests")
    }

    /// The lines without comments and without the modules that are built for tests only, each with its number. A `use` is one line,
    /// however many it takes.
    fn code(&self) -> Vec<(usize, String)> {
        let mut code = Vec::new();
        let mut lines = self.text.lines().zip(1..).peekable();
        while let Some((line, number)) = lines.next() {
            let opens_tests = |next: &str| next.starts_with("mod ") && next.ends_with('{');
            if line == "#[cfg(test)]" && lines.peek().is_some_and(|(next, _)| opens_tests(next)) {
                while lines.next().is_some_and(|(line, _)| line != "}") {}
                continue;
            }
            let mut line = without_comment(line).to_owned();
            if line.trim_start().trim_start_matches("pub ").starts_with("use ") {
                while !line.contains(';')
                    && let Some((next, _)) = lines.next()
                {
                    line += without_comment(next).trim_start();
                }
            }
            code.push((number, line));
        }
        code
    }
}

fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// The rooms that a line names by a path from the top of the crate.
fn rooms_named_in(line: &str, depth: usize) -> Vec<String> {
    let mut rooms = Vec::new();
    let up = "super::".repeat(depth);
    for top in ["crate::", "mqttd::", &up] {
        for (at, _) in line.match_indices(top) {
            let is_word = line[..at].chars().next_back().is_none_or(|before| !before.is_alphanumeric() && !"_:".contains(before));
            if is_word {
                rooms.extend(heads(&line[at + top.len()..]));
            }
        }
    }
    rooms
}

/// The first names of a path: of `a::b` it is `a`, of `{a::{b, c}, d}` they are `a` and `d`.
fn heads(path: &str) -> Vec<String> {
    let name = |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(list) = path.strip_prefix('{') else { return vec![name(path)].into_iter().filter(|name| !name.is_empty()).collect() };
    let (mut open, mut heads, mut start) = (0_i32, Vec::new(), 0);
    for (at, character) in list.char_indices() {
        match character {
            '{' => open += 1,
            '}' if open == 0 => {
                heads.push(name(&list[start..at]));
                break;
            }
            '}' => open -= 1,
            ',' if open == 0 => {
                heads.push(name(&list[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

/// Every Rust file under these folders of the project, in order.
fn sources(folders: &[&str]) -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the project");
    let mut paths = Vec::new();
    folders.iter().for_each(|folder| collect(&top.join(folder), &mut paths));
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(top).expect("below the top").to_str().expect("its name is text").to_owned();
        Source { name, text: std::fs::read_to_string(path).expect("it can be read") }
    };
    paths.into_iter().map(read).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}
