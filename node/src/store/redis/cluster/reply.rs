//! Replies of Redis, taken apart.

use bytes::Bytes;
use redis::Value;

use crate::store::StoreError;

pub(super) fn list(value: Value) -> Result<Vec<Value>, StoreError> {
    match value {
        Value::Array(values) | Value::Set(values) => Ok(values),
        Value::Map(pairs) => Ok(pairs.into_iter().flat_map(|(key, value)| [key, value]).collect()),
        Value::Nil => Ok(Vec::new()),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn bytes(value: Value) -> Result<Bytes, StoreError> {
    match value {
        Value::BulkString(bytes) => Ok(bytes.into()),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn text(value: Value) -> Result<String, StoreError> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|error| unexpected(&Value::BulkString(error.into_bytes()))),
        other => Err(unexpected(&other)),
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

/// Not what our own functions answer: another program writes to these keys.
#[cold]
pub(super) fn unexpected(value: &Value) -> StoreError {
    tracing::error!(?value, "Redis answered what the cluster does not understand");
    StoreError::Unavailable
}
