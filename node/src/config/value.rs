//! A value on its way between text and a setting, and what each type of setting takes.

use std::fmt;

/// What a file, a variable or a flag says for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(i128),
    Flag(bool),
    List(Vec<Value>),
    Table(Vec<(String, Value)>),
    /// What TOML knows and no setting takes: floats and dates.
    Other(String),
}

/// Why a value is refused: the key's own sentence on what is allowed fits, or there is more to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    NotAllowed,
    Because(String),
}

/// A type that a key can have.
pub trait Setting: Sized {
    fn read(value: &Value) -> Result<Self, Refusal>;
    /// As it would be written in a file; `None` when it is not set.
    fn write(&self) -> Option<Value>;
}

/// As in a TOML file. Numbers of five digits and more are grouped, for the eye.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => write_text(text, f),
            Value::Number(number) => f.write_str(&grouped(*number)),
            Value::Flag(flag) => write!(f, "{flag}"),
            Value::Other(text) => f.write_str(text),
            Value::List(values) => {
                let values: Vec<String> = values.iter().map(Value::to_string).collect();
                write!(f, "[{}]", values.join(", "))
            }
            Value::Table(entries) => {
                let entries: Vec<String> = entries.iter().map(|(name, value)| format!("{name} = {value}")).collect();
                write!(f, "{{ {} }}", entries.join(", "))
            }
        }
    }
}

fn write_text(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            c if c.is_control() => write!(f, "\\u{:04X}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

/// `1048576` as `1_048_576`; four digits stay together, because `1_883` is no port.
pub fn grouped(number: i128) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && digits.len() > 4 && (digits.len() - i).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

macro_rules! number_settings {
    ($($number:ty),*) => {$(
        impl Setting for $number {
            fn read(value: &Value) -> Result<Self, Refusal> {
                match value {
                    Value::Number(number) => <$number>::try_from(*number).map_err(|_| Refusal::NotAllowed),
                    _ => Err(Refusal::NotAllowed),
                }
            }

            fn write(&self) -> Option<Value> {
                i128::try_from(*self).ok().map(Value::Number)
            }
        }
    )*};
}

number_settings!(u8, u16, u32, u64, usize);

impl Setting for bool {
    fn read(value: &Value) -> Result<Self, Refusal> {
        if let Value::Flag(flag) = value { Ok(*flag) } else { Err(Refusal::NotAllowed) }
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Flag(*self))
    }
}

impl Setting for String {
    fn read(value: &Value) -> Result<Self, Refusal> {
        if let Value::Text(text) = value { Ok(text.clone()) } else { Err(Refusal::NotAllowed) }
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Text(self.clone()))
    }
}

impl<T: Setting> Setting for Option<T> {
    fn read(value: &Value) -> Result<Self, Refusal> {
        T::read(value).map(Some)
    }

    fn write(&self) -> Option<Value> {
        self.as_ref().and_then(T::write)
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(value: &Value) -> Result<Self, Refusal> {
        if let Value::List(values) = value { values.iter().map(T::read).collect() } else { Err(Refusal::NotAllowed) }
    }

    fn write(&self) -> Option<Value> {
        Some(Value::List(self.iter().filter_map(T::write).collect()))
    }
}
