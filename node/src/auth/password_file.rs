//! The password file: a line `NAME:HASH` for each user, as mosquitto has it. Empty lines, and those that begin with `#`, are passed over.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use super::password::Verifier;

/// A user name in the file has at most this many bytes, as in the protocol.
const NAME_BYTES_MAX: usize = 65_535;

/// What is wrong with a file, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub line: usize,
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// Reads the text of a password file.
pub fn parse(text: &str) -> Result<HashMap<String, Verifier>, Fault> {
    let mut users = HashMap::new();
    for (line, name, hash) in entries(text)? {
        let verifier = Verifier::parse(hash).map_err(|why| Fault { line, text: format!("the user {name:?}: {why}") })?;
        if users.insert(name.to_owned(), verifier).is_some() {
            return Err(Fault { line, text: format!("the user {name:?} stands twice") });
        }
    }
    Ok(users)
}

/// Reads a password file. The error names it.
pub fn read(path: &Path) -> Result<HashMap<String, Verifier>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse(&text).map_err(|fault| format!("{}: {fault}", path.display()))
}

/// Each user with the number of its line and what stands behind the name.
fn entries(text: &str) -> Result<Vec<(usize, &str, &str)>, Fault> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let entry = |(line, text): (usize, &'_ str)| match text.split_once(':') {
        Some(("", _)) => Err(Fault { line, text: "a user name is empty".to_owned() }),
        Some(_) => Ok(()),
        None => Err(Fault { line, text: "a line is NAME:HASH".to_owned() }),
    };
    let mut found = Vec::new();
    for (line, text) in lines.filter(|(_, text)| !text.trim().is_empty() && !text.starts_with('#')) {
        entry((line, text))?;
        let (name, hash) = text.split_once(':').unwrap_or((text, ""));
        found.push((line, name, hash.trim_end()));
    }
    Ok(found)
}

/// The text with this user's line set, added, or (with `None`) removed. Everything else stays as it is.
///
/// # Errors
/// A name that no line can have; a user who is to be removed and is not there.
pub fn with(text: &str, name: &str, hash: Option<&Verifier>) -> Result<String, String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains([':', '\n', '\r', '\0']) || name.starts_with('#') {
        return Err(format!("{name:?} is no user name for a password file: it has no colon and no line end, and does not begin with #"));
    }
    let is_of = |line: &str| line.split_once(':').is_some_and(|(other, _)| other == name);
    let known = text.lines().any(is_of);
    let mut lines: Vec<String> = text.lines().filter(|line| !is_of(line)).map(str::to_owned).collect();
    match hash {
        Some(hash) => lines.push(format!("{name}:{hash}")),
        None if known => {}
        None => return Err(format!("there is no user {name:?}")),
    }
    Ok(lines.into_iter().map(|line| line + "\n").collect())
}

/// The text with every plain password hashed, as `NAME:PASSWORD` lines of another broker; and how many there were.
pub fn hashed(text: &str) -> Result<(String, usize), String> {
    let mut count = 0;
    let mut out = String::new();
    for line in text.lines() {
        let plain = line.split_once(':').filter(|(name, hash)| !name.starts_with('#') && !hash.starts_with('$'));
        match plain {
            Some((name, password)) => {
                out.push_str(&format!("{name}:{}", Verifier::new(password.as_bytes())?));
                count += 1;
            }
            None => out.push_str(line),
        }
        out.push('\n');
    }
    Ok((out, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_changed_a_line_at_a_time() {
        let (ann, bob) = (Verifier::new(b"a").unwrap(), Verifier::new(b"b").unwrap());
        let text = with("# ours\n", "ann", Some(&ann)).unwrap();
        let text = with(&text, "bob", Some(&bob)).unwrap();
        assert_eq!(parse(&text).unwrap().len(), 2);
        let text = with(&text, "ann", Some(&bob)).unwrap();
        assert!(parse(&text).unwrap()["ann"] == bob && text.starts_with("# ours\n"));
        let text = with(&text, "ann", None).unwrap();
        assert_eq!(text, format!("# ours\nbob:{bob}\n"));
        assert!(with(&text, "ann", None).is_err() && with(&text, "a:b", Some(&ann)).is_err() && with(&text, "#a", Some(&ann)).is_err());
    }

    #[test]
    fn plain_passwords_are_hashed() {
        let (text, count) = hashed("# c:d\nann:pencil\n\n").unwrap();
        assert!(count == 1 && !text.contains("pencil") && parse(&text).unwrap()["ann"].accepts(b"pencil"));
        assert_eq!(hashed(&text).unwrap(), (text, 0));
    }

    #[test]
    fn faults_name_the_line_and_no_password() {
        let ann = Verifier::new(b"a").unwrap();
        let twice = format!("ann:{ann}\nann:{ann}");
        for (text, line, expected) in [
            ("ann:geheim", 1, "no hash that this broker knows"),
            ("\n# x\nann", 3, "NAME:HASH"),
            (":x", 1, "empty"),
            (&*twice, 2, "stands twice"),
        ] {
            let fault = parse(text).unwrap_err();
            assert!(fault.line == line && fault.text.contains(expected) && !fault.text.contains("geheim"), "{fault:?}");
        }
    }
}
