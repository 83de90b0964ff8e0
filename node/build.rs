//! What `mqttd --version` says of its making.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=MQTTD_COMMIT");
    // Only a release looks at the repository: while somebody works on it, a commit is no reason to build again.
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let said = std::env::var("MQTTD_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = said.or_else(|| if is_release { first_line("git", &["rev-parse", "--short=12", "HEAD"]) } else { None });
    if let Some(log) = first_line("git", &["rev-parse", "--git-path", "logs/HEAD"]).filter(|_| is_release) {
        println!("cargo::rerun-if-changed={log}");
    }
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    println!("cargo::rustc-env=MQTTD_BUILT_FROM={}", commit.as_deref().unwrap_or("unknown"));
    println!("cargo::rustc-env=MQTTD_BUILT_BY={}", first_line(&rustc, &["--version"]).as_deref().unwrap_or("rustc"));
}

fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
}
