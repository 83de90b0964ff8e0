//! What a handler answers, and what it says when it cannot.

use std::fmt::Display;

use bytes::Bytes;

/// An answer, or a part of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// What the requester gets.
    pub payload: Bytes,
    /// Its Content Type, as `application/json`.
    pub content_type: Option<String>,
    /// In this order; a name may stand more than once.
    pub user_properties: Vec<(String, String)>,
    /// The request ends without a message to the requester.
    pub(crate) is_none: bool,
}

impl Reply {
    /// These bytes, and nothing besides.
    pub fn new(payload: impl Into<Bytes>) -> Reply {
        Reply { payload: payload.into(), ..Reply::default() }
    }

    /// JSON, with its Content Type.
    ///
    /// # Errors
    /// The value has no JSON, as a map whose keys are no texts.
    pub fn json(value: &impl serde::Serialize) -> Result<Reply, Failure> {
        let payload = serde_json::to_vec(value).map_err(|error| Failure::new(format!("the answer has no JSON: {error}")))?;
        Ok(Reply::new(payload).with_content_type("application/json"))
    }

    /// Ends the request without a message: nobody waits for one, as with a JSON-RPC notification.
    pub fn none() -> Reply {
        Reply { is_none: true, ..Reply::default() }
    }

    /// The same with this Content Type.
    pub fn with_content_type(mut self, content_type: impl Into<String>) -> Reply {
        self.content_type = Some(content_type.into());
        self
    }

    /// The same with one User Property more.
    pub fn with_user_property(mut self, name: impl Into<String>, value: impl Into<String>) -> Reply {
        self.user_properties.push((name.into(), value.into()));
        self
    }

    /// Whether the request ends without a message.
    pub fn is_none(&self) -> bool {
        self.is_none
    }
}

/// Why there is no answer. Anything that can be displayed becomes one, so `?` works on every error; it is told to the requester.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// What the requester is told.
    pub message: String,
    /// Another worker, or this one a little later, shall try; when no attempt is left the requester is told.
    pub retry: bool,
}

impl Failure {
    /// The requester is told at once.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), retry: false }
    }

    /// It may go well the next time. On the channel lane, which has no next time, this is [`Failure::new`].
    pub fn retry(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), retry: true }
    }
}

impl<E: Display> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::new(error.to_string())
    }
}

/// What a handler may return.
pub trait IntoReply {
    /// What becomes of it: an answer, or why there is none.
    fn into_reply(self) -> Result<Reply, Failure>;
}

impl IntoReply for Reply {
    fn into_reply(self) -> Result<Reply, Failure> {
        Ok(self)
    }
}

/// `None` ends the request without a message.
impl<T: IntoReply> IntoReply for Option<T> {
    fn into_reply(self) -> Result<Reply, Failure> {
        self.map_or_else(|| Ok(Reply::none()), T::into_reply)
    }
}

impl<T: IntoReply, E: Into<Failure>> IntoReply for Result<T, E> {
    fn into_reply(self) -> Result<Reply, Failure> {
        self.map_err(Into::into)?.into_reply()
    }
}

macro_rules! payloads {
    ($($payload:ty),*) => {$(
        impl From<$payload> for Reply {
            fn from(payload: $payload) -> Reply {
                Reply::new(payload)
            }
        }

        impl IntoReply for $payload {
            fn into_reply(self) -> Result<Reply, Failure> {
                Ok(Reply::new(self))
            }
        }
    )*};
}

payloads!(Bytes, Vec<u8>, String, &'static str, &'static [u8]);

impl IntoReply for serde_json::Value {
    fn into_reply(self) -> Result<Reply, Failure> {
        Reply::json(&self)
    }
}
