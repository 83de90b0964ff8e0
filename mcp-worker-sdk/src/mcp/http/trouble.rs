//! Why there is no answer.

/// Told to the client.
pub(super) enum Trouble {
    Unavailable(String),
    /// The server does not know our session.
    Forgotten,
}

impl Trouble {
    pub(super) fn unanswered() -> Trouble {
        Trouble::Unavailable("the MCP server ended without an answer".to_owned())
    }
}

impl From<reqwest::Error> for Trouble {
    fn from(error: reqwest::Error) -> Trouble {
        tracing::debug!(%error, "an MCP server behind HTTP");
        Trouble::Unavailable("upstream unavailable".to_owned())
    }
}
