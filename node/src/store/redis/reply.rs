//! Replies of Redis, taken apart field by field.

use bytes::Bytes;
use redis::Value;

use crate::store::StoreError;

/// The elements of an array that have not been taken yet.
#[derive(Debug)]
pub(super) struct Reply(std::vec::IntoIter<Value>);

impl Reply {
    pub(super) fn new(value: Value) -> Result<Reply, StoreError> {
        match value {
            Value::Array(values) | Value::Set(values) => Ok(Reply(values.into_iter())),
            other => Err(unexpected(&other)),
        }
    }

    /// `None` when there is nothing.
    pub(super) fn optional(value: Value) -> Result<Option<Reply>, StoreError> {
        if value == Value::Nil { Ok(None) } else { Reply::new(value).map(Some) }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn value(&mut self) -> Value {
        self.0.next().unwrap_or_default()
    }

    pub(super) fn number(&mut self) -> Result<u64, StoreError> {
        number(&self.value())
    }

    pub(super) fn flag(&mut self) -> Result<bool, StoreError> {
        self.number().map(|number| number != 0)
    }

    pub(super) fn optional_number(&mut self) -> Result<Option<u64>, StoreError> {
        let value = self.value();
        if value == Value::Nil { Ok(None) } else { number(&value).map(Some) }
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, StoreError> {
        bytes(self.value())
    }

    pub(super) fn optional_bytes(&mut self) -> Result<Option<Bytes>, StoreError> {
        let value = self.value();
        if value == Value::Nil { Ok(None) } else { bytes(value).map(Some) }
    }

    pub(super) fn list(&mut self) -> Result<Reply, StoreError> {
        Reply::new(self.value())
    }

    pub(super) fn all_bytes(self) -> Result<Vec<Bytes>, StoreError> {
        self.0.map(bytes).collect()
    }

    pub(super) fn all_optional_bytes(self) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.0.map(|value| if value == Value::Nil { Ok(None) } else { bytes(value).map(Some) }).collect()
    }

    pub(super) fn all_numbers(self) -> Result<Vec<u64>, StoreError> {
        self.0.map(|value| number(&value)).collect()
    }
}

impl Iterator for Reply {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        self.0.next()
    }
}

/// A number, as itself or as text.
pub(super) fn number(value: &Value) -> Result<u64, StoreError> {
    let number = match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::BulkString(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()),
        _ => None,
    };
    number.ok_or_else(|| unexpected(value))
}

/// An array; nothing is an empty one.
pub(super) fn list(value: Value) -> Result<Vec<Value>, StoreError> {
    match value {
        Value::Array(values) | Value::Set(values) => Ok(values),
        Value::Map(pairs) => Ok(pairs.into_iter().flat_map(|(key, value)| [key, value]).collect()),
        Value::Nil => Ok(Vec::new()),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn text(value: Value) -> Result<String, StoreError> {
    String::from_utf8(bytes(value)?.into()).map_err(|error| unexpected(&Value::BulkString(error.into_bytes())))
}

/// A binary string, without copying it.
pub(super) fn bytes(value: Value) -> Result<Bytes, StoreError> {
    match value {
        Value::BulkString(text) => Ok(Bytes::from(text)),
        other => Err(unexpected(&other)),
    }
}

/// Not what our own functions answer: another program writes to these keys.
#[cold]
pub(super) fn unexpected(value: &Value) -> StoreError {
    tracing::error!(?value, "Redis answered what the Store does not understand");
    StoreError::Unavailable
}
