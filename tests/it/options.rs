//! Every option is read by something: an option that changes nothing is worse than none.

use std::path::Path;

use mqttd::config::keys::KEYS;

#[test]
fn every_option_is_read() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("node/src");
    let mut text = std::fs::read_to_string(source.join("node.rs")).unwrap();
    for room in ["node", "cli"] {
        for file in std::fs::read_dir(source.join(room)).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|ending| ending == "rs") && file.file_stem().is_some_and(|stem| stem != "tests") {
                text += &std::fs::read_to_string(file).unwrap();
            }
        }
    }
    let is_read = |name: &str| {
        let field = format!(".{name}");
        text.match_indices(&field).any(|(at, _)| !text[at + field.len()..].starts_with(|next: char| next.is_alphanumeric() || next == '_'))
    };
    let dead: Vec<String> = KEYS.iter().filter(|key| !is_read(key.name)).map(|key| key.path()).collect();
    assert!(dead.is_empty(), "nobody reads {dead:?}");
}

/// The file that people start from is what the program prints.
#[test]
fn the_commented_default_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy/mqttd.toml");
    let printed = mqttd::config::print::commented_default();
    assert!(std::fs::read_to_string(file).unwrap() == printed, "cargo run -p mqttd -- config > deploy/mqttd.toml");
}
