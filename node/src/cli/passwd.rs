//! `mqttd passwd`: the lines of a password file, with the options of mosquitto_passwd.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;

use super::{Failure, print};
use crate::auth::password::Verifier;
use crate::auth::password_file;

pub(super) const EXAMPLES: &str = "\
Examples:
  mqttd passwd passwords ann              asks for a password, and sets it
  mqttd passwd -b passwords ann pencil    sets it at once (it can be seen by others on this machine meanwhile)
  mqttd passwd -D passwords ann           removes the user
  mqttd passwd -U passwords               hashes plain NAME:PASSWORD lines
  mqttd passwd - ann                      prints the line, for example for Redis";

#[derive(Args, Clone, Debug)]
pub(super) struct PasswdArguments {
    /// The password is the third argument
    #[arg(short, requires = "password")]
    batch: bool,
    /// Begin a new file, also where there is one
    #[arg(short, conflicts_with_all = ["delete", "update"])]
    create: bool,
    /// Remove the user
    #[arg(short = 'D', conflicts_with_all = ["batch", "update"])]
    delete: bool,
    /// Hash what is written in plain
    #[arg(short = 'U', conflicts_with = "name")]
    update: bool,
    /// The password file; - prints to standard output
    file: PathBuf,
    #[arg(required_unless_present = "update")]
    name: Option<String>,
    #[arg(requires = "batch")]
    password: Option<String>,
}

pub(super) fn run(arguments: &PasswdArguments) -> Result<(), Failure> {
    let PasswdArguments { file, name, .. } = arguments;
    let name = name.as_deref().unwrap_or_default();
    if file.as_os_str() == "-" {
        let verifier = hash(arguments)?;
        return print(&password_file::with("", name, Some(&verifier)).map_err(Failure::Usage)?);
    }
    let old = if arguments.create { String::new() } else { read(file, arguments.delete || arguments.update)? };
    let new = if arguments.update {
        let (text, count) = password_file::hashed(&old).map_err(Failure::Runtime)?;
        print(&format!("{count} passwords hashed\n"))?;
        text
    } else if arguments.delete {
        password_file::with(&old, name, None).map_err(Failure::Usage)?
    } else {
        // A name that cannot be had is told before somebody types a password.
        password_file::with(&old, name, Some(&Verifier::new(b"").map_err(Failure::Runtime)?)).map_err(Failure::Usage)?;
        password_file::with(&old, name, Some(&hash(arguments)?)).map_err(Failure::Usage)?
    };
    replace(file, &new).map_err(|error| Failure::Runtime(format!("{}: {error}", file.display())))
}

fn read(file: &Path, must_be: bool) -> Result<String, Failure> {
    match std::fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_be => Ok(String::new()),
        read => read.map_err(|error| Failure::Runtime(format!("{}: {error}", file.display()))),
    }
}

fn hash(arguments: &PasswdArguments) -> Result<Verifier, Failure> {
    let password = match &arguments.password {
        Some(password) => password.clone(),
        None => ask()?,
    };
    if password.is_empty() {
        return Err(Failure::Usage("a password is not empty".to_owned()));
    }
    Verifier::new(password.as_bytes()).map_err(Failure::Runtime)
}

/// From a terminal twice and without an echo; from anywhere else the first line.
fn ask() -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::Runtime(format!("standard input: {error}"));
    if !std::io::stdin().is_terminal() {
        let mut text = String::new();
        std::io::stdin().lock().take(64 * 1024).read_to_string(&mut text).map_err(failed)?;
        return Ok(text.lines().next().unwrap_or_default().to_owned());
    }
    let echo = |flag: &str| drop(Command::new("stty").arg(flag).stderr(Stdio::null()).status());
    let line = |prompt: &str| {
        eprint!("{prompt}");
        let mut text = String::new();
        let read = std::io::stdin().read_line(&mut text);
        eprintln!();
        read.map(|_| text.trim_end_matches(['\n', '\r']).to_owned())
    };
    echo("-echo");
    let typed = line("Password: ").and_then(|first| Ok((first, line("Again: ")?)));
    echo("echo");
    let (first, again) = typed.map_err(failed)?;
    if first == again { Ok(first) } else { Err(Failure::Usage("the two are not the same".to_owned())) }
}

/// The new file takes the place of the old one in one step: a broker that reads it meanwhile sees one or the other. Only its owner reads it.
fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = file.with_file_name(name);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        options.mode(std::fs::metadata(file).map_or(0o600, |known| known.permissions().mode() & 0o777));
    }
    let written = options.open(&beside).and_then(|mut new| new.write_all(text.as_bytes()).and_then(|()| new.sync_all()));
    written.and_then(|()| std::fs::rename(&beside, file)).inspect_err(|_| drop(std::fs::remove_file(&beside)))
}
