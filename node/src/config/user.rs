//! Who may come in, by name and password.

use std::fmt;
use std::path::Path;

use super::value::{Refusal, Setting, Value};

/// One user, for the User Name and Password of CONNECT and for SCRAM-SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub password: Secret,
}

/// Text that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

impl Setting for Secret {
    fn read(value: &Value) -> Result<Secret, Refusal> {
        String::read(value).map(Secret)
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Text(self.0.clone()))
    }
}

/// The users, each name once. Writes nothing when there are none, so that the commented default shows its example.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(pub Vec<User>);

impl Setting for Users {
    fn read(value: &Value) -> Result<Users, Refusal> {
        let users: Vec<User> = Vec::read(value)?;
        for (i, user) in users.iter().enumerate() {
            if users[..i].iter().any(|other| other.name == user.name) {
                return Err(Refusal::Because(format!("the name {:?} stands twice", user.name)));
            }
        }
        Ok(Users(users))
    }

    fn write(&self) -> Option<Value> {
        if self.0.is_empty() { None } else { self.0.write() }
    }
}

impl Setting for User {
    fn read(value: &Value) -> Result<User, Refusal> {
        let Value::Table(entries) = value else { return Err(Refusal::NotAllowed) };
        let (mut name, mut password) = (None, None);
        for (key, value) in entries {
            let Value::Text(text) = value else { return because(format!("{key} must be a text")) };
            match key.as_str() {
                "name" => name = Some(text.clone()),
                "password" | "password_file" if password.is_some() => return because("both password and password_file".to_owned()),
                "password" => password = Some(text.clone()),
                "password_file" => password = Some(read_secret(Path::new(text)).map_err(Refusal::Because)?),
                other => return because(format!("a user has no {other:?}")),
            }
        }
        match (name, password) {
            (Some(name), _) if name.is_empty() => because("a name is empty".to_owned()),
            (Some(name), Some(password)) if !password.is_empty() => Ok(User { name, password: Secret(password) }),
            (Some(name), _) => because(format!("the user {name:?} has no password")),
            (None, _) => because("a user has no name".to_owned()),
        }
    }

    fn write(&self) -> Option<Value> {
        let entries = [("name", &self.name), ("password", &self.password.0)];
        Some(Value::Table(entries.map(|(key, text)| (key.to_owned(), Value::Text(text.clone()))).into()))
    }
}

fn because<T>(text: String) -> Result<T, Refusal> {
    Err(Refusal::Because(text))
}

/// The content of a secret's file, without the line end that editors add.
pub fn read_secret(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
