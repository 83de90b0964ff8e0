//! Answers MQTT 5 requests with MCP workers through Redis.
//!
//! Nothing is here yet: the crate holds the name and the place. What it will do is described in
//! `node/ARCHITECTURE.md` under "Doors that are planned".
